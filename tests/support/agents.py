"""Scripts of agents, and how their calls end when they are served as they should be."""

from __future__ import annotations

from typing import Any

from support.emulator import Emulator

Steps = list[dict[str, Any]]
#: The steps of an agent, the end of each of its calls (its answer, or how it ended without one), and why the session is
#: over.
Script = tuple[Steps, list[Any], str]
RESULTS = {"wait": "results"}
ECHO = {"tool": "echo", "input": {"a": 1}}
ASK = {**ECHO, "permission": "ask"}
STREAM = {"wait": "stream"}
SLOW: dict[str, Any] = {"tool": "slow", "input": {}}


def text(content: str, is_error: bool = False) -> tuple[str, bool]:
    """What a call is answered with, as the report has it."""
    return content, is_error


ECHOED = text('{"echo":{"a": 1}}')
IDLE = "idle"
#: For the tools "echo", which returns {"echo": its input}; "fail", which fails with "it failed"; "silent", which
#: returns nothing; "slow", which goes on until its call is void; and others, which are left to other clients.
SCRIPTS: dict[str, Script] = {
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
        "terminated",
    ),
    "deleted": ([ECHO, RESULTS, {"emit": {"type": "session.deleted"}}], [ECHOED], "deleted"),
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


def enqueue(emulator: Emulator, environment: str, scripts: dict[str, Script]) -> list[str]:
    """Queues an item for each script; returns their identifiers."""
    items = []
    for steps, _, _ in scripts.values():
        emulator.control("POST", "/_emulator/scripts", {"environment_id": environment, "steps": steps})
        items.append(emulator.enqueue(environment)["id"])
    return items


def check_served(emulator: Emulator, scripts: dict[str, Script]) -> None:
    """Checks how the calls of the scripts ended, and that each item was stopped once."""
    reports = emulator.control("GET", "/_emulator/scripts")["data"]
    ended = [[ending_of(call) for call in report["calls"]] for report in reports]
    assert ended == [calls for _, calls, _ in scripts.values()]
    stops = [request for request in emulator.take_requests() if request["operation"] == "work.stop"]
    assert len(stops) == len(scripts), "each item is stopped once"
