"""The C programs under tests/c, in each of the ways."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from support.build import LIBRARY, ROOT, compile_c
from support.driver import Driver
from support.emulator import Emulator, trusted
from support.waiting import until
from support.ways import SANITIZERS, VALGRIND, WAYS, command_of, run

SOURCES = ROOT / "tests" / "c"
EXAMPLES = ROOT / "examples" / "c"
Runner = Callable[..., str]


@pytest.fixture(params=WAYS)
def run_c(request: pytest.FixtureRequest) -> Runner:
    """Compiles and runs a C program, in each of the ways."""

    def compile_and_run(source: Path, *arguments: str, **variables: str) -> str:
        return run(command_of(request.param, source, *arguments), **variables)

    return compile_and_run


def test_misuse_gives_clear_errors_and_sends_nothing(run_c: Runner, emulator: Emulator) -> None:
    assert run_c(SOURCES / "misuse.c", emulator.url) == "misuse: as it should be\n"
    assert emulator.take_requests() == []


def test_as_many_handles_are_alive_as_there_may_be(run_c: Runner) -> None:
    assert run_c(SOURCES / "handles.c") == "handles: as it should be\n"


def test_handles_may_be_freed_while_eight_threads_call_through_them(run_c: Runner, emulator: Emulator) -> None:
    for number in range(3):
        emulator.create_environment(f"environment {number}")
    assert run_c(SOURCES / "threads.c", emulator.url, "6") == "threads: as it should be\n"


def test_each_operation_on_environments_and_work_has_a_function(run_c: Runner, strict_emulator: Emulator) -> None:
    assert run_c(SOURCES / "operations.c", strict_emulator.url) == "operations: as it should be\n"
    sent = {request["operation"] for request in strict_emulator.take_requests()}
    assert len({operation for operation in sent if operation.startswith(("environments.", "work."))}) == 14


def test_the_examples_of_environments(run_c: Runner, strict_emulator: Emulator) -> None:
    variables = {"ANTHROPIC_BASE_URL": strict_emulator.url, "ANTHROPIC_API_KEY": "an-api-key"}
    quick = run_c(EXAMPLES / "quickstart.c", **variables)
    assert '"name":"quick start"' in quick and "not_found" in quick
    steps = run_c(EXAMPLES / "environment.c", **variables).splitlines()
    assert [step.split(":")[0] for step in steps] == ["created", "updated", "archived", "not updated", "deleted"]
    assert '"metadata":{"tier":"gold"}' in steps[1]
    assert steps[3] == "not updated: bad_request, environment_archived"
    environments = [
        strict_emulator.create_environment(f"{number}", config={"type": "self_hosted"}) for number in range(40)
    ]
    for environment in environments[:3]:
        strict_emulator.enqueue(environment)
    depths = run_c(EXAMPLES / "many.c", *environments * 5, **variables).splitlines()
    assert Counter(depths) == {f"{one} {int(one in environments[:3])}": 5 for one in environments}


def variables_of(emulator: Emulator, environment: str) -> dict[str, str]:
    """Returns the variables of a program that serves an environment's work."""
    return {
        "ANTHROPIC_BASE_URL": emulator.url,
        "ANTHROPIC_ENVIRONMENT_ID": environment,
        "ANTHROPIC_ENVIRONMENT_KEY": emulator.environment_key(environment),
    }


def test_the_example_of_an_item_of_work_serves_it_step_by_step(run_c: Runner, strict_emulator: Emulator) -> None:
    environment = strict_emulator.create_environment("steps", config={"type": "self_hosted"})
    variables = variables_of(strict_emulator, environment)
    assert run_c(EXAMPLES / "work.c", **variables) == "the queue is empty\n"
    item = strict_emulator.enqueue(environment)["id"]
    steps = run_c(EXAMPLES / "work.c", **variables).splitlines()
    assert [step.split()[0] for step in steps] == ["acknowledged:", "heartbeat", *["step", "heartbeat"] * 3, "stopped:"]
    history = strict_emulator.control("GET", f"/_emulator/history?work_id={item}")["data"]
    assert [entry["event"] for entry in history][-1] == "stopped"


@pytest.mark.parametrize("way", ["plain", *SANITIZERS])
def test_the_example_of_cancelling_ends_at_ctrl_c(way: str, strict_emulator: Emulator) -> None:
    environment = strict_emulator.create_environment("cancel", config={"type": "self_hosted"})
    program = command_of(way, EXAMPLES / "cancel.c")
    variables = {"PATH": "/usr/bin:/bin", **trusted(), **variables_of(strict_emulator, environment)}
    # A poll that gets no answer for ten minutes: the cancellation ends it.
    strict_emulator.faults({"operation": "work.poll", "latency_ms": 600_000, "count": 1})
    with subprocess.Popen(program, env=variables, stderr=subprocess.PIPE, text=True) as process:
        until(lambda: strict_emulator.control("GET", "/_emulator/connections")["requests_open"] == 1, "no poll arrives")
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=120)
    assert process.returncode == 130 and said.startswith('polling: {"status":"cancelled"'), said
    until(lambda: strict_emulator.control("GET", "/_emulator/connections")["requests_open"] == 0, "the poll goes on")
    item = strict_emulator.enqueue(environment)["id"]
    assert run(program, **variables) == f"{item}\n"


