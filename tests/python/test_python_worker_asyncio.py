"""The worker that is awaited: on asyncio's loops, uvloop's, and one that watches no descriptors."""

from __future__ import annotations

import asyncio
import functools
import gc
import logging
import os
import subprocess
import sys
import threading
import weakref
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import antenv
from antenv import types
from python.test_python_asyncio import LOOPS, LoopWithoutReaders, until
from python.worker_env import BRIEF, TIMEOUT, WorkerEnv, wait_until, worker_env
from support.emulator import Emulator

pytestmark = pytest.mark.transports

Run = Callable[[Coroutine[Any, Any, None]], None]


@pytest.fixture
def lasting(strict_emulator: Emulator) -> WorkerEnv:
    """One whose leases last."""
    return WorkerEnv(strict_emulator)


@pytest.fixture
def brief() -> Iterator[WorkerEnv]:
    """One whose leases get their heartbeats every few seconds."""
    with worker_env("--lease-ttl", str(BRIEF)) as found:
        yield found


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


async def unexpected(lease: antenv.AsyncLease) -> None:
    pytest.fail(f"there should be no {lease}")


async def taken(worker: antenv.AsyncWorker) -> antenv.AsyncLease:
    """The next item's lease, which must come."""
    lease = await asyncio.wait_for(worker.next(), TIMEOUT)
    assert lease is not None
    return lease


def lose(env: WorkerEnv, item: str) -> antenv.Lease:
    """Lets another worker take an item from the one that holds it; returns that one's lease.

    Its poll waits already when the lease expires: the worker that loses the item would claim it again.
    """
    worker = env.worker()
    with ThreadPoolExecutor() as pool:
        claimed = pool.submit(worker.next, TIMEOUT)
        wait_until(lambda: env.polls() == 1)
        env.advance(BRIEF + 1)
        other = claimed.result()
    assert other is not None and other.id == item
    return other


def test_a_loop_serves_item_after_item(lasting: WorkerEnv, run: Run) -> None:
    items = [lasting.enqueue() for _ in range(3)]

    async def main() -> None:
        served = []
        async with worker_of(lasting) as worker:
            async for lease in worker:
                async with lease:
                    assert isinstance(lease.work, types.Work) and lease.session_id == lease.work.data.id
                    assert lease.secret and lease.secret not in repr(lease) + repr(lease.work)
                    assert lease.state().state == "held" and not lease.lost and not lease.cancelled.is_set()
                    served.append(lease.id)
                assert lasting.state(lease.id) == "stopped"
                if len(served) == len(items):
                    worker.stop()
            assert worker.stats()["finished"] == 3 and "antenv_worker_claimed_total" in worker.metrics()
        assert served == items and await worker.next() is None
        assert repr(worker) == "<antenv.AsyncWorker, closed>"

    run(main())


def test_many_at_once_take_no_threads(lasting: WorkerEnv, run: Run) -> None:
    items = {item["id"] for item in lasting.emulator.enqueue(lasting.environment, count=128)["data"]}

    async def main() -> None:
        served: Counter[str] = Counter()
        held, most = asyncio.Event(), 0
        worker = worker_of(lasting, concurrency=64, drain=True)
        before = threading.active_count()

        async def handler(lease: antenv.AsyncLease) -> None:
            nonlocal most
            served[lease.id] += 1
            most = max(most, worker.stats()["leases_held"])
            if len(served) == 64:
                assert threading.active_count() <= before + 1, "the one that a loop without readers needs"
                assert len(os.listdir("/proc/self/task")) < before + 12, "the library's own among them"
                held.set()
            await held.wait()

        await worker.run(handler)
        assert served == Counter(items) and most <= 64
        stops = Counter(request["path"].split("/")[-2] for request in lasting.requests("work.stop"))
        assert stops == Counter(items)

    run(main())


def test_tasks_share_a_worker(lasting: WorkerEnv, run: Run) -> None:
    items = {item["id"] for item in lasting.emulator.enqueue(lasting.environment, count=30)["data"]}

    async def main() -> None:
        worker = worker_of(lasting, concurrency=5)
        served: list[str] = []

        async def serve() -> None:
            async for lease in worker:
                async with lease:
                    served.append(lease.id)
                if len(served) == len(items):
                    worker.stop()

        await asyncio.gather(*(serve() for _ in range(7)))
        assert sorted(served) == sorted(items)

    run(main())


