"""Workers side by side: how soon an item starts, how many are served, and what it costs to wait for work.

Items take no time here, so that what is measured is claiming them, keeping their leases and stopping them.
"""

from __future__ import annotations

import http.client
import json
import os
import queue
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from support.emulator import Emulator

BENCHES = Path(__file__).resolve().parent
Command = list[str | Path]


class WorkerEnv:
    """An emulator with an environment, asked over one connection, so that asking takes no time of its own."""

    def __init__(self, emulator: Emulator) -> None:
        self.url = emulator.url
        self.environment = emulator.create_environment("bench", config={"type": "self_hosted"})
        self.key = emulator.environment_key(self.environment)
        self._connection = http.client.HTTPConnection(emulator.url.removeprefix("http://"))

    def control(self, method: str, path: str, body: Any = None) -> Any:
        text = None if body is None else json.dumps(body)
        self._connection.request(method, f"/_emulator/{path}", text, {"content-type": "application/json"})
        return json.loads(self._connection.getresponse().read() or "null")

    def enqueue(self, **fields: Any) -> Any:
        return self.control("POST", "work", {"environment_id": self.environment, **fields})


class Subject:
    """A worker, running: which items it began, and when (nanoseconds of the machine's clock)."""

    def __init__(self, program: Command, env: WorkerEnv, concurrency: int, idle_after_ms: int = 3_600_000) -> None:
        command = [*program, env.url, env.environment, env.key, str(concurrency), str(idle_after_ms)]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.begun: queue.Queue[tuple[str, int]] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            identifier, nanoseconds = line.split()
            self.begun.put((identifier, int(nanoseconds)))

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self._process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def __enter__(self) -> Subject:
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(timeout=60)


def latency(env: WorkerEnv, program: Command, items: int, rng: random.Random) -> dict[str, float]:
    """Items that come one by one, at any moment of a worker's round."""
    with Subject(program, env, 4) as subject:
        taken = []
        for number in range(items + 1):
            time.sleep(rng.uniform(1.5, 5.0))
            before = time.monotonic_ns()
            item = env.enqueue()
            identifier, begun = subject.begun.get(timeout=60)
            assert identifier in (item["id"], "?")
            if number:  # the first one waits for the program to start
                taken.append((begun - before) / 1e6)
    taken.sort()
    return {"p50_ms": statistics.median(taken), "p99_ms": taken[int(len(taken) * 0.99)], "max_ms": taken[-1]}


def throughput(env: WorkerEnv, program: Command, items: int) -> dict[str, float]:
    """Many items at once, up to 64 served at a time where the worker can."""
    with Subject(program, env, 64) as subject:
        env.enqueue()
        subject.begun.get(timeout=60)
        env.enqueue(count=items)
        before = subject.cpu_seconds()
        times = [subject.begun.get(timeout=120)[1] for _ in range(items)]
        cpu = subject.cpu_seconds() - before
    seconds = (max(times) - min(times)) / 1e9
    return {"items_s": (items - 1) / seconds, "cpu_item_us": cpu / items * 1e6}


def idle(env: WorkerEnv, program: Command, seconds: float, idle_after_ms: int) -> dict[str, float]:
    """Nothing comes."""
    with Subject(program, env, 4, idle_after_ms) as subject:
        env.enqueue()
        subject.begun.get(timeout=60)
        time.sleep(3)
        env.control("DELETE", "requests")
        before = subject.cpu_seconds()
        time.sleep(seconds)
        requests = len(env.control("GET", "requests?operation=work.poll")["data"])
        cpu = subject.cpu_seconds() - before
    return {"requests_s": requests / seconds, "cpu_ms_s": cpu / seconds * 1e3}


FIGURES = {
    **{
        "p50_ms": "enqueue to start, p50 ms",
        "p99_ms": "enqueue to start, p99 ms",
        "max_ms": "enqueue to start, max ms",
    },
    **{"items_s": "items/s", "cpu_item_us": "CPU µs/item", "requests_s": "requests/s", "cpu_ms_s": "CPU ms/s"},
}


def run(compile_c: Callable[[str, str], Command], rounds: int) -> None:
    """Measures all of it, and prints a table for each."""
    in_c = compile_c("work", "antenv")
    programs: dict[str, Command] = {"antenv, C": in_c}
    for peer, name in (("antenv", "antenv, Python"), ("poller", "official poller"), ("worker", "official worker")):
        programs[name] = [sys.executable, BENCHES / "work.py", peer]

    def compare(title: str, measure: Callable[[WorkerEnv, str, Command], dict[str, float]]) -> None:
        measured: dict[str, list[dict[str, float]]] = {peer: [] for peer in programs}
        for _ in range(rounds):
            for peer, program in programs.items():
                with Emulator("--request-log", "100000") as emulator:
                    measured[peer].append(measure(WorkerEnv(emulator), peer, program))
        print(f"\n{title}, medians of {rounds}\n{'':28}" + "".join(f"{peer:>18}" for peer in programs))
        for figure in measured["antenv, C"][0]:
            medians = [statistics.median(one[figure] for one in measured[peer]) for peer in programs]
            print(f"{FIGURES[figure]:28}" + "".join(f"{median:18.2f}" for median in medians))
            ratios = [median / medians[-1] if medians[-1] else 0 for median in medians]
            print(f"{'  / official worker':28}" + "".join(f"{ratio:18.4f}" for ratio in ratios), flush=True)

    rng = random.Random(7)
    compare(
        "a worker waits, items come one by one, seconds apart",
        lambda env, _, program: latency(env, program, 25, rng),
    )
    compare(
        "many items wait",
        lambda env, peer, program: throughput(env, program, 300 if "official" in peer else 3000),
    )
    compare("nothing comes, after activity", lambda env, _, program: idle(env, program, 10, 3_600_000))
    compare("nothing comes for long", lambda env, _, program: idle(env, program, 10, 0))
