//! `antenv toolset`: the six tools of an agent, in a process of their own that is confined (docs/toolset.md, docs/security.md).
//!
//! | to learn about | read |
//! |---|---|
//! | the three stages, and how they end | [`launcher`], [`helper`] |
//! | requests and answers | [`server`] |
//! | which paths the tools may use | [`roots`] |
//! | read, write, edit | [`files`] |
//! | glob, grep | [`search`] |
//! | requests of the host: skills, memory directories | [`host`] |
//! | bash | [`shell`], [`processes`], [`text`] |
//! | confinement | [`sandbox`] |
//!
//! The launcher is the process that the host starts. It starts the helper, which confines itself, speaks the protocol and runs the tools of
//! files; the helper starts a shell, which confines itself once more and becomes bash. Each stage is this executable anew, so that nothing
//! of the stage before is in its environment or its memory.

mod error;
mod files;
mod helper;
mod host;
mod launcher;
mod processes;
mod roots;
mod sandbox;
mod search;
mod server;
mod shell;
mod text;

pub use launcher::OWN_EXECUTABLE;

use crate::output::Failure;
use clap::Args;
use sandbox::Mode;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// Serves the six tools of an agent on standard input and output
///
/// Requests and answers are lines of JSON (docs/toolset.md). Everything that the tools start ends when the input ends.
#[derive(Args)]
pub struct Options {
    /// The directory that the tools work in; they write nowhere else
    #[arg(long, value_name = "DIR", required_unless_present = "stage")]
    workdir: Option<PathBuf>,

    /// A memory directory, which the tools may write, too
    #[arg(long, value_name = "DIR")]
    memory: Vec<PathBuf>,

    /// A memory directory that the tools may read; only the requests of the host write there
    #[arg(long, value_name = "DIR")]
    memory_read_only: Vec<PathBuf>,

    /// Another directory that commands may read and execute, besides those of the system
    #[arg(long, value_name = "DIR")]
    read: Vec<PathBuf>,

    /// An environment variable that commands get from this process, besides PATH, LANG and the like
    #[arg(long, value_name = "NAME")]
    env: Vec<String>,

    /// Let commands use the network
    #[arg(long)]
    network: bool,

    /// auto confines as far as the kernel can, required refuses to run if something is missing, off confines nothing
    #[arg(long, value_name = "MODE", default_value = "auto")]
    sandbox: Mode,

    /// The time limit of a command that states none, in milliseconds
    #[arg(long, value_name = "MS", default_value_t = 120_000, value_parser = clap::value_parser!(u64).range(1..=86_400_000))]
    bash_timeout_ms: u64,

    /// How many processes and threads there may be at once
    #[arg(long, value_name = "N", default_value_t = 4_096, value_parser = clap::value_parser!(u32).range(512..=4_194_304))]
    max_processes: u32,

    /// What a process of the toolset's own starts another one with
    #[arg(long, hide = true, value_name = "JSON", conflicts_with = "workdir")]
    stage: Option<String>,
}

/// What this process is.
#[derive(Serialize, Deserialize)]
enum Stage {
    /// Finds out whether namespaces can be had.
    Probe,
    Helper(Settings),
    Shell(ShellSettings),
}

/// What the helper is given. All paths are absolute and exist.
#[derive(Serialize, Deserialize)]
struct Settings {
    workdir: PathBuf,
    memory: Vec<PathBuf>,
    memory_read_only: Vec<PathBuf>,
    read: Vec<PathBuf>,
    /// The private folder, with the folders `tmp` and `home`.
    private: PathBuf,
    network: bool,
    sandbox: Mode,
    bash_timeout_ms: u64,
    max_processes: u32,
    /// The helper is the first process of a process namespace.
    in_namespace: bool,
}

#[derive(Serialize, Deserialize, Clone)]
struct ShellSettings {
    workdir: PathBuf,
    confined: bool,
    /// The directories that commands may write in.
    writable: Vec<PathBuf>,
}

/// Serves until the input ends, or does what another stage does.
pub fn run(options: Options) -> Result<(), Failure> {
    let Some(stage) = &options.stage else { return launcher::run(&options) };
    match serde_json::from_str(stage).map_err(|error| Failure::Message(format!("--stage: {error}")))? {
        Stage::Probe => sandbox::namespaces::enter().map_err(|error| Failure::io("namespaces", error)),
        Stage::Helper(settings) => helper::run(&settings),
        Stage::Shell(settings) => helper::become_shell(&settings),
    }
}
