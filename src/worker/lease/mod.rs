//! The lease on one work item: the state machine that decides, the task that does what it says, and the handle of whoever holds it.

pub mod handle;
pub mod machine;
pub mod task;

pub use handle::Lease;
