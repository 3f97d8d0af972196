"""The worker: claims items from a work queue, and keeps their leases while they are served. The library does all of
that.

The base class of workers, which the asynchronous worker shares, is here, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, Any, Callable, overload

from . import _log, _native
from ._errors import AntenvError, LeaseLostError, error_from
from ._lease import BaseLease, is_over
from ._resources import FinishMixin
from ._run import RunThreads, check_run, takes_tools
from ._sync import call, call_for_text, decoded, encoded, wait_interruptibly
from ._uncopyable import Uncopyable
from .types import Handover, OnError, SessionEnd, Work

if TYPE_CHECKING:
    from typing_extensions import Self, Unpack

    from ._client import Client
    from ._tools import AnyTool
    from .types import ServeParams, WorkerStats


class BaseWorker(Uncopyable):
    """A handle to a worker of the library."""

    _advice = "make one in each process that serves items"
    _handle = 0

    def __init__(self, client: int, params: Mapping[str, Any]) -> None:
        _log.subscribe()
        status, self._handle, error = _native.call_for_handle(_native.worker_new, client, encoded(params))
        if status:
            raise error_from(status, error)

    def stop(self) -> None:
        """Stops the worker: it claims no more. Items that it has claimed are still handed out.

        Leases go on until they are finished. When `grace` is over, those that are left are cancelled, and their items
        stopped. Stopping twice changes nothing. Does not block.
        """
        status = _native.worker_stop(self._handle)
        if status not in (_native.OK, _native.INVALID_HANDLE):  # a closed one is stopped
            raise error_from(status, b"")

    def stats(self) -> WorkerStats:
        """Returns the worker's counters and its state. Does not block."""
        stats: WorkerStats = decoded(call_for_text(_native.worker_stats, self._handle))
        return stats

    def metrics(self) -> str:
        """Returns the same as text for Prometheus. Does not block."""
        return call_for_text(_native.worker_metrics, self._handle).decode()

    def __del__(self) -> None:
        self._free()

    def _free(self, free: Any = _native.worker_free) -> None:  # a default argument lives as long as the interpreter
        handle, self._handle = self._handle, 0
        if handle:
            free(handle)

    def __repr__(self) -> str:
        return f"<antenv.{type(self).__name__}{'' if self._handle else ', closed'}>"


class LeaseEvent:
    """`lease.cancelled`: set when the lease is lost, its item is to be stopped, or it has ended.

    It is like a `threading.Event` that the library sets. It takes no thread, and any number of threads may wait.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease

    def is_set(self) -> bool:
        """Returns whether it is set. Does not block."""
        return self._lease._is_over()

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until it is set; returns whether it is.

        Args:
            timeout: For how many seconds to wait; None: without an end.
        """
        text = b""

        def wait(turn: int) -> int:
            nonlocal text
            status, text = _native.call_for_text(_native.lease_wait, self._lease._handle, turn)
            return status

        return is_over(wait_interruptibly(wait, timeout), text)


class Lease(FinishMixin, BaseLease):
    """A lease on a work item. The library keeps it by heartbeats until it is finished, whatever the program's threads
    do.

        for lease in worker:
            with lease:
                ...  # serve lease.session_id

    Leaving the block finishes it, which stops the item; a failure is logged and not raised, so that the loop goes on. A
    lease that is garbage collected is abandoned. Any number of threads may use it.
    """

    @property
    def cancelled(self) -> LeaseEvent:
        """Set when the lease is lost, its item is to be stopped, or it has ended; `state()` returns the reason."""
        return LeaseEvent(self)

    def client(self) -> Client:
        """Makes a client with the item's own token, on the worker's connections, for the calls that serving it takes.

        If the item's secret holds no token, the client has the environment's key. It may outlive the lease. Raises
        ClosedError when the lease has ended. Does not block.
        """
        from ._client import Client

        client = Client.__new__(Client)
        client._adopt(*_native.call_for_handle(_native.lease_client, self._handle))
        return client

    def serve(
        self, tools: Iterable[AnyTool] = (), *, tracebacks: bool = False, **params: Unpack[ServeParams]
    ) -> SessionEnd:
        """Serves the item's session: runs the calls of an agent's tools and posts their results, until it is over.

            with lease:
                lease.serve([weather])  # def weather(city: str) -> str: ...

        Returns why it is over; the lease goes on. A tool runs in this thread; with `concurrency` above 1, each call has
        a thread of its own. What a tool raises is the result of its call, and is logged (by the logger
        "antenv.session") unless it is an `antenv.ToolError`; KeyboardInterrupt and SystemExit end this. So does Ctrl-C,
        at once: the calls that run then get no result, and are handed out again to who serves the session next.

        Raises ConfigError when an argument is invalid, and what the server refuses permanently, such as
        AuthenticationError; ClosedError when the lease has ended before, and in a forked child.

        Args:
            tools: The tools: `antenv.tool`s, or functions to make them of. Calls of others are left to other clients.
            tracebacks: Whether the agent gets the traceback of what a tool raises, and not only its message.
            params: `ServeParams` documents them.
        """
        from ._serve import Session
        from ._tools import tools_by_name

        return Session(self, tools_by_name(tools, is_async=False), tracebacks, params).run()

    def release(self) -> Handover:
        """Ends the lease so that another process can go on with it; returns what that must know.

        Nothing is sent any more, also when the `with` block is left. Give it to one process only: one that calls
        `client.adopt()`, or an official client's `handle_item`. A lease that is released and not adopted expires, and
        the work queue hands the item out again.

            handover = lease.release()
            subprocess.run(command, env={**os.environ, **handover.environment})

        Raises LeaseLostError when the lease is lost, and ClosedError when it has ended; it ends in either case. Blocks
        while the result of a heartbeat is unknown: not at all, as a rule.
        """
        return self._hand_over()

    def _finish(self, params: Mapping[str, Any]) -> Work | None:
        try:
            return Work._of(decoded(call(self._submit_finish, self._handle, encoded(params))))
        except LeaseLostError:
            self._lost = True
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._handle:
            try:
                self.finish()
            except AntenvError as error:
                self._log_unfinished(error)


