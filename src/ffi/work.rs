//! Work: list, poll, stats, retrieve, update, ack, heartbeat, stop.

use super::call;
use super::client::antenv_client;
use crate::api::operations;
use crate::error::Status;
use std::ffi::c_char;

/// ---- Work: the queue of a self-hosted environment --------------------------------------------------------------------------
///
/// An item is queued, claimed by a poll, acknowledged (state starting), kept by heartbeats (active), and stopped. The API takes an
/// environment key for list, poll, ack and heartbeat, an API key for retrieve and update, either for stats and stop: a client that
/// has both sends the right one.
///
/// Lists work items, one page (GET /v1/environments/{environment_id}/work, List Work Items). For all of them use a pager.
///
/// `client`: the client.
///
/// `environment_id`: the environment's identifier, "env_...".
///
/// `params_json`: NULL or an object with `limit` (whole number, the most items in a page), `page` (string, the `next_page` of the
/// page before), and the options of a call.
///
/// `out_json`: {"data":[work items], "next_page": string or null}; or the error object. Free it with antenv_string_free. A work
/// item: {"id":"work_...", "type":"work", "environment_id", "data":{"type":"session", "id"},
/// "state":"queued"|"starting"|"active"|"stopping"|"stopped", "metadata", "created_at", "acknowledged_at", "started_at",
/// "latest_heartbeat_at", "stop_requested_at", "stopped_at"}, times in RFC 3339 or null.
///
/// Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_work_list(
    client: *mut antenv_client,
    environment_id: *const c_char,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    call::operation(client, &operations::WORK_LIST, [("environment_id", environment_id)], params_json, out_json)
}

/// Polls for work (GET /v1/environments/{environment_id}/work/poll, Poll for Work). The item is claimed: acknowledge it soon, or
/// the queue gives it to another poller.
///
/// `client`: the client.
///
/// `environment_id`: the environment's identifier, "env_...".
///
/// `params_json`: NULL or an object with
///
/// | parameter             | type         |                                                                                       |
/// |-----------------------|--------------|---------------------------------------------------------------------------------------|
/// | block_ms              | whole number | 1 to 999: milliseconds to wait for work; absent: do not wait                          |
/// | reclaim_older_than_ms | whole number | reclaim items unacknowledged for longer than this many milliseconds; absent: 5000     |
/// | anthropic_worker_id   | string       | who polls, one name per process, for the queue's statistics                           |
///
/// and the options of a call.
///
/// `out_json`: the work item, with its `secret`; JSON `null` when there is none; or the error object. Free it with
/// antenv_string_free.
///
/// Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
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

/// Tells how the queue stands (GET /v1/environments/{environment_id}/work/stats, Get Queue Statistics).
///
/// `client`: the client.
///
/// `environment_id`: the environment's identifier, "env_...".
///
/// `params_json`: NULL or an object with the options of a call.
///
/// `out_json`: {"type":"work_queue_stats", "depth": items waiting, "pending": items polled but not acknowledged,
/// "oldest_queued_at": time or null, "workers_polling": workers that polled in the last 30 seconds, or null}; or the error object.
/// Free it with antenv_string_free.
///
/// Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
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
/// `client`: the client.
///
/// `environment_id`, `work_id`: the identifiers of the environment, "env_...", and of the item, "work_...".
///
/// `params_json`: NULL or an object with the options of a call.
///
/// `out_json`: the work item; or the error object. Free it with antenv_string_free.
///
/// Errors: any of a call; ANTENV_NOT_FOUND. Blocks until the call is done, `timeout_ms` at most.
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
/// `client`: the client.
///
/// `environment_id`, `work_id`: the identifiers of the environment, "env_...", and of the item, "work_...".
///
/// `params_json`: an object with `metadata` (object, required; merged into what is there, `null` deletes a key), and the options of
/// a call.
///
/// `out_json`: the work item; or the error object. Free it with antenv_string_free.
///
/// Errors: any of a call; ANTENV_NOT_FOUND; ANTENV_BAD_REQUEST with error_code "invalid_metadata". Blocks until the call is done,
/// `timeout_ms` at most.
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
/// leaves the queue and is starting. Follow with a heartbeat at once.
///
/// `client`: the client.
///
/// `environment_id`, `work_id`: the identifiers of the environment, "env_...", and of the item, "work_...".
///
/// `params_json`: NULL or an object with the options of a call.
///
/// `out_json`: the work item; or the error object. Free it with antenv_string_free.
///
/// Errors: any of a call; ANTENV_NOT_FOUND; ANTENV_CONFLICT when it is past that. Blocks until the call is done, `timeout_ms` at
/// most.
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

/// Records a heartbeat, which keeps the lease on a work item (POST /v1/environments/{environment_id}/work/{work_id}/heartbeat,
/// Record Heartbeat).
///
/// `client`: the client.
///
/// `environment_id`, `work_id`: the identifiers of the environment, "env_...", and of the item, "work_...".
///
/// `params_json`: NULL or an object with `desired_ttl_seconds` (whole number, seconds that the lease is to last),
/// `expected_last_heartbeat` (string: "NO_HEARTBEAT" for the first, then the `last_heartbeat` of the reply before, to the letter),
/// and the options of a call.
///
/// `out_json`: {"type":"work_heartbeat", "last_heartbeat": time, "lease_extended": boolean, "state": the item's, "ttl_seconds":
/// whole number}; or the error object. Free it with antenv_string_free.
///
/// Errors: any of a call; ANTENV_NOT_FOUND; ANTENV_PRECONDITION_FAILED when the last heartbeat is another: `details.current_state`
/// tells, and unless that was this caller's own lost reply, the item is somebody else's now. Blocks until the call is done,
/// `timeout_ms` at most.
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
/// `client`: the client.
///
/// `environment_id`, `work_id`: the identifiers of the environment, "env_...", and of the item, "work_...".
///
/// `params_json`: NULL or an object with `force` (boolean; true: at once, otherwise its worker is asked to stop by the next
/// heartbeat's reply), and the options of a call.
///
/// `out_json`: the work item; JSON `null` when the server sends none; or the error object. Free it with antenv_string_free.
///
/// Errors: any of a call; ANTENV_NOT_FOUND; ANTENV_CONFLICT when it has stopped already. Blocks until the call is done,
/// `timeout_ms` at most.
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
