//! `antenv completions`: scripts by which a shell completes this command.

use crate::Cli;
use crate::output::{Failure, write};
use clap::{Args, CommandFactory};
use clap_complete::{Shell, generate};

/// Writes a script by which a shell completes this command
#[derive(Args)]
pub struct Options {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Writes the script to standard output.
pub fn run(options: Options) -> Result<(), Failure> {
    let mut script = Vec::new();
    generate(options.shell, &mut Cli::command(), "antenv", &mut script);
    write(&script)
}
