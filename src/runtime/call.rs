//! A call on the runtime: it ends exactly once, by its output, its cancellation, or being dropped.

use super::{Cancel, LOG, State, fault};
use crate::error::{Error, Result, Status};
use crate::telemetry::log::{self, Level};
use serde_json::json;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// How often a cancelled call is still polled for an answer that has reached this machine.
const CANCEL_POLLS: u8 = 8;

/// A future with whoever is to be told of its end.
pub struct Call<F: Future, D: FnOnce(Result<F::Output>)> {
    future: Option<Pin<Box<F>>>,
    done: Option<D>,
    cancel: Option<Arc<Cancel>>,
    polls_since_cancel: u8,
    state: Arc<State>,
}

// The future is pinned by its own box.
impl<F: Future, D: FnOnce(Result<F::Output>)> Unpin for Call<F, D> {}

impl<F: Future, D: FnOnce(Result<F::Output>)> Call<F, D> {
    /// Makes a call of a future; `state` counts it as in flight already.
    pub fn new(future: F, cancel: Option<Arc<Cancel>>, done: D, state: Arc<State>) -> Call<F, D> {
        Call { future: Some(Box::pin(future)), done: Some(done), cancel, polls_since_cancel: 0, state }
    }

    fn end(&mut self, outcome: impl FnOnce(&Self) -> Result<F::Output>) {
        // First of all the request is dropped, and its connection with it.
        self.future = None;
        // A ticket may be kept for long: it must not keep what is left of the call, and of its runtime.
        if let Some(cancel) = &self.cancel {
            cancel.forget_waker();
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
            cancel.wake_on_request(context.waker());
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
