//! Leases: holding an item while it is served.

use super::boundary;
use super::client::{CLIENTS, antenv_client};
use super::handle::Table;
use super::queue::{QUEUES, antenv_queue};
use crate::error::{Result, Status};
use crate::runtime::fork::ProcessLocal;
use crate::worker::{Lease, adopt, used_after_fork};
use std::ffi::c_char;
use std::sync::Arc;

/// A lease on a work item that a worker claimed, or that another process handed over.
pub struct antenv_lease {
    _opaque: (),
}

/// The live leases. In a forked child they cannot be used: they are the parent's.
static LEASES: Table<ProcessLocal<Arc<Lease>>> = Table::new(6, "lease");

/// Adds a lease and returns its handle.
pub fn insert(lease: Arc<Lease>) -> Result<*mut antenv_lease> {
    LEASES.insert(ProcessLocal::new(lease))
}

/// Returns the lease of a handle, in the process that got it.
pub fn get(handle: *mut antenv_lease) -> Result<Arc<Lease>> {
    LEASES.get(handle)?.get().cloned().ok_or_else(|| used_after_fork("lease"))
}

/// ---- Lease: hold an item ---------------------------------------------------------------------------------------------------
/// ----
/// Returns the lease's state.
///
/// @param lease The lease.
/// @param out_json Receives the state: {"state":"held"|"claimed"|"stop_requested"|"lost", "reason", "work_id", "ttl_seconds",
///   "last_heartbeat": verbatim, "beats": number of successful heartbeats}. `reason` is null while the lease is held or claimed.
///
///   claimed         The worker only claims (`heartbeat` is false): the item is acknowledged and has no heartbeat, so
///                   `ttl_seconds` and `last_heartbeat` are null. Hand it over within half of the worker's `rescue_after_ms`;
///                   then the lease becomes "lost" (reason "expired"), because workers may return the item to the queue.
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
/// hands the item out again); ANTENV_CANCELLED when the library was shut down meanwhile. Blocks until the sessions that are
/// served under the lease have ended, with their toolsets, and then for at most `timeout_ms`.
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

/// Ends a lease so that another process can go on with it, and frees the handle. No heartbeat and no stop is sent after this
/// call; the next holder has as much of the lease's time as is left. Give what is returned to one process only: to an official
/// `handle_item`, or to antenv_lease_adopt. A lease that is released and not adopted runs out, and the queue hands the item out
/// again. An item that was only claimed has no lease to run out: workers rescue it when it has had no heartbeat for their
/// `rescue_after_ms`.
///
/// @param lease The lease. It is freed, unless ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT (or ANTENV_CLOSED, in a forked
///   child) is returned.
/// @param out_json Receives what the next holder must know: {"work_id", "environment_id", "session_id", "work_secret" (null if the
///   item has none), "last_heartbeat" (null if there was none), "environment"}. `environment` holds the same as environment
///   variables, those without a value left out: ANTHROPIC_WORK_ID, ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_SESSION_ID,
///   ANTHROPIC_ENVIRONMENT_KEY, ANTHROPIC_WORK_SECRET, ANTHROPIC_WORK_LAST_HEARTBEAT. It holds secrets: do not log it.
///
/// Errors: ANTENV_LEASE_LOST (do not hand the item over); ANTENV_CLOSED when the lease has ended, or is being ended by another
/// thread; ANTENV_CANCELLED when the library was shut down meanwhile; ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT. Blocks while
/// the result of a heartbeat is unknown: as a rule not at all, and at most until the lease is lost.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_release(lease: *mut antenv_lease, out_json: *mut *mut c_char) -> Status {
    boundary::return_json(out_json, || {
        let held = get(lease)?;
        LEASES.remove(lease)?;
        held.release()
    })
}

/// Adopts the lease on an item that another process claimed, and keeps it by heartbeats. The first heartbeat states the last one
/// of the other process; without one it begins the lease (NO_HEARTBEAT). Only when it was accepted is the item this process's to
/// serve. No worker is needed. When the library is shut down, the lease goes on for 30 seconds, and then the item is stopped.
///
/// @param client The client whose connections and defaults it uses; it may be freed before the lease. Its credential is used only
///   if it is an environment key.
/// @param config_json NULL or a JSON object. `null` means absent, and an unknown key is an error. What is absent comes from the
///   environment variable, as antenv_lease_release returns it:
///
///   work_id                  Required. ANTHROPIC_WORK_ID.
///   environment_id           Required. ANTHROPIC_ENVIRONMENT_ID.
///   session_id               Required. ANTHROPIC_SESSION_ID.
///   work_secret              The item's secret. If it holds a token, that is what heartbeats and the stop are sent with.
///                            ANTHROPIC_WORK_SECRET.
///   environment_key          Used if there is no such token. Default: the client's environment key, then
///                            ANTHROPIC_ENVIRONMENT_KEY.
///   expected_last_heartbeat  The last heartbeat of the process that handed the lease over, verbatim.
///                            ANTHROPIC_WORK_LAST_HEARTBEAT. Default: there was none.
///   desired_ttl_seconds      How long a heartbeat is to extend the lease: 1 to 86400. Default: the server decides.
///
/// @param out_lease Receives the lease, as from antenv_worker_next. NULL unless ANTENV_OK is returned.
/// @param out_json Receives what is known of the item, in the shape of a work item: `id`, `type`, `environment_id`, `data` (`type`
///   and the session's `id`) and `secret`; or the error object.
///
/// Errors: ANTENV_LEASE_LOST when the item is not this process's to serve: the server has another last heartbeat (nothing is
/// stopped), or the item is to be stopped (which is done, if no other process can have it); ANTENV_CONFIG (`parameter` names the
/// key); the common call errors of a heartbeat that was refused permanently, or of the last one when none was answered in time
/// (ANTENV_TIMEOUT, ANTENV_CONNECTION, ...): the lease then runs out, unless it is adopted again; ANTENV_CLOSED and
/// ANTENV_CANCELLED when the library is shut down; ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT. Blocks for at most 10
/// seconds, and while an item is being stopped for up to 60 more.
///
/// ```c
///     antenv_lease_release(lease, &handover);                        // in one process
///     antenv_lease_adopt(client, NULL, &lease, &item);               // in another, with `environment` as its variables
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_lease_adopt(
    client: *mut antenv_client,
    config_json: *const c_char,
    out_lease: *mut *mut antenv_lease,
    out_json: *mut *mut c_char,
) -> Status {
    boundary::return_handle_with_json(out_lease, out_json, || {
        let (lease, json) = adopt(&*CLIENTS.get(client)?, boundary::optional_text("config_json", config_json)?)?;
        Ok((insert(lease)?, json))
    })
}

/// Ends a lease without stopping the item, and frees the handle: the heartbeats end, the lease runs out, and the queue hands the
/// item out again. An item that was only claimed gets one heartbeat, which begins a lease for that.
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
