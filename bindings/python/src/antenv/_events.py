"""The events of sessions, as dictionaries whose `type` says what they are; and those that clients send.

Content blocks and the sources of their data are here, too.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Union, cast

if TYPE_CHECKING:
    from typing_extensions import NotRequired

#: What the service makes of a tool call before anyone runs it.
Permission = Literal["allow", "ask", "deny"]


# ---- Content ----


class Base64Source(TypedDict):
    """Data of an image or a document, in base64."""

    type: Literal["base64"]
    #: Such as "image/png" or "application/pdf".
    media_type: str
    data: str


class TextSource(TypedDict):
    """A document's text."""

    type: Literal["text"]
    media_type: Literal["text/plain"]
    data: str


class UrlSource(TypedDict):
    """An image or a document at an address."""

    type: Literal["url"]
    url: str


class FileSource(TypedDict):
    """An image or a document that was uploaded."""

    type: Literal["file"]
    file_id: str


class TextBlock(TypedDict):
    """Text. The API rejects an empty one."""

    type: Literal["text"]
    text: str


class ImageBlock(TypedDict):
    """An image."""

    type: Literal["image"]
    source: Base64Source | UrlSource | FileSource


class DocumentBlock(TypedDict):
    """A document."""

    type: Literal["document"]
    source: Base64Source | TextSource | UrlSource | FileSource
    title: NotRequired[str | None]
    context: NotRequired[str | None]


class SearchCitations(TypedDict):
    """Whether the agent may cite a search result."""

    enabled: bool


class SearchResultBlock(TypedDict):
    """A search result."""

    type: Literal["search_result"]
    #: Where it was found.
    source: str
    title: str
    content: list[TextBlock]
    citations: SearchCitations


class RedactedBlock(TypedDict):
    """Content that the service withholds."""

    type: Literal["redacted"]


#: What messages and tool results consist of.
ContentBlock = Union[TextBlock, ImageBlock, DocumentBlock, SearchResultBlock, RedactedBlock]
#: What tool results that a client sends consist of.
ResultBlock = Union[TextBlock, ImageBlock, DocumentBlock, SearchResultBlock]


# ---- Why a session is idle ----


class PlainStopReason(TypedDict):
    """The turn is over."""

    type: Literal["end_turn", "retries_exhausted", "budget_reached", "refusal"]


class RequiresAction(TypedDict):
    """The turn goes on when these tool calls have their results or confirmations."""

    type: Literal["requires_action"]
    event_ids: list[str]


#: Why a session or a thread is idle.
StopReason = Union[PlainStopReason, RequiresAction]


class RetryStatus(TypedDict):
    """What the service does about an error: it tries again, has tried often enough, or gives up."""

    type: Literal["retrying", "exhausted", "terminal"]


class SessionError(TypedDict):
    """An error within a session."""

    #: Such as "model_overloaded_error".
    type: str
    message: str
    retry_status: NotRequired[RetryStatus]


# ---- Events ----


class _Event(TypedDict):
    """What every event has."""

    #: Identifier (`sevt_...`).
    id: str
    #: When it was processed (RFC 3339); absent or None while an event of a client is queued.
    processed_at: NotRequired[str | None]


class UserMessage(_Event):
    """A message of the user, which begins a turn."""

    type: Literal["user.message"]
    content: list[ContentBlock]


class UserInterrupt(_Event):
    """The user's interrupt. It ends the open calls: of one thread, or of the session when it names none."""

    type: Literal["user.interrupt"]
    session_thread_id: NotRequired[str | None]


class UserToolConfirmation(_Event):
    """The user's verdict on a tool call that was held for it."""

    type: Literal["user.tool_confirmation"]
    tool_use_id: str
    result: Literal["allow", "deny"]
    deny_message: NotRequired[str | None]
    session_thread_id: NotRequired[str | None]


class UserToolResult(_Event):
    """A client's result of an `agent.tool_use`."""

    type: Literal["user.tool_result"]
    tool_use_id: str
    content: NotRequired[list[ContentBlock] | None]
    is_error: NotRequired[bool | None]
    session_thread_id: NotRequired[str | None]


class UserCustomToolResult(_Event):
    """A client's result of an `agent.custom_tool_use`."""

    type: Literal["user.custom_tool_result"]
    custom_tool_use_id: str
    content: NotRequired[list[ContentBlock] | None]
    is_error: NotRequired[bool | None]
    session_thread_id: NotRequired[str | None]


class UserDefineOutcome(_Event):
    """The user's definition of what the session is to achieve, which begins a turn."""

    type: Literal["user.define_outcome"]
    outcome_id: str
    description: str
    rubric: FileSource | TextRubric
    max_iterations: NotRequired[int | None]


class TextRubric(TypedDict):
    """How an outcome is judged, as text."""

    type: Literal["text"]
    content: str


