"""The tools read, write and edit of `antenv toolset`."""

from __future__ import annotations

import base64
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.toolset import Toolset

OUTSIDE = "the path is outside the working directory"
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def toolset(workdir: Path) -> Iterator[Toolset]:
    with Toolset(workdir) as running:
        yield running


def test_a_file_is_read_whole_or_by_lines(toolset: Toolset, workdir: Path) -> None:
    (workdir / "text").write_bytes(b"one\ntwo\xff\nthree")
    assert toolset.call("read", file_path="text") == "one\ntwo\ufffd\nthree"
    assert toolset.call("read", file_path=f"{workdir}/text") == "one\ntwo\ufffd\nthree"
    for selected, text in {
        (1, 1): "one\n",
        (2, 3): "two\ufffd\nthree",
        (3, 99): "three",
        (2, -1): "two\ufffd\nthree",
    }.items():
        assert toolset.call("read", file_path="text", view_range=selected) == text
    for selected in [(0, 1), (2, 1), (1, -2)]:
        assert "selects no lines" in toolset.fails("read", file_path="text", view_range=selected)
    assert toolset.fails("read", file_path="text", view_range=(4, 9)) == "text: the file ends before line 4"
    (workdir / "empty").touch()
    assert toolset.call("read", file_path="empty") == "[empty]"


def test_what_is_read_has_a_limit(toolset: Toolset, workdir: Path) -> None:
    limit = 256 << 10
    file = workdir / "text"
    file.write_bytes(b"x" * limit)
    assert len(toolset.call("read", file_path="text")) == limit
    file.write_bytes(b"x" * limit + b"\nlast\n")
    assert toolset.fails("read", file_path="text") == (
        f"text: {limit + 6} bytes are more than the {limit} that can be read; select lines with view_range"
    )
    assert toolset.call("read", file_path="text", view_range=(2, 2)) == "last\n"
    assert f"more than the {limit} bytes" in toolset.fails("read", file_path="text", view_range=(1, 2))
    with file.open("wb") as huge:
        huge.truncate(1 << 40)
    assert f"{1 << 40} bytes are more than" in toolset.fails("read", file_path="text")
    assert "more than the" in toolset.fails("edit", file_path="text", old_string="a", new_string="b")
    assert "more than the" in toolset.fails("read", file_path="text", view_range=(1, 1))


@pytest.mark.parametrize(
    ("head", "kind", "limit"),
    [
        (PNG, "image/png", 5 << 20),
        (b"\xff\xd8\xff\xe0", "image/jpeg", 5 << 20),
        (b"GIF89a", "image/gif", 5 << 20),
        (b"RIFF\0\0\0\0WEBP", "image/webp", 5 << 20),
        (b"%PDF-1.7\n", "application/pdf", 20 << 20),
    ],
)
def test_images_and_pdfs_are_blocks(toolset: Toolset, workdir: Path, head: bytes, kind: str, limit: int) -> None:
    file = workdir / "file"
    file.write_bytes(head.ljust(limit, b"\0"))
    [block] = toolset.blocks("read", file_path="file")
    assert block["type"] == ("document" if kind == "application/pdf" else "image")
    assert (block["source"]["type"], block["source"]["media_type"]) == ("base64", kind)
    assert base64.b64decode(block["source"]["data"]) == file.read_bytes()
    file.write_bytes(head.ljust(limit + 1, b"\0"))
    assert (
        toolset.fails("read", file_path="file") == f"file: {limit + 1} bytes are more than the {limit} that can be read"
    )


def test_what_is_no_text_is_not_read(toolset: Toolset, workdir: Path) -> None:
    (workdir / "binary").write_bytes(b"a\0b")
    os.mkfifo(workdir / "fifo")
    (workdir / "null").symlink_to("/dev/null")
    assert toolset.fails("read", file_path="binary") == "binary: a binary file"
    assert toolset.fails("read", file_path=".") == ".: is a directory"
    assert toolset.fails("read", file_path="fifo") == "fifo: not a regular file"
    assert toolset.fails("read", file_path="null") == f"null: {OUTSIDE}"
    assert toolset.fails("read", file_path="none/such") == "none/such: no such file or directory"
    assert toolset.fails("read", file_path="binary/below") == "binary/below: not a directory"
    assert toolset.fails("read", file_path="n" * 300) == f"{'n' * 300}: the name is too long"
    assert "NUL" in toolset.fails("read", file_path="a\0b")
    assert toolset.fails("write", file_path="fifo", content="x") == "fifo: not a regular file"


def test_a_written_file_is_replaced_whole_and_keeps_its_mode(toolset: Toolset, workdir: Path, tmp_path: Path) -> None:
    assert toolset.call("write", file_path="a/b/new", content="é\n") == "wrote 3 bytes to a/b/new"
    assert (workdir / "a/b/new").read_text() == "é\n"
    assert [(workdir / path).stat().st_mode & 0o777 for path in ("a", "a/b", "a/b/new")] == [0o700, 0o700, 0o600]
    outside = tmp_path / "outside"
    outside.write_text("the same file by another name")
    os.link(outside, workdir / "tool")
    (workdir / "tool").chmod(0o751)
    toolset.call("write", file_path="tool", content="new")
    assert (workdir / "tool").read_text() == "new" and (workdir / "tool").stat().st_mode & 0o777 == 0o751
    assert outside.read_text() == "the same file by another name"
    assert toolset.fails("write", file_path="a", content="") == "a: is a directory"
    assert toolset.fails("write", file_path=".", content="") == ".: is a directory"
    assert toolset.fails("write", file_path="tool/below", content="") == "tool/below: not a directory"
    assert sorted(each.name for each in workdir.rglob("*")) == ["a", "b", "new", "tool"]


