"""Items that one worker claims and another process serves: the official Python client's `handle_item`, and ours."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic
from anthropic.types.beta import BetaEnvironment

import antenv
from interop.python_sdk import API_KEY, settings
from support.command import COMMAND
from support.emulator import Emulator

pytestmark = [pytest.mark.usefixtures("clean_environment"), pytest.mark.transports]

#: Serves the item that its environment variables name, as an official worker does.
OFFICIAL = """
import asyncio, os, pathlib, sys
from anthropic import AsyncAnthropic

async def main():
    async with AsyncAnthropic(api_key="none", max_retries=0) as client:
        await client.beta.environments.work.worker(
            tools=[], workdir=sys.argv[1], max_idle=0.05
        ).handle_item()

asyncio.run(main())
pathlib.Path(sys.argv[1], os.environ["ANTHROPIC_WORK_ID"]).touch()
"""
POLL = [COMMAND, "worker", "poll", "--handoff", "--on-work"]


def events(emulator: Emulator, item: str) -> list[str]:
    """What happened to an item."""
    history: list[dict[str, Any]] = emulator.control("GET", "/_emulator/history")["data"]
    return [event["event"] for event in history if event["work_id"] == item]


def until(condition: Callable[[], object]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


def test_an_official_child_serves_what_our_worker_claimed(
    strict_emulator: Emulator, hosted: BetaEnvironment, tmp_path: Path
) -> None:
    variables = {
        **os.environ,
        "ANTHROPIC_ENVIRONMENT_ID": hosted.id,
        "ANTHROPIC_ENVIRONMENT_KEY": strict_emulator.environment_key(hosted.id),
        "ANTHROPIC_BASE_URL": strict_emulator.url,
        "ANTHROPIC_WORK_LAST_HEARTBEAT": "another item's",
        "ANTHROPIC_WORK_SECRET": "another item's",
    }
    # Agents that have nothing to do: the official client gives such a session up after a while.
    script = {"environment_id": hosted.id, "count": 2, "steps": [{"idle": "end_turn"}]}
    strict_emulator.control("POST", "/_emulator/scripts", script)
    items = [strict_emulator.enqueue(hosted.id)["id"] for _ in range(2)]
    command = [*POLL, sys.executable, "-c", OFFICIAL, str(tmp_path)]
    with subprocess.Popen(command, env=variables) as running:
        try:
            until(lambda: all((tmp_path / item).exists() for item in items))
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 0
        finally:
            running.kill()
    for item in items:
        happened = events(strict_emulator, item)
        assert happened.count("claimed") == happened.count("started") == happened.count("stopped") == 1, happened
        assert "heartbeat_refused" not in happened and "requeued" not in happened


def test_an_item_whose_command_never_begins_is_given_back(strict_emulator: Emulator, hosted: BetaEnvironment) -> None:
    variables = {
        **os.environ,
        "ANTHROPIC_ENVIRONMENT_ID": hosted.id,
        "ANTHROPIC_ENVIRONMENT_KEY": strict_emulator.environment_key(hosted.id),
        "ANTHROPIC_BASE_URL": strict_emulator.url,
    }
    item = strict_emulator.enqueue(hosted.id)["id"]
    with subprocess.Popen([*POLL, "true"], env=variables) as running:
        try:
            until(lambda: "started" in events(strict_emulator, item))  # the lease that brings it back
            running.send_signal(signal.SIGTERM)
            assert running.wait(60) == 0
        finally:
            running.kill()
    assert "stopped" not in events(strict_emulator, item)


def test_ours_serves_what_an_official_poller_claimed(strict_emulator: Emulator, hosted: BetaEnvironment) -> None:
    key = strict_emulator.environment_key(hosted.id)
    items = [strict_emulator.enqueue(hosted.id)["id"] for _ in range(3)]

    async def serve() -> None:
        async with (
            AsyncAnthropic(api_key=API_KEY, **settings(strict_emulator)) as official,
            antenv.AsyncClient(environment_key=key, base_url=strict_emulator.url) as ours,
        ):
            poller = official.beta.environments.work.poller(
                environment_id=hosted.id, environment_key=key, drain=True, auto_stop=False
            )
            async for item in poller:
                known: dict[str, Any] = {"work_id": item.id, "environment_id": hosted.id, "session_id": item.data.id}
                async with await ours.adopt(**known, work_secret=item.secret) as lease:
                    assert lease.state().state == "held"
                    handover = await lease.release()
                fields = handover.to_dict()
                del fields["environment"]
                fields["expected_last_heartbeat"] = fields.pop("last_heartbeat")
                async with await ours.adopt(**fields):
                    pass

    asyncio.run(serve())
    for item in items:
        happened = events(strict_emulator, item)
        assert happened.count("claimed") == happened.count("started") == happened.count("stopped") == 1, happened


def test_an_official_child_does_not_serve_what_has_been_adopted(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, tmp_path: Path
) -> None:
    key = strict_emulator.environment_key(hosted.id)
    item = strict_emulator.enqueue(hosted.id)["id"]
    with antenv.Client(environment_key=key, base_url=strict_emulator.url) as ours:
        claimed = ours.environments.worker(hosted.id, heartbeat=False).next(60)
        assert claimed is not None
        handover = claimed.release()
        fields = {name: getattr(handover, name) for name in ("work_id", "environment_id", "session_id", "work_secret")}
        with ours.adopt(**fields) as lease:
            variables = {**os.environ, **handover.environment, "ANTHROPIC_BASE_URL": strict_emulator.url}
            child = subprocess.run([sys.executable, "-c", OFFICIAL, str(tmp_path)], env=variables, check=False)
            assert child.returncode == 0, "a lease that another process has is no error of an item"
            assert lease.state().state == "held" and "stopped" not in events(strict_emulator, item)
    assert events(strict_emulator, item)[-1] == "stopped"
