//! The log.

use super::boundary;
use super::queue::{QUEUES, antenv_queue};
use crate::error::Status;
use std::ffi::c_char;

/// ---- Log -------------------------------------------------------------------------------------------------------------------
/// ----
/// Delivers the library's log records to a queue, as completions with status ANTENV_OK and a JSON object each:
/// {"time":"2026-11-23T10:20:30.123456Z", "level":"info", "target":"antenv::client", "message":"retrying", "fields":{...}}. No
/// record ever holds a secret.
///
/// @param queue The queue, preferably one for the log alone. It holds at most 1024 records: when it is read too slowly the oldest
///   are lost, and a record with the target "antenv::log" has their number in the field `lost`. Subscribing again replaces filter
///   and tag.
/// @param filter "off", "error", "warn", "info", "debug" or "trace"; or such a level for a part of the library, as in
///   "antenv::client=debug"; or several of these, separated by commas, of which the most specific decides. "off" ends the
///   subscription, and so does freeing the queue.
/// @param tag Comes with each record, to distinguish it from completions of calls.
/// @param out_error Receives the error object.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT (the filter), ANTENV_CLOSED. Does not block.
///
/// The records, by target and level, with their fields:
///
///   error  antenv::runtime    "a fault in the library ended a call" (please report it)
///   error  antenv::worker     "a poll failed" (the worker ends): step, status, reason, why; "caught a panic in the library;
///                             please report it": in
///   error  antenv::session    "the connection to the session failed" (the session ends): session_id, status, why
///   warn   antenv::runtime    "the clock that runs while the machine sleeps cannot be read": why
///   warn   antenv::worker     "a poll failed", "a request failed": step, work_id, status, reason, why; "the response to a poll is
///                             not an item": why; "a lease is lost": work_id, reason; "item was not picked up; releasing it",
///                             "released an item that was left behind", "the item's secret holds no token; using the
///                             environment key": work_id; "item was refused; leaving it to the work queue": work_id, status, why;
///                             "the machine was suspended": for_ms
///   warn   antenv::session    "the connection to the session failed", "the history could not be read", "a result was not posted":
///                             session_id, status, why; "the toolset's process has died", "the toolset's process sent an invalid
///                             answer": session_id; "the toolset's process reported": session_id, line; "a skill could not be
///                             installed", "a skill could not be removed": session_id, skill, why
///   warn   antenv::session    "a memory directory could not be synced", "a memory directory could not be removed", "a memory
///                             directory is not synced", "a memory directory is written anew", "changes of memories may be
///                             lost", "the last sync of the memory directories took too long", "the server rejected a memory",
///                             "a memory cannot be a file": root, memory_store_id, path, why; "changes of memory files are
///                             overwritten": root, memory_store_id, paths
///   info   antenv::worker     "claimed an item", "adopted an item", "item was claimed by another worker": work_id; "item was not
///                             adopted": why; "item has to be stopped": work_id, reason; "worker claims no more items": why, error
///   info   antenv::session    "session is over": session_id, why; "the toolset's process is ready": session_id, confinement;
///                             "memories whose files are missing are not deleted yet": root, count
///   info   antenv::client     "retrying": operation, attempt, reason, http_status, why, wait_ms
///   debug  antenv::client     "call done": operation, status, attempts, elapsed_ms
///   debug  antenv::worker     "lease ended": work_id, how; "stopping an item without a session" (warn, if it is of an unknown
///                             type): work_id, type
///   debug  antenv::runtime    "started", "ended" (the library's thread)
///   trace  antenv::transport  "connecting": host
///
/// ```c
///     antenv_log_subscribe(log_queue, "info", 0, NULL);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_log_subscribe(
    queue: *mut antenv_queue,
    filter: *const c_char,
    tag: u64,
    out_error: *mut *mut c_char,
) -> Status {
    boundary::return_unit(out_error, || QUEUES.get(queue)?.subscribe(boundary::text("filter", filter)?, tag))
}
