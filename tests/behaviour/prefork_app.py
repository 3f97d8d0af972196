"""A program that makes a client, uses it, and only then forks: as a WSGI application for gunicorn, or by itself.

By itself: python prefork_app.py pool | thread. Needs ANTENV_URL in the environment.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any

import antenv

config: dict[str, Any] = {"api_key": "k", "base_url": os.environ["ANTENV_URL"], "timeout": 20.0}
client, async_client = antenv.Client(**config), antenv.AsyncClient(**config)


def use(_: int = 0) -> int:
    """Makes a call that waits and one that is awaited; gives the number of this process."""
    client.environments.list()
    asyncio.run(use_async())
    return os.getpid()


async def use_async() -> None:
    """The one that is awaited."""
    await async_client.environments.list()


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answers with the number of the worker."""
    answer = str(use()).encode()
    start_response("200 OK", [("content-type", "text/plain"), ("content-length", str(len(answer)))])
    return [answer]


def fork_in_a_thread() -> None:
    """Forks where the call of another thread is under way, too."""

    def fork() -> None:
        child = os.fork()
        if child == 0:
            use()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        use()

    threads = [threading.Thread(target=target) for target in (fork, use, fork, fork)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


use()
if __name__ == "__main__":
    if sys.argv[1] == "pool":
        with multiprocessing.get_context("fork").Pool(4) as pool:
            numbers = set(pool.map(use, range(40), chunksize=1))
        assert os.getpid() not in numbers
        use()
    else:
        fork_in_a_thread()
    print("as it should be")
