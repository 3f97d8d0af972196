"""Serving a session whose tools are awaited: calls come through the event loop's completion queue."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Generator, Mapping
from contextlib import suppress
from contextvars import copy_context
from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar

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
            task = self._context.run(self._loop.create_task, self._answer(found))
            self._tasks.add(task)
            task.add_done_callback(self._on_done)
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
            result = await self._await_result_of(taken)
            if result is not None:
                await self._queue.call(taken._submit_reply, taken._handle, result)
        except AntenvError:
            pass  # the call is void, or the library keeps the result and has logged why it is not posted yet
        finally:
            taken._free()

    async def _await_result_of(self, call: ToolCall) -> bytes | None:
        """Runs the tool; returns the result as the library takes it, None when the call is void."""
        tool = self._tools[call.name]
        try:
            if not tool.is_async:
                running = _in_thread(f"antenv-tool-{call.name}", lambda: self._result_of(call))
                return await _OnFirstWait(running, lambda: self._watch(call))
            return encoded_result(await _OnFirstWait(tool._run(call), lambda: self._watch(call)))
        except asyncio.CancelledError as error:
            await asyncio.sleep(0)  # what cancels all tasks cancels that of the session, too, which ends it
            return None if call.is_void else self._failed(call, error)  # the tool raised it
        except Exception as error:
            return self._failed(call, error)

    def _watch(self, call: ToolCall) -> None:
        """Has the current task cancelled when its call becomes void."""
        task: asyncio.Task[None] | None = asyncio.current_task()
        assert task is not None

        def on_void(change: asyncio.Future[tuple[int, bytes]]) -> None:
            if not change.cancelled() and change.result()[0] == _native.OK:  # else it has a reply, or was let go
                self._cancel(task)

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


class _OnFirstWait(Generic[T]):
    """Awaits something, and calls a function when that waits for the first time.

    A tool that ends without waiting is not watched: watching takes longer than such a tool.
    """

    def __init__(self, awaited: Awaitable[T], function: Callable[[], None]) -> None:
        self._awaited, self._function = awaited, function

    def __await__(self) -> Generator[Any, Any, T]:
        steps: Any = self._awaited.__await__()
        try:
            waits_for = next(steps)
            self._function()
            while True:
                try:
                    sent = yield waits_for
                except BaseException as error:
                    waits_for = steps.throw(error)
                else:
                    waits_for = steps.send(sent)
        except StopIteration as end:
            returned: T = end.value
            return returned


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
