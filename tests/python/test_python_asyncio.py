"""The client that is awaited: on asyncio's loops, uvloop's, and one that watches no descriptors."""

from __future__ import annotations

import asyncio
import gc
import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

import pytest
import uvloop

import antenv
from antenv import types
from python.worker_env import TIMEOUT
from support.emulator import Emulator


class LoopWithoutReaders(asyncio.SelectorEventLoop):
    """A loop like those of Windows, which watch no descriptors."""

    def add_reader(self, *_: Any) -> None:  # type: ignore[override]
        raise NotImplementedError


LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop,
    "uvloop": uvloop.new_event_loop,
    "without readers": LoopWithoutReaders,
}
Run = Callable[[Callable[[antenv.AsyncClient], Coroutine[Any, Any, None]]], None]


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest, emulator: Emulator) -> Run:
    """Runs a coroutine with a client, on each kind of loop."""

    def run(main: Callable[[antenv.AsyncClient], Coroutine[Any, Any, None]]) -> None:
        async def with_client() -> None:
            async with antenv.AsyncClient(api_key="k", base_url=emulator.url) as client:
                await main(client)

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            runner.run(with_client())

    return run


async def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        await asyncio.sleep(0.005)


def test_an_environment_lives_through_all_operations(run: Run) -> None:
    async def main(client: antenv.AsyncClient) -> None:
        created = await client.environments.create(name="one", config={"type": "self_hosted"})
        assert isinstance(created, types.Environment) and isinstance(created.config, types.SelfHostedConfig)
        assert await client.environments.retrieve(created.id) == created
        assert (await client.environments.update(created.id, name="two")).name == "two"
        assert await client.environments.work.poll(created.id) is None
        assert (await client.environments.work.stats(created.id)).depth == 0
        assert [item async for item in client.environments.work.list(created.id)] == []
        assert (await client.environments.archive(created.id)).archived_at
        assert isinstance(await client.environments.delete(created.id), types.EnvironmentDeleted)
        with pytest.raises(antenv.NotFoundError):
            await client.environments.retrieve(created.id)
        with pytest.raises(antenv.InvalidArgumentError) as caught:
            await client.environments.create(name="")
        assert caught.value.parameter == "name"

    run(main)


def test_a_list_gives_every_item_of_every_page(run: Run, emulator: Emulator) -> None:
    async def main(client: antenv.AsyncClient) -> None:
        ids = {(await client.environments.create(name=f"e{number}")).id for number in range(5)}
        page = await client.environments.list(limit=2)
        assert isinstance(page, antenv.AsyncPage) and len(page.data) == 2
        assert {environment.id async for environment in page} == ids
        assert {environment.id async for environment in client.environments.list(limit=2)} == ids
        assert [len(page.data) async for page in client.environments.list(limit=2).pages()] == [2, 2, 1]
        response = await client.environments.with_raw_response.list(limit=4)
        assert len(response.parse().data) == 4 and response.request_id
        emulator.faults({"status": 400, "count": 1})
        with pytest.raises(antenv.BadRequestError):
            await page.get_next_page()

    run(main)


def test_other_endpoints_and_raw_responses(run: Run) -> None:
    async def main(client: antenv.AsyncClient) -> None:
        made = await client.request("POST", "/v1/environments", body={"name": "by hand"})
        assert await client.call("environments.retrieve", environment_id=made["id"]) == made
        response = await client.environments.with_raw_response.retrieve(made["id"])
        assert response.parse().to_dict() == made and response.status_code == 200
        assert client.stats()["calls"]["succeeded"] == 3

    run(main)


