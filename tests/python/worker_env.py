"""An emulator with a self-hosted environment, and what the tests of workers ask of both."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import antenv
from support.emulator import Emulator

#: Only a failing test waits for that long.
TIMEOUT = 60.0
#: How long a lease lasts, in seconds, when its heartbeats are to come soon: they go on if this process stands still for
#: some of them.
BRIEF = 10


class WorkerEnv:
    """An emulator with a self-hosted environment in it."""

    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        self.owner = antenv.Client(api_key="an-api-key", base_url=emulator.url)
        self.environment = emulator.create_environment("hosts", config={"type": "self_hosted"})
        self.key = emulator.environment_key(self.environment)

    def worker(self, **params: Any) -> antenv.Worker:
        """A worker of the environment."""
        return self.owner.environments.worker(**{**self.credentials, **params})

    @property
    def credentials(self) -> dict[str, Any]:
        """What a worker of the environment takes."""
        return {"environment_id": self.environment, "environment_key": self.key}

    def enqueue(self) -> str:
        """Queues an item; gives its identifier."""
        return str(self.emulator.enqueue(self.environment)["id"])

    def state(self, item: str) -> str:
        """An item's state as its owner sees it."""
        return self.owner.environments.work.retrieve(item, environment_id=self.environment).state

    def stop(self, item: str) -> None:
        """Asks for an item to be stopped."""
        self.owner.environments.work.stop(item, environment_id=self.environment, force=False)

    def advance(self, seconds: float) -> None:
        """Moves the emulator's clock, and with it the end of leases."""
        self.emulator.control("POST", "/_emulator/clock", {"advance_ms": int(seconds * 1000)})

    def requests(self, operation: str) -> list[dict[str, Any]]:
        """The requests of an operation so far."""
        found: list[dict[str, Any]] = self.emulator.control("GET", "/_emulator/requests")["data"]
        return [request for request in found if request["operation"] == operation]

    def polls(self) -> int:
        """How many polls wait at the emulator."""
        return int(self.emulator.control("GET", "/_emulator/connections")["polls_waiting"])


@contextmanager
def worker_env(*options: str) -> Iterator[WorkerEnv]:
    """One of an emulator of its own, with options such as "--lease-ttl", "1"."""
    with Emulator(*options) as emulator:
        yield WorkerEnv(emulator)


def wait_until(condition: Callable[[], object]) -> None:
    """Waits for a condition."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.005)
