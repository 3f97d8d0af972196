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
from ._errors import AntenvError, ClosedError, ConfigError
from ._serve import BaseServeItems, BaseSession, encoded_result
from ._tool_call import ToolCall
from ._tools import Tool

if TYPE_CHECKING:
    from ._async_worker import AsyncLease
    from ._lease import BaseLease
    from .types import SessionEnd

T = TypeVar("T")


class AsyncSession(BaseSession):
    """Serves a session in the task that awaits `run`, and each call in a task of its own."""

    def __init__(
        self, lease: BaseLease, tools: Mapping[str, Tool[..., Any]], tracebacks: bool, params: Mapping[str, Any]
    ) -> None:
        self._tasks: set[asyncio.Task[None]] = set()
        #: What ended a task: something like SystemExit, which is not the failure of a tool.
        self._failure: BaseException | None = None
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
            self._close()
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
        """Runs the tool, and posts its result."""
        try:
            result = await self._await_result_of(taken)
            if result is not None:
                await loop_queue().call(taken._submit_reply, taken._handle, result)
        except AntenvError:
            pass  # the call is void, or the library keeps the result and has logged why it is not posted yet
        finally:
            taken._free()

    async def _await_result_of(self, call: ToolCall) -> bytes | None:
        """Runs the tool; returns the result as the library takes it, None when the call is void."""
        running: asyncio.Future[bytes] = (
            asyncio.ensure_future(self._run_tool(call))
            if self._tools[call.name].is_async
            else _in_thread(f"antenv-tool-{call.name}", lambda: self._result_of(call))
        )
        await _end_of(running, call)
        if not running.cancelled():
            return running.result()
        return None if call.is_void else self._failed(call, asyncio.CancelledError())  # which the tool raised

    async def _run_tool(self, call: ToolCall) -> bytes:
        try:
            return encoded_result(await self._tools[call.name]._run(call))
        except Exception as error:
            return self._failed(call, error)


class AsyncServeItems(BaseServeItems):
    """The handler of `AsyncWorker.run`."""

    _is_async = True

    async def __call__(self, lease: AsyncLease) -> None:
        try:
            await lease.serve(**self._arguments)
        except ConfigError as error:
            self._on_config_error(lease, error)


async def _end_of(running: asyncio.Future[bytes], call: ToolCall) -> None:
    """Waits until a tool has ended. It is cancelled when its call becomes void, or the current task is cancelled.

    A tool that ends without waiting for anything is not watched: watching takes longer than such a tool.
    """
    is_cancelled = False

    def cancel() -> None:
        nonlocal is_cancelled
        if not is_cancelled:  # the tool may be cleaning up
            is_cancelled = True
            running.cancel()

    def on_void(change: asyncio.Future[tuple[int, bytes]]) -> None:
        if not change.cancelled() and change.result()[0] == _native.OK:  # else it has a reply, or was let go
            cancel()

    try:
        await asyncio.sleep(0)  # the tool begins
        if not running.done():
            with suppress(ClosedError):  # the tool has let the call go
                loop_queue().attach(_native.tool_call_attach, call._handle).add_done_callback(on_void)
            await asyncio.wait([running])
    except asyncio.CancelledError:
        cancel()
        await asyncio.wait([running])
        raise


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
