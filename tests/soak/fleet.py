"""Workers on one queue, while everything is done to them that can happen to a fleet.

python -m soak.fleet [--items 2000] [--seconds 120] [--seed N] [--tls] [--freeze SECONDS] [--spare]

They are processes of `antenv worker poll`, each running a command for every item. Processes are killed (with their
commands) and replaced, stopped and continued (SIGSTOP, SIGCONT: for longer than a lease lasts, now and then).
Requests are lost, refused, late, answered and the answer lost, or done when their sender has long gone. With --tls all
of it is HTTPS with HTTP/2; with --freeze, all connections fall silent every so many seconds, without an end that
their peers could notice. Afterwards the emulator's history of each item has to show that it was held by one worker at
a time, and finished by one that still held it; and with --spare, which leaves the processes alone, that no lease was
lost.

An item whose worker is killed between acknowledgement and first heartbeat is put back by another, a minute or two on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections import Counter
from pathlib import Path
from typing import Any, NamedTuple

from support import emulator as emulators
from support.command import COMMAND
from support.emulator import API_HEADERS, Emulator

LEASE = 20
WORKERS = 5
CONCURRENCY = "8"
MANY = 1_000_000
FAULTS: list[dict[str, Any]] = [
    {"drop": True, "probability": 0.03},
    {"drop": True, "when": "after", "probability": 0.03},
    {"reset": True, "probability": 0.01},
    {"status": 503, "probability": 0.02},
    {"status": 502, "when": "after", "probability": 0.02},
    {"status": 429, "probability": 0.02, "headers": {"retry-after-ms": "100"}},
    {"garbage": True, "probability": 0.01},
    {"latency_ms": [200, 4000], "detached": True, "probability": 0.01},
    {"latency_ms": [1, 150], "probability": 0.2},
]
# Begins, works for a moment, ends.
ON_WORK = ["sh", "-c", 'sleep "0.$(printf %03d $((($$ * 7919) % 900)))"']


class Harm(NamedTuple):
    """What is done to workers besides the faults: are they killed, stopped; how often do connections fall silent."""

    kills: bool = True
    stops: bool = True
    freeze: float | None = None


class Worker:
    """A process, replaced when it is killed."""

    def __init__(self, environment: dict[str, str], log: Path) -> None:
        self._environment = environment
        self._log = log.open("a")
        self.stopped_until = 0.0
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            [COMMAND, "worker", "poll", "--concurrency", CONCURRENCY, "--on-work", *ON_WORK],
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
        )

    def _family(self) -> list[int]:
        family, found = [self._process.pid], [self._process.pid]
        while found:
            said = subprocess.run(
                ["pgrep", "-P", ",".join(map(str, found))], capture_output=True, text=True, check=False
            )
            found = [int(pid) for pid in said.stdout.split()]
            family += found
        return family

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the process and all its commands."""
        for pid in self._family():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        self._process.wait()
        self.stopped_until = 0.0

    def check(self) -> None:
        assert self._process.poll() is None, f"a worker ended with {self._process.returncode}"

    def drain(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(timeout=60) == 0, "a worker did not end cleanly"
        self._log.close()


def owner(emulator: Emulator, method: str, path: str, body: Any = None) -> Any:
    """A request with an API key."""
    data = None if body is None else json.dumps(body).encode()
    headers = {**API_HEADERS, "content-type": "application/json"}
    request = urllib.request.Request(emulator.url + path, data=data, method=method, headers=headers)
    with urllib.request.urlopen(request, timeout=30) as response:
        return json.loads(response.read())


def storm(
    emulator: Emulator,
    environment: str,
    workers: list[Worker],
    items: int,
    seconds: float,
    rng: random.Random,
    harm: Harm,
) -> list[float]:
    """Queues items and does things to workers. Gives when it killed one (seconds since 1970)."""
    begun, queued, kills = time.monotonic(), 0, []
    frozen = harm.freeze or seconds
    done: Counter[str] = Counter()
    while (passed := time.monotonic() - begun) < seconds:
        due = min(items, int(items * passed / (seconds * 0.8)) + 1)
        if due > queued:
            emulator.control("POST", "/_emulator/work", {"environment_id": environment, "count": due - queued})
            queued = due
        for worker in workers:
            if worker.stopped_until and passed >= worker.stopped_until:
                worker.stopped_until = 0.0
                worker.signal(signal.SIGCONT)
            worker.check()
        if passed >= frozen:
            emulator.control("POST", "/_emulator/connections", {"silent": True})
            frozen += harm.freeze or seconds
        worker, what = rng.choice(workers), rng.random()
        if harm.kills and what < 0.06:
            worker.kill()
            kills.append(time.time())
            worker.start()
            done["killed"] += 1
        elif harm.stops and what < 0.12 and not worker.stopped_until:
            worker.signal(signal.SIGSTOP)
            # Some for longer than a lease lasts, if there is time.
            worker.stopped_until = passed + rng.choice([0.5, 2, 5, LEASE * 1.3])
            done["stopped"] += 1
        time.sleep(rng.uniform(0.1, 0.4))
    for worker in workers:
        worker.signal(signal.SIGCONT)
    emulator.control("POST", "/_emulator/work", {"environment_id": environment, "count": max(1, items - queued)})
    emulator.control("DELETE", "/_emulator/faults")
    return kills


class Account:
    """What an item's history says."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.problems: list[str] = []
        self.end: str | None = None
        self.rescued = 0
        self.ran_out = False
        holder: int | None = None
        is_kept = False
        for event in events:
            kind, delivery = event["event"], event["delivery"]
            if kind == "started":
                if holder is not None:
                    self.problems.append(f"delivery {delivery} began while {holder} held it")
                # Without the item's token: another worker puts it back.
                self.rescued += delivery is None
                holder, is_kept = delivery or -1, False
            elif kind == "heartbeat":
                is_kept = True
                if delivery != holder:
                    self.problems.append(f"delivery {delivery} kept the lease of {holder}")
            elif kind == "requeued":
                self.ran_out |= is_kept
                holder = None
            elif kind == "stopped":
                self.end = "by its holder" if holder is not None and delivery == holder else "by another worker"
            elif kind in ("expired", "stop_requested"):
                self.problems.append(f"unexpected: {kind}")


def settle(emulator: Emulator, environment: str) -> tuple[dict[str, Account], list[dict[str, Any]]]:
    """Waits until every item is finished: leases run out, and workers put back what others have left."""
    deadline = time.monotonic() + 480
    while True:
        time.sleep(1)
        owner(emulator, "GET", f"/v1/environments/{environment}/work/stats")  # settles leases that have run out
        history = emulator.control("GET", "/_emulator/history")["data"]
        events: dict[str, list[dict[str, Any]]] = {}
        for event in history:
            events.setdefault(event["work_id"], []).append(event)
        accounts = {work: Account(of) for work, of in events.items()}
        open_items = [work for work, account in accounts.items() if account.end is None]
        if not open_items:
            return accounts, history
        assert time.monotonic() < deadline, {work: events[work] for work in open_items[:3]}


def judge(accounts: dict[str, Account], history: list[dict[str, Any]], harm: Harm, logs: str) -> None:
    """Checks that everything came about as it has to."""
    problems = {work: account.problems for work, account in accounts.items() if account.problems}
    assert not problems, problems
    ends = Counter(account.end for account in accounts.values())
    assert set(ends) == {"by its holder"}, ends
    if not (harm.kills or harm.stops):
        # All processes were alive and awake: none may lose a lease that it held. (When the answer to an item's first
        # heartbeat is lost for so long that it is unclear which worker holds it, no worker gets it, and it is queued
        # again.)
        lost = [account for account in accounts.values() if account.ran_out]
        assert not lost and "a lease is lost" not in logs, (history, logs[-3000:])


def soak(items: int, seconds: float, seed: int, harm: Harm) -> dict[str, int]:
    """Runs it all. Gives the figures of the table; raises when something is not as it has to be."""
    rng = random.Random(seed)
    with Emulator("--lease-ttl", str(LEASE), "--request-log", "0") as emulator, tempfile.TemporaryDirectory() as folder:
        environment = emulator.create_environment("soak", config={"type": "self_hosted"})
        variables = {
            **os.environ,
            "ANTHROPIC_BASE_URL": emulator.url,
            "ANTHROPIC_ENVIRONMENT_ID": environment,
            "ANTHROPIC_ENVIRONMENT_KEY": emulator.environment_key(environment),
        }
        emulator.faults(*({**fault, "count": MANY} for fault in FAULTS))
        workers = [Worker(variables, Path(folder) / f"{number}.log") for number in range(WORKERS)]
        try:
            killed = storm(emulator, environment, workers, items, seconds, rng, harm)
            accounts, history = settle(emulator, environment)
            for worker in workers:
                worker.drain()
            logs = "".join(log.read_text() for log in Path(folder).glob("*.log"))
            judge(accounts, history, harm, logs)
        except BaseException:
            for worker in workers:
                worker.signal(signal.SIGKILL)
            for log in sorted(Path(folder).glob("*.log")):
                print(f"--- {log.name}\n{log.read_text()[-3000:]}", file=sys.stderr)
            raise
    ends, events = Counter(account.end for account in accounts.values()), Counter(event["event"] for event in history)
    return {
        "items": len(accounts),
        "finished once, by a holder that had its lease": ends["by its holder"],
        "held by two at once": sum(bool(account.problems) for account in accounts.values()),
        "forgotten": ends[None],
        "left by a kill before the first heartbeat, put back": sum(account.rescued for account in accounts.values()),
        "handed out": events["claimed"],
        "held": events["started"],
        "leases that ran out, and items queued again": events["requeued"],
        "heartbeats": events["started"] + events["heartbeat"],
        "heartbeats refused": events["heartbeat_refused"],
        "workers killed": len(killed),
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--tls", action="store_true", help="HTTPS with HTTP/2")
    parser.add_argument("--freeze", type=float, metavar="SECONDS", help="let all connections fall silent so often")
    parser.add_argument(
        "--spare", action="store_true", help="neither kill nor stop processes: then no lease may be lost"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.items} items, {options.seconds:g} s, {WORKERS} workers", flush=True)
    harm = Harm(not options.spare, not options.spare, options.freeze)
    with tempfile.TemporaryDirectory() as trust:
        if options.tls:
            os.environ["SSL_CERT_FILE"] = str(Path(trust) / "ca.pem")
            emulators.OPTIONS = ("--tls", "--tls-ca", os.environ["SSL_CERT_FILE"])
        for name, figure in soak(options.items, options.seconds, options.seed, harm).items():
            print(f"{name:55}{figure:10}")
