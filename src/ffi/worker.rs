//! Workers: claiming work.

use super::client::{CLIENTS, antenv_client};
use super::guard;
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

/// ---- Worker: claim work -----------------------------------------------------------------------------------------------------
///
/// A worker polls the queue, acknowledges an item, keeps its lease by heartbeats while the host serves it, and stops it when the
/// host is done. All of that happens on the library's own thread, whatever the host's threads do. No more is claimed than the host
/// asks for, and than `concurrency` allows. docs/worker.md tells what happens when something fails.
///
/// Makes a worker. It claims nothing before antenv_worker_next or antenv_worker_attach is called.
///
/// `client`: where its connections and defaults come from; it may be freed before the worker. Its credential is not used, unless it
/// is an environment key.
///
/// `config_json`: NULL or a JSON object; every key but the first two is optional, and `null` means absent. Environment variables are
/// read here and at no other time:
///
/// | key                   | meaning, and what holds without it                                                               |
/// |-----------------------|--------------------------------------------------------------------------------------------------|
/// | environment_id        | the environment, "env_..."; the environment variable ANTHROPIC_ENVIRONMENT_ID                     |
/// | environment_key       | its key; the client's environment key, then ANTHROPIC_ENVIRONMENT_KEY                             |
/// | worker_id             | who polls, one name per worker, for the queue's statistics; the host's name and twelve hex digits |
/// | concurrency           | how many items are held at once: 1 to 100000, 1                                                  |
/// | block_ms              | how long a poll waits at the server: 0 (not at all) to 999, 999; with `drain` 0                   |
/// | reclaim_older_than_ms | polls also take items unacknowledged for longer than this: 0 to 86400000; the server's: 5000      |
/// | drain                 | true: end when the queue is empty; false                                                         |
/// | desired_ttl_seconds   | how long a heartbeat is to extend a lease: 1 to 86400; as the server likes                        |
/// | idle_after_ms         | after how long without an item the worker pauses between polls: 0 to 86400000, 60000              |
/// | idle_min_ms           | those pauses at least: 0 to 86400000, 1000                                                       |
/// | idle_max_ms           | and at most: 0 to 86400000, 3000                                                                 |
/// | grace_ms              | how long items go on when the worker was stopped: 0 to 86400000, 30000                            |
/// | rescue_after_ms       | items that were acknowledged by somebody and had no heartbeat for this long are put back into the queue, now and then: 0 (never) to 86400000, 60000 |
///
/// `out`: receives the worker; free it with antenv_worker_free. NULL on failure.
///
/// `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
///
/// Errors: ANTENV_CONFIG (`parameter` names the key), ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED (the library is
/// being shut down), ANTENV_INTERNAL. Does not block.
///
/// ```c
///     antenv_worker_new(client, "{\"environment_id\":\"env_...\",\"concurrency\":4}", &worker, &error);
///     while (antenv_worker_next(worker, -1, &lease, &item) == ANTENV_OK) serve(lease, item);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_new(
    client: *mut antenv_client,
    config_json: *const c_char,
    out: *mut *mut antenv_worker,
    out_error: *mut *mut c_char,
) -> Status {
    guard::handle(out, out_error, || {
        WORKERS.insert(Worker::new(&*CLIENTS.get(client)?, guard::optional_text("config_json", config_json)?)?)
    })
}

/// Waits for the next item. It is acknowledged, and its heartbeat is running.
///
/// `worker`: the worker. Any number of threads may wait at once; each item goes to one.
///
/// `timeout_ms`: how long to wait: 0 does not wait, -1 waits for ever. A thread that waits (or that asked without waiting in the last
/// second) is what has the worker claim an item.
///
/// `out_lease`: receives the lease; end it with antenv_lease_finish or antenv_lease_abandon, which free it. NULL unless ANTENV_OK.
///
/// `out_json`: receives the work item as the server sent it, its `secret` too, or the error object; free it with antenv_string_free.
/// NULL on ANTENV_TIMEOUT, ANTENV_INTERRUPTED and ANTENV_DONE.
///
/// Returns ANTENV_OK; ANTENV_TIMEOUT when none came in time; ANTENV_INTERRUPTED when a signal handler ran in this thread (call again
/// to go on waiting); ANTENV_DONE when there is nothing more to come, because the worker was stopped or the queue is drained; or the
/// error for which the worker gave up (a poll that was refused permanently: ANTENV_AUTHENTICATION, ANTENV_PERMISSION_DENIED,
/// ANTENV_NOT_FOUND, ...; or the third item in a row whose acknowledgement or first heartbeat was refused so; with `parameter`, if that
/// was for what the key says), from then on for every call. ANTENV_CLOSED in a forked child: the worker is its parent's.
/// ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT. Blocks, `timeout_ms` at most.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_next(
    worker: *mut antenv_worker,
    timeout_ms: i64,
    out_lease: *mut *mut antenv_lease,
    out_json: *mut *mut c_char,
) -> Status {
    guard::item_with_handle(out_lease, out_json, || {
        let next = WORKERS.get(worker)?.next(guard::timeout("timeout_ms", timeout_ms)?)?;
        next.map(|(lease, json)| Ok((insert(lease)?, json))).transpose()
    })
}

