//! The lease on one work item: the state machine that decides, the task that drives it, and the handle that its holder has.

pub mod handle;
pub mod machine;
pub mod task;

pub use handle::Lease;
