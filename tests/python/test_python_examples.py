"""The Python examples, and what they print; `antenv.testing`, as a user's tests have it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import antenv.testing
from support.build import BINARY, ROOT
from support.emulator import Emulator

EXAMPLES = ROOT / "examples" / "python"


def run(name: str, emulator: Emulator, *arguments: str) -> list[str]:
    variables = {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "any"}
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    return subprocess.run(
        command, check=True, capture_output=True, text=True, env=os.environ | variables
    ).stdout.splitlines()


def test_the_quick_start(emulator: Emulator) -> None:
    created, listed, missing = run("quickstart.py", emulator)
    assert created.startswith("created: env_") and created.endswith(" quick start self_hosted")
    assert listed.split()[1:] == created.split()[1:-1]
    assert missing == 'not found: environment_not_found There is no environment "env_missing".'


def test_many_polls_at_once(emulator: Emulator) -> None:
    assert run("many.py", emulator, "300") == [
        "300 polls, 1 Python thread",
        "work: 0, none: 299",
        "cancelled: 1",
    ]


def test_the_worker_of_the_documentation(strict_emulator: Emulator) -> None:
    page = (ROOT / "docs" / "python.md").read_text().split("## Serving work")[1]
    (program,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "import antenv" in code)
    environment = strict_emulator.create_environment("hosts", config={"type": "self_hosted"})
    variables = {
        "ANTHROPIC_BASE_URL": strict_emulator.url,
        "ANTHROPIC_ENVIRONMENT_ID": environment,
        "ANTHROPIC_ENVIRONMENT_KEY": strict_emulator.environment_key(environment),
        "PYTHONUNBUFFERED": "1",
    }
    items = [strict_emulator.enqueue(environment) for _ in range(2)]
    command = [sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | variables) as process:
        assert process.stdout is not None
        for item in items:
            assert process.stdout.readline() == f"{item['id']} {item['data']['id']}\n"
        process.kill()


USERS_TESTS = """
import antenv

pytest_plugins = ["antenv.testing"]

def test_with_the_fixture(antenv_emulator):
    with antenv_emulator.client() as client:
        environment = client.environments.create(name="n", config={"type": "self_hosted"})
    key = antenv_emulator.environment_key(environment.id)
    antenv_emulator.enqueue(environment.id)
    with antenv_emulator.client(environment_key=key) as client:
        assert client.environments.work.poll(environment.id).state == "queued"
    antenv_emulator.faults({"status": 529, "count": 1})
    with antenv_emulator.client(max_retries=0) as client:
        try:
            client.environments.list()
        except antenv.OverloadedError:
            pass
    assert antenv_emulator.take_requests()[-1]["operation"] == "environments.list"
    assert antenv_emulator.take_requests() == []
    antenv_emulator.reset()
    with antenv_emulator.client() as client:
        assert client.environments.list().data == []
"""


def test_a_users_tests_can_have_the_emulator(tmp_path: Path) -> None:
    (tmp_path / "test_user.py").write_text(USERS_TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    variables = os.environ | {"ANTENV_EMULATOR": str(BINARY)}
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, env=variables)
    assert "1 passed" in done.stdout, done.stdout


def test_an_emulator_that_is_not_there_or_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTENV_EMULATOR", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(FileNotFoundError, match="antenv-emulator is not on the PATH"):
        antenv.testing.Emulator()
    with pytest.raises(RuntimeError, match="did not start"):
        antenv.testing.Emulator(program="/bin/true")
    with antenv.testing.Emulator("--auth", "any", program=BINARY) as emulator:
        emulator.stop()
