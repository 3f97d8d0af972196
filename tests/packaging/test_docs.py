"""The documentation says what the code says, where both state the same fact."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from support.build import GO, ROOT, build_go, compile_c
from support.emulator import Emulator

HEADER = (ROOT / "include" / "antenv.h").read_text()


def test_the_readme_shows_the_quick_start_as_it_is() -> None:
    example = (ROOT / "examples" / "c" / "quickstart.c").read_text().rstrip()
    assert f"```c\n{example}\n```" in (ROOT / "README.md").read_text()


def blocks(page: str, language: str) -> list[str]:
    """The pieces of code in a page."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)


def test_the_pages_show_the_quick_starts_as_they_are() -> None:
    assert blocks("docs/python.md", "python")[0] == (ROOT / "examples" / "python" / "quickstart.py").read_text()
    assert blocks("docs/cpp.md", "cpp")[0] == (ROOT / "examples" / "cpp" / "quickstart.cpp").read_text()
    program = (ROOT / "examples" / "go" / "quickstart" / "main.go").read_text()
    shown = [line.split("//")[0].strip() for line in blocks("docs/go.md", "go")[0].splitlines()]
    assert len(shown) > 15 and set(shown) <= {line.strip() for line in program.splitlines()}


def python_program(code: str, folder: Path) -> list[str | Path]:
    (folder / "readme.py").write_text(code)
    return [sys.executable, folder / "readme.py"]


def cpp_program(code: str, folder: Path) -> list[str | Path]:
    (folder / "readme.cpp").write_text(f"#include <antenv.hpp>\n#include <iostream>\nint main() {{\n{code}}}\n")
    return [compile_c(folder / "readme.cpp")]


def go_program(code: str, folder: Path) -> list[str | Path]:
    imports = "".join(f'"{name}"\n' for name in ("antenv", "context", "errors", "fmt", "log"))
    program = f"package main\nimport (\n{imports})\nfunc main() {{\nctx := context.Background()\n{code}}}\n"
    (folder / "main.go").write_text(program)
    module = ROOT / "bindings" / "go"
    (folder / "go.mod").write_text(f"module readme\ngo 1.23\nrequire antenv v0.0.0\nreplace antenv => {module}\n")
    return [build_go(folder)]


@pytest.mark.parametrize(
    ("language", "program", "ends"),
    [
        ("python", python_program, "environment_not_found There is no environment"),
        ("cpp", cpp_program, "not_found: There is no environment"),
        ("go", go_program, "true"),
    ],
)
def test_what_the_readme_shows_of_each_language_runs(
    language: str, program: Callable[[str, Path], list[str | Path]], ends: str, emulator: Emulator, tmp_path: Path
) -> None:
    code, *_ = blocks("README.md", language)
    variables = GO | {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "any"}
    command = program(code, tmp_path)
    said = subprocess.run(command, env=os.environ | variables, check=True, capture_output=True, text=True).stdout
    assert said.splitlines()[-1].startswith(ends)
    assert "tests" in said and "env_" in said


def test_the_table_of_errors_has_the_numbers_of_the_header() -> None:
    declared = re.findall(r"^ +(ANTENV_\w+) = (\d+)", HEADER, re.MULTILINE)
    documented = re.findall(r"^\| (\d+) \| `(ANTENV_\w+)`", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert len(declared) == 27
    assert [(name, number) for number, name in documented] == declared


def test_the_table_of_operations_is_that_of_the_code() -> None:
    source = (ROOT / "src" / "api" / "operations.rs").read_text()
    words = {"ApiKey": "API key", "EnvironmentKey": "environment key", "Both": "either"}
    expected = []
    for row in re.findall(r": Operation = Operation \{(.*?)^\};", source, re.MULTILINE | re.DOTALL):
        name, title = (re.search(rf'^    {field}: "(.*)"', row, re.MULTILINE) for field in ("name", "title"))
        accepts = re.search(r"accepts: Accepts::(\w+)", row)
        assert name and title
        if name[1]:
            function = f"antenv_{name[1].replace('.', '_')}"
            expected.append((function, name[1], title[1], words[accepts[1] if accepts else "ApiKey"]))
    page = (ROOT / "docs" / "c-api.md").read_text()
    documented = re.findall(r"^\| `(antenv_\w+)` \| `([\w.]+)` \| ([\w ]+) \| ([\w ]+) \|$", page, re.MULTILINE)
    assert len(expected) == 14
    assert documented == expected
