//! `antenv sessions`: what goes on in sessions.

mod follow;
mod tail;

use crate::output::Failure;
use clap::Subcommand;

/// Shows what happens in sessions
#[derive(Subcommand)]
pub enum Command {
    Tail(tail::Options),
}

impl Command {
    /// Runs the subcommand.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Command::Tail(options) => tail::run(options),
        }
    }
}
