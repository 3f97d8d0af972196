//! Non-blocking calls: a completion queue, and the tickets that cancel submitted calls.

mod queue;
mod ticket;

pub use queue::*;
pub use ticket::Ticket;
