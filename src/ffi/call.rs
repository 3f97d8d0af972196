//! Calls by name, and to any other endpoint.

use super::client::{CLIENTS, antenv_client};
use super::guard;
use crate::api::operations::Operation;
use crate::error::Status;
use std::ffi::c_char;

/// Calls an operation, for the functions that have a name of their own. `ids`: the path parameters among their arguments.
pub fn operation<const N: usize>(
    client: *mut antenv_client,
    operation: &'static Operation,
    ids: [(&str, *const c_char); N],
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    guard::json(out_json, || {
        let client = CLIENTS.get(client)?;
        let mut named = [("", ""); N];
        for (slot, (name, id)) in named.iter_mut().zip(ids) {
            *slot = (name, guard::text(name, id)?);
        }
        client.call_with(operation, &named, guard::optional_text("params_json", params_json)?)
    })
}

/// ---- Any operation, any endpoint ------------------------------------------------------------------------------------------
///
/// Calls any operation by its name.
///
/// `operation`: "environments.create", ".list", ".retrieve", ".update", ".delete", ".archive", or "work.list", ".poll", ".stats",
/// ".retrieve", ".update", ".ack", ".heartbeat", ".stop".
///
/// `params_json`: every parameter of that operation, `environment_id` and `work_id` too; otherwise as for the function of that name.
///
/// `out_json`: the result or the error object; free it with antenv_string_free.
///
/// Errors: those of the operation; an unknown name gives ANTENV_INVALID_ARGUMENT and a message that lists the known ones. Blocks
/// until the call is done, `timeout_ms` at most.
///
/// ```c
///     antenv_call(client, "work.stats", "{\"environment_id\":\"env_...\"}", &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_call(
    client: *mut antenv_client,
    operation: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    guard::json(out_json, || {
        let client = CLIENTS.get(client)?;
        client.call(guard::text("operation", operation)?, guard::optional_text("params_json", params_json)?)
    })
}

/// Makes a request to any other endpoint of the API, with this client's credential, headers, retries and timeouts.
///
/// `method`: GET, POST, PUT, PATCH or DELETE.
///
/// `path`: begins with `/`, such as "/v1/sessions"; percent-encoded where needed, without query.
///
/// `params_json`: NULL or {"query":{...}, "body":any JSON, "headers":{...}}, beside betas, workspace_id and the options of a call.
///
/// `out_json`: the result (`null` when the server sends none) or the error object; free it with antenv_string_free.
///
/// Errors: as for any call. Blocks until the call is done, `timeout_ms` at most.
///
/// ```c
///     antenv_request(client, "POST", "/v1/sessions", "{\"body\":{\"environment_id\":\"env_...\"}}", &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_request(
    client: *mut antenv_client,
    method: *const c_char,
    path: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    guard::json(out_json, || {
        let client = CLIENTS.get(client)?;
        let (method, path) = (guard::text("method", method)?, guard::text("path", path)?);
        client.request(method, path, guard::optional_text("params_json", params_json)?)
    })
}
