"""The API's types: results as classes, parameters as TypedDicts.

Members of a request's body that are None are sent as `null`: leave one out, or give `antenv.omit`, to send none. Times
are RFC 3339 texts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, Union

from . import _events, _sessions
from ._events import *  # noqa: F403
from ._models import Model, one_of
from ._sessions import *  # noqa: F403

if TYPE_CHECKING:
    from typing_extensions import Required

    from ._events import EventParams
    from ._sessions import SessionResourceParams

__all__ = [
    "ByteCounts",
    "CallCounts",
    "CallOptions",
    "ClientStats",
    "CloudConfig",
    "CloudConfigParams",
    "Config",
    "ConfigParams",
    "DownloadOptions",
    "Environment",
    "EnvironmentDeleted",
    "Handover",
    "Histogram",
    "LeaseFinishParams",
    "LeaseState",
    "LimitedNetwork",
    "LimitedNetworkParams",
    "Model",
    "Networking",
    "NetworkingParams",
    "OnError",
    "Packages",
    "PackagesParams",
    "RequestFailures",
    "RequestParams",
    "Scope",
    "SelfHostedConfig",
    "SelfHostedConfigParams",
    "SessionWorkData",
    "State",
    "StreamOptions",
    "UnrestrictedNetwork",
    "UnrestrictedNetworkParams",
    "Work",
    "WorkHeartbeat",
    "WorkQueueStats",
    "WorkerParams",
    "WorkerStats",
]
__all__ += _events.__all__
__all__ += _sessions.__all__

#: Who sees an environment: all accounts of the organization, or the owner's alone.
Scope = Literal["organization", "account"]
#: The state of a work item.
State = Literal["queued", "starting", "active", "stopping", "stopped"]
#: What a worker's `run` does with an item whose handler raises: stop it, or leave it to the work queue.
OnError = Literal["finish", "abandon"]


class UnrestrictedNetwork(Model):
    """A network policy: everything may be reached."""

    type: Literal["unrestricted"]


class LimitedNetwork(Model):
    """A network policy: only what is named here may be reached."""

    type: Literal["limited"]
    #: Whether the MCP servers configured on the agent may be reached beyond `allowed_hosts`.
    allow_mcp_servers: bool
    #: Whether public package registries may be reached beyond `allowed_hosts`.
    allow_package_managers: bool
    #: Domains that may be reached.
    allowed_hosts: list[str]


Networking = Union[UnrestrictedNetwork, LimitedNetwork]


class Packages(Model):
    """What package managers install in an environment; versions in the manager's spelling, as in `pandas==2.2.0`."""

    type: Literal["packages"] | None = None
    #: Debian and Ubuntu packages.
    apt: list[str]
    #: Rust packages.
    cargo: list[str]
    #: Ruby packages.
    gem: list[str]
    #: Go packages.
    go: list[str]
    #: Node.js packages.
    npm: list[str]
    #: Python packages.
    pip: list[str]


class CloudConfig(Model):
    """The configuration of an environment in the cloud."""

    _nested: ClassVar = {
        "networking": one_of({"unrestricted": UnrestrictedNetwork, "limited": LimitedNetwork}),
        "packages": Packages._of,
    }

    type: Literal["cloud"]
    #: The network policy.
    networking: Networking
    #: What is installed.
    packages: Packages


class SelfHostedConfig(Model):
    """The configuration of an environment on hosts of one's own."""

    type: Literal["self_hosted"]


Config = Union[CloudConfig, SelfHostedConfig]


class Environment(Model):
    """An environment (Environment)."""

    _nested: ClassVar = {"config": one_of({"cloud": CloudConfig, "self_hosted": SelfHostedConfig})}

    type: Literal["environment"]
    #: Identifier (`env_...`).
    id: str
    #: Human-readable name.
    name: str
    #: In the cloud, or self-hosted: see `config.type`.
    config: Config
    #: The user's description.
    description: str | None = None
    #: The user's key-value pairs.
    metadata: dict[str, str]
    #: Who sees it.
    scope: Scope | None = None
    #: When it was created.
    created_at: str
    #: When it was last updated.
    updated_at: str
    #: When it was archived; None when it is not.
    archived_at: str | None = None


