"""Streams of events, and their base, which the asynchronous one shares."""

from __future__ import annotations

import os
from collections.abc import Mapping
from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import error_from
from ._events import stream_event_of
from ._sync import decoded, encoded, wait_interruptibly
from ._uncopyable import Uncopyable
from .types import StreamEvent

if TYPE_CHECKING:
    from typing_extensions import Self


#: The error object of a stream in a forked child.
_FORKED = (
    b'{"status":"closed","code":9,"message":"this stream was opened before fork(); it cannot be used in the child"}'
)


class BaseStream(Uncopyable):
    """A handle to a stream of the library, and the completion queue that its events come through.

    Each stream has a queue of its own: events wait there until they are taken, and when enough of them wait, the server
    has to.
    """

    _advice = "pass on its events, which are data, or open another one"
    _queue = 0
    #: How the stream ended: the last completion.
    _end: tuple[int, bytes] | None = None
    #: The server's identifier of the request; None until the stream is open.
    request_id: str | None = None
    #: The response's headers, with names in lower case.
    headers: dict[str, str]

    def __init__(self, client: int, operation: bytes, params: Mapping[str, Any]) -> None:
        # The library writes the handle into it: a stream is freed even if a signal handler interrupts its opening.
        self._handle = c_void_p()
        self._process = os.getpid()
        self._what = client, operation, encoded(params)
        self.headers = {}

    def _submit(self) -> None:
        """Begins to open the stream. Its first completion reports that it is open."""
        status, self._queue, error = _native.call_for_handle(_native.queue_new)
        if status:
            raise error_from(status, error)
        (client, *what), text = self._what, c_void_p()
        status = _native.stream_submit(client, self._queue, *what, 0, byref(self._handle), byref(text))
        if status:
            error = _native.take_string(text.value)
            self._close((status, error))
            raise error_from(status, error)

    def _on_open(self, status: int, text: bytes) -> None:
        """Takes the first completion."""
        if status:
            self._close((status, text))
            raise error_from(status, text)
        response = decoded(text)
        self.request_id, self.headers = response["request_id"], response["headers"]

    def _take(self) -> tuple[int, bytes] | None:
        """Takes a completion if one waits, or the end if that has come. Does not block."""
        if os.getpid() != self._process:  # the queue works in a forked child, but the stream is its parent's
            return _native.CLOSED, _FORKED
        done = _native.Completion()
        status: int = _native.queue_take(self._queue, 0, byref(done))
        if status in (_native.TIMEOUT, _native.INTERRUPTED):
            return None
        return self._completion(status, done)

    def _completion(self, status: int, done: _native.Completion) -> tuple[int, bytes]:
        """Returns a completion that the queue returned with this status; for a queue that is closed, the end."""
        if status == _native.OK:
            return done.status, _native.take_string(done.json)
        return self._end or (status, b"")

    def _event(self, status: int, text: bytes) -> StreamEvent | None:
        """Returns a completion's event, None at the end. Raises the error that ended the stream."""
        if status == _native.OK:
            return stream_event_of(decoded(text))
        self._close((status, text))
        status, text = self._end or (status, text)
        if status == _native.DONE:
            return None
        raise error_from(status, text)

    def _close(
        self,
        end: tuple[int, bytes],
        free_stream: Any = _native.stream_free,  # a default argument lives as long as the interpreter
        free_queue: Any = _native.queue_free,
    ) -> None:
        """Ends the request, and wakes those who wait for an event. Later events are this end."""
        if self._end is None:
            self._end = end
        if self._handle:
            free_stream(self._handle)
            self._handle.value = None
        queue, self._queue = self._queue, 0
        if queue:
            free_queue(queue)

    def __del__(self) -> None:
        self._close((8, b""))

    def __repr__(self) -> str:
        return f"<antenv.{type(self).__name__}{', ended' if self._end else ''}>"


class Stream(BaseStream):
    """The events of a session as they happen; `client.sessions.events.stream(...)` opens one.

        with client.sessions.events.stream(session_id) as stream:
            for event in stream:
                if event["type"] == "agent.message":
                    print(event["content"])

    It has what happens from its opening on; `client.sessions.events.list` has what was before. It is read as fast as
    its events are taken; beyond that the server has to wait. It ends when the server ends it, which is no error, and it
    is not opened again by itself: open another one, and list what happened in between. Ctrl-C ends a wait at once.
    Threads may share it: each event goes to one of them. Leaving the `with` block closes it, and so does its garbage
    collection.
    """

    def __init__(self, client: int, operation: bytes, params: Mapping[str, Any]) -> None:
        super().__init__(client, operation, params)
        self._submit()
        try:
            self._on_open(*self._wait(None))
        except BaseException:
            self.close()
            raise

    def next(self, timeout: float | None = None) -> StreamEvent | None:
        """Waits for the next event and returns it; returns None when the stream has ended or is closed.

        Raises the error that ended the stream, from then on every time: APIConnectionError when it was cut off,
        APITimeoutError after `idle_timeout` of silence, APIStatusError when the API reported an error within it,
        APIResponseValidationError when an event is larger than `max_event_bytes`; ClosedError in a forked child.

        Args:
            timeout: After how many seconds the builtin TimeoutError is raised; None: never. The stream stays open.
        """
        return self._event(*self._wait(timeout))

    def _wait(self, timeout: float | None) -> tuple[int, bytes]:
        """Waits for a completion."""
        taken = self._take()
        if taken is not None:
            return taken
        done = _native.Completion()

        def wait(milliseconds: int) -> int:
            status: int = _native.queue_next(self._queue, milliseconds, byref(done))
            return status

        status = wait_interruptibly(wait, timeout)
        if status == _native.TIMEOUT:
            raise TimeoutError(f"no event came within {timeout:g} s")
        return self._completion(status, done)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> StreamEvent:
        event = self.next()
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        """Closes the stream. A thread that waits for an event gets None. Closing it twice is fine. Does not block."""
        self._close((_native.DONE, b""))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
