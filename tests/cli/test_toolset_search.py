"""The tools glob and grep of `antenv toolset`."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.toolset import Toolset


@pytest.fixture
def toolset(tmp_path: Path) -> Iterator[Toolset]:
    with Toolset(tmp_path) as running:
        yield running


def make(folder: Path, *paths: str, text: str = "") -> None:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)


def test_glob_gives_the_newest_first(toolset: Toolset, tmp_path: Path) -> None:
    make(tmp_path, "a.rs", "b.txt", ".hidden.rs", "src/c.rs", "src/deep/d.rs", "src/[e].rs")
    for age, path in enumerate(["src/c.rs", "a.rs", ".hidden.rs", "src/deep/d.rs", "src/[e].rs", "b.txt"]):
        os.utime(tmp_path / path, (10**9 - age, 10**9 - age))
    for pattern, found in {
        "**/*.rs": ["src/c.rs", "a.rs", ".hidden.rs", "src/deep/d.rs", "src/[e].rs"],
        "*.rs": ["a.rs", ".hidden.rs"],
        "./*.txt": ["b.txt"],
        "src/*": ["src/c.rs", "src/[e].rs"],
        "{a,b}.*": ["a.rs", "b.txt"],
        "src/[[]e[]].rs": ["src/[e].rs"],
        "*.py": ["no matches"],
    }.items():
        assert toolset.call("glob", pattern=pattern).splitlines() == found, pattern
    assert toolset.call("glob", pattern="*.rs", path="src").splitlines() == ["src/c.rs", "src/[e].rs"]
    assert toolset.call("glob", pattern="*.rs", path=f"{tmp_path}/src").splitlines() == ["src/c.rs", "src/[e].rs"]
    for pattern in ("/etc/*", "../*", "src/../../*"):
        assert toolset.fails("glob", pattern=pattern) == "the pattern must be relative, without `..`"
    assert "not valid" in toolset.fails("glob", pattern="[")


def test_glob_gives_and_looks_at_so_many(toolset: Toolset, tmp_path: Path) -> None:
    make(tmp_path / "few", *(f"{number:03}" for number in range(201)))
    lines = toolset.call("glob", pattern="few/*").splitlines()
    assert len(set(lines)) == 201 and lines[-1] == "[1 more]"
    (tmp_path / "few/200").unlink()
    assert len(toolset.call("glob", pattern="few/*").splitlines()) == 200
    subprocess.run(["sh", "-c", "mkdir many; cd many; seq 50000 | xargs touch"], cwd=tmp_path, check=True)
    assert toolset.call("glob", pattern="none", path="many") == "no matches"
    (tmp_path / "many/50001").touch()
    assert toolset.call("glob", pattern="none", path="many") == "no matches\n[stopped after 50000 entries]"


def test_grep_gives_lines_by_path(toolset: Toolset, tmp_path: Path) -> None:
    make(tmp_path, "b.txt", "a/c.txt", text="first\nthe needle\r\nlast needle")
    make(tmp_path, "none.txt", text="nothing")
    found = ["a/c.txt:2:the needle", "a/c.txt:3:last needle", "b.txt:2:the needle", "b.txt:3:last needle"]
    assert toolset.call("grep", pattern="needle").splitlines() == found
    assert toolset.call("grep", pattern="^the .e+dle\\r?$", path="a").splitlines() == found[:1]
    assert toolset.call("grep", pattern="(?i)T NEEDLE$", path="b.txt").splitlines() == found[3:]
    assert toolset.call("grep", pattern="-e", path=".") == "no matches"
    assert "not valid" in toolset.fails("grep", pattern="(")
    assert "not valid" in toolset.fails("grep", pattern="(?:a{1000}){1000}")
    assert toolset.fails("grep", pattern="x", path="missing") == "missing: no such file or directory"


def test_grep_passes_over_what_ripgrep_does(toolset: Toolset, tmp_path: Path) -> None:
    (tmp_path / ".git").mkdir()
    make(tmp_path, "seen", "ignored.log", ".hidden", "target/built", "sub/ignored.log", text="needle")
    make(tmp_path, ".gitignore", text="*.log\n/target\n")
    (tmp_path / "binary").write_bytes(b"\0needle")
    (tmp_path / "latin").write_bytes(b"\xe9 needle")
    (tmp_path / "link").symlink_to("seen")
    os.mkfifo(tmp_path / "fifo")
    with (tmp_path / "huge").open("wb") as huge:
        huge.truncate(1 << 40)
    assert toolset.call("grep", pattern="needle").splitlines() == ["latin:1:\ufffd needle", "seen:1:needle"]
    assert toolset.fails("grep", pattern="needle", path="fifo") == "fifo: not a regular file"


def test_what_grep_gives_has_a_limit(toolset: Toolset, tmp_path: Path) -> None:
    make(tmp_path, "long", text="é" * 2000 + "\n" + "é" * 2001 + "\n" + "x" * (9 << 20))
    lines = toolset.call("grep", pattern="é").splitlines()
    assert lines == ["long:1:" + "é" * 2000, "long:2:" + "é" * 2000 + " [line truncated]"]
    (tmp_path / "long").unlink()
    make(tmp_path, *(f"{number:05}" for number in range(100)), text="a line of text that matches\n" * 100)
    text = toolset.call("grep", pattern="matches")
    assert (
        text.endswith(":a line of text that matches\n[output truncated]") and 99 << 10 < len(text) <= (100 << 10) + 18
    )
