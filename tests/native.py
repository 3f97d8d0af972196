"""Compiles the C programs of the tests against the built library, and talks to the driver among them."""

from __future__ import annotations

import itertools
import json
import os
import resource
import select
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from emulator import BINARY, BUILT, ROOT, TARGET

LIBRARY = BUILT / "release"
# What Go programs need to find the library, which `make prefix` installs there, and the emulator.
GO = {
    "PKG_CONFIG_PATH": str(TARGET / "prefix" / "lib" / "pkgconfig"),
    "LD_LIBRARY_PATH": str(TARGET / "prefix" / "lib"),
    "ANTENV_EMULATOR": str(BINARY),
}
# How long a driver may take over one line, in seconds: what takes longer hangs.
PATIENCE = 150
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic")


@contextmanager
def in_place_of(program: Path) -> Iterator[Path]:
    """Where to write a program, so that it is there whole or not at all: other tests may write the same one."""
    fresh = program.with_name(f"{program.name}.{os.getpid()}")
    yield fresh
    fresh.replace(program)


@cache
def compile_c(source: Path, *flags: str, compiler: str | None = None, standard: str | None = None) -> Path:
    """Compiles a C or C++ program into a folder of the build's; returns its path.

    It is linked with the shared library: with a sanitizer among the flags, with the one that is instrumented likewise.
    """
    folder = TARGET / "c-tests"
    folder.mkdir(parents=True, exist_ok=True)
    kind = "-".join(flag.strip("-").replace("=", "-") for flag in flags) or "plain"
    is_cpp = source.suffix == ".cpp"
    compiler, standard = compiler or ("g++" if is_cpp else "cc"), standard or ("c++17" if is_cpp else "c11")
    program = folder / f"{source.name}-{compiler}-{standard}-{kind}"
    sanitizer = next((flag.split("=")[1].split(",")[0] for flag in flags if flag.startswith("-fsanitize=")), None)
    library = next((TARGET / sanitizer).glob("*/quick/libantenv.so")).parent if sanitizer else LIBRARY
    objects, runtime = [str(source)], []
    command = [compiler, f"-std={standard}", "-g", "-O1", *WARNINGS, *flags, f"-I{ROOT / 'include'}"]
    if sanitizer:
        # The compiler's own runtime may know less than Rust's code asks of it; Rust's serves both.
        objects = []
        # Rust's runtime knows nothing of this check; and g++ takes what sanitizers add for uses of what is not there.
        command += ["-fno-sanitize=vptr", "-Wno-maybe-uninitialized"] if is_cpp else []
        for part in (source, ROOT / "tests" / "c" / "sanitizers.c"):
            objects.append(f"{program}-{part.stem}.{os.getpid()}.o")
            subprocess.run([*command, "-c", str(part), "-o", objects[-1]], check=True)
        archive = rust_runtime(f"{sanitizer[0]}san")
        runtime = [
            "-Wl,--whole-archive",
            str(archive),
            "-Wl,--no-whole-archive",
            "-rdynamic",
            "-lm",
            "-lrt",
            "-lresolv",
        ]
        command = [compiler]
    command += [*objects, *runtime, f"-L{library}", "-lantenv", f"-Wl,-rpath,{library}", "-pthread", "-ldl"]
    with in_place_of(program) as fresh:
        subprocess.run([*command, "-o", str(fresh)], check=True)
    return program


def rust_runtime(sanitizer: str) -> Path:
    """The runtime of a sanitizer that comes with the Rust compiler."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
    return next(Path(sysroot).glob(f"lib/rustlib/*/lib/librustc-*_rt.{sanitizer}.a"))


class Outcome(NamedTuple):
    """What a call gave: its status number, and the JSON as text and as a value."""

    status: int
    text: str | None

    @property
    def json(self) -> Any:
        return None if self.text is None else json.loads(self.text)


class Driver:
    """A driver program, running; ended when the `with` block is left. tests/c/driver.c tells what it understands."""

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
        code = self._process.wait(timeout=30)
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
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
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
        ids = [rest.pop(name, None) for name in ("environment_id", "work_id")]
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


@cache
def build_go(package: Path, *flags: str) -> Path:
    """Builds a Go program into a folder of the build's; returns its path."""
    program = TARGET / "go" / "-".join([package.name, *flags]).replace("=", "-")
    with in_place_of(program) as fresh:
        command = ["go", "build", *flags, "-o", str(fresh), "."]
        subprocess.run(command, check=True, cwd=package, env=os.environ | GO)
    return program


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
