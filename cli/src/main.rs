//! The command `antenv`: the Environments API from a shell.
//!
//! | to learn about | read |
//! |---|---|
//! | calls of operations | [`call`] |
//! | following a session's events | [`sessions`] |
//! | serving a work queue | [`worker`] |
//! | completion in shells | [`completions`] |
//! | the client's configuration | [`client`] |
//! | exit codes, standard output | [`output`] |
//! | the tools of an agent, confined | [`toolset`] |
//!
//! Each subcommand is a module with the options that it takes (`Options`) and a function `run`. The library does the work: here are only
//! the options, the output, and what a process has to do.

#![forbid(unsafe_code)]

mod call;
mod client;
mod completions;
mod output;
mod sessions;
#[cfg(target_os = "linux")]
mod toolset;
#[cfg(unix)]
mod worker;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// Calls the Environments API and serves its work queues.
///
/// Exits with 0 on success, 1 after a failure, and 2 on wrong usage.
#[derive(Parser)]
#[command(name = "antenv", version, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Call(call::Options),
    #[command(subcommand)]
    Sessions(sessions::Command),
    #[cfg(unix)]
    #[command(subcommand)]
    Worker(worker::Command),
    #[cfg(target_os = "linux")]
    Toolset(toolset::Options),
    Completions(completions::Options),
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Call(options) => call::run(options),
        Command::Sessions(command) => command.run(),
        #[cfg(unix)]
        Command::Worker(command) => command.run(),
        #[cfg(target_os = "linux")]
        Command::Toolset(options) => toolset::run(options),
        Command::Completions(options) => completions::run(options),
    };
    output::exit_code(outcome)
}
