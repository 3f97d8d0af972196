//! The internal runtime: one thread that drives every connection, timer and call of the process.
//!
//! It is made by the first call, never by merely loading the library. Callers do not run it: they hand a future over and park, or
//! go on and collect the outcome later. That keeps idle connections watched (one that the server closes is dropped at once instead
//! of failing the next call), and a waiting caller costs the runtime nothing.
//!
//! ```text
//! (none) --start--> open --shutdown--> closing: refuses new calls --the last call ends, or the time is up--> (none)
//!    ^                |
//!    '---- fork ------'   in the child: the parent's runtime is out of its reach
//! ```

pub mod clock;
pub mod fork;
pub mod wakeup;

use crate::error::{Error, Result, Status};
use crate::runtime::fork::{ForkSafeMutex, ProcessLocal};
use crate::telemetry::log::{self, Level};
use atomic_waker::AtomicWaker;
use serde_json::json;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::sync::{Notify, mpsc, oneshot};
use tokio::time::{Instant, sleep_until};

/// The name of the runtime's thread, as debuggers and the panic hook see it.
pub const THREAD_NAME: &str = "antenv";

/// What the records here are filed under.
const LOG: &str = "antenv::runtime";

/// How long the end of the runtime waits for what must not be cut off.
const CRITICAL_GRACE: Duration = Duration::from_secs(2);

/// How often a cancelled call is still polled for an answer that has reached this machine.
const CANCEL_POLLS: u8 = 8;

/// How long a timer serves the calls that begin meanwhile ([`serve`]). Shorter than what any of them is bound by, as a rule.
const PACE: Duration = Duration::from_millis(20);

static CURRENT: ForkSafeMutex<Option<ProcessLocal<Arc<Runtime>>>> = ForkSafeMutex::new(None);

/// The runtime, as callers know it.
#[derive(Debug)]
pub struct Runtime {
    /// Calls on their way to the runtime; `None` tells it to end. Handing them over through a channel wakes its thread, which takes
    /// a system call, only when that sleeps; spawning from another thread would each time.
    inbox: mpsc::UnboundedSender<Option<BoxedCall>>,
    state: Arc<State>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

type BoxedCall = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What callers and the runtime's thread share.
#[derive(Debug, Default)]
struct State {
    closing: AtomicBool,
    /// Whether calls in flight are not waited for any longer.
    abort_in_flight: AtomicBool,
    in_flight: AtomicUsize,
    /// How much is under way that must not be cut off.
    critical: AtomicUsize,
    /// Something changed that a closing runtime waits for.
    changed: Notify,
    /// The runtime is being closed.
    closes: Notify,
    ended: Mutex<bool>,
    has_ended: Condvar,
}

/// The runtime that calls go to, made now if there is none.
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
            // Drops what is still in flight, and with it answers whoever waits for that.
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
    let mut next_due = Instant::now();
    while let Some(Some(call)) = calls.recv().await {
        // tokio interrupts its own thread by a system call whenever a timer is set that is due before all others, as the deadline of a
        // call often would be. One that is due sooner, and set once for many calls, spares them that.
        let now = Instant::now();
        if now >= next_due {
            next_due = now + PACE;
            tokio::spawn(sleep_until(next_due));
        }
        tokio::spawn(call);
    }
    // What was accepted before the end was told is served too.
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

/// Ends the runtime, if there is one: refuses new calls, waits up to `timeout` (`None`: however long it takes) for those in flight,
/// drops the rest, and joins the thread. An error: some had to be dropped. The next call starts another one.
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
    /// Whether it takes calls.
    pub fn is_open(&self) -> bool {
        !self.state.closing.load(Ordering::SeqCst)
    }

