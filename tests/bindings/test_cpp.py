"""The C++ header: with and without exceptions, compiled in every way, as it is, under valgrind, and with sanitizers."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import pytest

from behaviour.test_streams import flood
from bindings.test_c import check_turn, scripted_session
from support.build import LIBRARY, ROOT, WARNINGS
from support.emulator import Emulator
from support.events import Http1Events, Peer, event, holding, streaming
from support.waiting import until
from support.ways import NATIVE, command_of, run

SOURCES = ROOT / "tests" / "cpp"
EXAMPLES = ROOT / "examples" / "cpp"
INCLUDE = ROOT / "include"
LINK = ("-Wl,-rpath," + str(LIBRARY), f"-L{LIBRARY}", "-lantenv", "-pthread")


@pytest.mark.parametrize("way", NATIVE)
def test_the_classes_that_throw(way: str, emulator: Emulator) -> None:
    assert run(command_of(way, SOURCES / "throwing.cpp", emulator.url)) == "throwing: as it should be\n"


@pytest.mark.parametrize("way", NATIVE)
def test_serving_work(way: str, strict_emulator: Emulator) -> None:
    assert run(command_of(way, SOURCES / "serving.cpp", strict_emulator.url)) == "serving: as it should be\n"


@pytest.mark.parametrize("flags", [(), ("-fno-exceptions",)], ids=["with exceptions", "without"])
@pytest.mark.parametrize("way", NATIVE)
def test_serving_sessions(way: str, flags: tuple[str, ...], strict_emulator: Emulator) -> None:
    environment = strict_emulator.create_environment("sessions", config={"type": "self_hosted"})
    echo, results = {"custom_tool": "echo", "input": {}}, {"wait": "results"}
    slow = [{"start_thread": "t"}, {"tool": "slow", "input": {}, "thread": "t"}, {"wait": "stream"}, {"pause_ms": 200}]
    run_by_tools: list[dict[str, Any]] = [
        step for tool in ("echo", "quote", "fail", "blocks", "odd") for step in ({**echo, "custom_tool": tool}, results)
    ]
    for tool in ("empty", "leave"):  # are let go, and answered by another client
        run_by_tools += [{**echo, "custom_tool": tool}, {"wait": "stream"}, {"pause_ms": 50}]
        run_by_tools += [{"answer": tool, "content": [{"type": "text", "text": tool}]}]
    slow += [{"end_thread": "t"}, echo, results]
    for steps in ([echo, results, echo, results], run_by_tools, slow, run_by_tools):
        strict_emulator.control("POST", "/_emulator/scripts", {"environment_id": environment, "steps": steps})
        strict_emulator.enqueue(environment)
    key = strict_emulator.environment_key(environment)
    command = command_of(way, SOURCES / "sessions.cpp", strict_emulator.url, environment, key, flags=flags)
    assert run(command) == "sessions: as it should be\n"
    sent = [
        [
            (attempt["is_error"], *(block["text"] for block in attempt["content"]))
            for call in report["calls"]
            for attempt in call["attempts"]
        ]
        for report in strict_emulator.control("GET", "/_emulator/scripts")["data"]
    ]
    of_tools = [
        (False, "{}"),
        (False, '"\\\n\x01ü'),
        (True, "it failed"),
        (True, "a", '{"novel":1}'),
        (True, "`content` must be a string or an array of blocks"),
        (False, "empty"),
        (False, "leave"),
    ]
    posted = [[(False, "one"), (False, "two")], of_tools, [(False, "three")], of_tools]
    assert sent[: 2 if flags else 4] == posted[: 2 if flags else 4]


@pytest.mark.parametrize(
    ("way", "flags"),
    [("plain", ()), *((way, ("-fno-exceptions", "-fno-rtti")) for way in ("plain", "valgrind", "asan"))],
    ids=["with exceptions", "without", "without, valgrind", "without, asan"],
)
def test_the_classes_that_return_results(way: str, flags: tuple[str, ...], emulator: Emulator) -> None:
    flags = (*flags, "-DEXPECT_NO_EXCEPTIONS") if flags else flags
    assert run(command_of(way, SOURCES / "returning.cpp", emulator.url, flags=flags)) == "returning: as it should be\n"


@pytest.mark.parametrize(
    ("way", "flags"),
    [
        *((way, ()) for way in NATIVE),
        *((way, ("-fno-exceptions",)) for way in ("plain", "asan")),
    ],
    ids=[*NATIVE, "without exceptions", "without exceptions, asan"],
)
def test_streams_and_downloads(way: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    scripts = {
        "three": streaming(event(1), event(2), event(3)),
        "held": holding(event(1)),
        "flood": flood,
        "cut": cut,
        "archive": lambda peer: peer.answer(200, b"archive"),
    }
    with Http1Events(scripts) as server:
        command = command_of(way, SOURCES / "streaming.cpp", server.url, str(tmp_path), flags=flags)
        assert run(command) == "streaming: as it should be\n"
        until(lambda: server.streams.ended == server.streams.opened, "some streams stay open")


def cut(peer: Peer) -> None:
    """Sends one event and half of another, and breaks the connection."""
    peer.begin()
    peer.send(event(1) + event(2)[:20])
    peer.break_off()


@pytest.mark.parametrize("way", ["plain", "asan"])
def test_when_memory_runs_out_nothing_leaks(way: str, emulator: Emulator) -> None:
    assert run(command_of(way, SOURCES / "memory.cpp", emulator.url)) == "memory: as it should be\n"


def test_values_of_a_json_library_are_taken(emulator: Emulator) -> None:
    assert run(command_of("plain", SOURCES / "json.cpp", emulator.url)) == "json: as it should be\n"


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
@pytest.mark.parametrize("standard", ["c++17", "c++20", "c++2b"])
@pytest.mark.parametrize("flags", [(), ("-fno-exceptions", "-fno-rtti")], ids=["with exceptions", "without"])
def test_every_compiler_takes_it(compiler: str, standard: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    command = [compiler, f"-std={standard}", *WARNINGS, "-Wshadow", "-Wconversion", *flags]
    # The header alone, with nothing before it that it may lean on. Precompiled: each program would take twice as long.
    if compiler == "g++":
        shutil.copy(INCLUDE / "antenv.hpp", tmp_path)  # next to it the compiler looks for what is precompiled
        precompiled = tmp_path / "antenv.hpp.gch"
        using = [f"-I{tmp_path}", "-Winvalid-pch", "-include", "antenv.hpp", f"-I{INCLUDE}"]
    else:
        precompiled = tmp_path / "antenv.hpp.pch"
        using = ["-include-pch", str(precompiled), f"-I{INCLUDE}"]
    header = ["-x", "c++-header", str(INCLUDE / "antenv.hpp"), "-o", str(precompiled)]
    subprocess.run([*command, f"-I{INCLUDE}", *header], check=True)
    throwing = [] if flags else [SOURCES / "throwing.cpp", SOURCES / "serving.cpp", *EXAMPLES.glob("*.cpp")]
    for source in (*(SOURCES / f"{name}.cpp" for name in ("returning", "streaming", "sessions", "driver")), *throwing):
        subprocess.run([*command, *using, "-fsyntax-only", str(source)], check=True)


@pytest.mark.parametrize("flags", [(), ("-fno-exceptions",)], ids=["alike", "one without exceptions"])
def test_two_units_may_include_it(flags: tuple[str, ...], emulator: Emulator, tmp_path: Path) -> None:
    command = ["g++", "-std=c++17", "-O1", "-flto", *WARNINGS, "-Wodr"]  # with -flto it compares definitions
    units = [tmp_path / "throwing.o", tmp_path / "other_unit.o"]
    for unit, more in zip(units, ((), flags), strict=True):
        source = SOURCES / f"{unit.stem}.cpp"
        subprocess.run([*command, *more, f"-I{INCLUDE}", "-c", str(source), "-o", str(unit)], check=True)
    program = tmp_path / "two"
    subprocess.run([*command, "-flto=1", *map(str, units), "-o", str(program), *LINK], check=True)
    assert run([str(program), emulator.url]) == "throwing: as it should be\n"


def test_it_has_all_that_the_c_header_has() -> None:
    declared = set(re.findall(r"^[\w ]+ \*?(antenv_\w+)\(", (INCLUDE / "antenv.h").read_text(), re.MULTILINE))
    headers = [INCLUDE / "antenv.hpp", *(INCLUDE / "antenv").iterdir()]
    used = set(re.findall(r"\bantenv_\w+", "".join(header.read_text() for header in headers)))
    assert len(declared) > 30
    assert declared - used == {"antenv_abi_version"}  # the shared library's name says it


@pytest.mark.parametrize("way", ["plain", "valgrind", "asan"])
def test_the_examples_run(way: str, emulator: Emulator) -> None:
    variables = {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "an-api-key"}
    lines = run(command_of(way, EXAMPLES / "quickstart.cpp"), **variables).splitlines()
    assert [line.split(":")[0] for line in lines] == ["created", "listed", "environments.retrieve"]
    assert lines[0].removeprefix("created: ") == lines[1].removeprefix("listed: ")
    what = 'environments.retrieve: 404 not_found: There is no environment "env_missing". (req_'
    assert lines[2].startswith(what) and lines[2].endswith(")")
    looped = run(command_of(way, EXAMPLES / "event_loop.cpp", "50"), **variables)
    assert looped == "polls: 50, of which failed: 0\n"


@pytest.mark.parametrize("way", ["plain", "valgrind", "asan"])
def test_the_example_of_a_stream_prints_a_turn(way: str, emulator: Emulator) -> None:
    variables = {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "an-api-key"}
    command = command_of(way, EXAMPLES / "stream.cpp", scripted_session(emulator))
    check_turn(run(command, **variables))


@pytest.mark.parametrize("way", ["plain", "valgrind", "asan"])
def test_the_example_of_a_session_serves_until_the_queue_is_empty(way: str, strict_emulator: Emulator) -> None:
    environment = strict_emulator.create_environment("hosts", config={"type": "self_hosted"})
    steps: list[dict[str, Any]] = []
    for tool, given in (("time", {}), ("add", {"a": 2, "b": 3}), ("add", {"a": 2})):
        steps += [{"custom_tool": tool, "input": given}, {"wait": "results"}]
    for _ in range(2):
        strict_emulator.control("POST", "/_emulator/scripts", {"environment_id": environment, "steps": steps})
        strict_emulator.enqueue(environment)
    variables = {"ANTHROPIC_BASE_URL": strict_emulator.url, "ANTHROPIC_ENVIRONMENT_ID": environment}
    variables["ANTHROPIC_ENVIRONMENT_KEY"] = strict_emulator.environment_key(environment)
    command = command_of(way, EXAMPLES / "session.cpp", '{"drain":true}', '{"max_idle_ms":300}')
    assert run(command, **variables) == 'session: {"reason":"idle"}\n' * 2
    for report in strict_emulator.control("GET", "/_emulator/scripts")["data"]:
        time, total, invalid = [call["attempts"][0] for call in report["calls"]]
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", time["content"][0]["text"])
        assert total["content"][0]["text"] == "5" and not total["is_error"]
        assert invalid["content"][0]["text"] == "b is missing" and invalid["is_error"]


@pytest.mark.parametrize("way", NATIVE)
def test_the_worker_of_the_examples_serves_until_it_is_to_end(way: str, strict_emulator: Emulator) -> None:
    environment = strict_emulator.create_environment("hosts", config={"type": "self_hosted"})
    variables = {"PATH": "/usr/bin:/bin", "ANTHROPIC_BASE_URL": strict_emulator.url}
    variables["ANTHROPIC_ENVIRONMENT_ID"] = environment
    items = {strict_emulator.enqueue(environment)["id"] for _ in range(6)}
    command = command_of(way, EXAMPLES / "worker.cpp")
    served: set[str] = set()
    key = strict_emulator.environment_key(environment)
    with subprocess.Popen(
        command, env=variables | {"ANTHROPIC_ENVIRONMENT_KEY": key}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while served != items:
            what, _, item = process.stdout.readline().partition(": ")
            assert what == "served"
            served.add(json.loads(item)["id"])
        process.send_signal(signal.SIGTERM)
        what, _, stats = process.stdout.read().partition(": ")
        assert what == "stats" and json.loads(stats)["finished"] == 6
    assert process.returncode == 0
    done = subprocess.run(
        command, env=variables | {"ANTHROPIC_ENVIRONMENT_KEY": "sk-ant-oat01-wrong"}, capture_output=True, check=False
    )
    assert done.returncode == 1 and done.stderr.count(b"\n") == 1


def test_the_page_shows_what_compiles(tmp_path: Path) -> None:
    quickstart, *parts = re.findall(
        r"^```cpp\n(.*?)^```", (ROOT / "docs" / "cpp.md").read_text(), re.MULTILINE | re.DOTALL
    )
    assert quickstart == (EXAMPLES / "quickstart.cpp").read_text()
    assert len(parts) == 9
    page = tmp_path / "page.cpp"
    prelude = "".join(f"#include <{name}>\n" for name in ("antenv.hpp", "iostream", "thread", "nlohmann/json.hpp"))
    prelude += "void report(const antenv::error &);\n"
    bodies = (
        f"void part{number}(antenv::client &client) {{ (void)client;\n{part}}}\n" for number, part in enumerate(parts)
    )
    page.write_text(prelude + "".join(bodies))
    subprocess.run(["g++", "-std=c++17", *WARNINGS, "-fsyntax-only", f"-I{INCLUDE}", str(page)], check=True)
