"""Sessions whose toolset the library serves, by a C program: what the helper does, and what may happen to it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bindings.test_c import SOURCES
from support.agents import RESULTS, STREAM, Steps, ending_of, text
from support.build import compile_c
from support.command import COMMAND
from support.emulator import Emulator
from support.toolset import processes_with, unique
from support.ways import run

pytestmark = pytest.mark.transports
IDLE = 'done {"reason":"idle"}'
SECRET = "sk-a-secret"
# What commands that take long do: no other test has it.
SLEEP = f"sleep {unique()}"
DIED = "the process that runs bash has died during the call; the next call starts another one"


def call(tool: str, **parameters: Any) -> Steps:
    """The steps of a call that waits for its result."""
    return [{"tool": tool, "input": parameters}, RESULTS]


def bash(command: str, **parameters: Any) -> Steps:
    return call("bash", command=command, **parameters)


class Host:
    """The C program, with a working directory and a folder for temporary files of its own."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        self.emulator = emulator
        self.workdir, self.temporary = folder / "work", folder / "tmp"
        self.workdir.mkdir()
        self.temporary.mkdir()
        self.environment = emulator.create_environment("toolset", config={"type": "self_hosted"})
        self.variables = {"ANTENV_CLI": COMMAND, "TMPDIR": str(self.temporary)}
        self.variables |= {"ANTHROPIC_AUTH_TOKEN": SECRET, "TOKEN": SECRET, "ASKED": "a value"}

    def script(self, steps: Steps) -> None:
        """Queues an item whose agent does these steps."""
        self.emulator.control("POST", "/_emulator/scripts", {"environment_id": self.environment, "steps": steps})
        self.emulator.enqueue(self.environment)

    def run(self, case: str, **config: Any) -> list[str]:
        """Runs a part of tests/c/toolset.c, which must leave nothing behind; returns the lines that it printed."""
        config = {"toolset": True, "workdir": str(self.workdir), "max_idle_ms": 400, **config}
        key = self.emulator.environment_key(self.environment)
        command = [str(compile_c(SOURCES / "toolset.c")), self.emulator.url, case, self.environment, key]
        given = {name: value for name, value in config.items() if value is not None}
        lines = run(command, SESSION_CONFIG=json.dumps(given), **self.variables).splitlines()
        assert lines.pop() == f"worker {case}: as it should be"
        assert not processes_with(str(self.workdir)) and not processes_with(SLEEP.split()[1])
        assert not list(self.temporary.iterdir())
        return lines

    def endings(self) -> list[Any]:
        """How the calls of all agents ended."""
        reports = self.emulator.control("GET", "/_emulator/scripts")["data"]
        return [ending_of(call) for report in reports for call in report["calls"]]


@pytest.fixture
def host(strict_emulator: Emulator, tmp_path: Path) -> Host:
    return Host(strict_emulator, tmp_path)


TOUR: Steps = [
    *call("write", file_path="notes/a.txt", content="one\ntwo\n"),
    *call("read", file_path="notes/a.txt", view_range=[2, 2]),
    *call("edit", file_path="notes/a.txt", old_string="two", new_string="three"),
    *call("glob", pattern="**/*.txt"),
    *call("grep", pattern="thr.e"),
    *bash("cd notes; kept=1"),
    *bash("pwd; echo $kept; cat a.txt; echo to stderr >&2; (exit 3)"),
    *bash(""),
    *call("edit", file_path="missing", old_string="a", new_string="b"),
    *call("read", file_path="/etc/passwd"),
    {"custom_tool": "echo", "input": {}},
    RESULTS,
    *bash(f"env | grep -c {SECRET}; echo $ASKED"),
    {"tool": "bash", "input": {"command": "echo allowed"}, "permission": "ask"},
    {"confirm": "bash", "result": "allow"},
    RESULTS,
    {"tool": "bash", "input": {"command": "touch denied"}, "permission": "deny"},
    RESULTS,
]


