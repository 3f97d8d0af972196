"""Runs PHP programs of the tests against the built library."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from support.build import BINARY, LIBRARY, ROOT
from support.command import COMMAND

TESTS = ROOT / "tests" / "php"
#: Only a failing test takes that long, in seconds.
TIMEOUT = 240


def php_environment(transport: str, folder: Path) -> dict[str, str]:
    """Returns the variables of a PHP program that starts emulators: over HTTPS, by a script that adds --tls."""
    emulator = folder / "emulator"
    emulator.write_text(f'#!/bin/sh\nexec "{BINARY}" {"" if transport == "http1" else "--tls "}"$@"\n')
    emulator.chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    paths = {"ANTENV_LIBRARY": LIBRARY / "libantenv.so", "ANTENV_EMULATOR": emulator, "ANTENV_CLI": COMMAND}
    return {**clean, **{name: str(path) for name, path in paths.items()}}


def run_php(script: str, *arguments: str, env: dict[str, str], **options: Any) -> subprocess.CompletedProcess[str]:
    """Runs a script of tests/php with every error reported."""
    command = ["php", "-d", "error_reporting=-1", "-d", "display_errors=stderr", "-d", "zend.assertions=1"]
    command += [str(TESTS / script), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=TIMEOUT, **options)


def run_tests(script: str, transport: str, folder: Path) -> None:
    """Runs a script of PHP tests, all of which must pass without a warning."""
    done = run_php(script, env=php_environment(transport, folder))
    declared = len(re.findall(r"^test\(", (TESTS / script).read_text(), re.MULTILINE))
    assert (done.stdout, done.stderr) == (f"{declared} passed, 0 failed\n", ""), done.stdout + done.stderr
    assert done.returncode == 0
