"""The package in hosts that go their own ways: copies, greenlets, the end, subinterpreters, frozen programs."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import gc
import multiprocessing
import os
import pickle
import subprocess
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import antenv
from python.test_python_package import WHEELS, pythons
from python.worker_env import WorkerEnv, wait_until, worker_env
from support.emulator import Emulator

#: What a program below may take; only one that hangs takes that long.
TIMEOUT = 60


def run(program: str, *arguments: str, python: str = sys.executable) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end, which must be a good one."""
    command = [python, "-c", program, *arguments]
    done = subprocess.run(command, timeout=TIMEOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


# ---- Copies ----


@pytest.fixture
def served() -> Iterator[WorkerEnv]:
    with worker_env() as running:
        yield running


DUPLICATES: dict[str, Callable[[Any], Any]] = {
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": pickle.dumps,
    "deepcopy of what holds it": lambda thing: copy.deepcopy({"held": [thing]}),
    "spawn": lambda thing: multiprocessing.get_context("spawn").Process(target=print, args=(thing,)).start(),
}


@pytest.mark.parametrize("how", DUPLICATES)
def test_what_stands_for_something_in_the_library_refuses_to_be_copied(how: str, served: WorkerEnv) -> None:
    item = served.enqueue()
    client, worker = served.owner, served.worker()
    lease = worker.next(20)
    assert lease and lease.id == item
    asynchronous = antenv.AsyncClient(api_key="k", base_url=served.emulator.url)
    things = {
        "antenv.Client": client,
        "antenv.Worker": worker,
        "antenv.Lease": lease,
        "antenv.Page": client.environments.list(),
        "antenv.AsyncClient": asynchronous,
        "antenv.AsyncWorker": asynchronous.environments.worker(**served.credentials),
        "antenv.Stream": client.sessions.events.stream(lease.session_id),
        "antenv.AsyncStream": asynchronous.sessions.events.stream(lease.session_id),
        "antenv.AsyncPages": asynchronous.environments.list(),
    }
    for name, thing in things.items():
        with pytest.raises(TypeError, match=f"cannot pickle or copy an {name}: .*(make|pass|await)"):
            DUPLICATES[how](thing)
    with pytest.raises(TypeError, match=r"cannot pickle or copy an antenv\.AsyncLease: "):
        asyncio.run(refuse_async_lease(served, DUPLICATES[how]))
    gc.collect()
    # The originals are what they were.
    assert client.environments.retrieve(served.environment).id == served.environment
    assert lease.state().state == "held" and lease.finish() is not None
    assert served.state(item) == "stopped"


async def refuse_async_lease(served: WorkerEnv, duplicate: Callable[[Any], Any]) -> None:
    served.enqueue()
    client = antenv.AsyncClient(api_key="k", base_url=served.emulator.url)
    async with client.environments.worker(**served.credentials) as worker:
        lease = await worker.next()
        assert lease
        async with lease:
            duplicate(lease)


def test_data_with_a_client_in_it_can_be_changed_but_not_copied_deeply(served: WorkerEnv) -> None:
    @dataclasses.dataclass
    class Settings:
        client: antenv.Client
        name: str

    settings = Settings(served.owner, "one")
    assert dataclasses.replace(settings, name="two").client is served.owner
    with pytest.raises(TypeError, match="with_options"):
        dataclasses.asdict(settings)


def test_results_and_errors_may_be_copied_and_pickled(served: WorkerEnv) -> None:
    found = served.owner.environments.retrieve(served.environment)
    with pytest.raises(antenv.NotFoundError) as caught:
        served.owner.environments.retrieve("env_missing")
    for thing in (found, caught.value):
        for other in (copy.deepcopy(thing), pickle.loads(pickle.dumps(thing))):
            assert other.to_dict() == thing.to_dict()


# ---- Descriptors ----


def test_a_burst_of_threads_gives_its_descriptors_back(emulator: Emulator) -> None:
    client = antenv.Client(api_key="k", base_url=emulator.url)
    client.environments.list()

    def descriptors() -> int:
        return sum("eventfd" in os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if is_open(fd))

    def is_open(fd: str) -> bool:
        return os.path.islink(f"/proc/self/fd/{fd}")

    before = descriptors()
    emulator.faults({"operation": "environments.list", "hold": True, "count": 200})
    threads = [threading.Thread(target=client.environments.list) for _ in range(200)]
    for thread in threads:
        thread.start()
    wait_until(lambda: emulator.control("GET", "/_emulator/holds") == {"held": 200})
    emulator.control("DELETE", "/_emulator/holds")
    for thread in threads:
        thread.join()
    assert descriptors() - before < 20


# ---- Greenlets ----

GREEN = """
import sys
patch, url, path = sys.argv[1:]
if patch == "gevent":
    import gevent
    from gevent import monkey
    monkey.patch_all()
else:
    import eventlet
    eventlet.monkey_patch()
import logging, os, signal, threading, time
handled = []
class Handler(logging.Handler):
    def emit(self, record):
        time.sleep(0)  # as one that writes to a socket, which may let others have their turn
        handled.append(record.getMessage())
logging.basicConfig(level=logging.DEBUG, handlers=[Handler()])
import antenv
client = antenv.Client(api_key="k", environment_key="k", base_url=url)
made = client.environments.create(name="n", config={"type": "self_hosted"}).id
print("called", flush=True)

def others():
    for _ in range(30):
        logging.info("another's")
        time.sleep(0.001)
        client.environments.retrieve(made)
threads = [threading.Thread(target=others) for _ in range(8)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
while sum(text.startswith("call done") for text in handled) < 241:
    time.sleep(0.01)  # they arrive without a call
print("logged", flush=True)

client.request("POST", "/_emulator/faults", body=[{"operation": "environments.list", "latency_ms": 1500, "count": 1}])
waiting, turns = threading.Thread(target=client.environments.list), 0
waiting.start()
while waiting.is_alive():
    time.sleep(0.001)
    turns += 1
assert turns > 10, "a waiting call holds up the others"
client.request("POST", "/_emulator/work", body={"environment_id": made, "count": 8})
served = []
client.environments.worker(made, drain=True, concurrency=3).run(lambda lease: served.append(lease.id))
assert len(set(served)) == 8
print("served", flush=True)

session = client.sessions.create(agent="a", environment_id=made).id
stream, seen = client.sessions.events.stream(session), []
reading, turns = threading.Thread(target=lambda: seen.append(next(stream)["type"])), 0
reading.start()
while turns < 10:
    time.sleep(0.001)
    turns += 1
assert not seen
client.sessions.events.send(session, events=[{"type": "user.message", "content": [{"type": "text", "text": "Hi."}]}])
reading.join()
stream.close()
client.environments.worker(made, drain=True).run(lambda lease: served.append(lease.id))
skill = client.request("POST", "/_emulator/skills", body={"name": "pdf", "files": {"SKILL.md": "#"}})
fault = {"operation": "skills.versions.download", "latency_ms": 1500, "count": 1}
client.request("POST", "/_emulator/faults", body=[fault])
waiting, turns = threading.Thread(target=client.skills.versions.download, args=(skill["id"],),
    kwargs={"skill_id": skill["skill_id"], "path": path}), 0
waiting.start()
while waiting.is_alive():
    time.sleep(0.001)
    turns += 1
assert turns > 10, "a download holds up the others"
assert os.path.getsize(path)
print("streamed", flush=True)

def interrupt(*_):
    raise KeyboardInterrupt
if patch == "gevent":  # which raises other exceptions when one out of a handler of signal.signal hits its hub
    gevent.signal_handler(signal.SIGALRM, interrupt)
else:
    signal.signal(signal.SIGALRM, interrupt)
signal.setitimer(signal.ITIMER_REAL, 0.5)
try:
    client.environments.worker(made, concurrency=3).run(print)
except KeyboardInterrupt:
    print("interrupted", flush=True)

if patch == "gevent":  # eventlet's hub does not survive a fork
    child = os.fork()
    if child == 0:
        client.environments.list()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
client.environments.list()
"""


@pytest.mark.parametrize("patch", ["gevent", "eventlet"])
def test_nothing_hangs_where_threads_are_greenlets(patch: str, emulator: Emulator, tmp_path: Path) -> None:
    printed = run(GREEN, patch, emulator.url, str(tmp_path / "skill.zip")).stdout.split()
    assert printed == ["called", "logged", "served", "streamed", "interrupted"]


# ---- The log, to the end ----

LOGS = """
import logging, sys, time
levels = {"info": logging.INFO, "debug": logging.DEBUG, "warning": logging.WARNING}
class Slow(logging.StreamHandler):
    def emit(self, record):
        time.sleep(0.02)
        super().emit(record)
logging.basicConfig(level=levels[sys.argv[2]], format="%(levelname)s %(name)s %(message)s", handlers=[Slow(sys.stdout)])
import antenv
client = antenv.Client(api_key="k", environment_key="k", base_url=sys.argv[1])
"""


def test_no_record_is_lost_when_the_interpreter_ends(emulator: Emulator) -> None:
    said = run(LOGS + "for _ in range(20): client.environments.list()\n", emulator.url, "debug").stdout
    assert said.count("call done") == 20


def test_no_record_is_lost_when_a_process_of_multiprocessing_ends(emulator: Emulator) -> None:
    program = """
import multiprocessing
def work():
    for _ in range(10): client.environments.list()
child = multiprocessing.get_context("fork").Process(target=work)
child.start()
child.join()
"""
    assert run(LOGS + program, emulator.url, "debug").stdout.count("call done") == 10


FAILING_WORKER = """
made = client.environments.create(name="n", config={"type": "self_hosted"}).id
client.request("POST", "/_emulator/faults", body=[{"operation": "work.poll", "status": 401}])
try:
    client.environments.worker(made).next()
except antenv.AuthenticationError:
    pass
"""


def test_warnings_and_errors_are_logged_whatever_the_level(emulator: Emulator) -> None:
    said = run(LOGS + FAILING_WORKER, emulator.url, "warning").stdout
    assert "antenv.worker" in said and {line.split()[0] for line in said.splitlines()} <= {"WARNING", "ERROR"}


def test_no_record_of_a_handler_of_atexit_is_lost(emulator: Emulator) -> None:
    program = "import atexit, logging, sys, antenv\natexit.register(lambda: client.environments.list())\n"
    assert run(program + LOGS, emulator.url, "debug").stdout.count("call done") == 1


def test_a_program_that_imports_logging_late_gets_a_workers_warnings(emulator: Emulator) -> None:
    program = """
import sys, antenv
client = antenv.Client(api_key="k", environment_key="k", base_url=sys.argv[1])
assert "logging" not in sys.modules
import logging
logging.basicConfig()
"""
    assert "a poll failed" in run(program + FAILING_WORKER, emulator.url).stderr


def test_a_program_that_does_not_set_up_logging_gets_warnings_as_pythons_own(emulator: Emulator) -> None:
    program = (
        "import logging, sys, antenv\nclient = antenv.Client(api_key='k', environment_key='k', base_url=sys.argv[1])"
    )
    assert "a poll failed" in run(f"{program}\n{FAILING_WORKER}", emulator.url).stderr


# ---- Where no thread can be made ----


AT_EXIT = """
import atexit, logging, sys
logging.basicConfig(level=logging.DEBUG)
def last():
    with antenv.Client(api_key="k", base_url=sys.argv[1]) as client:
        client.environments.list()
        print("called", flush=True)
atexit.register(last)
import antenv
"""


@pytest.mark.parametrize("python", pythons())
def test_a_client_can_be_made_when_the_interpreter_ends(
    python: str, emulator: Emulator, wheel_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(wheel_folder))
    assert run(AT_EXIT, emulator.url, python=python).stdout == "called\n"


SUBINTERPRETER = """
import sys
try:
    import _interpreters as interpreters  # from 3.13 on
    made = interpreters.create("legacy")
except ImportError:
    import _xxsubinterpreters as interpreters
    made = interpreters.create(isolated=False) if sys.version_info >= (3, 10) else interpreters.create()
code = '''
import logging
logging.basicConfig(level=logging.DEBUG)
import antenv
with antenv.Client(api_key="k", base_url="%s") as client:
    client.environments.list()
    print("called", flush=True)
''' % sys.argv[1]
failed = (interpreters.exec if hasattr(interpreters, "exec") else interpreters.run_string)(made, code)
assert failed is None, failed
interpreters.destroy(made)
"""


@pytest.mark.parametrize("python", pythons())
def test_a_client_can_be_made_in_a_subinterpreter(
    python: str, emulator: Emulator, wheel_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(wheel_folder))
    assert run(SUBINTERPRETER, emulator.url, python=python).stdout == "called\n"


@pytest.fixture(scope="session")
def wheel_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is in the wheel, for any Python."""
    folder = tmp_path_factory.mktemp("wheel")
    zipfile.ZipFile(WHEELS[0]).extractall(folder)
    return folder


# ---- Frozen programs ----


@pytest.mark.long
@pytest.mark.parametrize("kind", ["--onedir", "--onefile"])
def test_a_frozen_program_has_the_library_in_it(kind: str, emulator: Emulator, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(
        "import sys, antenv, antenv._native\n"
        "client = antenv.Client(api_key='k', base_url=sys.argv[1])\n"
        "client.environments.list()\n"
        "antenv.AsyncClient(api_key='k')\n"
        "print(antenv._native.PATH)\n"
    )
    options = [kind, "--noconfirm", "--log-level", "ERROR", "--distpath", "dist", "--workpath", "build"]
    subprocess.run(
        [sys.executable, "-m", "PyInstaller", *options, str(program)], cwd=tmp_path, check=True, capture_output=True
    )
    frozen = tmp_path / "dist" / ("program/program" if kind == "--onedir" else "program")
    said = subprocess.run([frozen, emulator.url], env={}, cwd="/", capture_output=True, text=True, check=False)
    assert said.returncode == 0, said.stderr
    assert "site-packages" not in said.stdout and said.stdout.strip().endswith("antenv/libantenv.so")
