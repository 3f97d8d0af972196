"""Workers on one queue, while everything is done to them that can happen to a fleet.

python -m soak.fleet [--items 2000] [--seconds 120] [--seed N] [--tls] [--freeze SECONDS] [--spare]

They are processes of `antenv worker poll`, each running a command for every item. Processes are killed (with their
commands or without) and replaced, stopped and continued (SIGSTOP, SIGCONT: for longer than a lease lasts, now and
then). Requests are lost, refused, late, answered and the answer lost, or done when their sender has long gone. With
--tls all of it is HTTPS with HTTP/2; with --freeze, all connections fall silent every so many seconds, without an end
that their peers could notice. Afterwards the emulator's history of each item has to show that it was held by one worker
at a time, and finished by one that still held it; and with --spare, which leaves the processes alone, that no lease was
lost.

An item whose worker is killed between acknowledgement and first heartbeat is put back by another, a minute or two on.
"""

from __future__ import annotations

import os
import random
import tempfile
from pathlib import Path

from soak import world
from soak.world import CONCURRENCY, FAULTS, LEASE, MANY, Harm, Worker
from support.command import COMMAND
from support.emulator import Emulator

WORKERS = 5
# Begins, works for a moment, ends.
ON_WORK = ["sh", "-c", 'sleep "0.$(printf %03d $((($$ * 7919) % 900)))"']


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

        def enqueue(count: int) -> None:
            emulator.control("POST", "/_emulator/work", {"environment_id": environment, "count": count})

        emulator.faults(*({**fault, "count": MANY} for fault in FAULTS))
        command = [COMMAND, "worker", "poll", "--concurrency", str(CONCURRENCY), "--on-work", *ON_WORK]
        workers = [Worker(command, variables, Path(folder) / f"{number}.log") for number in range(WORKERS)]
        with world.watched(workers):
            done = world.storm(emulator, workers, enqueue, items, seconds, rng, harm)
            accounts, history = world.settle(emulator, environment)
            for worker in workers:
                worker.drain()
            world.judge(accounts, history, harm, "".join(worker.log for worker in workers))
    return world.figures(accounts, history, done)


if __name__ == "__main__":
    world.main(__doc__, "items", 2000, 120, soak)
