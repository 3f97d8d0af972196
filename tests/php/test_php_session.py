"""Sessions that PHP serves: scripted agents, as every language serves them, and tests/php/{tools,session}.php."""

from __future__ import annotations

from pathlib import Path

import pytest

from php.running import php_environment, run_php, run_tests
from support.agents import ECHO, ECHOED, IDLE, RESULTS, SCRIPTS, Script, check_served, enqueue
from support.emulator import Emulator


def test_tools(tmp_path: Path) -> None:
    run_tests("tools.php", "http1", tmp_path)


@pytest.mark.transports
def test_sessions(transport: str, tmp_path: Path) -> None:
    run_tests("session.php", transport, tmp_path)


def serve(emulator: Emulator, scripts: dict[str, Script], way: str, transport: str, folder: Path) -> None:
    """Has a PHP program serve a session for each script, and checks how they and their calls ended."""
    environment = emulator.create_environment("scripts", config={"type": "self_hosted"})
    enqueue(emulator, environment, scripts)
    key = emulator.environment_key(environment)
    env = php_environment(transport, folder)
    done = run_php("scripted.php", way, emulator.url, environment, key, env=env)
    ends = [end for _, _, end in scripts.values()] if way == "loop" else []
    assert (done.returncode, done.stderr, done.stdout.splitlines()) == (0, "", ends)
    check_served(emulator, scripts)


@pytest.mark.long
@pytest.mark.transports
@pytest.mark.parametrize("way", ["loop", "run"])
def test_scripted_agents_are_served_to_the_end(
    way: str, strict_emulator: Emulator, transport: str, tmp_path: Path
) -> None:
    serve(strict_emulator, SCRIPTS, way, transport, tmp_path)


@pytest.mark.transports
def test_agents_are_served_over_a_bad_network(strict_emulator: Emulator, transport: str, tmp_path: Path) -> None:
    """No result is lost or made twice when streams break, and results or their responses are lost."""
    strict_emulator.faults(
        {"operation": "sessions.events.list", "cut": 20, "count": 2},
        {"operation": "sessions.events.stream", "stream": {"after": 2, "then": "cut"}},
        {"operation": "sessions.events.stream", "stream": {"after": 1, "then": "end", "pieces": 3}},
        {"operation": "sessions.events.send", "status": 409},
        {"operation": "sessions.events.send", "when": "after", "drop": True},
        {"operation": "sessions.events.send", "drop": True},
    )
    bad: Script = ([ECHO, RESULTS] * 4, [ECHOED] * 4, IDLE)
    serve(strict_emulator, {str(number): bad for number in range(3)}, "run", transport, tmp_path)
