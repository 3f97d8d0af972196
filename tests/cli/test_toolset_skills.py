"""`antenv toolset`: unpacking the archives of skills, which may be hostile, and removing what was unpacked."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import stat
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from support.toolset import Toolset

SCRIPT = b"#!/bin/sh\necho hello\n"
FILES = {"SKILL.md": b"# PDF\n", "scripts/run.sh": SCRIPT, "data/table.bin": bytes(range(256))}


@pytest.fixture
def workdir(tmp_path: Path) -> Path:
    (tmp_path / "work").mkdir()
    return tmp_path / "work"


@pytest.fixture
def toolset(workdir: Path) -> Iterator[Toolset]:
    with Toolset(workdir) as running:
        yield running


def unpack(toolset: Toolset, archive: bytes, to: str = "skills/pdf") -> dict[str, Any]:
    """Leaves an archive for the helper and has it unpacked."""
    left = Path(toolset.ready["tmpdir"], "antenv-skill")
    left.write_bytes(archive)
    result = toolset.ask(unpack={"archive": left.name, "to": to})
    assert not left.exists()
    return result


def remove(toolset: Toolset, path: str, above: bool = False) -> dict[str, Any]:
    return toolset.ask(remove={"path": path, "above": above})


def zipped(
    members: dict[str, bytes], modes: dict[str, int] | None = None, compression: int = zipfile.ZIP_DEFLATED
) -> bytes:
    """Makes a zip archive; a mode stands for a member's type, too."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = (modes or {}).get(name, stat.S_IFREG | 0o644) << 16
            info.compress_type = compression
            archive.writestr(info, content)
    return buffer.getvalue()


