"""The completion queue of an event loop.

Each loop has one, shared by all clients and workers. The loop watches its descriptor, so a call in flight takes a
future and no thread.
"""

from __future__ import annotations

import asyncio
import itertools
import struct
import threading
from ctypes import byref, c_size_t, c_void_p, sizeof
from typing import Any, Callable
from weakref import WeakKeyDictionary

from . import _native
from ._errors import error_from

#: The maximum number of completions taken from a queue at a time.
_BATCH = 64
#: The memory layout of a completion; unpacking it is cheaper than reading it through its class.
_COMPLETION = struct.Struct("@QiP")
assert _COMPLETION.size == sizeof(_native.Completion)


class LoopQueue:
    """The completion queue of an event loop, and the futures that wait for its completions."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        status, self._queue, error = _native.call_for_handle(_native.queue_new)
        if status:
            raise error_from(status, error)
        self._waiting: dict[int, asyncio.Future[tuple[int, bytes]]] = {}
        self._watching: dict[int, Callable[[], None]] = {}
        self._tags = itertools.count()
        self._completions = (_native.Completion * _BATCH)()
        self._memory = memoryview(self._completions).cast("B")
        self._count = c_size_t()
        try:
            loop.add_reader(_native.queue_fd(self._queue), self._collect)
        except (NotImplementedError, ValueError):
            # The loop cannot watch descriptors, or the system's queues have none.
            threading.Thread(target=_collect_in_a_thread, args=(self._queue, loop, self._settle), daemon=True).start()

    async def call(self, submit: Any, handle: Any, *what: bytes) -> bytes:
        """Makes a call; returns its JSON or raises its error. Cancelling the task cancels the call."""
        tag, ticket, error = next(self._tags), c_void_p(), c_void_p()
        status: int = submit(handle, self._queue, *what, tag, byref(ticket), byref(error))
        if status:
            raise error_from(status, _native.take_string(error.value))
        future = self._expect(tag)
        try:
            status, text = await future
        except BaseException:
            _native.ticket_cancel(ticket)
            raise
        finally:
            _native.ticket_free(ticket)
        if status:
            raise error_from(status, text)
        return text

    def attach(self, attach: Any, handle: Any) -> asyncio.Future[tuple[int, bytes]]:
        """Attaches a handle to the queue for one completion. Returns a future of its status and text."""
        tag = next(self._tags)
        status: int = attach(handle, self._queue, tag)
        if status:
            raise error_from(status, b"")
        return self._expect(tag)

    def watch(self, attach: Any, handle: int, notify: Callable[[], None]) -> int:
        """Attaches a handle to the queue, to call `notify` for each of its completions; returns the tag to `forget`."""
        tag = next(self._tags)
        status: int = attach(handle, self._queue, tag)
        if status:
            raise error_from(status, b"")
        self._watching[tag] = notify
        return tag

    def forget(self, tag: int) -> None:
        """Stops watching."""
        self._watching.pop(tag, None)

    def _expect(self, tag: int) -> asyncio.Future[tuple[int, bytes]]:
        future: asyncio.Future[tuple[int, bytes]] = asyncio.get_running_loop().create_future()
        self._waiting[tag] = future
        return future

    def _collect(self) -> None:
        if _native.queue_take_many(self._queue, 0, self._completions, _BATCH, byref(self._count)) == _native.OK:
            for tag, status, json_address in _COMPLETION.iter_unpack(
                self._memory[: self._count.value * _COMPLETION.size]
            ):
                self._settle(tag, status, json_address)

    def _settle(self, tag: int, status: int, json_address: int) -> None:
        text, notify = _native.take_string(json_address), self._watching.get(tag)
        if notify is not None:
            return notify()
        future = self._waiting.pop(tag, None)
        if future is not None and not future.done():  # else its task was cancelled, or its watcher is gone
            future.set_result((status, text))
        return None

    def __del__(self, free: Any = _native.queue_free) -> None:
        free(self._queue)


def _collect_in_a_thread(queue: int, loop: asyncio.AbstractEventLoop, settle: Callable[[int, int, int], None]) -> None:
    """Waits for completions in place of the loop, until the loop is closed, which is checked every second."""
    done = _native.Completion()
    while (status := _native.queue_next(queue, 1000, byref(done))) in (
        _native.OK,
        _native.TIMEOUT,
        _native.INTERRUPTED,
    ):
        try:
            if status == _native.OK:
                loop.call_soon_threadsafe(settle, done.tag, done.status, done.json)
            elif loop.is_closed():
                return
        except RuntimeError:  # it was closed just now
            _native.string_free(done.json)
            return


_queues: WeakKeyDictionary[asyncio.AbstractEventLoop, LoopQueue] = WeakKeyDictionary()


def loop_queue() -> LoopQueue:
    """Returns the queue of the running loop."""
    loop = asyncio.get_running_loop()
    queue = _queues.get(loop)
    if queue is None:
        queue = _queues[loop] = LoopQueue(loop)
    return queue
