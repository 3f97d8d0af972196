"""The official TypeScript client, unchanged, drives the emulator. Where the two disagree, the emulator is wrong.

The tests themselves are in `typescript/*.test.mjs`; here they get the client, an emulator, and are counted.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.emulator import Emulator, trusted
from support.npm import install

pytestmark = [pytest.mark.transports, pytest.mark.deep]

FOLDER = Path(__file__).resolve().parent / "typescript"
TESTS = sorted(FOLDER.glob("*.test.mjs"))


def run(command: list[str], environment: dict[str, str], timeout: float) -> str:
    """Runs a command in the folder and returns what it wrote; fails with that if the command does."""
    program = shutil.which(command[0])
    if program is None:
        pytest.fail(f"{command[0]} is missing: the official TypeScript client needs Node.js and npm", pytrace=False)
    done = subprocess.run(
        [program, *command[1:]],
        cwd=FOLDER,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=timeout,
    )
    assert done.returncode == 0, f"{' '.join(command)} failed:\n{done.stdout}"
    return done.stdout


@pytest.mark.parametrize("tests", TESTS, ids=lambda tests: tests.name)
def test_the_typescript_client_and_the_emulator_agree(strict_emulator: Emulator, tests: Path) -> None:
    install(FOLDER, FOLDER)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    environment["ANTENV_EMULATOR_URL"] = strict_emulator.url
    if strict_emulator.url.startswith("https"):
        environment["NODE_EXTRA_CA_CERTS"] = trusted()["SSL_CERT_FILE"]
    output = run(["node", "--test", "--test-reporter=tap", tests.name], environment, 120)
    written = len(re.findall(r"^test\(", tests.read_text(encoding="utf-8"), re.MULTILINE))
    passed = re.search(r"^# pass (\d+)$", output, re.MULTILINE)
    assert written > 0
    assert passed is not None and int(passed[1]) == written, f"{written} tests are written, but:\n{output}"
