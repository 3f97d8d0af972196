//! Workers: claiming work.

use super::boundary;
use super::client::{CLIENTS, antenv_client};
use super::handle::Table;
use super::lease::{antenv_lease, insert};
use super::queue::{QUEUES, antenv_queue};
use crate::error::Status;
use crate::worker::Worker;
use std::ffi::c_char;

/// A worker: claims items from the work queue of a self-hosted environment, and keeps their leases.
pub struct antenv_worker {
    _opaque: (),
}

/// The live workers.
static WORKERS: Table<Worker> = Table::new(5, "worker");

/// ---- Worker: claim work ----------------------------------------------------------------------------------------------------
///
/// A worker polls the queue, acknowledges an item, keeps its lease by heartbeats while the program serves it, and stops the item
/// when the program is done. All of that happens on the library's own thread, whatever the program's threads do. A worker claims
/// no more items than the program asks for, and than `concurrency` allows. docs/worker.md says what happens when something fails.
/// ----
/// Creates a worker. It claims nothing before antenv_worker_next or antenv_worker_attach is called.
///
/// @param client The client whose connections and defaults it uses; it may be freed before the worker. Its credential is used only
///   if it is an environment key.
/// @param config_json NULL or a JSON object. Every key but the first two is optional, `null` means absent, and an unknown key is
///   an error. Environment variables are read here and at no other time:
///
///   environment_id         The environment, "env_...". Default: the environment variable ANTHROPIC_ENVIRONMENT_ID.
///   environment_key        Its key. Default: the client's environment key, then ANTHROPIC_ENVIRONMENT_KEY.
///   worker_id              The poller's name, one per worker, for the queue's statistics. Default: the host's name and twelve hex
///                          digits.
///   concurrency            How many items it holds at once: 1 to 100000. Default: 1. To serve that many at a time, let that many
///                          threads call antenv_worker_next, or use an event loop.
///   block_ms               How long a poll waits at the server: 0 (no wait) to 999. Default: 999; with `drain` 0.
///   reclaim_older_than_ms  Polls also claim items left unacknowledged for this long: 0 to 86400000. Default: the server's, 5000.
///   drain                  true: end when the queue is empty. Default: false.
///   heartbeat              false: claim only. Items are acknowledged and handed out without a heartbeat, for another process to
///                          serve: see antenv_lease_release. Default: true.
///   desired_ttl_seconds    How long a heartbeat is to extend a lease: 1 to 86400. Default: the server decides.
///   idle_after_ms          After how long without an item it pauses between polls: 0 to 86400000. Default: 60000.
///   idle_min_ms            The shortest such pause: 0 to 86400000. Default: 1000.
///   idle_max_ms            The longest such pause: 0 to 86400000. Default: 3000.
///   grace_ms               How long items go on after the worker was stopped: 0 to 86400000. Default: 30000.
///   rescue_after_ms        Items that another worker acknowledged and then left without a heartbeat for this long are returned to
///                          the queue from time to time: 0 (never) to 86400000. Default: 60000.
///
/// @param out Receives the worker; free it with antenv_worker_free.
/// @param out_error Receives the error object.
///
/// Errors: ANTENV_CONFIG (`parameter` names the key), ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED (the library
/// is being shut down), ANTENV_INTERNAL. Does not block.
///
/// ```c
///     antenv_worker_new(client, "{\"environment_id\":\"env_...\"}", &worker, &error);
///     while (antenv_worker_next(worker, -1, &lease, &item) == ANTENV_OK) serve(lease, item);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_new(
    client: *mut antenv_client,
    config_json: *const c_char,
    out: *mut *mut antenv_worker,
    out_error: *mut *mut c_char,
) -> Status {
    boundary::return_handle(out, out_error, || {
        WORKERS.insert(Worker::new(&*CLIENTS.get(client)?, boundary::optional_text("config_json", config_json)?)?)
    })
}

/// Waits for the next item. It is acknowledged, and its heartbeats are running (unless the worker only claims).
///
/// @param worker The worker. Any number of threads may wait at once; each item goes to one.
/// @param timeout_ms How long to wait. The worker claims items for threads that wait, and for those that asked without waiting
///   within the last second.
/// @param out_lease Receives the lease; end it with antenv_lease_finish, antenv_lease_release or antenv_lease_abandon, which free
///   it. NULL unless ANTENV_OK is returned.
/// @param out_json Receives the work item, verbatim, its `secret` too, or the error object. NULL on ANTENV_TIMEOUT,
///   ANTENV_INTERRUPTED and ANTENV_DONE.
///
/// Returns ANTENV_OK; ANTENV_TIMEOUT when none came in time; ANTENV_INTERRUPTED when a signal handler ran in this thread (call
/// again to go on waiting); ANTENV_DONE when nothing more will come, because the worker was stopped or the queue is drained;
/// ANTENV_CLOSED in a forked child, where a parent's worker cannot be used; ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT. When
/// the worker has failed, this and every later call returns why: a poll that was refused permanently (ANTENV_AUTHENTICATION,
/// ANTENV_PERMISSION_DENIED, ANTENV_NOT_FOUND, ...), or the third item in a row whose acknowledgement or first heartbeat was
/// refused permanently (`parameter` names the key at fault, if there is one). Blocks for at most `timeout_ms`.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_next(
    worker: *mut antenv_worker,
    timeout_ms: i64,
    out_lease: *mut *mut antenv_lease,
    out_json: *mut *mut c_char,
) -> Status {
    boundary::return_handle_and_json(out_lease, out_json, || {
        let next = WORKERS.get(worker)?.next(boundary::timeout("timeout_ms", timeout_ms)?)?;
        next.map(|(lease, json)| Ok((insert(lease)?, json))).transpose()
    })
}

