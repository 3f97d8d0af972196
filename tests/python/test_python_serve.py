"""Sessions that are served by threads: their tools, their ends, and what gets in the way."""

from __future__ import annotations

import contextvars
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import antenv
from antenv import _native, types
from python.serving import IDLE, RESULTS, STREAM, TOOLS, calls_of, custom, echo, enqueue, results_of, slow
from python.worker_env import TIMEOUT, WorkerEnv, wait_until, worker_env
from support.agents import SCRIPTS, ending_of
from support.emulator import Emulator

pytestmark = pytest.mark.transports


@pytest.fixture
def env(strict_emulator: Emulator) -> WorkerEnv:
    return WorkerEnv(strict_emulator)


@contextmanager
def claimed(env: WorkerEnv) -> Iterator[antenv.Lease]:
    """The lease on the next item, which is there."""
    with env.worker() as worker:
        lease = worker.next(TIMEOUT)
        assert lease
        with lease:
            yield lease


def served(env: WorkerEnv, *steps: dict[str, Any], tools: Any = TOOLS, **params: Any) -> list[tuple[Any, bool]]:
    """Serves a session whose agent plays these steps until it is idle; returns the results of its calls."""
    session = enqueue(env, *steps)
    with claimed(env) as lease:
        assert lease.serve(tools, **{"max_idle": IDLE, **params}) == types.SessionEnd(reason="idle")
    return results_of(env, session)


def test_scripted_agents_are_served_to_the_end(env: WorkerEnv) -> None:
    ends: dict[str, str] = {}

    def serve(lease: antenv.Lease) -> None:
        ends[lease.session_id] = lease.serve(TOOLS, max_idle=IDLE).reason

    sessions = [enqueue(env, *steps) for steps, _, _ in SCRIPTS.values()]
    with env.worker(concurrency=len(sessions), drain=True) as worker:
        worker.run(serve)
    for session, (name, (_, calls, end)) in zip(sessions, SCRIPTS.items(), strict=True):
        assert ([ending_of(call) for call in calls_of(env, session)], ends[session]) == (calls, end), name
    stops = [request for request in env.emulator.take_requests() if request["operation"] == "work.stop"]
    assert len(stops) == len(sessions)


@pytest.mark.deep
def test_a_stream_that_falls_silent_is_opened_again(env: WorkerEnv) -> None:
    """After a minute and a half: a stream that a program opens may be silent for ten minutes."""
    env.emulator.faults({"operation": "sessions.events.stream", "stream": {"after": 0, "then": "silence"}})
    begun = time.monotonic()
    assert served(env, STREAM, {"pause_ms": 5000}, custom("echo", a=1), RESULTS) == [('{"echo":{"a": 1}}', False)]
    assert time.monotonic() - begun < 500


def test_a_worker_serves_sessions_with_tools(env: WorkerEnv) -> None:
    sessions = [enqueue(env, custom("echo", a=number), RESULTS) for number in range(6)]
    with env.worker(concurrency=3, drain=True) as worker:
        worker.run(tools=[echo], max_idle=IDLE)
    assert [results_of(env, session) for session in sessions] == [
        [(f'{{"echo":{{"a": {number}}}}}', False)] for number in range(6)
    ]


def test_the_statistics_of_a_session(env: WorkerEnv) -> None:
    during: list[types.SessionStats | None] = []

    def look() -> str:
        during.append(lease.session_stats())
        return "seen"

    session = enqueue(env, custom("look"), RESULTS)
    with claimed(env) as lease:
        assert lease.session_stats() is None
        lease.serve([look], max_idle=IDLE)
    first, last = during[0], lease.session_stats()  # the lease has ended, too
    assert first and last
    assert (first["session_id"], first["state"], first["end"]) == (session, "live", None)
    assert (first["open_calls"], first["calls"], first["posted"]) == (1, 1, 0)
    assert (last["session_id"], last["state"], last["end"]) == (session, "ended", "idle")
    assert (last["open_calls"], last["calls"], last["posted"], last["confinement"]) == (0, 1, 1, None)
    assert set(last) == set(types.SessionStats.__annotations__) and set(last["memory"]) == set(
        types.MemoryStats.__annotations__
    )


