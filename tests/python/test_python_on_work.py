"""The example that runs a command for each item, with real commands."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from python.worker_env import BRIEF, TIMEOUT, WorkerEnv, wait_until, worker_env
from support.build import ROOT
from support.driver import one_descriptor_left
from support.emulator import Emulator
from support.processes import ORPHAN, become_subreaper, parent_of

PROGRAM = ROOT / "examples" / "python" / "on_work.py"
#: Says where it is, and what its child is, and then does not mind SIGTERM.
STUBBORN = "trap '' TERM; sleep 60 & echo $$ $! >{file}.new; mv {file}.new {file}; wait; sleep 60"


@pytest.fixture
def lasting(strict_emulator: Emulator) -> WorkerEnv:
    """One whose leases last."""
    return WorkerEnv(strict_emulator)


class OnWork:
    """The program, running."""

    def __init__(
        self,
        env: WorkerEnv,
        folder: Path,
        options: tuple[str, ...],
        command: tuple[str, ...],
        preparation: Callable[[], None] | None,
    ) -> None:
        variables = {
            "ANTHROPIC_ENVIRONMENT_ID": env.environment,
            "ANTHROPIC_ENVIRONMENT_KEY": env.key,
            "ANTHROPIC_BASE_URL": env.emulator.url,
            "ANTHROPIC_WORK_SECRET": "another's",
        }
        self._log = folder / "log"
        self._output = self._log.open("w")
        self.process = subprocess.Popen(
            [sys.executable, str(PROGRAM), *options, "--", *command],
            stderr=self._output,
            cwd=folder,
            env=os.environ | variables,
            preexec_fn=preparation,
        )

    def said(self) -> str:
        """What it wrote to its log."""
        return self._log.read_text()

    def end(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Asks it to end; gives its exit code."""
        self.process.send_signal(number)
        return self.process.wait(timeout=TIMEOUT)

    def close(self) -> None:
        """Ends it, whatever it does."""
        self.process.kill()
        self.process.wait()
        self._output.close()


@contextmanager
def on_work(
    env: WorkerEnv,
    folder: Path,
    *options: str,
    command: tuple[str, ...],
    preparation: Callable[[], None] | None = None,
) -> Iterator[OnWork]:
    program = OnWork(env, folder, options, command, preparation)
    try:
        yield program
    finally:
        program.close()


def processes(file: Path) -> list[int]:
    """The processes that a command wrote down."""
    wait_until(file.exists)
    return [int(number) for number in file.read_text().split()]


