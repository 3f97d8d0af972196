"""The package in its process: Ctrl-C, forks, pre-forking servers, the log, shutting down."""

from __future__ import annotations

import asyncio
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import antenv
from python.worker_env import TIMEOUT, wait_until
from support.emulator import Emulator

WAITS = """
import signal, sys, time
import antenv
signal.signal(signal.SIGINT, signal.default_int_handler)
client = antenv.Client(api_key="k", base_url=sys.argv[1])
def use():
    for environment in client.environments.list():
        pass
{prepare}
try:
    print("waiting", flush=True)
    use()
except KeyboardInterrupt:
    print("interrupted", flush=True)
    client.environments.create(name="it goes on")
"""
PREPARE = {
    "the only thread": "",
    "alongside others": """
import threading
for _ in range(3):
    threading.Thread(target=lambda: client.environments.retrieve("env_1"), daemon=True).start()
""",
    "through asyncio": """
import asyncio
def use():
    async def main():
        async with antenv.AsyncClient(api_key="k", base_url=sys.argv[1]) as client:
            await client.environments.list()
    asyncio.run(main())
""",
    "in a handler that makes a call": """
def handler(*_):
    client.environments.create(name="made by the handler")
    raise KeyboardInterrupt
signal.signal(signal.SIGINT, handler)
""",
}


@pytest.mark.parametrize("how", list(PREPARE))
def test_ctrl_c_ends_a_waiting_call(how: str, emulator: Emulator) -> None:
    # No call has a response before it is interrupted.
    emulator.faults({"operation": "environments.list", "latency_ms": 3_600_000, "count": 1})
    emulator.faults({"operation": "environments.retrieve", "latency_ms": 3_600_000, "count": 3})
    command = [sys.executable, "-c", WAITS.format(prepare=PREPARE[how]), emulator.url]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "waiting\n"
        wait_until(lambda: any(r["operation"] == "environments.list" for r in requests(emulator)))
        process.send_signal(signal.SIGINT)
        assert process.stdout.readline() == "interrupted\n"
        assert process.wait(timeout=TIMEOUT) == 0


def requests(emulator: Emulator) -> list[dict[str, object]]:
    """The requests so far, those that wait for their answer among them."""
    found: list[dict[str, object]] = emulator.control("GET", "/_emulator/requests")["data"]
    return found


def test_a_child_uses_what_it_inherits(emulator: Emulator) -> None:
    client = antenv.Client(api_key="k", base_url=emulator.url)
    client.environments.create(name="parent")
    with multiprocessing.get_context("fork").Pool(4, _inherit, (client,)) as pool:
        numbers = set(pool.map(_create, [f"child {number}" for number in range(40)], chunksize=1))
    assert os.getpid() not in numbers and len(numbers) > 1
    assert len(list(client.environments.list())) == 41


_inherited: antenv.Client


def _inherit(client: antenv.Client) -> None:
    global _inherited
    _inherited = client


def _create(name: str) -> int:
    _inherited.environments.create(name=name)
    return os.getpid()


def test_a_fork_in_the_middle_of_another_threads_call(emulator: Emulator) -> None:
    client = antenv.Client(api_key="k", base_url=emulator.url)
    emulator.faults({"operation": "environments.list", "hold": True, "count": 1})
    waiting = threading.Thread(target=lambda: list(client.environments.list()))
    waiting.start()
    wait_until(lambda: requests(emulator))
    child = os.fork()
    if child == 0:
        try:
            client.environments.create(name="child")
            asyncio.run(_use_async(emulator.url))
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0
    assert emulator.control("DELETE", "/_emulator/holds") == {"released": 1}
    waiting.join()
    assert {environment.name for environment in client.environments.list()} == {"child", "async"}


async def _use_async(url: str) -> None:
    async with antenv.AsyncClient(api_key="k", base_url=url) as client:
        await client.environments.create(name="async")


