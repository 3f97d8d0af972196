"""What the built library and its header look like from outside."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.build import LIBRARY, ROOT, WARNINGS

SHARED = LIBRARY / "libantenv.so"
HEADER = ROOT / "include" / "antenv.h"


def output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_only_the_functions_of_the_header_are_exported() -> None:
    exported = {line.split()[2] for line in output("nm", "-D", "--defined-only", SHARED).splitlines()}
    declared = set(re.findall(r"^[\w ]+[ *](antenv_\w+)\(", HEADER.read_text(), re.MULTILINE))
    assert exported == declared
    assert len(declared) >= 38


def test_the_shared_library_has_its_soname_and_stays_loaded() -> None:
    dynamic = output("readelf", "-d", SHARED)
    assert "soname: [libantenv.so.0]" in dynamic and "NODELETE" in dynamic


def test_it_needs_nothing_but_the_libraries_of_libc() -> None:
    needed = set(
        re.findall(
            r"\[(.*)\]", "\n".join(line for line in output("readelf", "-d", SHARED).splitlines() if "NEEDED" in line)
        )
    )
    assert needed <= {"libc.so.6", "libgcc_s.so.1", "libm.so.6", "libpthread.so.0", "libdl.so.2"} | {
        name for name in needed if name.startswith("ld-linux")
    }


def test_it_is_small() -> None:
    assert os.path.getsize(SHARED) <= 4_500_000


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("language", ["c89", "c99", "c11", "c2x", "c++98", "c++17"])
def test_the_header_compiles_alone(compiler: str, language: str, tmp_path: Path) -> None:
    is_cpp = language.startswith("c++")
    source = tmp_path / ("alone.cpp" if is_cpp else "alone.c")
    source.write_text("#include <antenv.h>\nint main(void) { return antenv_abi_version() == 0; }\n")
    command = [{"gcc": "g++", "clang": "clang++"}[compiler] if is_cpp else compiler, f"-std={language}", *WARNINGS]
    subprocess.run(
        [*command, "-pedantic-errors", "-Wundef", f"-I{HEADER.parent}", "-fsyntax-only", str(source)], check=True
    )


def test_every_operation_of_the_environments_has_a_function_and_every_function_a_comment() -> None:
    header = HEADER.read_text()
    files = [ROOT / "src" / "api" / "operations" / f"{resource}.rs" for resource in ("environments", "work")]
    tables = "".join(file.read_text() for file in files)
    names = re.findall(r'^    name: "([a-z]+\.[a-z]+)",', tables, re.MULTILINE)
    assert len(names) == 14
    for name in names:
        assert re.search(rf"^antenv_status antenv_{name.replace('.', '_')}\(", header, re.MULTILINE), name
    uncommented = re.findall(r"(?<!\*/)\n(?:antenv_status|const char \*|uint32_t|void) ?(antenv_\w+)\(", header)
    assert uncommented == []


def test_the_static_library_links_into_a_program(tmp_path: Path) -> None:
    source = tmp_path / "static.c"
    source.write_text("#include <antenv.h>\n#include <stdio.h>\nint main(void) { puts(antenv_version()); return 0; }\n")
    program = tmp_path / "static"
    libraries = ["-lutil", "-lrt", "-lpthread", "-lm", "-ldl", "-lc"]
    subprocess.run(
        ["cc", f"-I{HEADER.parent}", str(source), str(LIBRARY / "libantenv.a"), *libraries, "-o", str(program)],
        check=True,
    )
    assert (
        output(program).strip() == re.findall(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[0]
    )
