"""What kind of threads there are.

Where gevent or eventlet have put greenlets in their place, one that waits inside the library holds up all the others: they take
turns only where Python waits.
"""

from __future__ import annotations

import sys
from ctypes import c_void_p, pythonapi


def are_green() -> bool:
    """Whether what `threading` calls threads are greenlets."""
    gevent, eventlet = sys.modules.get("gevent.monkey"), sys.modules.get("eventlet.patcher")
    return bool((gevent and gevent.is_module_patched("threading")) or (eventlet and eventlet.is_monkey_patched("thread")))


def are_allowed() -> bool:
    """Whether a thread may be left running: one that outlives a subinterpreter ends the process."""
    try:
        main, own = pythonapi.PyInterpreterState_Main, pythonapi.PyInterpreterState_Get
    except AttributeError:  # not CPython: there are no subinterpreters
        return True
    main.restype = own.restype = c_void_p
    return bool(main() == own())
