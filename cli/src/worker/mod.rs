//! `antenv worker`: serves the work queue of a self-hosted environment.
//!
//! One thread runs an event loop: the worker's completion queue, signals, the commands' inputs and the timers are all awaited there. The
//! library's own thread keeps the leases, whatever this one does.

mod command;
mod grace;
mod log;
mod metrics;
mod notify;
mod poll;
mod processes;

use crate::output::Failure;
use clap::Subcommand;

/// Serves the work queue of a self-hosted environment
#[derive(Subcommand)]
pub enum Command {
    Poll(poll::Options),
}

impl Command {
    /// Runs the subcommand.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Command::Poll(options) => poll::run(options),
        }
    }
}
