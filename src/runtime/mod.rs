//! The internal runtime: one thread that drives every connection, timer and call of the process.
//!
//! The first call starts it; loading the library does not. Callers do not run it: they hand over a future and park, or continue and
//! collect the outcome later. So idle connections are always watched (one that the server closes is dropped immediately instead of
//! failing the next call), and a waiting caller costs the runtime nothing.
//!
//! ```text
//! (none) --start--> open --shutdown--> closing: rejects new calls --the last call ends, or the time is up--> (none)
//!    ^                |
//!    '---- fork ------'   in the child, which cannot reach the parent's runtime
//! ```

pub mod blocking;
mod call;
mod cancel;
pub mod clock;
pub mod fork;
mod signals;
pub mod waiters;
pub mod wakeup;

pub use cancel::Cancel;
pub use signals::without_signals;

use crate::error::{Error, Result, Status};
use crate::runtime::fork::{ForkSafeMutex, ProcessLocal};
use crate::telemetry::log::{self, Level};
use call::Call;
use serde_json::json;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// The name of the runtime's thread, for debuggers and the panic hook.
pub const THREAD_NAME: &str = "antenv";

/// The target of this module's log records.
const LOG: &str = "antenv::runtime";

/// How long the end of the runtime waits for critical sections.
const CRITICAL_GRACE: Duration = Duration::from_secs(2);

/// The interval of the timer that [`serve`] sets for the calls that start meanwhile. It is shorter than most timeouts of calls.
const TIMER_INTERVAL: Duration = Duration::from_millis(20);

static CURRENT: ForkSafeMutex<Option<ProcessLocal<Arc<Runtime>>>> = ForkSafeMutex::new(None);

/// The callers' handle of the runtime.
#[derive(Debug)]
pub struct Runtime {
    /// Sends calls to the runtime; `None` ends it. A channel wakes the runtime's thread, which costs a system call, only when that
    /// sleeps; spawning from another thread would do so each time.
    inbox: mpsc::UnboundedSender<Option<BoxedCall>>,
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

type BoxedCall = Pin<Box<dyn Future<Output = ()> + Send>>;

/// The state that callers and the runtime's thread share.
#[derive(Debug, Default)]
struct State {
    closing: AtomicBool,
    /// Whether to stop waiting for the calls in flight.
    abort_in_flight: AtomicBool,
    in_flight: AtomicUsize,
    /// The number of critical sections.
    critical: AtomicUsize,
    /// Notifies a closing runtime that calls or critical sections have ended.
    changed: Notify,
    /// Notifies tasks that the runtime is closing.
    closes: Notify,
    ended: Mutex<bool>,
    has_ended: Condvar,
}

/// Returns the current runtime; starts it if there is none.
pub fn current() -> Result<Arc<Runtime>> {
    let mut current = CURRENT.lock();
    match current.as_ref().and_then(ProcessLocal::get) {
        Some(runtime) if runtime.is_open() => Ok(runtime.clone()),
        Some(_) => Err(Error::new(Status::Closed, "the library is being shut down")),
        None => {
            let runtime = Arc::new(start()?);
            *current = Some(ProcessLocal::new(runtime.clone()));
            Ok(runtime)
        }
    }
}

fn start() -> Result<Runtime> {
    let failed = |e: std::io::Error| Error::new(Status::Internal, format!("the internal runtime could not be started: {e}"));
    let mut builder = Builder::new_current_thread();
    builder.enable_io().enable_time();
    let runtime = builder.build().map_err(failed)?;
    let (inbox, calls) = mpsc::unbounded_channel();
    let state = Arc::<State>::default();
    let serve = serve(calls, state.clone());
    let thread = std::thread::Builder::new().name(THREAD_NAME.to_owned());
    let run = {
        let state = state.clone();
        move || {
            log::record(Level::Debug, LOG, "started", || json!({}));
            runtime.block_on(serve);
            // Drops what is still in flight, which also answers the waiting callers.
            drop(runtime);
            log::record(Level::Debug, LOG, "ended", || json!({}));
            *state.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
            state.has_ended.notify_all();
        }
    };
    let thread = without_signals(|| thread.spawn(run)).map_err(failed)?;
    Ok(Runtime { inbox, state, thread: Mutex::new(Some(thread)) })
}

async fn serve(mut calls: mpsc::UnboundedReceiver<Option<BoxedCall>>, state: Arc<State>) {
    let mut timer_due = Instant::now();
    while let Some(Some(call)) = calls.recv().await {
        // tokio interrupts its own thread with a system call whenever a timer is set that is due before all others, as the deadline of
        // a call often would be. An earlier timer, set once for many calls, avoids that.
        let now = Instant::now();
        if now >= timer_due {
            timer_due = now + TIMER_INTERVAL;
            tokio::spawn(sleep_until(timer_due));
        }
        tokio::spawn(call);
    }
    // Calls that were accepted before the end are served, too.
    calls.close();
    while let Some(call) = calls.recv().await {
        call.map(tokio::spawn);
    }
    while state.in_flight.load(Ordering::SeqCst) > 0 && !state.abort_in_flight.load(Ordering::SeqCst) {
        state.changed.notified().await;
    }
    let critical = async {
        while state.critical.load(Ordering::SeqCst) > 0 {
            state.changed.notified().await;
        }
    };
    let _ = tokio::time::timeout(CRITICAL_GRACE, critical).await;
}

/// Ends the runtime, if there is one: rejects new calls, waits up to `timeout` (`None`: without limit) for those in flight, drops
/// the rest, and joins the thread. Returns an error if calls were dropped. The next call starts another runtime.
pub fn shutdown(timeout: Option<Duration>) -> Result<()> {
    let Some(runtime) = CURRENT.lock().as_ref().and_then(ProcessLocal::get).cloned() else { return Ok(()) };
    let state = &runtime.state;
    if !state.closing.swap(true, Ordering::SeqCst) {
        let _ = runtime.inbox.send(None);
        state.closes.notify_waiters();
    }
    let mut ended = state.ended.lock().unwrap_or_else(PoisonError::into_inner);
    let mut dropped = false;
    if let Some(timeout) = timeout {
        ended = state.has_ended.wait_timeout_while(ended, timeout, |ended| !*ended).unwrap_or_else(PoisonError::into_inner).0;
        if !*ended {
            dropped = state.in_flight.load(Ordering::SeqCst) > 0;
            state.abort_in_flight.store(true, Ordering::SeqCst);
            state.changed.notify_one();
        }
    }
    drop(state.has_ended.wait_while(ended, |ended| !*ended).unwrap_or_else(PoisonError::into_inner));
    let thread = runtime.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(thread) = thread {
        let _ = thread.join();
    }
    let mut current = CURRENT.lock();
    if current.as_ref().and_then(ProcessLocal::get).is_some_and(|current| Arc::ptr_eq(current, &runtime)) {
        *current = None;
    }
    if dropped {
        Err(Error::new(Status::Timeout, "calls were still in flight when the time was up; they were cancelled"))
    } else {
        Ok(())
    }
}

impl Runtime {
    /// Returns whether the runtime accepts calls.
    pub fn is_open(&self) -> bool {
        !self.state.closing.load(Ordering::SeqCst)
    }

