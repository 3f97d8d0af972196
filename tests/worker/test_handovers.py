"""Leases that go from process to process while requests fail and processes are killed: no item is served by two
processes at once, and none is lost."""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import subprocess
import sys
import threading
import time
from typing import Any

import pytest

import antenv
from support.emulator import Emulator

#: Adopts, holds for a moment, and releases or finishes, as often as requested.
HOST = """
import json, random, sys, time, antenv

def say(**fields):
    print(json.dumps({"at": time.monotonic(), **fields}), flush=True)

client = antenv.Client(api_key="none", base_url=sys.argv[1])
for line in sys.stdin:
    task = json.loads(line)
    try:
        lease = client.adopt(**task["lease"])
        say(event="adopted")
        time.sleep(random.uniform(0, 0.02))
        say(event="left")
        if task["finish"]:
            lease.finish()
            say(event="finished")
        else:
            say(event="released", handover=lease.release().to_dict())
    except antenv.AntenvError as error:
        say(event="failed", why=type(error).__name__)
"""
FAULTS = (
    {"operation": "work.heartbeat", "status": 503, "probability": 0.1},
    {"operation": "work.heartbeat", "drop": True, "probability": 0.05},
    {"operation": "work.heartbeat", "drop": True, "when": "after", "probability": 0.01},
    {"operation": "work.stop", "drop": True, "when": "after", "probability": 0.1},
)
#: How many adoptions there are for each process that is killed.
KILL_EVERY = 40


class Relay:
    """Hosts that pass items on to each other, until there were enough handovers; then each finishes what it gets."""

    def __init__(self, emulator: Emulator, wanted: int) -> None:
        self.emulator = emulator
        self.wanted = wanted
        self.pending: queue.Queue[dict[str, Any]] = queue.Queue()
        self.lock = threading.Lock()
        self.adopted = 0
        self.kills = 0
        #: After how many adoptions the next process is killed.
        self.kill_at = KILL_EVERY
        #: When an item was in whose hands, except for holders who were too late to say.
        self.held: dict[str, list[tuple[float, float]]] = {}
        self.over = threading.Event()

    def claim(self, worker: antenv.Worker) -> None:
        """Hands over what a worker claims."""
        for lease in worker:
            with contextlib.suppress(antenv.AntenvError):  # lost: it comes again
                self.pending.put(lease.release().to_dict())

    def host(self) -> None:
        """Has a process serve what is handed over; another one after it was killed."""
        while not self.over.is_set():
            command = [sys.executable, "-c", HOST, self.emulator.url]
            with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
                while not self.over.is_set() and process.poll() is None:
                    try:
                        handover = self.pending.get(timeout=0.1)
                    except queue.Empty:
                        continue
                    self.serve(process, handover)
                process.kill()

    def serve(self, process: subprocess.Popen[str], handover: dict[str, Any]) -> None:
        """Has a process serve one item."""
        assert process.stdin is not None and process.stdout is not None
        lease = {name: handover[name] for name in ("work_id", "environment_id", "session_id", "work_secret")}
        lease["expected_last_heartbeat"] = handover["last_heartbeat"]
        with self.lock:
            is_enough = self.adopted >= self.wanted
        process.stdin.write(json.dumps({"lease": lease, "finish": is_enough}) + "\n")
        process.stdin.flush()
        began = ended = None
        for line in process.stdout:
            said = json.loads(line)
            if said["event"] == "adopted":
                began = said["at"]
                with self.lock:
                    self.adopted += 1
                    dies = not is_enough and self.adopted >= self.kill_at
                    if dies:
                        self.kills += 1
                        self.kill_at += KILL_EVERY
                if dies:
                    process.kill()
                    process.wait()
                    ended = time.monotonic()
                    break
            elif said["event"] == "left":
                ended = said["at"]
            else:
                if said["event"] == "released":
                    self.pending.put(said["handover"])
                elif said["event"] == "failed":
                    ended = None
                break
        if began is not None and ended is not None:
            with self.lock:
                self.held.setdefault(lease["work_id"], []).append((began, ended))


@pytest.mark.parametrize(
    ("items", "handovers"), [(4, 60), pytest.param(16, 1000, marks=pytest.mark.deep)], ids=["some", "a thousand"]
)
def test_a_lease_goes_from_process_to_process_whatever_fails(items: int, handovers: int) -> None:
    with Emulator("--lease-ttl", "5", "--request-log", "0") as emulator:
        environment = emulator.create_environment("relay", config={"type": "self_hosted"})
        queued = [emulator.enqueue(environment)["id"] for _ in range(items)]
        client = antenv.Client(environment_key=emulator.environment_key(environment), base_url=emulator.url)
        relay = Relay(emulator, handovers)
        workers = [
            client.environments.worker(environment, heartbeat=heartbeat, rescue_after=10) for heartbeat in (True, False)
        ]
        emulator.faults(*({**fault, "count": 1_000_000} for fault in FAULTS))
        threads = [threading.Thread(target=relay.claim, args=(worker,)) for worker in workers]
        threads += [threading.Thread(target=relay.host) for _ in range(4)]
        for thread in threads:
            thread.start()
        try:
            deadline = time.monotonic() + 300
            while not all(history(emulator)[item][-1] == "stopped" for item in queued):
                assert time.monotonic() < deadline, (relay.adopted, history(emulator))
                time.sleep(0.1)
        finally:
            relay.over.set()
            for worker in workers:
                worker.close()
            for thread in threads:
                thread.join()
        happened = history(emulator)
    assert relay.adopted >= handovers and relay.kills > 0
    print(f"{relay.adopted} adoptions, {relay.kills} processes killed")
    for item in queued:
        assert happened[item].count("stopped") == 1, happened[item]
        in_hand = sorted(relay.held[item])
        for (_, ended), (began, _) in itertools.pairwise(in_hand):
            assert ended <= began, (item, in_hand)


def history(emulator: Emulator) -> dict[str, list[str]]:
    """What happened to each item."""
    items: dict[str, list[str]] = {}
    for event in emulator.control("GET", "/_emulator/history")["data"]:
        items.setdefault(event["work_id"], []).append(event["event"])
    return items
