"""`antenv sessions tail`: every event once, in order, however often the stream breaks."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from support.command import COMMAND, antenv, variables
from support.emulator import Emulator
from support.waiting import until

IDLE = "session.status_idle"


def session_with(emulator: Emulator, *steps: dict[str, Any], **more: Any) -> str:
    """Creates a session whose agent takes these steps; returns its identifier."""
    environment = emulator.create_environment("hosts", config={"type": "self_hosted"})
    session: str = emulator.enqueue(environment)["data"]["id"]
    emulator.control("POST", "/_emulator/scripts", {"session_id": session, "steps": steps, **more})
    return session


def add(emulator: Emulator, session: str, *steps: dict[str, Any]) -> None:
    """Has the session's agent take more steps."""
    emulator.control("POST", "/_emulator/scripts", {"session_id": session, "steps": steps})


def send(emulator: Emulator, session: str, event: dict[str, Any]) -> None:
    """Sends an event to a session."""
    parameters = json.dumps({"session_id": session, "events": [event]})
    done = antenv("call", "sessions.events.send", parameters, env=variables(emulator))
    assert done.returncode == 0, done.stderr


def send_message(emulator: Emulator, session: str) -> None:
    """Begins a turn of the session's agent."""
    send(emulator, session, {"type": "user.message", "content": [{"type": "text", "text": "go on"}]})


def answer_call(emulator: Emulator, session: str) -> None:
    """Sends the result of the one call that is open."""
    (script,) = emulator.control("GET", f"/_emulator/scripts?session_id={session}")["data"]
    (call,) = script["calls"]
    send(emulator, session, {"type": "user.custom_tool_result", "custom_tool_use_id": call["id"], "content": []})


def history(emulator: Emulator, session: str) -> list[str]:
    """The identifiers of a session's events."""
    parameters = json.dumps({"session_id": session})
    done = antenv("call", "--all", "sessions.events.list", parameters, env=variables(emulator))
    return [json.loads(line)["id"] for line in done.stdout.splitlines()]


def streams_open(emulator: Emulator) -> int:
    return int(emulator.control("GET", "/_emulator/connections")["streams_open"])


