"""A worker whose items take no time, as benches/work.c, from Python: antenv's, the official one, or its poller.

python work.py antenv|worker|poller URL ENVIRONMENT KEY CONCURRENCY IDLE_AFTER_MS
"""

from __future__ import annotations

import asyncio
import logging
import sys
import tempfile
import time
from typing import Any


def started(identifier: str) -> None:
    sys.stdout.write(f"{identifier} {time.monotonic_ns()}\n")
    sys.stdout.flush()


async def antenv_worker(url: str, environment: str, key: str, concurrency: int, idle_after: float) -> None:
    import antenv

    async def handle(lease: antenv.AsyncLease) -> None:
        started(lease.id)

    async with antenv.AsyncClient(environment_key=key, base_url=url) as client:
        worker = client.environments.worker(environment, concurrency=concurrency, idle_after=idle_after)
        await worker.run(handle)


async def official_poller(url: str, environment: str, key: str) -> None:
    """It serves one item after the other, and sends no heartbeats: that would be up to what serves them."""
    from anthropic import AsyncAnthropic

    async with AsyncAnthropic(api_key="k", base_url=url) as client:
        work = client.beta.environments.work
        async for item in work.poller(environment_id=environment, environment_key=key):
            started(item.id)


async def official_worker(url: str, environment: str, key: str) -> None:
    """It serves one item after the other. The emulator has no session events: it looks for them once, and goes on."""
    from anthropic import AsyncAnthropic

    def tools(_: object) -> list[Any]:
        started("?")
        return []

    logging.disable()
    async with AsyncAnthropic(api_key="k", base_url=url) as client:
        work = client.beta.environments.work
        await work.worker(
            environment_id=environment, environment_key=key, tools=tools, workdir=tempfile.mkdtemp()
        ).run()


async def main(peer: str, url: str, environment: str, key: str, concurrency: str, idle_after_ms: str) -> None:
    if peer == "antenv":
        serving = antenv_worker(url, environment, key, int(concurrency), int(idle_after_ms) / 1000)
    else:
        serving = {"worker": official_worker, "poller": official_poller}[peer](url, environment, key)
    task = asyncio.ensure_future(serving)
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    await asyncio.wait([task, ended], return_when=asyncio.FIRST_COMPLETED)
    if task.done():
        task.result()
    task.cancel()


asyncio.run(main(*sys.argv[1:]))
