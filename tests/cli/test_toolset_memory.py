"""`antenv toolset`: the files of memory directories, in which commands may have planted anything."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.toolset import WITHOUT_NAMESPACES, Toolset, works

STORE = "memstore_01"
MARKER = ".anthropic-memory-store"
SECRET = "a secret of the host"


class Memory:
    """A memory directory of a helper."""

    def __init__(self, toolset: Toolset, root: Path) -> None:
        self.toolset, self.root = toolset, root
        assert self.ask(mark={}) == {}

    def ask(self, **action: object) -> dict[str, Any]:
        return self.toolset.ask(memory={"root": str(self.root), "store": STORE, **action})

    def scan(self) -> dict[str, Any]:
        return self.ask(scan={})

    def read(self, path: str) -> dict[str, Any]:
        return self.ask(read={"path": path})

    def write(self, path: str, content: str) -> dict[str, Any]:
        return self.ask(write={"path": path, "content": content})

    def remove(self, path: str, content: str) -> dict[str, Any]:
        return self.ask(remove={"path": path, "sha256": sha256(content)})


def sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    (tmp_path / "secret").write_text(SECRET)
    return tmp_path / "work"


@pytest.fixture
def memory(workdir: Path) -> Iterator[Memory]:
    root = workdir / "memory" / "Notes"
    root.mkdir(parents=True)
    with Toolset(workdir, "--memory", str(root)) as running:
        yield Memory(running, root)


def test_memories_are_written_listed_read_and_removed(memory: Memory) -> None:
    text = "caf\u00e9 \U0001f600\r\n"
    assert (memory.root / MARKER).read_text() == f"version 1\n{STORE}"
    assert memory.write("/notes/deep/a.md", text) == {"sha256": sha256(text)}
    assert memory.write("/b", "") == {"sha256": sha256("")}
    assert (memory.root / "notes" / "deep" / "a.md").read_bytes() == text.encode()
    assert (memory.root / "b").stat().st_mode & 0o777 == 0o600
    assert (memory.root / "notes").stat().st_mode & 0o777 == 0o700
    files = {"/notes/deep/a.md": sha256(text), "/b": sha256("")}
    assert memory.scan() == {"marker": True, "files": files, "refused": {}, "ignored": 0}
    assert memory.read("/notes/deep/a.md") == {
        "marker": True, "state": "file", "sha256": sha256(text), "content": text,
    }  # fmt: skip
    assert memory.read("/absent")["state"] == memory.read("/b/below")["state"] == "absent"
    # Only what is as it was seen.
    assert memory.remove("/b", "another") == {"removed": False}
    assert memory.remove("/b", "") == {"removed": True}
    assert memory.remove("/b", "") == {"removed": False}
    assert memory.remove("/notes/deep/a.md", text) == {"removed": True}
    assert os.listdir(memory.root) == [MARKER]


def test_a_folder_with_something_in_it_and_a_file_above_are_in_the_way(memory: Memory) -> None:
    memory.write("/a/b", "1")
    assert memory.write("/a", "2")["refused"] and memory.write("/a/b/c", "2")["refused"]
    assert memory.write("/big", "x" * 102_401)["refused"]
    assert memory.scan()["files"] == {"/a/b": sha256("1")}


def test_a_file_that_a_tool_is_writing_is_no_memory(memory: Memory) -> None:
    memory.write("/a", "1")
    (memory.root / ".antenv-0123456789abcdef").write_text("half")
    (memory.root / ".antenv-notes").write_text("mine")
    assert set(memory.scan()["files"]) == {"/a", "/.antenv-notes"}


def test_the_marker_is_looked_at(memory: Memory, workdir: Path) -> None:
    memory.write("/a", "1")
    for damage in [
        f"echo x >> {MARKER}",
        f"rm {MARKER}",
        f"printf 'version 1\\n{STORE}' > ../m; ln -sf ../m {MARKER}",
        f"rm {MARKER}; mkfifo {MARKER}",
    ]:
        memory.toolset.bash(f"cd {memory.root}; {damage}; cd {workdir}")
        assert memory.scan()["marker"] is False and memory.read("/a")["marker"] is False, damage
    memory.ask(mark={})
    assert memory.scan()["marker"] is True


PLANTED = {
    "a link to a secret": ('ln -s "$SECRET" x', "a symbolic link"),
    "a dangling link": ("ln -s nowhere x", "a symbolic link"),
    "a link to itself": ("ln -s x x", "a symbolic link"),
    "a pipe": ("mkfifo x", "not a regular file"),
    "a directory": ("mkdir x", None),
    "a huge file": ("truncate -s 7G x", "larger than a memory"),
    "a byte too many": ("head -c 102401 /dev/zero | tr '\\0' x > x", "larger than a memory"),
    "no text": ("printf '\\377' > x", "not a text in UTF-8"),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_a_command_has_planted_is_neither_followed_nor_read(memory: Memory, workdir: Path, name: str) -> None:
    command, why = PLANTED[name]
    memory.write("/x", "1")
    secret = workdir.parent / "secret"
    memory.toolset.bash(f"cd {memory.root}; SECRET={secret}; rm x; {command}; cd {workdir}")
    found = memory.scan()
    assert found["files"] == {} and found["marker"]
    assert found["refused"] == ({"/x": why} if why else {})
    looked = memory.read("/x")
    assert looked["state"] == "refused" and "content" not in looked
    assert memory.remove("/x", SECRET) == {"removed": False}
    # A memory that is written replaces it, and nothing else.
    assert memory.write("/x", "2") == {"sha256": sha256("2")}
    assert (memory.root / "x").read_text() == "2" and not (memory.root / "x").is_symlink()
    assert secret.read_text() == SECRET


def test_a_folder_that_is_a_link_leads_nowhere(memory: Memory, workdir: Path) -> None:
    memory.toolset.bash(f"cd {memory.root}; ln -s {workdir.parent} up; ln -s .. above; cd {workdir}")
    found = memory.scan()
    assert found["files"] == {} and set(found["refused"]) == {"/up", "/above"}
    for path in ["/up/secret", "/above/x"]:
        assert memory.read(path)["state"] == "refused"
        assert "refused" in memory.write(path, "x")
        assert memory.remove(path, SECRET) == {"removed": False}
    assert (workdir.parent / "secret").read_text() == SECRET
    assert not (memory.root.parent / "x").exists()


def test_a_file_that_is_swapped_all_the_time_gives_no_secret(memory: Memory, workdir: Path) -> None:
    secret = workdir.parent / "secret"
    swap = f"while :; do ln -sfn {secret} x; rm -f x; mkfifo x; rm -f x; echo mine > x; done"
    memory.toolset.bash(f"cd {memory.root}; ({swap}) >/dev/null 2>&1 & cd {workdir}")
    allowed = {sha256(text) for text in ["mine\n", "", "ours"]}
    for number in range(300):
        assert set(memory.scan()["files"].values()) <= allowed
        assert memory.read("/x").get("content", "") in ("mine\n", "", "ours")
        if number % 3 == 0:
            memory.write("/x", "ours")
    memory.toolset.call("bash", restart=True)
    assert secret.read_text() == SECRET


@pytest.mark.parametrize(
    "path",
    ["", "a", "/", "/a/", "//a", "/../a", "/a/..", "/./a", f"/{MARKER}", "/.antenv-0123456789abcdef", "/a\0b",
     "/" + "n" * 256, "/a" * 21, "/abcd" * 205],
)  # fmt: skip
def test_the_path_of_a_memory_that_can_be_no_file_is_refused(memory: Memory, path: str) -> None:
    assert "refused" in memory.write(path, "x")
    assert "error" in memory.read(path)
    assert "error" in memory.remove(path, "x")
    assert os.listdir(memory.root) == [MARKER]


def test_paths_that_no_memory_can_have_are_counted(memory: Memory, workdir: Path) -> None:
    os.makedirs(os.path.join(os.fsencode(memory.root), b"\xff"))
    (memory.root / "line\nfeed").write_text("x")
    memory.toolset.bash(f"cd {memory.root}; mkdir -p {'d/' * 20}; touch {'d/' * 20}x; cd {workdir}")
    assert memory.scan() == {"marker": True, "files": {}, "refused": {}, "ignored": 3}


def test_a_directory_that_cannot_be_read_whole_is_an_error(memory: Memory) -> None:
    memory.toolset.bash(f"for i in $(seq 10001); do : > {memory.root}/$i; done")
    assert "more than 10000" in memory.scan()["error"]


def test_everything_is_removed_in_the_end(memory: Memory, workdir: Path) -> None:
    memory.write("/a/b", "1")
    memory.toolset.bash(f"cd {memory.root}; ln -s {workdir.parent} up; mkfifo pipe; mkdir -m 0 closed; touch .hidden")
    assert memory.ask(clear={}) == {}
    assert os.listdir(memory.root) == []
    assert (workdir.parent / "secret").read_text() == SECRET


def test_only_a_memory_directory_is_served(workdir: Path, tmp_path: Path) -> None:
    root = tmp_path / "memory"
    root.mkdir()
    with Toolset(workdir, "--memory", str(root)) as toolset:
        for other in [workdir, tmp_path, root / "below"]:
            for action in ["mark", "scan", "clear"]:
                problem = toolset.ask(memory={"root": str(other), "store": STORE, action: {}})["error"]
                assert "is no memory directory" in problem
        assert list(workdir.iterdir()) == list(root.iterdir()) == []


@pytest.mark.parametrize("prefix", [(), WITHOUT_NAMESPACES], ids=["namespaces", "no-namespaces"])
@pytest.mark.parametrize("place", ["outside", "work/within"])
def test_a_read_only_directory_is_written_by_the_host_alone(
    workdir: Path, tmp_path: Path, place: str, prefix: tuple[str, ...]
) -> None:
    if not works(prefix):
        prefix = ()
    root = tmp_path / place
    root.mkdir()
    with Toolset(workdir, "--memory-read-only", str(root), prefix=prefix) as toolset:
        memory = Memory(toolset, root)
        assert memory.write("/a/b", "1") == {"sha256": sha256("1")}
        assert toolset.call("read", file_path=f"{root}/a/b") == "1"
        assert toolset.fails("write", file_path=f"{root}/a/b", content="2").endswith("the directory is read-only")
        # Within the working directory this takes mounts.
        if toolset.confinement["metadata"] or (place == "outside" and toolset.confinement["writes"]):
            assert "exit code" in toolset.bash(f"echo 2 > {root}/a/b")
            assert "exit code" in toolset.bash(f"rm -r {root}/a")
            assert "exit code" in toolset.bash(f"touch {root}/new")
        assert memory.write("/a/b", "3") == {"sha256": sha256("3")}
        assert memory.remove("/a/b", "3") == {"removed": True}
        assert memory.ask(clear={}) == {}
    assert list(root.iterdir()) == []