class EnvironmentDeleted(Model):
    """The result of deleting an environment (Environment Delete Response)."""

    type: Literal["environment_deleted"]
    #: The environment's identifier.
    id: str


class SessionWorkData(Model):
    """The work to do: a session."""

    type: Literal["session"]
    #: The session's identifier.
    id: str


class Work(Model):
    """A work item of a self-hosted environment (Self Hosted Work)."""

    _nested: ClassVar = {"data": one_of({"session": SessionWorkData})}
    _secret: ClassVar = ("secret",)

    type: Literal["work"]
    #: Identifier (`work_...`).
    id: str
    #: The environment it belongs to.
    environment_id: str
    #: The work to do.
    data: SessionWorkData
    #: Its state.
    state: State
    #: The user's key-value pairs.
    metadata: dict[str, str]
    #: The credential for carrying it out: only `poll` hands it out, and not always. Hidden in `repr()`.
    secret: str | None = None
    #: When it was queued.
    created_at: str
    #: When it was acknowledged.
    acknowledged_at: str | None = None
    #: When work on it began.
    started_at: str | None = None
    #: When its last heartbeat was recorded.
    latest_heartbeat_at: str | None = None
    #: When it was asked to stop.
    stop_requested_at: str | None = None
    #: When it stopped.
    stopped_at: str | None = None


class WorkHeartbeat(Model):
    """The result of a heartbeat (Self Hosted Work Heartbeat Response)."""

    type: Literal["work_heartbeat"]
    #: The heartbeat's time: the next one's `expected_last_heartbeat`, verbatim.
    last_heartbeat: str
    #: Whether the lease was extended.
    lease_extended: bool
    #: The item's state.
    state: State
    #: How many seconds the lease lasts from now on.
    ttl_seconds: int


class WorkQueueStats(Model):
    """The statistics of an environment's work queue (Self Hosted Work Queue Stats)."""

    type: Literal["work_queue_stats"]
    #: How many items wait to be picked up.
    depth: int
    #: How many were polled and not acknowledged yet.
    pending: int
    #: Since when the oldest item has been there; None when there is none.
    oldest_queued_at: str | None = None
    #: How many workers polled in the last 30 seconds; counted by `anthropic_worker_id`.
    workers_polling: int | None = None


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


class CallOptions(TypedDict, total=False):
    """The options that every call takes in addition to its parameters."""

    #: Bounds the whole call in seconds, retries included: 0.001 to 2147483. None: the client's.
    timeout: float | None
    #: Bounds one attempt in seconds. None: the client's.
    attempt_timeout: float | None
    #: How often 408, 409, 429, 5xx and connection failures are tried again: 0 to 100. None: the client's.
    max_retries: int | None
    #: Headers for this call; None leaves a default one out.
    extra_headers: Mapping[str, str | None] | None
    #: More query parameters: strings, numbers, booleans, sequences of them.
    extra_query: Mapping[str, Any] | None
    #: More members of the body, for fields that this version does not know.
    extra_body: Mapping[str, Any] | None
    #: Beta versions, in addition to the client's and the one that is always sent.
    betas: Sequence[str] | None
    #: The workspace to act in (`wrkspc_...`).
    workspace_id: str | None


class StreamOptions(CallOptions, total=False):
    """The options of a stream. Those of a call are about its opening: `timeout` bounds that, not the stream's life."""

    #: After how many seconds of silence the stream ends with APITimeoutError; the server's pings count as a sign of
    #: life: 0.001 to 2147483. None: 600.
    idle_timeout: float | None
    #: Size limit of one event in bytes: 1 or more. None: 16777216.
    max_event_bytes: int | None


class DownloadOptions(CallOptions, total=False):
    """The options of a download."""

    #: Size limit of the file in bytes: 1 or more. None: the client's `max_response_bytes`.
    max_bytes: int | None


