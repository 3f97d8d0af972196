"""The examples are short enough to be read at a glance. That they run is tested with the bindings."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.build import ROOT

MOST_LINES = 80


def is_program(path: Path) -> bool:
    """Returns whether a file is a program's source, or a script."""
    return path.suffix in {".c", ".h", ".cpp", ".hpp", ".go", ".php", ".py", ".sh"} or path.read_bytes().startswith(
        b"#!"
    )


PROGRAMS = sorted(path for path in (ROOT / "examples").rglob("*") if path.is_file() and is_program(path))


def test_each_language_has_examples() -> None:
    kinds = {path.relative_to(ROOT / "examples").parts[0] for path in PROGRAMS}
    assert kinds == {"c", "cpp", "go", "php", "python", "deploy"}
    assert ROOT / "examples" / "deploy" / "serve-item" in PROGRAMS  # a script, which has no suffix


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: str(path.relative_to(ROOT / "examples")))
def test_an_example_is_short(program: Path) -> None:
    lines = len(program.read_text().splitlines())
    assert lines <= MOST_LINES, f"{lines} lines"
