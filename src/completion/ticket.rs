//! Tickets, which cancel a call that was submitted to a queue.

use crate::runtime::{Cancel, fork};
use std::sync::Arc;

/// Cancels a call in flight. It may outlive the call.
#[derive(Debug, Clone)]
pub struct Ticket {
    epoch: u32,
    pub(super) cancel: Arc<Cancel>,
}

impl Default for Ticket {
    /// Makes a ticket for one call that has not started.
    fn default() -> Ticket {
        Ticket { epoch: fork::epoch(), cancel: Arc::default() }
    }
}

impl Ticket {
    /// Requests cancellation of the call. Its completion arrives in any case, with the result if that was quicker, else `CANCELLED`.
    pub fn cancel(&self) {
        // In a forked child the call does not exist; it belongs to the parent.
        if self.epoch == fork::epoch() {
            self.cancel.cancel();
        }
    }
}