class RequestParams(CallOptions, total=False):
    """The parameters of `request` besides method and path."""

    #: The query: strings, numbers, booleans, sequences of them; None leaves one out.
    query: Mapping[str, Any] | None
    #: The body: any JSON value. None sends `null`; leave it out to send no body.
    body: Any
    #: The same as `extra_headers`.
    headers: Mapping[str, str | None] | None


class LeaseFinishParams(CallOptions, total=False):
    """The parameters of a lease's `finish`."""

    #: Whether to stop the item at once, instead of asking for it. Without it: at once.
    force: bool


class UnrestrictedNetworkParams(TypedDict):
    """Everything may be reached."""

    type: Literal["unrestricted"]


class LimitedNetworkParams(TypedDict, total=False):
    """Only what is named here may be reached."""

    type: Required[Literal["limited"]]
    #: Whether the MCP servers configured on the agent may be reached beyond `allowed_hosts`. Without it: no.
    allow_mcp_servers: bool | None
    #: Whether public package registries may be reached beyond `allowed_hosts`. Without it: no.
    allow_package_managers: bool | None
    #: Domains that may be reached.
    allowed_hosts: Sequence[str] | None


NetworkingParams = Union[UnrestrictedNetworkParams, LimitedNetworkParams]


class PackagesParams(TypedDict, total=False):
    """What package managers install; versions in the manager's spelling, as in `pandas==2.2.0`, or the latest ones."""

    type: Literal["packages"]
    #: Debian and Ubuntu packages.
    apt: Sequence[str] | None
    #: Rust packages.
    cargo: Sequence[str] | None
    #: Ruby packages.
    gem: Sequence[str] | None
    #: Go packages.
    go: Sequence[str] | None
    #: Node.js packages.
    npm: Sequence[str] | None
    #: Python packages.
    pip: Sequence[str] | None


class CloudConfigParams(TypedDict, total=False):
    """An environment in the cloud. On update, what is left out stays as it is."""

    type: Required[Literal["cloud"]]
    #: The network policy.
    networking: NetworkingParams | None
    #: What is installed.
    packages: PackagesParams | None


class SelfHostedConfigParams(TypedDict):
    """An environment on hosts of one's own."""

    type: Literal["self_hosted"]


ConfigParams = Union[CloudConfigParams, SelfHostedConfigParams]


class AdoptParams(TypedDict, total=False):
    """The parameters of `adopt`. None is the same as leaving one out."""

    #: Identifier of the work item. Without it: ANTHROPIC_WORK_ID.
    work_id: str | None
    #: Identifier of the environment. Without it: ANTHROPIC_ENVIRONMENT_ID.
    environment_id: str | None
    #: Identifier of the session to serve. Without it: ANTHROPIC_SESSION_ID.
    session_id: str | None
    #: The environment's key, used if the item's secret holds no token. Without it: the client's environment key, then
    #: ANTHROPIC_ENVIRONMENT_KEY.
    environment_key: str | None
    #: The item's secret. Without it: ANTHROPIC_WORK_SECRET.
    work_secret: str | None
    #: The last heartbeat of the process that handed the lease over, verbatim. Without it:
    #: ANTHROPIC_WORK_LAST_HEARTBEAT, or there was none.
    expected_last_heartbeat: str | None
    #: How many seconds a heartbeat asks for: 1 to 86400. Without it: the server decides.
    desired_ttl_seconds: int | None


class WorkerParams(TypedDict, total=False):
    """The parameters of `worker`. None is the same as leaving one out."""

    #: The environment's key. Without it: the client's environment key, then ANTHROPIC_ENVIRONMENT_KEY.
    environment_key: str | None
    #: Identifies the worker in the work queue's statistics; one name per worker. Without it: the host's name and twelve
    #: hex digits.
    worker_id: str | None
    #: How many items are served at once: 1 to 100000. Without it: 1.
    concurrency: int | None
    #: How many milliseconds a poll waits at the server: 0 (not at all) to 999. Without it: 999, with `drain` 0.
    block_ms: int | None
    #: Polls also take items that were polled and not acknowledged for longer than this many milliseconds. Without it:
    #: 5000.
    reclaim_older_than_ms: int | None
    #: Whether to end when the work queue is empty. Without it: no.
    drain: bool | None
    #: Whether it sends heartbeats. False: it only claims items, for other processes to serve: see `lease.release()`.
    #: Without it: yes.
    heartbeat: bool | None
    #: How many seconds a heartbeat asks for: 1 to 86400. Without it: the server decides.
    desired_ttl_seconds: int | None
    #: After how many seconds without an item the worker pauses between polls. Without it: 60.
    idle_after: float | None
    #: The shortest of those pauses in seconds. Without it: 1.
    idle_min: float | None
    #: The longest of those pauses in seconds. Without it: 3.
    idle_max: float | None
    #: How many seconds items may go on after the worker was stopped. Without it: 30.
    grace: float | None
    #: After how many seconds items that another worker acknowledged but never sent a heartbeat for are returned to the
    #: work queue; 0: never. Without it: 60.
    rescue_after: float | None


