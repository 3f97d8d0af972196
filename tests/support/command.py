"""Runs the command `antenv`, in a process of its own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.build import BUILT
from support.emulator import Emulator
from support.processes import become_subreaper
from support.waiting import until

COMMAND = str(BUILT / "quick" / "antenv")


def variables(emulator: Emulator, **more: str) -> dict[str, str]:
    """Returns an environment in which the command uses an emulator, and nothing of this process's own settings."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    return own | {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "an-api-key"} | more


def antenv(*arguments: str, env: dict[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        [COMMAND, *arguments], env=env, capture_output=True, text=True, check=False, timeout=120, **options
    )


class Running:
    """The command, running; what it says on standard error goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self.process = process
        self._said = said

    @property
    def said(self) -> str:
        return self._said.read_text()

    def says(self, *texts: str) -> None:
        """Waits until it has said all of this."""
        until(lambda: all(text in self.said for text in texts) or self.process.poll() is not None, str(texts), 120)
        assert all(text in self.said for text in texts), (texts, self.said)

    def ends_with(self, code: int) -> None:
        assert self.process.wait(timeout=120) == code, self.said


@contextmanager
def running(
    *arguments: str, folder: Path, way: str = "plain", executable: str | Path = COMMAND, **environ: str
) -> Iterator[Running]:
    """Runs the command, or a copy of it, in a folder until the block is left, plainly or as a "subreaper"."""
    said = folder / "said"
    with (
        said.open("wb") as errors,
        subprocess.Popen(
            [executable, *arguments],
            stderr=errors,
            cwd=folder,
            env=environ,
            preexec_fn=become_subreaper if way == "subreaper" else None,
        ) as process,
    ):
        try:
            yield Running(process, said)
        finally:
            process.kill()
