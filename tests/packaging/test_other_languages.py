"""The programs of docs/other-languages.md run as they are there, and free all that they get from the library."""

from __future__ import annotations

import os
import re
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from support.build import LIBRARY, ROOT, TARGET, once_in_a_run
from support.emulator import Emulator
from support.java import find_java
from support.npm import install
from support.pages import blocks
from support.waiting import until

pytestmark = [pytest.mark.deep, pytest.mark.transports]

PAGE = "docs/other-languages.md"
# Only a failing test waits for that long, in seconds.
PATIENCE = 240


def javascript(code: str, folder: Path) -> list[str | Path]:
    packages = install(ROOT / "tests" / "packaging" / "koffi", TARGET / "koffi")
    (folder / "node_modules").symlink_to(packages)
    return ["node", written(code, folder / "program.mjs")]


def java(code: str, folder: Path) -> list[str | Path]:
    command = find_java()
    assert command is not None
    return [command, "--enable-native-access=ALL-UNNAMED", written(code, folder / "Program.java")]


def csharp(code: str, folder: Path) -> list[str | Path]:
    program = folder / "program.exe"
    source = written(code, folder / "program.cs")
    subprocess.run(["mcs", "-warn:4", "-warnaserror", f"-out:{program}", source], check=True)
    return ["mono", program]


def ruby(code: str, folder: Path) -> list[str | Path]:
    return ["ruby", "-W", written(code, folder / "program.rb")]


def perl(code: str, folder: Path) -> list[str | Path]:
    return ["perl", written(code, folder / "program.pl")]


def lua(code: str, folder: Path) -> list[str | Path]:
    return ["luajit", written(code, folder / "program.lua")]


def written(code: str, path: Path) -> Path:
    path.write_text(code)
    return path


Program = Callable[[str, Path], "list[str | Path]"]
PROGRAMS: dict[str, Program] = {"js": javascript, "csharp": csharp, "ruby": ruby, "perl": perl, "lua": lua}
if find_java():  # tests/conftest.py says so when there is none
    PROGRAMS["java"] = java
# Those that read each value through the library, which then returns it as a string of its own.
WITHOUT_JSON = ("java", "csharp", "lua")


@pytest.fixture(scope="session")
def counting_library() -> Path:
    """A library that counts what programs get and free, under the name of the library; returns its folder."""
    source, library = ROOT / "tests" / "support" / "counted.c", TARGET / "counted" / "libantenv.so.0"
    with once_in_a_run(source, library) as fresh:
        if fresh:
            flags = [
                "-std=c11",
                "-O1",
                "-Wall",
                "-Wextra",
                "-Werror",
                "-shared",
                "-fPIC",
                "-pthread",
                f"-I{ROOT / 'include'}",
            ]
            subprocess.run(["cc", *flags, str(source), "-o", str(fresh), "-ldl"], check=True)
    return library.parent


