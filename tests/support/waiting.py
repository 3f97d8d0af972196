"""Waiting for conditions, and doing things at the same time."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def until(condition: Callable[[], object], what: str, seconds: float = 60) -> None:
    """Waits for a condition; `what` says what is wrong when it never comes."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def together(*tasks: Callable[[], object]) -> None:
    """Runs tasks at the same time, and waits for all of them; the first failure is raised."""
    with ThreadPoolExecutor(len(tasks)) as pool:
        for future in [pool.submit(task) for task in tasks]:
            future.result()
