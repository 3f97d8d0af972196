"""`antenv worker run` and `antenv worker handle`: sessions of scripted agents, and what gets in their way."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import signal
import subprocess
import urllib.request
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from support.agents import ECHO, IDLE, RESULTS, SCRIPTS, SLOW, Steps, check_served, ending_of, enqueue, text
from support.command import COMMAND, Running, antenv, running
from support.emulator import Emulator
from support.toolset import WITHOUT_NAMESPACES
from worker.test_c_worker import hosts, state_of, until, variables

#: The tools of the scripts, as a command.
TOOLS = """
import json, os, sys, time
event = json.load(sys.stdin)
name = os.environ["ANTENV_TOOL_NAME"]
assert (name, os.environ["ANTENV_TOOL_USE_ID"]) == (event["name"], event["id"])
if name == "fail":
    print("it failed", end="")
    sys.exit(1)
if name == "slow":
    open("slow", "w").write(str(os.getpid()))
    time.sleep(600)
if name == "echo":
    print('{"echo":' + json.dumps(event["input"]) + "}", end="")
"""
NAMES = "echo,fail,silent,slow"
CUSTOM = ("--no-toolset", "--max-idle", "0.4", "--tools", NAMES, "--on-tool", "python3", "-c", TOOLS)


def run(*arguments: str, **options: Any) -> AbstractContextManager[Running]:
    """Runs `antenv worker run` until the block is left."""
    return running("worker", "run", *arguments, **options)


def script(emulator: Emulator, environment: str, steps: Steps) -> str:
    """Queues an item whose session's agent does these steps; returns its identifier."""
    return enqueue(emulator, environment, {"": (steps, [], IDLE)})[0]


def endings(emulator: Emulator) -> list[Any]:
    """Returns how the calls of all scripts have ended."""
    reports = emulator.control("GET", "/_emulator/scripts")["data"]
    return [ending_of(call) for report in reports for call in report["calls"]]


def shell(*options: str, code: str) -> tuple[str, ...]:
    """Returns the options by which a shell script answers the tool `echo`."""
    return ("--no-toolset", "--max-idle", "0.3", *options, "--tools", "echo", "--on-tool", "sh", "-c", code)


