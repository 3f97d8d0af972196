"""The types of workers, leases and statistics."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, TypedDict

from ._models import Model

#: What a worker's `run` does with an item whose handler raises: stop it, or leave it to the work queue.
OnError = Literal["finish", "abandon"]


class LeaseState(Model):
    """The state of a lease on a work item.

    "stop_requested": end the work and finish. "lost": stop working at once, another worker may hold the item.
    """

    #: "claimed": the worker only claims, and another process is to begin the lease (`worker(heartbeat=False)`).
    state: Literal["held", "claimed", "stop_requested", "lost"]
    #: Why it is no longer simply held: "asked", "not_extended", "rejected", "shutdown" (the worker was stopped, and its
    #: grace period is over); "taken", "expired", "shutdown" (the library was shut down).
    reason: str | None
    #: The item's identifier.
    work_id: str
    #: How many seconds a heartbeat extends the lease for.
    ttl_seconds: int | None
    #: The last heartbeat's time, as the server wrote it.
    last_heartbeat: str | None
    #: How many heartbeats succeeded.
    beats: int


class Handover(Model):
    """What the next holder of a released lease must know: `lease.release()` returns it.

    `environment` is for the environment variables of a process that then calls `client.adopt()`, or an official
    client's `handle_item`.
    """

    _secret: ClassVar = ("work_secret", "environment")

    #: The item's identifier.
    work_id: str
    #: The identifier of its environment.
    environment_id: str
    #: The identifier of the session to serve.
    session_id: str
    #: The item's credential; None when it has none. Hidden in `repr()`.
    work_secret: str | None
    #: The last heartbeat, as the server wrote it; None when there was none.
    last_heartbeat: str | None
    #: The same as environment variables, and the environment's key. Hidden in `repr()`.
    environment: dict[str, str]


class SessionEnd(Model):
    """Why a session is over: `lease.serve()` returns it."""

    #: "idle": its turn ended `max_idle` ago; the next message makes another item. "terminated", "deleted", "not_found":
    #: the session is so. "stop_requested": the item is to be stopped. "lease_lost": another worker may have the item.
    #: "lease_ended": this program has finished, abandoned or released the lease meanwhile.
    reason: Literal["idle", "terminated", "deleted", "not_found", "stop_requested", "lease_lost", "lease_ended"]


class Histogram(TypedDict):
    """Times in microseconds. Histograms are merged by adding the counts up: bounds are the same everywhere."""

    #: How many times there are.
    count: int
    #: Their sum.
    sum: int
    #: The longest of them.
    max: int
    #: Pairs of an upper bound and the number of times below it and not below the bound before; without empty ones.
    buckets: list[list[int]]


class CallCounts(TypedDict):
    """Counts of calls."""

    started: int
    succeeded: int
    failed: int
    in_flight: int


class ByteCounts(TypedDict):
    """Bytes of bodies, without headers and encryption."""

    sent: int
    received: int


class ClientStats(TypedDict):
    """The counters of a client and of those that share its connections, in this process."""

    #: Calls by their results.
    calls: CallCounts
    #: Requests made, retries included.
    attempts: int
    #: Retries by reason: "connect", "unanswered", "cut_short", "timeout", "not_processed", "request_timeout",
    #: "conflict", "rate_limited", "overloaded", "server_error", "asked". Those that are 0 are left out.
    retries: dict[str, int]
    #: Failed calls by the name of their status, such as "not_found".
    failures: dict[str, int]
    #: Attempts to connect.
    connections_opened: int
    #: Bytes sent and received.
    bytes: ByteCounts
    #: How long calls took, retries included, by operation ("request" for other endpoints).
    latency_us: dict[str, Histogram]


class RequestFailures(TypedDict):
    """A worker's failed requests: by kind of request, and by the name of their status."""

    poll: dict[str, int]
    ack: dict[str, int]
    heartbeat: dict[str, int]
    stop: dict[str, int]
    rescue: dict[str, int]


class WorkerStats(TypedDict):
    """The counters of a worker."""

    environment_id: str
    worker_id: str
    #: What the worker does.
    state: Literal["running", "stopping", "stopped", "drained", "failed"]
    #: How many items it may hold.
    concurrency: int
    #: How many items it holds.
    leases_held: int
    #: Items that were acknowledged and, unless the worker only claims, had a successful heartbeat.
    claimed: int
    #: Items that it stopped.
    finished: int
    #: Leases lost.
    lost: int
    #: Leases whose item was to be stopped before the handler was done.
    stop_requested: int
    #: Leases handed over to another process.
    released: int
    #: Leases given up.
    abandoned: int
    #: Those among them that were never picked up.
    undelivered: int
    #: Items without a session, which the worker acknowledges and stops itself.
    health_checks: int
    #: Items that were acknowledged and left without a heartbeat, returned to the work queue.
    rescued: int
    #: Items left to the work queue, because their acknowledgement or first heartbeat was rejected permanently.
    refused: int
    #: Requests that something on the way to the API rejected with a page of its own, and that are made again.
    gateway: int
    #: Faults in the library that were caught; please report them.
    faults: int
    #: Requests that failed.
    failures: RequestFailures
    #: Why the last poll failed; None after one that succeeded.
    last_poll_failure: str | None
    #: From the poll's response to the first successful heartbeat.
    claim_us: Histogram
    #: How long heartbeats took.
    heartbeat_us: Histogram
    #: How late heartbeats were sent.
    heartbeat_late_us: Histogram


class MemoryStats(TypedDict):
    """What a session did with the memory stores that it has as directories."""

    #: Syncs of the directories with their stores.
    syncs: int
    failed_syncs: int
    #: Memories that were written to files.
    pulled: int
    #: Files that were sent to the stores.
    uploaded: int
    #: Memories that were deleted, because their files were removed.
    deleted: int
    #: Changes of files that the store's changes replaced.
    overwritten: int
    #: Files that the server rejected.
    rejected: int
    #: Memories whose paths can be no files.
    refused: int


class SessionStats(TypedDict):
    """The counters of a session that is served: `lease.session_stats()` returns them."""

    session_id: str
    #: What it does.
    state: Literal["connecting", "live", "ended"]
    #: Why it is over: the `reason` of `SessionEnd`, "refused", "failed" or "shutdown"; None before.
    end: str | None
    #: Calls that the program has, or may take.
    open_calls: int
    #: Calls that were handed out to tools.
    calls: int
    #: Results that the session has taken.
    posted: int
    #: Calls that became void while their tools ran.
    void: int
    #: Calls that took too long.
    timed_out: int
    #: Calls that were let go.
    let_go: int
    #: Calls that a user or the session's configuration has denied.
    denied: int
    #: Attempts to post results.
    sends: int
    send_failures: int
    #: Streams that were opened.
    streams: int
    #: Readings of the history.
    histories: int
    history_failures: int
    #: Calls that the toolset was given.
    toolset_calls: int
    #: How often the toolset's process was started: more than once if it died.
    toolset_starts: int
    #: What confines the toolset's process; None before its start, and without a toolset.
    confinement: dict[str, Any] | None
    #: Skills of the agent that were unpacked.
    skills_installed: int
    skills_failed: int
    #: What happened to memories.
    memory: MemoryStats
