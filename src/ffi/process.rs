//! The process: shutting the library down, and forking.

use super::guard;
use crate::error::Status;
use crate::runtime::{self, fork};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

/// ---- The process ----------------------------------------------------------------------------------------------------------
///
/// Shuts the library's machinery down: refuses new calls, waits for those in flight, cancels what is left when the time is up
/// (those calls end with ANTENV_CANCELLED), closes all connections and ends the library's thread. Nothing has to call this: leaving
/// the process is fine at any time. It is for hosts that must not leave a thread or a socket behind, such as before `exec`, before
/// measuring leaks, or when a plugin is unloaded.
///
/// `timeout_ms`: how long to wait for calls in flight: 0 cancels them at once, -1 waits for as long as they take.
///
/// Returns ANTENV_OK; ANTENV_TIMEOUT when calls had to be cancelled (the library is shut down nevertheless);
/// ANTENV_INVALID_ARGUMENT. Blocks, for little longer than `timeout_ms`. While it does, new calls end with ANTENV_CLOSED; a second
/// thread that shuts down too waits as well, and the shorter time counts. Shutting down again does nothing.
///
/// Handles stay what they are: a later call starts afresh, and completions that wait in queues can still be collected.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_shutdown(timeout_ms: i64) -> Status {
    guard::status(|| runtime::shutdown(guard::timeout("timeout_ms", timeout_ms)?))
}

/// Has the system call `fork`'s handlers around each fork. Two threads that come first at once may both register them, which is
/// harmless: a `Once` would not be, for a child forked by a third.
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