def scripted_session(emulator: Emulator) -> str:
    """Creates a session whose agent answers a message; returns its identifier."""
    made = subprocess.run(
        [sys.executable, ROOT / "scripts" / "scripted_session.py", emulator.url],
        check=True,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/bin:/bin", **trusted()},
    )
    return made.stdout.strip()


def check_turn(printed: str) -> None:
    """Checks the events of that session's turn."""
    events = [json.loads(line) for line in printed.splitlines()]
    types = [event["type"] for event in events if event["type"].startswith(("agent.", "user.", "session.status_"))]
    assert types == [
        *("user.message", "session.status_running", "agent.message", "agent.tool_use"),
        *("session.status_idle", "user.tool_result", "session.status_running", "agent.message", "session.status_idle"),
    ]


def test_the_example_of_a_stream_prints_a_turn(run_c: Runner, emulator: Emulator) -> None:
    variables = {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "an-api-key"}
    check_turn(run_c(EXAMPLES / "stream.c", scripted_session(emulator), **variables))


def test_the_example_of_a_session_serves_the_calls_of_an_agent(run_c: Runner, strict_emulator: Emulator) -> None:
    environment = strict_emulator.create_environment("sessions", config={"type": "self_hosted"})
    steps = [{"custom_tool": "time", "input": {}}, {"wait": "results"}, {"terminate": True}]
    strict_emulator.control("POST", "/_emulator/scripts", {"environment_id": environment, "steps": steps})
    strict_emulator.enqueue(environment)
    variables = variables_of(strict_emulator, environment)
    event, end = run_c(EXAMPLES / "session.c", '{"drain":true}', **variables).splitlines()
    assert (json.loads(event)["name"], json.loads(end)) == ("time", {"reason": "terminated"})
    (report,) = strict_emulator.control("GET", "/_emulator/scripts")["data"]
    (attempt,) = report["calls"][0]["attempts"]
    assert attempt["accepted"] and attempt["content"][0]["text"].endswith("Z")


@pytest.mark.parametrize("under", [[], VALGRIND], ids=["plain", "valgrind"])
@pytest.mark.parametrize("how", ["return", "_exit", "free"])
def test_leaving_in_the_middle_of_calls_neither_hangs_nor_crashes(
    how: str, under: list[str], emulator: Emulator
) -> None:
    leaving = [*under, str(compile_c(SOURCES / "exit.c")), emulator.url, how]
    emulator.faults({"latency_ms": 600_000, "count": 4})
    with subprocess.Popen(leaving, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + 120
        while len(emulator.control("GET", "/_emulator/requests")["data"]) < 4:
            assert time.monotonic() < deadline, "the calls did not arrive"
            time.sleep(0.01)
        _, said = process.communicate(b"\n", timeout=120)  # far less than the calls would take
        assert (process.returncode, said) == (0, b"")


@pytest.mark.parametrize("under", [[], VALGRIND], ids=["plain", "valgrind"])
def test_loading_is_free_and_unloading_harmless(under: list[str], shared_emulator: Emulator) -> None:
    loading = [*under, str(compile_c(SOURCES / "load.c")), str(LIBRARY / "libantenv.so"), shared_emulator.url]
    assert run(loading) == "load: as it should be\n"


def test_the_thread_of_the_library_takes_no_signals(driver: Driver, shared_emulator: Emulator) -> None:
    driver.client(api_key="k", base_url=shared_emulator.url)
    driver.call("environments.list")
    tasks = list(Path(f"/proc/{driver.pid}/task").iterdir())
    ours = [task for task in tasks if (task / "comm").read_text() == "antenv\n"]
    assert len(ours) == 1 and len(tasks) == 2
    fields = dict(line.split(":\t", 1) for line in (ours[0] / "status").read_text().splitlines())
    blocked = int(fields["SigBlk"], 16)
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGALRM, signal.SIGPIPE):
        assert blocked >> (number - 1) & 1, number.name


def test_the_driver_itself_is_clean_under_valgrind(
    driver_program: Path, shared_emulator: Emulator, tmp_path: Path
) -> None:
    script = tmp_path / "valgrind-driver"
    script.write_text(f'#!/bin/sh\nexec {" ".join(VALGRIND)} "{driver_program}"\n')
    script.chmod(0o755)
    with Driver(script) as driver:
        assert driver.client(api_key="test-key", base_url=shared_emulator.url).status == 0
        environment = driver.call("environments.create", {"name": "v", "config": {"type": "self_hosted"}}).json
        assert driver.named("environments.update", {"environment_id": environment["id"], "name": "w"}).status == 0
        assert driver.named("environments.retrieve", {"environment_id": "env_none"}).status == 104
        assert driver.run("pager", "environments.list", '{"limit":1}').status == 0
        while driver.run("next").status == 0:
            pass
