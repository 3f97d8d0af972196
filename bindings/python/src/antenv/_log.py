"""The library's log, in the `logging` module: the logger "antenv", and below it one for each part ("antenv.client").

Records come to a queue, and a thread takes them from there. There is no such thread while nobody listens: it is made with the first
client for which the logger "antenv" is enabled for INFO or less, which is where the library's records begin. Set levels first.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from ctypes import byref

from . import _native

#: What the library calls the levels of `logging`; "trace" comes below DEBUG.
LEVELS = {"error": 40, "warn": 30, "info": 20, "debug": 10, "trace": 5}

_queue = 0
_following = "off"


def follow() -> None:
    """Has the library log what the logger "antenv" wants to have now."""
    global _queue, _following
    logging = sys.modules.get("logging")
    if logging is None:  # nobody can listen
        return
    logger = logging.getLogger("antenv")
    wanted = [name for name, level in LEVELS.items() if level <= 20 and logger.isEnabledFor(level)]
    filter = wanted[-1] if wanted else "off"
    if filter == _following:
        return
    if not _queue:
        status, _queue, _ = _native.made(_native.queue_new)
        if status:  # no descriptor left: there are worse troubles than a missing log
            return
        _start()
        os.register_at_fork(after_in_child=_start) if hasattr(os, "register_at_fork") else None
    _following = filter
    _native.log_subscribe(_queue, filter.encode(), 0, None)


def _start() -> None:
    threading.Thread(target=_forward, name="antenv-log", daemon=True).start()


def _forward() -> None:
    import logging

    record = _native.Completion()
    while (status := _native.queue_next(_queue, -1, byref(record))) in (_native.OK, _native.INTERRUPTED):
        if status == _native.OK:
            said = json.loads(_native.take(record.json))
            logger = logging.getLogger(said["target"].replace("::", "."))
            fields = said.get("fields") or {}
            text = " ".join([said["message"], *(f"{name}={value}" for name, value in fields.items())])
            logger.log(LEVELS[said["level"]], "%s", text, extra={"fields": fields})