def is_alive(process: int) -> bool:
    """Whether there is such a process, and it is not a zombie."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_a_command_has_the_item_and_its_environment(lasting: WorkerEnv, tmp_path: Path) -> None:
    command = ("sh", "-c", "cat >$ANTHROPIC_WORK_ID.json; env >$ANTHROPIC_WORK_ID.env; echo done; exit 3")
    with on_work(lasting, tmp_path, "--concurrency", "2", command=command) as program:
        items = [lasting.emulator.enqueue(lasting.environment) for _ in range(3)]
        wait_until(lambda: all(lasting.state(item["id"]) == "stopped" for item in items))
        assert program.end() == 0
        log = program.said()
    for item in items:
        given = json.loads((tmp_path / f"{item['id']}.json").read_text())
        assert given["id"] == item["id"] and given["data"] == item["data"] and given["secret"]
        lines = (tmp_path / f"{item['id']}.env").read_text().splitlines()
        assert {
            f"ANTHROPIC_WORK_ID={item['id']}",
            f"ANTHROPIC_ENVIRONMENT_ID={lasting.environment}",
            f"ANTHROPIC_SESSION_ID={item['data']['id']}",
            f"ANTHROPIC_ENVIRONMENT_KEY={lasting.key}",
            f"ANTHROPIC_WORK_SECRET={given['secret']}",
            f"ANTHROPIC_BASE_URL={lasting.emulator.url}",
        } <= set(lines)
        assert f"{item['id']}: the command ended with 3" in log and given["secret"] not in log


def test_what_is_left_of_a_command_is_ended_with_it(lasting: WorkerEnv, tmp_path: Path) -> None:
    file = tmp_path / "processes"
    # Nor does it matter that what is left has the input, which it does not read.
    script = f"sleep 600 <&0 & echo $! >{file}.new; mv {file}.new {file}"
    data = {"type": "session", "id": "s", "text": "x" * 1_000_000}
    with on_work(lasting, tmp_path, command=("sh", "-c", script)):
        item = lasting.emulator.enqueue(lasting.environment, data=data)["id"]
        wait_until(lambda: lasting.state(item) == "stopped")
        (left,) = processes(file)
        wait_until(lambda: not is_alive(left))


def test_orphans_are_reaped(lasting: WorkerEnv, tmp_path: Path) -> None:
    with on_work(lasting, tmp_path, command=("sh", "-c", ORPHAN), preparation=become_subreaper) as program:
        item = lasting.enqueue()
        wait_until(lambda: lasting.state(item) == "stopped")
        (orphan,) = processes(tmp_path / "orphan")
        assert parent_of(orphan) == program.process.pid
        (tmp_path / "go").touch()
        wait_until(lambda: parent_of(orphan) is None)
        assert program.end() == 0


def test_a_command_that_does_not_mind_is_killed_when_its_item_is_to_be_stopped(tmp_path: Path) -> None:
    file = tmp_path / "processes"
    command = ("sh", "-c", STUBBORN.format(file=file))
    with (
        worker_env("--lease-ttl", str(BRIEF)) as brief,
        on_work(brief, tmp_path, "--grace", "0.3", command=command) as program,
    ):
        item = brief.enqueue()
        started = processes(file)
        brief.stop(item)
        wait_until(lambda: not any(map(is_alive, started)))
        wait_until(lambda: brief.state(item) == "stopped")
        assert f"{item}: stop_requested, asked" in program.said()
        assert program.end() == 0


def test_a_command_whose_lease_is_lost_gets_a_signal(tmp_path: Path) -> None:
    file = tmp_path / "ended"
    script = f"trap 'echo ended >{file}; exit 0' TERM; echo $$ >{file}.new; mv {file}.new {file}.pid; sleep 60 & wait"
    with (
        worker_env("--lease-ttl", str(BRIEF)) as brief,
        on_work(brief, tmp_path, command=("sh", "-c", script)) as program,
    ):
        item = brief.enqueue()
        (started,) = processes(tmp_path / "ended.pid")
        brief.advance(BRIEF + 1)
        other = brief.worker().next(TIMEOUT)
        assert other is not None and other.id == item
        wait_until(lambda: not is_alive(started))
        assert file.read_text() == "ended\n" and f"{item}: lost, taken" in program.said()
        wait_until(lambda: "was not finished" in program.said())
        assert brief.requests("work.stop") == []
        other.finish()
        assert program.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_when_it_is_ended_commands_have_their_time(lasting: WorkerEnv, tmp_path: Path, number: signal.Signals) -> None:
    script = "touch begun; while ! [ -e go ]; do sleep 0.01; done; touch $ANTHROPIC_WORK_ID"
    with on_work(lasting, tmp_path, command=("sh", "-c", script)) as program:
        item = lasting.enqueue()
        wait_until((tmp_path / "begun").exists)
        later = lasting.enqueue()
        program.process.send_signal(number)
        wait_until(lambda: "claims no more" in program.said())
        (tmp_path / "go").touch()
        assert program.process.wait(timeout=TIMEOUT) == 0
        assert (tmp_path / item).exists() and lasting.state(item) == "stopped"
        assert lasting.state(later) == "queued"


def test_when_the_grace_is_over_commands_are_killed(lasting: WorkerEnv, tmp_path: Path) -> None:
    file = tmp_path / "processes"
    command = ("sh", "-c", STUBBORN.format(file=file))
    with on_work(lasting, tmp_path, "--grace", "0.2", command=command) as program:
        item = lasting.enqueue()
        started = processes(file)
        assert program.end() == 0
        assert not any(map(is_alive, started)) and lasting.state(item) == "stopped"
        assert f"{item}: stop_requested, shutdown" in program.said() and f"{item}: is killed" in program.said()


def test_a_second_signal_ends_commands(lasting: WorkerEnv, tmp_path: Path) -> None:
    script = "trap 'exit 3' TERM; touch begun; while :; do sleep 0.1; done"
    with on_work(lasting, tmp_path, "--grace", "600s", command=("sh", "-c", script)) as program:
        item = lasting.enqueue()
        wait_until((tmp_path / "begun").exists)
        program.process.send_signal(signal.SIGTERM)
        wait_until(lambda: "claims no more" in program.said())
        assert program.end(signal.SIGINT) == 0
        assert f"{item}: the command ended with 3" in program.said() and lasting.state(item) == "stopped"


def test_it_serves_metrics(lasting: WorkerEnv, tmp_path: Path) -> None:
    with on_work(lasting, tmp_path, "--metrics", "127.0.0.1:0", command=("true",)) as program:
        item = lasting.enqueue()
        wait_until(lambda: lasting.state(item) == "stopped")
        url = re.findall(r"metrics at (\S+)", program.said())[0]

        def text() -> str:
            with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
                assert response.headers["content-type"] == "text/plain; version=0.0.4"
                return re.sub("{.*}", "", response.read().decode())

        wait_until(lambda: "\nantenv_worker_finished_total 1\n" in text())
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(url.replace("/metrics", "/other"), timeout=TIMEOUT)
        assert failed.value.code == 404
        failed.value.close()
        assert program.end() == 0


def test_what_is_wrong_is_said(lasting: WorkerEnv, tmp_path: Path) -> None:
    item = lasting.enqueue()
    for command in ("/nowhere/command", "no such command"):
        with on_work(lasting, tmp_path, command=(command,)) as program:
            assert program.process.wait(timeout=TIMEOUT) == 2
            assert program.said() == f"on_work: {command}: no such command\n"
    for wrong in (["--concurrency", "0"], ["--grace", "-1"], ["--grace", "nan"], ["--other"]):
        with on_work(lasting, tmp_path, *wrong, command=("true",)) as program:
            assert program.process.wait(timeout=TIMEOUT) == 2 and "usage: on_work" in program.said()
    assert lasting.state(item) == "queued"
    for address in ("9464", "127.0.0.1:no port"):
        with on_work(lasting, tmp_path, "--metrics", address, command=("true",)) as program:
            assert program.process.wait(timeout=TIMEOUT) == 1 and f"on_work: {address}: " in program.said()
    assert lasting.state(item) == "queued"
    lasting.key = "sk-ant-oat01-wrong"
    with on_work(lasting, tmp_path, command=("true",)) as program:
        assert program.process.wait(timeout=TIMEOUT) == 1
        assert any(line.startswith("on_work: ") for line in program.said().splitlines())


TOUCH = ("sh", "-c", "touch $ANTHROPIC_WORK_ID")


def serve_one(env: WorkerEnv) -> None:
    """Has an item served, so that there are connections for those that follow, and waits for the next poll."""
    item = env.enqueue()
    wait_until(lambda: env.state(item) == "stopped" and env.polls())


def test_a_command_for_which_there_is_no_room_is_tried_again(lasting: WorkerEnv, tmp_path: Path) -> None:
    with on_work(lasting, tmp_path, command=TOUCH) as program:
        serve_one(lasting)
        with one_descriptor_left(program.process.pid):
            item = lasting.enqueue()
            wait_until(lambda: f"{item}: not begun yet" in program.said())
            assert not (tmp_path / item).exists()
        wait_until(lambda: lasting.state(item) == "stopped")
        assert (tmp_path / item).exists() and program.end() == 0


def test_an_item_whose_command_was_never_begun_goes_back(lasting: WorkerEnv, tmp_path: Path) -> None:
    with on_work(lasting, tmp_path, command=TOUCH) as program:
        serve_one(lasting)
        with one_descriptor_left(program.process.pid):
            item = lasting.enqueue()
            wait_until(lambda: f"{item}: not begun yet" in program.said())
            assert program.end() == 0
        assert lasting.state(item) == "active" and not (tmp_path / item).exists()


def test_a_command_that_is_no_program_ends_it(lasting: WorkerEnv, tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_text("no program\n")
    command.chmod(0o755)
    with on_work(lasting, tmp_path, command=(str(command),)) as program:
        item = lasting.enqueue()
        assert program.process.wait(timeout=TIMEOUT) == 1
        assert "Exec format error" in program.said() and lasting.state(item) == "active"


def test_a_command_that_has_gone_ends_it_after_its_other_items(lasting: WorkerEnv, tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_text("#!/bin/sh\ntouch begun; while ! [ -e go ]; do sleep 0.01; done; touch ended\n")
    command.chmod(0o755)
    with on_work(lasting, tmp_path, "--concurrency", "2", command=(str(command),)) as program:
        first = lasting.enqueue()
        wait_until((tmp_path / "begun").exists)
        command.unlink()
        second = lasting.enqueue()
        wait_until(lambda: "claims no more" in program.said())
        third = lasting.enqueue()
        (tmp_path / "go").touch()
        assert program.process.wait(timeout=TIMEOUT) == 1
        (why,) = [line for line in program.said().splitlines() if line.startswith(f"on_work: {command}: ")]
        assert "No such file or directory" in why
        assert (tmp_path / "ended").exists()
        assert [lasting.state(item) for item in (first, second, third)] == ["stopped", "active", "queued"]