def test_cancelling_a_task_cancels_its_call(run: Run, emulator: Emulator) -> None:
    emulator.faults({"operation": "environments.list", "latency_ms": 60_000, "count": 1})

    async def main(client: antenv.AsyncClient) -> None:
        task = asyncio.ensure_future(first_page(client))
        await until(lambda: len(emulator.control("GET", "/_emulator/requests")["data"]) == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        await until(lambda: client.stats()["calls"]["in_flight"] == 0)
        assert client.stats()["failures"] == {"cancelled": 1}
        with pytest.raises(asyncio.TimeoutError):
            emulator.faults({"operation": "environments.list", "latency_ms": 60_000, "count": 1})
            await asyncio.wait_for(first_page(client), 0.05)
        await client.environments.create(name="the client goes on")

    run(main)


async def first_page(client: antenv.AsyncClient) -> antenv.AsyncPage[types.Environment]:
    return await client.environments.list()


def test_a_thousand_calls_in_flight_take_no_threads(run: Run, emulator: Emulator) -> None:
    async def main(client: antenv.AsyncClient) -> None:
        environment = await client.environments.create(name="queue", config={"type": "self_hosted"})
        before = threading.active_count()
        polls = [
            asyncio.ensure_future(client.environments.work.poll(environment.id, block_ms=999)) for _ in range(1000)
        ]
        await until(lambda: client.stats()["calls"]["in_flight"] >= 900 or all(poll.done() for poll in polls))
        assert threading.active_count() <= before + 1, "the one that a loop without readers needs"
        threads = len(os.listdir("/proc/self/task"))
        assert threads < before + 12, "the library's own among them"
        assert set(await asyncio.gather(*polls)) == {None}

    run(main)


def test_a_client_serves_one_loop_after_the_other(emulator: Emulator) -> None:
    client = antenv.AsyncClient(api_key="k", base_url=emulator.url)

    async def use() -> Any:
        return await client.environments.list()

    for factory in (*LOOPS.values(), *LOOPS.values()):
        with asyncio.Runner(loop_factory=factory) as runner:
            assert runner.run(use()).data == []
    asyncio.run(client.close())

    async def refused() -> None:
        with pytest.raises(antenv.ClosedError):
            await client.environments.list()

    asyncio.run(refused())


def test_loops_in_several_threads_at_once(emulator: Emulator) -> None:
    client = antenv.AsyncClient(api_key="k", base_url=emulator.url)
    names: list[str] = []

    async def create(number: int) -> None:
        made = await asyncio.gather(*(client.environments.create(name=f"{number}.{step}") for step in range(50)))
        names.extend(environment.name for environment in made)

    threads = [threading.Thread(target=lambda number=number: asyncio.run(create(number))) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(names)) == 200


def test_a_loop_that_is_gone_leaves_nothing_behind(emulator: Emulator) -> None:
    client = antenv.AsyncClient(api_key="k", base_url=emulator.url)

    def once() -> weakref.ref[asyncio.AbstractEventLoop]:
        with asyncio.Runner() as runner:
            runner.run(_list(client))
            return weakref.ref(runner.get_loop())

    once()
    gc.collect()
    descriptors = len(os.listdir("/proc/self/fd"))
    for _ in range(20):
        gone = once()
    gc.collect()
    assert gone() is None
    assert len(os.listdir("/proc/self/fd")) <= descriptors


def _list(client: antenv.AsyncClient) -> Coroutine[Any, Any, Any]:
    async def main() -> Any:
        return await client.environments.list()

    return main()


def test_a_loop_that_ends_with_calls_in_flight_cancels_them(emulator: Emulator) -> None:
    emulator.faults({"latency_ms": 60_000, "count": 3})
    client = antenv.AsyncClient(api_key="k", base_url=emulator.url)

    async def leave() -> None:
        tasks: list[Awaitable[Any]] = [asyncio.ensure_future(first_page(client)) for _ in range(3)]
        await until(lambda: len(emulator.control("GET", "/_emulator/requests")["data"]) == len(tasks))

    asyncio.run(leave())  # it cancels what is left
    deadline = time.monotonic() + TIMEOUT
    while client.stats()["calls"]["in_flight"]:
        assert time.monotonic() < deadline
    assert client.stats()["failures"] == {"cancelled": 3}
