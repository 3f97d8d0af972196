//! Results on standard output, failures on standard error, and the exit code.

use std::io::{self, Write};
use std::process::ExitCode;

/// Why a subcommand failed.
pub enum Failure {
    /// The library's error; its JSON goes to standard error.
    Error(antenv::Error),
    /// A message for standard error.
    Message(String),
    /// The reader of standard output has gone. Nothing is wrong, and nothing more is to be done.
    OutputClosed,
}

impl From<antenv::Error> for Failure {
    fn from(error: antenv::Error) -> Failure {
        Failure::Error(error)
    }
}

impl Failure {
    /// Makes the failure of a system call; `subject` is what it was about, such as a path.
    pub fn io(subject: &str, error: io::Error) -> Failure {
        Failure::Message(format!("{subject}: {error}"))
    }
}

/// Writes a line to standard output at once.
pub fn write_line(line: &str) -> Result<(), Failure> {
    let mut output = io::stdout().lock();
    output.write_all(line.as_bytes()).and_then(|()| output.write_all(b"\n")).and_then(|()| output.flush()).map_err(|error| {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::OutputClosed,
            _ => Failure::io("standard output", error),
        }
    })
}

/// Reports a failure on standard error, and returns the exit code: 0 or 1. Wrong usage, which is 2, never comes so far.
pub fn exit_code(outcome: Result<(), Failure>) -> ExitCode {
    let report = match outcome {
        Ok(()) | Err(Failure::OutputClosed) => return ExitCode::SUCCESS,
        Err(Failure::Error(error)) => error.to_json(),
        Err(Failure::Message(message)) => format!("antenv: {message}"),
    };
    // A standard error that is closed is no reason to abort.
    let _ = writeln!(io::stderr(), "{report}");
    ExitCode::FAILURE
}
