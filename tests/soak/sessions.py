"""Workers that serve the sessions of one queue, while everything is done to them that can happen to a fleet.

python -m soak.sessions [--sessions 500] [--seconds 300] [--seed N] [--tls] [--freeze SECONDS] [--spare]

They are six processes: two of `antenv worker run`, a Python program with threads, one with asyncio, one in Go, and
one in PHP.
Each serves the toolset and two tools of its own. Agents play scripts of 5 to 50 calls (soak/scripts.py), with threads,
calls at once, permissions and interrupts. What happens to the processes and their requests is the same as in
soak/fleet.py; besides, streams break. Processes are killed and stopped with their toolsets and commands, or without.

Afterwards the emulator's reports have to show for each call that the session still wanted that it was answered once, as
its tool should, by the holder of the item; and that tools ran no more often than holders changed. Neither a process nor
a file may be left, except for what docs/cli.md and docs/security.md name: the working directories of a process that was
killed, and the private folders of toolsets that were killed with it.
"""

from __future__ import annotations

import ctypes
import os
import random
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from soak import scripts, world
from soak.world import CONCURRENCY, FAULTS, LEASE, MANY, Accounts, Harm, Worker
from support.build import GO, ROOT, build_go
from support.command import COMMAND
from support.emulator import Emulator
from support.processes import PR_SET_CHILD_SUBREAPER
from support.waiting import until

STREAM_FAULTS: list[dict[str, Any]] = [
    {"operation": "sessions.events.stream", "stream": {"after": after, "then": then}, "probability": 0.05}
    for after, then in ((1, "cut"), (4, "end"), (9, "error"), (20, "cut"))
]
# `slow` ends by itself when its worker was killed without it.
ON_TOOL = """
echo "$ANTENV_TOOL_USE_ID" >>"$SOAK_RUNS"
case $ANTENV_TOOL_NAME in who) printf %s "$ANTENV_TOOL_USE_ID" ;; slow) sleep 60 ;; esac
"""
#: How long what a killed worker has started may go on, in seconds.
LEAVING = 120


class SessionWorker(Worker):
    """A process with directories of its own: ROOT for the items, TMPDIR for temporary files."""

    def __init__(self, command: list[str], variables: dict[str, str], folder: Path) -> None:
        self._root, self._temporary = folder / "root", folder / "tmp"
        for path in (self._root, self._temporary):
            path.mkdir(parents=True)
        self._may_stay: set[Path] = set()
        command = [str(self._root) if word == "ROOT" else word for word in command]
        super().__init__(command, variables | {"TMPDIR": str(self._temporary)}, folder / "log")

    def kill(self, alone: bool = False) -> None:
        super().kill(alone)
        self._may_stay.update(self._root.iterdir())
        if not alone:
            self._may_stay.update(self._temporary.iterdir())

    def left(self) -> tuple[int, list[Path]]:
        """Returns how many directories are left by kills, and what else is left."""
        left = {*self._root.iterdir(), *self._temporary.iterdir()}
        return len(left & self._may_stay), sorted(left - self._may_stay)


def start_workers(variables: dict[str, str], folder: Path) -> list[SessionWorker]:
    """Starts the six processes."""
    run = [COMMAND, "worker", "run", "--workdir-root", "ROOT", "--concurrency", str(CONCURRENCY), "--max-idle", "1"]
    on_tool = ["--tools", ",".join(scripts.COUNTED), "--on-tool", "sh", "-c", ON_TOOL]
    python = [sys.executable, "-m", "soak.serving"]
    commands = [
        [*run, *on_tool],
        [*run, "--log", "json", *on_tool],
        [*python, "threads", "ROOT"],
        [*python, "asyncio", "ROOT"],
        [str(build_go(ROOT / "tests" / "soak" / "goworker")), "ROOT", str(CONCURRENCY)],
        ["php", str(ROOT / "tests" / "soak" / "serving.php"), "ROOT", str(CONCURRENCY)],
    ]
    return [SessionWorker(command, variables, folder / str(number)) for number, command in enumerate(commands)]


class Orphans:
    """The processes that killed workers leave behind: they become children of this one."""

    def __init__(self) -> None:
        self._known = self._children()

    @staticmethod
    def _children() -> set[int]:
        lists = Path("/proc/self/task").glob("*/children")
        return {int(pid) for each in lists for pid in each.read_text().split()}

    def left(self) -> list[str]:
        """Reaps those that have ended; returns the command lines of the others."""
        left = []
        for pid in self._children() - self._known:
            with suppress(ChildProcessError, FileNotFoundError):
                if os.waitpid(pid, os.WNOHANG) == (0, 0):
                    left.append(Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " "))
        return left

    def kill(self) -> None:
        for pid in self._children() - self._known:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


@contextmanager
def orphans() -> Iterator[Orphans]:
    """Has the processes that are started in the block and left by their parents become children of this one."""
    libc = ctypes.CDLL(None, use_errno=True)
    assert libc.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
    try:
        yield Orphans()
    finally:
        assert libc.prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0) == 0


