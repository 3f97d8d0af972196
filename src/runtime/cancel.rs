//! Cancellation of a call from any thread.

use atomic_waker::AtomicWaker;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

/// A cancellation request. It may precede the call and is sticky.
#[derive(Debug, Default)]
pub struct Cancel {
    requested: AtomicBool,
    waker: AtomicWaker,
}

impl Cancel {
    /// Requests cancellation. The call ends as cancelled unless its outcome has arrived.
    pub fn cancel(&self) {
        self.requested.store(true, Ordering::SeqCst);
        self.waker.wake();
    }

    /// Returns whether cancellation was requested.
    pub fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Registers the waker to wake when cancellation is requested.
    pub(super) fn wake_on_request(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Drops the waker, and with it the remains of the call.
    pub(super) fn forget_waker(&self) {
        self.waker.take();
    }
}
