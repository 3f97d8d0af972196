"""The asynchronous client: calls on the completion queue of the running event loop.

Each loop has one queue, shared by all clients. The loop watches its descriptor, so a call in flight takes a future and no thread.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import threading
from collections.abc import Mapping
from ctypes import byref, c_size_t, c_void_p, sizeof
from functools import cached_property
from typing import TYPE_CHECKING, Any, Callable, TypeVar
from weakref import WeakKeyDictionary

from . import _native
from ._async_resources import AsyncEnvironments
from ._calls import c_string, decoded, encoded
from ._client import BaseClient
from ._errors import error_of

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from .types import RequestParams

T = TypeVar("T")

#: Completions taken from a queue at a time.
_MANY = 64
#: A completion as it lies in memory; reading it so is cheaper than through its class.
_COMPLETION = struct.Struct("@QiP")
assert _COMPLETION.size == sizeof(_native.Completion)


class _LoopQueue:
    """The completion queue of an event loop, and who waits for what."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        status, self._queue, error = _native.made(_native.queue_new)
        if status:
            raise error_of(status, error)
        self._waiting: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._tags = itertools.count()
        self._completions = (_native.Completion * _MANY)()
        self._memory = memoryview(self._completions).cast("B")
        self._count = c_size_t()
        try:
            loop.add_reader(_native.queue_fd(self._queue), self._collect)
        except (NotImplementedError, ValueError):  # a loop that watches no descriptors, or a system whose queues have none
            threading.Thread(target=_collect_in_a_thread, args=(self._queue, loop, self._settle), daemon=True).start()

    async def call(self, submit: Any, client: int, *what: bytes) -> bytes:
        """Makes a call; returns its JSON, or raises its error. Cancelling the task cancels the call."""
        tag, ticket, error = next(self._tags), c_void_p(), c_void_p()
        status: int = submit(client, self._queue, *what, tag, byref(ticket), byref(error))
        if status:
            raise error_of(status, _native.take(error.value))
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[tag] = future
        try:
            status, text = await future
        except BaseException:
            _native.ticket_cancel(ticket)
            raise
        finally:
            _native.ticket_free(ticket)
        if status:
            raise error_of(status, text)
        return text

    def _collect(self) -> None:
        if _native.queue_take_many(self._queue, 0, self._completions, _MANY, byref(self._count)) == _native.OK:
            for tag, status, json_address in _COMPLETION.iter_unpack(self._memory[: self._count.value * _COMPLETION.size]):
                self._settle(tag, status, _native.take(json_address))

    def _settle(self, tag: int, status: int, text: bytes) -> None:
        future = self._waiting.pop(tag)
        if not future.done():  # else its task was cancelled
            future.set_result((status, text))

    def __del__(self, free: Any = _native.queue_free) -> None:
        free(self._queue)


def _collect_in_a_thread(queue: int, loop: asyncio.AbstractEventLoop, settle: Callable[[int, int, bytes], None]) -> None:
    """Waits for completions in the loop's stead, until the loop is closed (it looks every second)."""
    done = _native.Completion()
    while (status := _native.queue_next(queue, 1000, byref(done))) in (_native.OK, _native.TIMEOUT, _native.INTERRUPTED):
        try:
            if status == _native.OK:
                loop.call_soon_threadsafe(settle, done.tag, done.status, _native.take(done.json))
            elif loop.is_closed():
                return
        except RuntimeError:  # it was closed just now
            return


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, _LoopQueue] = WeakKeyDictionary()


def _queue() -> _LoopQueue:
    loop = asyncio.get_running_loop()
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = _LoopQueue(loop)
    return queue


class AsyncClient(BaseClient):
    """A client of the Environments API whose calls are awaited.

        async with antenv.AsyncClient() as client:
            environment = await client.environments.create(name="tests", config={"type": "self_hosted"})

    Make one and keep it: it holds the connections. It may be used from any number of tasks, and from several event loops, uvloop's
    among them. A call in flight takes no thread. Cancelling a task cancels its call. Calls raise `antenv.AntenvError`s.
    """

    @cached_property
    def environments(self) -> AsyncEnvironments:
        """The operations on environments, and on the work queue of self-hosted ones."""
        return AsyncEnvironments(self._call)

    async def call(self, operation: str, /, **params: Any) -> Any:
        """Calls an operation by its name, such as "environments.create", identifiers among the parameters; gives decoded JSON.

        For operations that the library has and this package does not know yet. It raises as every call does.
        """
        what = c_string("operation", operation), encoded(params)
        return decoded(await _queue().call(_native.submit, self._handle, *what))

    async def request(self, method: str, path: str, /, **params: Unpack[RequestParams]) -> Any:
        """Makes a request to any endpoint of the API; gives decoded JSON, None when the answer is empty.

        `query`, `body`, `headers`, and the options of a call: see `antenv.types.RequestParams`.
        """
        what = c_string("method", method), c_string("path", path), encoded(params)
        return decoded(await _queue().call(_native.submit_request, self._handle, *what))

    async def _call(self, operation: bytes, params: Mapping[str, Any], make: Callable[[Any], T], /) -> T:
        return make(decoded(await _queue().call(_native.submit, self._handle, operation, encoded(params))))

    async def close(self) -> None:
        """Frees the client. Calls in flight through it go on to their end; later ones raise ClosedError."""
        self._free()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
