"""What the leases of threads and those of asyncio have in common. The library keeps them."""

from __future__ import annotations

from ctypes import byref, c_void_p
from typing import TYPE_CHECKING, Any

from . import _native
from ._errors import AntenvError, error_from
from ._run import logger
from ._sync import call_for_text, decoded
from ._uncopyable import Uncopyable
from .types import Handover, LeaseState, Work

if TYPE_CHECKING:
    from typing_extensions import Self

    from ._serve import BaseSession
    from ._worker import BaseWorker
    from .types import SessionStats


class BaseLease(Uncopyable):
    """A handle to a lease of the library, and the item that it is on."""

    _advice = "the process that claimed the item keeps its lease; pass on lease.work, which is data"
    #: The work item as the work queue handed it out. Of an adopted one, what the process that claimed it has passed on.
    work: Work

    def __init__(self, worker: BaseWorker | None) -> None:
        # The library writes the handle into it: a lease is abandoned even if a signal handler interrupts its claim.
        self._handle = c_void_p()
        self._worker = worker  # which would be stopped if it were garbage; None: the lease was adopted
        self._lost = False
        self._session: BaseSession | None = None  # the one that is served, or was served last

    @property
    def id(self) -> str:
        """The item's identifier (`work_...`)."""
        return self.work.id

    @property
    def session_id(self) -> str:
        """The identifier of the session to serve."""
        return self.work.data.id

    @property
    def secret(self) -> str | None:
        """The item's credential, as the work queue handed it out; None when there was none."""
        return self.work.secret

    @property
    def lost(self) -> bool:
        """Whether the lease is lost: stop working, another worker may hold the item. Does not block."""
        status, text = _native.call_for_text(_native.lease_state, self._handle)
        return self._lost or (status == _native.OK and decoded(text)["state"] == "lost")

    def state(self) -> LeaseState:
        """Returns the lease's state. Raises ClosedError when the lease has ended. Does not block."""
        return LeaseState._of(decoded(call_for_text(_native.lease_state, self._handle)))

    def session_stats(self) -> SessionStats | None:
        """Returns the counters of the session that `serve` serves; after it, as they were in the end.

        None before. Any thread may call it, and so may a tool. Does not block.
        """
        return None if self._session is None else self._session.stats()

    def abandon(self) -> None:
        """Ends the lease without stopping the item: the work queue hands it out again later. Does not block."""
        self._abandon()

    def _take(self, client: int, config: bytes) -> Self:
        """Adopts a lease. Blocks."""
        text = c_void_p()
        status: int = _native.lease_adopt(client, config, byref(self._handle), byref(text))
        answer = _native.take_string(text.value)
        if status:
            raise error_from(status, answer)
        self.work = Work._of(decoded(answer))
        return self

    def _hand_over(self) -> Handover:
        """Releases the lease, which has no handle from then on. Blocks."""
        handle, self._handle = self._handle, c_void_p()
        status, text = _native.call_for_text(_native.lease_release, handle)
        if status:
            raise error_from(status, text)
        return Handover._of(decoded(text))

    def _is_over(self) -> bool:
        """Returns whether the lease has ended, is lost, or is to end."""
        status, text = _native.call_for_text(_native.lease_poll, self._handle, 0)
        return is_over(status, text)

    def _submit_finish(self, handle: c_void_p, queue: int, params: bytes, tag: int, _ticket: Any, error: Any) -> int:
        """Finishes the lease like the functions that submit a call. It has no handle from then on."""
        status: int = _native.lease_submit_finish(handle, params, queue, tag, error)
        if status == _native.OK:
            handle.value = None
        return status

    def _log_unfinished(self, error: AntenvError) -> None:
        """Logs that leaving the `with` block did not stop the item. Raising it would end a loop with other items."""
        logger().warning("an item was not finished: work_id=%s %s", self.id, error)

    def __del__(self) -> None:
        self._abandon()

    def _abandon(
        self, abandon: Any = _native.lease_abandon
    ) -> None:  # a default argument lives as long as the interpreter
        if self._handle:
            abandon(self._handle)
            self._handle.value = None

    def __repr__(self) -> str:
        return f"<antenv.{type(self).__name__} {self.id}{'' if self._handle else ', ended'}>"


def is_over(status: int, text: bytes) -> bool:
    """Returns whether a lease has ended, is lost, or is to end, by the result of a wait."""
    if status in (_native.OK, _native.DONE, _native.INVALID_HANDLE):
        return True
    if status == _native.TIMEOUT:
        return False
    raise error_from(status, text)
