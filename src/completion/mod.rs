//! Calls that do not block: a completion queue, and the tickets that cancel what was submitted to it.

mod queue;

pub use queue::*;