@pytest.fixture
def variables(emulator: Emulator, counting_library: Path, tmp_path: Path) -> dict[str, str]:
    """The environment of a program: an emulator to call, and a library that counts."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    return own | {
        "ANTHROPIC_BASE_URL": emulator.url,
        "ANTHROPIC_API_KEY": "an-api-key",
        "LC_ALL": "C.UTF-8",
        "LD_LIBRARY_PATH": str(counting_library),
        "ANTENV_COUNTED_LIBRARY": str(LIBRARY / "libantenv.so"),
        "ANTENV_COUNTED_REPORT": str(tmp_path / "report"),
    }


def run(command: list[str | Path], variables: dict[str, str]) -> list[str]:
    """Runs a program to its end; returns the lines that it wrote."""
    done = subprocess.run(command, env=variables, capture_output=True, timeout=PATIENCE, check=False)
    assert (done.returncode, done.stderr) == (0, b""), done.stderr.decode()
    return done.stdout.decode().splitlines()


@pytest.mark.parametrize("language", PROGRAMS)
def test_a_program_creates_lists_fails_and_frees(
    language: str, emulator: Emulator, variables: dict[str, str], tmp_path: Path
) -> None:
    # More than a page has, and one name that shows which encoding its bytes were taken for.
    names = [*(f"environment {number}" for number in range(24)), "Grüße ✓ 漢字"]
    for name in names:
        emulator.create_environment(name)
    program = blocks(PAGE, language)[0]

    created, *listed, missing = run(PROGRAMS[language](program, tmp_path), variables)

    identifier = re.fullmatch(r"created (env_\w+)", created)
    assert identifier, created
    environment = emulator.api("GET", f"/v1/environments/{identifier[1]}")
    assert (environment["name"], environment["config"]) == ("tests", {"type": "self_hosted"})
    assert sorted(listed) == sorted(f"listed {name}" for name in [*names, "tests"])
    assert missing == 'not_found: There is no environment "env_missing".'
    pages = [request for request in emulator.take_requests() if request["operation"] == "environments.list"]
    assert len(pages) == 2, "the list was meant to have two pages"
    # The client, the pager; the new environment, the listed ones, and the error: each with a value of its own.
    values = 2 if language in WITHOUT_JSON else 1
    count = 2 + (1 + len(listed) + 1) * values
    assert (tmp_path / "report").read_text() == f"returned {count}, freed {count}, unknown 0\n"


def test_a_program_has_calls_in_flight_and_watches_the_queue(variables: dict[str, str], tmp_path: Path) -> None:
    program, queue = blocks(PAGE, "ruby")
    completed = run(ruby(program + queue, tmp_path), variables)[3:]
    assert sorted(completed) == ["completed 0: first", "completed 1: second", "completed 2: third"]
    # Two clients, a pager, a queue; what the first program got, and the results of three calls.
    assert (tmp_path / "report").read_text() == "returned 10, freed 10, unknown 0\n"


# Makes a call in one thread, or without waiting; then answers a line of its input with a line of output.
MEANWHILE = {
    "js": """
const other = [null], error = [null];
expect(OK, await clientNew(null, other, json));
const answered = call(other[0], "environments.archive", '{"environment_id":"env_missing"}', error);
process.stdin.once("data", async (line) => {
  console.log(`meanwhile ${line}`.trim());
  console.log(`answered ${await answered}`);
  await clientFree(other[0]);
  process.stdin.destroy();
});
""",
    "ruby": """
$stdout.sync = true
client = Antenv.pointer
Antenv.expect(Antenv::OK, Antenv.call(:client_new, nil, client))
params = '{"environment_id":"env_missing"}'
asking = Thread.new { Antenv.call(:call, client.ptr, "environments.archive", params) }
puts "meanwhile #{$stdin.gets}"
puts "answered #{asking.value.first}"
Antenv.antenv_client_free(client.ptr)
""",
}


@pytest.mark.parametrize("language", MEANWHILE)
def test_a_call_holds_up_neither_an_event_loop_nor_other_threads(
    language: str, emulator: Emulator, variables: dict[str, str], tmp_path: Path
) -> None:
    emulator.faults({"operation": "environments.archive", "hold": True})
    command = PROGRAMS[language](blocks(PAGE, language)[0] + MEANWHILE[language], tmp_path)
    with subprocess.Popen(command, env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        late = threading.Timer(PATIENCE, process.kill)
        late.start()
        try:
            assert process.stdin is not None and process.stdout is not None
            until(lambda: emulator.control("GET", "/_emulator/holds")["held"] == 1, "no call is held", PATIENCE)
            process.stdin.write("hello\n")
            process.stdin.flush()
            lines = iter(process.stdout.readline, "")
            assert "meanwhile hello\n" in lines  # the call is still held
            assert emulator.control("DELETE", "/_emulator/holds") == {"released": 1}
            assert next(lines) == "answered 104\n"
            assert process.wait() == 0
        finally:
            late.cancel()
            process.kill()
    returned, freed, unknown = re.findall(r"\d+", (tmp_path / "report").read_text())
    assert returned == freed and unknown == "0"
