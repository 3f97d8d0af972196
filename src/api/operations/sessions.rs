//! Sessions and their events.

use super::{LIMIT, Operation, PAGE, READ, ResponseKind};
use crate::api::params::ParamLocation::{Body, Path, Query};
use crate::api::params::ParamType::{Id, NonEmptyText, Object, Objects, Strings, Text, TextOrObject};
use crate::api::params::{Parameter, optional, required};

const SESSION_ID: Parameter = required("session_id", Path, Id, "Session identifier (`sesn_...`).");

/// `sessions.create`
pub const SESSIONS_CREATE: Operation = Operation {
    name: "sessions.create",
    title: "Create Session",
    doc: "Creates a session.",
    result: "Session",
    method: "POST",
    path: "/v1/sessions",
    parameters: &[
        required(
            "agent",
            Body,
            TextOrObject,
            "Agent: its identifier (`agent_...`), or `{\"type\":\"agent\",\"id\":...,\"version\":...}` for one of its versions.",
        ),
        required("environment_id", Body, NonEmptyText, "Environment that the session runs in (`env_...`)."),
        optional("budget", Body, Object, "Limit on what the session may cost: `{\"type\":\"limit\",\"max_list_cost\":...}`."),
        optional("initial_events", Body, Objects, "Events to send to the session once it exists, in order."),
        optional("metadata", Body, Object, "String keys and string values."),
        optional("resources", Body, Objects, "What to attach to the session: memory stores, files, repositories."),
        optional("title", Body, Text, "Human-readable title."),
        optional("vault_ids", Body, Strings, "Vaults whose credentials the agent may use."),
    ],
    has_body: true,
    ..READ
};

/// `sessions.retrieve`
pub const SESSIONS_RETRIEVE: Operation = Operation {
    name: "sessions.retrieve",
    title: "Get Session",
    doc: "Retrieves a session.",
    result: "Session",
    path: "/v1/sessions/{session_id}",
    parameters: &[SESSION_ID],
    ..READ
};

/// `sessions.events.list`
pub const SESSIONS_EVENTS_LIST: Operation = Operation {
    name: "sessions.events.list",
    title: "List Events",
    doc: "Lists a session's events.",
    result: "Event",
    path: "/v1/sessions/{session_id}/events",
    parameters: &[
        SESSION_ID,
        optional("created_at[gt]", Query, Text, "Only events processed after this time (RFC 3339)."),
        optional("created_at[gte]", Query, Text, "Only events processed at this time (RFC 3339) or later."),
        optional("created_at[lt]", Query, Text, "Only events processed before this time (RFC 3339)."),
        optional("created_at[lte]", Query, Text, "Only events processed at this time (RFC 3339) or earlier."),
        LIMIT,
        optional("order", Query, Text, "Order of the events by time: `asc` (the default) or `desc`."),
        PAGE,
        optional("types", Query, Strings, "Only events of these types, such as `agent.tool_use`."),
    ],
    paged: true,
    ..READ
};

/// `sessions.events.send`
pub const SESSIONS_EVENTS_SEND: Operation = Operation {
    name: "sessions.events.send",
    title: "Send Events",
    doc: "Sends events to a session.",
    result: "SentEvents",
    method: "POST",
    path: "/v1/sessions/{session_id}/events",
    parameters: &[
        SESSION_ID,
        required("events", Body, Objects, "Events to send, in order, such as `{\"type\":\"user.message\",...}`."),
    ],
    has_body: true,
    ..READ
};

/// `sessions.events.stream`
pub const SESSIONS_EVENTS_STREAM: Operation = Operation {
    name: "sessions.events.stream",
    title: "Stream Events",
    doc: "Streams a session's events as they happen.",
    result: "Event",
    path: "/v1/sessions/{session_id}/events/stream",
    parameters: &[
        SESSION_ID,
        optional(
            "event_deltas",
            Query,
            Strings,
            "Types of events to preview while they are being produced: `agent.message`, `agent.thinking`.",
        ),
    ],
    response: ResponseKind::Stream,
    ..READ
};
