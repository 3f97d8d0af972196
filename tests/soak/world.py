"""A bad world for workers: faults of the network, processes that are killed or stand still, and who held which item."""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from support import emulator as emulators
from support.emulator import Emulator

LEASE = 20
CONCURRENCY = 8
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
#: How long it may take until all items are finished: leases run out, and workers put back what others have left.
SETTLING = 480


class Harm(NamedTuple):
    """What is done to workers besides the faults: are they killed, stopped; how often do connections fall silent."""

    kills: bool = True
    stops: bool = True
    freeze: float | None = None


def send(number: signal.Signals, processes: Sequence[int]) -> None:
    """Sends a signal to those of these processes that there are."""
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)


class Worker:
    """A process, replaced when it is killed."""

    def __init__(self, command: Sequence[str | Path], environment: dict[str, str], log: Path) -> None:
        self._command = command
        self._environment = environment
        self._log_path = log
        self._log = log.open("a")
        self.stopped_until = 0.0
        self.start()

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, env=self._environment, stdin=subprocess.DEVNULL, stdout=self._log, stderr=self._log
        )

    @property
    def log(self) -> str:
        return self._log_path.read_text()

    def _family(self) -> list[int]:
        family, found = [self._process.pid], [self._process.pid]
        while found:
            said = subprocess.run(
                ["pgrep", "-P", ",".join(map(str, found))], capture_output=True, text=True, check=False
            )
            found = [int(pid) for pid in said.stdout.split()]
            family += found
        return family

    def signal(self, number: signal.Signals, alone: bool = False) -> None:
        """Sends a signal to the process, and to all that it has started unless it gets it alone."""
        send(number, [self._process.pid] if alone else self._family())

    def kill(self, alone: bool = False) -> None:
        """Kills the process, and all that it has started unless it is killed alone: then the others go on."""
        own, *others = self._family()
        send(signal.SIGKILL, [own] if alone else [own, *others])
        self._process.wait()
        if alone:
            send(signal.SIGCONT, others)
        self.stopped_until = 0.0

    def check(self) -> None:
        code = self._process.poll()
        assert code is None, f"a worker ended with {code}: {self.log[-8000:]}"

    def drain(self) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(timeout=60) == 0, "a worker did not end cleanly"
        self._log.close()


@contextlib.contextmanager
def watched(workers: Sequence[Worker]) -> Iterator[None]:
    """Kills the workers and shows the ends of their logs when the block fails."""
    try:
        yield
    except BaseException:
        for number, worker in enumerate(workers):
            worker.kill()
            print(f"--- worker {number}\n{worker.log[-3000:]}", file=sys.stderr)
        raise


def storm(
    emulator: Emulator,
    workers: Sequence[Worker],
    enqueue: Callable[[int], None],
    items: int,
    seconds: float,
    rng: random.Random,
    harm: Harm,
) -> Counter[str]:
    """Queues items and does things to workers; returns how often."""
    begun, queued = time.monotonic(), 0
    frozen = harm.freeze or seconds
    done: Counter[str] = Counter()
    while (passed := time.monotonic() - begun) < seconds:
        due = min(items, int(items * passed / (seconds * 0.8)) + 1)
        if due > queued:
            enqueue(due - queued)
            queued = due
        for worker in workers:
            if worker.stopped_until and passed >= worker.stopped_until:
                worker.stopped_until = 0.0
                worker.signal(signal.SIGCONT)
            worker.check()
        if passed >= frozen:
            emulator.control("POST", "/_emulator/connections", {"silent": True})
            frozen += harm.freeze or seconds
            done["frozen"] += 1
        # With what it has started, or alone.
        worker, what, alone = rng.choice(workers), rng.random(), rng.random() < 0.5
        if harm.kills and what < 0.06:
            worker.kill(alone)
            worker.start()
            done["killed"] += 1
        elif harm.stops and what < 0.12 and not worker.stopped_until:
            worker.signal(signal.SIGSTOP, alone)
            # Some for longer than a lease lasts, if there is time.
            worker.stopped_until = passed + rng.choice([0.5, 2, 5, LEASE * 1.3])
            done["stopped"] += 1
        time.sleep(rng.uniform(0.1, 0.4))
    for worker in workers:
        worker.signal(signal.SIGCONT)
    enqueue(max(1, items - queued))
    emulator.control("DELETE", "/_emulator/faults")
    return done


