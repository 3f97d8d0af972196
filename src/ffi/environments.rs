//! Environments: create, list, retrieve, update, delete, archive.

use super::call;
use super::client::antenv_client;
use crate::api::operations;
use crate::error::Status;
use std::ffi::c_char;

/// ---- Environments ----------------------------------------------------------------------------------------------------------
/// ----
/// Creates an environment (POST /v1/environments, Create Environment).
///
/// @param client The client.
/// @param params_json An object with these parameters, of which only `name` cannot be `null`:
///
///   name         string, required: human-readable
///   config       object: {"type":"cloud", "networking":{...}, "packages":{...}} or {"type":"self_hosted"}; sent verbatim
///   description  string
///   metadata     object with string values
///   scope        string: "organization" (visible to all accounts) or "account"
///
/// @param out_json Receives the environment: {"id":"env_...", "type":"environment", "name", "description", "config", "metadata",
///   "scope", "created_at", "updated_at", "archived_at"}, times in RFC 3339.
///
/// Errors: the common call errors; ANTENV_PERMISSION_DENIED where creating is switched off. Blocks.
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

/// Lists environments, one page (GET /v1/environments, List Environments). A pager returns all of them, one by one.
///
/// @param client The client.
/// @param params_json NULL or an object with `include_archived` (boolean), `limit` (integer: page size) and `page` (string: the
///   `next_page` of the page before).
/// @param out_json Receives {"data":[environments], "next_page": string or null}.
///
/// Errors: the common call errors. Blocks.
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
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param params_json NULL or an object with options of a call.
/// @param out_json Receives the environment.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
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

/// Updates an environment (POST /v1/environments/{environment_id}, Update Environment). Absent parameters stay as they are.
///
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param params_json An object with any of `config` (object; its absent fields stay, too), `description` (string; `null` clears
///   it), `metadata` (object, merged with the present one: `null` or "" deletes a key), `name` (string) and `scope` (string). NULL
///   changes nothing.
/// @param out_json Receives the environment as it is now.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND; ANTENV_BAD_REQUEST with error_code "environment_archived" or
/// "invalid_config_type_change". Blocks.
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
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param params_json NULL or an object with options of a call.
/// @param out_json Receives {"id":"env_...", "type":"environment_deleted"}.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND, also when a retry finds that the attempt before it deleted the environment.
/// Blocks.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_environments_delete(
    client: *mut antenv_client,
    environment_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::ENVIRONMENTS_DELETE, [("environment_id", environment_id)], params_json, out_json)
}

/// Archives an environment (POST /v1/environments/{environment_id}/archive, Archive Environment). It then takes no new sessions.
///
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param params_json NULL or an object with options of a call.
/// @param out_json Receives the environment, with `archived_at` set.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_environments_archive(
    client: *mut antenv_client,
    environment_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::ENVIRONMENTS_ARCHIVE, [("environment_id", environment_id)], params_json, out_json)
}
