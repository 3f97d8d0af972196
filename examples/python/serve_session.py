"""Serves the sessions of an environment's work queue: their agents may call the tools below.

    python serve_session.py [--asyncio] [--drain]
    python serve_session.py --define      prints the tools, for the definition of an agent

Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and ANTHROPIC_BASE_URL.
"""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from datetime import datetime, timezone
from typing import Literal

import antenv


@antenv.tool
def clock(unit: Literal["seconds", "days"] = "seconds") -> str:
    """Returns the time in UTC, as RFC 3339.

    Args:
        unit: How exact it is.
    """
    return datetime.now(timezone.utc).isoformat(timespec="seconds")[: 10 if unit == "days" else None]


@antenv.tool
def countdown(seconds: int, call: antenv.ToolCall) -> str:
    """Waits for so many seconds, unless the agent is interrupted."""
    if seconds > 60:
        raise antenv.ToolError("that is too long: 60 seconds at most")
    return "interrupted" if call.wait(seconds) else "done"  # nobody gets the first


@antenv.tool(name="countdown")
async def countdown_async(seconds: int) -> str:
    """Waits for so many seconds, unless the agent is interrupted."""
    await asyncio.sleep(seconds)  # is cancelled then
    return "done"


def serve(drain: bool) -> None:
    """Serves four sessions at a time, each in a thread."""
    with antenv.Client() as client, client.environments.worker(concurrency=4, drain=drain) as worker:
        worker.run(tools=[clock, countdown])


async def serve_async(drain: bool) -> None:
    """Serves a hundred sessions at a time, without threads."""
    async with antenv.AsyncClient() as client, client.environments.worker(concurrency=100, drain=drain) as worker:
        await worker.run(tools=[clock, countdown_async])


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO)
    if "--define" in sys.argv:
        print(json.dumps([clock.definition, countdown.definition], indent=2))
    elif "--asyncio" in sys.argv:
        asyncio.run(serve_async("--drain" in sys.argv))
    else:
        serve("--drain" in sys.argv)