def test_the_statistics_of_a_toolset(env: WorkerEnv, tmp_path: Path) -> None:
    enqueue(env, {"tool": "bash", "input": {"command": "true"}}, RESULTS)
    with claimed(env) as lease:
        lease.serve(toolset=True, workdir=tmp_path, max_idle=IDLE)
        stats = lease.session_stats()
    assert stats and (stats["toolset_calls"], stats["toolset_starts"]) == (1, 1)
    assert stats["confinement"] and "landlock_abi" in stats["confinement"]


def test_input_is_checked_and_content_is_passed_on(env: WorkerEnv) -> None:
    image = antenv.Image(b"\x89PNG")

    def add(a: int, b: int = 1) -> int:
        return a + b

    def draw(title: str) -> list[Any]:
        return [title, image]

    def find() -> str:
        return os.fsdecode(b"caf\xe9")  # the name of a file that is not in UTF-8

    def who(call: antenv.ToolCall) -> dict[str, Any]:
        assert call.input == {} and call.event["type"] == "agent.tool_use" and repr(call).startswith("<antenv.ToolCall")
        return {"id": call.id, "name": call.name, "session": call.session_id}

    calls = [custom("add", a=1), custom("add", b="x", c=1), custom("draw", title="Plan"), {"tool": "who", "input": {}}]
    calls.append(custom("find"))
    session = enqueue(env, *(step for call in calls for step in (call, RESULTS)))
    with claimed(env) as lease:
        lease.serve([add, draw, who, find], max_idle=IDLE)
    sum_, wrong, drawing, identity, found = results_of(env, session)
    assert sum_ == ("2", False)
    assert wrong == ('invalid input: b must be an integer, not "x"; c is unknown; a is missing', True)
    assert drawing == ([{"type": "text", "text": "Plan"}, image.block], False)
    assert json.loads(identity[0]) == {"id": calls_of(env, session)[3]["id"], "name": "who", "session": session}
    assert found == ("caf\ufffd", False)


def test_a_tool_that_fails_gives_its_message_and_is_logged(env: WorkerEnv, caplog: pytest.LogCaptureFixture) -> None:
    def broken(how: str) -> Any:
        if how == "value":
            raise ValueError("no such city")
        if how == "key":
            return dict[str, str]()["city"]
        if how == "mute":
            raise AssertionError
        if how == "object":
            return object()
        raise antenv.ToolError(content=["see", antenv.Image(b"GIF8")])

    steps = [
        step for how in ("value", "key", "mute", "object", "chosen") for step in (custom("broken", how=how), RESULTS)
    ]
    with caplog.at_level(logging.WARNING, "antenv.session"):
        *messages, chosen = served(env, *steps, tools=[broken])
    assert messages == [
        ("no such city", True),
        ("KeyError: 'city'", True),
        ("AssertionError", True),
        ("a tool cannot return object", True),
    ]
    assert chosen[1] and [block["type"] for block in chosen[0]] == ["text", "image"]
    logged = [record for record in caplog.records if record.name == "antenv.session" and record.exc_info]
    assert len(logged) == 4 and "tool=broken" in logged[0].getMessage()
    ((traceback, is_error),) = served(env, custom("broken", how="value"), RESULTS, tools=[broken], tracebacks=True)
    assert is_error and traceback.startswith("Traceback") and traceback.endswith("ValueError: no such city\n")


def test_calls_of_several_threads_run_at_once(env: WorkerEnv) -> None:
    place = contextvars.ContextVar("place", default="")
    both, seen = threading.Barrier(2), set()

    def meet() -> str:
        both.wait(TIMEOUT)
        seen.add(threading.current_thread())
        return place.get()

    place.set("here")
    threads = [{"start_thread": "a"}, {"start_thread": "b"}]
    calls = [{**custom("meet"), "thread": "a"}, {**custom("meet"), "thread": "b"}, RESULTS]
    assert served(env, *threads, *calls, tools=[meet], concurrency=2) == [("here", False)] * 2
    assert len(seen) == 2 and threading.current_thread() not in seen


def test_a_call_that_takes_too_long_is_answered_and_its_tool_sees_that(env: WorkerEnv) -> None:
    assert served(env, custom("slow"), RESULTS, tool_timeout=0.2) == [("slow did not finish within 200 ms", True)]


def test_what_is_no_failure_of_a_tool_ends_the_session(env: WorkerEnv) -> None:
    def leave() -> None:
        raise SystemExit(7)

    for concurrency in (1, 2):
        session = enqueue(env, custom("leave"), RESULTS)
        with claimed(env) as lease, pytest.raises(SystemExit):
            lease.serve([leave], concurrency=concurrency)
        assert [call["answered"] for call in calls_of(env, session)] == ["never"]
    enqueue(env, custom("leave"), RESULTS)
    with env.worker() as worker, pytest.raises(SystemExit):
        worker.run(tools=[leave])


