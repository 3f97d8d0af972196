//! Sessions: serving the calls of an agent's tools.
//!
//! [`event`] reads the session's events, [`result`] turns what a tool returned into the event that answers its call, and [`runner`] serves
//! a session from its first event to its end. [`tools`] runs the toolset in a process of its own,
//! `memory` keeps directories in step with memory stores, and `skills` installs the skills of the agent.

pub mod event;
mod memory;
pub mod result;
pub mod runner;
mod skills;
pub mod time;
pub mod tools;

pub use runner::{Next, Session, ToolCall};

/// The target of a session's log records.
const LOG: &str = "antenv::session";
