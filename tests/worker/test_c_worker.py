"""Serving work from C: the worker's functions, and the programs under examples/ that serve a queue."""

from __future__ import annotations

import json
import re
import signal
import socket
import subprocess
import time
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

from bindings.test_c import EXAMPLES, SANITIZERS, SOURCES, VALGRIND, run
from support.build import compile_c
from support.driver import one_descriptor_left
from support.emulator import API_HEADERS, Emulator, trusted
from support.processes import ORPHAN, become_subreaper, parent_of

pytestmark = pytest.mark.transports
WAYS = ["plain", "valgrind", *SANITIZERS]


def hosts(emulator: Emulator) -> str:
    """Creates a self-hosted environment; returns its identifier."""
    return emulator.create_environment("hosts", config={"type": "self_hosted"})


def run_case(case: str, way: str, emulator: Emulator, environment: str) -> str:
    """Runs a part of tests/c/worker_claims.c or worker_leases.c in one of the ways."""
    source = SOURCES / ("worker_claims.c" if case in ("claiming", "many") else "worker_leases.c")
    program = compile_c(source, *([SANITIZERS[way]] if way in SANITIZERS else []))
    command = [str(program), emulator.url, case, environment, emulator.environment_key(environment)]
    if way == "valgrind":
        # A child leaves alone what is left of its parent's runtime. Leaks without forks are other cases' subject.
        command = [*VALGRIND, *(["--leak-check=no"] if case == "forking" else []), *command]
    return run(command)


CASES = [(case, way) for case in ("claiming", "ending", "shutting down") for way in WAYS]
CASES += [("forking", way) for way in WAYS if way not in SANITIZERS]


@pytest.mark.long
@pytest.mark.parametrize(("case", "way"), CASES)
def test_a_worker_in_c(case: str, way: str, strict_emulator: Emulator) -> None:
    assert run_case(case, way, strict_emulator, hosts(strict_emulator)) == f"worker {case}: as it should be\n"


@pytest.mark.parametrize("way", WAYS)
def test_each_of_many_items_is_finished_exactly_once(way: str, strict_emulator: Emulator) -> None:
    environment = hosts(strict_emulator)
    items = {item["id"] for item in strict_emulator.enqueue(environment, count=200)["data"]}
    assert run_case("many", way, strict_emulator, environment) == "worker many: as it should be\n"
    done: Counter[tuple[str, str, int]] = Counter()
    for request in strict_emulator.take_requests():
        if request["operation"] in ("work.ack", "work.stop"):
            done[request["operation"], request["path"].split("/")[-2], request["status"]] += 1
    assert done == Counter((operation, item, 200) for operation in ("work.ack", "work.stop") for item in items)


def until(condition: Callable[[], Any], what: str) -> Any:
    """Waits for a condition; returns its value."""
    deadline = time.monotonic() + 120
    while not (outcome := condition()):
        assert time.monotonic() < deadline, f"never came: {what}"
        time.sleep(0.02)
    return outcome


def state_of(emulator: Emulator, environment: str, item: str) -> str:
    """Returns the state of an item at the server."""
    request = urllib.request.Request(f"{emulator.url}/v1/environments/{environment}/work/{item}", headers=API_HEADERS)
    with urllib.request.urlopen(request, timeout=120) as response:
        state: str = json.load(response)["state"]
        return state


def variables(emulator: Emulator, environment: str) -> dict[str, str]:
    """What a program that serves an environment has to know."""
    return {
        "PATH": "/usr/bin:/bin",
        **trusted(),
        "ANTHROPIC_BASE_URL": emulator.url,
        "ANTHROPIC_ENVIRONMENT_ID": environment,
        "ANTHROPIC_ENVIRONMENT_KEY": emulator.environment_key(environment),
    }


@pytest.mark.parametrize("way", WAYS)
def test_the_smallest_worker_serves_what_there_is(way: str, strict_emulator: Emulator) -> None:
    environment = hosts(strict_emulator)
    items = [strict_emulator.enqueue(environment)["id"] for _ in range(3)]
    command = [str(compile_c(EXAMPLES / "worker.c", *([SANITIZERS[way]] if way in SANITIZERS else [])))]
    command = [*(VALGRIND if way == "valgrind" else []), *command, '{"drain":true}']
    served: list[str] = []
    deadline = time.monotonic() + 120
    # An item whose acknowledgement took too long, as it may under valgrind on a busy machine, is left to a later run.
    while len(served) < len(items) and time.monotonic() < deadline:
        lines = run(command, **variables(strict_emulator, environment)).splitlines()
        served += [json.loads(line)["id"] for line in lines]
    assert sorted(served) == sorted(items)
    assert {state_of(strict_emulator, environment, item) for item in items} == {"stopped"}


