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
/// @param tag Comes with each record, to tell it from completions of calls.
/// @param out_error Receives the error object.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT (the filter), ANTENV_CLOSED. Does not block.
///
/// The records, by target and level, with their fields:
///
///   error  antenv::runtime       "a fault in the library ended a call" (please report it)
///   error  antenv::worker        "a fault in the library was caught; please report it": in
///   error, warn  antenv::worker  "a poll failed", "a request failed", "an item could not be stopped": step, work_id, status, why
///   warn  antenv::worker         "a lease is lost": work_id, reason; "nobody came for an item", "an item that its worker had
///                                left", "the machine slept", "an item's secret holds no token"
///   info  antenv::worker         "claimed an item", "an item is to be stopped", "an item is somebody else's": work_id; "claims no
///                                more": why
///   debug  antenv::worker        "let go of an item": work_id, how
///   info  antenv::client         "retrying": operation, attempt, reason, http_status, why, wait_ms
///   debug  antenv::client        "call done": operation, status, attempts, elapsed_ms
///   debug  antenv::runtime       "started", "ended" (the library's thread)
///   trace  antenv::client        "a kept connection was closed": operation
///   trace  antenv::transport     "connecting": host
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
