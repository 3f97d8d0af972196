//! The tools of an agent, run by the helper process `antenv toolset` (docs/toolset.md).
//!
//! | to learn about | read |
//! |---|---|
//! | what the helper is to do, and where | [`config`] |
//! | which file the command is | [`command`] |
//! | starting the process, and ending it with everything below it | `process` |
//! | requests and their answers | `connection` |
//! | calls; starting the helper again after it has died | [`helper`] |

pub mod command;
pub mod config;
#[cfg(target_os = "linux")]
mod connection;
#[cfg_attr(not(target_os = "linux"), path = "unsupported.rs")]
pub mod helper;
#[cfg(target_os = "linux")]
mod process;

/// The version of the protocol that this library speaks.
#[cfg(target_os = "linux")]
const PROTOCOL: u32 = 1;
/// The tools of the helper.
pub const TOOLS: [&str; 6] = ["bash", "read", "write", "edit", "glob", "grep"];
