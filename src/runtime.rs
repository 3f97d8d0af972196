//! The internal runtime: one thread that drives every connection, timer and call of the process.
//!
//! It is made by the first call, never by merely loading the library. Callers do not run it: they hand a future over and park.
//! That keeps idle connections watched (one that the server closes is dropped at once instead of failing the next call), and a
//! blocked caller costs the runtime nothing.

use crate::error::{Error, Result, Status};
use once_cell::sync::OnceCell;
use std::future::poll_fn;
use std::pin::Pin;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot};

/// The name of the runtime's thread, as debuggers and the panic hook see it.
pub const THREAD_NAME: &str = "antenv";

/// What a caller is told whose call ended by a panic on the runtime.
const FAULT: &str = "a fault in the library ended the call; please report it";

static RUNTIME: OnceCell<Runtime> = OnceCell::new();

struct Runtime {
    /// Futures on their way to the runtime. Handing them over through a channel wakes its thread, which takes a system call, only
    /// when that sleeps; spawning from another thread would each time.
    inbox: mpsc::UnboundedSender<Task>,
}

type Task = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Makes sure that there is a runtime.
pub fn start() -> Result<()> {
    runtime().map(drop)
}

fn runtime() -> Result<&'static Runtime> {
    RUNTIME.get_or_try_init(make)
}

fn make() -> Result<Runtime> {
    let failed = |e: std::io::Error| Error::new(Status::Internal, format!("the internal runtime could not be started: {e}"));
    let runtime = Builder::new_current_thread().enable_io().enable_time().thread_name(THREAD_NAME).build().map_err(failed)?;
    let (inbox, mut tasks) = mpsc::unbounded_channel();
    let serve = async move {
        while let Some(task) = tasks.recv().await {
            tokio::spawn(task);
        }
    };
    let thread = std::thread::Builder::new().name(THREAD_NAME.to_owned());
    without_signals(|| thread.spawn(move || runtime.block_on(serve))).map_err(failed)?;
    Ok(Runtime { inbox })
}

/// Runs a future on the runtime; its output arrives at the receiver, which learns too if it panicked.
pub fn spawn<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> Result<oneshot::Receiver<T>> {
    let (sender, receiver) = oneshot::channel();
    // Not an async block: that would hold the future twice, once as it is captured and once as it is awaited.
    let (mut future, mut sender) = (Box::pin(future), Some(sender));
    let task = Box::pin(poll_fn(move |context| {
        future.as_mut().poll(context).map(|output| {
            let _ = sender.take().map(|sender| sender.send(output));
        })
    }));
    runtime()?.inbox.send(task).map_err(|_| Error::new(Status::Internal, FAULT))?;
    Ok(receiver)
}

/// Sleeps until the output of [`spawn`] arrives. A fault inside the future becomes an error.
pub fn wait<T>(receiver: oneshot::Receiver<T>) -> Result<T> {
    receiver.blocking_recv().map_err(|_| Error::new(Status::Internal, FAULT))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_on_the_runtime_answers_the_waiting_caller_and_leaves_the_runtime_working() {
        let panicking = spawn(async { std::panic::resume_unwind(Box::new("boom")) }).unwrap();
        let outcome: Result<()> = wait(panicking);
        assert_eq!(outcome.unwrap_err().status(), Status::Internal);
        assert_eq!(wait(spawn(async { 7 }).unwrap()).unwrap(), 7);
    }
}
