//! A call on the runtime. It ends exactly once: with its output, by cancellation, or by being dropped.

use super::{Cancel, LOG, State, cancelled, fault};
use crate::error::{Error, Result, Status};
use crate::telemetry::log::{self, Level};
use serde_json::json;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

/// How often a cancelled call is still polled for a response that has reached this machine.
const CANCEL_POLLS: u8 = 8;

/// A future, and the function that receives its outcome.
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
    /// Makes a call of a future. The caller has counted it as in flight in `state`.
    pub fn new(future: F, cancel: Option<Arc<Cancel>>, done: D, state: Arc<State>) -> Call<F, D> {
        Call { future: Some(Box::pin(future)), done: Some(done), cancel, polls_since_cancel: 0, state }
    }

    fn end(&mut self, outcome: impl FnOnce(&Self) -> Result<F::Output>) {
        // The request is dropped first, and its connection with it.
        self.future = None;
        // A ticket may be kept for long. It must not keep the remains of the call and its runtime.
        if let Some(cancel) = &self.cancel {
            cancel.forget_waker();
        }
        if let Some(done) = self.done.take() {
            let outcome = outcome(self);
            // When `done` runs, the call no longer counts as in flight.
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
                // A response that has reached this machine, for example a claimed work item, must not be discarded. Each yield lets
                // the runtime process socket events, so that the connection can read it.
                self.polls_since_cancel += 1;
                ready!(pin!(tokio::task::yield_now()).poll(context));
            } else {
                self.end(|_| Err(cancelled()));
                return Poll::Ready(());
            }
        }
        Poll::Pending
    }
}

/// Ends a call that is dropped early: after a panic, or at the end of the runtime.
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
