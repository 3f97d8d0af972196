"""What the C and C++ headers look like to those who read them."""

from __future__ import annotations

import re
import subprocess

import pytest

from support.build import ROOT

INCLUDE = ROOT / "include"
HEADER = (INCLUDE / "antenv.h").read_text()
# Each comment of a function, its name, and its parameters.
FUNCTIONS: list[tuple[str, str, str]] = re.findall(
    r"^/\*\*\n((?: \*.*\n)+?) \*/\n\w[\w ]*[ *]+(antenv_\w+)\(([^)]*)\);", HEADER, re.MULTILINE
)


PARTS = [f"antenv/{path.name}" for path in sorted((INCLUDE / "antenv").iterdir())]


@pytest.mark.parametrize("name", ["antenv.h", "antenv.hpp", *PARTS])
def test_no_line_has_more_than_130_columns(name: str) -> None:
    lines = enumerate((INCLUDE / name).read_text().splitlines(), 1)
    assert [number for number, line in lines if len(line) > 130] == []


@pytest.mark.parametrize(("name", "language"), [("antenv.h", "c"), ("antenv.hpp", "c++")])
def test_comments_name_only_parameters_that_there_are(name: str, language: str) -> None:
    command = ["clang", f"-x{language}", f"-std={language}17", "-Wdocumentation", "-Werror", "-fsyntax-only"]
    subprocess.run([*command, str(INCLUDE / name)], check=True)


def test_every_function_is_looked_at() -> None:
    code = re.sub(r"^ \*.*", "", HEADER, flags=re.MULTILINE)
    assert len(FUNCTIONS) == len(re.findall(r"\bantenv_\w+\([^)]*\);$", code, re.MULTILINE))
    assert len(FUNCTIONS) > 40


@pytest.mark.parametrize(("comment", "name", "parameters"), FUNCTIONS, ids=[name for _, name, _ in FUNCTIONS])
def test_a_function_documents_each_parameter_and_whether_it_blocks(comment: str, name: str, parameters: str) -> None:
    declared = [re.findall(r"\w+", one)[-1] for one in parameters.split(",") if one.strip() != "void"]
    assert re.findall(r"^ \* @param (\w+) \S", comment, re.MULTILINE) == declared
    assert re.search(r"\bBlocks\b|\b[Dd]oes not\s+(\* )?block\b", comment)
    summary = comment.removeprefix(" * ")
    assert re.match(r"[A-Z][a-z]+s ", summary), f"{name}: a comment starts with a verb"


def test_sections_have_comments_of_their_own() -> None:
    sections = re.findall(r"^/\* ---- ([\w:, ]+?) -+(?: \*/$|\n(?: \*.*\n)+? \*/$)", HEADER, re.MULTILINE)
    assert len(sections) >= 10
    assert not any("----" in comment for comment, _, _ in FUNCTIONS)


def test_the_records_of_the_log_are_those_of_the_source() -> None:
    listed = " ".join(re.sub(r"^ \*", "", HEADER, flags=re.MULTILINE).split())
    sources = "".join(file.read_text() for file in (ROOT / "src").rglob("*.rs"))
    messages = re.findall(r'(?:log::record\([^|]*?|\.warn\()"(?!antenv::)([^"]+)"', sources)
    assert len(messages) > 30
    assert [message for message in messages if f'"{message}"' not in listed] == []