class SystemMessage(_Event):
    """A message with the authority of the system prompt."""

    type: Literal["system.message"]
    content: list[TextBlock]


class AgentMessage(_Event):
    """A message of the agent."""

    type: Literal["agent.message"]
    content: list[TextBlock | RedactedBlock]


class AgentThinking(_Event):
    """The agent thinks; what it thinks is not shown."""

    type: Literal["agent.thinking"]


class ToolEvaluation(TypedDict):
    """The policy that decided about a tool call."""

    type: Literal["always_allow", "always_ask", "auto"]


class AgentToolUse(_Event):
    """A call of one of the toolset's tools. In a self-hosted environment the worker answers it: `user.tool_result`."""

    type: Literal["agent.tool_use"]
    name: str
    input: dict[str, Any]
    #: Run it only when this is absent or "allow"; with "ask", when a confirmation allows it.
    evaluated_permission: NotRequired[Permission | None]
    evaluation: NotRequired[ToolEvaluation | None]
    #: The sub-agent's thread that the call comes from.
    session_thread_id: NotRequired[str | None]


class AgentCustomToolUse(_Event):
    """A call of a custom tool. A client answers it: `user.custom_tool_result`."""

    type: Literal["agent.custom_tool_use"]
    name: str
    input: dict[str, Any]
    #: Run it only when this is absent or "allow"; with "ask", when a confirmation allows it.
    evaluated_permission: NotRequired[Permission | None]
    #: The sub-agent's thread that the call comes from.
    session_thread_id: NotRequired[str | None]


class AgentMcpToolUse(_Event):
    """A call of an MCP server's tool, which the service makes."""

    type: Literal["agent.mcp_tool_use"]
    name: str
    mcp_server_name: str
    input: dict[str, Any]
    evaluated_permission: NotRequired[Permission | None]
    evaluation: NotRequired[ToolEvaluation | None]
    session_thread_id: NotRequired[str | None]


class AgentToolResult(_Event):
    """The service's own result of an `agent.tool_use`, such as of one that was denied."""

    type: Literal["agent.tool_result"]
    tool_use_id: str
    content: NotRequired[list[ContentBlock] | None]
    is_error: NotRequired[bool | None]


class AgentMcpToolResult(_Event):
    """The result of an `agent.mcp_tool_use`."""

    type: Literal["agent.mcp_tool_result"]
    mcp_tool_use_id: str
    content: NotRequired[list[ContentBlock] | None]
    is_error: NotRequired[bool | None]


class AgentThreadMessageReceived(_Event):
    """A thread received a message of another one."""

    type: Literal["agent.thread_message_received"]
    content: list[ContentBlock]
    from_session_thread_id: str
    from_agent_name: NotRequired[str | None]


class AgentThreadMessageSent(_Event):
    """A thread sent a message to another one."""

    type: Literal["agent.thread_message_sent"]
    content: list[ContentBlock]
    to_session_thread_id: str
    to_agent_name: NotRequired[str | None]


class AgentThreadContextCompacted(_Event):
    """A thread's context was summarised, to make room."""

    type: Literal["agent.thread_context_compacted"]


class SessionStatus(_Event):
    """The session runs, waits to run again, or has ended; nothing follows the last two."""

    type: Literal[
        "session.status_running", "session.status_rescheduled", "session.status_terminated", "session.deleted"
    ]


class SessionStatusIdle(_Event):
    """The session waits: for the next message, or, with "requires_action", for results and confirmations."""

    type: Literal["session.status_idle"]
    stop_reason: StopReason
    stop_details: NotRequired[dict[str, Any] | None]


class SessionErrorEvent(_Event):
    """Something failed in the session."""

    type: Literal["session.error"]
    error: SessionError


class SessionUpdated(_Event):
    """The session was changed: those of its fields that were, as they are now."""

    type: Literal["session.updated"]
    agent: NotRequired[dict[str, Any] | None]
    budget: NotRequired[dict[str, Any] | None]
    metadata: NotRequired[dict[str, str] | None]
    title: NotRequired[str | None]


class SessionUsage(_Event):
    """What the session has used so far."""

    type: Literal["session.usage"]
    usage: dict[str, Any]
    budget: NotRequired[dict[str, Any] | None]


class SessionThreadCreated(_Event):
    """A sub-agent's thread was created."""

    type: Literal["session.thread_created"]
    session_thread_id: str
    agent_name: str


class SessionThreadStatus(_Event):
    """A sub-agent's thread runs, waits to run again, or has ended: its calls take no more results then."""

    type: Literal[
        "session.thread_status_running", "session.thread_status_rescheduled", "session.thread_status_terminated"
    ]
    session_thread_id: str
    agent_name: str


class SessionThreadStatusIdle(_Event):
    """A sub-agent's thread waits."""

    type: Literal["session.thread_status_idle"]
    session_thread_id: str
    agent_name: str
    stop_reason: StopReason
    stop_details: NotRequired[dict[str, Any] | None]


