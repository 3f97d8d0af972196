"""The worker whose waits are awaited: items and changes of leases come through the event loop's completion queue."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable, Mapping
from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, Any, Callable, overload
from weakref import WeakMethod

from . import _native
from ._aio import LoopQueue, loop_queue
from ._async_resources import AsyncFinishMixin
from ._errors import AntenvError, LeaseLostError, error_from
from ._lease import BaseLease
from ._run import check_run, end_failed, takes_tools
from ._sync import decoded, encoded
from ._worker import BaseWorker
from .types import Handover, OnError, SessionEnd, Work

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._async_client import AsyncClient
    from ._tools import AnyTool
    from .types import ServeParams


class AsyncLeaseEvent:
    """`lease.cancelled`: set when the lease is lost, its item is to be stopped, or it has ended.

    It is like an `asyncio.Event` that the library sets. It takes no thread and no task, and any number of tasks may
    wait.
    """

    def __init__(self, lease: AsyncLease) -> None:
        self._lease = lease

    def is_set(self) -> bool:
        """Returns whether it is set."""
        return self._lease._is_over()

    async def wait(self) -> bool:
        """Waits until it is set; returns True."""
        if not self.is_set():
            await asyncio.shield(self._lease._no_longer_held())  # other tasks may wait for it, too
        return True


class AsyncLease(AsyncFinishMixin, BaseLease):
    """A lease on a work item. The library keeps it by heartbeats until it is finished, whatever the program's tasks do.

        async for lease in worker:
            async with lease:
                ...  # serve lease.session_id

    Leaving the block finishes it, which stops the item; a failure is logged and not raised, so that the loop goes on. A
    lease that is garbage collected is abandoned.
    """

    _change: asyncio.Future[tuple[int, bytes]] | None = None

    @property
    def cancelled(self) -> AsyncLeaseEvent:
        """Set when the lease is lost, its item is to be stopped, or it has ended; `state()` returns the reason."""
        return AsyncLeaseEvent(self)

    def client(self) -> AsyncClient:
        """Makes a client with the item's own token, on the worker's connections, for the calls that serving it takes.

        If the item's secret holds no token, the client has the environment's key. It may outlive the lease. Raises
        ClosedError when the lease has ended. Does not block.
        """
        from ._async_client import AsyncClient

        client = AsyncClient.__new__(AsyncClient)
        client._adopt(*_native.call_for_handle(_native.lease_client, self._handle))
        return client

    async def serve(
        self, tools: Iterable[AnyTool] = (), *, tracebacks: bool = False, **params: Unpack[ServeParams]
    ) -> SessionEnd:
        """Serves the item's session: runs the calls of an agent's tools and posts their results, until it is over.

            async with lease:
                await lease.serve([weather])  # async def weather(city: str) -> str: ...

        Returns why it is over; the lease goes on. A tool that is a coroutine function runs in a task, which is
        cancelled when its call becomes void: when a user interrupts the agent, `tool_timeout` is over, or the session.
        A plain function runs in a thread of its own, which goes on then; `antenv.ToolCall` says why it should end. What
        a tool raises is the result of its call, and is logged (by the logger "antenv.session") unless it is an
        `antenv.ToolError`; KeyboardInterrupt and SystemExit end this. Cancelling it cancels the tools: their calls get
        no result, and are handed out again to who serves the session next.

        Raises ConfigError when an argument is invalid, and what the server refuses permanently, such as
        AuthenticationError; ClosedError when the lease has ended before, and in a forked child.

        Args:
            tools: The tools: `antenv.tool`s, or functions to make them of. Calls of others are left to other clients.
            tracebacks: Whether the agent gets the traceback of what a tool raises, and not only its message.
            params: `ServeParams` documents them.
        """
        from ._async_serve import AsyncSession
        from ._tools import tools_by_name

        return await AsyncSession(self, tools_by_name(tools, is_async=True), tracebacks, params).run()

    async def release(self) -> Handover:
        """Ends the lease so that another process can go on with it; returns what that must know.

        Nothing is sent any more, also when the `async with` block is left. Give it to one process only: one that calls
        `client.adopt()`, or an official client's `handle_item`. A lease that is released and not adopted expires, and
        the work queue hands the item out again.

        Raises LeaseLostError when the lease is lost, and ClosedError when it has ended; it ends in either case. Waits
        in a thread while the result of a heartbeat is unknown: not at all, as a rule.
        """
        return await asyncio.get_running_loop().run_in_executor(None, self._hand_over)

    async def _finish(self, params: Mapping[str, Any]) -> Work | None:
        try:
            return Work._of(decoded(await loop_queue().call(self._submit_finish, self._handle, encoded(params))))
        except LeaseLostError:
            self._lost = True
            raise

    def _no_longer_held(self) -> asyncio.Future[tuple[int, bytes]]:
        """Returns a future of the lease's change or end; its status is OK unless the program ended the lease."""
        if self._change is None:
            self._change = loop_queue().attach(_native.lease_attach, self._handle)
        return self._change

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._handle:
            try:
                await self.finish()
            except AntenvError as error:
                self._log_unfinished(error)


