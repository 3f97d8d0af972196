"""The Python examples, and what they print; `antenv.testing`, as a user's tests have it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

import antenv.testing
from python.worker_env import TIMEOUT, wait_until
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
    words = 'environments.retrieve: 404 not_found: There is no environment "env_missing".'
    assert re.fullmatch(rf"not found: environment_not_found {re.escape(words)} \(req_\w+\)", missing)


def test_many_polls_at_once(emulator: Emulator) -> None:
    assert run("many.py", emulator, "300") == [
        "300 polls, 1 Python thread",
        "work: 0, none: 299",
        "cancelled: 1",
    ]


def test_a_stream_of_a_session(emulator: Emulator) -> None:
    environment = emulator.create_environment("hosts", config={"type": "self_hosted"})
    steps = [{"text": "I look."}, {"custom_tool": "clock"}, {"wait": "results"}, {"text": "It is late."}]
    emulator.control("POST", "/_emulator/scripts", {"environment_id": environment, "steps": steps, "start": "message"})
    with antenv.Client(api_key="k", base_url=emulator.url) as client:
        session = client.sessions.create(agent="agent_1", environment_id=environment)
    assert run("stream.py", emulator, session.id) == [
        "agent: I look.",
        "calls: clock {}",
        "agent: It is late.",
        "idle: end_turn",
    ]


def test_the_worker_of_the_documentation(strict_emulator: Emulator) -> None:
    page = (ROOT / "docs" / "python.md").read_text().split("## Serving work")[1].split("\n## ")[0]
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
        printed = "".join(process.stdout.readline() for _ in items)  # by threads, whose words may be mixed
        process.kill()
    assert all(item["id"] in printed and item["data"]["id"] in printed for item in items)


def serve_scripted(emulator: Emulator, command: list[str], call: Mapping[str, object]) -> str:
    """Lets a program serve a session whose agent makes a call; returns the text of its result."""
    environment = emulator.create_environment("hosts", config={"type": "self_hosted"})
    steps = [call, {"wait": "results"}, {"terminate": True}]
    emulator.control("POST", "/_emulator/scripts", {"environment_id": environment, "steps": steps})
    session = emulator.enqueue(environment)["data"]["id"]
    variables = {
        "ANTHROPIC_BASE_URL": emulator.url,
        "ANTHROPIC_ENVIRONMENT_ID": environment,
        "ANTHROPIC_ENVIRONMENT_KEY": emulator.environment_key(environment),
    }

    def is_answered() -> bool:
        return bool(emulator.control("GET", f"/_emulator/scripts?session_id={session}")["data"][0]["done"])

    with subprocess.Popen(command, env=os.environ | variables) as process:
        wait_until(is_answered)
        if "--drain" in command:
            assert process.wait(TIMEOUT) == 0
        process.kill()
    (made,) = emulator.control("GET", f"/_emulator/scripts?session_id={session}")["data"][0]["calls"]
    assert made["answered"] == "once"
    return str(made["attempts"][0]["content"][0]["text"])


@pytest.mark.parametrize("way", ["threads", "asyncio"])
def test_sessions_that_are_served(strict_emulator: Emulator, way: str) -> None:
    command = [
        sys.executable,
        str(EXAMPLES / "serve_session.py"),
        "--drain",
        *(["--asyncio"] if way == "asyncio" else []),
    ]
    assert serve_scripted(strict_emulator, command, {"custom_tool": "countdown", "input": {"seconds": 0}}) == "done"
    said = serve_scripted(strict_emulator, command, {"custom_tool": "clock", "input": {"unit": "days"}})
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", said)


def test_the_tools_that_an_example_defines(emulator: Emulator) -> None:
    clock, countdown = json.loads("".join(run("serve_session.py", emulator, "--define")))
    assert clock["input_schema"]["properties"]["unit"]["enum"] == ["seconds", "days"]
    assert countdown["description"] == "Waits for so many seconds, unless the agent is interrupted."


def test_the_tools_of_the_documentation(strict_emulator: Emulator) -> None:
    page = (ROOT / "docs" / "python.md").read_text().split("## Serving sessions")[1]
    program = re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0]
    call = {"custom_tool": "weather", "input": {"city": "Rome"}}
    assert serve_scripted(strict_emulator, [sys.executable, "-c", program], call) == "Rome: 1 days of sun"


USERS_TESTS = """
import antenv

pytest_plugins = ["antenv.testing"]

def test_with_the_fixture(antenv_emulator):
    environment = antenv_emulator.environment()
    key = antenv_emulator.environment_key(environment.id)
    item = antenv_emulator.enqueue(environment.id, metadata={"a": "b"})
    assert isinstance(item, antenv.types.Work) and item.metadata == {"a": "b"} and item.secret
    with antenv_emulator.client(environment_key=key) as client:
        assert client.environments.work.poll(environment.id).id == item.id
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

