//! Leases: holding an item while it is served.

use super::client::{CLIENTS, antenv_client};
use super::guard;
use super::handle::Table;
use super::queue::{QUEUES, antenv_queue};
use crate::error::{Error, Result, Status};
use crate::runtime::fork::ProcessLocal;
use crate::worker::Lease;
use std::ffi::c_char;
use std::sync::Arc;

/// A lease on a work item that a worker claimed.
pub struct antenv_lease {
    _opaque: (),
}

/// The live leases. In a forked child they are out of reach: they are the parent's.
static LEASES: Table<ProcessLocal<Arc<Lease>>> = Table::new(6, "lease");

/// Takes a lease in and gives its handle.
pub fn insert(lease: Arc<Lease>) -> Result<*mut antenv_lease> {
    LEASES.insert(ProcessLocal::new(lease))
}

fn get(handle: *mut antenv_lease) -> Result<Arc<Lease>> {
    let parents = || Error::new(Status::Closed, "the lease belongs to the process that got it, and this is a child of that");
    LEASES.get(handle)?.get().cloned().ok_or_else(parents)
}

/// ---- Lease: hold an item ---------------------------------------------------------------------------------------------------
///
/// How it stands with a lease.
///
/// `lease`: the lease.
///
/// `out_json`: receives the state, or the error object; free it with antenv_string_free:
///
/// {"state":"held"|"stop_requested"|"lost", "reason", "work_id", "ttl_seconds", "last_heartbeat": as the server wrote it, "beats":
/// how many heartbeats were good}
///
/// `reason` is null while the lease is held. "stop_requested": "asked" (the item is stopping or stopped at the server),
/// "not_extended", "rejected" (a heartbeat was refused permanently), "shutdown" (the worker's grace period is over): end the work and
/// finish, while the lease lasts: it is not extended any more, and becomes "lost" when it may have run out. "lost": "taken" (somebody
/// else has it), "expired" (no heartbeat was good for as long as the lease lasts), "shutdown" (the library was shut down): stop
/// working at once, another worker may be at it; finishing sends nothing.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_state(lease: *mut antenv_lease, out_json: *mut *mut c_char) -> Status {
    guard::json(out_json, || get(lease)?.state())
}

/// Waits until a lease is no longer simply held: it is lost, its item is to be stopped, or it was ended by another thread.
///
/// `lease`: the lease.
///
/// `timeout_ms`: how long to wait: 0 does not wait, -1 waits for ever.
///
/// `out_json`: receives the state as antenv_lease_state has it, or the error object; free it with antenv_string_free.
///
/// Returns ANTENV_OK; ANTENV_DONE when it ended because it was finished or abandoned by another thread; ANTENV_TIMEOUT while it is still
/// held; ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT; ANTENV_CLOSED in a forked child. Blocks, `timeout_ms` at most. An event loop attaches the lease to a queue instead.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_wait(lease: *mut antenv_lease, timeout_ms: i64, out_json: *mut *mut c_char) -> Status {
    guard::json(out_json, || get(lease)?.wait(guard::timeout("timeout_ms", timeout_ms)?))
}

/// Waits until a lease is lost, or was ended by another thread. Other than antenv_lease_wait, which returns at once from when the item
/// is to be stopped, it waits for the end of the time that is left for that.
///
/// `lease`, `timeout_ms`, `out_json`, errors and blocking: as for antenv_lease_wait.
///
/// ```c
///     antenv_lease_wait(lease, -1, &json);
///     begin_to_wind_down();
///     if (antenv_lease_wait_lost(lease, 0, &json) == ANTENV_OK) leave_it_to_others();
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_wait_lost(lease: *mut antenv_lease, timeout_ms: i64, out_json: *mut *mut c_char) -> Status {
    guard::json(out_json, || get(lease)?.wait_lost(guard::timeout("timeout_ms", timeout_ms)?))
}

/// Has a completion tell that a lease is no longer simply held. Exactly one comes to the queue, at once if it is so already.
/// antenv_lease_attach_lost tells of the end of a lease whose item is to be stopped.
///
/// `lease`: the lease. `queue`: where the completion goes.
///
/// `tag`: any number; it comes back with the completion: with ANTENV_OK and the state as antenv_lease_state has it, or with
/// ANTENV_DONE when the lease ended because it was finished or abandoned.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_attach(lease: *mut antenv_lease, queue: *mut antenv_queue, tag: u64) -> Status {
    guard::status(|| get(lease)?.attach(&QUEUES.get(queue)?, tag))
}

