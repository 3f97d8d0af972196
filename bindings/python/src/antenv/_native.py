"""The library itself: loads it, declares its functions, and converts what they return.

Everything that touches ctypes is here. Values go in and come out as bytes and numbers: handles, JSON, statuses.
"""

from __future__ import annotations

import os
import sys
from ctypes import (
    CDLL,
    POINTER,
    PyDLL,
    Structure,
    byref,
    c_char_p,
    c_int,
    c_int32,
    c_int64,
    c_size_t,
    c_uint32,
    c_uint64,
    c_void_p,
)
from typing import Any

ABI_VERSION = 1
OK, INVALID_HANDLE, TIMEOUT, RESPONSE, DONE, CLOSED, INTERRUPTED = 0, 2, 5, 7, 8, 9, 12


class Completion(Structure):
    """antenv_completion."""

    _fields_ = (("tag", c_uint64), ("status", c_int32), ("json", c_void_p))


class CompletionText(Structure):
    """A completion, whose text is copied when it is read."""

    _fields_ = (("tag", c_uint64), ("status", c_int32), ("json", c_char_p))


_OUT = POINTER(c_void_p)
_NEXT_MANY = [c_void_p, c_int64, POINTER(Completion), c_size_t, POINTER(c_size_t)]

#: The result type and the parameter types of each function.
SIGNATURES: dict[str, tuple[Any, list[Any]]] = {
    "antenv_version": (c_char_p, []),
    "antenv_abi_version": (c_uint32, []),
    "antenv_status_name": (c_char_p, [c_int32]),
    "antenv_string_free": (None, [c_void_p]),
    "antenv_client_new": (c_int32, [c_char_p, _OUT, _OUT]),
    "antenv_client_derive": (c_int32, [c_void_p, c_char_p, _OUT, _OUT]),
    "antenv_client_free": (c_int32, [c_void_p]),
    "antenv_client_stats": (c_int32, [c_void_p, _OUT]),
    "antenv_queue_new": (c_int32, [_OUT, _OUT]),
    "antenv_queue_fd": (c_int, [c_void_p]),
    "antenv_queue_next": (c_int32, [c_void_p, c_int64, POINTER(Completion)]),
    "antenv_queue_next_many": (c_int32, _NEXT_MANY),
    "antenv_queue_free": (c_int32, [c_void_p]),
    "antenv_submit": (c_int32, [c_void_p, c_void_p, c_char_p, c_char_p, c_uint64, _OUT, _OUT]),
    "antenv_submit_request": (c_int32, [c_void_p, c_void_p, c_char_p, c_char_p, c_char_p, c_uint64, _OUT, _OUT]),
    "antenv_ticket_cancel": (c_int32, [c_void_p]),
    "antenv_ticket_free": (c_int32, [c_void_p]),
    "antenv_worker_new": (c_int32, [c_void_p, c_char_p, _OUT, _OUT]),
    "antenv_worker_next": (c_int32, [c_void_p, c_int64, _OUT, _OUT]),
    "antenv_worker_attach": (c_int32, [c_void_p, c_void_p, c_uint64]),
    "antenv_worker_stop": (c_int32, [c_void_p]),
    "antenv_worker_stats": (c_int32, [c_void_p, _OUT]),
    "antenv_worker_metrics": (c_int32, [c_void_p, _OUT]),
    "antenv_worker_free": (c_int32, [c_void_p]),
    "antenv_lease_state": (c_int32, [c_void_p, _OUT]),
    "antenv_lease_wait": (c_int32, [c_void_p, c_int64, _OUT]),
    "antenv_lease_attach": (c_int32, [c_void_p, c_void_p, c_uint64]),
    "antenv_lease_client": (c_int32, [c_void_p, _OUT, _OUT]),
    "antenv_lease_submit_finish": (c_int32, [c_void_p, c_char_p, c_void_p, c_uint64, _OUT]),
    "antenv_lease_adopt": (c_int32, [c_void_p, c_char_p, _OUT, _OUT]),
    "antenv_lease_release": (c_int32, [c_void_p, _OUT]),
    "antenv_lease_abandon": (c_int32, [c_void_p]),
    "antenv_stream_submit": (c_int32, [c_void_p, c_void_p, c_char_p, c_char_p, c_uint64, _OUT, _OUT]),
    "antenv_stream_free": (c_int32, [c_void_p]),
    "antenv_download_submit": (c_int32, [*[c_void_p] * 2, *[c_char_p] * 3, c_uint64, _OUT, _OUT]),
    "antenv_session_new": (c_int32, [c_void_p, c_char_p, _OUT, _OUT]),
    "antenv_session_next": (c_int32, [c_void_p, c_int64, _OUT, _OUT]),
    "antenv_session_attach": (c_int32, [c_void_p, c_void_p, c_uint64]),
    "antenv_session_stats": (c_int32, [c_void_p, _OUT]),
    "antenv_session_free": (c_int32, [c_void_p]),
    "antenv_tool_call_submit_reply": (c_int32, [c_void_p, c_char_p, c_void_p, c_uint64, _OUT]),
    "antenv_tool_call_wait": (c_int32, [c_void_p, c_int64, _OUT]),
    "antenv_tool_call_attach": (c_int32, [c_void_p, c_void_p, c_uint64]),
    "antenv_tool_call_free": (c_int32, [c_void_p]),
    "antenv_log_subscribe": (c_int32, [c_void_p, c_char_p, c_uint64, _OUT]),
    "antenv_shutdown": (c_int32, [c_int64]),
}


