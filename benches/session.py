"""Serves sessions whose agents call a tool that returns at once, as benches/session.c, from Python.

python session.py threads|asyncio|official URL SESSIONS      runs until it is killed
"""

from __future__ import annotations

import asyncio
import logging
import sys


def in_threads(url: str, sessions: int) -> None:
    """Serves each session in a thread."""
    import antenv

    @antenv.tool
    def noop() -> str:
        """Returns at once."""
        return "done"

    with antenv.Client(environment_key="a-key", base_url=url) as client:
        client.environments.worker("env_bench", concurrency=sessions).run(tools=[noop])


async def in_tasks(url: str, sessions: int) -> None:
    """Serves each session in a task."""
    import antenv

    @antenv.tool
    async def noop() -> str:
        """Returns at once."""
        return "done"

    async with antenv.AsyncClient(environment_key="a-key", base_url=url) as client:
        await client.environments.worker("env_bench", concurrency=sessions).run(tools=[noop])


async def official(url: str, sessions: int) -> None:
    """Serves each session in a task: a worker serves one at a time, so there are as many workers, with one client."""
    from anthropic import AsyncAnthropic, beta_async_tool

    @beta_async_tool
    async def noop() -> str:
        """Returns at once."""
        return "done"

    logging.disable()
    async with AsyncAnthropic(api_key="k", base_url=url) as client:
        work = client.beta.environments.work
        workers = [
            work.worker(environment_id="env_bench", environment_key="a-key", tools=[noop]) for _ in range(sessions)
        ]
        await asyncio.gather(*(worker.run() for worker in workers))


if __name__ == "__main__":
    how, base_url, count = sys.argv[1:]
    if how == "threads":
        in_threads(base_url, int(count))
    else:
        asyncio.run({"asyncio": in_tasks, "official": official}[how](base_url, int(count)))