    /// Runs a future. `done` gets its output, or why there is none; it is called exactly once, on the runtime's thread as a rule,
    /// whatever happens.
    pub fn spawn<F>(&self, future: F, cancel: Option<Arc<Cancel>>, done: impl FnOnce(Result<F::Output>) + Send + 'static)
    where
        F: Future + Send + 'static,
    {
        self.state.in_flight.fetch_add(1, Ordering::SeqCst);
        let call =
            Call { future: Some(Box::pin(future)), done: Some(done), cancel, polls_since_cancel: 0, state: self.state.clone() };
        // Should the runtime have ended just now, the call comes back, is dropped, and says so itself.
        let _ = self.inbox.send(Some(Box::pin(call)));
    }

    /// Returns when the runtime is being closed.
    pub async fn closes(&self) {
        let mut closes = pin!(self.state.closes.notified());
        closes.as_mut().enable();
        if self.is_open() {
            closes.await;
        }
    }

    /// While this lives, the end of the runtime waits: for a little, and even when it does not wait for calls.
    pub fn critical(&self) -> Critical {
        self.state.critical.fetch_add(1, Ordering::SeqCst);
        Critical(self.state.clone())
    }

    /// Runs a future for a caller that will [`wait`].
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

/// Something that must not be cut off.
#[derive(Debug)]
pub struct Critical(Arc<State>);

impl Drop for Critical {
    fn drop(&mut self) {
        self.0.critical.fetch_sub(1, Ordering::SeqCst);
        self.0.changed.notify_one();
    }
}

/// Sleeps until the output of [`Runtime::spawn_awaited`] arrives.
pub fn wait<T>(receiver: oneshot::Receiver<Result<T>>) -> Result<T> {
    receiver.blocking_recv().unwrap_or_else(|_| Err(fault()))
}

/// What a caller is told whose call ended by a panic.
pub fn fault() -> Error {
    Error::new(Status::Internal, "a fault in the library ended the call; please report it")
}

/// The wish that a call end. It may be made before the call begins, and stays.
#[derive(Debug, Default)]
pub struct Cancel {
    requested: AtomicBool,
    waker: AtomicWaker,
}

impl Cancel {
    /// Cancels the call, unless its outcome is there already.
    pub fn cancel(&self) {
        self.requested.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }
}

/// A future with whoever is to be told of its end.
struct Call<F: Future, D: FnOnce(Result<F::Output>)> {
    future: Option<Pin<Box<F>>>,
    done: Option<D>,
    cancel: Option<Arc<Cancel>>,
    polls_since_cancel: u8,
    state: Arc<State>,
}

// The future is pinned by its own box.
impl<F: Future, D: FnOnce(Result<F::Output>)> Unpin for Call<F, D> {}

impl<F: Future, D: FnOnce(Result<F::Output>)> Call<F, D> {
    fn end(&mut self, outcome: impl FnOnce(&Self) -> Result<F::Output>) {
        // First of all the request is dropped, and its connection with it.
        self.future = None;
        // A ticket may be kept for long: it must not keep what is left of the call, and of its runtime.
        if let Some(cancel) = &self.cancel {
            cancel.waker.take();
        }
        if let Some(done) = self.done.take() {
            let outcome = outcome(self);
            // Whoever is told that the call has ended finds that it is not in flight any more.
            let was_last = self.state.in_flight.fetch_sub(1, Ordering::SeqCst) == 1;
            done(outcome);
            if was_last && self.state.closing.load(Ordering::SeqCst) {
                self.state.changed.notify_one();
            }
        }
    }
}

impl<F: Future, D: FnOnce(Result<F::Output>)> Future for Call<F, D> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if let Some(cancel) = &self.cancel {
            cancel.waker.register(context.waker());
        }
        let Some(future) = &mut self.future else { return Poll::Ready(()) };
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            self.end(|_| Ok(output));
            return Poll::Ready(());
        }
        if self.cancel.as_ref().is_some_and(|cancel| cancel.is_requested()) {
            if self.polls_since_cancel < CANCEL_POLLS {
                // An answer that has reached this machine, a claimed work item say, is not to be thrown away: the connection gets
                // the chance to read it. Each yields to the system's events of the sockets.
                self.polls_since_cancel += 1;
                ready!(pin!(tokio::task::yield_now()).poll(context));
            } else {
                self.end(|_| Err(Error::new(Status::Cancelled, "the call was cancelled")));
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

/// A call that is dropped before its end: by its panic, or by the end of the runtime.
impl<F: Future, D: FnOnce(Result<F::Output>)> Drop for Call<F, D> {
    fn drop(&mut self) {
        self.end(|call| {
            if call.state.closing.load(Ordering::SeqCst) && !std::thread::panicking() {
                return Err(Error::new(Status::Cancelled, "the call was cancelled: the library was shut down"));
            }
            log::record(Level::Error, LOG, "a fault in the library ended a call", || json!({}));
            Err(fault())
        });
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc;

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
        let (say, heard) = mpsc::channel();
        let (held, cancel) = (Held(say.clone()), Arc::<Cancel>::default());
        let future = async move {
            let _held = held;
            std::future::pending::<()>().await
        };
        current().unwrap().spawn(future, Some(cancel.clone()), move |outcome| {
            let _ = say.send(outcome.unwrap_err().status().name());
        });
        cancel.cancel();
        cancel.cancel();
        assert_eq!(heard.iter().collect::<Vec<_>>(), ["dropped", "cancelled"]);
    }

    #[test]
    fn a_cancel_does_not_throw_an_outcome_away_that_is_there() {
        let (say, heard) = mpsc::channel();
        let cancel = Arc::<Cancel>::default();
        cancel.cancel();
        // Ready at the second poll: as an answer that the connection has yet to read.
        let mut polls = 0;
        let future = std::future::poll_fn(move |_| {
            polls += 1;
            if polls == 2 { Poll::Ready("claimed") } else { Poll::Pending }
        });
        current().unwrap().spawn(future, Some(cancel), move |outcome| say.send(outcome.unwrap()).unwrap());
        assert_eq!(heard.iter().collect::<Vec<_>>(), ["claimed"]);
    }
}