class AsyncWorker(BaseWorker):
    """Serves the work queue of a self-hosted environment; `client.environments.worker(...)` makes one.

        async def serve(lease: antenv.AsyncLease) -> None:
            print(lease.session_id)

        async with client.environments.worker(concurrency=64) as worker:  # ANTHROPIC_ENVIRONMENT_ID, ..._KEY
            await worker.run(serve)  # 64 items at a time

    From the first wait on it claims as many items as `concurrency` allows, whether or not a task waits for them, until
    it is stopped or freed; an item that no task takes within a minute is returned to the work queue. Iterating ends
    when the worker was stopped or the work queue is drained, and raises the error that ended the worker. Any number of
    tasks of one loop may use it at once. Leaving its `async with` block stops and frees it.
    """

    _queue: LoopQueue | None = None
    _tag = 0
    #: Counts the completions that no task has taken yet.
    _arrivals: asyncio.Semaphore

    async def next(self) -> AsyncLease | None:
        """Waits for the next item and returns its lease; returns None when no more items are to come.

        Raises the error that ended the worker, such as AuthenticationError, from then on every time. Cancelling its
        task, or a `timeout` around it, ends only the wait.
        """
        if not self._attach():
            return None
        while True:
            await self._arrivals.acquire()
            lease, text = AsyncLease(self), c_void_p()
            status: int = _native.worker_take(self._handle, 0, byref(lease._handle), byref(text))
            answer = _native.take_string(text.value)
            if status == _native.OK:
                lease.work = Work._of(decoded(answer))
                return lease
            if status != _native.TIMEOUT:  # as it is when the item has been released meanwhile
                self._arrivals.release()  # other tasks that wait get the same result
                if status in (_native.DONE, _native.INVALID_HANDLE):  # stopped, drained, or closed by another task
                    return None
                raise error_from(status, answer)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> AsyncLease:
        lease = await self.next()
        if lease is None:
            raise StopAsyncIteration
        return lease

    @overload
    async def run(
        self, handler: Callable[[AsyncLease], Coroutine[Any, Any, object]], *, on_error: OnError = "finish"
    ) -> None: ...

    @overload
    async def run(
        self,
        *,
        tools: Iterable[AnyTool],
        tracebacks: bool = False,
        on_error: OnError = "finish",
        **params: Unpack[ServeParams],
    ) -> None: ...

    async def run(
        self,
        handler: Callable[[AsyncLease], Coroutine[Any, Any, object]] | None = None,
        *,
        tools: Iterable[AnyTool] | None = None,
        tracebacks: bool = False,
        on_error: OnError = "finish",
        **params: Any,
    ) -> None:
        """Serves items, each in its own task, until no more items are to come and all are served.

        An item is served by the handler, or with tools, as `lease.serve` does; then it is finished. What a handler
        raises is logged (by the logger "antenv.worker"), and the others go on. A handler whose lease is lost, or whose
        item is to be stopped, is cancelled. In the end the error that ended the worker is raised, if there is one.
        `stop` ends it gently; cancelling it stops the worker, cancels the handlers and waits for them.

        Args:
            handler: A coroutine function, called with each lease. (`Worker.run` takes plain functions.)
            tools: In place of a handler: the tools to serve the items' sessions with.
            tracebacks: With tools: whether the agent gets the traceback of what a tool raises.
            on_error: What happens to an item whose handler raises: "finish" stops it, so that it is not served again;
                "abandon" leaves it to the work queue, which hands it out again when its lease has expired.
            params: With tools: `ServeParams` documents them. A ConfigError about them ends the worker.

        Raises:
            TypeError: `handler` is a plain function; there are both a handler and tools, or neither.
            ValueError: `on_error` is something else, or two tools have the same name.
        """
        items = None
        if takes_tools(handler, tools, params):
            from ._async_serve import AsyncServeItems

            items = AsyncServeItems(self, tools or (), tracebacks, params)
        serve = check_run(items or handler, on_error, is_async=True)
        tasks: set[asyncio.Task[None]] = set()
        failure: AntenvError | None = None
        try:
            try:
                async for lease in self:
                    task = asyncio.ensure_future(_serve(serve, lease, on_error))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            except AntenvError as error:
                failure = error
            await _all_done(tasks)
        except BaseException:
            self.stop()  # also when no handler runs: it would go on claiming
            for task in tasks:
                task.cancel()
            await _all_done(tasks)
            raise
        if failure:
            raise failure
        if items and items.failure:
            raise items.failure

    async def close(self) -> None:
        """Stops and frees the worker. Leases go on until they are finished or `grace` is over."""
        self._free()

    def _attach(self) -> bool:
        """Attaches the worker to the running loop, unless it is already. Returns False if the worker is closed."""
        queue = loop_queue()
        if self._handle and queue is not self._queue:
            self._detach()
            self._arrivals = asyncio.Semaphore(0)
            self._tag = queue.watch(_native.worker_attach, self._handle, _weak_notifier(self))
            self._queue = queue
        return bool(self._handle)

    def _detach(self) -> None:
        if self._queue:
            self._queue.forget(self._tag)
            self._queue = None

    def _notify(self) -> None:
        self._arrivals.release()

    def _free(self, free: Any = _native.worker_free) -> None:
        super()._free(free)
        if self._queue:
            self._notify()  # wakes the tasks that wait
        self._detach()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _weak_notifier(worker: AsyncWorker) -> Callable[[], None]:
    """Returns a function that notifies a worker without keeping it alive: garbage is stopped."""
    reference = WeakMethod(worker._notify)

    def notify() -> None:
        method = reference()
        if method:
            method()

    return notify


async def _all_done(tasks: set[asyncio.Task[None]]) -> None:
    """Waits until a set, which tasks leave at their end, is empty."""
    while tasks:
        await asyncio.wait(tasks)


async def _serve(
    handler: Callable[[AsyncLease], Coroutine[Any, Any, object]], lease: AsyncLease, on_error: OnError
) -> None:
    """Serves an item in the current task, which is cancelled when the lease ends while the handler runs."""
    task = asyncio.current_task()

    def cancel(change: asyncio.Future[tuple[int, bytes]]) -> None:
        if task and change.result()[0] == _native.OK:
            task.cancel()

    async with lease:
        change = lease._no_longer_held()
        change.add_done_callback(cancel)
        try:
            await handler(lease)
        except Exception:
            end_failed(lease, on_error)
        finally:
            change.remove_done_callback(cancel)
