"""Sessions that are served by tasks: many at once without threads, tools that are cancelled, and ends in the middle."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest

import antenv
from antenv import types
from python.serving import ASYNC_TOOLS, IDLE, RESULTS, STREAM, calls_of, custom, echo, enqueue, results_of
from python.test_python_asyncio import LOOPS, until
from python.worker_env import TIMEOUT, WorkerEnv
from support.agents import SCRIPTS, ending_of
from support.emulator import Emulator

pytestmark = pytest.mark.transports

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def env(strict_emulator: Emulator) -> WorkerEnv:
    return WorkerEnv(strict_emulator)


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each kind of loop."""

    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(asyncio.wait_for(main, 3 * TIMEOUT))

    return run


def worker_of(env: WorkerEnv, **params: Any) -> antenv.AsyncWorker:
    client = antenv.AsyncClient(environment_key=env.key, base_url=env.emulator.url)
    return client.environments.worker(env.environment, **params)


@contextlib.asynccontextmanager
async def claimed(env: WorkerEnv) -> AsyncIterator[antenv.AsyncLease]:
    """The lease on the next item, which is there."""
    async with worker_of(env, grace=3600) as worker:
        lease = await asyncio.wait_for(worker.next(), TIMEOUT)
        assert lease
        worker.stop()  # else it would claim again when this lease has ended: the item that the test enqueues next
        async with lease:
            yield lease


def test_scripted_agents_are_served_to_the_end(env: WorkerEnv) -> None:
    ends: dict[str, str] = {}

    async def serve(lease: antenv.AsyncLease) -> None:
        ends[lease.session_id] = (await lease.serve(ASYNC_TOOLS, max_idle=IDLE)).reason

    async def main() -> None:
        async with worker_of(env, concurrency=len(sessions), drain=True) as worker:
            await worker.run(serve)

    sessions = [enqueue(env, *steps) for steps, _, _ in SCRIPTS.values()]
    asyncio.run(main())
    for session, (name, (_, calls, end)) in zip(sessions, SCRIPTS.items(), strict=True):
        assert ([ending_of(call) for call in calls_of(env, session)], ends[session]) == (calls, end), name
    stops = [request for request in env.emulator.take_requests() if request["operation"] == "work.stop"]
    assert len(stops) == len(sessions)


def test_fifty_sessions_at_once_take_no_threads(env: WorkerEnv) -> None:
    """The call of each session is answered when all of them run."""
    many, inside, threads = 50, 0, set()

    async def meet() -> str:
        nonlocal inside
        inside += 1
        await until(lambda: inside == many)
        threads.add(threading.active_count())
        return "met"

    async def main() -> None:
        threads.add(threading.active_count())
        async with worker_of(env, concurrency=many, drain=True) as worker:
            await worker.run(tools=[meet, echo_awaited], max_idle=IDLE)

    async def echo_awaited(**input: Any) -> str:
        return echo(**input)

    steps = [custom("meet"), RESULTS, custom("echo_awaited", a=1), RESULTS]
    sessions = [enqueue(env, *steps) for _ in range(many)]
    before = len(os.listdir("/proc/self/task")) - threading.active_count()
    asyncio.run(main())
    for session in sessions:
        assert results_of(env, session) == [("met", False), ('{"echo":{"a": 1}}', False)]
    assert len(threads) <= 2, "at most the thread of the log is new"
    assert len(os.listdir("/proc/self/task")) - threading.active_count() <= before + 1, "the library has one thread"


