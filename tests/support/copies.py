"""Copies of the repository, for what would leave traces in it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from support.build import ROOT


def copy_repository(folder: Path) -> None:
    """Copies what git knows of."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():  # and is not about to be removed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