@contextmanager
def tail(emulator: Emulator, *arguments: str, **options: Any) -> Iterator[subprocess.Popen[str]]:
    """Follows a session until the block is left."""
    command = [COMMAND, "sessions", "tail", *arguments]
    pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    with subprocess.Popen(command, env=variables(emulator), text=True, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def rest(process: subprocess.Popen[str]) -> list[dict[str, Any]]:
    """The events up to the end of the process, which is a good one."""
    assert process.stdout is not None
    events = [json.loads(line) for line in process.stdout]
    assert process.wait(timeout=60) == 0
    return events


def wait_for(process: subprocess.Popen[str], kind: str) -> list[dict[str, Any]]:
    """The events up to the next one of this type."""
    assert process.stdout is not None
    events: list[dict[str, Any]] = []
    while not events or events[-1]["type"] != kind:
        line = process.stdout.readline()
        assert line, f"it ended before {kind}"
        events.append(json.loads(line))
    return events


@pytest.mark.transports
def test_events_are_followed_to_the_end_of_the_session(emulator: Emulator) -> None:
    session = session_with(emulator, {"text": "before"}, {"wait": "stream"}, {"text": "after"}, {"terminate": True})
    with tail(emulator, session) as process:
        events = rest(process)
    assert [event["id"] for event in events] == history(emulator, session)
    assert [event["type"] for event in events if event["type"].startswith("agent")] == ["agent.message"] * 2
    assert events[-1]["type"] == "session.status_terminated"
    # What is over already is at its end at once.
    with tail(emulator, session, "--lines", "1") as process:
        assert rest(process) == events[-1:]
    with tail(emulator, session, "-n", "0", "--until-idle") as process:
        assert rest(process) == []


@pytest.mark.parametrize("then", ["cut", "end"])
def test_a_stream_that_breaks_loses_and_repeats_nothing(emulator: Emulator, then: str) -> None:
    session = session_with(emulator, {"text": "first"}, {"wait": "stream"})
    emulator.faults({"operation": "sessions.events.stream", "stream": {"after": 2, "then": then}, "count": 2})
    with tail(emulator, session, "--lines", "all") as process:
        events = wait_for(process, "agent.message")
        for number in range(3):
            add(emulator, session, {"text": f"turn {number}", "count": 3}, {"idle": "end_turn"})
            if number > 0:
                send_message(emulator, session)
            events += wait_for(process, IDLE)
        add(emulator, session, {"terminate": True})
        events += rest(process)
    assert [event["id"] for event in events] == history(emulator, session)
    opened = [each for each in emulator.take_requests() if each["operation"] == "sessions.events.stream"]
    assert len(opened) == 3


def test_a_history_that_fails_after_a_break_is_read_again(emulator: Emulator) -> None:
    session = session_with(emulator, {"text": "one"}, {"custom_tool": "weather", "input": {}}, {"wait": "results"})
    emulator.faults({"operation": "sessions.events.stream", "stream": {"after": 0, "then": "end"}})
    # The first history is well; of the second, all attempts of a call fail.
    history_of = {"operation": "sessions.events.list"}
    emulator.faults(history_of | {"latency_ms": 1}, history_of | {"status": 500, "count": 3})
    with tail(emulator, session, "--until-idle", "-n", "all") as process:
        assert process.stderr is not None
        assert process.stderr.readline().startswith("antenv: reconnecting: sessions.events.list: 500 server_error")
        until(lambda: streams_open(emulator) == 1, "it does not reconnect")
        answer_call(emulator, session)
        events = rest(process)
    assert [event["id"] for event in events] == history(emulator, session)
    assert events[-1]["type"] == IDLE


def test_until_idle_waits_for_the_end_of_the_turn(emulator: Emulator) -> None:
    steps: list[dict[str, Any]] = [
        {"wait": "stream"},
        {"custom_tool": "weather", "input": {}, "label": "w"},
        {"wait": "results"},
    ]
    session = session_with(emulator, *steps)
    with tail(emulator, session, "--until-idle") as process:
        asked = wait_for(process, IDLE)[-1]
        assert asked["stop_reason"]["type"] == "requires_action"
        answer_call(emulator, session)
        assert rest(process)[-1]["stop_reason"]["type"] == "end_turn"
    with tail(emulator, session, "--until-idle", "--lines=0") as process:
        assert rest(process) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_between_two_lines(emulator: Emulator, number: signal.Signals) -> None:
    session = session_with(emulator, {"text": "x" * 200_000, "count": 20}, {"wait": "stream"}, {"text": "last"})
    with tail(emulator, session, "-n", "all") as process:
        events = wait_for(process, "agent.message")
        process.send_signal(number)
        events += rest(process)  # each line is whole, or was not begun
    identifiers = [event["id"] for event in events]
    assert identifiers == history(emulator, session)[: len(identifiers)]


def test_a_reader_that_has_gone_ends_it_quietly(emulator: Emulator) -> None:
    session = session_with(emulator, {"wait": "stream"}, {"text": "one"})
    with tail(emulator, session) as process:
        assert process.stdout is not None and process.stderr is not None
        wait_for(process, IDLE)
        process.stdout.close()
        send_message(emulator, session)
        assert process.wait(timeout=60) == 0 and process.stderr.read() == ""
    until(lambda: streams_open(emulator) == 0, "the stream stays open")


def test_what_cannot_be_followed_is_an_error(emulator: Emulator) -> None:
    env = variables(emulator)
    done = antenv("sessions", "tail", "session_missing", env=env)
    assert (done.returncode, done.stdout) == (1, "") and json.loads(done.stderr)["http_status"] == 404
    done = antenv("sessions", "tail", "session_1", "--lines", "some", env=env)
    assert done.returncode == 2 and "neither a number nor `all`" in done.stderr
    done = antenv("sessions", "tail", "session_1", env=env | {"ANTHROPIC_BASE_URL": "http://127.0.0.1:1"})
    assert done.returncode == 1 and json.loads(done.stderr)["status"] == "connection"
