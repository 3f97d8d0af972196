"""Threads as the system has them, also where gevent or eventlet have put greenlets in their place.

A greenlet that waits inside the library holds up all the others of its thread, for they take turns only where Python waits.
"""

from __future__ import annotations

import _thread
import sys
from ctypes import c_void_p, pythonapi
from typing import Any


def are_green() -> bool:
    """Whether what `threading` calls threads are greenlets."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool((gevent and gevent.is_module_patched("threading")) or (eventlet and eventlet.is_monkey_patched("thread")))


def genuine(name: str) -> Any:
    """A function of `_thread` as it was before gevent or eventlet put another in its place."""
    if gevent := sys.modules.get("gevent.monkey"):
        return gevent.get_original("_thread", name)
    if eventlet := sys.modules.get("eventlet.patcher"):
        return getattr(eventlet.original("_thread"), name)
    return getattr(_thread, name)


def are_allowed() -> bool:
    """Whether a thread may be left running: one that outlives a subinterpreter ends the process."""
    try:
        main, own = pythonapi.PyInterpreterState_Main, pythonapi.PyInterpreterState_Get
    except AttributeError:  # not CPython: there are no subinterpreters
        return True
    main.restype = own.restype = c_void_p
    return bool(main() == own())
