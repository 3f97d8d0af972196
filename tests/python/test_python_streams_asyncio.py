"""Streams and downloads whose events and ends are awaited."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import pytest

import antenv
from python.test_python_asyncio import LOOPS, until
from python.test_python_streams import FAILURES, REFUSED, number, streams_open
from python.worker_env import TIMEOUT, WorkerEnv
from support.emulator import Emulator
from support.events import Http1Events, Peer, Script, event, holding, streaming
from support.http1 import Exchange, Http1Server, response

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest) -> Run:
    """Runs a coroutine on each kind of loop."""

    def run(main: Coroutine[Any, Any, None]) -> None:
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(main)

    return run


@contextlib.asynccontextmanager
async def serving(**scripts: Script) -> AsyncIterator[tuple[Http1Events, antenv.AsyncClient]]:
    """A server whose sessions are named like these scripts, and a client of it."""
    with Http1Events(scripts) as server:
        async with antenv.AsyncClient(api_key="k", base_url=server.url, max_retries=0) as client:
            yield server, client


@pytest.mark.transports
def test_an_items_own_client_serves_its_session(strict_emulator: Emulator) -> None:
    served = WorkerEnv(strict_emulator)
    steps = [{"wait": "stream"}, {"tool": "bash", "input": {"command": "ls"}}, {"wait": "results"}, {"terminate": True}]
    strict_emulator.control("POST", "/_emulator/scripts", {"environment_id": served.environment, "steps": steps})
    served.enqueue()

    async def serve(lease: antenv.AsyncLease) -> None:
        client, session = lease.client(), lease.session_id
        async with client.sessions.events.stream(session) as stream:
            async for one in stream:
                if one["type"] == "agent.tool_use":
                    result: antenv.types.UserToolResultParams = {"type": "user.tool_result", "tool_use_id": one["id"]}
                    await client.sessions.events.send(session, events=[result])
                if one["type"] == "session.status_terminated":
                    break
        kinds.extend([one["type"] async for one in client.sessions.events.list(session, limit=2)])

    async def main() -> None:
        client = antenv.AsyncClient(api_key="an-api-key", base_url=strict_emulator.url)
        async with client.environments.worker(**served.credentials, drain=True) as worker:
            await worker.run(serve)

    kinds: list[str] = []
    asyncio.run(main())
    assert kinds.count("user.tool_result") == 1 and kinds[-1] == "session.status_terminated"
    (report,) = strict_emulator.control("GET", "/_emulator/scripts")["data"]
    assert [attempt["credential"] for attempt in report["calls"][0]["attempts"]] == ["sessions_token"]
    assert streams_open(strict_emulator) == 0


def test_a_stream_is_opened_in_three_ways_and_ends_when_the_server_ends_it(run: Run) -> None:
    async def main() -> None:
        async with serving(s=streaming(*(event(one) for one in range(300)))) as (server, client):
            async with client.sessions.events.stream("s") as stream:
                assert stream.request_id == "req_1"
                assert [number(one) async for one in stream] == list(range(300))
                assert await stream.next() is None
            opened = await client.sessions.events.stream("s")
            assert opened.request_id == "req_1" and number(await opened.next()) == 0
            await opened.close()
            assert await opened.next() is None
            assert len([one async for one in client.sessions.events.stream("s")]) == 300
            assert server.streams.opened["s"] == 3

    run(main())


def test_errors_are_raised_at_the_opening_and_at_the_end(run: Run) -> None:
    async def main() -> None:
        scripts = {name.replace(" ", "_"): failure[0] for name, failure in FAILURES.items()}
        scripts |= {name.replace(" ", "_"): refusal[0] for name, refusal in REFUSED.items()}
        async with serving(**scripts) as (_, client):
            for name, (_, kind, words) in FAILURES.items():
                stream = client.sessions.events.stream(
                    name.replace(" ", "_"), idle_timeout=0.5 if name == "silence" else 60, max_event_bytes=1000
                )
                assert number(await stream.next()) == 1
                for _ in range(2):
                    with pytest.raises(kind, match=words):
                        await stream.next()
            for name, (_, kind) in REFUSED.items():
                stream = client.sessions.events.stream(name.replace(" ", "_"))
                with pytest.raises(kind):
                    await stream
                with pytest.raises(kind):
                    await stream.next()
            with pytest.raises(antenv.InvalidArgumentError):
                await client.sessions.events.stream("")

    run(main())


def test_cancelling_closes_a_stream_and_a_timeout_around_a_wait_does_not(run: Run) -> None:
    def silent(peer: Peer) -> None:
        peer.wait_closed()

    async def main() -> None:
        async with serving(s=holding(event(1)), silent=silent) as (server, client):

            async def read(session: str) -> None:
                async with client.sessions.events.stream(session) as stream:
                    async for one in stream:
                        seen.append(one)

            seen: list[Any] = []
            reading = [asyncio.ensure_future(read(session)) for session in ("s", "silent")]
            await until(lambda: bool(seen) and server.streams.opened["silent"] == 1)
            for task in reading:
                task.cancel()
            assert all(isinstance(end, asyncio.CancelledError) for end in await gathered(reading))
            await until(lambda: server.streams.ended["s"] == server.streams.ended["silent"] == 1)

            async with client.sessions.events.stream("s") as stream:
                assert number(await stream.next()) == 1
                with pytest.raises(asyncio.TimeoutError):
                    await asyncio.wait_for(stream.next(), 0.05)
                waits = [asyncio.ensure_future(stream.next()) for _ in range(3)]
                await asyncio.sleep(0.05)
                assert server.streams.ended["s"] == 1
                await stream.close()
                assert await gathered(waits) == [None, None, None]
            await until(lambda: server.streams.ended["s"] == 2)

    run(main())


async def gathered(tasks: Sequence[asyncio.Future[Any]]) -> list[Any]:
    """How tasks ended."""
    return list(await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), TIMEOUT))


def test_tasks_that_share_a_stream_get_each_event_once(run: Run) -> None:
    async def main() -> None:
        async with serving(s=streaming(*(event(one) for one in range(1000)))) as (_, client):
            stream = client.sessions.events.stream("s")

            async def read() -> list[int]:
                return [number(one) async for one in stream]

            parts = await asyncio.wait_for(asyncio.gather(*(read() for _ in range(4))), TIMEOUT)
            assert sorted(one for part in parts for one in part) == list(range(1000))

    run(main())


def test_many_streams_take_no_threads_and_garbage_is_closed(run: Run) -> None:
    async def main() -> None:
        async with serving(s=holding(event(1)), first=streaming(event(1))) as (server, client):
            assert number(await client.sessions.events.stream("first").next()) == 1
            before = len(os.listdir("/proc/self/task")) - threading.active_count()
            streams = [await client.sessions.events.stream("s") for _ in range(50)]
            waits = [asyncio.ensure_future(stream.next()) for stream in streams]
            assert [number(await one) for one in waits] == [1] * 50
            waits = [asyncio.ensure_future(stream.next()) for stream in streams]
            await asyncio.sleep(0.05)
            # The server, which is in this process, has threads; the library and the loop start none.
            assert len(os.listdir("/proc/self/task")) - threading.active_count() <= before
            for wait in waits:
                wait.cancel()
            await gathered(waits)
            del streams, waits, wait
            gc.collect()
            await until(lambda: server.streams.ended["s"] == 50)

    run(main())


def test_a_stream_is_read_as_fast_as_its_events_are_taken(run: Run) -> None:
    total, sent = 3000, 0

    def script(peer: Peer) -> None:
        nonlocal sent
        peer.begin()
        for one in range(total):
            peer.send(event(one, "x" * 10_000))
            sent += 1
        peer.end()

    async def main() -> None:
        async with serving(s=script) as (_, client), client.sessions.events.stream("s") as stream:
            assert number(await stream.next()) == 0
            before = -1
            while before < sent:  # until the server has to wait
                before = sent
                await asyncio.sleep(0.5)
            assert sent < total
            assert [number(one) async for one in stream] == list(range(1, total))

    run(main())


def test_a_loop_that_ends_with_open_streams_closes_them(run: Run) -> None:
    server = Http1Events({"s": holding(event(1))})
    client = antenv.AsyncClient(api_key="k", base_url=server.url)
    seen: list[Any] = []

    async def read() -> None:
        async for one in client.sessions.events.stream("s"):
            seen.append(one)

    async def main() -> None:
        tasks = [asyncio.ensure_future(read()) for _ in range(3)]
        await until(lambda: len(seen) == len(tasks))

    with server:
        run(main())
        gc.collect()
        assert len(seen) == 3
        asyncio.run(until(lambda: server.streams.ended["s"] == 3))


def test_a_download_is_awaited_and_ends_when_it_is_cancelled(run: Run, tmp_path: Path) -> None:
    reached, closed = threading.Event(), threading.Event()

    def answer(exchange: Exchange) -> bytes | None:
        if "held" in exchange.request.target:
            exchange.connection.sendall(response(bytes(100_000))[:50_000])
            reached.set()
            exchange.connection.recv(1)  # until the client closes it
            closed.set()
            return None
        return response(b"{}", "404 Not Found") if "gone" in exchange.request.target else response(b"PK")

    async def main(url: str) -> None:
        async with antenv.AsyncClient(api_key="k", base_url=url, max_retries=0) as client:
            download, path = client.skills.versions.download, tmp_path / "file"
            assert (await download("1", skill_id="good", path=path)).bytes == 2 and path.read_bytes() == b"PK"
            with pytest.raises(antenv.NotFoundError):
                await download("1", skill_id="gone", path=path)
            task = asyncio.ensure_future(download("1", skill_id="held", path=tmp_path / "held"))
            await until(reached.is_set)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await until(closed.is_set)
            await until(lambda: list(tmp_path.iterdir()) == [path])
            with pytest.raises(antenv.InvalidArgumentError, match="path"):
                await download("1", skill_id="good", path=tmp_path)

    with Http1Server(answer) as server:
        run(main(server.url))
