"""Serving a session whose tools are awaited: calls come through the event loop's completion queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Mapping
from contextlib import suppress
from contextvars import copy_context
from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, Any, Callable, TypeVar

from . import _native
from ._aio import loop_queue
from ._errors import AntenvError, ConfigError, InvalidArgumentError
from ._serve import BaseServeItems, BaseSession, encoded_result, invalid_result
from ._tool_call import ToolCall
from ._tools import Tool

if TYPE_CHECKING:
    from ._async_worker import AsyncLease
    from ._worker import BaseLease
    from .types import SessionEnd

T = TypeVar("T")

#: How often a running call is asked whether it is void, in seconds.
_CHECK_INTERVAL = 0.05


class AsyncSession(BaseSession):
    """Serves a session in the task that awaits `run`, and each call in a task of its own."""

    def __init__(
        self, lease: BaseLease, tools: Mapping[str, Tool[..., Any]], tracebacks: bool, params: Mapping[str, Any]
    ) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        #: What ended a task: something like SystemExit, which is not the failure of a tool.
        self._failure: BaseException | None = None
        self._is_ending = False
        self._arrived = asyncio.Event()
        super().__init__(lease, tools, tracebacks, params)

    async def run(self) -> SessionEnd:
        """Serves the session to its end, and returns why it is over."""
        queue = loop_queue()
        tag = queue.watch(_native.session_attach, self._handle, self._arrived.set)
        try:
            end = await self._serve()
        finally:
            queue.forget(tag)
            self._free()
            self._is_ending = True
            for task in self._tasks:
                task.cancel()
            while self._tasks:
                await asyncio.wait(self._tasks)
        if self._failure is not None:
            raise self._failure
        return end

    async def _serve(self) -> SessionEnd:
        while True:
            await self._arrived.wait()
            self._arrived.clear()
            if self._failure is not None:
                raise self._failure
            while (taken := self._next()) is not None:
                if not isinstance(taken, ToolCall):
                    return taken
                task = asyncio.ensure_future(self._answer(taken))
                self._tasks.add(task)
                task.add_done_callback(self._on_done)

    def _next(self) -> ToolCall | SessionEnd | None:
        """Takes a call that is ready, or the end. Does not block."""
        taken, text = ToolCall(self._session_id), c_void_p()
        status: int = _native.session_take(self._handle, 0, byref(taken._handle), byref(text))
        return self._taken(status, _native.take_string(text.value), taken)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._failure = failure
            self._arrived.set()

    async def _answer(self, taken: ToolCall) -> None:
        """Runs the tool, and posts its result. Cancelled when the call becomes void."""
        try:
            result = await self._await_result_of(taken)
            queue = loop_queue()
            try:
                await queue.call(taken._submit_reply, taken._handle, result)
            except InvalidArgumentError as error:
                await queue.call(taken._submit_reply, taken._handle, invalid_result(error))
        except AntenvError:
            pass  # the call is void, or the library keeps the result and has logged why it is not posted yet
        finally:
            taken._free()

    async def _await_result_of(self, call: ToolCall) -> bytes:
        """Runs the tool; returns the result as the library takes it."""
        tool = self._tools[call.name]
        end_watch = _cancel_when_void(call)
        try:
            if not tool.is_async:
                return await _in_thread(f"antenv-tool-{call.name}", lambda: self._result_of(call))
            return encoded_result(await tool._run(call))
        except Exception as error:
            return self._failed(call, error)
        except asyncio.CancelledError as error:
            if self._is_ending or call.is_void:
                raise
            return self._failed(call, error)  # it was raised by the tool
        finally:
            end_watch()


class AsyncServeItems(BaseServeItems):
    """The handler of `AsyncWorker.run`."""

    _is_async = True

    async def __call__(self, lease: AsyncLease) -> None:
        try:
            await lease.serve(**self._arguments)
        except ConfigError as error:
            self._on_config_error(lease, error)


def _cancel_when_void(call: ToolCall) -> Callable[[], None]:
    """Cancels the current task when a call becomes void; returns what ends that."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    timer: asyncio.TimerHandle

    def check() -> None:
        nonlocal timer
        if not call.is_void:
            timer = loop.call_later(_CHECK_INTERVAL, check)
        elif task is not None:
            task.cancel()

    def end() -> None:
        timer.cancel()

    timer = loop.call_later(_CHECK_INTERVAL, check)
    return end


def _in_thread(name: str, function: Callable[[], T]) -> asyncio.Future[T]:
    """Runs a function in a thread of its own, which does not keep the process; returns a future of its result.

    The threads of the loop's executor are few, and each must end before the process does.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def settle(set_outcome: Callable[[Any], None], outcome: Any) -> None:
        if not future.done():  # else its task was cancelled
            set_outcome(outcome)

    def run() -> None:
        try:
            outcome: tuple[Any, Any] = future.set_result, function()
        except BaseException as failure:
            outcome = future.set_exception, failure
        with suppress(RuntimeError):  # the loop was closed meanwhile
            loop.call_soon_threadsafe(settle, *outcome)

    threading.Thread(target=copy_context().run, args=(run,), name=name, daemon=True).start()
    return future