def test_tools_of_both_kinds_are_served_on_every_loop(env: WorkerEnv, run: Run) -> None:
    place = contextvars.ContextVar("place", default="")

    def plain(a: int) -> str:
        return f"{a} {threading.current_thread().name} {place.get()}"

    async def awaited(a: int) -> str:
        await asyncio.sleep(0.01)
        return f"{a} {threading.current_thread().name} {place.get()}"

    async def main() -> None:
        async with claimed(env) as lease:
            assert lease.session_stats() is None
            place.set("here")
            assert await lease.serve([plain, awaited], max_idle=IDLE) == types.SessionEnd(reason="idle")
            stats = lease.session_stats()
            assert stats and (stats["state"], stats["posted"], stats["open_calls"]) == ("ended", 3, 0)

    steps = [custom("plain", a=1), RESULTS, custom("awaited", a=2), RESULTS, custom("awaited", a="x"), RESULTS]
    session = enqueue(env, *steps)
    run(main())
    assert results_of(env, session) == [
        ("1 antenv-tool-plain here", False),
        (f"2 {threading.main_thread().name} here", False),
        ('invalid input: a must be an integer, not "x"', True),
    ]


def test_a_tool_whose_call_becomes_void_is_cancelled(env: WorkerEnv, run: Run) -> None:
    ends: list[str] = []

    async def stuck(how: str, call: antenv.ToolCall) -> str:
        if how == "interrupted":
            env.owner.sessions.events.send(call.session_id, events=[{"type": "user.interrupt"}])
        try:
            await asyncio.sleep(TIMEOUT)
        except asyncio.CancelledError:
            await asyncio.sleep(0.2)  # it is cancelled once only
            ends.append(f"{how} {call.is_void}")
            if how == "interrupted":
                raise
        return "too late"

    async def main(**params: Any) -> None:
        async with claimed(env) as lease:
            await lease.serve([stuck], max_idle=IDLE, **params)

    session = enqueue(env, custom("stuck", how="interrupted"), RESULTS)
    run(main())
    assert [call["ending"] for call in calls_of(env, session)] == ["interrupted"]
    session = enqueue(env, custom("stuck", how="late"), RESULTS)
    run(main(tool_timeout=0.2))
    assert results_of(env, session) == [("stuck did not finish within 200 ms", True)]
    assert ends == ["interrupted True", "late True"]


def test_a_tool_that_leaves_its_call_to_others_may_go_on_until_the_session_is_over(env: WorkerEnv, run: Run) -> None:
    ends: list[str] = []

    async def app(call: antenv.ToolCall) -> str:
        call.let_go()
        try:
            await asyncio.Event().wait()
        finally:
            ends.append(call.id)
        return "dropped"

    async def main() -> None:
        async with claimed(env) as lease:
            await lease.serve([app], max_idle=IDLE)
            assert len(ends) == 1, "the tool goes on without its session"

    session = enqueue(env, custom("app"), STREAM, {"pause_ms": 300}, {"answer": "app", "content": []}, RESULTS)
    run(main())
    (call,) = calls_of(env, session)
    assert ends == [call["id"]] and ending_of(call) == "another"


def test_what_a_tool_raises_is_its_result(env: WorkerEnv, caplog: pytest.LogCaptureFixture) -> None:
    async def broken(how: str) -> Any:
        await asyncio.sleep(0)
        if how == "value":
            raise ValueError("no such city")
        if how == "cancelled":
            raise asyncio.CancelledError
        if how == "stop":
            raise StopAsyncIteration
        if how == "object":
            return object()
        raise antenv.ToolError("chosen")

    def stopped() -> None:
        raise StopIteration("in a thread")

    async def main() -> None:
        async with claimed(env) as lease:
            await lease.serve([broken, stopped], max_idle=IDLE)

    hows = ("value", "cancelled", "stop", "object", "chosen")
    calls = [*(custom("broken", how=how) for how in hows), custom("stopped")]
    session = enqueue(env, *(step for call in calls for step in (call, RESULTS)))
    with caplog.at_level(logging.WARNING, "antenv.session"):
        asyncio.run(main())
    assert results_of(env, session) == [
        ("no such city", True),
        ("CancelledError", True),
        ("StopAsyncIteration", True),
        ("a tool cannot return object", True),
        ("chosen", True),
        ("in a thread", True),
    ]
    assert len([record for record in caplog.records if record.name == "antenv.session" and record.exc_info]) == 5


