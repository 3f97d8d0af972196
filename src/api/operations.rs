//! THE TABLE: the fourteen operations of the API, each with its method, path and parameters.
//!
//! This is the only place that lists them. Request building, parameter checks, error messages, the pager and the tests all
//! read the table, so a new operation is one row here, one exported function and one set of test cases.

use super::params::ParamLocation::{self, Body, Header, Path, Query};
use super::params::ParamType::{self, Bool, Id, Integer, NonEmptyText, Object, Strings, Text};
use super::params::Parameter;

/// Which credential the API accepts for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// An API key, or an auth token instead.
    ApiKey,
    /// An environment key.
    EnvironmentKey,
    /// Either of them.
    Both,
}

/// How an operation uses connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Traffic {
    /// An ordinary call.
    Call,
    /// A poll: the server may hold the request for `block_ms`, which extends each attempt's timeout.
    Poll,
    /// A heartbeat: it has separate connections, so it never waits behind other requests. It is not retried when its response was
    /// lost: the server may have recorded it, and would then reject the retry for an outdated `expected_last_heartbeat`.
    Heartbeat,
}

/// One operation of the API.
#[derive(Debug)]
pub struct Operation {
    /// The name for `antenv_call`, such as `environments.create`.
    pub name: &'static str,
    /// The title of its page in the API reference.
    pub title: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path, with `{name}` for each path parameter.
    pub path: &'static str,
    /// Its parameters, without those in [`COMMON`].
    pub parameters: &'static [Parameter],
    /// The credential it accepts.
    pub credential: CredentialKind,
    /// Whether a JSON body is always sent, even if it is `{}`.
    pub has_body: bool,
    /// Whether a success may have an empty body, which is read as `null`: an empty poll, or a stop, which gets a 204.
    pub allows_empty_body: bool,
    /// Whether it returns pages (`data`, `next_page`) and takes `page`.
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
const LIMIT: Parameter = parameter("limit", Query, ANY_INTEGER, "Maximum number of items in a page.");
const PAGE: Parameter = parameter("page", Query, Text, "Cursor: the previous page's `next_page`.");
const CONFIG: Parameter =
    parameter("config", Body, Object, "Configuration: `{\"type\":\"cloud\",...}` or `{\"type\":\"self_hosted\"}`.");
const DESCRIPTION: Parameter = parameter("description", Body, Text, "Description of the environment.");
const SCOPE: Parameter = parameter("scope", Body, Text, "Visibility: `organization` or `account`.");

/// Parameters that every operation and `antenv_request` take.
pub const COMMON: &[Parameter] = &[
    parameter("betas", Header("anthropic-beta"), Strings, "Beta versions to use besides the required one."),
    parameter("workspace_id", Header("anthropic-workspace-id"), Text, "Workspace to act in (`wrkspc_...`)."),
];

/// The defaults of the rows below: GET, no body, an API key, one JSON object in the response.
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
    parameters: &[parameter("include_archived", Query, Bool, "Whether to list archived environments, too."), LIMIT, PAGE],
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
        parameter("metadata", Body, Object, "Merged into the existing metadata; `null` or an empty string deletes a key."),
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
        parameter(
            "anthropic_worker_id",
            Header("anthropic-worker-id"),
            Text,
            "Name of the polling worker, for the work queue's statistics.",
        ),
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
        required("metadata", Body, Object, "Merged into the existing metadata; `null` deletes a key."),
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
        parameter("desired_ttl_seconds", Query, ANY_INTEGER, "Desired lifetime of the lease in seconds."),
        parameter(
            "expected_last_heartbeat",
            Query,
            Text,
            "`NO_HEARTBEAT` for the first heartbeat, then the previous response's `last_heartbeat` verbatim.",
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
        parameter("force", Body, Bool, "Whether to stop immediately instead of asking the worker to stop."),
    ],
    credential: CredentialKind::Both,
    has_body: true,
    allows_empty_body: true,
    ..READ
};

/// All operations, in the order of the API reference.
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

/// Returns the operation with this name.
pub fn find(name: &str) -> Option<&'static Operation> {
    OPERATIONS.iter().copied().find(|operation| operation.name == name)
}
