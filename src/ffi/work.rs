//! Work: list, poll, stats, retrieve, update, ack, heartbeat, stop.

use super::call;
use super::client::antenv_client;
use crate::api::operations;
use crate::error::Status;
use std::ffi::c_char;

/// ---- Work: the queue of a self-hosted environment --------------------------------------------------------------------------
///
/// An item is queued, claimed by a poll, acknowledged (state starting), kept by heartbeats (active), and stopped. The API takes an
/// environment key for list, poll, ack and heartbeat, an API key for retrieve and update, and either for stats and stop: a client
/// that has both sends the right one. antenv_worker does all of this by itself.
/// ----
/// Lists work items, one page (GET /v1/environments/{environment_id}/work, List Work Items). A pager returns all of them.
///
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param params_json NULL or an object with `limit` (integer: page size) and `page` (string: the `next_page` of the page before).
/// @param out_json Receives {"data":[work items], "next_page": string or null}. A work item: {"id":"work_...", "type":"work",
///   "environment_id", "data":{"type":"session", "id"}, "state":"queued"|"starting"|"active"|"stopping"|"stopped", "metadata",
///   "created_at", "acknowledged_at", "started_at", "latest_heartbeat_at", "stop_requested_at", "stopped_at"}, times in RFC 3339
///   or null.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_work_list(
    client: *mut antenv_client,
    environment_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::WORK_LIST, [("environment_id", environment_id)], params_json, out_json)
}

/// Polls for work (GET /v1/environments/{environment_id}/work/poll, Poll for Work). This claims the item: acknowledge it soon, or
/// the queue gives it to another poller.
///
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param params_json NULL or an object with
///
///   block_ms               integer, 1 to 999: milliseconds to wait for work. Absent: no wait.
///   reclaim_older_than_ms  integer: also claim items left unacknowledged for this many milliseconds. Absent: 5000.
///   anthropic_worker_id    string: the poller's name, one per process, for the queue's statistics
///
/// @param out_json Receives the work item, with its `secret`; JSON `null` when there is none.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
///
/// ```c
///     antenv_work_poll(client, "env_...", "{\"block_ms\":999,\"anthropic_worker_id\":\"host-1\"}", &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_work_poll(
    client: *mut antenv_client,
    environment_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::WORK_POLL, [("environment_id", environment_id)], params_json, out_json)
}

/// Returns work queue statistics (GET /v1/environments/{environment_id}/work/stats, Get Queue Statistics).
///
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param params_json NULL or an object with options of a call.
/// @param out_json Receives {"type":"work_queue_stats", "depth": items waiting, "pending": items polled but not acknowledged,
///   "oldest_queued_at": time or null, "workers_polling": workers that polled in the last 30 seconds, or null}.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_work_stats(
    client: *mut antenv_client,
    environment_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::WORK_STATS, [("environment_id", environment_id)], params_json, out_json)
}

/// Retrieves a work item (GET /v1/environments/{environment_id}/work/{work_id}, Get Work Item).
///
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param work_id Identifier of the item, "work_...".
/// @param params_json NULL or an object with options of a call.
/// @param out_json Receives the work item.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND. Blocks.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_work_retrieve(
    client: *mut antenv_client,
    environment_id: *const c_char,
    work_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(
        client,
        &operations::WORK_RETRIEVE,
        [("environment_id", environment_id), ("work_id", work_id)],
        params_json,
        out_json,
    )
}

/// Updates a work item's metadata (POST /v1/environments/{environment_id}/work/{work_id}, Update Work Item).
///
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param work_id Identifier of the item, "work_...".
/// @param params_json An object with `metadata` (object, required; merged with the present one, `null` deletes a key).
/// @param out_json Receives the work item.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND; ANTENV_BAD_REQUEST with error_code "invalid_metadata". Blocks.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_work_update(
    client: *mut antenv_client,
    environment_id: *const c_char,
    work_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(
        client,
        &operations::WORK_UPDATE,
        [("environment_id", environment_id), ("work_id", work_id)],
        params_json,
        out_json,
    )
}

/// Acknowledges a work item that was polled (POST /v1/environments/{environment_id}/work/{work_id}/ack, Acknowledge Work): it
/// leaves the queue and is starting. Send a heartbeat right after it.
///
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param work_id Identifier of the item, "work_...".
/// @param params_json NULL or an object with options of a call.
/// @param out_json Receives the work item.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND; ANTENV_CONFLICT when the item is in a later state. Blocks.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_work_ack(
    client: *mut antenv_client,
    environment_id: *const c_char,
    work_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(
        client,
        &operations::WORK_ACK,
        [("environment_id", environment_id), ("work_id", work_id)],
        params_json,
        out_json,
    )
}

/// Records a heartbeat, which extends the lease on a work item (POST /v1/environments/{environment_id}/work/{work_id}/heartbeat,
/// Record Heartbeat).
///
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param work_id Identifier of the item, "work_...".
/// @param params_json NULL or an object with `desired_ttl_seconds` (integer: how many seconds the lease is to last) and
///   `expected_last_heartbeat` (string: "NO_HEARTBEAT" for the first, then the `last_heartbeat` of the reply before, verbatim).
/// @param out_json Receives {"type":"work_heartbeat", "last_heartbeat": time, "lease_extended": boolean, "state": the item's,
///   "ttl_seconds": integer}.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND; ANTENV_PRECONDITION_FAILED when the last heartbeat is a different one:
/// `details.current_state` has it, and unless it was this caller's own and its reply was lost, another worker holds the item.
/// Blocks.
///
/// ```c
///     antenv_work_heartbeat(client, "env_...", "work_...", "{\"expected_last_heartbeat\":\"NO_HEARTBEAT\"}", &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_work_heartbeat(
    client: *mut antenv_client,
    environment_id: *const c_char,
    work_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(
        client,
        &operations::WORK_HEARTBEAT,
        [("environment_id", environment_id), ("work_id", work_id)],
        params_json,
        out_json,
    )
}

/// Stops a work item (POST /v1/environments/{environment_id}/work/{work_id}/stop, Stop Work).
///
/// @param client The client.
/// @param environment_id Identifier of the environment, "env_...".
/// @param work_id Identifier of the item, "work_...".
/// @param params_json NULL or an object with `force` (boolean; true: at once, otherwise the next heartbeat's reply asks its worker
///   to stop).
/// @param out_json Receives the work item; JSON `null` when the server sends none.
///
/// Errors: the common call errors; ANTENV_NOT_FOUND; ANTENV_CONFLICT when it has stopped already. Blocks.
///
/// ```c
///     antenv_work_stop(client, "env_...", "work_...", "{\"force\":true}", &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_work_stop(
    client: *mut antenv_client,
    environment_id: *const c_char,
    work_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(
        client,
        &operations::WORK_STOP,
        [("environment_id", environment_id), ("work_id", work_id)],
        params_json,
        out_json,
    )
}