@pytest.mark.parametrize("kind", ["plain", "awaited"])
def test_what_is_no_failure_of_a_tool_leaves_the_loop(env: WorkerEnv, kind: str) -> None:
    def plain() -> None:
        raise SystemExit(7)

    async def awaited() -> None:
        raise SystemExit(7)

    async def main() -> None:
        async with claimed(env) as lease:
            await lease.serve([antenv.tool(plain if kind == "plain" else awaited, name="leave")])

    session = enqueue(env, custom("leave"), RESULTS)
    with pytest.raises(SystemExit):
        asyncio.run(main())
    assert [call["answered"] for call in calls_of(env, session)] == ["never"]


def test_cancelling_ends_a_session_and_its_tools(env: WorkerEnv, run: Run) -> None:
    running, ended = asyncio.Event(), []

    async def stuck() -> None:
        running.set()
        try:
            await asyncio.sleep(TIMEOUT)
        finally:
            await asyncio.sleep(0.01)
            ended.append(True)

    async def main() -> None:
        async with claimed(env) as lease:
            serving = asyncio.ensure_future(lease.serve([stuck]))
            await asyncio.wait_for(running.wait(), TIMEOUT)
            serving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await serving
            assert ended == [True], "it was waited for"
            assert lease.state().state == "held"
            running.clear()
            serving = asyncio.ensure_future(lease.serve([stuck]))  # it may be served again
            await asyncio.wait_for(running.wait(), TIMEOUT)
            serving.cancel()
            await asyncio.wait([serving])
            assert ended == [True, True]

    session = enqueue(env, custom("stuck"), RESULTS)
    run(main())
    assert [call["answered"] for call in calls_of(env, session)] == ["never"]


def test_a_lease_that_ends_in_the_middle_ends_the_session(env: WorkerEnv, run: Run) -> None:
    async def main() -> None:
        running = asyncio.Event()

        async def stuck() -> None:
            running.set()
            await asyncio.sleep(TIMEOUT)

        async with claimed(env) as lease:
            serving = asyncio.ensure_future(lease.serve([stuck]))
            await asyncio.wait_for(running.wait(), TIMEOUT)
            lease.abandon()
            assert (await asyncio.wait_for(serving, TIMEOUT)).reason == "lease_ended"
            with pytest.raises(antenv.ClosedError):
                await lease.serve([stuck])

    session = enqueue(env, custom("stuck"), RESULTS)
    run(main())
    assert [call["answered"] for call in calls_of(env, session)] == ["never"]


def test_calls_of_several_threads_run_at_once(env: WorkerEnv) -> None:
    inside = 0

    async def meet() -> str:
        nonlocal inside
        inside += 1
        await until(lambda: inside == 2)
        return "met"

    async def main() -> None:
        async with claimed(env) as lease:
            await lease.serve([meet], max_idle=IDLE, concurrency=2)

    threads = [{"start_thread": "a"}, {"start_thread": "b"}]
    calls = [{**custom("meet"), "thread": "a"}, {**custom("meet"), "thread": "b"}, RESULTS]
    session = enqueue(env, *threads, *calls)
    asyncio.run(main())
    assert results_of(env, session) == [("met", False)] * 2


def test_errors_are_raised(env: WorkerEnv) -> None:
    async def main() -> None:
        async with claimed(env) as lease:
            with pytest.raises(antenv.ConfigError, match="`max_idle` must be a number of seconds from 0 to 86400"):
                await lease.serve([echo], max_idle=-1)
            env.emulator.faults({"operation": "sessions.events.list", "status": 403})
            with pytest.raises(antenv.PermissionDeniedError):
                await lease.serve([echo])
        env.enqueue()
        async with worker_of(env) as worker:
            with pytest.raises(antenv.ConfigError, match="1 to 1000"):
                await worker.run(tools=[echo], concurrency=0)
            with pytest.raises(TypeError, match="either a handler or tools"):
                await worker.run()  # type: ignore[call-overload]

    enqueue(env, STREAM)
    asyncio.run(main())
