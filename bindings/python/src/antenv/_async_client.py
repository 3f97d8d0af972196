"""The asynchronous client: its calls go through the completion queue of the running event loop."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from . import _native
from ._aio import loop_queue
from ._async_resources import AsyncEnvironments, AsyncMemoryStores, AsyncRequestMixin, AsyncSessions, AsyncSkills
from ._async_streams import AsyncStream
from ._async_worker import AsyncLease, AsyncWorker
from ._client import BaseClient
from ._sync import c_string, decoded, encoded, path_argument
from .types import Download

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .types import AdoptParams

T = TypeVar("T")


class AsyncClient(AsyncRequestMixin, BaseClient):
    """A client of the Environments API whose calls are awaited.

        async with antenv.AsyncClient() as client:
            environment = await client.environments.create(name="tests", config={"type": "self_hosted"})

    Make one and keep it: it holds the connections. Any number of tasks may use it, and several event loops, uvloop's
    included. A call in flight takes no thread. Cancelling a task cancels its call. Calls raise `antenv.AntenvError`s.
    """

    @cached_property
    def environments(self) -> AsyncEnvironments:
        """The operations on environments, and on the work queue of self-hosted ones."""
        return AsyncEnvironments(self._call, self)

    @cached_property
    def sessions(self) -> AsyncSessions:
        """The operations on sessions and their events."""
        return AsyncSessions(self._call, self)

    @cached_property
    def skills(self) -> AsyncSkills:
        """The operations on the versions of skills."""
        return AsyncSkills(self._call, self)

    @cached_property
    def memory_stores(self) -> AsyncMemoryStores:
        """The operations on the memories of memory stores."""
        return AsyncMemoryStores(self._call, self)

    async def adopt(self, **params: Unpack[AdoptParams]) -> AsyncLease:
        """Adopts the lease on an item that another process claimed, and keeps it by heartbeats.

        What is left out comes from the environment variables that `lease.release()` returned: in a process that has
        them, `client.adopt()` is enough. No worker is needed. Leaving the lease's `with` block finishes it.

            async with (await client.adopt()) as lease:
                ...  # serve lease.session_id

        Raises LeaseLostError when the item is not this process's to serve: another has it, it is in the work queue
        again, or it was to be stopped. Raises ConfigError when an argument is missing or invalid, and the error of the
        heartbeat when it was refused, or not answered in time. Waits in a thread for at most 10 seconds; for up to 60
        more while an item that was to be stopped is stopped. Cancelling its task gives the lease up.

        Args:
            params: `AdoptParams` documents them.
        """
        adopt = AsyncLease(None)._take
        return await asyncio.get_running_loop().run_in_executor(None, adopt, self._handle, encoded(params))

    async def call(self, operation: str, /, **params: Any) -> Any:
        """Calls an operation by its name, such as "environments.create"; returns decoded JSON.

        It is for operations that the library has and this package does not know yet. It raises the same errors as every
        call.

        Args:
            operation: The operation's name.
            params: Its parameters, identifiers included.
        """
        what = c_string("operation", operation), encoded(params)
        return decoded(await loop_queue().call(_native.submit, self._handle, *what))

    async def _request(self, method: str, path: str, params: Mapping[str, Any]) -> Any:
        what = c_string("method", method), c_string("path", path), encoded(params)
        return decoded(await loop_queue().call(_native.submit_request, self._handle, *what))

    async def _call(self, operation: bytes, params: Mapping[str, Any], make: Callable[[Any], T], /) -> T:
        return make(decoded(await loop_queue().call(_native.submit, self._handle, operation, encoded(params))))

    def _worker(self, params: Mapping[str, Any], /) -> AsyncWorker:
        return AsyncWorker(self._handle, params)

    def _stream(self, operation: bytes, params: Mapping[str, Any], /) -> AsyncStream:
        return AsyncStream(self._handle, operation, params)

    async def _download(self, operation: bytes, params: Mapping[str, Any], path: str | os.PathLike[str], /) -> Download:
        what = operation, encoded(params), path_argument(path)
        return Download._of(decoded(await loop_queue().call(_native.download_submit, self._handle, *what)))

    async def close(self) -> None:
        """Frees the client. Calls in flight go on to their end; later ones raise ClosedError. Does not block."""
        self._free()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
