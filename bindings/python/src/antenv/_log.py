"""The library's log in the `logging` module: the logger "antenv", and below it one for each part ("antenv.client").

Records come through a completion queue, and a thread takes them from there. It starts with the first client or worker
that is made while the logger "antenv" is enabled for ERROR or less, as it is by default, in a program that has imported
`logging`: no other program has handlers. Set levels before that.

Under gevent or eventlet the thread is a greenlet, which polls for records and never waits inside the library. A real
thread would not do: there, handlers' locks and sockets are made for greenlets, and eventlet's fail in another thread.
"""

from __future__ import annotations

import _thread
import atexit
import json
import os
import sys
import threading
import time
from ctypes import byref
from typing import Any

from . import _native, _threads

#: The library's names of the levels of `logging`; "trace" is below DEBUG.
LEVELS = {"error": 40, "warn": 30, "info": 20, "debug": 10, "trace": 5}
#: How long the end of the interpreter waits for a handler, in seconds.
_LAST_SECONDS = 5.0
#: How often a greenlet polls for records, in seconds.
_GREEN_SECONDS = 0.1

#: What a queue returns before its end.
_ALIVE = (_native.OK, _native.TIMEOUT, _native.INTERRUPTED)

_queue = 0
_filter = "off"
_is_over = False
_is_green = False
#: Held by the thread as long as it runs.
_running: Any = None


def subscribe() -> None:
    """Subscribes to the records that the logger "antenv" is enabled for now."""
    global _filter
    logging = sys.modules.get("logging")
    if logging is None or _is_over:  # there can be no handler
        return
    logger = logging.getLogger("antenv")
    wanted = [name for name, level in LEVELS.items() if logger.isEnabledFor(level)]
    filter = wanted[-1] if wanted else "off"
    if filter != _filter and (_queue or _begin()):
        _filter = filter
        _native.log_subscribe(_queue, filter.encode(), 0, None)


def _begin() -> bool:
    """Makes the queue and the thread, which stay. Where that is not possible, there is no log."""
    global _queue, _is_green
    if not _threads.are_allowed():
        return False
    status, queue, _ = _native.call_for_handle(_native.queue_new)
    if status:  # there is no descriptor left: a missing log is the least of the troubles
        return False
    _queue, _is_green = queue, _threads.are_green()
    if not _start():
        _queue = 0
        _native.queue_free(queue)
        return False
    if not _is_registered:
        atexit.register(_end)
    os.register_at_fork(after_in_child=_start_in_child) if hasattr(os, "register_at_fork") else None
    return True


def _start() -> bool:
    """Starts the thread. Returns False if the interpreter or the system starts no more."""
    global _running
    running = _thread.allocate_lock()
    running.acquire()
    try:
        _thread.start_new_thread(_forward, (running,))
    except RuntimeError:
        return False
    _running = running
    return True


def _start_in_child() -> None:
    global _running
    if not _is_green:  # a greenlet goes on in the child
        _running = None
        _start()
    if processes := sys.modules.get("multiprocessing.util"):
        # A child of multiprocessing ends without running `atexit` handlers.
        processes.register_after_fork(_end, lambda end: processes.Finalize(None, end, exitpriority=0))


def _end() -> None:
    """Passes on the records that are left when the interpreter ends."""
    global _is_over
    if _is_over:
        return
    _is_over = True
    if not _queue:
        return
    _native.log_subscribe(_queue, b"off", 0, None)
    record = _native.Completion()
    while _native.queue_next(_queue, 0, byref(record)) == _native.OK:
        _emit(record)
    _native.queue_free(_queue)  # which ends the thread, after the record that it is passing on
    if _running:
        _running.acquire(timeout=_LAST_SECONDS)


def _forward(running: Any) -> None:
    record = _native.Completion()
    wait = 0 if _is_green else -1
    while (status := _native.queue_next(_queue, wait, byref(record))) in _ALIVE:
        if status == _native.OK:
            threading.current_thread().name = "antenv-log"
            _emit(record)
        elif _is_green:
            time.sleep(_GREEN_SECONDS)
    running.release()


def _emit(record: _native.Completion) -> None:
    import logging

    record_fields = json.loads(_native.take_string(record.json))
    logger = logging.getLogger(record_fields["target"].replace("::", "."))
    fields = record_fields.get("fields") or {}
    text = " ".join([record_fields["message"], *(f"{name}={value}" for name, value in fields.items())])
    try:
        logger.log(LEVELS[record_fields["level"]], "%s", text, extra={"fields": fields})
    except Exception:  # raised by a filter, or by a handler that does not handle its own
        sys.excepthook(*sys.exc_info())


#: Handlers of `atexit` run last in, first out: those registered later may still log, and `logging` ends after this one.
_is_registered = "logging" in sys.modules
if _is_registered:
    atexit.register(_end)
