"""Forks: a client, queue or pager made before a fork serves on both sides of it."""

from __future__ import annotations

import pytest

from bindings.test_c import SOURCES
from support.emulator import Emulator
from support.ways import command_of, run

pytestmark = pytest.mark.transports

ENVIRONMENTS = 7

CASES = [
    "before first use",
    "before first call",
    "after calls",
    "in the middle of calls",
    "while completions wait",
    "while a page is on its way",
    "while threads wait for a page",
    "while subscribed to the log",
    "three generations",
    "many",
    "leaving at once",
    "while threads do everything",
]


def fill(emulator: Emulator) -> str:
    """Creates the environments that the programs expect; returns the identifier of one."""
    first, *_ = [emulator.create_environment(f"environment {number}") for number in range(ENVIRONMENTS)]
    return first


@pytest.mark.parametrize("way", ["plain", "valgrind"])
@pytest.mark.parametrize("case", CASES)
def test_parent_and_child_both_go_on_after_a_fork(case: str, way: str, emulator: Emulator) -> None:
    forks = {"plain": "200", "valgrind": "8"}[way]
    # Leaks without forks are other tests' subject.
    forking = command_of(way, SOURCES / "fork.c", emulator.url, case, fill(emulator), forks, leaks=False)
    assert run(forking) == f"fork {case}: as it should be\n"
