//! Results on standard output, failures on standard error, and the exit code.

use std::borrow::Cow;
use std::io::{self, Write};
use std::process::{self, ExitCode};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};
use tokio::runtime::Builder;

/// Held while a line is written.
static WRITING: Mutex<()> = Mutex::new(());
/// Whether the process is about to end: no line begins any more.
static ENDS: AtomicBool = AtomicBool::new(false);
/// How long the end on a signal waits for a line that is being written: its reader may have stopped reading.
const MAX_WRITING: Duration = Duration::from_secs(10);

/// Why a subcommand failed.
pub enum Failure {
    /// The library's error; its JSON goes to standard error.
    Error(antenv::Error),
    /// A message for standard error.
    Message(String),
    /// The command line names what is not there. The exit code is 2.
    Usage(String),
    /// The log has reported it.
    Logged,
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
    write(format!("{line}\n").as_bytes())
}

/// Writes JSON as one line to standard output at once. What the server sent on several lines is the same with blanks between its tokens:
/// within strings there are no line breaks.
pub fn write_json_line(json: &str) -> Result<(), Failure> {
    write_line(&on_one_line(json))
}

fn on_one_line(json: &str) -> Cow<'_, str> {
    if json.contains(['\n', '\r']) { json.replace(['\n', '\r'], " ").into() } else { json.into() }
}

/// Writes text to standard output at once.
pub fn write(text: &[u8]) -> Result<(), Failure> {
    while ENDS.load(Ordering::SeqCst) {
        thread::park();
    }
    let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
    let mut output = io::stdout().lock();
    output.write_all(text).and_then(|()| output.flush()).map_err(|error| match error.kind() {
        io::ErrorKind::BrokenPipe => Failure::OutputClosed,
        _ => Failure::io("standard output", error),
    })
}

/// Writes a message to standard error. A standard error that is closed is no reason to abort.
pub fn report(message: &str) {
    let _ = writeln!(io::stderr(), "antenv: {message}");
}

/// Has the process exit with 0 on SIGINT and SIGTERM, between two lines of its output.
pub fn end_on_signal() -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_io().build().map_err(|error| Failure::io("signals", error))?;
    // Before this returns: from then on no signal ends the process within a line.
    let signal = runtime.block_on(async { any_signal() }).map_err(|error| Failure::io("signals", error))?;
    let wait = move || {
        runtime.block_on(signal);
        ENDS.store(true, Ordering::SeqCst);
        let until = Instant::now() + MAX_WRITING;
        loop {
            // Held to the end, so that a line that was about to begin does not.
            let writing = WRITING.try_lock();
            if writing.is_ok() || Instant::now() >= until {
                process::exit(0);
            }
            thread::sleep(Duration::from_millis(1));
        }
    };
    thread::Builder::new().name("signals".to_owned()).spawn(wait).map_err(|error| Failure::io("signals", error))?;
    Ok(())
}

#[cfg(unix)]
fn any_signal() -> io::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

#[cfg(windows)]
fn any_signal() -> io::Result<impl Future<Output = ()>> {
    let mut interrupt = tokio::signal::windows::ctrl_c()?;
    Ok(async move {
        interrupt.recv().await;
    })
}

/// Reports a failure on standard error, and returns the exit code. Most wrong usage, which is 2, never comes so far.
pub fn exit_code(outcome: Result<(), Failure>) -> ExitCode {
    match outcome {
        Ok(()) | Err(Failure::OutputClosed) => return ExitCode::SUCCESS,
        Err(Failure::Error(error)) => {
            let _ = writeln!(io::stderr(), "{}", error.to_json());
        }
        Err(Failure::Message(message)) => report(&message),
        Err(Failure::Usage(message)) => {
            report(&message);
            return ExitCode::from(2);
        }
        Err(Failure::Logged) => {}
    }
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_on_several_lines_becomes_one_line() {
        assert_eq!(on_one_line("{\"a\":\n\"b\\n\"}\r\n"), "{\"a\": \"b\\n\"}  ");
        assert!(matches!(on_one_line("{}"), Cow::Borrowed("{}")));
    }
}
