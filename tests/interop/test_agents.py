"""The scripts that our command and our programs serve, served by the official Python worker: the calls end alike."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from anthropic import AsyncAnthropic, DefaultAsyncHttpxClient, beta_async_tool
from anthropic.types.beta import BetaEnvironment

from interop.python_sdk import API_KEY, settings
from support.agents import SCRIPTS, ending_of, enqueue
from support.emulator import Emulator

pytestmark = [pytest.mark.usefixtures("clean_environment"), pytest.mark.transports, pytest.mark.deep]

# Only a failing test waits for that long, in seconds.
TIMEOUT = 240
#: Where the official worker gives other answers, and why that is right for it.
DIFFERENCES: dict[str, list[Any]] = {}


@beta_async_tool
async def echo(a: int) -> str:
    """Returns its input."""
    return '{"echo":' + json.dumps({"a": a}) + "}"


@beta_async_tool
async def fail() -> str:
    """Fails."""
    raise RuntimeError("it failed")


@beta_async_tool
async def silent() -> str:
    """Returns nothing."""
    return ""


@beta_async_tool
async def slow() -> str:
    """Takes longer than any call lasts; the official worker waits for its end all the same."""
    await asyncio.sleep(2)
    return "too late"


async def serve(emulator: Emulator, hosted: BetaEnvironment, workdir: Path) -> None:
    """Has the official worker serve the work queue until it is empty, over HTTP/2 where the emulator speaks it."""
    http = DefaultAsyncHttpxClient(http2=emulator.url.startswith("https"))
    async with AsyncAnthropic(api_key=API_KEY, http_client=http, **settings(emulator)) as client:
        worker = client.beta.environments.work.worker(
            environment_id=hosted.id,
            environment_key=emulator.environment_key(hosted.id),
            workdir=workdir,
            tools=[echo, fail, silent, slow],
            max_idle=0.4,
        )
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(TIMEOUT):
            while not is_over(emulator):
                await asyncio.sleep(0.1)
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def is_over(emulator: Emulator) -> bool:
    """Whether every item is stopped."""
    last = {event["work_id"]: event["event"] for event in emulator.control("GET", "/_emulator/history")["data"]}
    return set(last.values()) == {"stopped"}


def test_the_official_worker_gives_the_same_answers(
    strict_emulator: Emulator, hosted: BetaEnvironment, tmp_path: Path
) -> None:
    enqueue(strict_emulator, hosted.id, SCRIPTS)
    asyncio.run(serve(strict_emulator, hosted, tmp_path))
    reports = strict_emulator.control("GET", "/_emulator/scripts")["data"]
    ended = [[ending_of(call) for call in report["calls"]] for report in reports]
    ours = {name: calls for name, (_, calls, _) in SCRIPTS.items()}
    assert dict(zip(SCRIPTS, ended, strict=True)) == ours | DIFFERENCES
