//! Serving a session: the state machine that decides, the task that drives it, and the handles that the host has.

pub mod machine;
pub mod words;