# Generated by `make generate` from the operation table, down to the next such line: edit the table.
class EnvironmentCreateParams(CallOptions, total=False):
    """The parameters of `environments.create`."""

    #: Human-readable name, one character at least.
    name: Required[str]
    #: Configuration: `{"type":"cloud",...}` or `{"type":"self_hosted"}`.
    config: ConfigParams | None
    #: Description of the environment.
    description: str | None
    #: String keys and string values.
    metadata: Mapping[str, str]
    #: Visibility: `organization` or `account`; only for self-hosted environments.
    scope: Scope | None


class EnvironmentListParams(CallOptions, total=False):
    """The parameters of `environments.list`."""

    #: Whether to list archived environments, too.
    include_archived: bool | None
    #: Maximum number of items in a page.
    limit: int | None
    #: Cursor: the previous page's `next_page`.
    page: str | None


class EnvironmentUpdateParams(CallOptions, total=False):
    """The parameters of `environments.update`."""

    #: Configuration: `{"type":"cloud",...}` or `{"type":"self_hosted"}`.
    config: ConfigParams | None
    #: Description of the environment.
    description: str | None
    #: Merged into the existing metadata; None or an empty string deletes a key.
    metadata: Mapping[str, str | None]
    #: Human-readable name.
    name: str | None
    #: Visibility: `organization` or `account`; only for self-hosted environments.
    scope: Scope | None


class WorkListParams(CallOptions, total=False):
    """The parameters of `work.list`."""

    #: Maximum number of items in a page.
    limit: int | None
    #: Cursor: the previous page's `next_page`.
    page: str | None


class WorkPollParams(CallOptions, total=False):
    """The parameters of `work.poll`."""

    #: Milliseconds to wait for work, 1 to 999; absent: do not wait.
    block_ms: int | None
    #: Reclaim items unacknowledged for longer than this many milliseconds; absent: 5000.
    reclaim_older_than_ms: int | None
    #: Name of the polling worker, one per worker, for the work queue's statistics.
    anthropic_worker_id: str | None


class WorkUpdateParams(CallOptions, total=False):
    """The parameters of `work.update`."""

    #: Merged into the existing metadata; None deletes a key.
    metadata: Required[Mapping[str, str | None]]


class WorkHeartbeatParams(CallOptions, total=False):
    """The parameters of `work.heartbeat`."""

    #: Desired lifetime of the lease in seconds.
    desired_ttl_seconds: int | None
    #: `NO_HEARTBEAT` for the first heartbeat, then the previous response's `last_heartbeat` verbatim.
    expected_last_heartbeat: str | None


class WorkStopParams(CallOptions, total=False):
    """The parameters of `work.stop`."""

    #: Whether to stop immediately instead of asking the worker to stop.
    force: bool | None


class SessionCreateParams(CallOptions, total=False):
    """The parameters of `sessions.create`."""

    #: Agent: its identifier (`agent_...`), or `{"type":"agent","id":...,"version":...}` for one of its versions.
    agent: Required[str | Mapping[str, Any]]
    #: Environment that the session runs in (`env_...`).
    environment_id: Required[str]
    #: Limit on what the session may cost: `{"type":"limit","max_list_cost":...}`.
    budget: Mapping[str, Any] | None
    #: Events to send to the session once it exists, in order.
    initial_events: Sequence[EventParams] | None
    #: String keys and string values.
    metadata: Mapping[str, str]
    #: What to attach to the session: memory stores, files, repositories.
    resources: Sequence[SessionResourceParams] | None
    #: Human-readable title.
    title: str | None
    #: Vaults whose credentials the agent may use.
    vault_ids: Sequence[str] | None


