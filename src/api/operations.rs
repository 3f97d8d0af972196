//! THE TABLE: the fourteen operations of the API, each with its method, path and parameters.
//!
//! This is the only place that knows them. Request building, parameter checks, error messages, the pager and the tests all
//! read it, so a new operation is one row here, one exported function and one set of cases.

use ParamLocation::{Body, Header, Path, Query};
use ParamType::{Bool, Id, Integer, NonEmptyText, Object, Strings, Text};

/// Where a parameter travels in the HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamLocation {
    /// A segment of the path, percent-encoded.
    Path,
    /// The query string; `null` means absent.
    Query,
    /// The named request header; `null` means absent.
    Header(&'static str),
    /// A member of the JSON body; `null` is sent as `null`.
    Body,
}

/// What JSON a parameter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    /// An identifier: a string that can stand as one path segment.
    Id,
    /// Any string.
    Text,
    /// A string with at least one character.
    NonEmptyText,
    /// `true` or `false`.
    Bool,
    /// A whole number within the bounds, both included.
    Integer(i64, i64),
    /// An object, passed through as it is.
    Object,
    /// An array of strings, joined with commas.
    Strings,
}

/// One parameter of an operation.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The wire name.
    pub name: &'static str,
    /// Where it travels.
    pub location: ParamLocation,
    /// What it must be.
    pub param_type: ParamType,
    /// Whether a call without it is refused.
    pub required: bool,
    /// One line of documentation.
    pub doc: &'static str,
}

/// Which credential the API takes for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// An API key (or an auth token in its stead).
    ApiKey,
    /// An environment key.
    EnvironmentKey,
    /// Either of them.
    Both,
}

/// How an operation uses connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// As most do.
    Call,
    /// It may wait at the server for as long as its `block_ms` says, and so may its attempts.
    Poll,
    /// It has connections of its own, so that it never waits behind the others. It is not sent again when its answer was lost: the
    /// server may have recorded it, and would then refuse the second one for stating what the first has replaced.
    Heartbeat,
}

/// One operation of the API.
#[derive(Debug)]
pub struct Operation {
    /// The name that `antenv_call` takes, such as `environments.create`.
    pub name: &'static str,
    /// The API page's title.
    pub title: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path, `{name}` standing for the path parameters.
    pub path: &'static str,
    /// Its own parameters; [`COMMON`] comes on top.
    pub parameters: &'static [Parameter],
    /// The credential it accepts.
    pub credential: CredentialKind,
    /// Whether a JSON body is always sent, be it `{}`.
    pub has_body: bool,
    /// Whether a success without a body is an answer (read as `null`): an empty poll; a stop, which the service answers with 204.
    pub allows_empty_body: bool,
    /// Whether it answers pages (`data`, `next_page`) and takes `page`.
    pub paged: bool,
    /// How it uses connections.
    pub traffic: Traffic,
}

const fn parameter(name: &'static str, location: ParamLocation, param_type: ParamType, doc: &'static str) -> Parameter {
    Parameter { name, location, param_type, required: false, doc }
}

const fn required(name: &'static str, location: ParamLocation, param_type: ParamType, doc: &'static str) -> Parameter {
    Parameter { name, location, param_type, required: true, doc }
}

const ANY_INTEGER: ParamType = Integer(i64::MIN, i64::MAX);

const ENVIRONMENT_ID: Parameter = required("environment_id", Path, Id, "Environment identifier (`env_...`).");
const WORK_ID: Parameter = required("work_id", Path, Id, "Work identifier (`work_...`).");
const LIMIT: Parameter = parameter("limit", Query, ANY_INTEGER, "Most items a page may hold.");
const PAGE: Parameter = parameter("page", Query, Text, "Cursor: the previous page's `next_page`.");
const CONFIG: Parameter =
    parameter("config", Body, Object, "Configuration: `{\"type\":\"cloud\",...}` or `{\"type\":\"self_hosted\"}`.");
