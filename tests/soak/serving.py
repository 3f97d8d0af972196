"""A program that serves sessions, for the soak: `python -m soak.serving threads|asyncio ROOT`.

It has the toolset, in a directory of its own below ROOT for each item, and the tools `who`, which returns the
identifier of its call, and `slow`, which goes on until its call is void. Each run of `who` and `slow` adds that
identifier to the file SOAK_RUNS.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import tempfile
from pathlib import Path

import antenv
from antenv import types
from soak.world import CONCURRENCY

#: How long an idle session lasts, in seconds.
IDLE = 1
ROOT = sys.argv[2]
PATIENCE = 600.0


def note(call: antenv.ToolCall) -> None:
    """Writes down that a tool runs."""
    with Path(os.environ["SOAK_RUNS"]).open("a") as runs:
        runs.write(call.id + "\n")


def who(call: antenv.ToolCall) -> str:
    """Returns the identifier of its call."""
    note(call)
    return call.id


def slow(call: antenv.ToolCall) -> str:
    """Goes on until its call is void."""
    note(call)
    call.wait(PATIENCE)
    return "too late"


async def slow_async(call: antenv.ToolCall) -> None:
    """Goes on until it is cancelled."""
    note(call)
    await asyncio.sleep(PATIENCE)


def params(workdir: str) -> types.ServeParams:
    """How sessions are served: calls of several threads at once."""
    return {"toolset": True, "workdir": workdir, "max_idle": IDLE, "concurrency": 3}


def serve() -> None:
    """Serves each session in a thread."""

    def handle(lease: antenv.Lease) -> None:
        with tempfile.TemporaryDirectory(dir=ROOT) as workdir:
            lease.serve([who, slow], **params(workdir))

    with antenv.Client() as client, client.environments.worker(concurrency=CONCURRENCY) as worker:
        signal.signal(signal.SIGTERM, lambda *_: worker.stop())
        worker.run(handle)


async def serve_async() -> None:
    """Serves each session in a task."""

    async def handle(lease: antenv.AsyncLease) -> None:
        with tempfile.TemporaryDirectory(dir=ROOT) as workdir:
            await lease.serve([who, antenv.tool(slow_async, name="slow")], **params(workdir))

    async with antenv.AsyncClient() as client, client.environments.worker(concurrency=CONCURRENCY) as worker:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, worker.stop)
        await worker.run(handle)


if __name__ == "__main__":
    if sys.argv[1] == "asyncio":
        asyncio.run(serve_async())
    else:
        serve()
