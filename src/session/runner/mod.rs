//! Serving a session: the state machine that decides, the task that drives it, and the handles that the host has.
//!
//! ```text
//!  service                     task                                                          host
//!  ───────                     ────                                                          ────
//!  session, history, stream ─► events ─► machine ─► calls to run ─► shared ────────────────► next
//!                                          │                                                  │ runs the tool
//!  the call is answered ◄──── send ◄────── results to send ◄────── shared ◄─────────────── reply
//!                                          ├─► void calls ────────► shared ────────────────► wait
//!                                          └─► calls of the toolset ─► the helper, which runs them
//! ```

mod config;
mod handle;
pub mod machine;
mod requests;
mod resources;
mod shared;
#[cfg(test)]
mod simulation;
mod task;
pub mod words;

pub use handle::{Next, Session, ToolCall};
