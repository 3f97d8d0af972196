//! The process: shutting the library down, and forking.

use super::boundary;
use crate::error::Status;
use crate::runtime::{self, fork};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// ---- The process -----------------------------------------------------------------------------------------------------------
/// ----
/// Shuts the library down: rejects new calls, waits for those in flight, cancels what is left when the time is up (those calls end
/// with ANTENV_CANCELLED), closes all connections and ends the library's thread. Nothing has to call this: a process may exit at
/// any time. It is for programs that must not leave a thread or a socket behind, such as before `exec`, before leaks are measured,
/// or when a plugin is unloaded.
///
/// Handles stay valid: a later call starts the library again, and completions that wait in queues can still be collected.
///
/// @param timeout_ms How long to wait for calls in flight: 0 cancels them at once, -1 waits for as long as they take.
///
/// Returns ANTENV_OK; ANTENV_TIMEOUT when calls had to be cancelled (the library is shut down nevertheless);
/// ANTENV_INVALID_ARGUMENT. Blocks for little longer than `timeout_ms`. Meanwhile new calls end with ANTENV_CLOSED; when two
/// threads shut down, both wait, and the shorter time applies. Shutting down again does nothing.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_shutdown(timeout_ms: i64) -> Status {
    boundary::return_status(|| runtime::shutdown(boundary::timeout("timeout_ms", timeout_ms)?))
}

/// Registers the handlers that run around each fork. Two threads may both register them at first, which is harmless: a `Once` would
/// not be, in a child that a third thread forks.
pub fn survive_forks() {
    static REGISTERED: AtomicBool = AtomicBool::new(false);
    if REGISTERED.load(SeqCst) {
        return;
    }
    #[cfg(unix)]
    // SAFETY: the handlers are functions that live as long as the library, which is never unmapped (-z nodelete). They only change
    // atomics and thread-local flags and wait for sections to end, which a thread that forks may do.
    unsafe {
        libc::pthread_atfork(Some(fork::prepare), Some(fork::parent), Some(fork::child));
    }
    REGISTERED.store(true, SeqCst);
}