def tarred(members: dict[str, bytes], executable: str = "", extra: list[tarfile.TarInfo] | None = None) -> bytes:
    """Makes a tar archive; `extra` are members without content."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(content), 0o700 if name.endswith(executable or "\0") else 0o600
            archive.addfile(info, io.BytesIO(content))
        for info in extra or []:
            archive.addfile(info)
    return buffer.getvalue()


def special(name: str, kind: bytes, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def below(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}


@pytest.mark.parametrize("kind", ["zip", "zip-stored", "tar", "tar.gz", "tar.bz2", "tar-long-names"])
def test_an_archive_of_any_kind_is_unpacked_and_removed(toolset: Toolset, workdir: Path, kind: str) -> None:
    files = below("pdf", FILES)
    if kind == "tar-long-names":
        files[f"pdf/{'d' * 200}/{'f' * 200}"] = b"long"
    modes = {"pdf/scripts/run.sh": stat.S_IFREG | 0o755}
    tar = tarred(files, executable="run.sh")
    archive = {
        "zip": zipped(files, modes),
        "zip-stored": zipped(files, modes, zipfile.ZIP_STORED),
        "tar": tar,
        "tar.gz": gzip.compress(tar),
        "tar.bz2": bz2.compress(tar),
        "tar-long-names": tar,
    }[kind]
    expected = {name.removeprefix("pdf/"): content for name, content in files.items()}
    size = sum(len(content) for content in files.values())
    assert unpack(toolset, archive) == {"files": len(files), "bytes": size, "passed_over": 0, "made_above": True}
    folder = workdir / "skills" / "pdf"
    assert contents(folder) == expected
    assert stat.S_IMODE((folder / "scripts" / "run.sh").stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "SKILL.md").stat().st_mode) == 0o644
    assert stat.S_IMODE(folder.stat().st_mode) == stat.S_IMODE((folder / "data").stat().st_mode) == 0o700
    assert toolset.bash("skills/pdf/scripts/run.sh") == "hello\n"
    for _ in range(2):
        assert remove(toolset, "skills/pdf", above=True) == {}
        assert not (workdir / "skills").exists()


def test_a_top_folder_is_taken_off_only_if_everything_is_below_it(toolset: Toolset, workdir: Path) -> None:
    unpack(toolset, zipped({"one/a": b"", "two/b": b""}), "skills/x")
    assert set(contents(workdir / "skills" / "x")) == {"one/a", "two/b"}
    unpack(toolset, zipped({"one/a": b"", "b": b""}), "skills/y")
    assert set(contents(workdir / "skills" / "y")) == {"one/a", "b"}
    unpack(toolset, zipped({"single": b""}), "skills/z")
    assert set(contents(workdir / "skills" / "z")) == {"single"}


def test_what_is_there_is_replaced_and_a_folder_above_that_is_not_empty_stays(toolset: Toolset, workdir: Path) -> None:
    (workdir / "kept").mkdir()
    (workdir / "kept" / "file").write_text("kept")
    (workdir / "skills" / "old").mkdir(parents=True)
    (workdir / "skills" / "old" / "stale").write_text("stale")
    (workdir / "skills" / "link").symlink_to(workdir / "kept")
    for name in ["old", "link"]:
        unpack(toolset, zipped(FILES), f"skills/{name}")
        assert contents(workdir / "skills" / name) == FILES
        assert not (workdir / "skills" / name).is_symlink()
    assert remove(toolset, "skills/old", above=True) == {}
    assert set(contents(workdir)) == {"kept/file", *below("skills/link", FILES)}
    assert remove(toolset, "skills/link") == {}
    assert (workdir / "kept" / "file").read_text() == "kept"
    assert list((workdir / "skills").iterdir()) == []


def test_links_and_devices_are_passed_over(toolset: Toolset, workdir: Path) -> None:
    extra = [
        special("s/link", tarfile.SYMTYPE, "/etc/passwd"),
        special("s/hard", tarfile.LNKTYPE, "../../kept"),
        special("s/pipe", tarfile.FIFOTYPE),
        special("s/null", tarfile.CHRTYPE),
        special("s/disk", tarfile.BLKTYPE),
    ]
    assert unpack(toolset, tarred({"s/file": b"x"}, extra=extra)) == {
        "files": 1,
        "bytes": 1,
        "passed_over": 5,
        "made_above": True,
    }
    assert os.listdir(workdir / "skills" / "pdf") == ["file"]
    modes = {"s/link": stat.S_IFLNK | 0o777, "s/pipe": stat.S_IFIFO | 0o644}
    members = {"s/link": b"/etc/passwd", "s/pipe": b"", "s/file": b"x"}
    assert unpack(toolset, zipped(members, modes)) == {"files": 1, "bytes": 1, "passed_over": 2, "made_above": False}
    assert os.listdir(workdir / "skills" / "pdf") == ["file"]


def test_a_link_is_no_way_out_for_what_comes_after_it(toolset: Toolset, workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.addfile(special("door", tarfile.SYMTYPE, str(tmp_path / "outside")))
        info = tarfile.TarInfo("door/file")
        info.size = 1
        archive.addfile(info, io.BytesIO(b"x"))
    unpack(toolset, buffer.getvalue())
    assert list((tmp_path / "outside").iterdir()) == []
    # Nor is one that was in the working directory before.
    (workdir / "out").symlink_to(tmp_path / "outside")
    assert "outside" in unpack(toolset, zipped(FILES), "out/pdf")["error"]
    assert list((tmp_path / "outside").iterdir()) == []


def bomb(members: int, size: int) -> bytes:
    return zipped({f"{number}": b"\0" * size for number in range(members)})


def gnu_name(name: str) -> bytes:
    """Makes a tar archive whose only file has a name that is as long as one likes."""
    return tarred({name: b"x"})


def zip_with_nul() -> bytes:
    return zipped({"a!b": b"x"}).replace(b"a!b", b"a\0b")


def pax_bomb() -> bytes:
    """Makes a tar archive with an extension of 64 MiB, which readers keep in memory."""
    header = tarfile.TarInfo("pax")
    header.type, header.size = tarfile.XHDTYPE, 64 << 20
    return gzip.compress(header.tobuf(tarfile.USTAR_FORMAT) + b"\0" * header.size + tarred({"a": b"x"}), 1)


HOSTILE: dict[str, tuple[Any, str]] = {
    "traversal in zip": (lambda: zipped({"a/../../escaped": b"x"}), "leads out of the folder"),
    "traversal in tar": (lambda: tarred({"a/../../escaped": b"x"}), "leads out of the folder"),
    "absolute in zip": (lambda: zipped({"/tmp/escaped": b"x"}), "an absolute path"),
    "absolute in tar": (lambda: tarred({"/tmp/escaped": b"x"}), "an absolute path"),
    "NUL in a name": (zip_with_nul, "NUL"),
    "a name too long": (lambda: gnu_name("n" * 256), "the name is too long"),
    "a path too long": (lambda: gnu_name("d/" * 512 + "f"), "the path is too long"),
    "twice in zip": (lambda: zipped({"a": b"x", "b": b"y"}).replace(b"b", b"a"), ""),
    "twice in tar": (lambda: tarred({"a": b"x", "./a": b"y"}), "already exists"),
    "a file as a folder": (lambda: tarred({"a": b"x", "a/b": b"y"}), "already exists"),
    "too much": (lambda: bomb(2, (32 << 20) + 1), "unpacks to too much"),
    "too much in tar": (lambda: gzip.compress(tarred({"a": b"\0" * ((64 << 20) + 1)}), 1), "unpacks to too much"),
    "too many": (lambda: bomb(10_001, 0), "too many members"),
    "too many in tar": (lambda: gzip.compress(tarred({f"{n}": b"" for n in range(10_001)}), 1), "too many members"),
    "an extension of any size": (pax_bomb, "unpacks to too much"),
    "truncated zip": (lambda: zipped(FILES)[:-40], "broken"),
    "truncated tar": (lambda: tarred(FILES)[:700], "broken"),
    "truncated gzip": (lambda: gzip.compress(tarred(FILES))[:-12], "broken"),
    "truncated bzip2": (lambda: bz2.compress(tarred(FILES))[:-6], "broken"),
    "a wrong checksum": (lambda: zipped(FILES, None, zipfile.ZIP_STORED).replace(b"# PDF", b"# PDG"), "broken"),
    "no archive": (lambda: b"<html>not found</html>" * 100, "broken"),
    "nothing": (lambda: b"", "holds no files"),
    "no files": (lambda: tarred({}, extra=[special("a", tarfile.DIRTYPE)]), "holds no files"),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_archive_is_refused_and_leaves_nothing(toolset: Toolset, workdir: Path, name: str) -> None:
    make, message = HOSTILE[name]
    (workdir / "skills" / "pdf").mkdir(parents=True)
    (workdir / "skills" / "pdf" / "before").write_text("kept")
    problem = unpack(toolset, make())["error"]
    assert message in problem and str(workdir) not in problem
    assert contents(workdir) == {"skills/pdf/before": b"kept"}
    assert os.listdir(workdir / "skills") == ["pdf"]


def test_names_that_differ_in_case_are_different_files(toolset: Toolset, workdir: Path) -> None:
    unpack(toolset, zipped({"Read.me": b"1", "read.ME": b"2"}))
    assert contents(workdir / "skills" / "pdf") == {"Read.me": b"1", "read.ME": b"2"}


@pytest.mark.parametrize("to", ["", ".", "..", "/", "../pdf", "/tmp/pdf", "a/..", "n" * 256])
def test_only_a_folder_in_the_working_directory_is_unpacked_to_and_removed(
    toolset: Toolset, workdir: Path, to: str
) -> None:
    assert unpack(toolset, zipped(FILES), to)["error"]
    (workdir / "kept").touch()
    assert remove(toolset, to)["error"]
    assert os.listdir(workdir) == ["kept"]


def test_an_archive_is_a_file_that_was_left_for_it(toolset: Toolset, workdir: Path) -> None:
    (workdir / "archive").write_bytes(zipped(FILES))
    tmp = Path(toolset.ready["tmpdir"])
    (tmp / "link").symlink_to(workdir / "archive")
    os.mkfifo(tmp / "pipe")
    for name in ["link", "pipe", "missing", "../tmp/link", str(workdir / "archive"), ""]:
        assert toolset.ask(unpack={"archive": name, "to": "skills/x"})["error"], name
    assert os.listdir(workdir) == ["archive"]


def test_what_commands_have_made_of_a_folder_is_removed(toolset: Toolset, workdir: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("kept")
    unpack(toolset, zipped(FILES))
    deep = "p=$(printf d/%.0s $(seq 600)); for i in 1 2 3 4; do mkdir -p $p && cd $p; done; touch end; pwd | wc -c"
    others = f"ln -s {tmp_path}/outside door && mkfifo pipe && mkdir -m 0 closed"
    length = toolset.bash(f"cd skills/pdf && {others} && ({deep}) 2>/dev/null")
    assert int(length) > 4096, "not longer than a path can be"
    assert (workdir / "skills" / "pdf" / "d" / "d").exists()
    assert remove(toolset, "skills/pdf", above=True) == {}
    assert list(workdir.iterdir()) == [] and (tmp_path / "outside" / "kept").exists()


def test_a_folder_that_a_command_has_replaced_by_a_link_is_not_followed(
    toolset: Toolset, workdir: Path, tmp_path: Path
) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "kept").write_text("kept")
    unpack(toolset, zipped(FILES))
    toolset.bash(f"mv skills/pdf moved; ln -s {tmp_path}/outside skills/pdf; mkdir other; touch other/kept")
    assert remove(toolset, "skills/pdf") == {}
    assert (tmp_path / "outside" / "kept").exists() and (workdir / "other" / "kept").exists()


def test_unknown_requests_are_answered(toolset: Toolset) -> None:
    requests: list[dict[str, Any]] = [
        {"pack": {}},
        {"unpack": {}},
        {"remove": 1},
        {"remove": {"path": "x"}, "unpack": {}},
        {"memory": {}},
        {},
    ]
    for request in requests:
        assert "not a request" in toolset.ask(**request)["error"], request
    assert toolset.call("bash", command="echo still there") == "still there\n"
