"""The Go module: its own tests in every mode of the Go tool, its formatting, and the examples."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from support.build import BINARY, GO, ROOT, build_go
from support.driver import one_descriptor_left
from support.emulator import API_HEADERS, Emulator
from support.processes import ORPHAN, become_subreaper, parent_of

MODULE = ROOT / "bindings" / "go"
QUICKSTART = ROOT / "examples" / "go" / "quickstart"
ONWORK = ROOT / "examples" / "go" / "onwork"
STREAM = ROOT / "examples" / "go" / "stream"
SESSION = ROOT / "examples" / "go" / "session"
BENCH = ROOT / "benches" / "go"


def go(*arguments: str, **variables: str) -> str:
    """Runs a go command in the module; it must succeed."""
    environment = os.environ | GO | variables
    done = subprocess.run(["go", *arguments], cwd=MODULE, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
@pytest.mark.parametrize(
    ("flags", "variables"),
    [
        ([], {}),
        (["-race"], {}),
        ([], {"GOEXPERIMENT": "cgocheck2"}),
        (["-tags", "antenv_static"], {"LD_LIBRARY_PATH": ""}),
        ([], {"GOTOOLCHAIN": "go1.23.12"}),
    ],
    ids=["plain", "race", "cgocheck2", "static", "the oldest Go"],
)
def test_the_modules_tests_pass(flags: list[str], variables: dict[str, str]) -> None:
    said = go("test", "-count=1", "-v", *flags, "./...", **variables)
    assert "ok  \tantenv\t" in said and "--- SKIP" not in said
    assert said.count("--- PASS: Example") == 7 and said.count("--- PASS: Test") >= 40


@pytest.mark.long
def test_the_modules_tests_pass_over_https(tmp_path: Path) -> None:
    # A script in place of the emulator has it serve HTTPS, and write its root certificate where every client finds it.
    emulator, trust = tmp_path / "emulator", tmp_path / "ca.pem"
    emulator.write_text(f'#!/bin/sh\nexec "{BINARY}" --tls --tls-ca "{trust}" "$@"\n')
    emulator.chmod(0o755)
    said = go("test", "-count=1", "-v", ".", ANTENV_EMULATOR=str(emulator), SSL_CERT_FILE=str(trust))
    assert "ok  \tantenv\t" in said and "--- SKIP" not in said
    assert said.count("--- PASS: Example") == 7 and said.count("--- PASS: Test") >= 40


def test_the_conformance_driver_is_the_modules_own() -> None:
    assert build_go(MODULE / "internal" / "driver").exists()


def test_it_is_formatted_and_vetted() -> None:
    folders = [str(MODULE), str(QUICKSTART), str(ONWORK), str(STREAM), str(SESSION), str(BENCH)]
    assert subprocess.run(["gofmt", "-l", *folders], check=True, capture_output=True, text=True).stdout == ""
    go("vet", "./...")


def test_everything_public_is_documented() -> None:
    said = go("doc", "-all", ".")
    lines = said.splitlines()
    for number, line in enumerate(lines):
        if line.startswith(("func ", "type ")) and not line.startswith("type call"):
            until = next(
                at for at in range(number + 1, len(lines) + 1) if at == len(lines) or lines[at].startswith("    ")
            )
            assert until < len(lines), line


def test_a_library_of_another_abi_is_refused(tmp_path: Path) -> None:
    header = re.sub(r"/\*.*?\*/", "", (ROOT / "include" / "antenv.h").read_text(), flags=re.DOTALL)
    functions = re.findall(r"^(?:\w[\w ]*[ *]+)antenv_\w+\([^)]*\)(?=;)", header, re.MULTILINE)
    bodies = [
        f"{one} {{ {'' if one.startswith('void ') else 'return 2;'} }}" for one in functions if "char *ant" not in one
    ]
    names = ["const char *antenv_version(void)", "const char *antenv_status_name(int32_t status)"]
    source = tmp_path / "other.c"
    source.write_text("\n".join(["#include <antenv.h>", *bodies, *(f'{name} {{ return "2.0.0"; }}' for name in names)]))
    library = tmp_path / "libantenv.so.0"
    flags = ["-w", "-shared", "-fPIC", "-Wl,-soname,libantenv.so.0", f"-I{ROOT / 'include'}"]
    subprocess.run(["cc", *flags, str(source), "-o", str(library)], check=True)
    environment = os.environ | GO | {"LD_LIBRARY_PATH": str(tmp_path)}
    done = subprocess.run([build_go(QUICKSTART)], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 1
    assert "the library 2.0.0 has ABI version 2; this package is built for 1" in done.stderr


def test_the_quick_start_runs(emulator: Emulator) -> None:
    variables = {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "any"}
    program = build_go(QUICKSTART)
    done = subprocess.run([program], check=True, capture_output=True, text=True, env=os.environ | GO | variables)
    created, listed, missing = done.stdout.splitlines()
    assert created.startswith("created: env_") and created.endswith(" quick start self_hosted")
    assert listed.split()[1:] == created.split()[1:-1]
    assert missing == 'not found: environment_not_found There is no environment "env_missing".'


def test_the_stream_example_talks_to_a_session(emulator: Emulator) -> None:
    environment = emulator.create_environment("hosts", config={"type": "self_hosted"})
    session = emulator.enqueue(environment)["data"]["id"]
    steps = [{"custom_tool": "get_time", "input": {}}, {"wait": "results"}, {"text": "It is late."}]
    emulator.control("POST", "/_emulator/scripts", {"session_id": session, "start": "message", "steps": steps})
    variables = {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "any"}
    command = [build_go(STREAM), session, "What time is it?"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | GO | variables)
    assert re.findall(r"^\[type=(\S+)", done.stdout, re.MULTILINE) == [
        "user.message",
        "session.status_running",
        "agent.custom_tool_use",
        "session.status_idle",
        "user.custom_tool_result",
        "session.status_running",
        "agent.message",
        "session.status_idle",
    ]
    assert "text=It is late." in done.stdout and "stop_reason=[type=end_turn]" in done.stdout
    gone = subprocess.run(
        [build_go(STREAM), "sesn_missing", "?"],
        capture_output=True,
        text=True,
        env=os.environ | GO | variables,
        check=False,
    )
    assert gone.returncode == 1 and "antenv: sessions.events.stream: 404 not_found: " in gone.stderr


@pytest.mark.transports
def test_the_session_example_serves_until_the_queue_is_empty(strict_emulator: Emulator) -> None:
    environment = strict_emulator.create_environment("hosts", config={"type": "self_hosted"})
    bern = {"city": "Bern"}
    inputs = [bern, {**bern, "unit": "fahrenheit"}, {"city": ""}, {**bern, "unit": "kelvin"}]
    steps: list[dict[str, Any]] = []
    for given in inputs:
        steps += [{"custom_tool": "weather", "input": given}, {"wait": "results"}]
    steps += [{"custom_tool": "now", "input": {}}, {"wait": "results"}]
    for _ in range(6):
        strict_emulator.control("POST", "/_emulator/scripts", {"environment_id": environment, "steps": steps})
        strict_emulator.enqueue(environment)
    variables = {
        "ANTHROPIC_BASE_URL": strict_emulator.url,
        "ANTHROPIC_ENVIRONMENT_ID": environment,
        "ANTHROPIC_ENVIRONMENT_KEY": strict_emulator.environment_key(environment),
    }
    program = build_go(SESSION)
    command = [str(program), "-drain", "-max-idle", "300ms"]
    subprocess.run(command, check=True, env=os.environ | GO | variables, timeout=120)
    for report in strict_emulator.control("GET", "/_emulator/scripts")["data"]:
        assert [call["answered"] for call in report["calls"]] == ["once"] * 5
        *weather, now = [call["attempts"][0] for call in report["calls"]]
        assert [(sent["is_error"], sent["content"][0]["text"]) for sent in weather] == [
            (False, "Bern: 12 degrees"),
            (False, "Bern: 54 degrees"),
            (True, "which city?"),
            (True, '`input.unit` must be one of "celsius", "fahrenheit"'),
        ]
        assert re.match(r'"\d{4}-\d\d-\d\dT', now["content"][0]["text"])
    said = subprocess.run([program, "-definitions"], check=True, capture_output=True, text=True, env=os.environ | GO)
    assert json.loads(said.stdout)[0] == {
        "type": "custom",
        "name": "weather",
        "description": "Returns the weather in a city.",
        "input_schema": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The name of the city."},
                "unit": {
                    "type": "string",
                    "description": "The unit of the temperature.",
                    "enum": ["celsius", "fahrenheit"],
                },
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    }


class OnWork:
    """onwork with a shell script as its command, whose variable `there` names a folder.

    It is ended when the `with` block is left.
    """

    def __init__(
        self,
        emulator: Emulator,
        there: Path,
        script: str,
        *options: str,
        command: tuple[str, ...] = (),
        preparation: Callable[[], None] | None = None,
    ) -> None:
        self._emulator, self._there = emulator, there
        self.environment = emulator.create_environment("hosts", config={"type": "self_hosted"})
        self.variables = {
            "ANTHROPIC_BASE_URL": emulator.url,
            "ANTHROPIC_ENVIRONMENT_ID": self.environment,
            "ANTHROPIC_ENVIRONMENT_KEY": emulator.environment_key(self.environment),
        }
        clean = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
        self.process = subprocess.Popen(
            [build_go(ONWORK), *options, *(command or ("sh", "-c", script))],
            env=clean | GO | self.variables | {"there": str(there), "ANTHROPIC_WORK_SECRET": "another's"},
            stderr=(there / "log").open("w"),
            cwd=there,
            preexec_fn=preparation,
        )

    def __enter__(self) -> OnWork:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()

    def enqueue(self, **item: Any) -> str:
        """Queues an item; returns its identifier."""
        identifier: str = self._emulator.enqueue(self.environment, **item)["id"]
        return identifier

    def api(self, method: str, path: str) -> Any:
        """Calls the API as the environment's owner."""
        request = urllib.request.Request(
            f"{self._emulator.url}/v1/environments/{self.environment}{path}", method=method
        )
        for header, value in API_HEADERS.items():
            request.add_header(header, value)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, b"{}" if method == "POST" else None, timeout=120) as response:
            return json.load(response)

    def state(self, item: str) -> str:
        """Returns an item's state."""
        state: str = self.api("GET", f"/work/{item}")["state"]
        return state

    def log(self) -> str:
        """Returns what it has logged so far."""
        return (self._there / "log").read_text()

    def file(self, name: str) -> str:
        """Returns a file that the command writes, once it exists."""
        until(lambda: (self._there / name).exists())
        return (self._there / name).read_text()

    def end(self) -> int:
        """Ends it; returns its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=120)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, "the condition did not become true"
        time.sleep(0.005)


def alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


# Ignores SIGTERM, and so does its own child.
STUBBORN = """
trap 'echo > "$there/asked"' TERM
echo $$ > "$there/parent"
sh -c 'trap "" TERM; echo $$ > "$there/new"; mv "$there/new" "$there/child"; for i in $(seq 2000); do sleep 0.1; done' &
for i in $(seq 2000); do sleep 0.1; done
"""


@pytest.fixture
def short_leases() -> Iterator[Emulator]:
    with Emulator("--lease-ttl", "5") as running:
        yield running


def test_onwork_runs_a_command_for_each_item(strict_emulator: Emulator, tmp_path: Path) -> None:
    script = """
        cat > "$there/$ANTHROPIC_WORK_ID.in"
        env > "$there/$ANTHROPIC_WORK_ID.env"
        test -e "$there/first" && exit 3
        echo > "$there/first"
    """
    with OnWork(strict_emulator, tmp_path, script, "--metrics", "127.0.0.1:0") as onwork:
        items = [onwork.enqueue() for _ in range(2)]
        until(lambda: all(onwork.state(item) == "stopped" for item in items))
        for item in items:
            given = json.loads((tmp_path / f"{item}.in").read_text())
            assert given["id"] == item
            lines = (tmp_path / f"{item}.env").read_text().splitlines()
            variables = dict(line.split("=", 1) for line in lines if line.startswith("ANTHROPIC_"))
            assert variables == onwork.variables | {
                "ANTHROPIC_WORK_ID": item,
                "ANTHROPIC_SESSION_ID": given["data"]["id"],
                "ANTHROPIC_WORK_SECRET": given["secret"],
            }
            assert f"PATH={os.environ['PATH']}" in lines and given["secret"] not in onwork.log()
        found = re.search(r"metrics at (\S+)", onwork.log())
        assert found
        until(
            lambda: "antenv_worker_finished_total 2"
            in re.sub("{.*}", "", urllib.request.urlopen(found[1]).read().decode())
        )
        with pytest.raises(urllib.error.HTTPError) as failed:
            urllib.request.urlopen(found[1].replace("/metrics", "/other"), timeout=120)
        assert failed.value.code == 404
        failed.value.close()
        assert onwork.end() == 0
        assert onwork.log().count("exit status 3") == 1


def test_onwork_ends_a_command_whose_item_is_to_be_stopped(short_leases: Emulator, tmp_path: Path) -> None:
    with OnWork(short_leases, tmp_path, STUBBORN, "--grace", "0.3") as onwork:
        item = onwork.enqueue()
        processes = [int(onwork.file(name)) for name in ("child", "parent")]
        onwork.api("POST", f"/work/{item}/stop")
        onwork.file("asked")
        until(lambda: not any(map(alive, processes)))
        until(lambda: onwork.state(item) == "stopped")
        until(lambda: f"{item} is to be stopped (asked): signal: killed" in onwork.log())
        assert onwork.process.poll() is None  # and goes on
        assert onwork.end() == 0


def test_onwork_ends_a_command_whose_lease_is_lost(short_leases: Emulator, tmp_path: Path) -> None:
    script = """
        test -e "$there/begun" && exit
        trap exit TERM
        echo > "$there/begun"
        for i in $(seq 4000); do sleep 0.05; done
    """
    with OnWork(short_leases, tmp_path, script) as onwork:
        item = onwork.enqueue()
        onwork.file("begun")
        short_leases.control("POST", "/_emulator/clock", {"advance_ms": 60_000})
        until(lambda: f"{item}: ended" in onwork.log())  # it is in the queue again, and the second time goes well
        until(lambda: f"{item} is lost (taken)" in onwork.log())
        assert onwork.end() == 0 and onwork.state(item) == "stopped"


def test_onwork_lets_commands_end(strict_emulator: Emulator, tmp_path: Path) -> None:
    script = """
        until test -e "$there/go"; do sleep 0.02; done
        echo > "$there/done-$ANTHROPIC_WORK_ID"
    """
    with OnWork(strict_emulator, tmp_path, script, "--concurrency", "2") as onwork:
        items = [onwork.enqueue() for _ in range(2)]
        until(lambda: onwork.log().count(": begun") == 2)
        onwork.process.send_signal(signal.SIGTERM)
        until(lambda: "claims no more" in onwork.log())
        left = onwork.enqueue()
        (tmp_path / "go").touch()
        assert onwork.process.wait(timeout=120) == 0
        for item in items:
            assert (tmp_path / f"done-{item}").exists() and onwork.state(item) == "stopped"
        assert onwork.state(left) == "queued" and onwork.log().count(": ended") == 2


def test_onwork_ends_commands_when_the_grace_period_is_over(strict_emulator: Emulator, tmp_path: Path) -> None:
    with OnWork(strict_emulator, tmp_path, STUBBORN, "--grace", "0.3") as onwork:
        item = onwork.enqueue()
        processes = [int(onwork.file(name)) for name in ("child", "parent")]
        assert onwork.end() == 0
        onwork.file("asked")
        assert not any(map(alive, processes)) and onwork.state(item) == "stopped"
        assert f"{item} is to be stopped (shutdown): signal: killed" in onwork.log()


def test_onwork_ends_commands_at_the_second_signal(strict_emulator: Emulator, tmp_path: Path) -> None:
    script = "trap 'exit 3' TERM; touch begun; while :; do sleep 0.1; done"
    with OnWork(strict_emulator, tmp_path, script, "--grace", "600s") as onwork:
        item = onwork.enqueue()
        onwork.file("begun")
        onwork.process.send_signal(signal.SIGINT)
        until(lambda: "claims no more" in onwork.log())
        assert onwork.end() == 0 and onwork.state(item) == "stopped"
        assert "exit status 3" in onwork.log()


def test_onwork_kills_what_is_left_of_a_command(strict_emulator: Emulator, tmp_path: Path) -> None:
    # Nor does it matter that what is left has the input, which it does not read.
    script = "sleep 600 <&0 & echo $! >left.new; mv left.new left"
    with OnWork(strict_emulator, tmp_path, script) as onwork:
        item = onwork.enqueue(data={"type": "session", "id": "s", "text": "x" * 1_000_000})
        until(lambda: onwork.state(item) == "stopped")
        left = int(onwork.file("left"))
        until(lambda: not alive(left))
        assert onwork.end() == 0


def test_onwork_reaps_orphans(strict_emulator: Emulator, tmp_path: Path) -> None:
    with OnWork(strict_emulator, tmp_path, ORPHAN, preparation=become_subreaper) as onwork:
        item = onwork.enqueue()
        until(lambda: onwork.state(item) == "stopped")
        orphan = int(onwork.file("orphan"))
        assert parent_of(orphan) == onwork.process.pid
        (tmp_path / "go").touch()
        until(lambda: parent_of(orphan) is None)
        assert onwork.end() == 0


def test_onwork_ends_after_its_other_items_when_its_command_has_gone(strict_emulator: Emulator, tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_text("#!/bin/sh\ntouch begun; while ! [ -e go ]; do sleep 0.01; done; touch ended\n")
    command.chmod(0o755)
    with OnWork(strict_emulator, tmp_path, "", "--concurrency", "2", command=(str(command),)) as onwork:
        first = onwork.enqueue()
        onwork.file("begun")
        command.unlink()
        second = onwork.enqueue()
        until(lambda: "claims no more" in onwork.log())
        third = onwork.enqueue()
        (tmp_path / "go").touch()
        assert onwork.process.wait(timeout=120) == 1
        assert f"{command}: no such file or directory" in onwork.log() and (tmp_path / "ended").exists()
        assert [onwork.state(item) for item in (first, second, third)] == ["stopped", "active", "queued"]


@pytest.mark.parametrize("in_time", [True, False])
def test_onwork_tries_again_when_there_is_no_room_for_a_command(
    in_time: bool, strict_emulator: Emulator, tmp_path: Path
) -> None:
    with OnWork(strict_emulator, tmp_path, 'touch "$there/$ANTHROPIC_WORK_ID"') as onwork:
        # Serving one makes the connections that the next one needs.
        first = onwork.enqueue()
        until(lambda: onwork.state(first) == "stopped")
        until(lambda: strict_emulator.control("GET", "/_emulator/connections")["polls_waiting"] > 0)
        with one_descriptor_left(onwork.process.pid):
            item = onwork.enqueue()
            until(lambda: f"{item}: not begun yet: " in onwork.log())
            if not in_time:
                assert onwork.end() == 0
        if in_time:
            until(lambda: onwork.state(item) == "stopped")
            assert onwork.end() == 0
        assert onwork.state(item) == ("stopped" if in_time else "active")
        assert (tmp_path / item).exists() == in_time


def test_onwork_ends_when_its_command_is_no_program(strict_emulator: Emulator, tmp_path: Path) -> None:
    command = tmp_path / "command"
    command.write_text("no program\n")
    command.chmod(0o755)
    with OnWork(strict_emulator, tmp_path, "", command=(str(command),)) as onwork:
        item = onwork.enqueue()
        assert onwork.process.wait(timeout=120) == 1
        assert "exec format error" in onwork.log() and onwork.state(item) == "active"


def test_onwork_says_what_is_wrong(strict_emulator: Emulator, tmp_path: Path) -> None:
    program = build_go(ONWORK)
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")} | GO
    for arguments, variables, code, said in [
        ([], {}, 2, "usage: onwork"),
        (["--grace", "1m", "true"], {}, 2, "usage: onwork"),
        (["--grace", "nan", "true"], {}, 2, "usage: onwork"),
        (["--concurrency", "0", "true"], {}, 2, "usage: onwork"),
        (["no such command"], {}, 2, "onwork: no such command: no such command\n"),
        (["/nowhere/command"], {}, 2, "onwork: /nowhere/command: no such command\n"),
        (["--metrics", "127.0.0.1:no port", "true"], {}, 1, "127.0.0.1:no port: "),
        (["true"], {}, 1, "environment_key"),
        (["true"], {"ANTHROPIC_ENVIRONMENT_KEY": "k"}, 1, "ANTHROPIC_ENVIRONMENT_ID"),
        (
            ["true"],
            {"ANTHROPIC_ENVIRONMENT_KEY": "sk-ant-oat01-no", "ANTHROPIC_ENVIRONMENT_ID": "env_1"},
            1,
            "antenv: ",
        ),
    ]:
        environment["ANTHROPIC_BASE_URL"] = strict_emulator.url
        done = subprocess.run(
            [program, *arguments], env=environment | variables, capture_output=True, text=True, check=False
        )
        assert done.returncode == code and said in done.stderr, done.stderr