    /// Runs a future. `done` receives its output, or the error that prevented it. It is called exactly once, normally on the runtime's
    /// thread.
    pub fn spawn<F>(&self, future: F, cancel: Option<Arc<Cancel>>, done: impl FnOnce(Result<F::Output>) + Send + 'static)
    where
        F: Future + Send + 'static,
    {
        self.state.in_flight.fetch_add(1, Ordering::SeqCst);
        let call = Call::new(future, cancel, done, self.state.clone());
        // If the runtime has just ended, the call comes back and is dropped, which reports the error.
        let _ = self.inbox.send(Some(Box::pin(call)));
    }

    /// Waits until the runtime is closing.
    pub async fn closes(&self) {
        let mut closes = pin!(self.state.closes.notified());
        closes.as_mut().enable();
        if self.is_open() {
            closes.await;
        }
    }

    /// Starts a critical section, which ends when the value is dropped. The end of the runtime waits for it for a short time, even if it
    /// does not wait for calls.
    pub fn critical(&self) -> Critical {
        self.state.critical.fetch_add(1, Ordering::SeqCst);
        Critical(self.state.clone())
    }

    /// Runs a future and returns the receiver of its output, for [`wait`].
    pub fn spawn_awaited<F>(&self, future: F) -> oneshot::Receiver<Result<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send,
    {
        let (sender, receiver) = oneshot::channel();
        self.spawn(future, None, move |output| drop(sender.send(output)));
        receiver
    }
}

/// A critical section, which should not be cut off.
#[derive(Debug)]
pub struct Critical(Arc<State>);

impl Drop for Critical {
    fn drop(&mut self) {
        self.0.critical.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

/// Blocks until the output of [`Runtime::spawn_awaited`] arrives.
pub fn wait<T>(receiver: oneshot::Receiver<Result<T>>) -> Result<T> {
    receiver.blocking_recv().unwrap_or_else(|_| Err(fault()))
}

/// Returns the error of a call that was cancelled.
pub fn cancelled() -> Error {
    Error::new(Status::Cancelled, "the call was cancelled")
}

/// Returns the error of a call that ended with a panic.
pub fn fault() -> Error {
    Error::new(Status::Internal, "an internal error ended the call; please report it")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;
    use std::task::Poll;

    #[test]
    fn a_panic_on_the_runtime_answers_the_waiting_caller_and_leaves_the_runtime_working() {
        let runtime = current().unwrap();
        let panicking = runtime.spawn_awaited(async { std::panic::resume_unwind(Box::new("boom")) });
        let outcome: Result<()> = wait(panicking);
        assert_eq!(outcome.unwrap_err().status(), Status::Internal);
        assert_eq!(wait(runtime.spawn_awaited(async { 7 })).unwrap(), 7);
    }

    #[test]
    fn a_cancelled_call_ends_once_and_drops_its_future_first() {
        struct Held(mpsc::Sender<&'static str>);
        impl Drop for Held {
            fn drop(&mut self) {
                let _ = self.0.send("dropped");
            }
        }
        let (sender, receiver) = mpsc::channel();
        let (held, cancel) = (Held(sender.clone()), Arc::<Cancel>::default());
        let future = async move {
            let _held = held;
            std::future::pending::<()>().await
        };
        current().unwrap().spawn(future, Some(cancel.clone()), move |outcome| {
            let _ = sender.send(outcome.unwrap_err().status().name());
        });
        cancel.cancel();
        cancel.cancel();
        assert_eq!(receiver.iter().collect::<Vec<_>>(), ["dropped", "cancelled"]);
    }

    #[test]
    fn a_cancellation_does_not_discard_an_outcome_that_has_arrived() {
        let (sender, receiver) = mpsc::channel();
        let cancel = Arc::<Cancel>::default();
        cancel.cancel();
        // Ready at the second poll, like a response that the connection has yet to read.
        let mut polls = 0;
        let future = std::future::poll_fn(move |_| {
            polls += 1;
            if polls == 2 { Poll::Ready("claimed") } else { Poll::Pending }
        });
        current().unwrap().spawn(future, Some(cancel), move |outcome| sender.send(outcome.unwrap()).unwrap());
        assert_eq!(receiver.iter().collect::<Vec<_>>(), ["claimed"]);
    }
}