ENDINGS: dict[str, Callable[[antenv.Lease], object]] = {
    "finished": lambda lease: lease.finish(),
    "abandoned": lambda lease: lease.abandon(),
    "released": lambda lease: lease.release(),
}


@pytest.mark.parametrize("concurrency", [1, 2])
def test_a_lease_that_ends_in_the_middle_ends_the_session(env: WorkerEnv, concurrency: int) -> None:
    for end in ENDINGS.values():
        session = enqueue(env, custom("slow"), RESULTS)
        with claimed(env) as lease, ThreadPoolExecutor() as pool:
            running = threading.Event()

            def begin(call: antenv.ToolCall) -> None:
                running.set()  # noqa: B023
                slow(call)

            serving = pool.submit(lease.serve, [antenv.tool(begin, name="slow")], concurrency=concurrency)
            assert running.wait(TIMEOUT)
            end(lease)
            assert serving.result(TIMEOUT).reason == "lease_ended"
            with pytest.raises(antenv.ClosedError):
                lease.serve([slow])
        assert [call["answered"] for call in calls_of(env, session)] == ["never"]


def test_a_stop_and_a_loss_of_the_lease_end_the_session() -> None:
    with worker_env("--lease-ttl", "1") as env:
        enqueue(env, STREAM)
        with claimed(env) as lease, ThreadPoolExecutor() as pool:
            serving = pool.submit(lease.serve, [echo], max_idle=0)
            env.stop(lease.id)
            assert serving.result(TIMEOUT).reason == "stop_requested"
        enqueue(env, STREAM)
        with claimed(env) as lease, env.worker() as other, ThreadPoolExecutor() as pool:
            serving = pool.submit(lease.serve, [echo], max_idle=0)
            env.advance(2)
            assert other.next(TIMEOUT)
            assert serving.result(TIMEOUT).reason == "lease_lost"


def test_what_the_server_refuses_is_raised(env: WorkerEnv) -> None:
    for operation, status, kind in (
        ("sessions.events.list", 403, antenv.PermissionDeniedError),
        ("sessions.events.stream", 401, antenv.AuthenticationError),
    ):
        enqueue(env, STREAM)
        env.emulator.faults({"operation": operation, "status": status})
        with claimed(env) as lease, pytest.raises(kind):
            lease.serve([echo])


def test_arguments_are_checked(env: WorkerEnv) -> None:
    async def awaited() -> None: ...

    enqueue(env, STREAM)
    with claimed(env) as lease:
        for params, parameter, words in (
            ({"concurrency": 0}, "concurrency", "1 to 1000"),
            ({"max_idle": -1}, "max_idle", "`max_idle` must be a number of seconds from 0 to 86400"),
            ({"tool_timeout": "x"}, "tool_timeout", "`tool_timeout` must be a number of seconds from 0 to 86400"),
            ({"concurency": 2}, "concurency", "concurency"),
        ):
            with pytest.raises(antenv.ConfigError, match=words) as caught:
                lease.serve([echo], **params)
            assert caught.value.parameter == parameter
        with pytest.raises(TypeError, match="the tool awaited is a coroutine function"):
            lease.serve([awaited])
        with pytest.raises(ValueError, match="two tools have the name echo"):
            lease.serve([echo, echo])
        with pytest.raises(TypeError, match="tools must be a list"):
            lease.serve(echo)  # type: ignore[arg-type]
    worker = env.worker()
    run: Any = worker.run
    for arguments, words in (
        ({}, "either a handler or tools"),
        ({"handler": print, "tools": [echo]}, "either a handler or tools"),
        ({"handler": print, "max_idle": 1}, "max_idle: only with tools"),
    ):
        with pytest.raises(TypeError, match=words):
            run(**arguments)


def test_a_wrong_configuration_ends_a_worker_and_leaves_its_item(env: WorkerEnv) -> None:
    item = env.enqueue()
    with env.worker() as worker, pytest.raises(antenv.ConfigError, match="1 to 1000"):
        worker.run(tools=[echo], concurrency=0)
    assert env.state(item) == "active"


