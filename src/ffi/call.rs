//! Calls by name, and to any other endpoint.

use super::boundary;
use super::client::{CLIENTS, antenv_client};
use crate::api::operations::Operation;
use crate::error::Status;
use std::ffi::c_char;

/// Calls an operation, for the functions that are named after one. `ids`: the path parameters among their arguments.
pub fn operation<const N: usize>(
    client: *mut antenv_client,
    operation: &'static Operation,
    ids: [(&str, *const c_char); N],
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    boundary::return_json(out_json, || {
        let client = CLIENTS.get(client)?;
        let mut named = [("", ""); N];
        for (slot, (name, id)) in named.iter_mut().zip(ids) {
            *slot = (name, boundary::text(name, id)?);
        }
        client.call_with(operation, &named, boundary::optional_text("params_json", params_json)?)
    })
}

/// ---- Any operation, any endpoint -------------------------------------------------------------------------------------------
/// ----
/// Calls any operation by its name.
///
/// @param client The client.
/// @param operation "environments.create", ".list", ".retrieve", ".update", ".delete", ".archive"; "work.list", ".poll",
///   ".stats", ".retrieve", ".update", ".ack", ".heartbeat", ".stop"; "sessions.create", ".retrieve"; "sessions.events.list",
///   ".send"; "skills.versions.retrieve"; "memory_stores.memories.create", ".retrieve", ".update", ".list", ".delete".
/// @param params_json Every parameter of that operation, identifiers such as `environment_id` too; otherwise as for the function
///   of that name, if there is one. A filter by time has its name on the wire, such as `created_at[gt]`; an array of strings in
///   the query is an array: `"types":["user.message"]`.
/// @param out_json Receives the result.
///
/// Errors: those of the operation; an unknown name gives ANTENV_INVALID_ARGUMENT and a message that lists the known ones; so does
/// the name of a stream or download, and the message says which function calls it. Blocks.
///
/// ```c
///     antenv_call(client, "sessions.retrieve", "{\"session_id\":\"sesn_...\"}", &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_call(
    client: *mut antenv_client,
    operation: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    boundary::return_json(out_json, || {
        let client = CLIENTS.get(client)?;
        client.call(boundary::text("operation", operation)?, boundary::optional_text("params_json", params_json)?)
    })
}

/// Makes a request to any other endpoint of the API, with the client's credential, headers, retries and timeouts.
///
/// @param client The client.
/// @param method GET, POST, PUT, PATCH or DELETE.
/// @param path Begins with `/`, such as "/v1/agents"; percent-encoded where needed, without a query.
/// @param params_json NULL or {"query":{...}, "body": any JSON, "headers":{...}}.
/// @param out_json Receives the result; `null` when the server sends none.
///
/// Errors: the common call errors. Blocks.
///
/// ```c
///     antenv_request(client, "POST", "/v1/agents", "{\"body\":{\"name\":\"helper\"}}", &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_request(
    client: *mut antenv_client,
    method: *const c_char,
    path: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    boundary::return_json(out_json, || {
        let client = CLIENTS.get(client)?;
        let (method, path) = (boundary::text("method", method)?, boundary::text("path", path)?);
        client.request(method, path, boundary::optional_text("params_json", params_json)?)
    })
}