class Verdict:
    """What is wrong with how calls ended, and the figures of the table about them."""

    def __init__(self, accounts: Accounts, runs: Counter[str]) -> None:
        self.problems: list[Any] = []
        self.count: Counter[str] = Counter()
        self._accounts = accounts
        self._runs = runs

    def judge(self, report: dict[str, Any], expected: list[scripts.Call], item: str) -> None:
        """Judges a session."""
        self.count["sessions"] += 1
        if not report["done"] or len(report["calls"]) != len(expected):
            self.problems.append(("not at its end", report))
            return
        for call, wanted in zip(report["calls"], expected, strict=True):
            for problem in self._judge_call(call, wanted, item):
                self.problems.append((problem, call, wanted, self._accounts[item].holders))

    def figures(self) -> dict[str, int]:
        """Returns the figures of the table."""
        ends = {f"calls: {end}": self.count[end] for end in scripts.ENDS}
        rest = ("results that were refused", "runs of tools that count them", "of these, again by a later holder")
        return {"sessions": self.count["sessions"], **ends, **{name: self.count[name] for name in rest}}

    def _judge_call(self, call: dict[str, Any], wanted: scripts.Call, item: str) -> Iterator[str]:
        accepted = [attempt for attempt in call["attempts"] if attempt["accepted"]]
        holders = self._accounts[item].holders
        end = call["ending"]
        if len(accepted) != (1 if end == "answered" else 0):
            yield "answered so often"
        if end == "answered" and accepted[0]["credential"] == "script":
            end = "another"
        self.count[str(end)] += 1
        self.count["results that were refused"] += len(call["attempts"]) - len(accepted)
        if end == "answered":
            (attempt,) = accepted
            content = attempt["content"][0]["text"]
            # What needs a file may find none in another holder's directory.
            has_lost = wanted.file and len(holders) > 1 and (attempt["is_error"] or content == "no matches")
            answer = scripts.OWN if content == call["id"] else (content, attempt["is_error"])
            if answer not in wanted.ends and not has_lost:
                yield "an answer that its tool does not give"
            if not self._is_holders(attempt, item):
                yield "a result of a worker that had lost the item"
        elif end not in wanted.ends:
            yield "an end that it cannot have"
        if call["name"] in scripts.COUNTED:
            runs = self._runs[call["id"]]
            self.count["runs of tools that count them"] += runs
            self.count["of these, again by a later holder"] += max(0, runs - 1)
            if runs > len(holders) or (end == "denied" and runs) or (end == "answered" and not runs):
                yield f"{runs} runs"

    def _is_holders(self, attempt: dict[str, Any], item: str) -> bool:
        """Whether a result came from the one that held the item at that time."""
        return attempt["work_id"] == item and any(
            attempt["delivery"] == holder and begun <= attempt["at"] and (ended is None or attempt["at"] <= ended)
            for holder, begun, ended in self._accounts[item].holders
        )


def soak(items: int, seconds: float, seed: int, harm: Harm) -> dict[str, int]:
    """Runs it all. Gives the figures of the table; raises when something is not as it has to be."""
    rng = random.Random(seed)
    expected: dict[str, list[scripts.Call]] = {}
    item_of: dict[str, str] = {}
    with (
        Emulator("--lease-ttl", str(LEASE), "--request-log", "0") as emulator,
        tempfile.TemporaryDirectory() as name,
        orphans() as left,
    ):
        folder = Path(name)
        environment = emulator.create_environment("soak", config={"type": "self_hosted"})
        noted = folder / "runs"
        noted.touch()
        variables = {
            **os.environ,
            **GO,
            "ANTENV_CLI": COMMAND,
            "ANTHROPIC_BASE_URL": emulator.url,
            "ANTHROPIC_ENVIRONMENT_ID": environment,
            "ANTHROPIC_ENVIRONMENT_KEY": emulator.environment_key(environment),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "SOAK_RUNS": str(noted),
        }

        def enqueue(count: int) -> None:
            for _ in range(count):
                steps, calls = scripts.draw(rng)
                emulator.control("POST", "/_emulator/scripts", {"environment_id": environment, "steps": steps})
                item = emulator.enqueue(environment)
                expected[item["data"]["id"]], item_of[item["data"]["id"]] = calls, item["id"]

        emulator.faults(*({**fault, "count": MANY} for fault in STREAM_FAULTS + FAULTS))
        workers = start_workers(variables, folder)
        try:
            with world.watched(workers):
                done = world.storm(emulator, workers, enqueue, items, seconds, rng, harm)
                accounts, history = world.settle(emulator, environment)
                for worker in workers:
                    worker.drain()
                world.judge(accounts, history, harm, "".join(worker.log for worker in workers))
                until(lambda: not left.left(), "processes are left", LEAVING)
        finally:
            if running := left.left():
                print("\n".join(["--- processes that are left", *running]), file=sys.stderr)
                left.kill()
        verdict = Verdict(accounts, Counter(noted.read_text().split()))
        for report in emulator.control("GET", "/_emulator/scripts")["data"]:
            verdict.judge(report, expected[report["session_id"]], item_of[report["session_id"]])
        assert not verdict.problems, (len(verdict.problems), verdict.problems[:3])
        assert set(accounts) == set(item_of.values()) and verdict.count["sessions"] == len(expected)
        by_kills, by_others = zip(*(worker.left() for worker in workers), strict=True)
        assert not any(by_others), by_others
    figures = world.figures(accounts, history, done)
    return {**verdict.figures(), **figures, "directories left by kills, as documented": sum(by_kills)}


if __name__ == "__main__":
    world.main(__doc__, "sessions", 500, 300, soak)
