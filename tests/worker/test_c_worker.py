"""Serving work from C: the worker's functions, and the examples that serve a queue."""

from __future__ import annotations

import json
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from bindings.test_c import EXAMPLES, SOURCES
from support.emulator import Emulator, trusted
from support.ways import FORKING, WAYS, command_of, run

pytestmark = pytest.mark.transports


def hosts(emulator: Emulator) -> str:
    """Creates a self-hosted environment; returns its identifier."""
    return emulator.create_environment("hosts", config={"type": "self_hosted"})


def run_case(case: str, way: str, emulator: Emulator, environment: str) -> str:
    """Runs a part of tests/c/worker_claims.c or worker_leases.c in one of the ways."""
    source = SOURCES / ("worker_claims.c" if case in ("claiming", "many") else "worker_leases.c")
    arguments = (emulator.url, case, environment, emulator.environment_key(environment))
    return run(command_of(way, source, *arguments, leaks=case != "forking"))


CASES = [(case, way) for case in ("claiming", "ending", "shutting down") for way in WAYS]
CASES += [("forking", way) for way in FORKING]


@pytest.mark.long
@pytest.mark.parametrize(("case", "way"), CASES)
def test_a_worker_in_c(case: str, way: str, strict_emulator: Emulator) -> None:
    assert run_case(case, way, strict_emulator, hosts(strict_emulator)) == f"worker {case}: as it should be\n"


@pytest.mark.parametrize("way", WAYS)
def test_each_of_many_items_is_finished_exactly_once(way: str, strict_emulator: Emulator) -> None:
    environment = hosts(strict_emulator)
    items = {item["id"] for item in strict_emulator.enqueue(environment, count=200)["data"]}
    assert run_case("many", way, strict_emulator, environment) == "worker many: as it should be\n"
    done: Counter[tuple[str, str, int]] = Counter()
    for request in strict_emulator.take_requests():
        if request["operation"] in ("work.ack", "work.stop"):
            done[request["operation"], request["path"].split("/")[-2], request["status"]] += 1
    assert done == Counter((operation, item, 200) for operation in ("work.ack", "work.stop") for item in items)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits for a condition; returns its value."""
    deadline = time.monotonic() + 120
    while not (outcome := condition()):
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)
    return outcome


def state_of(emulator: Emulator, environment: str, item: str) -> str:
    """Returns the state of an item at the server."""
    state: str = emulator.api("GET", f"/v1/environments/{environment}/work/{item}")["state"]
    return state


def variables(emulator: Emulator, environment: str) -> dict[str, str]:
    """What a program that serves an environment has to know."""
    return {
        "PATH": "/usr/bin:/bin",
        **trusted(),
        "ANTHROPIC_BASE_URL": emulator.url,
        "ANTHROPIC_ENVIRONMENT_ID": environment,
        "ANTHROPIC_ENVIRONMENT_KEY": emulator.environment_key(environment),
    }


@pytest.mark.parametrize("way", WAYS)
def test_the_smallest_worker_serves_what_there_is(way: str, strict_emulator: Emulator) -> None:
    environment = hosts(strict_emulator)
    items = [strict_emulator.enqueue(environment)["id"] for _ in range(3)]
    smallest = command_of(way, EXAMPLES / "worker.c", '{"drain":true}')
    served: list[str] = []
    deadline = time.monotonic() + 120
    # An item whose acknowledgement took too long, as it may under valgrind on a busy machine, is left to a later run.
    while len(served) < len(items) and time.monotonic() < deadline:
        lines = run(smallest, **variables(strict_emulator, environment)).splitlines()
        served += [json.loads(line)["id"] for line in lines]
    assert sorted(served) == sorted(items)
    assert {state_of(strict_emulator, environment, item) for item in items} == {"stopped"}


@pytest.mark.parametrize("example", ["c/worker.c", "cpp/worker.cpp"])
def test_the_workers_of_the_examples_serve_four_items_at_a_time(example: str, strict_emulator: Emulator) -> None:
    environment = hosts(strict_emulator)
    items = {strict_emulator.enqueue(environment)["id"] for _ in range(4)}
    # No item is stopped for now: a thread that serves one waits for that, and the next item goes to another thread.
    strict_emulator.faults({"operation": "work.stop", "latency_ms": 600_000, "count": 4})
    smallest = command_of("plain", EXAMPLES.parent / example)
    with subprocess.Popen(smallest, env=variables(strict_emulator, environment), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in items]
        assert {json.loads(line.removeprefix(b"served: "))["id"] for line in lines} == items
        assert {state_of(strict_emulator, environment, item) for item in items} == {"active"}
        process.kill()


def polls_waiting(emulator: Emulator) -> int:
    return int(emulator.control("GET", "/_emulator/connections")["polls_waiting"])
