"""The command `antenv` that pip installs: it runs the one that lies beside the library."""

from __future__ import annotations

import os
import signal
import subprocess
import sys


def main() -> None:
    """Runs the command in place of this process; on Windows, as a child whose exit code is passed on."""
    folder = os.path.dirname(os.path.abspath(__file__))
    if sys.platform == "win32":
        sys.exit(subprocess.call([os.path.join(folder, "antenv.exe"), *sys.argv[1:]]))
    for number in (signal.SIGPIPE, signal.SIGXFSZ):  # which Python ignores, and so would the command and its own
        signal.signal(number, signal.SIG_DFL)
    os.execv(os.path.join(folder, "antenv"), ["antenv", *sys.argv[1:]])
