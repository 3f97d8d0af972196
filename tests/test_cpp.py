"""The C++ header: both of its faces, compiled in every way, as they are, under valgrind, and with sanitizers."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from emulator import ROOT, Emulator
from native import LIBRARY, WARNINGS, compile_c
from test_c import SANITIZERS, VALGRIND, run

SOURCES = ROOT / "tests" / "cpp"
EXAMPLES = ROOT / "examples" / "cpp"
HEADER = ROOT / "include" / "antenv.hpp"


def compiled(source: Path, way: str, *flags: str) -> list[str]:
    """The command that runs a program in one of the ways."""
    command = [str(compile_c(source, *flags, *([SANITIZERS[way]] if way in SANITIZERS else [])))]
    return VALGRIND + command if way == "valgrind" else command


@pytest.mark.parametrize("way", ["plain", "valgrind", *SANITIZERS])
def test_the_face_that_throws(way: str, emulator: Emulator) -> None:
    assert "throwing: as it should be\n" in run([*compiled(SOURCES / "throwing.cpp", way), emulator.url])


@pytest.mark.parametrize(
    ("way", "flags"),
    [("plain", ()), *((way, ("-fno-exceptions", "-fno-rtti")) for way in ("plain", "valgrind", "asan"))],
    ids=["with exceptions", "without", "without, valgrind", "without, asan"],
)
def test_the_face_that_returns(way: str, flags: tuple[str, ...], emulator: Emulator) -> None:
    flags = (*flags, "-DEXPECT_NO_EXCEPTIONS") if flags else flags
    assert run([*compiled(SOURCES / "returning.cpp", way, *flags), emulator.url]) == "returning: as it should be\n"


def test_json_of_a_json_library_goes_in_and_out_where_there_is_one(emulator: Emulator) -> None:
    assert run([*compiled(SOURCES / "throwing.cpp", "plain"), emulator.url]).startswith("with nlohmann/json\n")
    without = compiled(SOURCES / "throwing.cpp", "plain", "-DANTENV_NO_NLOHMANN")
    assert run([*without, emulator.url]) == "throwing: as it should be\n"


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("standard", ["c++17", "c++20", "c++2b"])
@pytest.mark.parametrize("flags", [(), ("-fno-exceptions", "-fno-rtti")], ids=["with exceptions", "without"])
def test_every_compiler_takes_it(compiler: str, standard: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    unit = tmp_path / "alone.cpp"
    unit.write_text("#include <antenv.hpp>\n")  # nothing before it that it may lean on
    command = [compiler, f"-std={standard}", *WARNINGS, "-Wshadow", "-Wconversion", *flags, f"-I{HEADER.parent}"]
    for source in (unit, SOURCES / "returning.cpp", *([] if flags else [SOURCES / "throwing.cpp"])):
        subprocess.run([*command, "-fsyntax-only", str(source)], check=True)


def test_two_units_may_include_it(emulator: Emulator, tmp_path: Path) -> None:
    program = tmp_path / "two"
    sources = [str(SOURCES / "throwing.cpp"), str(SOURCES / "other_unit.cpp")]
    command = ["g++", "-std=c++17", *WARNINGS, f"-I{HEADER.parent}", *sources, "-o", str(program)]
    subprocess.run([*command, f"-L{LIBRARY}", "-lantenv", f"-Wl,-rpath,{LIBRARY}", "-pthread"], check=True)
    assert "as it should be" in run([str(program), emulator.url])


@pytest.mark.parametrize("way", ["plain", "valgrind", "asan"])
def test_the_examples_run(way: str, emulator: Emulator) -> None:
    variables = {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "an-api-key"}
    lines = run(compiled(EXAMPLES / "quickstart.cpp", way), **variables).splitlines()
    assert [line.split(":")[0] for line in lines] == ["created", "listed", "not_found"]
    assert lines[0].removeprefix("created: ") == lines[1].removeprefix("listed: ")
    assert lines[2] == 'not_found: There is no environment "env_missing".'
    looped = run([*compiled(EXAMPLES / "event_loop.cpp", way), "50"], **variables)
    assert looped == "polls: 50, of which failed: 0\n"
