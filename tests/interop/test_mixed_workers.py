"""The official Python worker and antenv's on one queue: neither takes what the other has."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types.beta import BetaEnvironment

import antenv
from interop.python_sdk import API_KEY, settings
from support.emulator import Emulator

pytestmark = [pytest.mark.usefixtures("clean_environment"), pytest.mark.transports, pytest.mark.deep]

MANY = 40


def test_an_official_worker_and_ours_serve_one_queue_side_by_side(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, tmp_path: Path
) -> None:
    key = strict_emulator.environment_key(hosted.id)
    # Agents that have nothing to do: an official worker gives such a session up after a while.
    script = {"environment_id": hosted.id, "count": MANY, "steps": [{"idle": "end_turn"}]}
    strict_emulator.control("POST", "/_emulator/scripts", script)
    for _ in range(MANY):
        client.beta.sessions.create(agent="agent_interop", environment_id=hosted.id)

    async def handle(lease: antenv.AsyncLease) -> None:
        await asyncio.sleep(0.05)
        assert not lease.cancelled.is_set()

    async def serve() -> None:
        async with (
            AsyncAnthropic(api_key=API_KEY, **settings(strict_emulator)) as official,
            antenv.AsyncClient(environment_key=key, base_url=strict_emulator.url) as ours,
        ):
            theirs = official.beta.environments.work.worker(
                environment_id=hosted.id, environment_key=key, tools=[], workdir=tmp_path, max_idle=0.05
            )
            running = [
                asyncio.ensure_future(theirs.run()),
                asyncio.ensure_future(ours.environments.worker(hosted.id, concurrency=2, worker_id="ours").run(handle)),
            ]
            async with asyncio.timeout(60):
                while len(ended(strict_emulator)) < MANY:
                    await asyncio.sleep(0.05)
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    asyncio.run(serve())
    served: dict[str, int] = {}
    for events in histories(strict_emulator).values():
        kinds = [event["event"] for event in events]
        assert kinds.count("claimed") == kinds.count("started") == kinds.count("stopped") == 1, kinds
        assert "heartbeat_refused" not in kinds and "requeued" not in kinds
        who = {event["worker_id"] for event in events if event["event"] in ("claimed", "started", "stopped")}
        assert len(who) == 1, events
        served[min(who)] = served.get(min(who), 0) + 1
    assert len(served) == 2 and served["ours"] > 0 and sum(served.values()) == MANY, served


def histories(emulator: Emulator) -> dict[str, list[dict[str, Any]]]:
    """What happened to each item."""
    items: dict[str, list[dict[str, Any]]] = {}
    for event in emulator.control("GET", "/_emulator/history")["data"]:
        items.setdefault(event["work_id"], []).append(event)
    return items


def ended(emulator: Emulator) -> list[str]:
    """The items that are stopped."""
    return [work for work, events in histories(emulator).items() if events[-1]["event"] == "stopped"]