/// Has a completion tell that a lease is lost, or was ended. Exactly one comes to the queue, at once if it is so already. With a tag of
/// its own it goes beside antenv_lease_attach: one tells when to begin winding down, the other when to leave it.
///
/// `lease`, `queue`, `tag`, errors and blocking: as for antenv_lease_attach. The completion is "lost" with ANTENV_OK, or ANTENV_DONE.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_attach_lost(lease: *mut antenv_lease, queue: *mut antenv_queue, tag: u64) -> Status {
    guard::status(|| get(lease)?.attach_lost(&QUEUES.get(queue)?, tag))
}

/// Makes a client with the item's own token (or, if its secret holds none, with the environment's key), on the worker's connections:
/// for the calls that serving the item takes.
///
/// `lease`: the lease.
///
/// `out`: receives the client; free it with antenv_client_free. It may outlive the lease. NULL on failure.
///
/// `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_client(
    lease: *mut antenv_lease,
    out: *mut *mut antenv_client,
    out_error: *mut *mut c_char,
) -> Status {
    guard::handle(out, out_error, || CLIENTS.insert(get(lease)?.client()?))
}

/// Ends a lease: stops the item (POST /v1/environments/{environment_id}/work/{work_id}/stop, Stop Work), keeping the lease until that
/// is done, and frees the handle. When the lease is lost, nothing is sent.
///
/// `lease`: the lease. It is freed, unless ANTENV_INVALID_ARGUMENT or ANTENV_INVALID_HANDLE is returned (or, in a forked child,
/// ANTENV_CLOSED).
///
/// `params_json`: NULL or an object with `force` (boolean; without it true: the item is stopped at once), `timeout_ms` (how long that
/// is tried, 60000) and the other options of a call. Failures that may pass are tried again.
///
/// `out_json`: the work item, or JSON `null` when the server sends none or the item had stopped already; or the error object. Free it
/// with antenv_string_free.
///
/// Errors: ANTENV_LEASE_LOST; any of a call, when the item could not be stopped (its lease then runs out, and the queue hands it out
/// again); ANTENV_CANCELLED when the library was shut down meanwhile. Blocks, `timeout_ms` at most.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_finish(
    lease: *mut antenv_lease,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    guard::json(out_json, || {
        let held = get(lease)?;
        let prepared = held.prepare_finish(guard::optional_text("params_json", params_json)?)?;
        // One thread alone gets it out of the table, and finishes it.
        LEASES.remove(lease)?;
        held.finish_and_wait(prepared)
    })
}

/// Ends a lease as antenv_lease_finish does, without waiting: a completion with `tag` tells what came of it.
///
/// `lease`: the lease. It is freed when ANTENV_OK is returned.
///
/// `params_json`: as for antenv_lease_finish.
///
/// `queue`, `tag`: where the completion goes, and what comes back with it; its status and `json` are what antenv_lease_finish returns.
///
/// `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_submit_finish(
    lease: *mut antenv_lease,
    params_json: *const c_char,
    queue: *mut antenv_queue,
    tag: u64,
    out_error: *mut *mut c_char,
) -> Status {
    guard::plain(out_error, || {
        let (queue, held) = (QUEUES.get(queue)?, get(lease)?);
        let prepared = held.prepare_finish(guard::optional_text("params_json", params_json)?)?;
        LEASES.remove(lease)?;
        held.finish(prepared, move |outcome| {
            queue.tell(tag, outcome);
        });
        Ok(())
    })
}

/// Ends a lease without stopping the item, and frees the handle: the heartbeats end, the lease runs out, and the queue hands the item
/// out again.
///
/// `lease`: the lease. Abandoning one twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_abandon(lease: *mut antenv_lease) -> Status {
    guard::status(|| {
        let abandoned = LEASES.remove(lease)?;
        abandoned.get().inspect(|lease| lease.abandon());
        Ok(())
    })
}
