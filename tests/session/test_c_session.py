"""Sessions of scripted agents, served to their end by a C program, and what gets in its way."""

from __future__ import annotations

import pytest

from bindings.test_c import SOURCES
from support.agents import ECHO, ECHOED, IDLE, RESULTS, SCRIPTS, Script, Steps, check_served, enqueue
from support.emulator import Emulator
from support.ways import FORKING, WAYS, command_of, run

pytestmark = pytest.mark.transports


def run_case(case: str, way: str, emulator: Emulator, environment: str) -> str:
    """Runs a part of tests/c/sessions.c in one of the ways."""
    arguments = (emulator.url, case, environment, emulator.environment_key(environment))
    serving = command_of(way, SOURCES / "sessions.c", *arguments, leaks=case != "forking")
    return run(serving, **({"ASAN_OPTIONS": "detect_leaks=0"} if case == "forking" else {}))


# ThreadSanitizer gives up on a fork in a process with threads.
CASES = [(case, way) for case in ("misuse", "ending", "refused") for way in WAYS]
CASES += [("forking", way) for way in (*FORKING, "asan")]


@pytest.mark.parametrize(("case", "way"), CASES)
def test_sessions_in_c(case: str, way: str, strict_emulator: Emulator) -> None:
    environment = strict_emulator.create_environment("sessions", config={"type": "self_hosted"})
    assert run_case(case, way, strict_emulator, environment) == f"worker {case}: as it should be\n"


def serve(emulator: Emulator, scripts: dict[str, Script]) -> None:
    """Has the C program serve a session for each script, and checks how they and their calls ended."""
    environment = emulator.create_environment("scripts", config={"type": "self_hosted"})
    enqueue(emulator, environment, scripts)
    said = run_case("serving", "plain", emulator, environment).splitlines()
    ends = [f'done {{"reason":"{end}"}}' for _, _, end in scripts.values()]
    assert said == [*ends, "worker serving: as it should be"]
    check_served(emulator, scripts)


def test_scripted_agents_are_served_to_the_end(strict_emulator: Emulator) -> None:
    serve(strict_emulator, SCRIPTS)


def test_agents_are_served_over_a_bad_network(strict_emulator: Emulator) -> None:
    """No result is lost or made twice when streams break, pages fail, and results or their responses are lost."""
    calls: Steps = [ECHO, RESULTS]
    strict_emulator.faults(
        {"operation": "sessions.retrieve", "status": 503, "count": 4},
        {"operation": "sessions.events.list", "status": 503, "count": 4},
        {"operation": "sessions.events.list", "cut": 20, "count": 2},
        {"operation": "sessions.events.stream", "status": 529},
        {"operation": "sessions.events.stream", "stream": {"after": 2, "then": "cut"}},
        {"operation": "sessions.events.stream", "stream": {"after": 1, "then": "error"}},
        {"operation": "sessions.events.stream", "stream": {"after": 1, "then": "end", "pieces": 3}},
        {"operation": "sessions.events.send", "status": 409},
        {"operation": "sessions.events.send", "when": "after", "drop": True},
        {"operation": "sessions.events.send", "drop": True},
        {"operation": "sessions.events.send", "status": 429, "headers": {"retry-after": "1"}},
    )
    serve(strict_emulator, {"bad": (calls * 4, [ECHOED] * 4, IDLE)})
