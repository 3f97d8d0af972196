"""Installs packages of npm's: those of a lock file, once."""

from __future__ import annotations

import fcntl
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
    with (source / "package-lock.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        installed = into / "node_modules" / ".package-lock.json"
        if not installed.exists() or installed.stat().st_mtime < Path(lock.name).stat().st_mtime:
            if into != source:
                for name in ("package.json", "package-lock.json"):
                    shutil.copyfile(source / name, into / name)
            command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(command, cwd=into, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, f"npm ci failed:\n{done.stdout}{done.stderr}"
    return into / "node_modules"