def _find() -> str:
    """Returns the library's path: ANTENV_LIBRARY, the one in this package, or the system's."""
    name = {"darwin": "libantenv.dylib", "win32": "antenv.dll"}.get(sys.platform, "libantenv.so")
    bundled = os.path.join(os.path.dirname(os.path.abspath(__file__)), name)
    installed = {"libantenv.so": "libantenv.so.0", "libantenv.dylib": "libantenv.0.dylib"}.get(name, name)
    return os.environ.get("ANTENV_LIBRARY") or (bundled if os.path.exists(bundled) else installed)


#: The library's path.
PATH = _find()
try:
    _waiting, _at_once = CDLL(PATH), PyDLL(PATH)
    _found = _waiting.antenv_abi_version()
except (OSError, AttributeError) as why:
    raise ImportError(f"antenv: the library {PATH} cannot be used: {why}") from None
if _found != ABI_VERSION:
    raise ImportError(f"antenv: the library {PATH} has ABI version {_found}; this package is made for {ABI_VERSION}")


def _function(library: CDLL, name: str) -> Any:
    function = getattr(library, name)
    function.restype, function.argtypes = SIGNATURES[name]
    return function


# These block or read files, and so release the interpreter's lock.
client_new = _function(_waiting, "antenv_client_new")
queue_next = _function(_waiting, "antenv_queue_next")
queue_next_many = _function(_waiting, "antenv_queue_next_many")
worker_next = _function(_waiting, "antenv_worker_next")
lease_wait = _function(_waiting, "antenv_lease_wait")
lease_adopt = _function(_waiting, "antenv_lease_adopt")
lease_release = _function(_waiting, "antenv_lease_release")
session_next = _function(_waiting, "antenv_session_next")
tool_call_wait = _function(_waiting, "antenv_tool_call_wait")
shutdown = _function(_waiting, "antenv_shutdown")
# These take microseconds. Releasing the lock would cost more, and milliseconds while another thread computes.
client_derive = _function(_at_once, "antenv_client_derive")
client_free = _function(_at_once, "antenv_client_free")
client_stats = _function(_at_once, "antenv_client_stats")
queue_new = _function(_at_once, "antenv_queue_new")
queue_fd = _function(_at_once, "antenv_queue_fd")
queue_take = _function(_at_once, "antenv_queue_next")  # with a timeout of 0
queue_take_many = _function(_at_once, "antenv_queue_next_many")  # with a timeout of 0
queue_free = _function(_at_once, "antenv_queue_free")
submit = _function(_at_once, "antenv_submit")
submit_request = _function(_at_once, "antenv_submit_request")
ticket_cancel = _function(_at_once, "antenv_ticket_cancel")
ticket_free = _function(_at_once, "antenv_ticket_free")
worker_new = _function(_at_once, "antenv_worker_new")
worker_take = _function(_at_once, "antenv_worker_next")  # with a timeout of 0
worker_attach = _function(_at_once, "antenv_worker_attach")
worker_stop = _function(_at_once, "antenv_worker_stop")
worker_stats = _function(_at_once, "antenv_worker_stats")
worker_metrics = _function(_at_once, "antenv_worker_metrics")
worker_free = _function(_at_once, "antenv_worker_free")
lease_state = _function(_at_once, "antenv_lease_state")
lease_poll = _function(_at_once, "antenv_lease_wait")  # with a timeout of 0
lease_attach = _function(_at_once, "antenv_lease_attach")
lease_client = _function(_at_once, "antenv_lease_client")
lease_submit_finish = _function(_at_once, "antenv_lease_submit_finish")
lease_abandon = _function(_at_once, "antenv_lease_abandon")
stream_submit = _function(_at_once, "antenv_stream_submit")
stream_free = _function(_at_once, "antenv_stream_free")
download_submit = _function(_at_once, "antenv_download_submit")
session_new = _function(_at_once, "antenv_session_new")
session_take = _function(_at_once, "antenv_session_next")  # with a timeout of 0
session_attach = _function(_at_once, "antenv_session_attach")
session_stats = _function(_at_once, "antenv_session_stats")
session_free = _function(_at_once, "antenv_session_free")
tool_call_submit_reply = _function(_at_once, "antenv_tool_call_submit_reply")
tool_call_poll = _function(_at_once, "antenv_tool_call_wait")  # with a timeout of 0
tool_call_attach = _function(_at_once, "antenv_tool_call_attach")
tool_call_free = _function(_at_once, "antenv_tool_call_free")
log_subscribe = _function(_at_once, "antenv_log_subscribe")
string_free = _function(_at_once, "antenv_string_free")
status_name = _function(_at_once, "antenv_status_name")
abi_version = _function(_at_once, "antenv_abi_version")

VERSION: str = _function(_at_once, "antenv_version")().decode()


def take_string(address: int | None) -> bytes:
    """Returns a copy of a string that the library allocated, and frees the string."""
    if not address:
        return b""
    text = c_char_p(address).value or b""  # string_at is a call of a function, which takes longer
    string_free(address)
    return text


def call_for_text(function: Any, *arguments: Any) -> tuple[int, bytes]:
    """Calls a function that returns text; returns the status, and the text or the error object."""
    text = c_void_p()
    status: int = function(*arguments, byref(text))
    return status, take_string(text.value)


def call_for_handle(function: Any, *arguments: Any) -> tuple[int, int, bytes]:
    """Calls a function that makes a handle; returns the status, the handle and the error object."""
    handle, error = c_void_p(), c_void_p()
    status: int = function(*arguments, byref(handle), byref(error))
    return status, handle.value or 0, take_string(error.value)