def test_an_edit_needs_one_place_or_replaces_all(toolset: Toolset, workdir: Path) -> None:
    file = workdir / "file"
    file.write_text("a b a é")
    assert toolset.call("edit", file_path="file", old_string="é", new_string="$1\\") == "replaced 1 occurrence in file"
    assert file.read_text() == "a b a $1\\"
    assert "occurs 2 times" in toolset.fails("edit", file_path="file", old_string="a", new_string="c")
    assert toolset.fails("edit", file_path="file", old_string="z", new_string="c") == "file: old_string does not occur"
    assert toolset.fails("edit", file_path="file", old_string="", new_string="c") == "old_string is empty"
    assert file.read_text() == "a b a $1\\"
    text = toolset.call("edit", file_path="file", old_string="a", new_string="", replace_all=True)
    assert (text, file.read_text()) == ("replaced 2 occurrences in file", " b  $1\\")
    file.write_bytes(b"\xff")
    assert toolset.fails("edit", file_path="file", old_string="a", new_string="b") == "file: not a text in UTF-8"


def test_links_are_followed_within_the_directory_only(toolset: Toolset, workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("canary")
    (workdir / "d").mkdir()
    (workdir / "d/file").write_text("text")
    links = {
        "absolute": f"{workdir}/d",
        "relative": "d/../d/.",
        "up": "../work/d",
        "dangling": "d/made",
        "chain": "absolute",
    }
    bad = {
        "out": "..",
        "secret": f"{tmp_path}/secret",
        "root": "/",
        "proc": "/proc/self/root",
        "out2": "d/../../secret",
    }
    for name, target in (links | bad).items():
        (workdir / name).symlink_to(target)
    for name in ("absolute", "relative", "up", "chain"):
        assert toolset.call("read", file_path=f"{name}/file") == "text"
        assert toolset.call("glob", path=name, pattern="*") == "d/file"
        assert toolset.call("grep", path=name, pattern="t.xt") == "d/file:1:text"
        toolset.call("write", file_path=f"{name}/new/{name}", content=name)
        assert (workdir / "d/new" / name).read_text() == name
    toolset.call("write", file_path="dangling", content="made")
    assert (workdir / "d/made").read_text() == "made" and (workdir / "dangling").is_symlink()
    for path in (
        "out/secret",
        "secret",
        f"root{tmp_path}/secret",
        f"proc{tmp_path}/secret",
        "out2",
        "../secret",
        f"{tmp_path}/secret",
    ):
        assert toolset.fails("read", file_path=path) == f"{path}: {OUTSIDE}"
        assert toolset.fails("write", file_path=path, content="x") == f"{path}: {OUTSIDE}"
        assert toolset.fails("edit", file_path=path, old_string="canary", new_string="x") == f"{path}: {OUTSIDE}"
        assert toolset.fails("grep", path=path, pattern="canary") == f"{path}: {OUTSIDE}"
        assert toolset.fails("glob", path=path, pattern="*") == f"{path}: {OUTSIDE}"
    assert (tmp_path / "secret").read_text() == "canary"
    (workdir / "loop").symlink_to("loop")
    assert toolset.fails("read", file_path="loop") == "loop: too many symbolic links"
    for number in range(1, 42):
        (workdir / f"hop{number}").symlink_to(f"hop{number - 1}" if number > 1 else "d/file")
    assert toolset.call("read", file_path="hop40") == "text"
    assert toolset.fails("read", file_path="hop41") == "hop41: too many symbolic links"


def test_memory_directories_are_used_like_the_working_directory(workdir: Path, tmp_path: Path) -> None:
    memory, facts, within = tmp_path / "memory", tmp_path / "facts", workdir / "memory/within"
    for folder in (memory, facts, within):
        folder.mkdir(parents=True)
        (folder / "note").write_text("a note")
    options = ["--memory", str(memory), "--memory-read-only", str(facts), "--memory-read-only", str(within)]
    with Toolset(workdir, *options) as toolset:
        toolset.call("write", file_path=f"{memory}/new", content="new")
        assert toolset.call("grep", path=str(memory), pattern="n.w") == f"{memory}/new:1:new"
        assert toolset.bash(f"echo more >{memory}/shell; cat {facts}/note") == "a note"
        assert (memory / "shell").read_text() == "more\n"
        for path in (f"{facts}/note", f"{within}/note", "memory/within/note"):
            assert toolset.call("read", file_path=path) == "a note"
            assert toolset.fails("write", file_path=path, content="x") == f"{path}: the directory is read-only"
            assert (
                toolset.fails("edit", file_path=path, old_string="a", new_string="x")
                == f"{path}: the directory is read-only"
            )
        toolset.bash(f"echo x >{facts}/note; rm {facts}/note; touch {facts}/new")
        assert [path.name for path in facts.iterdir()] == ["note"] and (facts / "note").read_text() == "a note"
        # Landlock cannot take a part of the working directory away; mounts can.
        toolset.bash("echo x >memory/within/note")
        assert (within / "note").read_text() == ("a note" if toolset.confinement["metadata"] else "x\n")
