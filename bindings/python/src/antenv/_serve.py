"""Serving a session: takes the calls of an agent's tools from the library, runs them, and replies. The library does the
rest.

The base class, which asyncio shares, is here, too.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Mapping
from contextvars import copy_context
from ctypes import byref, c_void_p
from json.encoder import encode_basestring
from typing import TYPE_CHECKING, Any

from . import _native
from ._content import content_of
from ._errors import AntenvError, ConfigError, error_from
from ._sync import call, decoded, encoded, wait_interruptibly
from ._tool_call import ToolCall
from ._tools import AnyTool, Tool, ToolError, tools_by_name
from .types import SessionEnd

if TYPE_CHECKING:
    from ._lease import BaseLease
    from ._worker import BaseWorker, Lease
    from .types import SessionStats


class BaseSession:
    """A handle to a session of the library, and the tools that serve it."""

    _handle = 0
    #: The statistics at the end.
    _last_stats = b""

    def __init__(
        self, lease: BaseLease, tools: Mapping[str, Tool[..., Any]], tracebacks: bool, params: Mapping[str, Any]
    ) -> None:
        self._tools = tools
        self._tracebacks = tracebacks
        self._session_id = lease.session_id
        given = {
            name: os.fspath(value) if isinstance(value, os.PathLike) else value
            for name, value in params.items()
            if value is not None
        }
        config = encoded({**given, "tools": list(tools)})
        status, self._handle, error = _native.call_for_handle(_native.session_new, lease._handle, config)
        if status:
            raise error_from(status, error)
        lease._session = self

    def stats(self) -> SessionStats:
        """Returns the counters; after the end, as they were then. Does not block."""
        status, text = _native.call_for_text(_native.session_stats, self._handle)
        if status == _native.INVALID_HANDLE and self._last_stats:
            status, text = _native.OK, self._last_stats
        if status:
            raise error_from(status, text)
        stats: SessionStats = decoded(text)
        return stats

    def _taken(self, status: int, text: bytes, taken: ToolCall) -> ToolCall | SessionEnd | None:
        """Returns what a wait for a call took: a call, or the end; None if there was none in time. Raises its error."""
        if status == _native.OK:
            taken.event = decoded(text)
            return taken
        if status == _native.DONE:
            return SessionEnd._of(decoded(text))
        if status == _native.TIMEOUT:
            return None
        raise error_from(status, text)

    def _result_of(self, call: ToolCall) -> bytes:
        """Runs a plain function for a call; returns the result as the library takes it."""
        try:
            return encoded_result(self._tools[call.name]._run(call))
        except Exception as error:
            return self._failed(call, error)

    def _failed(self, call: ToolCall, error: BaseException) -> bytes:
        """Returns the result of a tool that raised this. What it did not raise for the agent is logged."""
        if isinstance(error, ToolError):
            try:
                return encoded_result(error.content, is_error=True)
            except Exception as invalid:
                error = invalid
        import logging  # takes longer than a call, and is rarely needed

        logging.getLogger("antenv.session").warning(
            "a tool failed: session_id=%s tool=%s call=%s", call.session_id, call.name, call.id, exc_info=error
        )
        return encoded_result(_traceback(error) if self._tracebacks else _message(error), is_error=True)

    def _close(self) -> None:
        """Ends the session, and keeps its statistics."""
        status, text = _native.call_for_text(_native.session_stats, self._handle)
        if status == _native.OK:  # else it was closed before
            self._last_stats = text
        self._free()

    def _free(self, free: Any = _native.session_free) -> None:  # a default argument lives as long as the interpreter
        handle, self._handle = self._handle, 0
        if handle:
            free(handle)

    def __del__(self) -> None:
        self._free()


def encoded_result(value: Any, is_error: bool = False) -> bytes:
    """Returns what a tool returned as the library takes it."""
    if type(value) is str and not is_error:  # as most are: the encoder of everything else is set up for each value
        try:
            return f'{{"content":{encode_basestring(value)}}}'.encode()
        except UnicodeEncodeError:
            pass  # half a surrogate pair, which is encoded as any other value is
    return encoded({"content": content_of(value), "is_error": is_error})


def _message(error: BaseException) -> str:
    text = str(error)
    if text and not isinstance(error, KeyError):  # its text is the key alone
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _traceback(error: BaseException) -> str:
    import traceback

    return "".join(traceback.format_exception(type(error), error, error.__traceback__))


class Session(BaseSession):
    """Serves a session in the thread that calls `run`; in one for each call, if several may run at once."""

    def __init__(
        self, lease: BaseLease, tools: Mapping[str, Tool[..., Any]], tracebacks: bool, params: Mapping[str, Any]
    ) -> None:
        self._threads: set[threading.Thread] = set()
        #: What ended a thread: something like SystemExit, which is not the failure of a tool.
        self._failure: BaseException | None = None
        self._has_threads = (params.get("concurrency") or 1) != 1
        super().__init__(lease, tools, tracebacks, params)

    def run(self) -> SessionEnd:
        """Serves the session to its end, and returns why it is over."""
        try:
            end = self._serve()
            for thread in list(self._threads):
                thread.join()  # its call is void, as it can see
        except AntenvError:
            if self._failure is None:  # else it has freed the session
                raise
        finally:
            self._close()
        if self._failure is not None:
            raise self._failure
        return end

    def _serve(self) -> SessionEnd:
        while True:
            taken = self._next()
            if not isinstance(taken, ToolCall):
                return taken
            if self._has_threads:
                self._answer_in_thread(taken)
            else:
                self._answer(taken)

    def _next(self) -> ToolCall | SessionEnd:
        """Waits for the next call, or the end."""
        taken, text = ToolCall(self._session_id), c_void_p()

        def wait(milliseconds: int) -> int:
            status: int = _native.session_next(self._handle, milliseconds, byref(taken._handle), byref(text))
            return status

        status = wait_interruptibly(wait, None)
        found = self._taken(status, _native.take_string(text.value), taken)
        assert found is not None  # the wait has no end
        return found

    def _answer(self, taken: ToolCall) -> None:
        """Runs the tool, and posts its result."""
        try:
            call(taken._submit_reply, taken._handle, self._result_of(taken))
        except AntenvError:
            pass  # the call is void, or the library keeps the result and has logged why it is not posted yet
        finally:
            taken._free()

    def _answer_in_thread(self, taken: ToolCall) -> None:
        def run() -> None:
            try:
                self._answer(taken)
            except BaseException as failure:
                self._failure = failure
                self._close()  # wakes the thread that waits for calls
            finally:
                self._threads.discard(threading.current_thread())

        # A tool that does not end when Ctrl-C has ended the session must not keep the process.
        target = copy_context().run
        thread = threading.Thread(target=target, args=(run,), name=f"antenv-tool-{taken.name}", daemon=True)
        self._threads.add(thread)
        thread.start()


class BaseServeItems:
    """A worker's handler that serves sessions with tools."""

    _is_async = False

    def __init__(
        self, worker: BaseWorker, tools: Iterable[AnyTool], tracebacks: bool, params: Mapping[str, Any]
    ) -> None:
        self._worker = worker
        self._arguments: dict[str, Any] = {
            "tools": tools_by_name(tools, self._is_async).values(),
            "tracebacks": tracebacks,
            **params,
        }
        #: What ended the worker: ConfigError, as what is wrong for one session is wrong for all; a tool's SystemExit.
        self.failure: BaseException | None = None

    def _on_config_error(self, lease: BaseLease, error: ConfigError) -> None:
        self.failure = error
        lease.abandon()
        self._worker.stop()


class ServeItems(BaseServeItems):
    """The handler of `Worker.run`."""

    def __call__(self, lease: Lease) -> None:
        try:
            lease.serve(**self._arguments)
        except ConfigError as error:
            self._on_config_error(lease, error)
        except SystemExit as error:
            self.failure = error
            self._worker.stop()
