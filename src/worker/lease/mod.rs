//! The lease on one work item: the state machine that decides, the task that drives it, and the handle that its holder has.

pub mod events;
pub mod handle;
pub mod machine;
mod requests;
pub mod task;

pub use handle::{Lease, LeaseUse, Standing};
