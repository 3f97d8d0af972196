"""Starts the emulator as a process of its own, and talks to its control endpoints."""

from __future__ import annotations

import json
import os
import ssl
import subprocess
import urllib.request
from typing import Any

from support.build import BINARY

# Options of every emulator: conftest.py decides whether it serves HTTPS.
OPTIONS: tuple[str, ...] = ()
# Only a failing test waits for that long, in seconds.
TIMEOUT = 60
API_HEADERS = {
    "authorization": "Bearer an-api-key",
    "anthropic-version": "2026-10-21",
    "anthropic-beta": "managed-agents-2026-04-01",
}


def trusted() -> dict[str, str]:
    """Returns the variable that names the certificate to trust, for a program that gets no other variables."""
    return {name: value for name, value in os.environ.items() if name == "SSL_CERT_FILE"}


class Emulator:
    """An emulator on a free port, ended when the `with` block is left, or with this process."""

    def __init__(self, *options: str) -> None:
        self._process = subprocess.Popen(
            [str(BINARY), "--port", "0", "--until-stdin-closes", *OPTIONS, *options],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
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
        # Not by closing its standard input: a process that was forked here may have the other end open as well.
        self._process.terminate()
        assert self._process.wait(timeout=TIMEOUT) == 0, "the emulator did not end cleanly"
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Calls a control endpoint, such as ("POST", "/_emulator/work", {...}), and returns its JSON."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._control_url + path, data=data, method=method)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
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

    def api(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        """Calls the API with an API key, and returns its JSON."""
        data = None if body is None else json.dumps(body).encode()
        headers = {**API_HEADERS, "content-type": "application/json", **headers}
        request = urllib.request.Request(self.url + path, data=data, method=method, headers=headers)
        # Not urllib's own, which since Python 3.12 goes on to trust what SSL_CERT_FILE named at the first call.
        trusting = ssl.create_default_context() if self.url.startswith("https:") else None
        with urllib.request.urlopen(request, timeout=TIMEOUT, context=trusting) as response:
            return json.load(response)

    def create_environment(self, name: str, **fields: Any) -> str:
        """Creates an environment; returns its identifier."""
        identifier: str = self.api("POST", "/v1/environments", {"name": name, **fields})["id"]
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