class SessionEventListParams(CallOptions, total=False):
    """The parameters of `sessions.events.list`."""

    #: Only events processed after this time (RFC 3339).
    created_at_gt: str | None
    #: Only events processed at this time (RFC 3339) or later.
    created_at_gte: str | None
    #: Only events processed before this time (RFC 3339).
    created_at_lt: str | None
    #: Only events processed at this time (RFC 3339) or earlier.
    created_at_lte: str | None
    #: Maximum number of items in a page.
    limit: int | None
    #: Order of the events by time: `asc` (the default) or `desc`.
    order: str | None
    #: Cursor: the previous page's `next_page`.
    page: str | None
    #: Only events of these types, such as `agent.tool_use`.
    types: Sequence[str] | None


class SessionEventSendParams(CallOptions, total=False):
    """The parameters of `sessions.events.send`."""

    #: Events to send, in order, such as `{"type":"user.message",...}`.
    events: Required[Sequence[EventParams]]


class SessionEventStreamParams(StreamOptions, total=False):
    """The parameters of `sessions.events.stream`."""

    #: Types of events to preview while they are being produced: `agent.message`, `agent.thinking`.
    event_deltas: Sequence[str] | None


class MemoryCreateParams(CallOptions, total=False):
    """The parameters of `memory_stores.memories.create`."""

    #: Text of the memory, at most 102400 bytes of UTF-8.
    content: Required[str | None]
    #: Path of the memory, such as `/notes/todo.md`.
    path: Required[str]
    #: Whether the result has the `content`: `full`, or `basic` without it.
    view: str | None


class MemoryRetrieveParams(CallOptions, total=False):
    """The parameters of `memory_stores.memories.retrieve`."""

    #: Whether the result has the `content`: `full`, or `basic` without it.
    view: str | None


class MemoryUpdateParams(CallOptions, total=False):
    """The parameters of `memory_stores.memories.update`."""

    #: New text of the memory, at most 102400 bytes of UTF-8.
    content: str | None
    #: New path of the memory, which renames it.
    path: str | None
    #: Condition for the update: `{"type":"content_sha256","content_sha256":...}`; the server rejects it with 409 if the
    #: memory has another content.
    precondition: Mapping[str, Any] | None
    #: Whether the result has the `content`: `full`, or `basic` without it.
    view: str | None


class MemoryListParams(CallOptions, total=False):
    """The parameters of `memory_stores.memories.list`."""

    #: Levels below `path_prefix` to list: 0 (the default) lists them all.
    depth: int | None
    #: Maximum number of items in a page; with `view` `full` a page has at most 20.
    limit: int | None
    #: Cursor: the previous page's `next_page`.
    page: str | None
    #: Only memories below this path, which ends with `/`.
    path_prefix: str | None
    #: Whether the result has the `content`: `full`, or `basic` without it.
    view: str | None


class MemoryDeleteParams(CallOptions, total=False):
    """The parameters of `memory_stores.memories.delete`."""

    #: Delete the memory only if its content has this SHA-256, in lowercase hexadecimal; the server rejects another with
    #: 409.
    expected_content_sha256: str | None


__all__ += [
    "EnvironmentCreateParams",
    "EnvironmentListParams",
    "EnvironmentUpdateParams",
    "MemoryCreateParams",
    "MemoryDeleteParams",
    "MemoryListParams",
    "MemoryRetrieveParams",
    "MemoryUpdateParams",
    "SessionCreateParams",
    "SessionEventListParams",
    "SessionEventSendParams",
    "SessionEventStreamParams",
    "WorkHeartbeatParams",
    "WorkListParams",
    "WorkPollParams",
    "WorkStopParams",
    "WorkUpdateParams",
]
# The end of what is generated.
