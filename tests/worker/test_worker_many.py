"""Ten thousand leases in one process, and what they cost."""

from __future__ import annotations

import json
import subprocess

import pytest

from support.build import ROOT, compile_c
from support.emulator import Emulator

MANY = 10_000
BEATS = 2


@pytest.mark.long
def test_ten_thousand_leases_are_kept_in_time_by_one_thread() -> None:
    # A heartbeat every thirty seconds for each: more than three hundred a second.
    with Emulator("--lease-ttl", "60", "--request-log", "0", "--threads", "1") as emulator:
        environment = emulator.create_environment("many", config={"type": "self_hosted"})
        emulator.control("POST", "/_emulator/work", {"environment_id": environment, "count": MANY})
        key = emulator.environment_key(environment)
        program = compile_c(ROOT / "tests" / "c" / "leases.c")
        command = [str(program), emulator.url, environment, key, str(MANY), str(BEATS)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=600)
    memory, threads, said = done.stdout.split(maxsplit=2)
    stats = json.loads(said)
    late = stats["heartbeat_late_us"]
    assert late["count"] >= MANY * BEATS
    below, behind = 0, 0
    for bound, count in late["buckets"]:
        behind += count
        if behind <= late["count"] * 0.99:
            below = bound
    print(f"{memory} bytes a lease, {threads} threads, 99 % of heartbeats less than {below / 1e3} ms late")
    assert int(memory) < 60_000
    assert int(threads) < 10
    assert (stats["lost"], stats["leases_held"]) == (0, MANY)
