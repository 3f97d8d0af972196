"""A call of a tool, as the tool gets it."""

from __future__ import annotations

from ctypes import c_void_p
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import error_from
from ._sync import wait_interruptibly
from ._uncopyable import Uncopyable

if TYPE_CHECKING:
    from .types import AgentCustomToolUse, AgentToolUse


class ToolCall(Uncopyable):
    """A call of a tool: what a tool gets that has a parameter annotated with it.

        @antenv.tool
        def build(target: str, call: antenv.ToolCall) -> str:
            while not call.wait(1.0):
                ...

    A call becomes void when it needs no result any more: a user has interrupted the agent, its thread has ended,
    another client has answered it, `tool_timeout` is over, or the session is. What the tool returns then is dropped.
    Any number of threads may use it. A coroutine function needs none of this: it is cancelled.
    """

    _advice = "pass on call.event, which is data"
    #: The event of the call, as the API sent it.
    event: AgentToolUse | AgentCustomToolUse
    #: The session that it belongs to.
    session_id: str

    def __init__(self, session_id: str) -> None:
        # The library writes the handle into it: a call is freed even if a signal handler interrupts the taking of it.
        self._handle = c_void_p()
        self.session_id = session_id

    @property
    def id(self) -> str:
        """The identifier of the call's event (`sevt_...`)."""
        return self.event["id"]

    @property
    def name(self) -> str:
        """The name of the tool."""
        return self.event["name"]

    @property
    def input(self) -> dict[str, Any]:
        """The input as the agent gave it."""
        return self.event["input"]

    @property
    def is_void(self) -> bool:
        """Whether the call needs no result any more. Does not block."""
        status, text = _native.call_for_text(_native.tool_call_poll, self._handle, 0)
        return _is_void(status, text)

    def wait(self, timeout: float | None = None) -> bool:
        """Waits until the call needs no result any more; returns whether that is so. Blocks, also in a coroutine.

        Args:
            timeout: For how many seconds to wait; None: without an end.
        """
        text = b""

        def wait(turn: int) -> int:
            nonlocal text
            status, text = _native.call_for_text(_native.tool_call_wait, self._handle, turn)
            return status

        return _is_void(wait_interruptibly(wait, timeout), text)

    def let_go(self) -> None:
        """Leaves the call to other clients: what the tool returns is dropped. Does not block."""
        self._free()

    def _submit_reply(self, handle: c_void_p, queue: int, result: bytes, tag: int, _ticket: Any, error: Any) -> int:
        """Replies like the functions that submit a call. The call has no handle from then on."""
        status: int = _native.tool_call_submit_reply(handle, result, queue, tag, error)
        if status == _native.OK:
            handle.value = None
        return status

    def _free(self, free: Any = _native.tool_call_free) -> None:  # a default argument lives as long as the interpreter
        """Lets the call go, unless it has a reply."""
        if self._handle:
            free(self._handle)
            self._handle.value = None

    def __del__(self) -> None:
        self._free()

    def __repr__(self) -> str:
        event = getattr(self, "event", None)
        return f"<antenv.ToolCall {event['name']} {event['id']}>" if event else "<antenv.ToolCall>"


def _is_void(status: int, text: bytes) -> bool:
    """Returns whether a call is void, or has its reply, by the result of a wait."""
    if status in (_native.OK, _native.DONE, _native.INVALID_HANDLE):
        return True
    if status == _native.TIMEOUT:
        return False
    raise error_from(status, text)
