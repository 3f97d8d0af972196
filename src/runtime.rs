//! The internal runtime: one thread that drives every connection, timer and call of the process.
//!
//! It is made by the first call, never by merely loading the library. Callers do not run it: they hand a future over and park.
//! That keeps idle connections watched (one that the server closes is dropped at once instead of failing the next call), and a
//! blocked caller costs the runtime nothing.

use crate::error::{Error, Result, Status};
use once_cell::sync::OnceCell;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

/// The name of the runtime's thread, as debuggers and the panic hook see it.
pub const THREAD_NAME: &str = "antenv";

static RUNTIME: OnceCell<Handle> = OnceCell::new();

/// The runtime, made on first use.
pub fn handle() -> Result<&'static Handle> {
    RUNTIME.get_or_try_init(start)
}

fn start() -> Result<Handle> {
    let failed = |e: std::io::Error| Error::new(Status::Internal, format!("the internal runtime could not be started: {e}"));
    let runtime = Builder::new_current_thread().enable_io().enable_time().thread_name(THREAD_NAME).build().map_err(failed)?;
    let handle = runtime.handle().clone();
    let thread = std::thread::Builder::new().name(THREAD_NAME.to_owned());
    without_signals(|| thread.spawn(move || runtime.block_on(std::future::pending::<()>()))).map_err(failed)?;
    Ok(handle)
}

/// Runs `spawn` with all signals blocked, so that the new thread, and those it starts in turn, never run a handler of the host's.
#[cfg(unix)]
fn without_signals<T>(spawn: impl FnOnce() -> T) -> T {
    use nix::sys::signal::{SigSet, SigmaskHow};
    let before = SigSet::all().thread_swap_mask(SigmaskHow::SIG_SETMASK);
    let result = spawn();
    if let Ok(before) = before {
        let _ = before.thread_set_mask();
    }
    result
}

#[cfg(not(unix))]
fn without_signals<T>(spawn: impl FnOnce() -> T) -> T {
    spawn()
}

/// Runs a future on the runtime while the calling thread sleeps. A fault inside it becomes an error.
pub fn wait_for<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<T> {
    let (sender, receiver) = oneshot::channel();
    handle()?.spawn(async move {
        let _ = sender.send(future.await);
    });
    receiver.blocking_recv().map_err(|_| Error::new(Status::Internal, "a fault in the library ended the call; please report it"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_on_the_runtime_answers_the_waiting_caller_and_leaves_the_runtime_working() {
        let error = wait_for(async { std::panic::resume_unwind(Box::new("boom")) }).map(|()| ()).unwrap_err();
        assert_eq!(error.status(), Status::Internal);
        assert_eq!(wait_for(async { 7 }).unwrap(), 7);
    }
}