class Account:
    """What an item's history says."""

    def __init__(self, events: list[dict[str, Any]]) -> None:
        self.problems: list[str] = []
        self.end: str | None = None
        self.rescued = 0
        self.ran_out = False
        #: The deliveries that held the item, one after the other: from when until when.
        self.holders: list[tuple[int | None, str, str | None]] = []
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
                self.holders.append((delivery, event["at"], None))
            elif kind == "heartbeat":
                is_kept = True
                if delivery != holder:
                    self.problems.append(f"delivery {delivery} kept the lease of {holder}")
            elif kind == "requeued":
                self.ran_out |= is_kept
                holder = None
                self._end_holding(event["at"])
            elif kind == "stopped":
                self.end = "by its holder" if holder is not None and delivery == holder else "by another worker"
                self._end_holding(event["at"])
            elif kind in ("expired", "stop_requested"):
                self.problems.append(f"unexpected: {kind}")

    def _end_holding(self, at: str) -> None:
        if self.holders and self.holders[-1][2] is None:
            self.holders[-1] = (*self.holders[-1][:2], at)


Accounts = dict[str, Account]


def settle(emulator: Emulator, environment: str) -> tuple[Accounts, list[dict[str, Any]]]:
    """Waits until every item is finished."""
    deadline = time.monotonic() + SETTLING
    while True:
        time.sleep(1)
        emulator.api("GET", f"/v1/environments/{environment}/work/stats")  # settles leases that have run out
        history = emulator.control("GET", "/_emulator/history")["data"]
        events: dict[str, list[dict[str, Any]]] = {}
        for event in history:
            events.setdefault(event["work_id"], []).append(event)
        accounts = {work: Account(of) for work, of in events.items()}
        open_items = [work for work, account in accounts.items() if account.end is None]
        if not open_items:
            return accounts, history
        assert time.monotonic() < deadline, {work: events[work] for work in open_items[:3]}


def judge(accounts: Accounts, history: list[dict[str, Any]], harm: Harm, logs: str) -> None:
    """Checks that each item was held by one worker at a time, and finished by its holder."""
    problems = {work: account.problems for work, account in accounts.items() if account.problems}
    assert not problems, problems
    ends = Counter(account.end for account in accounts.values())
    assert set(ends) == {"by its holder"}, ends
    if not (harm.kills or harm.stops):
        # All processes were alive and awake: none may lose a lease that it held, as its log says. (When the responses
        # to an item's first heartbeats are lost for so long that it is unclear which worker holds it, no worker gets
        # it, and it is queued again. When those to the requests to stop it are, its only holder does not learn that it
        # has stopped it, and counts the lease as lost.)
        claims, losses = (
            Counter(re.findall(rf'{what} .*?"work_id":"(\w+)"', logs))
            for what in ("claimed an item", "a lease is lost")
        )
        lost = [work for work, account in accounts.items() if account.ran_out and claims[work] != 1]
        lost += [work for work in losses if len(accounts[work].holders) != 1]
        assert not lost, ([event for event in history if event["work_id"] in lost], logs[-3000:])


def figures(accounts: Accounts, history: list[dict[str, Any]], done: Counter[str]) -> dict[str, int]:
    """Returns the figures of the table that are about items and workers."""
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
        "workers killed": done["killed"],
        "workers that stood still for a while": done["stopped"],
        "times at which all connections fell silent": done["frozen"],
    }


def main(doc: str | None, what: str, items: int, seconds: float, soak: Callable[..., dict[str, int]]) -> None:
    """Runs a soak as the command line says, and prints its figures."""
    parser = argparse.ArgumentParser(description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(f"--{what}", type=int, default=items, dest="items")
    parser.add_argument("--seconds", type=float, default=seconds)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    parser.add_argument("--tls", action="store_true", help="HTTPS with HTTP/2")
    parser.add_argument("--freeze", type=float, metavar="SECONDS", help="let all connections fall silent so often")
    parser.add_argument(
        "--spare", action="store_true", help="neither kill nor stop processes: then no lease may be lost"
    )
    options = parser.parse_args()
    print(f"seed {options.seed}: {options.items} {what}, {options.seconds:g} s", flush=True)
    harm = Harm(not options.spare, not options.spare, options.freeze)
    with tempfile.TemporaryDirectory() as trust:
        if options.tls:
            os.environ["SSL_CERT_FILE"] = str(Path(trust) / "ca.pem")
            emulators.OPTIONS = ("--tls", "--tls-ca", os.environ["SSL_CERT_FILE"])
        for name, figure in soak(options.items, options.seconds, options.seed, harm).items():
            print(f"{name:60}{figure:10}")