@pytest.mark.transports
def test_scripted_agents_are_served_to_the_end(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    items = enqueue(strict_emulator, environment, SCRIPTS)
    environ = variables(strict_emulator, environment)
    with run("--drain", "--concurrency", "30", *CUSTOM, folder=tmp_path, **environ) as program:
        program.ends_with(0)
        for item, (_, _, end) in zip(items, SCRIPTS.values(), strict=True):
            assert f"{item}: the session is over: {end}\n" in program.said and f"{item}: done\n" in program.said
        assert f"sessions served: {len(SCRIPTS)}; calls answered: " in program.said
    check_served(strict_emulator, SCRIPTS)


#: The six tools of the toolset, and one of --on-tool; and how they are answered.
TOOLSET: list[tuple[dict[str, Any], tuple[str, bool]]] = [
    ({"tool": "write", "input": {"file_path": "a.txt", "content": "one\ntwo\n"}}, text("wrote 8 bytes to a.txt")),
    (
        {"tool": "edit", "input": {"file_path": "a.txt", "old_string": "two", "new_string": "three"}},
        text("replaced 1 occurrence in a.txt"),
    ),
    ({"tool": "read", "input": {"file_path": "a.txt"}}, text("one\nthree\n")),
    ({"tool": "glob", "input": {"pattern": "*.txt"}}, text("a.txt")),
    ({"tool": "grep", "input": {"pattern": "thr"}}, text("a.txt:2:three")),
    ({"tool": "bash", "input": {"command": "name=here; cat a.txt; echo $SHOWN $HIDDEN"}}, text("one\nthree\nshown\n")),
    ({"tool": "bash", "input": {"command": "echo $name; (exit 3)"}}, text("here\nexit code: 3", True)),
    (
        {"tool": "read", "input": {"file_path": "/etc/passwd"}},
        text("/etc/passwd: the path is outside the working directory", True),
    ),
    ({"custom_tool": "weather", "input": {"city": "Berlin"}}, text("12 degrees\n")),
]


@pytest.mark.transports
def test_the_toolset_and_a_custom_tool_serve_an_agent(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    steps = [step for call, _ in TOOLSET for step in (call, RESULTS)]
    items = [script(strict_emulator, environment, steps) for _ in range(2)]
    root = tmp_path / "root"
    root.mkdir()
    environ = variables(strict_emulator, environment) | {"SHOWN": "shown", "HIDDEN": "hidden"}
    options = ("--drain", "--max-idle", "0.3", "--concurrency", "2", "--workdir-root", str(root), "--env", "SHOWN")
    tool = ("--tools", "weather", "--on-tool", "sh", "-c", 'touch "$ANTENV_WORKDIR/seen"; echo 12 degrees')
    with run(*options, *tool, folder=tmp_path, **environ) as program:
        program.ends_with(0)
        assert all(f"{item}: done" in program.said for item in items)
        assert f"sessions served: 2; calls answered: {2 * len(TOOLSET)}, void: 0\n" in program.said
    assert endings(strict_emulator) == [answer for _, answer in TOOLSET] * 2
    assert not list(root.iterdir()) and not (tmp_path / "a.txt").exists()


def test_replacing_the_file_of_the_command_disturbs_no_worker(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    environ = variables(strict_emulator, environment)
    copy, other, root = tmp_path / "antenv", tmp_path / "other", tmp_path / "root"
    shutil.copy(COMMAND, copy)
    other.touch()
    root.mkdir()
    with run("--max-idle", "0.3", "--workdir-root", str(root), executable=copy, folder=tmp_path, **environ) as program:
        other.rename(copy)  # as an upgrade does
        steps: Steps = [{"tool": "bash", "input": {"command": "echo served"}}, RESULTS]
        program.says(f"{script(strict_emulator, environment, steps)}: done")
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)
    assert endings(strict_emulator) == [text("served\n")]


def test_the_items_of_one_working_directory_share_it(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    for command in ("echo kept >file", "cat file; rm file; touch other"):
        script(strict_emulator, environment, [{"tool": "bash", "input": {"command": command}}, RESULTS])
    environ = variables(strict_emulator, environment)
    work = tmp_path / "work"
    work.mkdir()
    with run("--drain", "--max-idle", "0.3", "--workdir", "work", folder=tmp_path, **environ) as program:
        program.ends_with(0)
    assert endings(strict_emulator) == [text("[no output]"), text("kept\n")]
    assert [path.name for path in work.iterdir()] == ["other"]


def test_a_toolset_that_cannot_start_leaves_the_item_to_the_work_queue(
    strict_emulator: Emulator, tmp_path: Path
) -> None:
    environment = hosts(strict_emulator)
    item = script(strict_emulator, environment, [{"tool": "bash", "input": {"command": "true"}}, RESULTS])
    root = tmp_path / "root"
    root.mkdir()
    # Without namespaces the toolset cannot be confined as required.
    environ = variables(strict_emulator, environment)
    command = [*WITHOUT_NAMESPACES, COMMAND, "worker", "run", "--sandbox", "required", "--workdir-root", str(root)]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 1 and "config: " in done.stderr, done.stderr
    assert state_of(strict_emulator, environment, item) == "active"  # it goes back when its lease runs out
    assert not list(root.iterdir())


def test_a_tools_command_has_the_call_and_no_credentials(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = script(strict_emulator, environment, [{"custom_tool": "echo", "input": {"text": "€\n" * 50_000}}, RESULTS])
    code = 'cat >event; env >env; [ -d "$ANTENV_WORKDIR" ] && touch "$ANTENV_WORKDIR/file"; echo "$ANTENV_WORKDIR"'
    root = tmp_path / "root"
    root.mkdir()
    environ = variables(strict_emulator, environment) | {"ANTHROPIC_WORK_SECRET": "another's", "KEPT": "yes"}
    arguments = shell("--drain", "--workdir-root", str(root), code=code)
    with run(*arguments, folder=tmp_path, **environ, NOTIFY_SOCKET="/nowhere") as program:
        program.ends_with(0)
    (report,) = strict_emulator.control("GET", "/_emulator/scripts")["data"]
    (call,) = report["calls"]
    event = json.loads((tmp_path / "event").read_text())
    assert (event["id"], event["input"]) == (call["id"], {"text": "€\n" * 50_000})
    workdir = call["attempts"][0]["content"][0]["text"]
    assert workdir.startswith(f"{root}/{item}-") and workdir.endswith("\n")
    assert not list(root.iterdir()), "the item's directory is removed"
    given = (tmp_path / "env").read_text().splitlines()
    assert {line for line in given if line.startswith(("ANT", "KEPT", "NOTIFY"))} == {
        f"ANTHROPIC_WORK_ID={item}",
        f"ANTHROPIC_ENVIRONMENT_ID={environment}",
        f"ANTHROPIC_SESSION_ID={report['session_id']}",
        "ANTENV_TOOL_NAME=echo",
        f"ANTENV_TOOL_USE_ID={call['id']}",
        f"ANTENV_WORKDIR={workdir.strip()}",
        "KEPT=yes",
    }


@pytest.mark.parametrize(
    ("code", "answer"),
    [
        ("echo 12 degrees", text("12 degrees\n")),
        ("exit 3", text("exited with 3", True)),
        ("kill -9 $$", text("ended by signal 9", True)),
        ("echo said; echo not this >&2; exit 1", text("said\n", True)),
        ("printf '\\377'", text("\ufffd")),
        ("exec >&-; cat >/dev/null", text("(no output)")),
        # What a process that stays writes is not waited for.
        ("setsid sh -c 'sleep 600' & echo begun", text("begun\n")),
        ("head -c 300000 /dev/zero | tr '\\0' x; echo end", text("[output truncated]\n" + "x" * 102_396 + "end\n")),
    ],
    ids=["output", "code", "signal", "both", "bytes", "nothing", "daemon", "much"],
)
def test_the_output_and_the_exit_code_are_the_result(
    code: str, answer: tuple[str, bool], strict_emulator: Emulator, tmp_path: Path
) -> None:
    environment = hosts(strict_emulator)
    script(strict_emulator, environment, [ECHO, RESULTS])
    environ = variables(strict_emulator, environment)
    with run(*shell("--drain", code=code), folder=tmp_path, **environ) as program:
        program.ends_with(0)
    assert endings(strict_emulator) == [answer]


def is_gone(process: int) -> bool:
    """Whether a process has ended, and at most its parent does not know yet."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_a_command_is_killed_with_its_group_when_its_call_is_void_or_takes_too_long(
    strict_emulator: Emulator, tmp_path: Path
) -> None:
    environment = hosts(strict_emulator)
    code = "trap '' TERM; sleep 600 & echo $! >new; mv new child; wait"
    environ = variables(strict_emulator, environment)
    arguments = ("--max-idle", "0.3", "--tools", "slow", "--on-tool", "sh", "-c", code)
    for steps, options, end, why in (
        ([SLOW, RESULTS], ("--tool-timeout", "0.5"), text("slow did not finish within 500 ms", True), "timed_out"),
        ([SLOW], (), "interrupted", "interrupted"),
    ):
        item = script(strict_emulator, environment, steps)
        with run("--no-toolset", "--drain", *options, *arguments, folder=tmp_path, **environ) as program:
            until((tmp_path / "child").exists, "the command")
            child = int((tmp_path / "child").read_text())
            if why == "interrupted":
                session = strict_emulator.control("GET", "/_emulator/scripts")["data"][-1]["session_id"]
                strict_emulator.control(
                    "POST", "/_emulator/scripts", {"session_id": session, "steps": [{"interrupt": True}]}
                )
            program.says(f"{item}: slow: killed, the call is void: {why}")
            until(partial(is_gone, child), "the end of its child")
            program.ends_with(0)
        (tmp_path / "child").unlink()
        assert endings(strict_emulator)[-1] == end


@pytest.mark.transports
def test_so_many_sessions_are_served_at_once_and_no_more(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    for _ in range(12):
        script(strict_emulator, environment, [ECHO, RESULTS])
    code = "mkdir r.$$; ls -d r.* | wc -l >>counts; sleep 0.2; rmdir r.$$; echo"
    environ = variables(strict_emulator, environment)
    with run(*shell("--drain", "--concurrency", "4", code=code), folder=tmp_path, **environ) as program:
        program.ends_with(0)
        assert "sessions served: 12; calls answered: 12, void: 0\n" in program.said
    counts = [int(line) for line in (tmp_path / "counts").read_text().split()]
    assert len(counts) == 12 and 1 < max(counts) <= 4


WAIT_FOR_GO = "touch began; while ! [ -e go ]; do sleep 0.05; done; echo went"


@pytest.mark.transports
def test_sigterm_lets_sessions_end(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = script(strict_emulator, environment, [ECHO, RESULTS])
    with run(*shell(code=WAIT_FOR_GO), folder=tmp_path, **variables(strict_emulator, environment)) as program:
        until((tmp_path / "began").exists, "the command")
        program.process.send_signal(signal.SIGTERM)
        program.says("claims no more")
        later = script(strict_emulator, environment, [ECHO, RESULTS])
        (tmp_path / "go").touch()
        program.ends_with(0)
        assert f"{item}: the session is over: idle" in program.said and later not in program.said
    assert state_of(strict_emulator, environment, item) == "stopped"
    assert state_of(strict_emulator, environment, later) == "queued"
    assert endings(strict_emulator)[0] == text("went\n")


@pytest.mark.parametrize("second", [None, signal.SIGINT])
def test_sessions_that_go_on_after_the_grace_period_or_a_second_signal_are_ended(
    second: signal.Signals | None, strict_emulator: Emulator, tmp_path: Path
) -> None:
    environment = hosts(strict_emulator)
    item = script(strict_emulator, environment, [ECHO, RESULTS])
    root = tmp_path / "root"
    root.mkdir()
    options = ("--grace", "600" if second else "0.5", "--workdir-root", str(root))
    code = "touch began; exec sleep 600"
    environ = variables(strict_emulator, environment)
    with run(*shell(*options, code=code), folder=tmp_path, **environ) as program:
        until((tmp_path / "began").exists, "the command")
        program.process.send_signal(signal.SIGTERM)
        program.says("claims no more")
        if second:
            program.process.send_signal(second)
        program.ends_with(0)
        assert f"session is over: {'a signal' if second else 'stop_requested'}" in program.said
        assert f"{item}: echo: killed, the call is void: session_ended" in program.said
    assert state_of(strict_emulator, environment, item) == "stopped" and not list(root.iterdir())


def test_a_lost_lease_ends_its_session_and_stops_nothing(tmp_path: Path) -> None:
    with Emulator("--lease-ttl", "6") as emulator:
        environment = hosts(emulator)
        item = script(emulator, environment, [ECHO, RESULTS])
        code = "touch began; exec sleep 600"
        with run(*shell(code=code), folder=tmp_path, **variables(emulator, environment)) as program:
            until((tmp_path / "began").exists, "the command")
            emulator.take_requests()
            emulator.faults({"operation": "work.heartbeat", "status": 503, "count": 1000})
            program.says(f"{item}: the session is over: lease_lost", "echo: killed", "not stopped: ", "lease_lost")
            assert not [each for each in emulator.take_requests() if each["operation"] == "work.stop"]
            emulator.control("DELETE", "/_emulator/faults")
            program.process.send_signal(signal.SIGTERM)
            program.ends_with(0)


def handle(*arguments: str, **options: Any) -> AbstractContextManager[Running]:
    """Runs `antenv worker handle` until the block is left."""
    return running("worker", "handle", *arguments, **options)


@pytest.mark.transports
def test_handle_serves_what_another_process_has_claimed(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    items = enqueue(strict_emulator, environment, SCRIPTS)
    command = ["--concurrency", "30", "--drain", "--handoff", "--on-work", COMMAND, "worker", "handle", *CUSTOM]
    with running("worker", "poll", *command, folder=tmp_path, **variables(strict_emulator, environment)) as program:
        program.ends_with(0)
        for item in items:
            assert f"{item}: exited with 0\n" in program.said and f"{item}: done\n" in program.said
    check_served(strict_emulator, SCRIPTS)


def claimed(emulator: Emulator, environment: str, steps: Steps) -> dict[str, str]:
    """Claims an item; returns the variables of the process that is to serve it."""
    script(emulator, environment, steps)
    environ = variables(emulator, environment)
    own = environ | {"ANTHROPIC_AUTH_TOKEN": environ["ANTHROPIC_ENVIRONMENT_KEY"]}

    def call(operation: str, **params: str) -> Any:
        done = antenv("call", operation, json.dumps({"environment_id": environment} | params), env=own)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    item = call("work.poll")
    call("work.ack", work_id=item["id"])
    return environ | {
        "ANTHROPIC_WORK_ID": item["id"],
        "ANTHROPIC_SESSION_ID": item["data"]["id"],
        "ANTHROPIC_WORK_SECRET": item["secret"],
    }


def test_handle_ends_with_its_session_when_it_is_asked_to(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    environ = claimed(strict_emulator, environment, [ECHO, RESULTS])
    with handle(*shell(code="touch began; exec sleep 600"), folder=tmp_path, **environ) as program:
        until((tmp_path / "began").exists, "the command")
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)
        assert "echo: killed" in program.said and "the session is over: a signal" in program.said
    assert state_of(strict_emulator, environment, environ["ANTHROPIC_WORK_ID"]) == "stopped"


def test_handle_fails_without_an_item_that_is_its_own(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    environ = claimed(strict_emulator, environment, [ECHO, RESULTS])
    for wrong, said in (
        ({"ANTHROPIC_WORK_ID": ""}, "ANTHROPIC_WORK_ID"),
        ({"ANTHROPIC_WORK_LAST_HEARTBEAT": "2020-01-01T00:00:00Z"}, "lease_lost"),
    ):
        with handle(*shell(code="true"), folder=tmp_path, **environ | wrong) as program:
            program.ends_with(1)
            assert said in program.said
    assert state_of(strict_emulator, environment, environ["ANTHROPIC_WORK_ID"]) != "stopped"


def test_wrong_usage_claims_nothing(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    environ = variables(strict_emulator, environment)
    item = script(strict_emulator, environment, [ECHO, RESULTS])
    tool = ("--tools", "echo", "--on-tool", "true")
    for arguments, said in (
        (("--workdir", "nowhere"), "antenv: --workdir: there is no directory nowhere: create it first\n"),
        (("--workdir-root", "nowhere"), "antenv: --workdir-root: there is no directory nowhere: create it first\n"),
        (("--workdir-root", "/dev/null"), "antenv: --workdir-root: /dev/null is not a directory\n"),
        (("--no-toolset", "--tools", "echo", "--on-tool", "./nowhere"), "antenv: ./nowhere: no such command"),
        ((), "error: "),
        (("--no-toolset",), "error: "),
        (("--workdir", ".", "--workdir-root", "."), "error: "),
        (("--workdir", ".", "--tools", "echo"), "error: "),
        (("--workdir", ".", "--on-tool", "true"), "error: "),
        (("--no-toolset", "--network", *tool), "error: "),
        (("--sandbox", "some", "--workdir", "."), "error: "),
        (("--max-idle", "-1", "--workdir", "."), "error: "),
        (("--tool-timeout", "1m", "--workdir", "."), "error: "),
        (("--concurrency", "0", "--workdir", "."), "error: "),
    ):
        for subcommand in ("run", "handle"):
            with running("worker", subcommand, *arguments, folder=tmp_path, **environ) as program:
                program.ends_with(2)
                assert program.said.startswith(said), (arguments, program.said)
    assert state_of(strict_emulator, environment, item) == "queued"


def test_it_gives_up_when_there_is_no_use_in_going_on(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    environ = variables(strict_emulator, environment)
    with run(
        *shell(code="true"), folder=tmp_path, **environ | {"ANTHROPIC_ENVIRONMENT_KEY": "sk-ant-oat01-wrong"}
    ) as program:
        program.ends_with(1)
        assert "authentication" in program.said
    command = tmp_path / "command"
    command.write_text("no program\n")
    command.chmod(0o755)
    item = script(strict_emulator, environment, [ECHO, RESULTS])
    arguments = ("--no-toolset", "--max-idle", "0.3", "--tools", "echo", "--on-tool", str(command))
    with run(*arguments, folder=tmp_path, **environ) as program:
        program.ends_with(1)
        assert "Exec format error" in program.said
    assert endings(strict_emulator) == [text("the tool cannot be run", True)]
    assert state_of(strict_emulator, environment, item) == "stopped"


def test_a_root_that_has_gone_leaves_the_item_to_the_work_queue(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    root = tmp_path / "root"
    root.mkdir()
    arguments = shell("--workdir-root", str(root), code="true")
    with run(*arguments, folder=tmp_path, **variables(strict_emulator, environment)) as program:
        until(lambda: strict_emulator.control("GET", "/_emulator/connections")["polls_waiting"], "a poll")
        root.rmdir()
        item = script(strict_emulator, environment, [ECHO, RESULTS])
        program.ends_with(1)
        assert f"working directory: {root}: No such file or directory" in program.said
    assert state_of(strict_emulator, environment, item) == "active"  # it goes back when its lease runs out


def test_it_serves_metrics_and_logs_json(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = script(strict_emulator, environment, [ECHO, RESULTS])
    arguments = shell("--log", "json", "--metrics", "127.0.0.1:0", code="echo")
    with run(*arguments, folder=tmp_path, **variables(strict_emulator, environment)) as program:
        program.says('"done"')
        (url,) = re.findall(r"metrics at ([^\"]+)", program.said)

        def metrics() -> str:
            with urllib.request.urlopen(url, timeout=120) as response:
                return re.sub("{.*}", "", response.read().decode())

        until(lambda: "\nantenv_worker_finished_total 1\n" in metrics(), "the count")
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)
        records = [json.loads(line) for line in program.said.splitlines()]
    session = strict_emulator.control("GET", "/_emulator/scripts")["data"][0]["session_id"]
    own = [record for record in records if record["target"] == "antenv::command"]
    about_it = [record["message"] for record in own if record["fields"] == {"work_id": item}]
    assert about_it == [f"begun: {session}", "echo: exited with 0", "the session is over: idle", "done"]
    assert own[-1]["message"] == "sessions served: 1; calls answered: 1, void: 0"


def test_a_terminal_shows_the_progress_and_a_summary(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    script(strict_emulator, environment, [ECHO, RESULTS])
    terminal, end = pty.openpty()
    command = [COMMAND, "worker", "run", *shell("--drain", code="sleep 1")]
    environ = variables(strict_emulator, environment)
    with subprocess.Popen(command, stderr=end, env=environ, cwd=tmp_path) as process:
        os.close(end)
        said = b""
        # Reading fails when the other end is closed.
        while part := read(terminal):
            said += part
        assert process.wait(timeout=120) == 0
    os.close(terminal)
    assert b"\r\x1b[K" in said and b"0 sessions over, 1 go on; 0 calls answered" in said
    *_, last, rest = said.decode().split("\r\n")
    assert last.endswith("sessions served: 1; calls answered: 1, void: 0")
    assert rest == "" or rest.endswith("\r\x1b[K"), "the last line is left empty"


def read(terminal: int) -> bytes:
    """Reads from a terminal; nothing at its end."""
    try:
        return os.read(terminal, 65536)
    except OSError:
        return b""
