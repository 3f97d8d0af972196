//! THE TABLE: the operations of the API, each with its method, path and parameters, in one file per resource.
//!
//! This is the only place that lists them. Request building, parameter checks, error messages, the pager, streams, downloads and the
//! tests all read the table, so a new operation is one row in its resource's file, one line in [`OPERATIONS`], and its test cases.

mod environments;
mod memory_stores;
mod sessions;
mod skills;
mod work;

pub use environments::*;
pub use memory_stores::*;
pub use sessions::*;
pub use skills::*;
pub use work::*;

use super::params::ParamLocation::{Header, Path, Query};
use super::params::ParamType::{self, Id, Strings, Text};
use super::params::{Parameter, optional, required};
use crate::error::{Error, Result};
use std::fmt;

/// Which credential the API accepts for an operation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CredentialKind {
    /// An API key, or an auth token instead. A worker's calls for the item that it serves carry the item's own token.
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

/// What the body of a success holds, and so which function makes the call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ResponseKind {
    /// One JSON value.
    Json,
    /// Server-sent events, each with one JSON value.
    Stream,
    /// A file.
    Binary,
}

impl ResponseKind {
    /// Returns the `Accept` header of the request. `None`: that of all calls, `application/json`, which the API expects for a stream, too.
    pub fn accept(self) -> Option<&'static str> {
        match self {
            ResponseKind::Json | ResponseKind::Stream => None,
            ResponseKind::Binary => Some("application/binary"),
        }
    }

    /// Returns the words for such an operation in an error message: what it is, and the function that calls it.
    fn advice(self) -> &'static str {
        match self {
            ResponseKind::Json => "returns JSON: call it with antenv_call",
            ResponseKind::Stream => "is a stream: open it with antenv_stream_open",
            ResponseKind::Binary => "returns a file: download it with antenv_download",
        }
    }
}

/// One operation of the API.
#[derive(Debug)]
pub struct Operation {
    /// The name for `antenv_call`, such as `environments.create`.
    pub name: &'static str,
    /// The title of its page in the API reference.
    pub title: &'static str,
    /// What it does, in sentences that begin with the verb; for the bindings' documentation. Literals and errors stand in backticks.
    pub doc: &'static str,
    /// The type of its result, of a page's items, or of a stream's events, in Python and Go. Empty: any JSON object.
    pub result: &'static str,
    /// The HTTP method.
    pub method: &'static str,
    /// The path, with `{name}` for each path parameter.
    pub path: &'static str,
    /// Its parameters, without those in [`COMMON`]. Those in the path come first, in the path's order.
    pub parameters: &'static [Parameter],
    /// The beta that it requires, if any.
    pub beta: Option<&'static str>,
    /// The credential it accepts.
    pub credential: CredentialKind,
    /// Whether a JSON body is always sent, even if it is `{}`.
    pub has_body: bool,
    /// Whether a success may have an empty body, which is read as `null`: an empty poll, or a stop, which gets a 204.
    pub allows_empty_body: bool,
    /// Whether it returns pages (`data`, `next_page`) and takes `page`.
    pub paged: bool,
    /// What a success holds.
    pub response: ResponseKind,
    /// How it uses connections.
    pub traffic: Traffic,
}

/// The beta of most operations, and of requests to other endpoints.
pub const MANAGED_AGENTS_BETA: &str = "managed-agents-2026-04-01";

const ENVIRONMENT_ID: Parameter = required("environment_id", Path, Id, "Environment identifier (`env_...`).");
const LIMIT: Parameter = optional("limit", Query, ParamType::ANY_INTEGER, "Maximum number of items in a page.");
const PAGE: Parameter = optional("page", Query, Text, "Cursor: the previous page's `next_page`.");

/// Parameters that every operation and `antenv_request` take.
pub const COMMON: &[Parameter] = &[
    optional("betas", Header("anthropic-beta"), Strings, "Beta versions to use besides the required one."),
    optional("workspace_id", Header("anthropic-workspace-id"), Text, "Workspace to act in (`wrkspc_...`)."),
];

/// The defaults of the rows: GET, no body, an API key, one JSON object in the response.
const READ: Operation = Operation {
    name: "",
    title: "",
    doc: "",
    result: "",
    method: "GET",
    path: "",
    parameters: &[],
    beta: Some(MANAGED_AGENTS_BETA),
    credential: CredentialKind::ApiKey,
    has_body: false,
    allows_empty_body: false,
    paged: false,
    response: ResponseKind::Json,
    traffic: Traffic::Call,
};

/// All operations: each resource's in the order of the API reference.
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
    &SESSIONS_CREATE,
    &SESSIONS_RETRIEVE,
    &SESSIONS_EVENTS_LIST,
    &SESSIONS_EVENTS_SEND,
    &SESSIONS_EVENTS_STREAM,
    &SKILLS_VERSIONS_RETRIEVE,
    &SKILLS_VERSIONS_DOWNLOAD,
    &MEMORY_STORES_MEMORIES_CREATE,
    &MEMORY_STORES_MEMORIES_RETRIEVE,
    &MEMORY_STORES_MEMORIES_UPDATE,
    &MEMORY_STORES_MEMORIES_LIST,
    &MEMORY_STORES_MEMORIES_DELETE,
];

/// Returns the operation with this name whose responses are of this kind. An error lists the names of that kind, or, if the operation is
/// of another kind, names the function that calls it.
pub fn find(name: &str, response: ResponseKind) -> Result<&'static Operation> {
    let error = |problem: fmt::Arguments| Err(Error::argument("operation", problem));
    match OPERATIONS.iter().find(|operation| operation.name == name) {
        Some(operation) if operation.response == response => Ok(operation),
        Some(operation) => error(format_args!("cannot be {name} here, which {}", operation.response.advice())),
        None => {
            let known: Vec<_> = OPERATIONS.iter().filter(|each| each.response == response).map(|each| each.name).collect();
            error(format_args!("is not known; known are: {}", known.join(", ")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::params::ParamLocation::Body;

    #[test]
    fn each_name_is_given_once() {
        let names: std::collections::HashSet<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        assert_eq!(names.len(), OPERATIONS.len());
    }

    #[test]
    fn the_path_parameters_are_those_of_the_path_in_its_order() {
        for operation in OPERATIONS {
            let in_path = operation.path.split('/').filter_map(|segment| segment.strip_prefix('{')?.strip_suffix('}'));
            let listed = operation.parameters.iter().take_while(|each| each.location == Path).map(|each| each.name);
            assert!(in_path.eq(listed), "{}", operation.name);
            assert_eq!(operation.parameters.iter().any(|each| each.name == "page"), operation.paged, "{}", operation.name);
            assert!(operation.has_body || operation.parameters.iter().all(|each| each.location != Body), "{}", operation.name);
        }
    }

    #[test]
    fn an_operation_of_another_kind_names_the_function_that_calls_it() {
        let problem = |name, response| find(name, response).unwrap_err().to_string();
        assert!(problem("sessions.events.stream", ResponseKind::Json).ends_with("open it with antenv_stream_open"));
        assert!(problem("skills.versions.download", ResponseKind::Json).ends_with("download it with antenv_download"));
        assert!(problem("work.poll", ResponseKind::Stream).ends_with("call it with antenv_call"));
        assert!(problem("work.pol", ResponseKind::Stream).ends_with("known are: sessions.events.stream"));
    }
}