def test_cancelling_the_task_that_iterates_leaves_nothing_behind(lasting: WorkerEnv, run: Run) -> None:
    async def main() -> None:
        async def serve(found: list[weakref.ref[antenv.AsyncWorker]]) -> None:
            worker = worker_of(lasting, concurrency=3)
            found.append(weakref.ref(worker))
            async for _ in worker:
                pytest.fail("there is no item")

        found: list[weakref.ref[antenv.AsyncWorker]] = []
        task = asyncio.ensure_future(serve(found))
        await until(lambda: lasting.polls() == 1)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        del task
        await asyncio.sleep(0)  # the loop has the task in hand until then
        gc.collect()
        assert found[0]() is None
        await until(lambda: lasting.polls() == 0)
        # A wait that was given up takes no item from the next one.
        worker = worker_of(lasting)
        for _ in range(3):
            with pytest.raises(asyncio.TimeoutError):
                await asyncio.wait_for(worker.next(), 0.02)
        item = lasting.enqueue()
        async with await taken(worker) as lease:
            assert lease.id == item
        await worker.close()

    run(main())


def test_a_wait_that_is_cancelled_when_an_item_is_there_leaves_it_to_others(lasting: WorkerEnv) -> None:
    async def main() -> None:
        worker = worker_of(lasting)
        first, second = asyncio.ensure_future(worker.next()), asyncio.ensure_future(worker.next())
        await until(lambda: lasting.polls() == 1)
        lasting.enqueue()
        wait_until(lambda: worker.stats()["claimed"] == 1)  # while the loop stands still
        assert worker._queue
        worker._queue._collect()  # wakes the first task, which is cancelled before it runs
        first.cancel()
        lease = await asyncio.wait_for(second, TIMEOUT)
        assert first.cancelled() and lease is not None
        await lease.finish()

    asyncio.run(main())


def test_closing_a_worker_wakes_those_who_wait(lasting: WorkerEnv, run: Run) -> None:
    async def main() -> None:
        for end in ("stop", "close"):
            worker = worker_of(lasting)
            waiting = [asyncio.ensure_future(worker.next()) for _ in range(3)]
            await asyncio.sleep(0)
            if end == "stop":
                worker.stop()
            else:
                await worker.close()
            assert await asyncio.wait_for(asyncio.gather(*waiting), TIMEOUT) == [None] * 3

    run(main())