@pytest.mark.parametrize("case", ["serving", "ignoring", "reaping"])
def test_the_six_tools_and_one_of_the_host_are_served(case: str, host: Host) -> None:
    """Also by a program that ignores SIGCHLD, and by one that waits for all children, whoever has started them."""
    host.script(TOUR)
    end, stats = host.run(case, tools=["echo"], toolset={"env": ["ASKED"]})
    assert end == IDLE
    ended = host.endings()
    assert ended[0] == text("wrote 8 bytes to notes/a.txt")
    assert ended[1] == text("two\n")
    assert ended[2] == text("replaced 1 occurrence in notes/a.txt")
    assert ended[3] == text("notes/a.txt")
    assert ended[4] == text("notes/a.txt:2:three")
    assert ended[5] == text("[no output]")
    assert ended[6] == text(f"{host.workdir}/notes\n1\none\nthree\nto stderr\nexit code: 3", is_error=True)
    assert ended[8][1] and ended[9] == text("/etc/passwd: the path is outside the working directory", is_error=True)
    assert ended[10:13] == [text("the host's"), text("0\na value\n"), text("allowed\n")]
    assert ended[13] == "denied" and not (host.workdir / "notes" / "denied").exists()
    counted = json.loads(stats)
    assert counted["confinement"]["sandbox"] == "auto"
    assert (counted["calls"], counted["toolset_calls"], counted["toolset_starts"]) == (1, 12, 1)
    assert (counted["posted"], counted["denied"]) == (13, 1)


def test_inputs_and_results_of_any_kind_arrive(host: Host) -> None:
    deep: Any = {}
    for _ in range(150):
        deep = [deep]
    image = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
    host.script(
        [
            *call("write", file_path="big", content="ä\u2028" * 100_000),
            *bash("wc -c <big"),
            *call("write", file_path="empty", content=""),
            *call("read", file_path="empty"),
            *call("glob", pattern="*", path=deep),
            *bash(f"echo {image} | base64 -d >image.png"),
            *call("read", file_path="image.png"),
            *bash("head -c 200000 /dev/zero | tr '\\0' x"),
        ]
    )
    end, _ = host.run("serving")
    assert end == IDLE
    reports = host.emulator.control("GET", "/_emulator/scripts")["data"]
    answers = [attempt for call in reports[0]["calls"] for attempt in call["attempts"] if attempt["accepted"]]
    texts = [answer["content"][0].get("text") for answer in answers]
    assert texts[0] == "wrote 500000 bytes to big" and texts[1] == "500000\n" and texts[3] == "[empty]"
    assert answers[4]["is_error"] and texts[4].startswith("the input is not valid")
    assert answers[6]["content"][0]["source"]["data"] == image
    assert texts[7].startswith("[output truncated]") and len(texts[7]) > 100_000


def test_tools_that_are_off_and_custom_ones_of_the_same_name_are_left_to_others(host: Host) -> None:
    host.script(
        [
            {"tool": "bash", "input": {"command": "touch ran"}},
            STREAM,
            {"answer": "bash", "content": [{"type": "text", "text": "another's"}]},
            {"custom_tool": "read", "input": {}},
            STREAM,
            {"answer": "read", "content": []},
            *call("glob", pattern="*"),
        ]
    )
    end, stats = host.run("serving", toolset={"bash": False})
    assert end == IDLE and json.loads(stats)["toolset_calls"] == 1
    assert host.endings() == ["another", "another", text("no matches")]


def test_a_tool_of_the_host_comes_before_that_of_the_toolset(host: Host) -> None:
    host.script([{"custom_tool": "echo", "input": {}}, RESULTS, {"tool": "echo", "input": {}}, RESULTS])
    end, stats = host.run("serving", tools=["echo", "bash"])
    assert end == IDLE and host.endings() == [text("the host's")] * 2
    assert json.loads(stats)["toolset_calls"] == 0


def test_commands_that_are_interrupted_or_take_too_long_end_and_the_next_one_runs(host: Host) -> None:
    host.script(
        [
            {"tool": "bash", "input": {"command": SLEEP}},
            STREAM,
            {"pause_ms": 500},
            {"interrupt": True},
            {"pause_ms": 20},
            *bash(SLEEP, timeout_ms=86_400_000),
            *bash(f"echo partly; {SLEEP}"),
            *bash("echo again"),
        ]
    )
    end, stats = host.run("serving", tool_timeout_ms=1500, max_idle_ms=10_000)
    assert end == IDLE
    ended = host.endings()
    assert ended[:2] == ["interrupted", text("bash did not finish within 1500 ms", is_error=True)]
    assert ended[2][1] and ended[2][0].startswith("partly\n") and ended[3] == text("again\n")
    assert json.loads(stats)["toolset_starts"] == 1, "the same helper"


