"""The commands `antenv` and `antenv-emulator` that pip installs: they run the programs that lie beside the library."""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def path(name: str) -> str:
    """Returns where the wheel has a program."""
    suffix = ".exe" if sys.platform == "win32" else ""
    return os.path.join(os.path.dirname(os.path.abspath(__file__)), name + suffix)


def main() -> None:
    """Runs the command."""
    _run("antenv")


def emulator() -> None:
    """Runs the emulator."""
    _run("antenv-emulator")


def _run(name: str) -> None:
    """Runs a program in place of this process; on Windows, as a child whose exit code is passed on."""
    if sys.platform == "win32":
        sys.exit(subprocess.call([path(name), *sys.argv[1:]]))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and so would the program and its own
        signal.signal(number, signal.SIG_DFL)
    os.execv(path(name), [name, *sys.argv[1:]])
