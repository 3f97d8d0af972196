//! Environments: create, list, retrieve, update, delete, archive.

use super::call;
use super::client::antenv_client;
use crate::api::operations;
use crate::error::Status;
use std::ffi::c_char;

/// ---- Environments ---------------------------------------------------------------------------------------------------------
///
/// Creates an environment (POST /v1/environments, Create Environment).
///
/// `client`: the client.
///
/// `params_json`: an object with
///
/// | parameter   | type   |                                                                                                          |
/// |-------------|--------|----------------------------------------------------------------------------------------------------------|
/// | name        | string | required; human-readable                                                                                 |
/// | config      | object | {"type":"cloud", "networking":{...}, "packages":{...}} or {"type":"self_hosted"}; sent on as it is       |
/// | description | string |                                                                                                          |
/// | metadata    | object | string keys and string values                                                                            |
/// | scope       | string | "organization" (all accounts see it) or "account"                                                        |
///
/// and the options of a call. `null` is sent as `null`, but for `name`.
///
/// `out_json`: the environment: {"id":"env_...", "type":"environment", "name", "description", "config", "metadata", "scope",
/// "created_at", "updated_at", "archived_at"}, times in RFC 3339; or the error object. Free it with antenv_string_free.
///
/// Errors: any of a call; ANTENV_PERMISSION_DENIED where creating is switched off. Blocks until the call is done, `timeout_ms` at
/// most.
///
/// ```c
///     antenv_environments_create(client, "{\"name\":\"tests\",\"config\":{\"type\":\"self_hosted\"}}", &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_environments_create(
    client: *mut antenv_client,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::ENVIRONMENTS_CREATE, [], params_json, out_json)
}

/// Lists environments, one page (GET /v1/environments, List Environments). For all of them, one by one, use a pager.
///
/// `client`: the client.
///
/// `params_json`: NULL or an object with `include_archived` (boolean), `limit` (whole number, the most items in a page), `page`
/// (string, the `next_page` of the page before), and the options of a call.
///
/// `out_json`: {"data":[environments], "next_page": string or null}; or the error object. Free it with antenv_string_free.
///
/// Errors: any of a call. Blocks until the call is done, `timeout_ms` at most.
///
/// ```c
///     antenv_environments_list(client, "{\"limit\":20}", &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_environments_list(
    client: *mut antenv_client,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::ENVIRONMENTS_LIST, [], params_json, out_json)
}

/// Retrieves an environment (GET /v1/environments/{environment_id}, Get Environment).
///
/// `client`: the client.
///
/// `environment_id`: the environment's identifier, "env_...".
///
/// `params_json`: NULL or an object with the options of a call.
///
/// `out_json`: the environment; or the error object. Free it with antenv_string_free.
///
/// Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
///
/// ```c
///     antenv_environments_retrieve(client, "env_...", NULL, &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_environments_retrieve(
    client: *mut antenv_client,
    environment_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::ENVIRONMENTS_RETRIEVE, [("environment_id", environment_id)], params_json, out_json)
}

/// Updates an environment (POST /v1/environments/{environment_id}, Update Environment). What is absent stays as it is.
///
/// `client`: the client.
///
/// `environment_id`: the environment's identifier, "env_...".
///
/// `params_json`: an object with any of `config` (object; its absent fields stay too), `description` (string; `null` clears it),
/// `metadata` (object, merged into what is there: `null` or "" deletes a key), `name` (string), `scope` (string), and the options
/// of a call. NULL changes nothing.
///
/// `out_json`: the environment as it is now; or the error object. Free it with antenv_string_free.
///
/// Errors: any of a call; ANTENV_NOT_FOUND; ANTENV_BAD_REQUEST with error_code "environment_archived" or
/// "invalid_config_type_change". Blocks until the call is done, `timeout_ms` at most.
///
/// ```c
///     antenv_environments_update(client, "env_...", "{\"metadata\":{\"team\":\"blue\",\"old\":null}}", &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_environments_update(
    client: *mut antenv_client,
    environment_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::ENVIRONMENTS_UPDATE, [("environment_id", environment_id)], params_json, out_json)
}

/// Deletes an environment (DELETE /v1/environments/{environment_id}, Delete Environment).
///
/// `client`: the client.
///
/// `environment_id`: the environment's identifier, "env_...".
///
/// `params_json`: NULL or an object with the options of a call.
///
/// `out_json`: {"id":"env_...", "type":"environment_deleted"}; or the error object. Free it with antenv_string_free.
///
/// Errors: any of a call; ANTENV_NOT_FOUND, also when a retry finds that the attempt before it had deleted it. Blocks until the
/// call is done, `timeout_ms` at most.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_environments_delete(
    client: *mut antenv_client,
    environment_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::ENVIRONMENTS_DELETE, [("environment_id", environment_id)], params_json, out_json)
}

/// Archives an environment (POST /v1/environments/{environment_id}/archive, Archive Environment). It takes no new sessions then.
///
/// `client`: the client.
///
/// `environment_id`: the environment's identifier, "env_...".
///
/// `params_json`: NULL or an object with the options of a call.
///
/// `out_json`: the environment, `archived_at` set; or the error object. Free it with antenv_string_free.
///
/// Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_environments_archive(
    client: *mut antenv_client,
    environment_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::ENVIRONMENTS_ARCHIVE, [("environment_id", environment_id)], params_json, out_json)
}
