"""PHP programs in their processes: tests/php/process.php, and PHP's built-in server."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import urllib.request
from pathlib import Path

import pytest

from php.running import TESTS, TIMEOUT, php_environment, run_tests
from support.emulator import Emulator
from support.waiting import together


@pytest.mark.long
@pytest.mark.transports
def test_processes(transport: str, tmp_path: Path) -> None:
    run_tests("process.php", transport, tmp_path)


def test_the_built_in_server_serves_requests(emulator: Emulator, tmp_path: Path) -> None:
    """By forked workers, each of which has a client of its own for every request."""
    variables = {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "any", "PHP_CLI_SERVER_WORKERS": "2"}
    command = ["php", "-d", "ffi.enable=1", "-d", "display_errors=0", "-S", "127.0.0.1:0", str(TESTS / "served.php")]
    server = subprocess.Popen(
        command,
        env=php_environment("http1", tmp_path) | variables,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        assert server.stderr
        line = next(line for line in server.stderr if "Development Server" in line)
        found = re.search(r"http://[\d.]+:\d+", line)
        assert found, line
        created: list[str] = []

        def request(number: int) -> None:
            with urllib.request.urlopen(f"{found[0]}/?name=served-{number}", timeout=TIMEOUT) as response:
                created.append(json.load(response)["name"])

        together(*(lambda number=number: request(number) for number in range(8)))
        assert sorted(created) == [f"served-{number}" for number in range(8)]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=TIMEOUT)
