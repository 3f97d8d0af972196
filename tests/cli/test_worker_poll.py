"""`antenv worker poll`: serves a work queue with a command, whatever the command does."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import urllib.request
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import pytest

from support.command import Running, running
from support.driver import one_descriptor_left
from support.emulator import Emulator
from support.processes import ORPHAN, parent_of
from worker.test_c_worker import hosts, polls_waiting, state_of, until, variables


def poll(*arguments: str, **options: Any) -> AbstractContextManager[Running]:
    """Runs `antenv worker poll` until the block is left."""
    return running("worker", "poll", *arguments, **options)


# Leaves what it was given where a test can look: files appear when they are complete.
RECORD = """
cat >"item.$ANTHROPIC_WORK_ID.new"
env >"env.$ANTHROPIC_WORK_ID"
mv "item.$ANTHROPIC_WORK_ID.new" "item.$ANTHROPIC_WORK_ID"
exit 7
"""


@pytest.mark.transports
def test_a_command_finds_its_item_and_its_environment(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    environ = variables(strict_emulator, environment) | {"ANTHROPIC_SESSION_ID": "not this one", "KEPT": "yes"}
    odd = {"type": "session", "id": 'session "\\\té€😀', "text": "x" * 200_000}
    items = [
        strict_emulator.enqueue(environment, metadata={"secret": "none", "id": "neither"}),
        strict_emulator.enqueue(environment, data=odd),
    ]
    with poll("--concurrency", "2", "--on-work", "sh", "-c", RECORD, folder=tmp_path, **environ) as program:
        for item in items:
            program.says(f"{item['id']}: exited with 7", f"{item['id']}: done")
            read = json.loads((tmp_path / f"item.{item['id']}").read_text())
            assert (read["id"], read["data"]) == (item["id"], item["data"])
            given = (tmp_path / f"env.{item['id']}").read_text().splitlines()
            assert {line for line in given if line.startswith("ANTHROPIC_") or "KEPT" in line} == {
                f"ANTHROPIC_WORK_ID={item['id']}",
                f"ANTHROPIC_ENVIRONMENT_ID={environment}",
                f"ANTHROPIC_SESSION_ID={item['data']['id']}",
                f"ANTHROPIC_WORK_SECRET={read['secret']}",
                f"ANTHROPIC_ENVIRONMENT_KEY={environ['ANTHROPIC_ENVIRONMENT_KEY']}",
                f"ANTHROPIC_BASE_URL={strict_emulator.url}",
                "KEPT=yes",
            }
            assert state_of(strict_emulator, environment, item["id"]) == "stopped"
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)


def test_what_a_command_does_not_read_or_leaves_behind_does_no_harm(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    large = strict_emulator.enqueue(environment, data={"type": "session", "id": "s", "text": "x" * 1_000_000})["id"]
    script = "exec <&-; sleep 600 & echo $! >left; kill -9 $$"
    with poll("--on-work", "sh", "-c", script, folder=tmp_path, **variables(strict_emulator, environment)) as program:
        program.says(f"{large}: ended by signal 9", f"{large}: done")
        left = Path(f"/proc/{(tmp_path / 'left').read_text().strip()}/stat")
        until(lambda: not left.exists() or left.read_text().split()[2] == "Z", "the end of what was left running")
        program.process.send_signal(signal.SIGINT)
        program.ends_with(0)


# Says that it is there, and does not listen to SIGTERM, or does.
STUBBORN = "trap '' TERM; touch began; while :; do sleep 0.1; done"
POLITE = "trap 'exit 3' TERM; touch began; while :; do sleep 0.1; done"


@pytest.mark.parametrize(
    ("script", "grace", "end"),
    [(STUBBORN, "1", "ended by signal 9"), (POLITE, "600", "exited with 3")],
    ids=["stubborn", "polite"],
)
def test_a_command_whose_lease_is_lost_is_ended(script: str, grace: str, end: str, tmp_path: Path) -> None:
    with Emulator("--lease-ttl", "6") as emulator:
        environment = hosts(emulator)
        environ = variables(emulator, environment)
        item = emulator.enqueue(environment)["id"]
        with poll("--grace", grace, "--on-work", "sh", "-c", script, folder=tmp_path, **environ) as program:
            until((tmp_path / "began").exists, "the command")
            emulator.take_requests()
            emulator.faults({"operation": "work.heartbeat", "status": 503, "count": 1000})
            program.says(f"{item}: is asked to end", "lost, ", end, "not stopped: ", "lease_lost")
            assert ("is killed" in program.said) == (script == STUBBORN)
            assert not [each for each in emulator.take_requests() if each["operation"] == "work.stop"]
            # The heartbeats still fail: else the item, which is back in the work queue, might be begun once more.
            program.process.send_signal(signal.SIGTERM)
            program.ends_with(0)


@pytest.mark.long
def test_a_command_whose_item_another_worker_has_is_ended(tmp_path: Path) -> None:
    with Emulator("--lease-ttl", "30") as emulator:
        environment = hosts(emulator)
        environ = variables(emulator, environment)
        item = emulator.enqueue(environment)["id"]
        folders = [tmp_path / name for name in ("first", "second")]
        for folder in folders:
            folder.mkdir()
        with poll("--grace", "1", "--on-work", "sh", "-c", STUBBORN, folder=folders[0], **environ) as first:
            until((folders[0] / "began").exists, "the command")
            emulator.control("POST", "/_emulator/clock", {"advance_ms": 31_000})
            with poll("--on-work", "sh", "-c", POLITE, folder=folders[1], **environ) as second:
                until((folders[1] / "began").exists, "the command of the other")
                first.says("lost, taken", f"{item}: is killed", f"{item}: ended by signal 9", "lease_lost")
                assert state_of(emulator, environment, item) == "active"
                second.process.send_signal(signal.SIGTERM)
                second.says("claims no more")
                second.process.send_signal(signal.SIGTERM)  # not to wait for as long as it takes
                second.says(f"{item}: exited with 3", f"{item}: done")
                second.ends_with(0)
            first.process.send_signal(signal.SIGTERM)
            first.ends_with(0)


@pytest.mark.long
def test_a_command_whose_item_is_to_be_stopped_is_asked_to_end(tmp_path: Path) -> None:
    with Emulator("--lease-ttl", "30") as emulator:
        environment = hosts(emulator)
        item = emulator.enqueue(environment)["id"]
        with poll("--on-work", "sh", "-c", POLITE, folder=tmp_path, **variables(emulator, environment)) as program:
            until((tmp_path / "began").exists, "the command")
            emulator.api("POST", f"/v1/environments/{environment}/work/{item}/stop", {})
            program.says("stop_requested", f"{item}: exited with 3", f"{item}: done")
            program.process.send_signal(signal.SIGTERM)
            program.ends_with(0)


def test_a_second_signal_ends_commands(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = strict_emulator.enqueue(environment)["id"]
    environ = variables(strict_emulator, environment)
    with poll("--grace", "600s", "--on-work", "sh", "-c", POLITE, folder=tmp_path, **environ) as program:
        until((tmp_path / "began").exists, "the command")
        program.process.send_signal(signal.SIGTERM)
        program.says("claims no more")
        program.process.send_signal(signal.SIGINT)
        program.ends_with(0)
        assert f"{item}: is asked to end: a second signal" in program.said and "exited with 3" in program.said
    assert state_of(strict_emulator, environment, item) == "stopped"


def test_a_command_that_is_no_program_ends_it(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = strict_emulator.enqueue(environment)["id"]
    command = tmp_path / "command"
    command.write_text("no program\n")
    command.chmod(0o755)
    with poll("--on-work", str(command), folder=tmp_path, **variables(strict_emulator, environment)) as program:
        program.ends_with(1)
        assert "Exec format error" in program.said
    assert state_of(strict_emulator, environment, item) == "active"  # it goes back when its lease runs out


@pytest.mark.transports
def test_sigterm_drains(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = strict_emulator.enqueue(environment)["id"]
    script = "touch began; while ! [ -e go ]; do sleep 0.05; done"
    with poll("--on-work", "sh", "-c", script, folder=tmp_path, **variables(strict_emulator, environment)) as program:
        until((tmp_path / "began").exists, "the command")
        program.process.send_signal(signal.SIGTERM)
        program.says("claims no more")
        later = strict_emulator.enqueue(environment)["id"]
        (tmp_path / "go").touch()
        program.ends_with(0)
        assert f"{item}: exited with 0" in program.said and later not in program.said
    assert state_of(strict_emulator, environment, item) == "stopped"
    assert state_of(strict_emulator, environment, later) == "queued"


def test_what_does_not_end_in_the_grace_period_is_killed(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = strict_emulator.enqueue(environment)["id"]
    environ = variables(strict_emulator, environment)
    with poll("--grace", "1", "--on-work", "sh", "-c", STUBBORN, folder=tmp_path, **environ) as program:
        until((tmp_path / "began").exists, "the command")
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)
        for text in ("claims no more", "stop_requested, shutdown", "is killed", "ended by signal 9"):
            assert text in program.said
    assert state_of(strict_emulator, environment, item) == "stopped"


def test_it_gives_up_when_there_is_no_use_in_going_on(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    environ = variables(strict_emulator, environment)
    with poll(
        "--on-work", "true", folder=tmp_path, **environ | {"ANTHROPIC_ENVIRONMENT_KEY": "sk-ant-oat01-wrong"}
    ) as program:
        program.ends_with(1)
        assert "authentication" in program.said
    for missing in ("ANTHROPIC_ENVIRONMENT_ID", "ANTHROPIC_ENVIRONMENT_KEY"):
        with poll("--on-work", "true", folder=tmp_path, **{**environ, missing: ""}) as program:
            program.ends_with(1)
    with poll("--metrics", "127.0.0.1:no port", "--on-work", "true", folder=tmp_path, **environ) as program:
        program.ends_with(1)
        assert program.said.startswith("antenv: 127.0.0.1:no port: ")


def test_wrong_usage_claims_nothing(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    environ = variables(strict_emulator, environment)
    item = strict_emulator.enqueue(environment)["id"]
    (tmp_path / "no program").write_text("")
    for command in ("no such command", "./nowhere", "./no program", str(tmp_path)):
        with poll("--on-work", command, folder=tmp_path, **environ) as program:
            program.ends_with(2)
            assert program.said == f"antenv: {command}: no such command\n"
    for wrong in (
        ["true"],
        ["--on-work"],
        ["--concurrency", "0", "--on-work", "true"],
        ["--concurrency", "x", "--on-work", "true"],
        ["--grace", "-1", "--on-work", "true"],
        ["--grace", "nan", "--on-work", "true"],
        ["--grace", "1m", "--on-work", "true"],
        ["-x", "--on-work", "true"],
        ["--log", "xml", "--on-work", "true"],
    ):
        with poll(*wrong, folder=tmp_path, **environ) as program:
            program.ends_with(2)
            assert program.said.startswith("error: ")
    assert state_of(strict_emulator, environment, item) == "queued"


def test_a_command_that_has_gone_ends_it_after_its_other_items(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    command = tmp_path / "command"
    command.write_text("#!/bin/sh\ntouch began; while ! [ -e go ]; do sleep 0.05; done\n")
    command.chmod(0o755)
    environ = variables(strict_emulator, environment)
    with poll("--concurrency", "2", "--on-work", str(command), folder=tmp_path, **environ) as program:
        first = strict_emulator.enqueue(environment)["id"]
        until((tmp_path / "began").exists, "the command")
        command.unlink()
        second = strict_emulator.enqueue(environment)["id"]
        program.says(f"ERROR {command}: No such file or directory")
        third = strict_emulator.enqueue(environment)["id"]
        (tmp_path / "go").touch()
        program.ends_with(1)
        assert f"{first}: exited with 0" in program.said
    states = [state_of(strict_emulator, environment, item) for item in (first, second, third)]
    assert states == ["stopped", "active", "queued"]  # the second goes back when its lease runs out


def test_orphans_are_reaped(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = strict_emulator.enqueue(environment)["id"]
    environ = variables(strict_emulator, environment)
    with poll("--on-work", "sh", "-c", ORPHAN, folder=tmp_path, way="subreaper", **environ) as program:
        program.says(f"{item}: done")
        orphan = int((tmp_path / "orphan").read_text())
        assert parent_of(orphan) == program.process.pid
        (tmp_path / "go").touch()
        until(lambda: parent_of(orphan) is None, "the orphan's end")
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)


def test_it_serves_metrics(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = strict_emulator.enqueue(environment)["id"]
    environ = variables(strict_emulator, environment)
    with poll("--metrics", "127.0.0.1:0", "--on-work", "true", folder=tmp_path, **environ) as program:
        program.says(f"{item}: done")
        (url,) = re.findall(r"metrics at (\S+)", program.said)

        def text() -> str:
            with urllib.request.urlopen(url, timeout=120) as response:
                assert response.headers["content-type"] == "text/plain; version=0.0.4"
                return re.sub("{.*}", "", response.read().decode())

        until(lambda: "\nantenv_worker_finished_total 1\n" in text(), "the count")
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(url.replace("/metrics", "/other"), timeout=120)
        assert failed.value.code == 404
        failed.value.close()
        # Those that ask nothing, or slowly, keep none of the others from an answer, and not the program from its end.
        address = ("127.0.0.1", int(url.split(":")[2].split("/")[0]))
        with ExitStack() as stack:
            silent = [stack.enter_context(socket.create_connection(address, timeout=120)) for _ in range(20)]
            silent[-1].sendall(b"GET /metrics HTTP/1.1\r\n")
            assert "antenv_worker_finished_total" in text()
            silent[-1].sendall(b"host: here\r\n\r\n")
            assert silent[-1].recv(15) == b"HTTP/1.1 200 OK"
            program.process.send_signal(signal.SIGTERM)
            program.ends_with(0)


@pytest.mark.transports
def test_many_commands_run_at_once_and_no_more(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    items = {item["id"] for item in strict_emulator.enqueue(environment, count=40)["data"]}
    script = "mkdir r.$$; ls -d r.* | wc -l >>counts; sleep 0.02; rmdir r.$$"
    environ = variables(strict_emulator, environment)
    with poll("--concurrency", "4", "--on-work", "sh", "-c", script, folder=tmp_path, **environ) as program:
        program.says(*(f"{item}: done" for item in items))
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)
        assert program.said.count(": exited with 0") == 40
    counts = [int(line) for line in (tmp_path / "counts").read_text().split()]
    assert len(counts) == 40 and 1 < max(counts) <= 4


def test_a_command_for_which_there_is_no_room_is_tried_again(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    with poll("--on-work", "true", folder=tmp_path, **variables(strict_emulator, environment)) as program:
        # Serving one makes the connections that the next one needs.
        first = strict_emulator.enqueue(environment)["id"]
        program.says(f"{first}: done")
        until(lambda: polls_waiting(strict_emulator), "a poll")
        with one_descriptor_left(program.process.pid):
            item = strict_emulator.enqueue(environment)["id"]
            program.says(f"{item}: not begun yet: Too many open files")
        program.says(f"{item}: begun", f"{item}: exited with 0", f"{item}: done")
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)
    assert state_of(strict_emulator, environment, item) == "stopped"


# A system that has no room for processes: always, or the first two times.
NO_PROCESSES = """
#include <errno.h>
#include <spawn.h>
#include <stdlib.h>
int posix_spawnp(pid_t *pid, const char *file, const posix_spawn_file_actions_t *actions,
                 const posix_spawnattr_t *attributes, char *const arguments[], char *const variables[]) {
    static int calls;
    *pid = 12345; /* which means nothing after a failure */
    if (getenv("NEVER") || calls++ < 2) return EAGAIN;
    return posix_spawn(pid, "/bin/true", actions, attributes, arguments, variables);
}
"""


@pytest.mark.parametrize("never", [False, True])
def test_a_command_that_cannot_be_started_now_is_not_given_up(
    never: bool, strict_emulator: Emulator, tmp_path: Path
) -> None:
    source, library = tmp_path / "none.c", tmp_path / "none.so"
    source.write_text(NO_PROCESSES)
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    environment = hosts(strict_emulator)
    item = strict_emulator.enqueue(environment)["id"]
    environ = variables(strict_emulator, environment) | {"LD_PRELOAD": str(library)} | ({"NEVER": "1"} if never else {})
    with poll("--on-work", "true", folder=tmp_path, **environ) as program:
        program.says(f"{item}: not begun yet: Resource temporarily unavailable")
        if not never:
            program.says(f"{item}: begun", f"{item}: exited with 0", f"{item}: done")
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)
        assert (f"{item}: is not begun any more" in program.said) == never
    # Left to the queue, or served.
    assert state_of(strict_emulator, environment, item) == ("active" if never else "stopped")


def test_the_log_may_be_json(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = strict_emulator.enqueue(environment)["id"]
    environ = variables(strict_emulator, environment)
    with poll("--log", "json", "--drain", "--on-work", "false", folder=tmp_path, **environ) as program:
        program.ends_with(0)
        records = [json.loads(line) for line in program.said.splitlines()]
    assert all(set(record) == {"time", "level", "target", "message", "fields"} for record in records)
    own = [(record["message"], record["fields"]) for record in records if record["target"] == "antenv::command"]
    assert own == [(message, {"work_id": item}) for message in ("begun", "exited with 1", "done")]
    assert state_of(strict_emulator, environment, item) == "stopped"
    wrong = environ | {"ANTHROPIC_ENVIRONMENT_KEY": "sk-ant-oat01-wrong"}
    with poll("--log", "json", "--on-work", "true", folder=tmp_path, **wrong) as program:
        program.ends_with(1)
        last = json.loads(program.said.splitlines()[-1])
    assert last["level"] == "error" and last["message"].startswith("authentication: ")


def test_a_signal_beyond_the_standard_ones_ends_a_command(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = strict_emulator.enqueue(environment)["id"]
    environ = variables(strict_emulator, environment)
    with poll("--drain", "--on-work", "bash", "-c", "kill -RTMIN $$", folder=tmp_path, **environ) as program:
        program.ends_with(0)
        assert f"{item}: ended by signal {int(signal.SIGRTMIN)}" in program.said


def test_arguments_are_the_commands_own(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    strict_emulator.enqueue(environment)
    environ = variables(strict_emulator, environment)
    words = ["--drain", "--", "-c", "--help", "a b", "", "$HOME"]
    script = 'import json, sys; json.dump(sys.argv[1:], open("words", "w"))'
    with poll("--drain", "--on-work", "python3", "-c", script, *words, folder=tmp_path, **environ) as program:
        program.ends_with(0)
    assert json.loads((tmp_path / "words").read_text()) == words