@pytest.mark.parametrize("example", ["c/worker.c", "cpp/worker.cpp"])
def test_the_workers_of_the_examples_serve_four_items_at_a_time(example: str, strict_emulator: Emulator) -> None:
    environment = hosts(strict_emulator)
    items = {strict_emulator.enqueue(environment)["id"] for _ in range(4)}
    # No item is stopped for now: a thread that serves one waits for that, and the next item goes to another thread.
    strict_emulator.faults({"operation": "work.stop", "latency_ms": 600_000, "count": 4})
    command = [str(compile_c(EXAMPLES.parent / example))]
    with subprocess.Popen(command, env=variables(strict_emulator, environment), stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in items]
        assert {json.loads(line.removeprefix(b"served: "))["id"] for line in lines} == items
        assert {state_of(strict_emulator, environment, item) for item in items} == {"active"}
        process.kill()


class OnWork:
    """examples/c/on_work.c, running; what it says on standard error goes to a file."""

    def __init__(self, process: subprocess.Popen[bytes], said: Path) -> None:
        self.process = process
        self._said = said

    @property
    def said(self) -> str:
        return self._said.read_text()

    def says(self, *texts: str) -> None:
        """Waits until it has said all of this."""
        deadline = time.monotonic() + 120
        while not all(text in self.said for text in texts):
            assert self.process.poll() is None and time.monotonic() < deadline, (texts, self.said)
            time.sleep(0.02)

    def ends_with(self, code: int) -> None:
        assert self.process.wait(timeout=120) == code, self.said


@contextmanager
def on_work(*arguments: str, folder: Path, way: str = "plain", **environ: str) -> Iterator[OnWork]:
    """Runs the program in a folder until the block is left, in one of the ways or as a "subreaper"."""
    program = compile_c(EXAMPLES / "on_work.c", *([SANITIZERS[way]] if way in SANITIZERS else []))
    command = [*(VALGRIND if way == "valgrind" else []), str(program), *arguments]
    said = folder / "said"
    prepare = become_subreaper if way == "subreaper" else None
    with (
        said.open("wb") as errors,
        subprocess.Popen(command, stderr=errors, cwd=folder, env=environ, preexec_fn=prepare) as process,
    ):
        try:
            yield OnWork(process, said)
        finally:
            process.kill()


# Leaves what it was given where a test can look: files appear when they are complete.
RECORD = """
cat >"item.$ANTHROPIC_WORK_ID.new"
env >"env.$ANTHROPIC_WORK_ID"
mv "item.$ANTHROPIC_WORK_ID.new" "item.$ANTHROPIC_WORK_ID"
exit 7
"""


