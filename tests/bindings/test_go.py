"""The Go module: its own tests in every mode of the Go tool, its formatting, and the examples."""

from __future__ import annotations

import json
import os
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest

from support.build import BINARY, GO, GO_MODULE, ROOT, build_go
from support.emulator import Emulator

MODULE = ROOT / "bindings" / "go"
QUICKSTART = ROOT / "examples" / "go" / "quickstart"
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
    assert f"ok  \t{GO_MODULE}\t" in said and "--- SKIP" not in said
    assert said.count("--- PASS: Example") == 7 and said.count("--- PASS: Test") >= 40


@pytest.mark.long
def test_the_modules_tests_pass_over_https(tmp_path: Path) -> None:
    # A script in place of the emulator has it serve HTTPS, and write its root certificate where every client finds it.
    emulator, trust = tmp_path / "emulator", tmp_path / "ca.pem"
    emulator.write_text(f'#!/bin/sh\nexec "{BINARY}" --tls --tls-ca "{trust}" "$@"\n')
    emulator.chmod(0o755)
    said = go("test", "-count=1", "-v", ".", ANTENV_EMULATOR=str(emulator), SSL_CERT_FILE=str(trust))
    assert f"ok  \t{GO_MODULE}\t" in said and "--- SKIP" not in said
    assert said.count("--- PASS: Example") == 7 and said.count("--- PASS: Test") >= 40


def test_the_conformance_driver_is_the_modules_own() -> None:
    assert build_go(MODULE / "internal" / "driver").exists()


def test_it_is_formatted_and_vetted() -> None:
    folders = [str(MODULE), str(QUICKSTART), str(STREAM), str(SESSION), str(BENCH)]
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
