"""The examples in PHP that serve work, and follow a session."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from php.running import TIMEOUT, php_environment
from support.build import ROOT
from support.emulator import Emulator
from support.waiting import until

EXAMPLES = ROOT / "examples" / "php"


def variables(emulator: Emulator, folder: Path, environment: str | None = None) -> dict[str, str]:
    """The variables of an example: an environment's key, or an API key."""
    own = {"ANTHROPIC_API_KEY": "any"}
    if environment:
        own = {
            "ANTHROPIC_ENVIRONMENT_ID": environment,
            "ANTHROPIC_ENVIRONMENT_KEY": emulator.environment_key(environment),
        }
    return php_environment("http1", folder) | own | {"ANTHROPIC_BASE_URL": emulator.url}


def run(example: str, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs an example to its end."""
    command = ["php", str(EXAMPLES / example), *arguments]
    return subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=TIMEOUT)


@pytest.mark.transports
def test_the_worker_serves_items_by_several_processes_until_it_is_stopped(
    strict_emulator: Emulator, tmp_path: Path
) -> None:
    environment = strict_emulator.create_environment("hosts", config={"type": "self_hosted"})
    env = variables(strict_emulator, tmp_path, environment)
    sessions = [strict_emulator.enqueue(environment)["data"]["id"] for _ in range(5)]
    done = run("worker.php", "--drain", env=env)
    steps = [f"step {step} of {session}" for session in sessions for step in (1, 2, 3)]
    assert [line.split(": ", 1)[1] for line in done.stdout.splitlines()] == steps
    assert (done.returncode, re.sub(r"^\d+", "", done.stderr)) == (0, ": finished 5 items\n")
    command = ["php", str(EXAMPLES / "worker.php"), "3"]
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as serving:

        def polls() -> int:
            return int(strict_emulator.control("GET", "/_emulator/connections")["polls_waiting"])

        until(lambda: polls() == 3, "all three processes poll", TIMEOUT)
        serving.send_signal(signal.SIGTERM)
        _, errors = serving.communicate(timeout=TIMEOUT)
    assert (serving.returncode, len(re.findall(r"^\d+: finished 0 items$", errors, re.MULTILINE))) == (0, 3), errors


def test_the_session_example_serves_many_sessions(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = strict_emulator.create_environment("hosts", config={"type": "self_hosted"})
    inputs = [("clock", {"unit": "days"}), ("countdown", {"seconds": 0}), ("countdown", {"seconds": 61})]
    inputs += [("clock", {"unit": "weeks"})]
    steps: list[dict[str, Any]] = []
    for tool, given in inputs:
        steps += [{"custom_tool": tool, "input": given}, {"wait": "results"}]
    for _ in range(4):
        strict_emulator.control("POST", "/_emulator/scripts", {"environment_id": environment, "steps": steps})
        strict_emulator.enqueue(environment)
    env = variables(strict_emulator, tmp_path, environment) | {"MAX_IDLE_MS": "300"}
    done = run("session.php", "--drain", env=env)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    reports = strict_emulator.control("GET", "/_emulator/scripts")["data"]
    assert len(reports) == 4
    for report in reports:
        assert [call["answered"] for call in report["calls"]] == ["once"] * 4
        day, *others = [call["attempts"][0] for call in report["calls"]]
        assert re.fullmatch(r"\d{4}-\d\d-\d\d", day["content"][0]["text"])
        assert [(sent["is_error"], sent["content"][0]["text"]) for sent in others] == [
            (False, "done"),
            (True, "that is too long: 60 seconds at most"),
            (True, 'invalid input: unit must be one of "seconds", "days", not "weeks"'),
        ]
    defined = json.loads(run("session.php", "--define", env=env).stdout)
    assert [(tool["type"], tool["name"], tool["description"]) for tool in defined] == [
        ("custom", "clock", "Returns the time, as RFC 3339."),
        ("custom", "countdown", "Waits for so many seconds, unless the agent is interrupted."),
    ]
    assert defined[0]["input_schema"]["properties"]["unit"] == {
        "type": "string",
        "enum": ["seconds", "days"],
        "default": "seconds",
        "description": "How exact it is.",
    }


def test_the_stream_example_talks_to_a_session(emulator: Emulator, tmp_path: Path) -> None:
    environment = emulator.create_environment("hosts", config={"type": "self_hosted"})
    session = emulator.enqueue(environment)["data"]["id"]
    steps = [{"custom_tool": "clock", "input": {}}, {"wait": "results"}, {"text": "It is late."}]
    emulator.control("POST", "/_emulator/scripts", {"session_id": session, "start": "message", "steps": steps})
    env = variables(emulator, tmp_path)
    done = run("stream.php", session, env=env)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == ["calls: clock {}", "agent: It is late.", "idle: end_turn"]
    missing = run("stream.php", "sesn_missing", env=env)
    assert missing.returncode == 255 and "404 not_found" in missing.stdout + missing.stderr
