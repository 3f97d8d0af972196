"""The ways in which C and C++ programs are run: as they are, under valgrind, with sanitizers, on other platforms."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.build import PLATFORMS, ROOT, compile_c
from support.emulator import trusted

VALGRIND = ["valgrind", "--quiet", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite,indirect"]
VALGRIND += ["--errors-for-leak-kinds=definite,indirect", "--fair-sched=yes"]
VALGRIND += [f"--suppressions={ROOT / 'tests' / 'c' / 'valgrind.supp'}"]

# No program forks with one: ThreadSanitizer does not support it, and AddressSanitizer's quarantine has a lock that a
# child may find held by a thread it does not have: when a thread of the child ends, it waits for that lock forever.
# Valgrind, which runs one thread at a time, checks forks.
SANITIZERS = {"asan": "-fsanitize=address,undefined", "tsan": "-fsanitize=thread"}

# The ways on this machine, those that C programs are also run in, and those in which they may fork: QEMU forks no
# process that has threads.
NATIVE = ["plain", "valgrind", *SANITIZERS]
WAYS = [*NATIVE, *(name for name, platform in PLATFORMS.items() if platform.posix)]
FORKING = [way for way in WAYS if way not in SANITIZERS and way != "aarch64"]


def command_of(way: str, source: Path, *arguments: str, flags: tuple[str, ...] = (), leaks: bool = True) -> list[str]:
    """Compiles a program, with these flags, for one of the ways; returns the command that runs it.

    A forked child leaves alone what is left of its parent's runtime, which valgrind would report as `leaks`.
    """
    if way in PLATFORMS:
        platform = PLATFORMS[way]
        return [*platform.runner, str(compile_c(source, *flags, platform=way)), *arguments]
    sanitizer = (SANITIZERS[way],) if way in SANITIZERS else ()
    program = [str(compile_c(source, *flags, *sanitizer)), *arguments]
    return [*VALGRIND, *(() if leaks else ("--leak-check=no",)), *program] if way == "valgrind" else program


def run(command: list[str], **variables: str) -> str:
    """Runs a program to its end: it must succeed and say nothing on standard error. Returns what it printed."""
    done = subprocess.run(
        command, capture_output=True, timeout=300, env={"PATH": "/usr/bin:/bin", **trusted(), **variables}, check=False
    )
    assert (done.returncode, done.stderr.decode()) == (0, ""), done.stdout.decode()[-2000:]
    return done.stdout.decode()
