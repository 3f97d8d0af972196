"""An emulator of the API on this machine, for the tests of programs that use antenv.

    from antenv.testing import Emulator

    with Emulator() as emulator, emulator.client() as client:
        client.environments.create(name="tests")

With pytest, `pytest_plugins = ["antenv.testing"]` in a conftest.py provides the fixture `antenv_emulator`.

The emulator is the program `antenv-emulator`: the one that the environment variable ANTENV_EMULATOR names, or the one
that the package brings.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import urllib.request
from typing import TYPE_CHECKING, Any, Literal, overload

from ._client import Client
from ._command import path
from .types import Environment, Session, Work

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from typing_extensions import Self, Unpack

    from ._async_client import AsyncClient
    from ._async_worker import AsyncWorker
    from ._worker import Worker
    from .types import WorkerParams

#: How long a control endpoint, and the end of the emulator, may take on a busy machine, in seconds.
_TIMEOUT = 60.0


class Emulator:
    """The emulator, running on a free port of 127.0.0.1.

    It ends when the `with` block is left, with `stop`, and with this process, even if that crashes or is killed.
    """

    #: Its address: a `base_url` for clients.
    url: str
    #: The file of the certificate to trust when it was started with "--tls", for a client's `ca_file`; otherwise None.
    ca_file: str | None = None

    def __init__(self, *options: str, program: str | os.PathLike[str] | None = None) -> None:
        """Starts the emulator and waits until it listens.

        Args:
            options: Options of the program, such as "--auth", "any" to accept every credential, or "--lease-ttl", "1"
                for leases of a second; `antenv-emulator --help` lists them.
            program: The program. Without it: ANTENV_EMULATOR, then the one of the package.

        Raises:
            FileNotFoundError: There is no such program.
            RuntimeError: It did not start.
        """
        found = program or os.environ.get("ANTENV_EMULATOR") or path("antenv-emulator")
        # Nothing is written to its standard input. The system closes it when this process ends.
        command = [str(found), "--port", "0", "--until-stdin-closes", *options]
        try:
            self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"there is no emulator at {found}: install antenv by pip, which brings it, or name the program"
                " antenv-emulator in ANTENV_EMULATOR"
            ) from None
        self.url = self._line()
        if self.url.startswith("https://"):
            self.ca_file = self._line()
        elif not self.url.startswith("http://"):
            self.stop()
            raise RuntimeError(f"{found} did not start: it printed {self.url!r} in place of its address")

    def _line(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends the emulator and waits until it has ended. Stopping twice is fine."""
        self._process.terminate()
        self._process.wait(timeout=_TIMEOUT)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def client(self, **config: Any) -> Client:
        """Makes a client for the emulator. It has an API key, unless another credential is given.

        Args:
            config: The arguments of `antenv.Client`.
        """
        return Client(**self._config(config))

    def async_client(self, **config: Any) -> AsyncClient:
        """Makes an asynchronous client for the emulator. It has an API key, unless another credential is given.

        Args:
            config: The arguments of `antenv.AsyncClient`.
        """
        from ._async_client import AsyncClient

        return AsyncClient(**self._config(config))

    def _config(self, config: dict[str, Any]) -> dict[str, Any]:
        if all(config.get(name) is None for name in ("api_key", "auth_token", "environment_key")):
            config["api_key"] = "an-api-key"
        return {"base_url": self.url, "ca_file": self.ca_file, **config}

    def worker(self, environment_id: str, **params: Unpack[WorkerParams]) -> Worker:
        """Makes a worker for the emulator. It has a new key of its environment, unless one is given.

        Args:
            environment_id: The environment whose work queue it serves.
            params: The arguments of `client.environments.worker`.
        """
        return self.client().environments.worker(environment_id, **self._worker_params(environment_id, params))

    def async_worker(self, environment_id: str, **params: Unpack[WorkerParams]) -> AsyncWorker:
        """Makes an asynchronous worker for the emulator. It has a new key of its environment, unless one is given.

        Args:
            environment_id: The environment whose work queue it serves.
            params: The arguments of `client.environments.worker`.
        """
        return self.async_client().environments.worker(environment_id, **self._worker_params(environment_id, params))

    def _worker_params(self, environment_id: str, params: WorkerParams) -> WorkerParams:
        if params.get("environment_key") is None:
            params["environment_key"] = self.environment_key(environment_id)
        return params

    def environment(self, name: str = "tests") -> Environment:
        """Creates a self-hosted environment and returns it."""
        with self.client() as client:
            return client.environments.create(name=name, config={"type": "self_hosted"})

    def environment_key(self, environment_id: str) -> str:
        """Issues a key of an environment and returns it."""
        key: str = self.control("POST", "environment_keys", {"environment_id": environment_id})["environment_key"]
        return key

    @overload
    def enqueue(
        self,
        environment_id: str,
        *,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        count: None = None,
    ) -> Work: ...

    @overload
    def enqueue(
        self,
        environment_id: str,
        *,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        count: int,
    ) -> list[Work]: ...

    def enqueue(
        self,
        environment_id: str,
        *,
        data: Mapping[str, Any] | None = None,
        metadata: Mapping[str, str] | None = None,
        count: int | None = None,
    ) -> Work | list[Work]:
        """Queues a work item and returns it, or several and returns a list of them. They have their secrets.

        Args:
            environment_id: The environment whose work queue gets them.
            data: The work to do, such as {"type": "session", "id": "..."}. Without it: a new session.
            metadata: The items' metadata.
            count: How many items; the result is a list then.
        """
        fields = {"environment_id": environment_id, "data": data, "metadata": metadata, "count": count}
        queued = self.control("POST", "work", {name: value for name, value in fields.items() if value is not None})
        return Work._of(queued) if count is None else [Work._of(item) for item in queued["data"]]

    def session(self, *steps: Mapping[str, Any], environment_id: str | None = None, **params: Any) -> Session:
        """Creates a session and returns it.

        Args:
            steps: What its agent does, as for `script`. Without any: it ends each turn at once.
            environment_id: The environment it runs in. Without it: a new one.
            params: Other arguments of `client.sessions.create`, such as `resources`. Without `agent`: "agent_tests".
        """
        where = self.environment().id if environment_id is None else environment_id
        with self.client() as client:
            session = client.sessions.create(**{"agent": "agent_tests", "environment_id": where, **params})
        if steps:
            self.script(session.id, *steps)
        return session

    def script(self, session_id: str, *steps: Mapping[str, Any], start: Literal["message"] | None = None) -> None:
        """Lets a session's agent play steps, after those that it was given before.

        Args:
            session_id: The session.
            steps: The steps, such as {"text": "Hello."}, {"tool": "bash", "input": {"command": "ls"}},
                {"wait": "results"}, {"wait": "stream"}; docs/emulator.md lists them.
            start: When it begins: "message" at the session's next message. Without it: immediately.

        Raises:
            urllib.error.HTTPError: The emulator rejects a step.
        """
        self.control("POST", "scripts", {"session_id": session_id, "steps": steps, "start": start})

    def script_report(self, session_id: str) -> dict[str, Any]:
        """Returns how far a session's agent has come, and how each of its calls was answered.

        It is a dictionary with `status`, `step`, `done` and `calls`; docs/emulator.md lists their members.
        """
        report: dict[str, Any] = self.control("GET", f"scripts?session_id={session_id}")["data"][0]
        return report

    def upload_skill(
        self,
        name: str,
        files: Mapping[str, str | Mapping[str, Any]] | None = None,
        *,
        skill_id: str | None = None,
        version: str | None = None,
        description: str | None = None,
        format: Literal["zip", "tar.gz"] | None = None,
        archive: bytes | None = None,
    ) -> dict[str, Any]:
        """Uploads a version of a skill and returns it: a dictionary with `id`, `skill_id`, `name` and `description`.

        Args:
            name: The skill's name; its files lie below a folder of this name.
            files: The files to pack, by relative path: the text of each, or {"text": "...", "executable": True}, or the
                same with "base64" for bytes.
            skill_id: The skill, which gets another version if it exists. Without it: a new skill.
            version: The version's id, which the skill must not have yet. Without it: a new one.
            description: The description; none is an empty one.
            format: How the files are packed: "zip", also without it, or "tar.gz".
            archive: In place of `files` and `format`: the archive that downloads return.

        Raises:
            urllib.error.HTTPError: The emulator rejects the upload.
        """
        fields = {"name": name, "files": files, "id": skill_id, "version": version, "description": description}
        encoded = None if archive is None else base64.b64encode(archive).decode()
        made: dict[str, Any] = self.control("POST", "skills", {**fields, "format": format, "archive": encoded})
        return made

    def create_memory_store(self, name: str = "tests", memories: Mapping[str, str] | None = None) -> str:
        """Creates a memory store and returns its id.

        Args:
            name: The store's name, 1 to 255 characters.
            memories: Its first memories: contents by path, such as {"/notes/a.md": "..."}. Without it: none.

        Raises:
            urllib.error.HTTPError: The emulator rejects the name, a path or a content.
        """
        store_id: str = self.control("POST", "memory_stores", {"name": name, "memories": memories})["id"]
        return store_id

    def advance(self, seconds: float) -> None:
        """Moves the emulator's clock, which decides about leases, by so many seconds."""
        self.control("POST", "clock", {"advance_ms": round(seconds * 1000)})

    def faults(self, *faults: dict[str, Any]) -> None:
        """Lets the next requests fail.

        Args:
            faults: What happens to them, such as {"status": 529, "count": 2}; docs/emulator.md lists the members.
        """
        self.control("POST", "faults", list(faults))

    def take_requests(self) -> list[dict[str, Any]]:
        """Returns the requests that came since the last call, oldest first. docs/emulator.md lists their members."""
        requests: list[dict[str, Any]] = self.control("GET", "requests")["data"]
        self.control("DELETE", "requests")
        return requests

    def reset(self) -> None:
        """Forgets everything: environments, work, keys, faults, requests."""
        self.control("POST", "reset")

    def control(self, method: str, path: str, body: Any = None) -> Any:
        """Calls a control endpoint and returns its decoded JSON, None when the response is empty.

        Args:
            method: HTTP method, such as "POST".
            path: Path below `/_emulator/`; docs/emulator.md lists the endpoints.
            body: Any JSON value; None sends no body.
        """
        data = None if body is None else json.dumps(body).encode()
        url = self.url.replace("https:", "http:", 1)  # control endpoints need no TLS
        request = urllib.request.Request(f"{url}/_emulator/{path}", data=data, method=method)
        request.add_header("content-type", "application/json")
        with urllib.request.urlopen(request, timeout=_TIMEOUT) as response:
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
