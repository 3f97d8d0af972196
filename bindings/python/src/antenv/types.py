"""The API's types: results as classes, parameters as TypedDicts.

Members of a request's body that are None are sent as `null`: leave one out, or give `antenv.omit`, to send none. Times
are RFC 3339 texts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from ._environments import (
    CloudConfig,
    CloudConfigParams,
    Config,
    ConfigParams,
    Environment,
    EnvironmentDeleted,
    LimitedNetwork,
    LimitedNetworkParams,
    Networking,
    NetworkingParams,
    Packages,
    PackagesParams,
    Scope,
    SelfHostedConfig,
    SelfHostedConfigParams,
    SessionWorkData,
    State,
    UnrestrictedNetwork,
    UnrestrictedNetworkParams,
    Work,
    WorkHeartbeat,
    WorkQueueStats,
)
from ._events import (
    AgentCustomToolUse,
    AgentMcpToolResult,
    AgentMcpToolUse,
    AgentMessage,
    AgentThinking,
    AgentThreadContextCompacted,
    AgentThreadMessageReceived,
    AgentThreadMessageSent,
    AgentToolResult,
    AgentToolUse,
    Base64Source,
    ContentBlock,
    DocumentBlock,
    Event,
    EventDelta,
    EventParams,
    EventStart,
    FileSource,
    ImageBlock,
    Permission,
    PlainStopReason,
    RedactedBlock,
    RequiresAction,
    ResultBlock,
    RetryStatus,
    SearchCitations,
    SearchResultBlock,
    SentEvents,
    SessionError,
    SessionErrorEvent,
    SessionStatus,
    SessionStatusIdle,
    SessionThreadCreated,
    SessionThreadStatus,
    SessionThreadStatusIdle,
    SessionUpdated,
    SessionUsage,
    StopReason,
    StreamEvent,
    SystemMessage,
    SystemMessageParams,
    TextBlock,
    TextRubric,
    TextSource,
    ToolEvaluation,
    UnknownEvent,
    UrlSource,
    UserCustomToolResult,
    UserCustomToolResultParams,
    UserDefineOutcome,
    UserDefineOutcomeParams,
    UserInterrupt,
    UserInterruptParams,
    UserMessage,
    UserMessageParams,
    UserToolConfirmation,
    UserToolConfirmationParams,
    UserToolResult,
    UserToolResultParams,
)
from ._models import Model
from ._sessions import (
    CustomToolParams,
    Download,
    FileResource,
    FileResourceParams,
    GitHubRepositoryResource,
    GitHubRepositoryResourceParams,
    ListedMemory,
    Memory,
    MemoryDeleted,
    MemoryPrefix,
    MemoryStoreResource,
    MemoryStoreResourceParams,
    Session,
    SessionAgent,
    SessionResource,
    SessionResourceParams,
    SkillReference,
    SkillVersion,
)
from ._worker_types import (
    ByteCounts,
    CallCounts,
    ClientStats,
    Handover,
    Histogram,
    LeaseState,
    MemoryStats,
    OnError,
    RequestFailures,
    SessionEnd,
    SessionStats,
    WorkerStats,
)

if TYPE_CHECKING:
    from typing_extensions import Required

__all__ = [
    "AgentCustomToolUse",
    "AgentMcpToolResult",
    "AgentMcpToolUse",
    "AgentMessage",
    "AgentThinking",
    "AgentThreadContextCompacted",
    "AgentThreadMessageReceived",
    "AgentThreadMessageSent",
    "AgentToolResult",
    "AgentToolUse",
    "Base64Source",
    "ByteCounts",
    "CallCounts",
    "CallOptions",
    "ClientStats",
    "CloudConfig",
    "CloudConfigParams",
    "Config",
    "ConfigParams",
    "ContentBlock",
    "CustomToolParams",
    "DocumentBlock",
    "Download",
    "DownloadOptions",
    "Environment",
    "EnvironmentDeleted",
    "Event",
    "EventDelta",
    "EventParams",
    "EventStart",
    "FileResource",
    "FileResourceParams",
    "FileSource",
    "GitHubRepositoryResource",
    "GitHubRepositoryResourceParams",
    "Handover",
    "Histogram",
    "ImageBlock",
    "LeaseFinishParams",
    "LeaseState",
    "LimitedNetwork",
    "LimitedNetworkParams",
    "ListedMemory",
    "Memory",
    "MemoryDeleted",
    "MemoryPrefix",
    "MemoryStats",
    "MemoryStoreResource",
    "MemoryStoreResourceParams",
    "Model",
    "Networking",
    "NetworkingParams",
    "OnError",
    "Packages",
    "PackagesParams",
    "Permission",
    "PlainStopReason",
    "RedactedBlock",
    "RequestFailures",
    "RequestParams",
    "RequiresAction",
    "ResultBlock",
    "RetryStatus",
    "Scope",
    "SearchCitations",
    "SearchResultBlock",
    "SelfHostedConfig",
    "SelfHostedConfigParams",
    "SentEvents",
    "ServeParams",
    "Session",
    "SessionAgent",
    "SessionEnd",
    "SessionError",
    "SessionErrorEvent",
    "SessionResource",
    "SessionResourceParams",
    "SessionStats",
    "SessionStatus",
    "SessionStatusIdle",
    "SessionThreadCreated",
    "SessionThreadStatus",
    "SessionThreadStatusIdle",
    "SessionUpdated",
    "SessionUsage",
    "SessionWorkData",
    "SkillReference",
    "SkillVersion",
    "State",
    "StopReason",
    "StreamEvent",
    "StreamOptions",
    "SystemMessage",
    "SystemMessageParams",
    "TextBlock",
    "TextRubric",
    "TextSource",
    "ToolEvaluation",
    "UnknownEvent",
    "UnrestrictedNetwork",
    "UnrestrictedNetworkParams",
    "UrlSource",
    "UserCustomToolResult",
    "UserCustomToolResultParams",
    "UserDefineOutcome",
    "UserDefineOutcomeParams",
    "UserInterrupt",
    "UserInterruptParams",
    "UserMessage",
    "UserMessageParams",
    "UserToolConfirmation",
    "UserToolConfirmationParams",
    "UserToolResult",
    "UserToolResultParams",
    "Work",
    "WorkHeartbeat",
    "WorkQueueStats",
    "WorkerParams",
    "WorkerStats",
]


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


class ServeParams(TypedDict, total=False):
    """The parameters of `lease.serve`, and of a worker's `run` with tools. None is the same as leaving one out."""

    #: How many calls run at once: 1 to 1000. Only calls of different threads of the session do. Without it: 1.
    concurrency: int | None
    #: How many seconds the session may be idle after the end of a turn before it is over; 0: without limit. Without it:
    #: 60.
    max_idle: float | None
    #: How many seconds a call may take; 0: without limit. Then it is answered with an error. Without it: 120.
    tool_timeout: float | None
    #: Whether the library serves the six tools of agents (bash, read, write, edit, glob, grep), or their options.
    #: Without it: no. Linux only.
    toolset: bool | Mapping[str, Any] | None
    #: The directory that the toolset works in.
    workdir: str | os.PathLike[str] | None
    #: How the toolset is confined: "auto" (as far as the system can), "required" (completely, or it is not served),
    #: "off". Without it: "auto".
    sandbox: Literal["auto", "required", "off"] | None
    #: The command `antenv`, which runs the toolset. Without it: ANTENV_CLI, or the one beside the library, as in the
    #: wheel.
    toolset_path: str | os.PathLike[str] | None
    #: Whether the skills of the agent are installed. Without it: with a toolset.
    skills: bool | None
    #: Whether memory directories are kept in step with the session's stores, or only read. Without it: with a toolset.
    memory: bool | Literal["read_only"] | None


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
