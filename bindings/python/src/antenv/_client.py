"""The client, and its base, which it shares with the asynchronous one."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from . import _log, _native
from ._errors import error_from
from ._resources import Environments, MemoryStores, RequestMixin, Sessions, Skills
from ._streams import Stream
from ._sync import c_string, call, call_for_text, decoded, encoded, path_argument
from ._uncopyable import Uncopyable
from ._worker import Lease, Worker
from .types import Download

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .types import AdoptParams, ClientStats

T = TypeVar("T")


class BaseClient(Uncopyable):
    """A handle to a client of the library: makes, derives and frees it."""

    _advice = (
        "make one in each process that needs one (a forked child may use its parent's), or derive one: with_options()"
    )
    _handle = 0

    def __init__(
        self,
        *,
        api_key: str | None = None,
        auth_token: str | None = None,
        environment_key: str | None = None,
        base_url: str | None = None,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
        connect_timeout: float | None = None,
        max_retries: int | None = None,
        default_headers: Mapping[str, str | None] | None = None,
        betas: Sequence[str] | None = None,
        workspace_id: str | None = None,
        anthropic_version: str | None = None,
        auth_header: str | None = None,
        ca_file: str | None = None,
        roots: str | None = None,
        client_cert_file: str | None = None,
        client_key_file: str | None = None,
        proxy: str | None = None,
        max_response_bytes: int | None = None,
        http2: str | None = None,
        allow_insecure_http: bool | None = None,
    ) -> None:
        """Makes a client. Nothing is sent yet. None is the same as leaving an argument out.

        Args:
            api_key: API key. Without any credential here: ANTHROPIC_API_KEY, then ANTHROPIC_AUTH_TOKEN, then
                ANTHROPIC_ENVIRONMENT_KEY, of the environment.
            auth_token: Bearer token in place of an API key.
            environment_key: Key of a self-hosted environment. Alongside an API key, each operation uses the one it
                needs.
            base_url: Address of the API. Without it: ANTHROPIC_BASE_URL, then https://api.anthropic.com.
            timeout: Bounds a whole call in seconds, retries included: 0.001 to 2147483. Without it: 600.
            attempt_timeout: Bounds one attempt of a call in seconds, so that a connection that has silently died costs
                an attempt, not the call. Without it: 60, and for a poll its `block_ms` and 10 s more.
            connect_timeout: Bounds one attempt to connect in seconds, over all addresses of the host. Without it: 5.
            max_retries: How often 408, 409, 429, 5xx and connection failures are retried: 0 to 100. Without it: 2.
            default_headers: Headers for every call.
            betas: Beta versions for every call, in addition to the one that is always sent.
            workspace_id: The workspace to act in.
            anthropic_version: The version of the API. Without it: 2026-10-21.
            auth_header: The header that carries an API key: "authorization" (the default), or the older "x-api-key".
            ca_file: PEM file of root certificates to trust, in addition to those that `roots` names.
            roots: The root certificates to trust: "bundled" (the default), "system", or "only_ca_file".
            client_cert_file: PEM file of the client's certificate, with its chain.
            client_key_file: PEM file of its private key. Without it: the key is in `client_cert_file`.
            proxy: URL of a proxy (http, https, socks4, socks4a, socks5, socks5h), "" for none. Without it: HTTPS_PROXY,
                HTTP_PROXY, ALL_PROXY and NO_PROXY.
            max_response_bytes: The largest response that is accepted. Without it: 67108864.
            http2: Whether HTTP/2 is used: "auto" (the default), "never" or "always".
            allow_insecure_http: Whether plain http:// is allowed to hosts other than this one. Without it: no.

        Raises:
            ConfigError: An argument is invalid, or no credential was found.
        """
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        self._adopt(*_native.call_for_handle(_native.client_new, encoded(config)))

    def with_options(
        self,
        *,
        api_key: str | None = None,
        auth_token: str | None = None,
        environment_key: str | None = None,
        timeout: float | None = None,
        attempt_timeout: float | None = None,
        max_retries: int | None = None,
        default_headers: Mapping[str, str | None] | None = None,
        betas: Sequence[str] | None = None,
        workspace_id: str | None = None,
        anthropic_version: str | None = None,
        auth_header: str | None = None,
        max_response_bytes: int | None = None,
    ) -> Self:
        """Returns a client that shares this one's connections, with another credential or other defaults.

        The arguments are those of the constructor; None keeps this client's. A credential given here replaces all of
        this client's. `default_headers` are merged into this client's, and None as a header's value removes it. Either
        client may be closed first. Raises ConfigError when an argument is invalid, and ClosedError when this client is
        closed. Does not block.
        """
        config = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        derived = type(self).__new__(type(self))
        derived._adopt(*_native.call_for_handle(_native.client_derive, self._handle, encoded(config)))
        return derived

    def _adopt(self, status: int, handle: int, error: bytes) -> None:
        if status:
            raise error_from(status, error)
        self._handle = handle
        _log.subscribe()

    def stats(self) -> ClientStats:
        """Returns the counters of this client and those that share its connections, in this process. Does not block."""
        stats: ClientStats = decoded(call_for_text(_native.client_stats, self._handle))
        return stats

    def __del__(self) -> None:
        self._free()

    def _free(self, free: Any = _native.client_free) -> None:  # a default argument lives as long as the interpreter
        handle, self._handle = self._handle, 0
        if handle:
            free(handle)

    def __repr__(self) -> str:
        return f"<antenv.{type(self).__name__}{'' if self._handle else ', closed'}>"


class Client(RequestMixin, BaseClient):
    """A client of the Environments API whose calls block until they have their results.

        with antenv.Client() as client:
            environment = client.environments.create(name="tests", config={"type": "self_hosted"})

    Make one and keep it: it holds the connections. Any number of threads may use it at once, and processes forked from
    this one, too. Ctrl-C ends a call at once. Calls raise `antenv.AntenvError`s.
    """

    @cached_property
    def environments(self) -> Environments:
        """The operations on environments, and on the work queue of self-hosted ones."""
        return Environments(self._call, self)

    @cached_property
    def sessions(self) -> Sessions:
        """The operations on sessions and their events."""
        return Sessions(self._call, self)

    @cached_property
    def skills(self) -> Skills:
        """The operations on the versions of skills."""
        return Skills(self._call, self)

    @cached_property
    def memory_stores(self) -> MemoryStores:
        """The operations on the memories of memory stores."""
        return MemoryStores(self._call, self)

    def adopt(self, **params: Unpack[AdoptParams]) -> Lease:
        """Adopts the lease on an item that another process claimed, and keeps it by heartbeats.

        What is left out comes from the environment variables that `lease.release()` returned: in a process that has
        them, `client.adopt()` is enough. No worker is needed. Leaving the lease's `with` block finishes it.

            with client.adopt() as lease:
                ...  # serve lease.session_id

        Raises LeaseLostError when the item is not this process's to serve: another has it, it is in the work queue
        again, or it was to be stopped. Raises ConfigError when an argument is missing or invalid, and the error of the
        heartbeat when it was refused, or not answered in time. Blocks for at most 10 seconds; for up to 60 more
        while an item that was to be stopped is stopped. Ctrl-C takes effect
        after that, and gives the lease up.

        Args:
            params: `AdoptParams` documents them.
        """
        return Lease(None)._take(self._handle, encoded(params))

    def call(self, operation: str, /, **params: Any) -> Any:
        """Calls an operation by its name, such as "environments.create"; returns decoded JSON.

        It is for operations that the library has and this package does not know yet. It blocks and raises as every call
        does.

        Args:
            operation: The operation's name.
            params: Its parameters, identifiers included.
        """
        return self._call(c_string("operation", operation), params, _identity)

    def _request(self, method: str, path: str, params: Mapping[str, Any]) -> Any:
        what = c_string("method", method), c_string("path", path), encoded(params)
        return decoded(call(_native.submit_request, self._handle, *what))

    def _call(self, operation: bytes, params: Mapping[str, Any], make: Callable[[Any], T], /) -> T:
        return make(decoded(call(_native.submit, self._handle, operation, encoded(params))))

    def _worker(self, params: Mapping[str, Any], /) -> Worker:
        return Worker(self._handle, params)

    def _stream(self, operation: bytes, params: Mapping[str, Any], /) -> Stream:
        return Stream(self._handle, operation, params)

    def _download(self, operation: bytes, params: Mapping[str, Any], path: str | os.PathLike[str], /) -> Download:
        what = operation, encoded(params), path_argument(path)
        return Download._of(decoded(call(_native.download_submit, self._handle, *what)))

    def close(self) -> None:
        """Frees the client. Calls in flight go on to their end; later ones raise ClosedError. Does not block."""
        self._free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _identity(value: Any) -> Any:
    return value