class Worker(BaseWorker):
    """Serves the work queue of a self-hosted environment; `client.environments.worker(...)` makes one.

        def serve(lease: antenv.Lease) -> None:
            print(lease.session_id)

        with client.environments.worker(concurrency=4) as worker:  # ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY
            worker.run(serve)  # four items at a time

    It claims an item when a thread waits for one: `run` has `concurrency` threads, and a thread that iterates over the
    worker serves one item at a time. Iterating ends when the worker was stopped or the work queue is drained, and
    raises the error that ended the worker. Any number of threads may use it at once. Leaving its `with` block stops and
    frees it.
    """

    def next(self, timeout: float | None = None) -> Lease | None:
        """Waits for the next item and returns its lease; returns None when no more items are to come.

        Raises the error that ended the worker, such as AuthenticationError, from then on every time.

        Args:
            timeout: After how many seconds the builtin TimeoutError is raised; None: never. Its text says why
                the last poll failed, if it did.
        """
        lease, text = Lease(self), c_void_p()

        def wait(milliseconds: int) -> int:
            status: int = _native.worker_next(self._handle, milliseconds, byref(lease._handle), byref(text))
            return status

        status = wait_interruptibly(wait, timeout)
        answer = _native.take_string(text.value)
        if status == _native.OK:
            lease.work = Work._of(decoded(answer))
            return lease
        if status in (_native.DONE, _native.INVALID_HANDLE):  # stopped, drained, or closed by another thread
            return None
        if status == _native.TIMEOUT:
            failure = self.stats()["last_poll_failure"]
            raise TimeoutError(
                f"no work came within {timeout:g} s{f'; the last poll failed: {failure}' if failure else ''}"
            )
        raise error_from(status, answer)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Lease:
        lease = self.next()
        if lease is None:
            raise StopIteration
        return lease

    @overload
    def run(
        self, handler: Callable[[Lease], object], *, threads: int | None = None, on_error: OnError = "finish"
    ) -> None: ...

    @overload
    def run(
        self,
        *,
        tools: Iterable[AnyTool],
        tracebacks: bool = False,
        threads: int | None = None,
        on_error: OnError = "finish",
        **params: Unpack[ServeParams],
    ) -> None: ...

    def run(
        self,
        handler: Callable[[Lease], object] | None = None,
        *,
        tools: Iterable[AnyTool] | None = None,
        tracebacks: bool = False,
        threads: int | None = None,
        on_error: OnError = "finish",
        **params: Any,
    ) -> None:
        """Serves items in several threads, until no more items are to come and all are served.

        An item is served by the handler, or with tools, as `lease.serve` does; then it is finished. What a handler
        raises is logged (by the logger "antenv.worker"), and the others go on. In the end the error that ended the
        worker is raised, if there is one. When it is interrupted, as by Ctrl-C, it stops the worker and waits for the
        handlers, for as long as the worker's `grace` lasts.

        Args:
            handler: A plain function, called with each lease. (`AsyncWorker.run` takes coroutine functions.)
            tools: In place of a handler: the tools to serve the items' sessions with.
            tracebacks: With tools: whether the agent gets the traceback of what a tool raises.
            threads: How many items are served at once; None: as many as the worker's `concurrency`.
            on_error: What happens to an item whose handler raises: "finish" stops it, so that it is not served again;
                "abandon" leaves it to the work queue, which hands it out again when its lease has expired.
            params: With tools: `ServeParams` documents them. A ConfigError about them ends the worker.

        Raises:
            TypeError: `handler` or a tool is a coroutine function; there are both a handler and tools, or neither.
            ValueError: `on_error` is something else, or two tools have the same name.
        """
        items = None
        if takes_tools(handler, tools, params):
            from ._serve import ServeItems

            items = ServeItems(self, tools or (), tracebacks, params)
        serve = check_run(items or handler, on_error, is_async=False)
        service = RunThreads(self, serve, on_error)
        try:
            service.start(self.stats()["concurrency"] if threads is None else threads)
            service.join(lambda: service.interrupt is not None)
            if service.interrupt:
                raise service.interrupt
        except BaseException:
            self.stop()
            service.join(service.is_abandoned)
            raise
        failure = service.failure or (items.failure if items else None)
        if failure:
            raise failure

    def close(self) -> None:
        """Stops and frees the worker. Leases go on until they are finished or `grace` is over. Does not block."""
        self._free()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
