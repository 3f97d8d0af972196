//! Leases: holding an item while it is served.

use super::boundary;
use super::client::{CLIENTS, antenv_client};
use super::handle::Table;
use super::queue::{QUEUES, antenv_queue};
use crate::error::{Result, Status};
use crate::runtime::fork::ProcessLocal;
use crate::worker::{Lease, used_after_fork};
use std::ffi::c_char;
use std::sync::Arc;

/// A lease on a work item that a worker claimed.
pub struct antenv_lease {
    _opaque: (),
}

/// The live leases. In a forked child they cannot be used: they are the parent's.
static LEASES: Table<ProcessLocal<Arc<Lease>>> = Table::new(6, "lease");

/// Adds a lease and returns its handle.
pub fn insert(lease: Arc<Lease>) -> Result<*mut antenv_lease> {
    LEASES.insert(ProcessLocal::new(lease))
}

fn get(handle: *mut antenv_lease) -> Result<Arc<Lease>> {
    LEASES.get(handle)?.get().cloned().ok_or_else(|| used_after_fork("lease"))
}

/// ---- Lease: hold an item ---------------------------------------------------------------------------------------------------
/// ----
/// Returns the lease's state.
///
/// @param lease The lease.
/// @param out_json Receives the state: {"state":"held"|"stop_requested"|"lost", "reason", "work_id", "ttl_seconds",
///   "last_heartbeat": verbatim, "beats": number of successful heartbeats}. `reason` is null while the lease is held.
///
///   stop_requested  The item is to be stopped: end the work and finish. The lease is no longer extended, and becomes "lost" when
///                   it may have run out. `reason`: "asked" (the item is stopping or stopped at the server), "not_extended",
///                   "rejected" (a heartbeat was refused permanently), "shutdown" (the worker's grace period is over).
///   lost            Stop working at once: another worker may hold the item. Finishing sends nothing. `reason`: "taken" (another
///                   worker has it), "expired" (no heartbeat succeeded for as long as the lease lasts), "shutdown" (the library
///                   was shut down).
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_state(lease: *mut antenv_lease, out_json: *mut *mut c_char) -> Status {
    boundary::return_json(out_json, || get(lease)?.state())
}

/// Waits until a lease is no longer simply held: it is lost, its item is to be stopped, or another thread ended it. An event loop
/// calls antenv_lease_attach instead.
///
/// @param lease The lease.
/// @param timeout_ms How long to wait.
/// @param out_json Receives the state, as from antenv_lease_state.
///
/// Returns ANTENV_OK; ANTENV_DONE when another thread finished or abandoned the lease; ANTENV_TIMEOUT while it is still held;
/// ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT; ANTENV_CLOSED in a forked child. Blocks for at most `timeout_ms`.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_wait(lease: *mut antenv_lease, timeout_ms: i64, out_json: *mut *mut c_char) -> Status {
    boundary::return_json(out_json, || get(lease)?.wait(boundary::timeout("timeout_ms", timeout_ms)?))
}

/// Waits until a lease is lost, or another thread ended it. Unlike antenv_lease_wait, it does not return when the item is to be
/// stopped, but goes on waiting for the lease to run out.
///
/// @param lease The lease.
/// @param timeout_ms How long to wait.
/// @param out_json Receives the state, as from antenv_lease_state.
///
/// Returns what antenv_lease_wait returns. Blocks for at most `timeout_ms`.
///
/// ```c
///     antenv_lease_wait(lease, -1, &json);
///     begin_to_wind_down();
///     if (antenv_lease_wait_lost(lease, 0, &json) == ANTENV_OK) leave_it_to_others();
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_wait_lost(lease: *mut antenv_lease, timeout_ms: i64, out_json: *mut *mut c_char) -> Status {
    boundary::return_json(out_json, || get(lease)?.wait_lost(boundary::timeout("timeout_ms", timeout_ms)?))
}

