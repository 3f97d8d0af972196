"""Calls that block.

A call is submitted to a completion queue and its completion awaited there, for the sake of Ctrl-C: a function that
blocks inside the library keeps signals from the interpreter until it returns, while a wait at a queue ends when a
signal arrives.
"""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections.abc import Mapping
from ctypes import byref, c_void_p
from typing import Any, Callable

from . import _native, _threads
from ._errors import TOO_DEEP, APIResponseValidationError, InvalidArgumentError, error_from
from ._units import to_milliseconds

#: How long the main thread waits at a time: a signal that another thread receives does not end the wait.
_SLICE_MS = 40
#: How long a greenlet waits at a time, before it lets others run.
_GREEN_SLICE_MS = 10
#: How long other threads wait at a time: 24 days.
_UNLIMITED_MS = 2**31

_decode = json.JSONDecoder().raw_decode
_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode


def encoded(params: Mapping[str, Any]) -> bytes:
    """Returns the parameters of a call as the library takes them: JSON, with milliseconds for seconds."""
    params = to_milliseconds(params)
    try:
        return _encode(params).encode()
    except UnicodeEncodeError:
        # Half a surrogate pair. Written as an escape it gets the library's error, which names the parameter.
        return json.dumps(params).encode()


def decoded(text: bytes) -> Any:
    """Decodes JSON of the library. It is known to be valid UTF-8 and JSON, so nothing is checked again.

    Raises APIResponseValidationError if it is nested deeper than Python can decode.
    """
    try:
        return _decode(text.decode().lstrip())[0]
    except RecursionError:
        raise APIResponseValidationError(TOO_DEEP, {"status": "response", "code": _native.RESPONSE}) from None


def c_string(name: str, text: str) -> bytes:
    """Returns a text as a C string. Raises InvalidArgumentError if it contains NUL."""
    return without_nul(name, text.encode())


def without_nul(name: str, text: bytes) -> bytes:
    """Returns a C string. Raises InvalidArgumentError if it contains NUL."""
    if b"\0" in text:
        raise InvalidArgumentError(
            f"{name} must not contain NUL", {"status": "invalid_argument", "code": 1, "parameter": name}
        )
    return text


def path_argument(path: str | os.PathLike[str]) -> bytes:
    """Returns the path of a file as a C string. Raises InvalidArgumentError if it contains NUL."""
    return without_nul("path", os.fsencode(path))


def call_for_text(function: Any, handle: Any) -> bytes:
    """Calls a function of the library that does not block; returns its text or raises its error."""
    status, text = _native.call_for_text(function, handle)
    if status:
        raise error_from(status, text)
    return text


def _max_slice() -> int:
    """Returns for how many milliseconds the current thread may block inside the library at a time."""
    if _threads.are_green():
        return _GREEN_SLICE_MS
    return _SLICE_MS if threading.current_thread() is threading.main_thread() else _UNLIMITED_MS


def _yield_to_others(slice_ms: int) -> None:
    """Lets the interpreter run signal handlers, and raise what they raise; lets other greenlets run."""
    if slice_ms == _GREEN_SLICE_MS:
        time.sleep(0.001)  # with 0, gevent would only run greenlets that are ready at once


def wait_interruptibly(wait: Callable[[int], int], timeout: float | None) -> int:
    """Waits with a function that takes milliseconds, for `timeout` seconds at most; returns its last status."""
    until = math.inf if timeout is None else time.monotonic() + timeout
    longest = _max_slice()
    while True:
        slice_ms = min(max(0.0, (until - time.monotonic()) * 1000), longest)
        status = wait(math.ceil(slice_ms))
        if status != _native.INTERRUPTED and (status != _native.TIMEOUT or slice_ms < longest):
            return status
        _yield_to_others(longest)


class _Waiter:
    """A completion queue and the memory that a call's results are written to. Used by one call at a time."""

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
            return status, _native.take_string(self._error.value)
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
        """Frees the queue, which cancels a call in flight."""
        _native.queue_free(self._queue)
        _native.take_string(self._done.json)


#: The idle ones. A signal handler may make a call while the call it interrupted waits; it takes another one.
_idle: list[_Waiter] = []
#: The maximum number that is kept: each has a descriptor, and a thousand threads would leave a thousand of them.
_MAX_IDLE = 8


def call(submit: Any, handle: Any, *what: bytes) -> bytes:
    """Makes a call and waits for it; returns its JSON or raises its error.

    Args:
        submit: One of the library's functions that submit a call.
        handle: The handle that it is called with.
        what: Its arguments after the queue.
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
