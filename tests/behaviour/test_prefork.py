"""Python programs that fork with a client in hand: multiprocessing, threads, a pre-forking server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

from support.build import ROOT
from support.emulator import Emulator

pytestmark = pytest.mark.transports

APPLICATION = ROOT / "tests" / "behaviour" / "prefork_app.py"
WORKERS = 3
# What a worker logs when it handles signals.
READY = "the worker is ready"


def variables(emulator: Emulator) -> dict[str, str]:
    """The environment that the application wants."""
    return os.environ | {"ANTENV_URL": emulator.url}


@pytest.mark.parametrize("how", ["pool", "thread"])
def test_a_client_made_before_the_fork_serves_in_all_processes(how: str, emulator: Emulator) -> None:
    command = [sys.executable, "-W", "error", str(APPLICATION), how]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=variables(emulator), check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "as it should be\n", "")


@pytest.mark.parametrize("kind", ["sync", "gthread"])
def test_a_preforking_server_serves_with_a_client_made_before(kind: str, emulator: Emulator, tmp_path: Path) -> None:
    log, config = tmp_path / "log", tmp_path / "config.py"
    config.write_text(f"def post_worker_init(worker):\n    worker.log.info({READY!r})\n")
    command = [sys.executable, "-m", "gunicorn", "--preload", "--workers", str(WORKERS), "--worker-class", kind]
    command += ["--threads", "4" if kind == "gthread" else "1", "--bind", "127.0.0.1:0", "--graceful-timeout", "60"]
    command += ["--config", str(config), "--log-file", str(log), "--chdir", str(APPLICATION.parent)]
    command += ["prefork_app:application"]
    with subprocess.Popen(command, env=variables(emulator)) as server:
        try:
            deadline = time.monotonic() + 120
            # gunicorn loses a SIGTERM that comes between the fork of a worker and its own handler.
            while not log.exists() or log.read_text().count(READY) < WORKERS:
                assert time.monotonic() < deadline and server.poll() is None, log.read_text() if log.exists() else ""
                time.sleep(0.01)
            url = re.findall(r"http://127\.0\.0\.1:\d+", log.read_text())[0]
            workers: set[bytes] = set()
            while len(workers) < 2:
                assert time.monotonic() < deadline, f"only {workers} answered"
                with urllib.request.urlopen(url, timeout=60) as response:
                    workers.add(response.read())
            assert str(server.pid).encode() not in workers
            server.send_signal(signal.SIGTERM)
            assert server.wait(timeout=120) == 0, log.read_text()
        finally:
            server.kill()
    assert "error" not in log.read_text().lower()
