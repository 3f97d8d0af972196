"""Sessions that PHP serves: scripted agents, as every language serves them, and tests/php/{tools,session}.php."""

from __future__ import annotations

from pathlib import Path

import pytest

from php.running import php_environment, run_php, run_tests
from support.agents import SCRIPTS, check_served, enqueue
from support.emulator import Emulator


def test_tools(tmp_path: Path) -> None:
    run_tests("tools.php", "http1", tmp_path)


@pytest.mark.transports
def test_sessions(transport: str, tmp_path: Path) -> None:
    run_tests("session.php", transport, tmp_path)


@pytest.mark.long
@pytest.mark.transports
@pytest.mark.parametrize("way", ["loop", "run"])
def test_scripted_agents_are_served_to_the_end(
    way: str, strict_emulator: Emulator, transport: str, tmp_path: Path
) -> None:
    environment = strict_emulator.create_environment("scripts", config={"type": "self_hosted"})
    enqueue(strict_emulator, environment, SCRIPTS)
    key = strict_emulator.environment_key(environment)
    env = php_environment(transport, tmp_path)
    done = run_php("scripted.php", way, strict_emulator.url, environment, key, env=env)
    ends = [end for _, _, end in SCRIPTS.values()] if way == "loop" else []
    assert (done.returncode, done.stderr, done.stdout.splitlines()) == (0, "", ends)
    check_served(strict_emulator, SCRIPTS)
