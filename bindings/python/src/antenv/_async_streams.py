"""Streams whose events are awaited.

A stream takes no thread and no task. The event loop watches the descriptor of the stream's completion queue while a
task waits for an event, and only then: what no task takes stays in the library, so the server has to wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING, Any

from . import _native
from ._streams import BaseStream
from .types import StreamEvent

if TYPE_CHECKING:
    from typing_extensions import Self

#: How many events a task may take before others have a turn.
_TURN = 64
#: How often a loop that cannot watch descriptors looks for an event, in seconds.
_CHECK_INTERVAL = 0.01


class AsyncStream(BaseStream):
    """The events of a session as they happen; `client.sessions.events.stream(...)` makes one.

        async with client.sessions.events.stream(session_id) as stream:
            async for event in stream:
                if event["type"] == "agent.message":
                    print(event["content"])

    `async with` or `await` opens it, or else the first wait for an event. It has what happens from then on;
    `client.sessions.events.list` has what was before. It is read as fast as its events are taken; beyond that the
    server has to wait. It ends when the server ends it, which is no error, and it is not opened again by itself: open
    another one, and list what happened in between. Tasks of one loop may share it: each event goes to one of them.
    Leaving the `async with` block, also by cancellation, closes it, and so does its garbage collection.
    """

    _opening: asyncio.Future[None] | None = None

    def __init__(self, client: int, operation: bytes, params: Mapping[str, Any]) -> None:
        self._waiting: set[asyncio.Future[None]] = set()
        self._taken = 0
        super().__init__(client, operation, params)

    async def next(self) -> StreamEvent | None:
        """Waits for the next event and returns it; returns None when the stream has ended or is closed.

        Raises the error that ended the stream, from then on every time: APIConnectionError when it was cut off,
        APITimeoutError after `idle_timeout` of silence, APIStatusError when the API reported an error within it,
        APIResponseValidationError when an event is larger than `max_event_bytes`; ClosedError in a forked child.
        Cancelling its task, or a `timeout` around it, ends only the wait; the stream stays open.
        """
        await self._open()
        return self._event(*await self._wait())

    async def _open(self) -> None:
        """Opens the stream unless it is open. Cancelling the task that opens it closes it."""
        if self._opening is None:
            self._opening = asyncio.get_running_loop().create_future()
            try:
                if self._end is None:
                    self._submit()
                    self._on_open(*await self._wait())
            except BaseException:
                self._close((_native.DONE, b""))
                raise
            finally:
                self._opening.set_result(None)
        elif not self._opening.done():
            await asyncio.shield(self._opening)

    async def _wait(self) -> tuple[int, bytes]:
        """Waits for a completion."""
        self._taken += 1
        if self._taken % _TURN == 0:
            await asyncio.sleep(0)
        while (taken := self._take()) is None:
            await self._wait_for_descriptor()
        return taken

    async def _wait_for_descriptor(self) -> None:
        """Waits until the queue has something, or the stream is closed."""
        loop, descriptor = asyncio.get_running_loop(), _native.queue_fd(self._queue)
        future = loop.create_future()
        self._waiting.add(future)
        try:
            loop.add_reader(descriptor, self._wake)
        except (NotImplementedError, ValueError):
            # The loop cannot watch descriptors, or the system's queues have none.
            self._waiting.discard(future)
            await asyncio.sleep(_CHECK_INTERVAL)
            return
        try:
            await future
        finally:
            self._waiting.discard(future)
            if not self._waiting and self._queue and not loop.is_closed():
                loop.remove_reader(descriptor)

    def _wake(self) -> None:
        for future in self._waiting:
            if not future.done():
                future.set_result(None)

    def _close(self, end: tuple[int, bytes], *free: Any) -> None:
        if self._waiting and self._queue:
            # The loop must not watch a descriptor that is closed.
            next(iter(self._waiting)).get_loop().remove_reader(_native.queue_fd(self._queue))
        super()._close(end, *free)
        self._wake()

    async def close(self) -> None:
        """Closes the stream. A task that waits for an event gets None. Closing it twice is fine."""
        self._close((_native.DONE, b""))

    def __await__(self) -> Generator[Any, None, Self]:
        yield from self._open().__await__()
        return self

    async def __aenter__(self) -> Self:
        await self._open()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> StreamEvent:
        event = await self.next()
        if event is None:
            raise StopAsyncIteration
        return event