def test_an_item_that_is_to_be_stopped_notifies_its_holder(brief: WorkerEnv, run: Run) -> None:
    async def main() -> None:
        item = brief.enqueue()
        async with await taken(worker_of(brief)) as lease:
            waiting = [asyncio.ensure_future(lease.cancelled.wait()) for _ in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            brief.stop(item)
            assert await asyncio.wait_for(asyncio.gather(*waiting[1:]), TIMEOUT) == [True, True]
            assert lease.cancelled.is_set() and lease.state().reason == "asked" and not lease.lost
            assert await lease.cancelled.wait()
        assert brief.state(item) == "stopped"
        assert lease.cancelled.is_set() and await lease.cancelled.wait(), "it has ended"
        with pytest.raises(antenv.ClosedError):
            await lease.finish()

    run(main())


def test_finishing_wakes_those_who_wait(lasting: WorkerEnv, run: Run) -> None:
    async def main() -> None:
        lasting.enqueue()
        lease = await taken(worker_of(lasting))
        waiting = asyncio.ensure_future(lease.cancelled.wait())
        await asyncio.sleep(0)
        done = await lease.finish(force=False, timeout=60)
        assert isinstance(done, types.Work) and done.state == "stopping"
        assert await asyncio.wait_for(waiting, TIMEOUT)

    run(main())


def test_a_lost_lease_is_not_finished(brief: WorkerEnv, run: Run, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        brief.enqueue()
        worker = worker_of(brief)
        async with await taken(worker) as lease:
            other = lose(brief, lease.id)
            await asyncio.wait_for(lease.cancelled.wait(), TIMEOUT)
            assert lease.lost and lease.state().reason == "taken"
        (record,) = [record for record in caplog.records if record.getMessage().startswith("an item was not finished")]
        assert record.levelno == logging.WARNING and lease.id in record.getMessage()
        assert lease.lost and brief.requests("work.stop") == []
        other.finish()
        brief.enqueue()
        lease = await taken(worker)
        other = lose(brief, lease.id)
        await asyncio.wait_for(lease.cancelled.wait(), TIMEOUT)
        with pytest.raises(antenv.LeaseLostError):
            await lease.finish()
        other.finish()

    run(main())


def test_a_handler_is_cancelled_when_its_lease_is_lost_or_its_stop_requested(
    brief: WorkerEnv, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        seen: list[str | None] = []
        held = asyncio.Event()
        worker = worker_of(brief)

        async def handler(lease: antenv.AsyncLease) -> None:
            held.set()
            if len(seen) == 2:
                return worker.stop()
            try:
                await asyncio.sleep(TIMEOUT)
            except asyncio.CancelledError:
                seen.append(lease.state().reason)
                raise

        running = asyncio.ensure_future(worker.run(handler))
        item = brief.enqueue()
        await held.wait()
        other = lose(brief, item)
        await until(lambda: seen == ["taken"])
        other.finish()
        held.clear()
        item = brief.enqueue()
        await held.wait()
        brief.stop(item)
        await until(lambda: seen == ["taken", "asked"] and brief.state(item) == "stopped")
        item = brief.enqueue()
        await running
        assert brief.state(item) == "stopped"
        (record,) = [record for record in caplog.records if record.getMessage().startswith("an item was not finished")]
        assert "was not finished" in record.getMessage()

    run(main())


def test_what_a_handler_raises_is_logged_and_the_others_go_on(
    lasting: WorkerEnv, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    items = [lasting.enqueue() for _ in range(3)]

    async def main() -> None:
        async def handler(lease: antenv.AsyncLease) -> None:
            if lease.id == items[0]:
                raise ValueError("of no use")
            if lease.id == items[1]:
                await lease.finish()

        await worker_of(lasting, concurrency=2, drain=True).run(handler)

    run(main())
    assert {lasting.state(item) for item in items} == {"stopped"}
    (record,) = [record for record in caplog.records if record.name.startswith("antenv")]
    assert record.name == "antenv.worker" and record.exc_info and record.exc_info[0] is ValueError
    assert items[0] in record.getMessage()


def test_a_permanent_error_is_raised_when_the_handlers_are_done(lasting: WorkerEnv, run: Run) -> None:
    async def main() -> None:
        wrong = worker_of(lasting, environment_key="sk-ant-oat01-wrong")
        waiting = [asyncio.ensure_future(wrong.next()) for _ in range(2)]
        for one in waiting:
            with pytest.raises(antenv.AuthenticationError):
                await one
        with pytest.raises(antenv.AuthenticationError):
            await wrong.run(unexpected)
        lasting.enqueue()
        worker = worker_of(lasting, concurrency=2)
        served: list[str] = []

        async def handler(lease: antenv.AsyncLease) -> None:
            lasting.emulator.faults({"operation": "work.poll", "status": 403, "count": 5})
            await until(lambda: worker.stats()["state"] == "failed")
            served.append(lease.id)

        with pytest.raises(antenv.PermissionDeniedError):
            await worker.run(handler)
        assert len(served) == 1 and worker.stats()["finished"] == 1

    run(main())


def test_cancelling_run_cancels_the_handlers_and_finishes_their_items(lasting: WorkerEnv, run: Run) -> None:
    items = {lasting.enqueue() for _ in range(3)}

    async def main() -> None:
        served: list[str] = []
        cancelled: list[str] = []
        worker = worker_of(lasting, concurrency=3)

        async def handler(lease: antenv.AsyncLease) -> None:
            served.append(lease.id)
            try:
                await asyncio.sleep(TIMEOUT)
            except asyncio.CancelledError:
                cancelled.append(lease.id)
                raise

        running = asyncio.ensure_future(worker.run(handler))
        await until(lambda: len(served) == 3)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert set(cancelled) == items and {lasting.state(item) for item in items} == {"stopped"}
        assert worker.stats()["state"] in ("stopping", "stopped")

    run(main())


def test_a_stop_lets_the_handlers_end_or_notifies_them_when_the_grace_is_over(lasting: WorkerEnv, run: Run) -> None:
    async def main() -> None:
        for grace, seconds, reasons in ((30, 0.1, []), (0.1, TIMEOUT, ["shutdown"])):
            lasting.enqueue()
            worker = worker_of(lasting, grace=grace)
            seen: list[str | None] = []

            async def handler(
                lease: antenv.AsyncLease,
                worker: antenv.AsyncWorker = worker,
                seconds: float = seconds,
                seen: list[str | None] = seen,
            ) -> None:
                worker.stop()
                try:
                    await asyncio.sleep(seconds)
                except asyncio.CancelledError:
                    seen.append(lease.state().reason)
                    raise

            await worker.run(handler)
            assert seen == reasons

    run(main())


def test_the_client_of_a_lease_has_the_items_token(lasting: WorkerEnv, run: Run) -> None:
    async def main() -> None:
        lasting.enqueue()
        async with await taken(worker_of(lasting)) as lease, lease.client() as client:
            assert type(client) is antenv.AsyncClient
            await client.request("GET", f"/v1/sessions/{lease.session_id}")
        (request,) = lasting.requests("sessions.retrieve")
        assert "sk-ant-req-" in request["headers"]["authorization"]

    run(main())


def test_a_lease_that_is_garbage_collected_is_abandoned(lasting: WorkerEnv, run: Run) -> None:
    async def main() -> None:
        lasting.enqueue()
        worker = worker_of(lasting)
        lease = await taken(worker)
        waiting = asyncio.ensure_future(lease.cancelled.wait())
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        del lease, waiting
        gc.collect()
        await until(lambda: worker.stats()["abandoned"] == 1)

    run(main())


def test_a_worker_serves_one_loop_after_the_other(lasting: WorkerEnv) -> None:
    worker = worker_of(lasting, concurrency=2)

    async def serve() -> None:
        async with await taken(worker):
            pass

    for factory in LOOPS.values():
        lasting.enqueue()
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(serve())
    assert worker.stats()["finished"] == len(LOOPS)


def test_a_run_that_is_cancelled_while_no_handler_runs_stops_the_worker(lasting: WorkerEnv, run: Run) -> None:
    async def main() -> None:
        worker = worker_of(lasting)
        running = asyncio.ensure_future(worker.run(unexpected))
        await until(lambda: lasting.polls() >= 1)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert worker.stats()["state"] != "running"
        assert await worker.next() is None

    run(main())


def test_a_loop_that_ends_in_the_middle_leaves_nothing_behind(lasting: WorkerEnv) -> None:
    lasting.enqueue()

    async def leave() -> None:
        async def handler(lease: antenv.AsyncLease) -> None:
            await asyncio.sleep(TIMEOUT)

        worker = worker_of(lasting)
        running.append(asyncio.ensure_future(worker.run(handler)))
        await until(lambda: running[0].done() or worker.stats()["leases_held"] == 1)
        assert not running[0].done(), running[0]

    for factory in (asyncio.new_event_loop, LoopWithoutReaders):
        running: list[asyncio.Future[None]] = []
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(leave())  # it cancels what is left
        assert running[0].cancelled()
        lasting.enqueue()


FORKS = """
import asyncio, os, sys, antenv
client = antenv.AsyncClient(environment_key=sys.argv[2], base_url=sys.argv[1])
worker = client.environments.worker(sys.argv[3])
async def main():
    return await worker.next()
lease = asyncio.run(main())
child = os.fork()
if child == 0:
    async def refused():
        for use in (worker.next, lease.finish, lease.cancelled.wait):
            try:
                await use()
            except antenv.ClosedError:
                continue
            raise SystemExit("not refused")
        await worker.close()
    asyncio.run(refused())
    raise SystemExit
assert os.waitpid(child, 0)[1] == 0
asyncio.run(lease.finish())
print(worker.stats()["finished"])
"""


def test_a_child_does_not_have_its_parents_worker(lasting: WorkerEnv) -> None:
    lasting.enqueue()
    command = [sys.executable, "-W", "error", "-c", FORKS, lasting.emulator.url, lasting.key, lasting.environment]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "1\n", "")


def test_a_worker_that_has_nothing_to_do_is_stopped_from_its_loop(lasting: WorkerEnv, run: Run) -> None:
    async def main() -> None:
        worker = worker_of(lasting)
        running = asyncio.ensure_future(worker.run(unexpected))
        await until(lambda: lasting.polls() == 1)
        asyncio.get_running_loop().call_soon(worker.stop)
        await running

    run(main())


def test_an_item_whose_handler_raises_is_abandoned_if_that_is_wanted(
    lasting: WorkerEnv, run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    failing, succeeding = lasting.enqueue(), lasting.enqueue()

    async def handler(lease: antenv.AsyncLease) -> None:
        if lease.id == failing:
            raise ValueError("try another time")

    async def main() -> None:
        worker = worker_of(lasting, drain=True)
        await worker.run(handler, on_error="abandon")
        assert (worker.stats()["abandoned"], worker.stats()["finished"]) == (1, 1)

    run(main())
    assert (lasting.state(failing), lasting.state(succeeding)) == ("active", "stopped")
    assert f"its item is abandoned: work_id={failing}" in caplog.text


def test_run_rejects_what_it_cannot_use(lasting: WorkerEnv, run: Run) -> None:
    async def handler(lease: antenv.AsyncLease) -> None: ...

    async def main() -> None:
        worker = worker_of(lasting)
        with pytest.raises(TypeError, match=r"use Worker\.run, of antenv\.Client's worker"):
            await worker.run(print)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="on_error must be"):
            await worker.run(handler, on_error="retry")  # type: ignore[call-overload]
        worker.stop()

        @functools.wraps(handler)
        def wrapped(lease: antenv.AsyncLease) -> Coroutine[Any, Any, None]:
            return handler(lease)

        await worker.run(wrapped)
        await worker.run(functools.partial(handler))

    run(main())