def test_leaving_with_calls_under_way_is_quick_and_quiet(emulator: Emulator) -> None:
    emulator.faults({"latency_ms": 60_000, "count": 2})
    program = """
import asyncio, sys, threading, antenv
client = antenv.Client(api_key="k", base_url=sys.argv[1])
threading.Thread(target=client.environments.list, daemon=True).start()
while client.stats()["calls"]["in_flight"] == 0:
    pass
"""
    done = subprocess.run(
        [sys.executable, "-c", program, emulator.url], timeout=TIMEOUT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_shutting_down_cancels_and_a_later_call_starts_afresh(emulator: Emulator) -> None:
    client = antenv.Client(api_key="k", base_url=emulator.url)
    emulator.faults({"operation": "environments.list", "latency_ms": 60_000, "count": 1})
    raised: list[BaseException] = []

    def wait() -> None:
        try:
            client.environments.list()
        except antenv.CancelledError as error:
            raised.append(error)

    waiting = threading.Thread(target=wait)
    waiting.start()
    wait_until(lambda: requests(emulator))
    assert antenv.shutdown(0) is False
    waiting.join()
    assert [type(error) for error in raised] == [antenv.CancelledError]
    assert client.environments.list().data == []
    assert antenv.shutdown() is True


@pytest.fixture
def antenv_logger() -> Iterator[logging.Logger]:
    logger = logging.getLogger("antenv")
    level = logger.level
    yield logger
    logger.setLevel(level)
    antenv.Client(api_key="k", base_url="http://127.0.0.1:9").close()  # has it look at the level


def test_the_log_goes_to_logging(
    emulator: Emulator, caplog: pytest.LogCaptureFixture, antenv_logger: logging.Logger
) -> None:
    with antenv.Client(api_key="k-secret-key", base_url=emulator.url) as client:
        client.environments.list()
        antenv_logger.setLevel(logging.DEBUG)
        client = client.with_options()  # a new client looks at the level
        emulator.faults({"status": 529, "headers": {"retry-after-ms": "1"}, "count": 1})
        client.environments.list()
        wait_until(lambda: any(record.getMessage().startswith("call done") for record in caplog.records))
        by_name = {record.getMessage().split()[0]: record for record in caplog.records}
        assert by_name["retrying"].name == "antenv.client" and by_name["retrying"].levelno == logging.INFO
        assert by_name["retrying"].fields["http_status"] == 529  # type: ignore[attr-defined]
        assert "operation=environments.list" in by_name["call"].getMessage()
        assert "k-secret-key" not in caplog.text
        antenv_logger.setLevel(logging.WARNING)
        client = client.with_options()
        caplog.clear()
        client.environments.list()
        assert caplog.records == []


LOGS_AFTER_FORK = """
import logging, os, sys, threading, time, antenv
logged = threading.Event()
class Handler(logging.Handler):
    def emit(self, record):
        if record.getMessage().startswith("call done"):
            os.write(1, f"{os.getpid()} {record.getMessage()}\\n".encode())  # in one piece, whatever the buffering
            logged.set()
logging.basicConfig(level=logging.DEBUG, handlers=[Handler()])
client = antenv.Client(api_key="k", base_url=sys.argv[1])
child = os.fork()
client.environments.list()
assert logged.wait(60)
if child == 0:
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print("child", child, flush=True)
"""


def test_a_child_logs_too(emulator: Emulator) -> None:
    said = subprocess.run(
        [sys.executable, "-c", LOGS_AFTER_FORK, emulator.url],
        timeout=TIMEOUT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    child = said.split()[-1]
    assert f"{child} call done" in said


def test_a_program_that_does_not_listen_gets_neither_a_thread_nor_output(emulator: Emulator) -> None:
    program = """
import sys, threading, antenv
assert "logging" not in sys.modules
client = antenv.Client(api_key="k", base_url=sys.argv[1])
client.environments.list()
assert threading.active_count() == 1 and not antenv._log._queue
"""
    done = subprocess.run(
        [sys.executable, "-c", program, emulator.url], timeout=TIMEOUT, capture_output=True, text=True, check=True
    )
    assert done.stdout + done.stderr == ""


def test_no_descriptor_is_left_by_calls(emulator: Emulator) -> None:
    with antenv.Client(api_key="k", base_url=emulator.url) as client:
        client.environments.list()
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(200):
            client.environments.list()
        assert len(os.listdir("/proc/self/fd")) <= before  # an earlier test's may have been closed meanwhile


def test_memory_does_not_grow(emulator: Emulator) -> None:
    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    with antenv.Client(api_key="k", base_url=emulator.url) as client:
        made = client.environments.create(name="n", metadata={"large": "x" * 400})

        def use() -> None:
            for _ in range(1500):
                client.environments.retrieve(made.id)
                with pytest.raises(antenv.NotFoundError):
                    client.environments.retrieve("env_missing")

        use()
        before = resident()
        use()
        assert resident() - before < 1_000_000, "1500 answers and errors of some 600 bytes"