/// Reports through a completion queue that a lease is no longer simply held. Exactly one completion arrives, at once if that is so
/// already. antenv_lease_attach_lost reports when a lease whose item is to be stopped runs out.
///
/// @param lease The lease.
/// @param queue The queue that receives the completion.
/// @param tag Comes back with the completion: with ANTENV_OK and the state, as from antenv_lease_state, or with ANTENV_DONE when
///   the lease was finished or abandoned.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_attach(lease: *mut antenv_lease, queue: *mut antenv_queue, tag: u64) -> Status {
    boundary::return_status(|| get(lease)?.attach(&QUEUES.get(queue)?, tag))
}

/// Reports through a completion queue that a lease is lost, or was ended. Exactly one completion arrives, at once if that is so
/// already. With a tag of its own it complements antenv_lease_attach: one says when to begin winding down, the other when to leave
/// the item to others.
///
/// @param lease The lease.
/// @param queue The queue that receives the completion.
/// @param tag Comes back with the completion: with ANTENV_OK and the state ("lost"), or with ANTENV_DONE when the lease was
///   finished or abandoned.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_attach_lost(lease: *mut antenv_lease, queue: *mut antenv_queue, tag: u64) -> Status {
    boundary::return_status(|| get(lease)?.attach_lost(&QUEUES.get(queue)?, tag))
}

/// Creates a client with the item's own token (or with the environment's key, if the item's secret holds none) on the worker's
/// connections, for the calls that serving the item takes.
///
/// @param lease The lease.
/// @param out Receives the client; free it with antenv_client_free. It may outlive the lease.
/// @param out_error Receives the error object.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_client(
    lease: *mut antenv_lease,
    out: *mut *mut antenv_client,
    out_error: *mut *mut c_char,
) -> Status {
    boundary::return_handle(out, out_error, || CLIENTS.insert(get(lease)?.client()?))
}

/// Ends a lease: stops the item (POST /v1/environments/{environment_id}/work/{work_id}/stop, Stop Work), extending the lease until
/// that is done, and frees the handle. When the lease is lost, nothing is sent.
///
/// @param lease The lease. It is freed, unless ANTENV_INVALID_ARGUMENT or ANTENV_INVALID_HANDLE (or ANTENV_CLOSED, in a forked
///   child) is returned.
/// @param params_json NULL or an object with `force` (boolean, default true: the item is stopped at once), `timeout_ms` (how long
///   to try, default 60000) and other options of a call. Transient failures are retried.
/// @param out_json Receives the work item; JSON `null` when the server sends none or the item had stopped already.
///
/// Errors: ANTENV_LEASE_LOST; the common call errors when the item could not be stopped (its lease then runs out, and the queue
/// hands the item out again); ANTENV_CANCELLED when the library was shut down meanwhile. Blocks for at most `timeout_ms`.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_finish(
    lease: *mut antenv_lease,
    params_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    boundary::return_json(out_json, || {
        let held = get(lease)?;
        let prepared = held.prepare_finish(boundary::optional_text("params_json", params_json)?)?;
        // Only one thread removes it from the table, and finishes it.
        LEASES.remove(lease)?;
        held.finish_and_wait(prepared)
    })
}

/// Ends a lease as antenv_lease_finish does, without waiting: a completion with `tag` reports the result.
///
/// @param lease The lease. It is freed when ANTENV_OK is returned.
/// @param params_json As for antenv_lease_finish.
/// @param queue The queue that receives the completion. Its status and `json` are what antenv_lease_finish returns.
/// @param tag Comes back with the completion.
/// @param out_error Receives the error object.
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
    boundary::return_unit(out_error, || {
        let (queue, held) = (QUEUES.get(queue)?, get(lease)?);
        let prepared = held.prepare_finish(boundary::optional_text("params_json", params_json)?)?;
        LEASES.remove(lease)?;
        held.finish(prepared, move |outcome| {
            queue.post(tag, outcome);
        });
        Ok(())
    })
}

/// Ends a lease without stopping the item, and frees the handle: the heartbeats end, the lease runs out, and the queue hands the
/// item out again.
///
/// @param lease The lease; abandoning it twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_abandon(lease: *mut antenv_lease) -> Status {
    boundary::return_status(|| {
        let abandoned = LEASES.remove(lease)?;
        abandoned.get().inspect(|lease| lease.abandon());
        Ok(())
    })
}
