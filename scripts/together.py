"""Runs commands at the same time, and shows the output of each in one piece, in the order given.

python scripts/together.py COMMAND...

Each argument is a command with its arguments, quoted as for a shell, which is not used. At the end, a line for each
command says whether it succeeded and how long it took. The exit status is 0 if all of them succeeded.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
import threading
import time
from typing import IO


class Part:
    """A command, running; its output goes to a temporary file."""

    def __init__(self, command: str) -> None:
        self.command = command
        self.seconds = 0.0
        self.status = 0
        self._output: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 (open as long as this process)
        self._begun = time.monotonic()
        self._process = subprocess.Popen(
            shlex.split(command), stdin=subprocess.DEVNULL, stdout=self._output, stderr=subprocess.STDOUT
        )
        self._ended = threading.Thread(target=self._wait, daemon=True)
        self._ended.start()

    def _wait(self) -> None:
        self.status = self._process.wait()
        self.seconds = time.monotonic() - self._begun

    def show(self) -> None:
        """Writes the output as it comes, until the command has ended."""
        print(f"== {self.command}", flush=True)
        shown, ended = 0, False
        while not ended:
            self._ended.join(timeout=0.2)
            ended = not self._ended.is_alive()
            # Read at a place of its own: the command and this process share the position in the file.
            while part := self._read(shown):
                shown += len(part)
                sys.stdout.buffer.write(part)
                sys.stdout.flush()

    def _read(self, start: int) -> bytes:
        return os.pread(self._output.fileno(), 1 << 16, start)

    def end(self) -> None:
        """Ends the command if it still runs."""
        if self._ended.is_alive():
            self._process.terminate()


def main() -> int:
    parts = [Part(command) for command in sys.argv[1:]]
    try:
        for part in parts:
            part.show()
    finally:
        for part in parts:
            part.end()
    for part in parts:
        outcome = "ok" if part.status == 0 else f"failed, exit status {part.status}"
        print(f"== {part.seconds:4.0f} s, {outcome}: {part.command}")
    return 1 if any(part.status for part in parts) else 0


if __name__ == "__main__":
    sys.exit(main())
