"""Serving a session whose tools are awaited: calls come through the event loop's completion queue."""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Coroutine, Mapping
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
        #: The context variables of the task that awaits `run`, which its tools get.
        self._context = copy_context()
        self._loop, self._queue = asyncio.get_running_loop(), loop_queue()
        self._tasks: set[asyncio.Task[None]] = set()
        self._cancelled: set[asyncio.Task[None]] = set()
        #: Set when there are no more calls.
        self._is_over = asyncio.Event()
        self._end: SessionEnd | None = None
        #: What ended the session: an error of the library, or of a task: SystemExit is not the failure of a tool.
        self._failure: BaseException | None = None
        super().__init__(lease, tools, tracebacks, params)

    async def run(self) -> SessionEnd:
        """Serves the session to its end, and returns why it is over."""
        tag = self._queue.watch(_native.session_attach, self._handle, self._on_completion)
        try:
            await self._is_over.wait()
        finally:
            self._queue.forget(tag)
            self._close()
            for task in self._tasks:
                self._cancel(task)
            while self._tasks:
                await asyncio.wait(self._tasks)
        if self._failure is not None:
            raise self._failure
        assert self._end is not None
        return self._end

    def _on_completion(self) -> None:
        """Starts the call that is ready, or ends the session. The loop calls this for each completion."""
        taken, text = ToolCall(self._session_id), c_void_p()
        status: int = _native.session_take(self._handle, 0, byref(taken._handle), byref(text))
        try:
            found = self._taken(status, _native.take_string(text.value), taken)
        except AntenvError as error:
            return self._fail(error)
        if isinstance(found, ToolCall):
            task = self._context.run(_start, self._answer(found), self._loop)
            self._tasks.add(task)
            task.add_done_callback(self._on_done)
            if found._handle:  # else the tool has ended
                self._loop.call_soon(self._watch, found, task)  # after the task's first step
        elif found is not None:  # else the call became void just now
            self._end = found
            self._is_over.set()
        return None

    def _fail(self, failure: BaseException) -> None:
        self._failure = failure
        self._is_over.set()

    def _cancel(self, task: asyncio.Task[None]) -> None:
        """Cancels the task of a call once: its tool may be cleaning up."""
        if task not in self._cancelled:
            self._cancelled.add(task)
            task.cancel()

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._cancelled.discard(task)
        failure = None if task.cancelled() else task.exception()
        if failure is not None:
            self._fail(failure)

    async def _answer(self, taken: ToolCall) -> None:
        """Runs the tool, and posts its result."""
        try:
            try:
                tool = self._tools[taken.name]
                if tool.is_async:
                    result = encoded_result(await tool._run(taken))
                else:
                    result = await _in_thread(f"antenv-tool-{taken.name}", lambda: self._result_of(taken))
            except asyncio.CancelledError as error:
                await asyncio.sleep(0)  # what cancels all tasks cancels that of the session, too, which ends it
                if taken.is_void:
                    return
                result = self._failed(taken, error)  # the tool raised it
            except Exception as error:
                result = self._failed(taken, error)
            await self._queue.call(taken._submit_reply, taken._handle, result)
        except AntenvError:
            pass  # the call is void, or the library keeps the result and has logged why it is not posted yet
        except (SystemExit, KeyboardInterrupt) as failure:  # which `run` raises
            self._fail(failure)
        finally:
            taken._free()

    def _watch(self, call: ToolCall, task: asyncio.Task[None]) -> None:
        """Has a task cancelled when its call becomes void.

        A tool that has ended without waiting is not watched: watching takes longer than such a tool.
        """

        def on_void(change: asyncio.Future[tuple[int, bytes]]) -> None:
            if not change.cancelled() and change.result()[0] == _native.OK:  # else it has a reply, or was let go
                self._cancel(task)

        if call._handle:
            with suppress(ClosedError):  # the tool has let the call go
                self._queue.attach(_native.tool_call_attach, call._handle).add_done_callback(on_void)


class AsyncServeItems(BaseServeItems):
    """The handler of `AsyncWorker.run`."""

    _is_async = True

    async def __call__(self, lease: AsyncLease) -> None:
        try:
            await lease.serve(**self._arguments)
        except ConfigError as error:
            self._on_config_error(lease, error)


def _start(coroutine: Coroutine[Any, Any, None], loop: asyncio.AbstractEventLoop) -> asyncio.Task[None]:
    """Starts a task, which takes its first step at once if it can, not a turn of the loop later."""
    if sys.version_info >= (3, 12) and loop.get_task_factory() is None:
        return asyncio.Task(coroutine, loop=loop, eager_start=True)
    return loop.create_task(coroutine)


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
