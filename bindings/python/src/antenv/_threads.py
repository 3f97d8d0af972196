"""The kinds of threads.

Where gevent or eventlet have replaced threads by greenlets, one that waits inside the library blocks all the others:
greenlets switch only where Python waits.
"""

from __future__ import annotations

import sys
from ctypes import c_void_p, pythonapi


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
