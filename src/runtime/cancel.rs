//! Cancelling a call from any thread.

use atomic_waker::AtomicWaker;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Waker;

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

    pub(super) fn is_requested(&self) -> bool {
        self.requested.load(Ordering::SeqCst)
    }

    /// Has `waker` woken when the cancellation is requested.
    pub(super) fn wake_on_request(&self, waker: &Waker) {
        self.waker.register(waker);
    }

    /// Forgets the waker, and with it what is left of the call.
    pub(super) fn forget_waker(&self) {
        self.waker.take();
    }
}
