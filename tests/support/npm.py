"""Installs packages of npm's: those of a lock file, once."""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest


def install(source: Path, into: Path) -> Path:
    """Installs what the lock file in a folder says into another or the same one, unless that has been done.

    Returns the folder `node_modules`. One test at a time installs. No script of a package runs.
    """
    npm = shutil.which("npm")
    if npm is None:
        pytest.fail("npm is missing: install Node.js with npm", pytrace=False)
    into.mkdir(parents=True, exist_ok=True)
    lock = source / "package-lock.json"
    installed = into / "node_modules" / ".package-lock.json"
    held = os.open(into, os.O_RDONLY)
    try:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
            if into != source:
                shutil.copyfile(source / "package.json", into / "package.json")
                shutil.copyfile(lock, into / "package-lock.json")
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, f"npm ci failed:\n{done.stdout}{done.stderr}"
    finally:
        os.close(held)
    return installed.parent
