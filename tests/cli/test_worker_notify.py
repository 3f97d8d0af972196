"""Under a service manager: both `antenv worker poll` and `antenv worker run` notify it, and their commands do not."""

from __future__ import annotations

import signal
import socket
from pathlib import Path

import pytest

from support.agents import IDLE, RESULTS, Steps, enqueue
from support.command import running
from support.emulator import Emulator
from worker.test_c_worker import hosts, state_of, variables

COMMANDS = {
    "poll": ("poll", "--on-work", "sh", "-c", "env >env"),
    "run": ("run", "--no-toolset", "--max-idle", "0.3", "--tools", "echo", "--on-tool", "sh", "-c", "env >env"),
}


@pytest.mark.parametrize("is_abstract", [False, True], ids=["path", "abstract"])
@pytest.mark.parametrize("command", COMMANDS)
def test_the_service_manager_is_notified(
    command: str, is_abstract: bool, strict_emulator: Emulator, tmp_path: Path
) -> None:
    environment = hosts(strict_emulator)
    name = f"@{tmp_path}/notify" if is_abstract else str(tmp_path / "notify")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(name.replace("@", "\0", 1))
        manager.settimeout(120)
        own = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "200000"}
        environ = variables(strict_emulator, environment) | own
        with running("worker", *COMMANDS[command], folder=tmp_path, **environ) as program:
            assert {manager.recv(100) for _ in range(5)} == {b"READY=1", b"WATCHDOG=1"}
            steps: Steps = [{"custom_tool": "echo", "input": {}}, RESULTS]
            (item,) = enqueue(strict_emulator, environment, {"": (steps, [], IDLE)})
            program.says(f"{item}: done")
            program.process.send_signal(signal.SIGTERM)
            while manager.recv(100) != b"STOPPING=1":
                pass
            program.ends_with(0)
    assert state_of(strict_emulator, environment, item) == "stopped"
    given = {line.split("=")[0] for line in (tmp_path / "env").read_text().splitlines()}
    assert "PATH" in given and not given & set(own)