@pytest.mark.parametrize("way", WAYS)
def test_a_command_finds_its_item_and_its_environment(way: str, strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    environ = variables(strict_emulator, environment) | {"ANTHROPIC_SESSION_ID": "not this one", "KEPT": "yes"}
    odd = {"type": "session", "id": 'session "\\\té€😀', "text": "x" * 200_000}
    items = [
        strict_emulator.enqueue(environment, metadata={"secret": "none", "id": "neither"}),
        strict_emulator.enqueue(environment, data=odd),
    ]
    with on_work("-c", "2", "sh", "-c", RECORD, folder=tmp_path, way=way, **environ) as program:
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
        assert "==" not in program.said  # of valgrind or a sanitizer


def test_what_a_command_does_not_read_or_leaves_behind_does_no_harm(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    large = strict_emulator.enqueue(environment, data={"type": "session", "id": "s", "text": "x" * 1_000_000})["id"]
    script = "exec <&-; sleep 600 & echo $! >left; kill -9 $$"
    with on_work("sh", "-c", script, folder=tmp_path, **variables(strict_emulator, environment)) as program:
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
        with on_work("-g", grace, "sh", "-c", script, folder=tmp_path, **environ) as program:
            until((tmp_path / "began").exists, "the command")
            emulator.take_requests()
            emulator.faults({"operation": "work.heartbeat", "status": 503, "count": 1000})
            program.says(f"{item}: is asked to end", '"lost"', end, "not stopped: ", "lease_lost")
            assert ("is killed" in program.said) == (script == STUBBORN)
            assert not [each for each in emulator.take_requests() if each["operation"] == "work.stop"]
            emulator.control("DELETE", "/_emulator/faults")
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
        with on_work("-g", "1", "sh", "-c", STUBBORN, folder=folders[0], **environ) as first:
            until((folders[0] / "began").exists, "the command")
            emulator.control("POST", "/_emulator/clock", {"advance_ms": 31_000})
            with on_work("sh", "-c", POLITE, folder=folders[1], **environ) as second:
                until((folders[1] / "began").exists, "the command of the other")
                first.says('"taken"', f"{item}: is killed", f"{item}: ended by signal 9", "lease_lost")
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
        with on_work("sh", "-c", POLITE, folder=tmp_path, **variables(emulator, environment)) as program:
            until((tmp_path / "began").exists, "the command")
            request = urllib.request.Request(
                f"{emulator.url}/v1/environments/{environment}/work/{item}/stop", b"{}", API_HEADERS, method="POST"
            )
            urllib.request.urlopen(request, timeout=120).close()
            program.says("stop_requested", f"{item}: exited with 3", f"{item}: done")
            program.process.send_signal(signal.SIGTERM)
            program.ends_with(0)


def test_sigterm_drains(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    item = strict_emulator.enqueue(environment)["id"]
    script = "touch began; while ! [ -e go ]; do sleep 0.05; done"
    with on_work("sh", "-c", script, folder=tmp_path, **variables(strict_emulator, environment)) as program:
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
    with on_work("-g", "1", "sh", "-c", STUBBORN, folder=tmp_path, **environ) as program:
        until((tmp_path / "began").exists, "the command")
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)
        for text in ("claims no more", '"shutdown"', "is killed", "ended by signal 9"):
            assert text in program.said
    assert state_of(strict_emulator, environment, item) == "stopped"


def test_it_gives_up_when_there_is_no_use_in_going_on(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    environ = variables(strict_emulator, environment)
    with on_work("true", folder=tmp_path, **environ | {"ANTHROPIC_ENVIRONMENT_KEY": "sk-ant-oat01-wrong"}) as program:
        program.ends_with(1)
        assert "authentication" in program.said
    for missing in ("ANTHROPIC_ENVIRONMENT_ID", "ANTHROPIC_ENVIRONMENT_KEY"):
        with on_work("true", folder=tmp_path, **{**environ, missing: ""}) as program:
            program.ends_with(1)
    with on_work("--metrics", "127.0.0.1:no port", "true", folder=tmp_path, **environ) as program:
        program.ends_with(1)
        assert program.said.startswith("on_work: 127.0.0.1:no port: ")


def test_wrong_usage_claims_nothing(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    environ = variables(strict_emulator, environment)
    item = strict_emulator.enqueue(environment)["id"]
    (tmp_path / "no program").write_text("")
    for command in ("no such command", "./nowhere", "./no program", str(tmp_path)):
        with on_work(command, folder=tmp_path, **environ) as program:
            program.ends_with(2)
            assert program.said == f"on_work: {command}: no such command\n"
    for wrong in (
        [],
        ["-c", "0", "true"],
        ["--concurrency", "x", "true"],
        ["-g", "-1", "true"],
        ["--grace", "nan", "true"],
        ["--grace", "1m", "true"],
        ["-x", "true"],
    ):
        with on_work(*wrong, folder=tmp_path, **environ) as program:
            program.ends_with(2)
            assert "usage: on_work" in program.said
    assert state_of(strict_emulator, environment, item) == "queued"


def test_a_command_that_has_gone_ends_it_after_its_other_items(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    command = tmp_path / "command"
    command.write_text("#!/bin/sh\ntouch began; while ! [ -e go ]; do sleep 0.05; done\n")
    command.chmod(0o755)
    environ = variables(strict_emulator, environment)
    with on_work("--concurrency", "2", str(command), folder=tmp_path, **environ) as program:
        first = strict_emulator.enqueue(environment)["id"]
        until((tmp_path / "began").exists, "the command")
        command.unlink()
        second = strict_emulator.enqueue(environment)["id"]
        program.says(f"on_work: {command}: No such file or directory")
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
    with on_work("sh", "-c", ORPHAN, folder=tmp_path, way="subreaper", **environ) as program:
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
    with on_work("--metrics", "127.0.0.1:0", "true", folder=tmp_path, **environ) as program:
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


def test_many_commands_run_at_once_and_no_more(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    items = {item["id"] for item in strict_emulator.enqueue(environment, count=40)["data"]}
    script = "mkdir r.$$; ls -d r.* | wc -l >>counts; sleep 0.02; rmdir r.$$"
    environ = variables(strict_emulator, environment)
    with on_work("-c", "4", "sh", "-c", script, folder=tmp_path, **environ) as program:
        program.says(*(f"{item}: done" for item in items))
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)
        assert program.said.count(": exited with 0") == 40
    counts = [int(line) for line in (tmp_path / "counts").read_text().split()]
    assert len(counts) == 40 and 1 < max(counts) <= 4


def test_a_command_for_which_there_is_no_room_is_tried_again(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = hosts(strict_emulator)
    with on_work("true", folder=tmp_path, **variables(strict_emulator, environment)) as program:
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
    with on_work("true", folder=tmp_path, **environ) as program:
        program.says(f"{item}: not begun yet: Resource temporarily unavailable")
        if not never:
            program.says(f"{item}: begun", f"{item}: exited with 0", f"{item}: done")
        program.process.send_signal(signal.SIGTERM)
        program.ends_with(0)
        assert (f"{item}: is not begun any more" in program.said) == never
    # Left to the queue, or served.
    assert state_of(strict_emulator, environment, item) == ("active" if never else "stopped")


def polls_waiting(emulator: Emulator) -> int:
    return int(emulator.control("GET", "/_emulator/connections")["polls_waiting"])
