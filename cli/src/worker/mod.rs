//! `antenv worker`: serves the work queue of a self-hosted environment.
//!
//! | to learn about | read |
//! |---|---|
//! | claiming items, signals, the end | [`host`], [`options`] |
//! | `poll`: a command serves an item | [`poll`], [`command`], [`processes`] |
//! | `run`, `handle`: sessions are served here | [`run`], [`handle`], [`serve`] |
//! | tools that a command answers | [`tool`] |
//! | working directories | [`workdir`] |
//! | what others see of it | [`log`], [`metrics`], [`notify`] |
//!
//! One thread runs an event loop: the worker's completion queue, signals, the commands' pipes and the timers are all awaited there. The
//! library's own thread keeps the leases and runs the sessions, whatever this one does.

mod command;
mod handle;
mod host;
mod log;
mod metrics;
mod notify;
mod options;
mod poll;
mod processes;
mod run;
mod seconds;
mod serve;
mod tool;
mod workdir;

use crate::output::Failure;
use clap::Subcommand;

/// Serves the work queue of a self-hosted environment
#[derive(Subcommand)]
pub enum Command {
    Run(run::Options),
    Poll(poll::Options),
    Handle(handle::Options),
}

impl Command {
    /// Runs the subcommand.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Command::Run(options) => run::run(options),
            Command::Poll(options) => poll::run(options),
            Command::Handle(options) => handle::run(options),
        }
    }
}
