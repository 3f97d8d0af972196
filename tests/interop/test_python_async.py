"""The official asynchronous Python client, and the poller and the worker that come with it, unchanged.
Where they and the emulator disagree, the emulator is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic, ConflictError
from anthropic.resources.beta.environments import Work
from anthropic.types.beta import BetaEnvironment, BetaEnvironmentArchivedError, BetaEnvironmentNotFoundError
from anthropic.types.beta.environments import BetaHeartbeatPreconditionFailedError, BetaSelfHostedWork

from interop.python_sdk import (
    API_KEY,
    NO_HEARTBEAT,
    bearer,
    operations,
    refused,
    sessions_token,
    settings,
    start,
)
from support.emulator import Emulator

pytestmark = [pytest.mark.usefixtures("clean_environment"), pytest.mark.transports, pytest.mark.deep]


def test_the_asynchronous_client_does_every_operation_on_environments_and_work(strict_emulator: Emulator) -> None:
    async def lifecycle() -> None:
        async with AsyncAnthropic(api_key=API_KEY, **settings(strict_emulator)) as client:
            environments = client.beta.environments
            created = await environments.create(name="asynchronous", config={"type": "self_hosted"})
            environment_id = created.id
            assert await environments.retrieve(environment_id) == created
            renamed = await environments.update(environment_id, name="renamed")
            second = await environments.create(name="second")
            assert [listed async for listed in environments.list(limit=1)] == [second, renamed]
            await client.beta.sessions.create(agent="agent_interop", environment_id=environment_id)

            key = strict_emulator.environment_key(environment_id)
            async with AsyncAnthropic(auth_token=key, **settings(strict_emulator)) as worker:
                work = worker.beta.environments.work
                assert (await work.stats(environment_id)).depth == 1
                item: BetaSelfHostedWork | None = await work.poll(environment_id, block_ms=999)
                assert item is not None
                await work.ack(item.id, environment_id=environment_id)
                beat = await work.heartbeat(
                    item.id, environment_id=environment_id, expected_last_heartbeat=NO_HEARTBEAT
                )
                with refused(BetaHeartbeatPreconditionFailedError):
                    await work.heartbeat(item.id, environment_id=environment_id, expected_last_heartbeat=NO_HEARTBEAT)
                await work.heartbeat(
                    item.id, environment_id=environment_id, expected_last_heartbeat=beat.last_heartbeat
                )
                assert (await work.stop(item.id, environment_id=environment_id, force=True)).state == "stopped"
                with refused(ConflictError):
                    await work.stop(item.id, environment_id=environment_id)
                updated = await environments.work.update(
                    item.id, environment_id=environment_id, metadata={"result": "done"}
                )
                assert [listed async for listed in work.list(environment_id)] == [updated]
                assert await environments.work.retrieve(item.id, environment_id=environment_id) == updated

            await environments.archive(environment_id)
            with refused(BetaEnvironmentArchivedError):
                await environments.update(environment_id, name="too late")
            await environments.delete(environment_id)
            with refused(BetaEnvironmentNotFoundError):
                await environments.retrieve(environment_id)

    asyncio.run(lifecycle())
    recorded = set(operations(strict_emulator.take_requests()))
    assert len(recorded - {"sessions.create"}) == 14


def run_with(emulator: Emulator, body: Callable[[AsyncAnthropic], Awaitable[None]], *, strict: bool = True) -> None:
    """Runs the body with an asynchronous client that has an API key."""

    async def run() -> None:
        async with AsyncAnthropic(api_key=API_KEY, **settings(emulator, strict=strict)) as client:
            await asyncio.wait_for(body(client), 30)

    asyncio.run(run())


def test_the_official_poller_claims_acknowledges_and_stops_each_item(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    items = [item["id"] for item in strict_emulator.enqueue(hosted.id, count=2)["data"]]
    key = strict_emulator.environment_key(hosted.id)
    strict_emulator.take_requests()
    seen: list[str] = []

    async def poll(client: AsyncAnthropic) -> None:
        poller = client.beta.environments.work.poller(
            environment_id=hosted.id, environment_key=key, worker_id="interop", drain=True
        )
        async for item in poller:
            seen.append(item.id)
            if item.id == items[1]:
                # Whoever works on the item may stop it itself; the poller puts up with that.
                await asyncio.to_thread(work.stop, item.id, environment_id=hosted.id, force=True)

    run_with(strict_emulator, poll)
    assert seen == items
    own = [request for request in strict_emulator.take_requests() if "x-stainless-helper" in request["headers"]]
    cycle = ["work.poll", "work.ack", "work.stop"]
    assert operations(own) == [*cycle, *cycle, "work.poll"]
    assert [request["status"] for request in own] == [200, 200, 200, 200, 200, 409, 200]
    assert {bearer(request) for request in own} == {key}
    states = [client.beta.environments.work.retrieve(item, environment_id=hosted.id).state for item in items]
    assert states == ["stopping", "stopped"]


def test_the_official_poller_can_leave_the_stopping_to_others(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment
) -> None:
    item = strict_emulator.enqueue(hosted.id)

    async def poll(client: AsyncAnthropic) -> None:
        poller = client.beta.environments.work.poller(
            environment_id=hosted.id,
            environment_key=strict_emulator.environment_key(hosted.id),
            block_ms=None,
            drain=True,
            auto_stop=False,
        )
        assert [item.id async for item in poller] == [item["id"]]

    run_with(strict_emulator, poll)
    assert client.beta.environments.work.retrieve(item["id"], environment_id=hosted.id).state == "starting"


def test_the_official_poller_ends_when_its_environment_is_deleted(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment
) -> None:
    key = strict_emulator.environment_key(hosted.id)
    client.beta.environments.delete(hosted.id)

    async def poll(client: AsyncAnthropic) -> None:
        with refused(BetaEnvironmentNotFoundError):
            async for _ in client.beta.environments.work.poller(environment_id=hosted.id, environment_key=key):
                pass

    run_with(strict_emulator, poll)


def test_the_official_worker_stops_a_health_check_at_once(strict_emulator: Emulator, hosted: BetaEnvironment) -> None:
    item = strict_emulator.enqueue(hosted.id, data={"type": "healthcheck", "id": "healthcheck_1"})
    key = strict_emulator.environment_key(hosted.id)
    strict_emulator.take_requests()

    async def serve(client: AsyncAnthropic) -> None:
        worker = client.beta.environments.work.worker(environment_id=hosted.id, environment_key=key)
        running = asyncio.create_task(worker.run())
        await until(client, hosted.id, item["id"], "stopped")
        running.cancel()

    # The client's own types do not know such items, though its worker does.
    run_with(strict_emulator, serve, strict=False)
    own = helper_requests(strict_emulator)
    assert operations(own)[:3] == ["work.poll", "work.ack", "work.stop"]
    assert own[2]["body"] == {"force": True}
    assert bearer(own[0]) == bearer(own[1]) == key
    assert bearer(own[2]).startswith("sk-ant-req-")


def test_the_official_worker_takes_a_session_and_stops_its_item(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work, tmp_path: Path
) -> None:
    client.beta.sessions.create(agent="agent_interop", environment_id=hosted.id)
    item = start(work, hosted.id)
    strict_emulator.take_requests()
    # A worker that may not read a session gives its item up in good order.
    strict_emulator.faults({"operation": "sessions.events.stream", "status": 404})

    async def serve(client: AsyncAnthropic) -> None:
        await client.beta.environments.work.worker(workdir=tmp_path).handle_item(
            work_id=item.id, environment_id=hosted.id, session_id=item.data.id, work_secret=item.secret
        )

    run_with(strict_emulator, serve)
    own = helper_requests(strict_emulator)
    fetched = next(request for request in own if request["operation"] == "sessions.retrieve")
    assert (fetched["status"], bearer(fetched)) == (200, sessions_token(item))
    assert "sessions.events.stream" in operations(own)
    assert (own[-1]["operation"], own[-1]["status"]) == ("work.stop", 200)
    assert client.beta.environments.work.retrieve(item.id, environment_id=hosted.id).state == "stopped"


def test_the_official_worker_keeps_its_lease_until_it_is_to_stop(tmp_path: Path) -> None:
    with Emulator("--lease-ttl", "2") as emulator, Anthropic(api_key=API_KEY, **settings(emulator)) as operator:
        hosted = operator.beta.environments.create(name="short lease", config={"type": "self_hosted"})
        item = emulator.enqueue(hosted.id)
        # As long as its session does not come, the worker has nothing to do but to keep the lease.
        emulator.faults({"operation": "sessions.retrieve", "latency_ms": 60_000})

        async def serve(client: AsyncAnthropic) -> None:
            worker = client.beta.environments.work.worker(
                environment_id=hosted.id, environment_key=emulator.environment_key(hosted.id), workdir=tmp_path
            )
            running = asyncio.create_task(worker.run())
            await heartbeats(emulator, 1)
            # From here on the lease cannot run out, however slow this machine is.
            emulator.control("POST", "/_emulator/clock", {"advance_ms": -3_600_000})
            await heartbeats(emulator, 2)
            stopping = await client.beta.environments.work.stop(item["id"], environment_id=hosted.id)
            assert stopping.state == "stopping"
            await until(client, hosted.id, item["id"], "stopped")
            running.cancel()

        run_with(emulator, serve)
        own = helper_requests(emulator)
        assert operations(own)[:2] == ["work.poll", "work.ack"]
        beats = [request for request in own if request["operation"] == "work.heartbeat"]
        assert [request["status"] for request in beats] == [200] * len(beats)
        expected = [dict(request["query"])["expected_last_heartbeat"] for request in beats]
        assert expected[0] == NO_HEARTBEAT
        assert expected[1:] == sorted(set(expected[1:])) and len(expected) >= 3
        stop = next(request for request in own if request["operation"] == "work.stop")
        assert (stop["body"], stop["status"]) == ({"force": True}, 200)


def test_the_official_worker_leaves_an_item_alone_that_another_worker_holds(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work, tmp_path: Path
) -> None:
    strict_emulator.enqueue(hosted.id)
    item = start(work, hosted.id)
    beat = work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=NO_HEARTBEAT)
    strict_emulator.take_requests()
    strict_emulator.faults({"operation": "sessions.retrieve", "latency_ms": 60_000})

    async def serve(client: AsyncAnthropic) -> None:
        await client.beta.environments.work.worker(workdir=tmp_path).handle_item(
            work_id=item.id, environment_id=hosted.id, session_id=item.data.id, work_secret=item.secret
        )

    run_with(strict_emulator, serve)
    own = helper_requests(strict_emulator)
    assert [request["status"] for request in own if request["operation"] == "work.heartbeat"] == [412]
    assert "work.stop" not in operations(own)
    left = client.beta.environments.work.retrieve(item.id, environment_id=hosted.id)
    assert (left.state, left.latest_heartbeat_at) == ("active", beat.last_heartbeat)


def helper_requests(emulator: Emulator) -> list[dict[str, Any]]:
    """What a poller or a worker has sent, in order."""
    return [request for request in emulator.take_requests() if "x-stainless-helper" in request["headers"]]


async def until(client: AsyncAnthropic, environment_id: str, work_id: str, state: str) -> None:
    """Returns as soon as the item is in this state; the caller bounds the time."""
    while (await client.beta.environments.work.retrieve(work_id, environment_id=environment_id)).state != state:
        await asyncio.sleep(0.02)


async def heartbeats(emulator: Emulator, count: int) -> None:
    """Returns as soon as so many heartbeats have succeeded; the caller bounds the time."""
    succeeded = 0
    while succeeded < count:
        await asyncio.sleep(0.02)
        beats = emulator.control("GET", "/_emulator/requests?operation=work.heartbeat")["data"]
        succeeded = sum(beat["status"] == 200 for beat in beats)
