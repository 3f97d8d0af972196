"""Runs the emulator as a process of its own, and talks to its control endpoints."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Where cargo puts what it builds: in a folder of its own when a target is named (which may be a file).
BUILT = TARGET / Path(os.environ.get("CARGO_BUILD_TARGET", "")).name.removesuffix(".json")
BINARY = Path(os.environ.get("ANTENV_EMULATOR", BUILT / "quick" / "antenv-emulator"))
# Of every emulator: over what it serves. conftest.py decides.
OPTIONS: tuple[str, ...] = ()
API_HEADERS = {
    "authorization": "Bearer an-api-key",
    "anthropic-version": "2026-10-21",
    "anthropic-beta": "managed-agents-2026-04-01",
}


def trusted() -> dict[str, str]:
    """The environment variable that tells a program whom to trust, for one that is given no other."""
    return {name: value for name, value in os.environ.items() if name == "SSL_CERT_FILE"}


class Emulator:
    """An emulator on a free port, ended when the `with` block is left."""

    def __init__(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [str(BINARY), "--port", "0", *OPTIONS, *options],
            stdout=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        assert self.url.startswith("http"), f"the emulator said {self.url!r} instead of its URL"
        # The endpoints of control are there without TLS as well.
        self._control_url = self.url.replace("https:", "http:")

    def __enter__(self) -> Emulator:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(timeout=20) == 0, "the emulator did not end cleanly"
        assert self._process.stdout is not None
        self._process.stdout.close()

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Calls a control endpoint, such as ("POST", "/_emulator/work", {...}), and returns its JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._control_url + path, data=data, method=method)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as response:
            text = response.read()
            return json.loads(text) if text else None

    def faults(self, *faults: dict[str, Any]) -> None:
        """Queues faults for the next requests."""
        self.control("POST", "/_emulator/faults", list(faults))

    def take_requests(self) -> list[dict[str, Any]]:
        """The requests recorded since the last call of this."""
        requests: list[dict[str, Any]] = self.control("GET", "/_emulator/requests")["data"]
        self.control("DELETE", "/_emulator/requests")
        return requests

    def create_environment(self, name: str, **fields: Any) -> str:
        """Creates an environment; returns its identifier."""
        body = json.dumps({"name": name, **fields}).encode()
        request = urllib.request.Request(self.url + "/v1/environments", data=body, method="POST")
        for header, value in {**API_HEADERS, "content-type": "application/json"}.items():
            request.add_header(header, value)
        with urllib.request.urlopen(request, timeout=20) as response:
            identifier: str = json.load(response)["id"]
            return identifier

    def environment_key(self, environment_id: str) -> str:
        """Issues an environment key."""
        key: str = self.control("POST", "/_emulator/environment_keys", {"environment_id": environment_id})[
            "environment_key"
        ]
        return key

    def enqueue(self, environment_id: str, **fields: Any) -> dict[str, Any]:
        """Queues a work item."""
        item: dict[str, Any] = self.control("POST", "/_emulator/work", {"environment_id": environment_id, **fields})
        return item
