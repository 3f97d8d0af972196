//! Signals of the host stay out of the library's threads.

/// Runs `spawn` with all signals blocked, so that the new thread, and those it starts in turn, never run a handler of the host's.
#[cfg(unix)]
pub fn without_signals<T>(spawn: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigSet, SigmaskHow};
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let result = spawn();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    result
}

#[cfg(not(unix))]
pub fn without_signals<T>(spawn: impl FnOnce() -> T) -> T {
    spawn()
}
