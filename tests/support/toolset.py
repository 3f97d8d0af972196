"""The helper `antenv toolset`: a process that runs the tools of an agent."""

from __future__ import annotations

import json
import os
import random
import subprocess
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from support.command import COMMAND

#: A root that has no process namespaces: as in many containers.
WITHOUT_NAMESPACES = (
    "unshare", "--user", "--map-root-user", "sh", "-c", 'echo 0 >/proc/sys/user/max_pid_namespaces; exec "$@"', "sh",
)  # fmt: skip
NOBODY = 65534
#: How long anything may take on a busy machine, in seconds.
PATIENCE = 60
UNPRIVILEGED = ("setpriv", "--reuid", str(NOBODY), "--regid", str(NOBODY), "--clear-groups")


class Toolset:
    """A helper that runs. Leaving the block ends its input and waits for its end."""

    def __init__(
        self,
        workdir: Path,
        *options: str,
        prefix: Sequence[str] = (),
        executable: str = COMMAND,
        env: dict[str, str] | None = None,
        patience: float = 4 * PATIENCE,
    ) -> None:
        command = [*prefix, executable, "toolset", "--workdir", str(workdir), *options]
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, env=env)
        # Whoever waits longer than that waits for what never comes.
        self._watchdog = threading.Timer(patience, self.process.kill)
        self._watchdog.start()
        assert self.process.stdout and self.process.stdin
        self._output, self._input = self.process.stdout, self.process.stdin
        first = self._output.readline()
        self.ready: dict[str, Any] = json.loads(first) if first else {}
        self.confinement: dict[str, Any] = self.ready.get("confinement", {})
        self._number = 0
        self._early: dict[str | None, dict[str, Any]] = {}

    def send(self, **message: object) -> None:
        """Writes a line of the input."""
        self._input.write(json.dumps(message) + "\n")
        self._input.flush()

    def start(self, name: str, **parameters: object) -> str:
        """Sends a call; returns its id."""
        self._number += 1
        self.send(id=f"call_{self._number}", name=name, input=parameters)
        return f"call_{self._number}"

    def answer(self, call: str | None) -> dict[str, Any]:
        """Waits for the answer to a call."""
        while call not in self._early:
            line = self._output.readline()
            assert line, "the helper has ended"
            answer = json.loads(line)
            self._early[answer["id"]] = answer
        return self._early.pop(call)

    def blocks(self, name: str, **parameters: object) -> list[dict[str, Any]]:
        """Calls a tool, which succeeds; returns what it gives."""
        answer = self.answer(self.start(name, **parameters))
        assert not answer["is_error"], answer
        blocks: list[dict[str, Any]] = answer["content"]
        return blocks

    def call(self, name: str, **parameters: object) -> str:
        """Calls a tool, which succeeds; returns its text."""
        [block] = self.blocks(name, **parameters)
        return str(block["text"])

    def fails(self, name: str, **parameters: object) -> str:
        """Calls a tool, which fails; returns its message."""
        answer = self.answer(self.start(name, **parameters))
        assert answer["is_error"], answer
        [block] = answer["content"]
        return str(block["text"])

    def bash(self, command: str, **parameters: object) -> str:
        """Runs a command, whether it succeeds or not; returns its text."""
        answer = self.answer(self.start("bash", command=command, **parameters))
        return str(answer["content"][0]["text"])

    def ask(self, **request: object) -> dict[str, Any]:
        """Sends a request of the host; returns its result, or the object with the error."""
        self._number += 1
        self.send(id=f"request_{self._number}", **request)
        answer = self.answer(f"request_{self._number}")
        if "content" in answer:
            return {"error": answer["content"][0]["text"]}
        result: dict[str, Any] = answer["result"] if "result" in answer else {"error": answer["error"]}
        return result

    def end(self) -> int:
        """Ends the input; returns the exit code."""
        self._input.close()
        code = self.process.wait(PATIENCE)
        self._watchdog.cancel()
        return code

    def __enter__(self) -> Toolset:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.end()
        finally:
            self._watchdog.cancel()
            self.process.kill()
            self.process.wait()
            self._output.close()
            assert self.process.stderr
            self.process.stderr.close()


def works(prefix: Sequence[str]) -> bool:
    """Returns whether this machine can run programs in such a way."""
    return subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode == 0


def unique() -> str:
    """Returns a number to find processes by: `sleep` takes it, and no other test has it."""
    return str(random.randrange(10**8, 10**9))


def processes_with(text: str) -> list[int]:
    """Returns the processes of the system that have a text in their command line."""
    found = []
    for entry in os.listdir("/proc"):
        if entry.isdigit() and int(entry) != os.getpid():
            try:
                command = Path("/proc", entry, "cmdline").read_bytes()
            except OSError:
                continue
            if text.encode() in command:
                found.append(int(entry))
    return found
