"""Sessions side by side: how soon a call's result is back, and what 200 sessions in one process cost.

The tool does nothing, and the agents are a server's (benches/peers/src/bin/sessions): it takes the time from the write
of a tool use to its stream until the result has been received, by its own clock.

Everything is measured twice. Between two calls all processors are idle, and to wake a virtual one takes as long as the
library does. So it is also measured with processors that are kept awake.
"""

from __future__ import annotations

import json
import os
import select
import statistics
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.spinning import spinning

Command = list[str | Path]
#: How many calls each agent makes, and the pause after each in milliseconds: to warm up, and measured.
ONE = ("100 1", "400 3")
MANY = ("1 500", "3 2500")
SESSIONS = 200
#: Only something that is broken takes so many seconds.
PATIENCE = 300
#: How long a process that begins to serve its sessions is left alone, in seconds.
REST = 0.5


class Service:
    """A server with as many sessions, and a process that serves them."""

    def __init__(self, server: Path, cores: list[int], subject: Command, sessions: int, folder: str) -> None:
        authority = f"{folder}/ca.pem"
        command = ["taskset", "-c", ",".join(map(str, cores)), str(server), authority, str(sessions)]
        self._server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self._processes, self._unread = [self._server], b""
        url = self._line()
        environ = os.environ | {"SSL_CERT_FILE": authority}
        self.subject = subprocess.Popen([*subject, url, str(sessions)], cwd=folder, env=environ)
        self._processes.append(self.subject)

    def _line(self) -> str:
        """Returns the next line of the server."""
        assert self._server.stdout is not None
        descriptor, until = self._server.stdout.fileno(), time.monotonic() + PATIENCE
        while b"\n" not in self._unread:
            if not select.select([descriptor], [], [], 1)[0]:
                if time.monotonic() > until or any(each.poll() is not None for each in self._processes):
                    raise RuntimeError("the sessions are not served")
                continue
            part = os.read(descriptor, 4096)
            if not part:
                raise EOFError("the server has ended")
            self._unread += part
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def served(self) -> None:
        """Waits until every session is served."""
        assert self._line() == "ready"
        time.sleep(REST)

    def play(self, turn: str) -> dict[str, float]:
        """Lets each agent make calls; returns how long they took, and the CPU time of each."""
        assert self._server.stdin is not None
        before = self._cpu()
        self._server.stdin.write(f"{turn}\n".encode())
        self._server.stdin.flush()
        figures: dict[str, float] = json.loads(self._line())
        return figures | {"cpu_us": (self._cpu() - before) / figures["calls"] * 1e6}

    def _cpu(self) -> float:
        """Returns the CPU time of the process: its clock's identifier is made of its own (clock_getcpuclockid)."""
        return time.clock_gettime((~self.subject.pid << 3) | 2)

    def memory(self) -> int:
        """Returns the resident memory of the process, in KB."""
        status = Path(f"/proc/{self.subject.pid}/status").read_text()
        return int(status.split("VmRSS:")[1].split()[0])

    def end(self) -> None:
        for process in reversed(self._processes):
            process.kill()
            process.wait()


@contextmanager
def service(server: Path, cores: list[int], subject: Command, sessions: int) -> Iterator[Service]:
    """Gives a server whose sessions are served."""
    with tempfile.TemporaryDirectory() as folder:
        running = Service(server, cores, subject, sessions, folder)
        try:
            running.served()
            yield running
        finally:
            running.end()


FIGURES = {
    **{"p50_us": "tool use to result, p50 µs", "p99_us": "tool use to result, p99 µs", "cpu_us": "CPU µs/call"},
    **{"rss_kb": "RSS KB", "session_kb": "RSS KB/session more"},
}


def run(
    server: Path, programs: dict[str, Command], without_threads: set[str], server_cores: list[int], rounds: int
) -> None:
    """Measures each program with one session, and those without threads with many; prints a table of both.

    The last program is the official worker. The programs run where the caller does.
    """
    measure(server, programs, without_threads, server_cores, rounds, "processors that sleep when idle")
    with spinning({*server_cores, *os.sched_getaffinity(0)}, only_if_idle=True):
        measure(server, programs, without_threads, server_cores, rounds, "processors kept awake")


def measure(
    server: Path, programs: dict[str, Command], without_threads: set[str], cores: list[int], rounds: int, how: str
) -> None:
    """Measures and prints once."""
    one: dict[str, list[dict[str, float]]] = {peer: [] for peer in programs}
    many: dict[str, list[dict[str, float]]] = {peer: [] for peer in programs if peer in without_threads}
    for _ in range(rounds):
        for peer in one:
            with service(server, cores, programs[peer], 1) as running:
                running.play(ONE[0])
                one[peer].append(running.play(ONE[1]) | {"rss_kb": running.memory()})
    report(f"one session, {how}, medians of {rounds}", one)
    for index in range(rounds):
        for peer in many:
            with service(server, cores, programs[peer], SESSIONS) as running:
                running.play(MANY[0])
                figures = running.play(MANY[1]) | {"rss_kb": running.memory()}
            more = (figures["rss_kb"] - one[peer][index]["rss_kb"]) / (SESSIONS - 1)
            many[peer].append(figures | {"session_kb": more})
    report(f"{SESSIONS} sessions in one process, {how}, medians of {rounds}", many)


def report(title: str, measured: dict[str, list[dict[str, float]]]) -> None:
    """Prints the figures of each, then divided by the official worker's: round by round, and the median of that."""
    print(f"\n{title}\n{'':28}" + "".join(f"{peer:>20}" for peer in measured))
    rounds = list(measured.values())
    for figure in (figure for figure in FIGURES if figure in rounds[0][0]):
        medians = [statistics.median(one[figure] for one in peer) for peer in rounds]
        print(f"{FIGURES[figure]:28}" + "".join(f"{median:20.1f}" for median in medians))
        ratios = [
            statistics.median(one[figure] / other[figure] for one, other in zip(peer, rounds[-1], strict=True))
            for peer in rounds
        ]
        print(f"{'  / official worker':28}" + "".join(f"{ratio:20.4f}" for ratio in ratios), flush=True)
