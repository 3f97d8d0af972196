"""Shutting the library down, and leaving the process."""

from __future__ import annotations

import signal
import subprocess

import pytest

from bindings.test_c import SOURCES
from support.build import compile_c
from support.emulator import Emulator
from support.ways import command_of, run


@pytest.mark.parametrize("way", ["plain", "valgrind", "asan"])
def test_the_library_shuts_down_at_any_moment_and_starts_again(way: str, emulator: Emulator) -> None:
    for number in range(2):
        emulator.create_environment(f"environment {number}")
    rounds = "50" if way != "valgrind" else "5"
    forks = ["forks"] if way == "plain" else []
    assert run(command_of(way, SOURCES / "shutdown.c", emulator.url, rounds, *forks)) == "shutdown: as it should be\n"


@pytest.mark.parametrize("how", ["return", "_exit", "exit", "exec", "signal"])
def test_a_process_may_be_left_with_calls_in_flight(how: str, emulator: Emulator) -> None:
    leaving = [str(compile_c(SOURCES / "shutdown.c")), emulator.url, how]
    done = subprocess.run(leaving, capture_output=True, timeout=120, check=False)
    expected = -signal.SIGTERM if how == "signal" else 0
    assert (done.returncode, done.stdout, done.stderr) == (expected, b"", b"")
