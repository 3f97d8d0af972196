"""Drives the library from outside: a program in C, C++, Go, PHP or Python that runs one call a line."""

from __future__ import annotations

import itertools
import json
import os
import re
import resource
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, NamedTuple

from support.build import GO, LIBRARY, ROOT, build_go, compile_c

# The names of the identifiers in the path of each operation.
IDENTIFIERS = {
    name: re.findall(r"{(\w+)}", path)
    for name, path in re.findall(
        r"^\| \[`([\w.]+)`\].*? \| `[A-Z]+ (\S+)`", (ROOT / "docs" / "operations.md").read_text(), re.MULTILINE
    )
}
# How long a driver may take over one line, in seconds: what takes longer hangs.
TIMEOUT = 150


class Outcome(NamedTuple):
    """What a call gave: its status number, and the JSON as text and as a value."""

    status: int
    text: str | None

    @property
    def json(self) -> Any:
        return None if self.text is None else json.loads(self.text)


class Driver:
    """A driver program, running; ended when the `with` block is left. tests/c/driver.c documents its language."""

    def __init__(self, *command: str | Path, environment: dict[str, str] | None = None) -> None:
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115 (closed when the block is left)
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=clean | (environment or {}),
        )

    def __enter__(self) -> Driver:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        code = self._process.wait(timeout=TIMEOUT)
        self._process.stdout.close()
        self._errors.seek(0)
        said = self._errors.read()
        self._errors.close()
        assert kind or (code, said) == (0, b""), f"the driver ended with {code} and said {said!r}"

    @property
    def pid(self) -> int:
        """The number of its process."""
        return self._process.pid

    def run(self, *fields: str | None) -> Outcome:
        """Runs one line of the driver's language."""
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\t".join("\x01" if field is None else field for field in fields).encode() + b"\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], TIMEOUT)[0]:
            self._process.kill()
            raise TimeoutError(f"{fields[:2]} hangs")
        status, length = map(int, self._process.stdout.readline().split())
        text = self._process.stdout.read(max(length, 0) + 1)[:-1].decode()
        return Outcome(status, None if length < 0 else text)

    def client(self, **config: Any) -> Outcome:
        """Makes the client that later calls use."""
        return self.run("client", json.dumps(config))

    def call(self, operation: str, params: dict[str, Any] | str | None = None) -> Outcome:
        """Calls an operation by name."""
        return self.run("call", operation, compact(params))

    def named(self, operation: str, params: dict[str, Any]) -> Outcome:
        """Calls an operation through its own function, the identifiers as arguments."""
        rest = dict(params)
        ids = ([rest.pop(name, None) for name in IDENTIFIERS.get(operation, ())] + [None, None])[:2]
        return self.run("named", operation, *ids, compact(rest) if rest else None)

    def request(self, method: str, path: str, params: dict[str, Any] | None = None) -> Outcome:
        """Makes a request to any endpoint."""
        return self.run("request", method, path, compact(params))

    def submit(self, operation: str, params: dict[str, Any] | str | None = None) -> Outcome:
        """Begins a call; `run("collect")` waits for what comes of it."""
        return self.run("submit", operation, compact(params))

    def submitted(self, operation: str, params: dict[str, Any] | str | None = None) -> Outcome:
        """Makes a call through the queue."""
        outcome = self.submit(operation, params)
        return self.run("collect") if outcome.status == 0 else outcome

    def worker(self, **config: Any) -> Outcome:
        """Makes a worker; `take` gives its items."""
        return self.run("worker", json.dumps(config))

    def take(self, timeout_ms: int) -> Outcome:
        """Waits for an item; `run("lease")` gives the state of its lease, `run("finish")` finishes it."""
        return self.run("take", str(timeout_ms))

    def stats(self) -> Any:
        """What the client counted."""
        return self.run("stats").json

    def records(self) -> list[Any]:
        """The log records that have come since the last time; `run("log", filter)` subscribes."""
        return list(iter(lambda: self.run("record").json, None))


@contextmanager
def one_descriptor_left(pid: int) -> Iterator[None]:
    """Leaves a process one descriptor, enough for a connection but not for a pipe, until the `with` block is left."""
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    used = {int(fd) for fd in os.listdir(f"/proc/{pid}/fd")}
    free = (fd for fd in itertools.count() if fd not in used)
    next(free)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (next(free), before[1]))
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def driver_in(language: str) -> list[str | Path]:
    """The command that runs the driver in a language."""
    python: list[str | Path] = [sys.executable, ROOT / "tests" / "python" / "driver.py"]
    commands: dict[str, Callable[[], list[str | Path]]] = {
        "C": lambda: [compile_c(ROOT / "tests" / "c" / "driver.c")],
        "C++": lambda: [compile_c(ROOT / "tests" / "cpp" / "driver.cpp")],
        "C++ without exceptions": lambda: [compile_c(ROOT / "tests" / "cpp" / "driver.cpp", "-fno-exceptions")],
        "Go": lambda: [
            "env",
            f"LD_LIBRARY_PATH={GO['LD_LIBRARY_PATH']}",
            build_go(ROOT / "bindings" / "go" / "internal" / "driver"),
        ],
        "PHP": lambda: [
            "env",
            f"ANTENV_LIBRARY={LIBRARY / 'libantenv.so'}",
            "php",
            ROOT / "tests" / "php" / "driver.php",
        ],
        "Python": lambda: [*python, "sync"],
        "asyncio": lambda: [*python, "async"],
    }
    return commands[language]()


def compact(params: dict[str, Any] | str | None) -> str | None:
    """JSON on one line, as small as the official client writes it."""
    return (
        params
        if params is None or isinstance(params, str)
        else json.dumps(params, separators=(",", ":"), ensure_ascii=False)
    )
