"""`make flakes`: the script that runs a suite many times and lists what failed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from support.build import ROOT

# Fails every second time, with the reports of pytest and of Rust's test harness.
SUITE = """
if [ -e "$0.ran" ]; then
    rm "$0.ran"
    echo 'FAILED tests/a.py::test_of_cases[one - two] - AssertionError: 1 - 1'
    echo 'ERROR tests/b.py - ImportError'
    echo 'test worker::it_ends ... FAILED'
    echo 'test worker::it_begins ... ok'
    exit 1
fi
touch "$0.ran"
"""


def flakes(folder: Path, suite: str, times: int) -> tuple[int, list[str]]:
    """Runs the script on a suite; returns its exit status and what it says in the end."""
    program = folder / "suite"
    program.write_text(suite)
    command = [sys.executable, str(ROOT / "scripts" / "flakes.py"), "--times", str(times)]
    command += ["--output", str(folder / "runs"), "sh", str(program)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    lines = done.stdout.splitlines()
    assert sum(line.startswith("run ") for line in lines) == len(list((folder / "runs").iterdir())) == times, lines
    return done.returncode, [line for line in lines if not line.startswith("run ")]


def test_what_fails_now_and_then_is_listed_with_how_often(tmp_path: Path) -> None:
    status, lines = flakes(tmp_path, SUITE, 5)
    assert status == 1
    names = ["tests/a.py::test_of_cases[one - two]", "tests/b.py", "worker::it_ends"]
    assert sorted(lines[:-1]) == [f"   2 of 5  {name}" for name in names]


def test_a_run_that_fails_without_naming_a_test_is_listed_too(tmp_path: Path) -> None:
    status, lines = flakes(tmp_path, "exit 7", 2)
    assert (status, lines[0]) == (1, "   2 of 2  the run itself, exit status 7")


def test_nothing_is_listed_when_all_runs_succeed(tmp_path: Path) -> None:
    assert flakes(tmp_path, "echo 'test a ... ok'", 2) == (0, ["== no test failed"])
