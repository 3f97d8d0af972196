"""The kinds of threads.

Where gevent or eventlet have replaced threads by greenlets, one that waits inside the library blocks all the others:
greenlets switch only where Python waits.
"""

from __future__ import annotations

import _thread
import sys
from ctypes import c_void_p, pythonapi
from typing import Any, Callable


def are_green() -> bool:
    """Returns whether the threads of `threading` are greenlets."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool(
        (gevent and gevent.is_module_patched("threading")) or (eventlet and eventlet.is_monkey_patched("thread"))
    )


def are_allowed() -> bool:
    """Returns whether a thread may be left running: one that outlives a subinterpreter ends the process."""
    try:
        main, own = pythonapi.PyInterpreterState_Main, pythonapi.PyInterpreterState_Get
    except AttributeError:  # not CPython: there are no subinterpreters
        return True
    main.restype = own.restype = c_void_p
    return bool(main() == own())


def start(function: Callable[[], object]) -> Any:
    """Runs a function in a thread, a real one also among greenlets; returns a lock that is free when it has returned.

    The function must not wait for anything but the library. Raises RuntimeError if the system starts no more threads.
    """
    make_lock, start_thread = _thread.allocate_lock, _thread.start_new_thread
    if are_green():
        if "gevent.monkey" in sys.modules:
            make_lock, start_thread = sys.modules["gevent.monkey"].get_original(
                "_thread", ["allocate_lock", "start_new_thread"]
            )
        else:
            original = sys.modules["eventlet.patcher"].original("_thread")
            make_lock, start_thread = original.allocate_lock, original.start_new_thread
    running = make_lock()
    running.acquire()

    def run() -> None:
        try:
            function()
        finally:
            running.release()

    start_thread(run, ())
    return running
