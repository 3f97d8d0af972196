"""The completion queue: C programs in four ways, and one process with very many calls."""

from __future__ import annotations

import json
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bindings.test_c import SOURCES, Runner, run_c
from support.build import LIBRARY, compile_c
from support.emulator import Emulator
from support.waiting import until
from support.ways import FORKING, WAYS, command_of, run

pytestmark = pytest.mark.transports

__all__ = ["run_c"]

HELD = 10_000


@pytest.fixture
def roomy() -> Iterator[None]:
    """As many file descriptors as the system allows, for this process and those it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_what_is_submitted_comes_back_once_and_what_is_refused_never(run_c: Runner, emulator: Emulator) -> None:
    emulator.create_environment("one")
    assert run_c(SOURCES / "queue.c", emulator.url) == "queue: as it should be\n"


def test_a_cancelled_call_ends_at_once_and_takes_its_request_along(
    run_c: Runner, request: pytest.FixtureRequest, emulator: Emulator
) -> None:
    rounds = "50" if "plain" in request.node.name else "5"
    # Calls that are not cancelled take a minute: half of that distinguishes them on any machine.
    environment = emulator.create_environment("cancel", config={"type": "self_hosted"})
    said = run_c(SOURCES / "queue_cancel.c", emulator.url, environment, rounds, "30000")
    given_up = int(said.split()[0])
    until(lambda: emulator.control("GET", "/_emulator/connections")["open"] <= 1, "the connections stay open")
    requests = emulator.take_requests()
    assert len([one for one in requests if one["done"] and one["status"] is None]) >= given_up > 0


@pytest.mark.parametrize("how", ["next", "poll"])
def test_a_waiting_program_sees_a_signal_at_once(how: str, emulator: Emulator) -> None:
    emulator.faults({"latency_ms": 60_000, "count": 1})
    program = str(compile_c(SOURCES / "queue_wait.c"))
    with subprocess.Popen([program, how, emulator.url], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        until(lambda: is_waiting(process.pid, emulator), "it does not wait for its call")
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(timeout=60) == 0
    assert emulator.take_requests()[0]["status"] is None, "the answer was waited for"


def is_waiting(pid: int, emulator: Emulator) -> bool:
    """Returns whether a request is in flight, and the main thread of the process in poll() or ppoll()."""
    fields = Path(f"/proc/{pid}/syscall").read_text().split()
    in_poll = fields[0] in {"7", "271", "73"}  # poll and ppoll on x86-64, ppoll on aarch64
    return in_poll and emulator.control("GET", "/_emulator/connections")["requests_open"] == 1


PYTHON = """
import ctypes, json, select, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell that runs jobs in the background has it ignored
library = ctypes.CDLL(sys.argv[1])
pointer = ctypes.c_void_p
class Completion(ctypes.Structure):
    _fields_ = [("tag", ctypes.c_uint64), ("status", ctypes.c_int32), ("json", pointer)]