def test_the_parameters_are_those_of_the_library(env: WorkerEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    enqueue(env, STREAM)
    given: list[bytes] = []

    def refuse(_lease: object, config: bytes, *_out: object) -> int:
        given.append(config)
        return 3

    with claimed(env) as lease:
        with pytest.raises(antenv.ConfigError) as caught:
            lease.serve([echo], odd=0)  # type: ignore[call-arg]
        known = set(caught.value.message.split("known are: ")[1].split(", "))
        assert known <= {*types.ServeParams.__annotations__, "tools"}
        monkeypatch.setattr(_native, "session_new", refuse)
        with pytest.raises(antenv.ConfigError):
            lease.serve([echo], toolset={"bash": False}, workdir=Path("/w"), sandbox=None, memory="read_only")
    assert json.loads(given[0]) == {
        "toolset": {"bash": False},
        "workdir": "/w",
        "memory": "read_only",
        "tools": ["echo"],
    }


INTERRUPTED = """
import asyncio, os, signal, sys, time
import antenv

signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs jobs in the background has it ignored
how, url, environment, key = sys.argv[1:]

def stuck() -> None:
    print("running", flush=True)
    time.sleep(3600)

async def stuck_async() -> None:
    print("running", flush=True)
    await asyncio.sleep(3600)

async def main() -> None:
    async with antenv.AsyncClient(environment_key=key, base_url=url).environments.worker(environment) as worker:
        async with await worker.next() as lease:
            await lease.serve([stuck if how == "async plain" else antenv.tool(stuck_async, name="stuck")])

def forked(lease) -> None:
    child = os.fork()
    if child == 0:
        try:
            lease.serve([stuck])
        except antenv.ClosedError:
            os._exit(7)
        os._exit(1)
    print("child", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)

if how.startswith("async"):
    asyncio.run(main())
else:
    with antenv.Client(environment_key=key, base_url=url).environments.worker(environment) as worker:
        with worker.next() as lease:
            forked(lease)
            if how == "waiting":
                print("running", flush=True)
            lease.serve([] if how == "waiting" else [stuck], concurrency=2 if how == "threads" else None)
"""


def test_ctrl_c_ends_a_session_at_once(env: WorkerEnv) -> None:
    """Its tool sleeps for an hour; the item is stopped all the same. In a forked child the lease serves nothing."""
    ways = ["in the thread", "threads", "waiting", "async", "async plain"]
    processes: list[tuple[str, str, Any]] = []
    try:
        for way in ways:
            session = enqueue(env, custom("stuck"), RESULTS)
            command = [sys.executable, "-c", INTERRUPTED, way, env.emulator.url, env.environment, env.key]
            pipes: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
            process: Any = subprocess.Popen(command, **pipes)
            processes.append((way, session, process))
            # Each has its item before one ends: until it is closed, a worker whose item is finished takes the next one.
            if not way.startswith("async"):
                assert process.stdout.readline() == "child 7\n"
            assert process.stdout.readline() == "running\n", process.stderr.read()
        for _, _, process in processes:
            process.send_signal(signal.SIGINT)
        for way, session, process in processes:
            _, errors = process.communicate(timeout=TIMEOUT)
            assert errors.endswith("KeyboardInterrupt\n"), (way, errors)
            assert [call["answered"] for call in calls_of(env, session)] == ["never"]
    finally:
        for _, _, process in processes:
            process.kill()
            process.communicate()
    stops = [request["status"] for request in env.requests("work.stop")]
    assert stops == [200] * len(ways)


EXITING = """
import sys, threading, time
import antenv

url, environment, key = sys.argv[1:]
running = threading.Event()

def stuck() -> None:
    running.set()
    time.sleep(3600)

worker = antenv.Client(environment_key=key, base_url=url).environments.worker(environment)
lease = worker.next()
threading.Thread(target=lease.serve, args=([stuck],), kwargs={"concurrency": 2}, daemon=True).start()
running.wait()
"""


def test_a_program_ends_while_a_session_is_served(env: WorkerEnv) -> None:
    enqueue(env, custom("stuck"), RESULTS)
    command = [sys.executable, "-W", "error", "-c", EXITING, env.emulator.url, env.environment, env.key]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_session_that_nobody_serves_any_more_keeps_no_stream(env: WorkerEnv) -> None:
    enqueue(env, custom("echo"), RESULTS)
    with claimed(env) as lease:
        assert lease.serve([echo], max_idle=IDLE).reason == "idle"
        wait_until(lambda: env.emulator.control("GET", "/_emulator/connections")["streams_open"] == 0)