@pytest.mark.http1
@pytest.mark.parametrize("case", ["killed", "serving"])
def test_a_helper_that_dies_is_started_again_for_the_next_call(case: str, host: Host) -> None:
    """It is killed by the program, or by its own command, which can do that without a sandbox."""
    is_killed = case == "killed"
    first = SLEEP if is_killed else f"kill -9 $PPID; {SLEEP}"
    host.script([*bash(first), *bash("echo again"), *call("glob", pattern="*")])
    end, stats = host.run(case, sandbox="auto" if is_killed else "off")
    assert end == IDLE
    assert host.endings() == [text(DIED, is_error=True), text("again\n"), text("no matches")]
    assert json.loads(stats)["toolset_starts"] == 2


@pytest.mark.http1
def test_nothing_runs_on_after_the_session_is_freed_its_lease_finished_or_the_library_shut_down(host: Host) -> None:
    for _ in range(3):
        host.script(bash(f"setsid {SLEEP} & (trap '' TERM; {SLEEP})"))
    host.run("freed")
    stops = [request for request in host.emulator.take_requests() if request["operation"] == "work.stop"]
    assert len(stops) == 2


def fake(folder: Path, script: str) -> str:
    """Writes a program that stands for the command."""
    path = folder / "fake"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)
    return str(path)


@pytest.mark.http1
def test_what_cannot_be_served_ends_the_session_with_an_error_that_says_why(host: Host, tmp_path: Path) -> None:
    other = '{"type":"ready","protocol":7,"version":"9.9","tools":[],"workdir":"/","tmpdir":"/","confinement":{}}'
    missing = "antenv: the sandbox is required, and this is missing: Landlock"
    for script, parameter, why in [
        (f"echo '{missing}' >&2; exit 1", "toolset", missing),
        (f"echo '{other}'; cat", "toolset_path", "has protocol 7, not 1"),
        ("echo hello; cat", "toolset_path", "is no command with a toolset"),
    ]:
        host.script([{"text": "Hello."}])
        end, _ = host.run("serving", toolset_path=fake(tmp_path, script), sandbox="required")
        status, _, error = end.partition(" ")
        assert (status, json.loads(error)["parameter"]) == ("config", parameter)
        assert why in json.loads(error)["message"]


@pytest.mark.http1
def test_the_sandbox_can_be_required(host: Host) -> None:
    """Where the system lacks something, the session fails and names that."""
    host.script(bash("echo ran"))
    _, stats = host.run("serving")
    lacking = json.loads(stats)["confinement"]["missing"]
    host.script(bash("echo ran"))
    end, _ = host.run("serving", sandbox="required")
    assert end == IDLE if not lacking else lacking[0] in end


@pytest.mark.http1
def test_a_configuration_that_cannot_work_is_rejected(host: Host, tmp_path: Path) -> None:
    host.variables["ANTENV_CLI"] = ""
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({}, "toolset_path", "set `toolset_path` or ANTENV_CLI"),
        ({"toolset_path": "/no/such/command"}, "toolset_path", "is not an executable file"),
        ({"workdir": None}, "workdir", "is missing"),
        ({"workdir": "/no/such/directory"}, "workdir", "cannot be used"),
    ]
    for config, parameter, why in cases:
        (said,) = host.run("rejected", **config)
        assert json.loads(said)["parameter"] == parameter and why in json.loads(said)["message"]
    host.variables["ANTENV_CLI"] = str(tmp_path)
    (said,) = host.run("rejected")
    assert json.loads(said)["parameter"] == "ANTENV_CLI"
    # On the path, it is found.
    host.variables |= {"ANTENV_CLI": "", "PATH": f"{Path(COMMAND).parent}:{os.environ['PATH']}"}
    host.script(bash("echo found"))
    assert host.run("serving")[0] == IDLE
