//! Tickets: cancelling a call that was submitted to a queue.

use crate::runtime::{Cancel, fork};
use std::sync::Arc;

/// A call in flight, to be cancelled. It may outlive the call.
#[derive(Debug, Clone)]
pub struct Ticket {
    epoch: u32,
    pub(super) cancel: Arc<Cancel>,
}

impl Default for Ticket {
    /// A ticket for one call that is yet to begin.
    fn default() -> Ticket {
        Ticket { epoch: fork::epoch(), cancel: Arc::default() }
    }
}

impl Ticket {
    /// Wishes that the call end. Its completion comes in any case: the result, if that was quicker, else `CANCELLED`.
    pub fn cancel(&self) {
        // In a forked child the call does not exist; it is its parent's.
        if self.epoch == fork::epoch() {
            self.cancel.cancel();
        }
    }
}
