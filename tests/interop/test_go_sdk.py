"""The official Go client, unchanged, drives the emulator. Where the two disagree, the emulator is wrong.

The tests themselves are in `go/*_test.go`; here they get an emulator, and are counted.
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.emulator import Emulator

pytestmark = [pytest.mark.transports, pytest.mark.deep]
FOLDER = Path(__file__).resolve().parent / "go"


def test_the_go_client_and_the_emulator_agree(strict_emulator: Emulator) -> None:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    environment |= {"ANTENV_EMULATOR_URL": strict_emulator.url, "CGO_ENABLED": "0"}
    command = ["go", "test", "-count=1", "-v", "./..."]
    done = subprocess.run(
        command, cwd=FOLDER, env=environment, capture_output=True, text=True, timeout=500, check=False
    )
    sources = "".join(path.read_text(encoding="utf-8") for path in FOLDER.glob("*_test.go"))
    written = len(re.findall("^func Test", sources, re.MULTILINE))
    assert done.returncode == 0, done.stdout + done.stderr
    assert written > 0
    assert done.stdout.count("--- PASS: Test") == written, done.stdout