class EventStart(TypedDict):
    """The beginning of an event's preview, only on a stream that asked for it with `event_deltas`."""

    type: Literal["event_start"]
    #: The event as far as it is known: `id` and `type`.
    event: dict[str, Any]


class EventDelta(TypedDict):
    """More of an event's preview."""

    type: Literal["event_delta"]
    event_id: str
    delta: dict[str, Any]


class UnknownEvent(_Event):
    """An event of a kind that this version does not know, with all its members.

    It comes like any other event. It is not a member of `Event`, because checkers could no longer tell the others by
    their `type`; use `cast` to give an event this type.
    """

    type: str


#: An event of a session: a dictionary. Its `type` says which members it has, and checkers understand that
#: (`if event["type"] == "agent.message": ...`). Members that this version does not know are kept. Expect other types,
#: too, and pass over them: see `UnknownEvent`.
Event = Union[
    UserMessage,
    UserInterrupt,
    UserToolConfirmation,
    UserToolResult,
    UserCustomToolResult,
    UserDefineOutcome,
    SystemMessage,
    AgentMessage,
    AgentThinking,
    AgentToolUse,
    AgentCustomToolUse,
    AgentMcpToolUse,
    AgentToolResult,
    AgentMcpToolResult,
    AgentThreadMessageReceived,
    AgentThreadMessageSent,
    AgentThreadContextCompacted,
    SessionStatus,
    SessionStatusIdle,
    SessionErrorEvent,
    SessionUpdated,
    SessionUsage,
    SessionThreadCreated,
    SessionThreadStatus,
    SessionThreadStatusIdle,
    EventStart,
    EventDelta,
]


class SentEvents(TypedDict):
    """The result of sending events."""

    #: The events as the session has them.
    data: list[Event] | None


# ---- Events to send ----


class UserMessageParams(TypedDict):
    """A message, which begins a turn."""

    type: Literal["user.message"]
    content: Sequence[TextBlock | ImageBlock | DocumentBlock]


class UserInterruptParams(TypedDict):
    """An interrupt, of one thread or of the session."""

    type: Literal["user.interrupt"]
    session_thread_id: NotRequired[str | None]


class UserToolConfirmationParams(TypedDict):
    """A verdict on a tool call that is held for it."""

    type: Literal["user.tool_confirmation"]
    tool_use_id: str
    result: Literal["allow", "deny"]
    deny_message: NotRequired[str | None]


class UserToolResultParams(TypedDict):
    """The result of an `agent.tool_use`; only in self-hosted environments."""

    type: Literal["user.tool_result"]
    tool_use_id: str
    content: NotRequired[Sequence[ResultBlock]]
    is_error: NotRequired[bool | None]


class UserCustomToolResultParams(TypedDict):
    """The result of an `agent.custom_tool_use`."""

    type: Literal["user.custom_tool_result"]
    custom_tool_use_id: str
    content: NotRequired[Sequence[ResultBlock]]
    is_error: NotRequired[bool | None]


class UserDefineOutcomeParams(TypedDict):
    """What the session is to achieve, which begins a turn."""

    type: Literal["user.define_outcome"]
    description: str
    rubric: FileSource | TextRubric
    max_iterations: NotRequired[int | None]


class SystemMessageParams(TypedDict):
    """A message with the authority of the system prompt."""

    type: Literal["system.message"]
    content: Sequence[TextBlock]


#: An event to send. The library passes it on as it is; for another kind of event use `cast`.
EventParams = Union[
    UserMessageParams,
    UserInterruptParams,
    UserToolConfirmationParams,
    UserToolResultParams,
    UserCustomToolResultParams,
    UserDefineOutcomeParams,
    SystemMessageParams,
]


def event_of(fields: Any) -> Event:
    """Returns an event made of decoded JSON, which is the event."""
    return cast("Event", fields)


def sent_events_of(fields: Any) -> SentEvents:
    """Returns the result of sending events made of decoded JSON, which is the result."""
    return cast("SentEvents", fields)


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
    "ContentBlock",
    "DocumentBlock",
    "Event",
    "EventDelta",
    "EventParams",
    "EventStart",
    "FileSource",
    "ImageBlock",
    "Permission",
    "PlainStopReason",
    "RedactedBlock",
    "RequiresAction",
    "ResultBlock",
    "RetryStatus",
    "SearchCitations",
    "SearchResultBlock",
    "SentEvents",
    "SessionError",
    "SessionErrorEvent",
    "SessionStatus",
    "SessionStatusIdle",
    "SessionThreadCreated",
    "SessionThreadStatus",
    "SessionThreadStatusIdle",
    "SessionUpdated",
    "SessionUsage",
    "StopReason",
    "SystemMessage",
    "SystemMessageParams",
    "TextBlock",
    "TextRubric",
    "TextSource",
    "ToolEvaluation",
    "UnknownEvent",
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
]