def test_with_workers(antenv_emulator):
    environment = antenv_emulator.environment("hosts").id
    items = antenv_emulator.enqueue(environment, count=3)
    served = []
    antenv_emulator.worker(environment, drain=True).run(lambda lease: served.append(lease.id))
    assert sorted(served) == sorted(item.id for item in items)

def test_with_workers_of_asyncio(antenv_emulator):
    import asyncio
    environment = antenv_emulator.environment().id
    item = antenv_emulator.enqueue(environment)

    async def main():
        async with antenv_emulator.async_worker(environment, drain=True) as worker:
            async for lease in worker:
                async with lease:
                    assert lease.id == item.id
            assert worker.stats()["finished"] == 1

    asyncio.run(main())
"""


def run_tests(tests: str, folder: Path) -> str:
    """Runs a user's tests with pytest; returns what it prints."""
    (folder / "test_user.py").write_text(tests)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(folder)]
    variables = os.environ | {"ANTENV_EMULATOR": str(BINARY)}
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, env=variables)
    return done.stdout


def test_a_users_tests_can_have_the_emulator(tmp_path: Path) -> None:
    printed = run_tests(USERS_TESTS, tmp_path)
    assert "3 passed" in printed, printed


def test_the_tests_of_a_stop_and_of_a_loss_in_the_documentation(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "python.md").read_text().split("## Tests of your own")[1]
    (tests,) = (code for code in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "def test_" in code)
    printed = run_tests(tests, tmp_path)
    assert "2 passed" in printed, printed


PARENT = """
import sys
from antenv.testing import Emulator
print(Emulator().url, flush=True)
sys.stdin.read()
"""


def test_an_emulator_ends_with_the_program_that_started_it() -> None:
    command = [sys.executable, "-c", PARENT]
    variables = os.environ | {"ANTENV_EMULATOR": str(BINARY)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=variables) as process:
        assert process.stdout is not None
        client = antenv.Client(api_key="k", base_url=process.stdout.readline().strip(), max_retries=0)
        client.environments.list()
        process.kill()

    def is_gone() -> bool:
        try:
            client.environments.list()
        except antenv.APIConnectionError:
            return True
        return False

    wait_until(is_gone)


def test_an_emulator_with_tls_names_the_file_to_trust() -> None:
    with antenv.testing.Emulator("--tls", program=BINARY) as emulator, emulator.client() as client:
        assert emulator.url.startswith("https://") and emulator.ca_file
        item = emulator.enqueue(emulator.environment().id)
        assert client.environments.work.retrieve(item.id, environment_id=item.environment_id).id == item.id


def test_an_emulator_gets_skills_and_memory_stores() -> None:
    with antenv.testing.Emulator("--auth", "any", program=BINARY) as emulator, emulator.client() as client:
        first = emulator.upload_skill("pdf", {"SKILL.md": "# PDF"}, description="Reads PDF")
        second = emulator.upload_skill("pdf", skill_id=first["skill_id"], version="2", archive=b"\0 any bytes")
        assert (first["name"], first["description"], second["id"]) == ("pdf", "Reads PDF", "2")
        latest = client.request("GET", f"/v1/skills/{first['skill_id']}/versions/latest")
        assert latest == second
        store = emulator.create_memory_store("Notes", {"/a": "one"})
        (listed,) = client.request("GET", f"/v1/memory_stores/{store}/memories", query={"view": "full"})["data"]
        assert (listed["path"], listed["content"]) == ("/a", "one")
        assert client.request("GET", f"/v1/memory_stores/{emulator.create_memory_store()}/memories")["data"] == []


def test_an_emulator_gets_sessions_whose_agents_play_scripts() -> None:
    with antenv.testing.Emulator("--auth", "any", program=BINARY) as emulator, emulator.client() as client:
        idle = emulator.session(title="idle")
        assert (idle.title, idle.status, list(client.sessions.events.list(idle.id))) == ("idle", "idle", [])
        emulator.script(idle.id, {"text": "Hello."}, start="message")
        client.sessions.events.send(
            idle.id, events=[{"type": "user.message", "content": [{"type": "text", "text": "Hi."}]}]
        )
        assert "agent.message" in [event["type"] for event in client.sessions.events.list(idle.id)]
        session = emulator.session(
            {"custom_tool": "clock"}, {"wait": "results"}, environment_id=idle.environment_id, agent="agent_1"
        )
        (call,) = emulator.script_report(session.id)["calls"]
        assert (call["name"], call["answered"], session.environment_id) == ("clock", "never", idle.environment_id)


def test_an_emulator_that_is_not_there_or_does_not_start_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ANTENV_EMULATOR", "/nonexistent/emulator")
    with pytest.raises(FileNotFoundError, match="no emulator at /nonexistent/emulator: install antenv by pip"):
        antenv.testing.Emulator()
    with pytest.raises(RuntimeError, match="did not start"):
        antenv.testing.Emulator(program="/bin/true")
    with antenv.testing.Emulator("--auth", "any", program=BINARY) as emulator:
        emulator.stop()
