//! The process: shutting the library down, and forking.

use super::boundary;
use crate::error::Status;
use crate::runtime;
use std::path::PathBuf;
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
    {
        use crate::runtime::fork;
        // SAFETY: the handlers are functions that live as long as the library, which is never unmapped (-z nodelete). They only change
        // atomics and thread-local flags and wait for sections to end, which a thread that forks may do.
        unsafe {
            libc::pthread_atfork(Some(fork::prepare), Some(fork::parent), Some(fork::child));
        }
    }
    REGISTERED.store(true, SeqCst);
}

/// Returns the file of this library, or of the program that it is linked into.
#[cfg(unix)]
pub fn library_file() -> Option<PathBuf> {
    use std::os::unix::ffi::OsStrExt;
    let mut found = std::mem::MaybeUninit::<libc::Dl_info>::zeroed();
    // SAFETY: the address is that of a function of this library, and the structure lives during the call.
    let has_found = unsafe { libc::dladdr(antenv_shutdown as *const libc::c_void, found.as_mut_ptr()) } != 0;
    // SAFETY: all of its members may be zero.
    let found = unsafe { found.assume_init() };
    if !has_found || found.dli_fname.is_null() {
        return None;
    }
    // SAFETY: it is a string of the dynamic linker's, which keeps it for as long as the library is loaded; that is never unloaded.
    let name = unsafe { std::ffi::CStr::from_ptr(found.dli_fname) };
    std::path::absolute(std::ffi::OsStr::from_bytes(name.to_bytes())).ok()
}

/// Returns the file of this library, which is not known here.
#[cfg(not(unix))]
pub fn library_file() -> Option<PathBuf> {
    None
}