const DESCRIPTION: Parameter = parameter("description", Body, Text, "Description of the environment.");
const SCOPE: Parameter = parameter("scope", Body, Text, "Who sees it: `organization` or `account`.");

/// Parameters that every operation and `antenv_request` take.
pub const COMMON: &[Parameter] = &[
    parameter("betas", Header("anthropic-beta"), Strings, "Beta versions to use beside the one the operation needs."),
    parameter("workspace_id", Header("anthropic-workspace-id"), Text, "Workspace to act in (`wrkspc_...`)."),
];

/// An operation that reads: GET, no body, an API key, one JSON object in reply. The rows below state how they differ.
const READ: Operation = Operation {
    name: "",
    title: "",
    method: "GET",
    path: "",
    parameters: &[],
    credential: CredentialKind::ApiKey,
    has_body: false,
    allows_empty_body: false,
    paged: false,
    traffic: Traffic::Call,
};

/// `environments.create`
pub const ENVIRONMENTS_CREATE: Operation = Operation {
    name: "environments.create",
    title: "Create Environment",
    method: "POST",
    path: "/v1/environments",
    parameters: &[
        required("name", Body, NonEmptyText, "Human-readable name."),
        CONFIG,
        DESCRIPTION,
        parameter("metadata", Body, Object, "String keys and string values."),
        SCOPE,
    ],
    has_body: true,
    ..READ
};

/// `environments.list`
pub const ENVIRONMENTS_LIST: Operation = Operation {
    name: "environments.list",
    title: "List Environments",
    path: "/v1/environments",
    parameters: &[parameter("include_archived", Query, Bool, "Whether archived environments are listed too."), LIMIT, PAGE],
    paged: true,
    ..READ
};

/// `environments.retrieve`
pub const ENVIRONMENTS_RETRIEVE: Operation = Operation {
    name: "environments.retrieve",
    title: "Get Environment",
    path: "/v1/environments/{environment_id}",
    parameters: &[ENVIRONMENT_ID],
    ..READ
};

/// `environments.update`
pub const ENVIRONMENTS_UPDATE: Operation = Operation {
    name: "environments.update",
    title: "Update Environment",
    method: "POST",
    path: "/v1/environments/{environment_id}",
    parameters: &[
        ENVIRONMENT_ID,
        CONFIG,
        DESCRIPTION,
        parameter("metadata", Body, Object, "Merged into what is there; `null` or an empty string deletes a key."),
        parameter("name", Body, Text, "Human-readable name."),
        SCOPE,
    ],
    has_body: true,
    ..READ
};

/// `environments.delete`
pub const ENVIRONMENTS_DELETE: Operation = Operation {
    name: "environments.delete",
    title: "Delete Environment",
    method: "DELETE",
    path: "/v1/environments/{environment_id}",
    parameters: &[ENVIRONMENT_ID],
    ..READ
};

/// `environments.archive`
pub const ENVIRONMENTS_ARCHIVE: Operation = Operation {
    name: "environments.archive",
    title: "Archive Environment",
    method: "POST",
    path: "/v1/environments/{environment_id}/archive",
    parameters: &[ENVIRONMENT_ID],
    ..READ
};

/// `work.list`
pub const WORK_LIST: Operation = Operation {
    name: "work.list",
    title: "List Work Items",
    path: "/v1/environments/{environment_id}/work",
    parameters: &[ENVIRONMENT_ID, LIMIT, PAGE],
    credential: CredentialKind::EnvironmentKey,
    paged: true,
    ..READ
};

