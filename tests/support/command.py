"""Runs the command `antenv`, in a process of its own."""

from __future__ import annotations

import os
import subprocess
from typing import Any

from support.build import BUILT
from support.emulator import Emulator

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
