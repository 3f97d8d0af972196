"""The worker whose waits are awaited: items and the news of their leases come through the event loop's completion queue."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, Any, Callable
from weakref import WeakMethod

from . import _native
from ._aio import LoopQueue, loop_queue
from ._async_resources import AsyncFinishMixin
from ._errors import AntenvError, LeaseLostError, error_from
from ._sync import decoded, encoded
from ._worker import BaseLease, BaseWorker, OnError, check_run, end_failed
from .types import Work

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._async_client import AsyncClient


class AsyncLeaseEvent:
    """`lease.cancelled`: set when the lease is no longer simply held: it is lost, its item is to be stopped, or it has ended.

    As an `asyncio.Event` that the library sets. It takes no thread and no task, and any number of tasks may wait.
    """

    def __init__(self, lease: AsyncLease) -> None:
        self._lease = lease

    def is_set(self) -> bool:
        """Whether it is set."""
        return self._lease._is_over()

    async def wait(self) -> bool:
        """Waits until it is set; returns True."""
        if not self.is_set():
            await asyncio.shield(self._lease._no_longer_held())  # which others may be waiting for, too
        return True


class AsyncLease(AsyncFinishMixin, BaseLease):
    """A lease on a work item. The library keeps it by heartbeats until it is finished, whatever the program's tasks do.

        async for lease in worker:
            async with lease:
                ...  # serve lease.session_id

    Leaving the block finishes it, which stops the item; what goes wrong then is logged and not raised, so that the loop goes on. A
    lease that nobody has any more is abandoned.
    """

    _change: asyncio.Future[tuple[int, bytes]] | None = None

    @property
    def cancelled(self) -> AsyncLeaseEvent:
        """Set when the lease is no longer simply held: end the work. `state()` tells why."""
        return AsyncLeaseEvent(self)

    def client(self) -> AsyncClient:
        """A client with the item's own token, on the worker's connections: for the calls that serving the item takes.

        If the item's secret holds no token, it has the environment's key. It may outlive the lease.
        """
        from ._async_client import AsyncClient

        client = AsyncClient.__new__(AsyncClient)
        client._take(*_native.call_for_handle(_native.lease_client, self._handle))
        return client

    async def _finish(self, params: Mapping[str, Any]) -> Work | None:
        try:
            return Work._of(decoded(await loop_queue().call(self._submit_finish, self._handle, encoded(params))))
        except LeaseLostError:
            self._lost = True
            raise

    def _no_longer_held(self) -> asyncio.Future[tuple[int, bytes]]:
        """Done when the lease is no longer simply held; with the status OK, unless it ended as its holder wanted."""
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

        async with client.environments.worker() as worker:  # ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY
            async for lease in worker:
                async with lease:
                    print(lease.session_id)

    From the first wait on it claims as many items as `concurrency` allows, whether somebody waits for them or not, until it is
    stopped or freed; an item that nobody takes within a minute goes back to the queue. Iterating ends when the worker was stopped
    or the queue is drained, and raises the error for which the worker gave up. Any number of tasks of one loop may use it at once.
    Leaving its `async with` block stops and frees it.
    """

    _queue: LoopQueue | None = None
    _tag = 0
    #: How many completions came that nobody has looked into.
    _arrivals: asyncio.Semaphore

    async def next(self) -> AsyncLease | None:
        """The next item's lease; None when there is nothing more to come.

        Raises the error for which the worker gave up, such as AuthenticationError, from then on every time. Cancelling its task, or
        a `timeout` around it, ends the wait alone.
        """
        if not self._attach():
            return None
        while True:
            await self._arrivals.acquire()
            lease, text = AsyncLease(self), c_void_p()
            status: int = _native.worker_take(self._handle, 0, byref(lease._handle), byref(text))
            answer = _native.take(text.value)
            if status == _native.OK:
                lease.work = Work._of(decoded(answer))
                return lease
            if status != _native.TIMEOUT:  # as it is when an item was taken back
                self._arrivals.release()  # whoever waits beside is told the same
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

    async def run(self, handler: Callable[[AsyncLease], Coroutine[Any, Any, object]], *, on_error: OnError = "finish") -> None:
        """Serves items with a handler, each in its own task, until no more items are to come and all handlers have returned.

        Each item is finished when its handler returns. What a handler raises is logged (by the logger "antenv.worker"), and the
        others go on. A handler whose lease is lost, or whose item is to be stopped, is cancelled. In the end the error that ended
        the worker is raised, if there was one. `stop` ends it gently; cancelling it stops the worker, cancels the handlers and
        waits for them.

        Args:
            handler: A coroutine function, called with each lease. (`Worker.run` takes plain functions.)
            on_error: What happens to an item whose handler raises: "finish" stops it, so that it is not served again;
                "abandon" leaves it to the work queue, which hands it out again when its lease has expired.

        Raises:
            TypeError: `handler` is a plain function.
            ValueError: `on_error` is something else.
        """
        check_run(handler, on_error, is_async=True)
        tasks: set[asyncio.Task[None]] = set()
        failure = None
        try:
            try:
                async for lease in self:
                    task = asyncio.ensure_future(_serve(handler, lease, on_error))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
            except AntenvError as error:
                failure = error
            while tasks:
                await asyncio.wait(tasks)
        finally:
            if tasks:
                await self._cancel(tasks)
        if failure:
            raise failure

    async def close(self) -> None:
        """Stops and frees the worker. Leases that were handed out go on until they are finished or `grace` is over."""
        self._free()

    def _attach(self) -> bool:
        """Has the running loop told of items, unless it is already. False: the worker is closed."""
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

    async def _cancel(self, tasks: set[asyncio.Task[None]]) -> None:
        self.stop()
        for task in tasks:
            task.cancel()
        while tasks:
            await asyncio.wait(tasks)

    def _notify(self) -> None:
        self._arrivals.release()

    def _free(self, free: Any = _native.worker_free) -> None:
        super()._free(free)
        if self._queue:
            self._notify()  # whoever waits
        self._detach()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _weak_notifier(worker: AsyncWorker) -> Callable[[], None]:
    """Tells a worker of news, without keeping it: it is stopped when nobody has it any more."""
    reference = WeakMethod(worker._notify)

    def notify() -> None:
        method = reference()
        if method:
            method()

    return notify


async def _serve(handler: Callable[[AsyncLease], Coroutine[Any, Any, object]], lease: AsyncLease, on_error: OnError) -> None:
    """Serves an item in the present task, which is cancelled while the handler has it and the lease is not simply held any more."""
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