/// Has items told through a queue, so that an event loop needs no thread: each item that is ready makes one completion with `tag`,
/// and antenv_worker_next with a timeout of 0 then takes it. From now on as many items are claimed as `concurrency` allows.
///
/// `worker`: the worker. `queue`: where the completions go; another one takes its place when this is called again. With NULL, and when
/// the queue is freed, the worker claims again what antenv_worker_next asks for.
///
/// `tag`: any number; it comes back with each completion. With ANTENV_OK `json` is {"work_id":"work_..."}. A last completion tells
/// that there is nothing more to come: with ANTENV_DONE, or with the error for which the worker gave up.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED (the queue was freed, or the worker is the parent's). Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_attach(worker: *mut antenv_worker, queue: *mut antenv_queue, tag: u64) -> Status {
    guard::status(|| {
        let queue = (!queue.is_null()).then(|| QUEUES.get(queue)).transpose()?;
        WORKERS.get(worker)?.attach(queue.as_ref(), tag)
    })
}

/// Stops a worker: it claims no more. What was claimed is still handed out by antenv_worker_next, and then ANTENV_DONE. Leases go on
/// until they are finished; when `grace_ms` is over, those who still hold one are told ("stop_requested", reason "shutdown"), and its
/// item is stopped. An item that nobody came for goes back to the queue when its lease runs out. ANTENV_DONE comes `grace_ms` and five
/// seconds later in any case, whatever does not answer.
///
/// `worker`: the worker. Stopping twice changes nothing.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED in a forked child. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_stop(worker: *mut antenv_worker) -> Status {
    guard::status(|| WORKERS.get(worker)?.stop())
}

/// What a worker did so far.
///
/// `worker`: the worker.
///
/// `out_json`: receives the counts, or the error object; free it with antenv_string_free:
///
/// | member                    | holds                                                                                     |
/// |---------------------------|-------------------------------------------------------------------------------------------|
/// | environment_id, worker_id | as configured                                                                             |
/// | state                     | "running", "stopping", "stopped", "drained", "failed"                                      |
/// | concurrency, leases_held  | how many items it may hold, and does                                                      |
/// | claimed                   | items that were acknowledged and had a good heartbeat                                     |
/// | finished                  | items that it stopped                                                                     |
/// | lost                      | leases lost                                                                               |
/// | stop_requested            | leases whose item was to be stopped before its holder was done                             |
/// | abandoned, undelivered    | leases given up; those among them that nobody came for                                    |
/// | health_checks             | items without a session, which the worker acknowledges and stops itself                   |
/// | rescued                   | items that another worker had acknowledged and left, put back into the queue               |
/// | refused                   | items left to the queue, because their acknowledgement or first heartbeat was refused permanently |
/// | gateway                   | requests that something on the way to the API refused with a page of its own, and that are made again |
/// | faults                    | faults in the library that were caught; please report them                                |
/// | failures                  | requests that failed, by step ("poll", "ack", "heartbeat", "stop", "rescue") and name of the status |
/// | claim_us                  | histogram: from the poll's answer to the first good heartbeat                              |
/// | heartbeat_us              | histogram: how long heartbeats took                                                       |
/// | heartbeat_late_us         | histogram: how late heartbeats were sent                                                  |
///
/// Histograms are as in antenv_client_stats.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_stats(worker: *mut antenv_worker, out_json: *mut *mut c_char) -> Status {
    guard::json(out_json, || WORKERS.get(worker)?.stats())
}

/// The same counts as text for Prometheus: antenv_worker_leases_held, antenv_worker_claimed_total and so on, times as histograms in
/// seconds.
///
/// `worker`: the worker.
///
/// `out_text`: receives the text (on failure the error object), to be freed with antenv_string_free.
///
/// Errors and blocking: as for antenv_worker_stats.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_metrics(worker: *mut antenv_worker, out_text: *mut *mut c_char) -> Status {
    guard::json(out_text, || WORKERS.get(worker)?.metrics())
}

/// Frees a worker, and stops it as antenv_worker_stop does. Leases that were handed out go on until they are finished or `grace_ms` is
/// over; items that were not go back to the queue when their leases run out.
///
/// `worker`: the worker. Freeing one twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block. A thread that waits in antenv_worker_next gets ANTENV_DONE, at once.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_worker_free(worker: *mut antenv_worker) -> Status {
    guard::status(|| WORKERS.remove(worker).map(|worker| worker.close()))
}