/// Delivers items through a completion queue, so an event loop needs no extra thread: each item that is ready makes one completion
/// with `tag`, and antenv_worker_next with a timeout of 0 then takes it. From now on the worker claims as many items as
/// `concurrency` allows.
///
/// @param worker The worker.
/// @param queue The queue that receives the completions, in place of an earlier one. With NULL, and when the queue is freed, the
///   worker again claims only what antenv_worker_next asks for.
/// @param tag Comes back with each completion. With ANTENV_OK, `json` is {"work_id":"work_..."}. The last completion has
///   ANTENV_DONE, or the error for which the worker failed: nothing more will come.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED (the queue was freed, or the worker was created before fork()). Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_attach(worker: *mut antenv_worker, queue: *mut antenv_queue, tag: u64) -> Status {
    boundary::return_status(|| {
        let queue = (!queue.is_null()).then(|| QUEUES.get(queue)).transpose()?;
        WORKERS.get(worker)?.attach(queue.as_ref(), tag)
    })
}

/// Stops a worker: it claims no more. antenv_worker_next still returns what was claimed, and then ANTENV_DONE. Leases go on until
/// they are finished. When `grace_ms` is over, leases that are still held become "stop_requested" (reason "shutdown"), and their
/// items are stopped; an item that was not picked up returns to the queue when its lease runs out. ANTENV_DONE comes at most five
/// seconds after `grace_ms`, even if the server does not respond.
///
/// @param worker The worker. Stopping it twice changes nothing.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED in a forked child. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_stop(worker: *mut antenv_worker) -> Status {
    boundary::return_status(|| WORKERS.get(worker)?.stop())
}

/// Returns what a worker did so far.
///
/// @param worker The worker.
/// @param out_json Receives the counts:
///
///   environment_id, worker_id  as configured
///   state                      "running", "stopping", "stopped", "drained", "failed"
///   concurrency, leases_held   how many items it may hold, and does hold
///   claimed                    items that were acknowledged and, unless the worker only claims, had a successful heartbeat
///   finished                   items that it stopped
///   lost                       leases lost
///   stop_requested             leases whose item was to be stopped before the program had finished it
///   released                   leases handed over to another process
///   abandoned, undelivered     leases given up; those among them that were not picked up
///   health_checks              items without a session, which the worker acknowledges and stops itself
///   rescued                    items that were acknowledged and left without a heartbeat, returned to the queue
///   refused                    items left to the queue, because their acknowledgement or first heartbeat was refused permanently
///   gateway                    requests that a gateway on the way to the API refused, and that are made again
///   faults                     faults in the library that were caught; please report them
///   failures                   failed requests by kind ("poll", "ack", "heartbeat", "stop", "rescue") and name of the status
///   last_poll_failure          why the last poll failed; null after one that succeeded
///   claim_us                   histogram: from the poll's response to the first successful heartbeat
///   heartbeat_us               histogram: how long heartbeats took
///   heartbeat_late_us          histogram: how late heartbeats were sent
///
/// Histograms are as in antenv_client_stats.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_stats(worker: *mut antenv_worker, out_json: *mut *mut c_char) -> Status {
    boundary::return_json(out_json, || WORKERS.get(worker)?.stats())
}

/// Returns the counts of antenv_worker_stats as text for Prometheus: antenv_worker_leases_held, antenv_worker_claimed_total and so
/// on, times as histograms in seconds.
///
/// @param worker The worker.
/// @param out_text Receives the text, or the error object; free it with antenv_string_free.
///
/// Errors: as for antenv_worker_stats. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_metrics(worker: *mut antenv_worker, out_text: *mut *mut c_char) -> Status {
    boundary::return_json(out_text, || WORKERS.get(worker)?.metrics())
}

/// Frees a worker, and stops it as antenv_worker_stop does. Leases that were handed out go on until they are finished or
/// `grace_ms` is over; items that were not picked up return to the queue when their leases run out. A thread that waits in
/// antenv_worker_next gets ANTENV_DONE at once.
///
/// @param worker The worker; freeing it twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_free(worker: *mut antenv_worker) -> Status {
    boundary::return_status(|| WORKERS.remove(worker).map(|worker| worker.close()))
}
