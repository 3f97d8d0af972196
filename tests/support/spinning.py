"""Keeping processors busy: for tests that must pass on a busy machine, and for benchmarks on one that is awake."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

# Spins until its parent is gone, so that nothing is left behind however that ends.
SPIN = """
import os, sys
parent, processor, only_if_idle = map(int, sys.argv[1:])
os.sched_setaffinity(0, {processor})
if only_if_idle:
    os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
while os.getppid() == parent:
    for _ in range(1000000): pass
"""


@contextmanager
def spinning(processors: Iterable[int], only_if_idle: bool = False) -> Iterator[None]:
    """Keeps these processors busy until the `with` block is left; if so asked, while nothing else wants to run."""
    command = [sys.executable, "-c", SPIN, str(os.getpid())]
    processes = [
        subprocess.Popen([*command, str(processor), str(int(only_if_idle))], stdin=subprocess.DEVNULL)
        for processor in processors
    ]
    try:
        yield
        assert all(process.poll() is None for process in processes), "a processor was not kept busy"
    finally:
        for process in processes:
            process.kill()
            process.wait()
