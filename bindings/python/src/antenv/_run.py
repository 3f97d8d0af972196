"""A worker's `run`: what it takes, what it does with a handler that fails, and its threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from ._errors import AntenvError

if TYPE_CHECKING:
    from ._lease import BaseLease
    from ._worker import Lease, Worker
    from .types import OnError

#: How often a thread that waits for others checks them, in seconds.
_CHECK_INTERVAL = 0.04
#: How many seconds handlers have to return after their items were given up: as long as the library itself waits then.
_LAST_SECONDS = 5.0


def takes_tools(handler: object, tools: object, params: Mapping[str, Any]) -> bool:
    """Returns whether `run` was given tools in place of a handler. Raises TypeError for both, or neither."""
    if (handler is None) == (tools is None):
        raise TypeError("run takes either a handler or tools")
    if handler is not None and params:
        raise TypeError(f"{', '.join(params)}: only with tools, not with a handler")
    return tools is not None


def check_run(handler: object, on_error: OnError, is_async: bool) -> Any:
    """Returns the handler. Raises TypeError if it is for the other kind of worker, ValueError for an unknown policy."""
    import inspect  # takes longer than a call, and is rarely needed

    function: Any = inspect.unwrap(handler) if callable(handler) else handler
    if not callable(function):
        raise TypeError(f"the handler must be a function, not {handler!r}")
    if (inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(type(function).__call__)) != is_async:
        raise TypeError(
            "AsyncWorker.run takes a coroutine function; for a plain one use Worker.run, of antenv.Client's worker"
            if is_async
            else "Worker.run takes a plain function; for a coroutine function use AsyncWorker.run, of"
            " antenv.AsyncClient's worker"
        )
    if on_error not in ("finish", "abandon"):
        raise ValueError(f'on_error must be "finish" or "abandon", not {on_error!r}')
    return handler


def end_failed(lease: BaseLease, on_error: OnError) -> None:
    """Logs what a handler raised, and abandons its item if `on_error` asks for it; otherwise the `with` block finishes
    it.

    Raising it would end a loop that has other items to serve. An item that is to be stopped is finished in either case.
    """
    is_abandoned = on_error == "abandon" and bool(lease._handle) and not lease._is_over()
    logger().exception(
        "a handler failed; its item is %s: work_id=%s", "abandoned" if is_abandoned else "finished", lease.id
    )
    if is_abandoned:
        lease.abandon()


def logger() -> Any:
    import logging  # takes longer than a call, and is rarely needed

    return logging.getLogger("antenv.worker")


class RunThreads:
    """The threads of a worker's `run`."""

    def __init__(self, worker: Worker, handler: Callable[[Lease], object], on_error: OnError) -> None:
        self._worker = worker
        self._handler = handler
        self._on_error = on_error
        self._threads: set[threading.Thread] = set()
        self._ended = threading.Event()
        self._handled: set[Lease] = set()
        #: When the worker was first seen to have given up all items.
        self._given_up_at: float | None = None
        #: The error that ended the worker.
        self.failure: AntenvError | None = None
        #: A Ctrl-C that one of the threads received, as greenlets do.
        self.interrupt: KeyboardInterrupt | None = None

    def start(self, threads: int) -> None:
        for number in range(threads):
            # They end before `run` does, except for one whose handler ignores the end of the grace period: it must not
            # keep the process.
            thread = threading.Thread(target=self._run, name=f"antenv-worker-{number}", daemon=True)
            self._threads.add(thread)
            try:
                thread.start()
            except BaseException:
                if not thread.is_alive():  # as it may be when waiting for its start was interrupted
                    self._threads.discard(thread)
                raise

    def join(self, is_enough: Callable[[], bool]) -> None:
        """Waits until all threads have ended or it is enough."""
        while self._threads and not is_enough():
            self._ended.wait(_CHECK_INTERVAL)
            self._ended.clear()

    def is_abandoned(self) -> bool:
        """Returns whether only handlers are left that go on long after the worker has given up their items."""
        handled = list(self._handled)
        if not handled or not all(lease._is_over() for lease in handled):
            return False
        if self._worker._handle and self._worker.stats()["leases_held"]:
            return False
        if self._given_up_at is None:
            self._given_up_at = time.monotonic()
        return time.monotonic() >= self._given_up_at + _LAST_SECONDS

    def _run(self) -> None:
        self._threads.add(threading.current_thread())
        try:
            for lease in self._worker:
                with lease:
                    self._handle(lease)
        except AntenvError as error:
            self.failure = error
        except KeyboardInterrupt as interrupt:
            self.interrupt = interrupt
        finally:
            self._threads.discard(threading.current_thread())
            self._ended.set()

    def _handle(self, lease: Lease) -> None:
        self._handled.add(lease)
        try:
            self._handler(lease)
        except KeyboardInterrupt:
            raise
        except BaseException:  # SystemExit, too: it would end one thread of many
            end_failed(lease, self._on_error)
        finally:
            self._handled.discard(lease)