/// `work.poll`
pub const WORK_POLL: Operation = Operation {
    name: "work.poll",
    title: "Poll for Work",
    path: "/v1/environments/{environment_id}/work/poll",
    parameters: &[
        ENVIRONMENT_ID,
        parameter("block_ms", Query, Integer(1, 999), "Milliseconds to wait for work; absent: do not wait."),
        parameter(
            "reclaim_older_than_ms",
            Query,
            ANY_INTEGER,
            "Reclaim items unacknowledged for longer than this many milliseconds; absent: 5000.",
        ),
        parameter("anthropic_worker_id", Header("anthropic-worker-id"), Text, "Who polls, for the queue's statistics."),
    ],
    credential: CredentialKind::EnvironmentKey,
    allows_empty_body: true,
    traffic: Traffic::Poll,
    ..READ
};

/// `work.stats`
pub const WORK_STATS: Operation = Operation {
    name: "work.stats",
    title: "Get Queue Statistics",
    path: "/v1/environments/{environment_id}/work/stats",
    parameters: &[ENVIRONMENT_ID],
    credential: CredentialKind::Both,
    ..READ
};

/// `work.retrieve`
pub const WORK_RETRIEVE: Operation = Operation {
    name: "work.retrieve",
    title: "Get Work Item",
    path: "/v1/environments/{environment_id}/work/{work_id}",
    parameters: &[ENVIRONMENT_ID, WORK_ID],
    ..READ
};

/// `work.update`
pub const WORK_UPDATE: Operation = Operation {
    name: "work.update",
    title: "Update Work Item",
    method: "POST",
    path: "/v1/environments/{environment_id}/work/{work_id}",
    parameters: &[
        ENVIRONMENT_ID,
        WORK_ID,
        required("metadata", Body, Object, "Merged into what is there; `null` deletes a key."),
    ],
    has_body: true,
    ..READ
};

/// `work.ack`
pub const WORK_ACK: Operation = Operation {
    name: "work.ack",
    title: "Acknowledge Work",
    method: "POST",
    path: "/v1/environments/{environment_id}/work/{work_id}/ack",
    parameters: &[ENVIRONMENT_ID, WORK_ID],
    credential: CredentialKind::EnvironmentKey,
    ..READ
};

/// `work.heartbeat`
pub const WORK_HEARTBEAT: Operation = Operation {
    name: "work.heartbeat",
    title: "Record Heartbeat",
    method: "POST",
    path: "/v1/environments/{environment_id}/work/{work_id}/heartbeat",
    parameters: &[
        ENVIRONMENT_ID,
        WORK_ID,
        parameter("desired_ttl_seconds", Query, ANY_INTEGER, "Desired life of the lease in seconds."),
        parameter(
            "expected_last_heartbeat",
            Query,
            Text,
            "`NO_HEARTBEAT` for the first heartbeat, then the previous reply's `last_heartbeat` to the letter.",
        ),
    ],
    credential: CredentialKind::EnvironmentKey,
    traffic: Traffic::Heartbeat,
    ..READ
};

/// `work.stop`
pub const WORK_STOP: Operation = Operation {
    name: "work.stop",
    title: "Stop Work",
    method: "POST",
    path: "/v1/environments/{environment_id}/work/{work_id}/stop",
    parameters: &[
        ENVIRONMENT_ID,
        WORK_ID,
        parameter("force", Body, Bool, "Whether to stop at once instead of asking the worker to."),
    ],
    credential: CredentialKind::Both,
    has_body: true,
    allows_empty_body: true,
    ..READ
};

/// All of them, in the order of the API's pages.
pub const OPERATIONS: &[&Operation] = &[
    &ENVIRONMENTS_CREATE,
    &ENVIRONMENTS_LIST,
    &ENVIRONMENTS_RETRIEVE,
    &ENVIRONMENTS_UPDATE,
    &ENVIRONMENTS_DELETE,
    &ENVIRONMENTS_ARCHIVE,
    &WORK_LIST,
    &WORK_POLL,
    &WORK_STATS,
    &WORK_RETRIEVE,
    &WORK_UPDATE,
    &WORK_ACK,
    &WORK_HEARTBEAT,
    &WORK_STOP,
];

/// The operation of that name.
pub fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().copied().find(|operation| operation.name == name)
}
