"""Sessions of scripted agents, served to their end by a C program, and what gets in its way."""

from __future__ import annotations

from typing import Any

import pytest

from bindings.test_c import SANITIZERS, SOURCES, VALGRIND, run
from support.build import compile_c
from support.emulator import Emulator

pytestmark = pytest.mark.transports
WAYS = ["plain", "valgrind", *SANITIZERS]

Steps = list[dict[str, Any]]
RESULTS = {"wait": "results"}
ECHO = {"tool": "echo", "input": {"a": 1}}
ASK = {**ECHO, "permission": "ask"}
STREAM = {"wait": "stream"}
SLOW: dict[str, Any] = {"tool": "slow", "input": {}}


def run_case(case: str, way: str, emulator: Emulator, environment: str) -> str:
    """Runs a part of tests/c/sessions.c in one of the ways."""
    program = compile_c(SOURCES / "sessions.c", *([SANITIZERS[way]] if way in SANITIZERS else []))
    command = [str(program), emulator.url, case, environment, emulator.environment_key(environment)]
    if way == "valgrind":
        command = [*VALGRIND, *(["--leak-check=no"] if case == "forking" else []), *command]
    return run(command, **({"ASAN_OPTIONS": "detect_leaks=0"} if case == "forking" else {}))


# ThreadSanitizer gives up on a fork in a process with threads.
CASES = [(case, way) for case in ("misuse", "ending", "refused") for way in WAYS]
CASES += [("forking", way) for way in WAYS if way != "tsan"]


@pytest.mark.parametrize(("case", "way"), CASES)
def test_sessions_in_c(case: str, way: str, strict_emulator: Emulator) -> None:
    environment = strict_emulator.create_environment("sessions", config={"type": "self_hosted"})
    assert run_case(case, way, strict_emulator, environment) == f"worker {case}: as it should be\n"


def text(content: str, is_error: bool = False) -> tuple[str, bool]:
    """What a call is answered with, as the report has it."""
    return content, is_error


ECHOED = text('{"echo":{"a": 1}}')
IDLE = 'done {"reason":"idle"}'
# The steps of an agent, the end of each of its calls (its answer, or how it ended without one), and why the session is
# over.
SCRIPTS: dict[str, tuple[Steps, list[Any], str]] = {
    "one call": ([ECHO, RESULTS], [ECHOED], IDLE),
    "calls one after the other": ([ECHO, RESULTS, ECHO, RESULTS, {"text": "Done."}], [ECHOED, ECHOED], IDLE),
    "calls at once": ([ECHO, ECHO, ECHO, RESULTS], [ECHOED] * 3, IDLE),
    "custom tools": ([{"custom_tool": "echo", "input": {"a": 1}}, RESULTS], [ECHOED], IDLE),
    "an error": ([{"tool": "fail", "input": {}}, RESULTS], [text("it failed", True)], IDLE),
    "no output": ([{"tool": "silent", "input": {}}, RESULTS], [text("(no output)")], IDLE),
    "allowed": ([ASK, {"confirm": "echo", "result": "allow"}, RESULTS], [ECHOED], IDLE),
    "denied by a user": ([ASK, {"confirm": "echo", "result": "deny"}, RESULTS], ["denied"], IDLE),
    "denied": ([{**ECHO, "permission": "deny"}, RESULTS], ["denied"], IDLE),
    "an unknown permission": (
        [{**ECHO, "permission": "novel"}, STREAM, {"confirm": "echo", "result": "allow"}, RESULTS],
        [ECHOED],
        IDLE,
    ),
    "answered by another client": (
        [{"custom_tool": "app", "input": {}}, STREAM, {"answer": "app", "content": []}, RESULTS, ECHO, RESULTS],
        ["another", ECHOED],
        IDLE,
    ),
    "let go, and answered by another client": (
        [{"custom_tool": "leave", "input": {}}, STREAM, {"answer": "leave", "content": []}, ECHO, RESULTS],
        ["another", ECHOED],
        IDLE,
    ),
    "interrupted while it runs": (
        [SLOW, STREAM, {"pause_ms": 300}, {"interrupt": True}, {"idle": "end_turn"}],
        ["interrupted"],
        IDLE,
    ),
    "interrupted before": (
        [{"tool": "slow", "input": {}}, {"interrupt": True}, {"pause_ms": 20}, ECHO, RESULTS],
        ["interrupted", ECHOED],
        IDLE,
    ),
    "a thread": (
        [{"start_thread": "t"}, {**ECHO, "thread": "t"}, RESULTS, {"end_thread": "t"}, ECHO, RESULTS],
        [ECHOED, ECHOED],
        IDLE,
    ),
    "a thread that ends while its call runs": (
        [
            {"start_thread": "t"},
            {"tool": "slow", "input": {}, "thread": "t"},
            STREAM,
            {"pause_ms": 300},
            {"end_thread": "t"},
            ECHO,
            RESULTS,
        ],
        ["thread_terminated", ECHOED],
        IDLE,
    ),
    "terminated": (
        [ECHO, RESULTS, {"tool": "slow", "input": {}}, {"terminate": True}],
        [ECHOED, "session_terminated"],
        'done {"reason":"terminated"}',
    ),
    "deleted": ([ECHO, RESULTS, {"emit": {"type": "session.deleted"}}], [ECHOED], 'done {"reason":"deleted"}'),
    "unknown events": (
        [{"emit": {"type": "agent.novel", "name": 7}}, ECHO, {"thinking": True}, RESULTS, {"idle": "novel"}],
        [ECHOED],
        IDLE,
    ),
    "a long history": ([{"text": "x", "count": 1500}, ECHO, RESULTS, {"text": "x", "count": 1500}], [ECHOED], IDLE),
}


def ending_of(call: dict[str, Any]) -> Any:
    """How a call ended: with what the program sent for it, or without that."""
    accepted = [attempt for attempt in call["attempts"] if attempt["accepted"]]
    if call["ending"] != "answered":
        assert not accepted, call
        return call["ending"]
    assert len(accepted) == 1 and call["answered"] == "once", call
    if accepted[0]["credential"] == "script":
        return "another"
    assert accepted[0]["credential"] == "sessions_token"
    return text(accepted[0]["content"][0]["text"], accepted[0]["is_error"])


def serve(emulator: Emulator, scripts: dict[str, tuple[Steps, list[Any], str]]) -> None:
    """Has the C program serve a session for each script, and checks how they and their calls ended."""
    environment = emulator.create_environment("scripts", config={"type": "self_hosted"})
    for steps, _, _ in scripts.values():
        emulator.control("POST", "/_emulator/scripts", {"environment_id": environment, "steps": steps})
        emulator.enqueue(environment)
    said = run_case("serving", "plain", emulator, environment).splitlines()
    assert said == [*(end for _, _, end in scripts.values()), "worker serving: as it should be"]
    reports = emulator.control("GET", "/_emulator/scripts")["data"]
    ended = [[ending_of(call) for call in report["calls"]] for report in reports]
    assert ended == [calls for _, calls, _ in scripts.values()]
    stops = [request for request in emulator.take_requests() if request["operation"] == "work.stop"]
    assert len(stops) == len(scripts), "each item is stopped once"


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
