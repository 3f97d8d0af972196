"""For the tests of programs that use antenv: an emulator of the API on this machine.

    from antenv.testing import Emulator

    with Emulator() as emulator, emulator.client() as client:
        client.environments.create(name="tests")

With pytest, `pytest_plugins = ["antenv.testing"]` in a conftest.py gives the fixture `antenv_emulator`.

The emulator is the program `antenv-emulator`: the one that the variable ANTENV_EMULATOR names, or the first on the PATH. `make
install` installs it, and so does `cargo install --path emulator`, both in antenv's repository.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any

from ._client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

    from typing_extensions import Self

    from ._async_client import AsyncClient


class Emulator:
    """The emulator, running on a free port of 127.0.0.1. Leave the `with` block, or call `stop`, to end it."""

    #: Where it is: a `base_url` for clients.
    url: str

    def __init__(self, *options: str, program: str | os.PathLike[str] | None = None) -> None:
        """Starts it, and waits until it listens.

        Args:
            options: What the program takes, such as "--auth", "any" to accept every credential; `antenv-emulator --help` lists it.
            program: The program, if it is not the one that the module's text tells of.

        Raises:
            FileNotFoundError: There is no such program.
            RuntimeError: It did not start.
        """
        found = program or os.environ.get("ANTENV_EMULATOR") or shutil.which("antenv-emulator")
        if not found:
            raise FileNotFoundError(
                "antenv-emulator is not on the PATH: install it (make install, or cargo install --path emulator, in antenv's"
                " repository), or name it in ANTENV_EMULATOR"
            )
        self._process = subprocess.Popen(
            [str(found), "--port", "0", *options], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout is not None
        self.url = self._process.stdout.readline().strip()
        if not self.url.startswith("http://"):
            self.stop()
            raise RuntimeError(f"{found} did not start: it said {self.url!r}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends it. Stopping twice is fine."""
        self._process.terminate()
        self._process.wait(timeout=20)
        if self._process.stdout is not None:
            self._process.stdout.close()

    def client(self, **config: Any) -> Client:
        """A client for it; its arguments are those of `antenv.Client`. Without a credential among them it gets an API key."""
        return Client(**self._config(config))

    def async_client(self, **config: Any) -> AsyncClient:
        """The same, asynchronous."""
        from ._async_client import AsyncClient

        return AsyncClient(**self._config(config))

    def _config(self, config: dict[str, Any]) -> dict[str, Any]:
        if not any(config.get(name) for name in ("api_key", "auth_token", "environment_key")):
            config["api_key"] = "an-api-key"
        return {"base_url": self.url, **config}

    def environment_key(self, environment_id: str) -> str:
        """Issues a key of an environment."""
        key: str = self.control("POST", "environment_keys", {"environment_id": environment_id})["environment_key"]
        return key

    def enqueue(self, environment_id: str, **fields: Any) -> dict[str, Any]:
        """Queues a work item; docs/emulator.md lists the fields. Gives the item."""
        item: dict[str, Any] = self.control("POST", "work", {"environment_id": environment_id, **fields})
        return item

    def faults(self, *faults: dict[str, Any]) -> None:
        """Has the next requests go wrong, as in `faults({"status": 529, "count": 2})`; docs/emulator.md lists the fields."""
        self.control("POST", "faults", list(faults))

    def take_requests(self) -> list[dict[str, Any]]:
        """The requests that came since the last time, oldest first: method, path, query, headers, body, when, ..."""
        requests: list[dict[str, Any]] = self.control("GET", "requests")["data"]
        self.control("DELETE", "requests")
        return requests

    def reset(self) -> None:
        """Forgets everything: environments, work, keys, faults, requests."""
        self.control("POST", "reset")

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Calls a control endpoint, a path below `/_emulator/`; gives its decoded JSON. docs/emulator.md lists them."""
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self.url}/_emulator/{path}", data=data, method=method)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=20) as response:
            text = response.read()
            return json.loads(text) if text else None


try:
    import pytest
except ImportError:
    pass
else:

    @pytest.fixture
    def antenv_emulator() -> Iterator[Emulator]:
        """An emulator of the API, new for each test."""
        with Emulator() as emulator:
            yield emulator