client, queue, error, done = pointer(), pointer(), pointer(), Completion()
config = json.dumps({"api_key": "k", "base_url": sys.argv[3]}).encode()
assert library.antenv_client_new(config, ctypes.byref(client), ctypes.byref(error)) == 0
assert library.antenv_queue_new(ctypes.byref(queue), None) == 0
submit = library.antenv_submit
submit.argtypes = [pointer, pointer, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_uint64, pointer, pointer]
assert submit(client, queue, b"environments.list", None, 1, None, None) == 0
library.antenv_queue_next.argtypes = [pointer, ctypes.c_int64, pointer]
watched = select.poll()
watched.register(library.antenv_queue_fd(queue), select.POLLIN)
print("waiting", flush=True)
try:
    if sys.argv[2] == "poll":
        watched.poll()
    while library.antenv_queue_next(queue, -1, ctypes.byref(done)) == 12:
        pass
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("how", ["next", "poll"])
def test_a_waiting_python_program_sees_ctrl_c_at_once(how: str, emulator: Emulator) -> None:
    emulator.faults({"latency_ms": 60_000, "count": 1})
    command = [sys.executable, "-c", PYTHON, str(LIBRARY / "libantenv.so"), how, emulator.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        until(lambda: is_waiting(process.pid, emulator), "it does not wait for its call")
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(timeout=60) == 0
    assert emulator.take_requests()[0]["status"] is None, "the answer was waited for"


def test_an_answer_that_has_arrived_is_not_thrown_away_by_a_cancel(emulator: Emulator) -> None:
    rounds = 5
    emulator.faults({"operation": "environments.list", "latency_ms": 100, "count": rounds + 1})
    program = str(compile_c(SOURCES / "queue_wait.c"))

    def done() -> list[bool]:
        log = emulator.control("GET", "/_emulator/requests?operation=environments.list")["data"]
        return [bool(one["done"]) for one in log]

    with subprocess.Popen(
        [program, "late", emulator.url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        for _ in range(rounds):
            until(lambda: len(done()) == 1, "no request arrives")
            process.send_signal(signal.SIGSTOP)
            until(lambda: done() == [True], "the request is not answered")
            emulator.take_requests()
            # The answer is on this machine, and has not been read: the program does so and cancels at the same moment.
            process.stdin.write("\n")
            process.stdin.flush()
            process.send_signal(signal.SIGCONT)
            assert process.stdout.readline().startswith("ok ")
        process.stdin.close()
        assert process.wait(timeout=60) == 0


@pytest.mark.long
def test_ten_thousand_polls_are_held_by_one_thread_in_little_memory(roomy: None) -> None:
    with Emulator("--auth", "any") as emulator:
        environment = emulator.create_environment("many", config={"type": "self_hosted"})
        command = [str(compile_c(SOURCES / "queue_many.c")), emulator.url, "held", environment, str(HELD)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:

            def ask(line: str) -> str:
                assert process.stdin is not None and process.stdout is not None
                process.stdin.write(line + "\n")
                process.stdin.flush()
                return process.stdout.readline()

            def about(name: str) -> int:
                found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
                assert found
                return int(found[1])

            assert process.stdout is not None and process.stdout.readline() == "ready\n"
            emulator.faults({"operation": "work.poll", "latency_ms": 60_000, "count": HELD})
            before = about("VmRSS")
            assert ask("submit") == "submitted\n"
            until(
                lambda: bool(emulator.control("GET", "/_emulator/connections")["requests_open"] == HELD),
                "not all arrive",
                120,
            )
            assert json.loads(ask("stats"))["calls"]["in_flight"] == HELD
            each = (about("VmRSS") - before) / HELD
            assert about("Threads") == 2
            assert each <= 45, f"{each:.1f} KB for each call"
            print(f"{each:.1f} KB for each of {HELD} calls")
            assert ask("collect") == "collected\n"
            process.stdin.close() if process.stdin else None
            assert process.wait(timeout=120) == 0


def test_polls_are_collected_in_an_event_loop(run_c: Runner, emulator: Emulator) -> None:
    environment = emulator.create_environment("loop", config={"type": "self_hosted"})
    said = run_c(SOURCES / "queue_many.c", emulator.url, "loop", environment, "200")
    assert said.startswith("200 in "), said
    assert emulator.control("GET", "/_emulator/connections")["polls_waiting"] == 0


@pytest.mark.long
def test_a_hundred_thousand_calls_come_back_once_each(shared_emulator: Emulator) -> None:
    with Emulator("--auth", "any", "--request-log", "0") as emulator:
        load = command_of("plain", SOURCES / "queue_many.c", emulator.url, "load", "100000", "64")
        assert run(load) == "load: as it should be\n"


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_interleaving_gives_each_accepted_call_one_completion(seed: int, way: str, emulator: Emulator) -> None:
    emulator.create_environment("one")
    emulator.faults(
        {"operation": "environments.list", "latency_ms": 3, "count": 150},
        {"operation": "environments.list", "drop": True, "count": 20},
        {"operation": "environments.list", "status": 503, "count": 20},
    )
    steps = {"plain": 3000, "valgrind": 150, "aarch64": 150}.get(way, 800)
    forks = int(way in FORKING)
    model = command_of(way, SOURCES / "model.c", emulator.url, str(seed), str(steps), str(forks), leaks=False)
    assert run(model) == "model: as it should be\n"


@pytest.mark.deep
def test_the_model_leaks_nothing(emulator: Emulator) -> None:
    assert run(command_of("valgrind", SOURCES / "model.c", emulator.url, "4", "150", "0")) == "model: as it should be\n"
