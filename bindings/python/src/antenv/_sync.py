"""How a call that waits is made.

It is submitted to a completion queue and its completion awaited there, for the sake of Ctrl-C: a function that waits inside the
library keeps signals from the interpreter until it returns, while a wait at a queue ends when a signal arrives.
"""

from __future__ import annotations

import json
import math
import threading
import time
from collections.abc import Mapping
from ctypes import byref, c_void_p
from typing import Any, Callable

from . import _native, _threads
from ._errors import InvalidArgumentError, error_from
from ._units import to_milliseconds

#: How long the main thread waits at a time: the signal may have been taken by another thread, which does not end the wait.
_SLICE_MS = 40
#: How long a greenlet does, which then lets others have their turn.
_GREEN_SLICE_MS = 10
#: How long other threads do: for ever, in days.
_UNLIMITED_MS = 2**31

_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encoded(params: Mapping[str, Any]) -> bytes:
    """Returns the parameters of a call as the library takes them: JSON, with milliseconds for seconds."""
    params = to_milliseconds(params)
    try:
        return _encode(params).encode()
    except UnicodeEncodeError:  # half a surrogate pair; written as an escape it gets the library's error, which names the parameter
        return json.dumps(params).encode()


def decoded(text: bytes) -> Any:
    """What the library's JSON says. It is checked already: there is no need to guess the encoding, or to look behind the end."""
    return _decode(text.decode().lstrip())[0]


def c_string(name: str, text: str) -> bytes:
    """A text that the library takes as it is. It could not see the end of one with a NUL in it."""
    if "\0" in text:
        raise InvalidArgumentError(f"{name} must not contain NUL", {"status": "invalid_argument", "code": 1, "parameter": name})
    return text.encode()


def call_for_text(function: Any, handle: Any) -> bytes:
    """What one of the library's functions that do not wait tells of something; raises its error."""
    status, text = _native.call_for_text(function, handle)
    if status:
        raise error_from(status, text)
    return text


def _max_slice() -> int:
    """How long the present thread may wait inside the library at a time, in milliseconds."""
    if _threads.are_green():
        return _GREEN_SLICE_MS
    return _SLICE_MS if threading.current_thread() is threading.main_thread() else _UNLIMITED_MS


def _yield_to_others(slice_ms: int) -> None:
    """The interpreter runs the handlers of signals here, and raises what they raise. Greenlets take turns."""
    if slice_ms == _GREEN_SLICE_MS:
        time.sleep(0.001)  # not 0, which gevent takes for those alone that are ready at once


def wait_interruptibly(wait: Callable[[int], int], timeout: float | None) -> int:
    """Waits with a function of the library's that takes milliseconds, `timeout` seconds at most; returns its last status."""
    until = math.inf if timeout is None else time.monotonic() + timeout
    longest = _max_slice()
    while True:
        slice_ms = min(max(0.0, (until - time.monotonic()) * 1000), longest)
        status = wait(math.ceil(slice_ms))
        if status != _native.INTERRUPTED and (status != _native.TIMEOUT or slice_ms < longest):
            return status
        _yield_to_others(longest)


class _Waiter:
    """A completion queue and the places that calls write to: used by one call at a time."""

    __slots__ = ("_done", "_error", "_queue", "_text")

    def __init__(self) -> None:
        status, self._queue, error = _native.call_for_handle(_native.queue_new)
        if status:
            raise error_from(status, error)
        self._done, self._error = _native.Completion(), c_void_p()
        self._text = _native.CompletionText.from_buffer(self._done)

    def call(self, submit: Any, handle: Any, *what: bytes) -> tuple[int, bytes]:
        status: int = submit(handle, self._queue, *what, 0, None, byref(self._error))
        if status:
            return status, _native.take(self._error.value)
        done = self._done
        slice_ms = _max_slice()
        while status := _native.queue_next(self._queue, slice_ms, byref(done)):
            if status not in (_native.TIMEOUT, _native.INTERRUPTED):
                return status, b""
            _yield_to_others(slice_ms)
        text, address = self._text.json, done.json
        done.json = None
        _native.string_free(address)
        return done.status, text or b""

    def close(self) -> None:
        """Cancels the call, if one is under way."""
        _native.queue_free(self._queue)
        _native.take(self._done.json)


#: Those that no call uses at the moment. A signal handler may make a call while the call it interrupted waits: it takes another.
_idle: list[_Waiter] = []
#: How many are kept. Each has a descriptor, of which a thousand threads that called once would otherwise keep a thousand.
_MAX_IDLE = 8


def call(submit: Any, handle: Any, *what: bytes) -> bytes:
    """Makes a call and waits for it; returns its JSON, or raises its error.

    `submit` is one of the functions that submit, `handle` what it is about, `what` its arguments after the queue.
    """
    try:
        waiter = _idle.pop()
    except IndexError:
        waiter = _Waiter()
    try:
        status, text = waiter.call(submit, handle, *what)
    except BaseException:
        waiter.close()
        raise
    if len(_idle) < _MAX_IDLE:
        _idle.append(waiter)
    else:
        waiter.close()
    if status:
        raise error_from(status, text)
    return text
