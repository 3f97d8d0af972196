//! The tool bash: one shell, kept between calls.
//!
//! bash reads its script from a pipe. Each command is one line of it: `eval` of the quoted command, then a `printf` of a random marker and
//! the exit status. The marker goes to bash's standard error, which is a pipe of its own; the command's output, errors too, goes to
//! standard output. So output cannot be mistaken for the end of a command, and what bash starts does not have the marker's pipe.

use super::error::{ToolError, ToolResult};
use super::processes::{Processes, pid_of};
use super::server::{Cancel, Content};
use super::text::Tail;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::{Errno, ioctl_fionbio};
use rustix::process::{PidfdFlags, WaitStatus, pidfd_open};
use serde::Deserialize;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

/// How much output a command gives: its end.
pub const MAX_OUTPUT_BYTES: usize = 100 << 10;
/// The longest time limit of a command.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 3600);
/// The most that the marker's pipe is read for one command: bash's own complaints may be there, too.
const MAX_CONTROL_BYTES: usize = 64 << 10;
const PIECE: usize = 64 << 10;

#[derive(Deserialize)]
pub struct BashInput {
    command: Option<String>,
    #[serde(default)]
    restart: bool,
    timeout_ms: Option<u64>,
}

/// The shell of the item: how to start it, and the one that runs.
pub struct Shell {
    start: Box<dyn Fn() -> Command + Send>,
    processes: Processes,
    timeout: Duration,
    running: Option<Running>,
}

/// How a command ended.
enum End {
    Exited(i32),
    /// The shell itself has ended.
    ShellEnded,
    TimedOut,
    Cancelled,
}

impl Shell {
    /// `start` makes the command that becomes the shell; `timeout` is the time limit of a command that states none.
    pub fn new(start: Box<dyn Fn() -> Command + Send>, processes: Processes, timeout: Duration) -> Shell {
        Shell { start, processes, timeout, running: None }
    }

    /// Runs a command; returns its output, or an error with its output if it failed.
    pub fn run(&mut self, input: &BashInput, cancel: &Cancel) -> ToolResult<Content> {
        if input.restart {
            self.end();
        }
        let timeout = self.timeout_of(input)?;
        let Some(command) = input.command.as_deref() else {
            return if input.restart {
                Ok(Content::text("the shell was restarted"))
            } else {
                Err(ToolError::new("command is missing"))
            };
        };
        if command.contains('\0') {
            return Err(ToolError::new("the command holds a NUL character"));
        }
        let cannot_start =
            |error: io::Error| ToolError::new(format!("the shell cannot be started: {}", super::error::describe(&error)));
        let mut running = match self.running.take() {
            Some(running) => running,
            None => Running::start(&self.processes, (self.start)())
                .map_err(cannot_start)
                .inspect_err(|_| self.processes.kill_all())?,
        };
        let mut output = Tail::new(MAX_OUTPUT_BYTES);
        let end = running.run(command, Instant::now() + timeout, cancel, &mut output);
        let text = output.into_text();
        let problem = match end {
            Ok(End::Exited(code)) => {
                self.running = Some(running);
                if code == 0 {
                    return Ok(Content::text(if text.is_empty() { "[no output]".to_owned() } else { text }));
                }
                format!("exit code: {code}")
            }
            Ok(End::ShellEnded) => format!("{}; the next command gets a new one", running.last_words(&self.processes)),
            Ok(End::TimedOut) => format!("timed out after {} ms; the next command gets a new shell", timeout.as_millis()),
            Ok(End::Cancelled) => "the call was cancelled; the next command gets a new shell".to_owned(),
            Err(_) => "the shell does not answer; the next command gets a new one".to_owned(),
        };
        if self.running.is_none() {
            self.processes.kill_all();
        }
        let separator = if text.is_empty() || text.ends_with('\n') { "" } else { "\n" };
        Err(ToolError(format!("{text}{separator}{problem}")))
    }

    fn timeout_of(&self, input: &BashInput) -> ToolResult<Duration> {
        match input.timeout_ms.map(Duration::from_millis) {
            None => Ok(self.timeout),
            Some(timeout) if !timeout.is_zero() && timeout <= MAX_TIMEOUT => Ok(timeout),
            Some(_) => Err(ToolError::new(format!("timeout_ms must be from 1 to {}", MAX_TIMEOUT.as_millis()))),
        }
    }

    /// Ends the shell and everything that it has started.
    fn end(&mut self) {
        self.running = None;
        self.processes.kill_all();
    }
}

/// A shell that runs.
struct Running {
    child: Child,
    process: OwnedFd,
    script: ChildStdin,
    output: ChildStdout,
    control: ChildStderr,
    /// What came through the marker's pipe and is no whole line yet, or no marker.
    received: Vec<u8>,
}

impl Running {
    fn start(processes: &Processes, mut command: Command) -> io::Result<Running> {
        let mut child = processes.spawn(command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()))?;
        let missing = || io::Error::from(io::ErrorKind::BrokenPipe);
        let (script, output, control) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (script, output, control) = (script.ok_or_else(missing)?, output.ok_or_else(missing)?, control.ok_or_else(missing)?);
        ioctl_fionbio(&script, true)?;
        ioctl_fionbio(&output, true)?;
        ioctl_fionbio(&control, true)?;
        let process = pidfd_open(pid_of(&child).ok_or_else(missing)?, PidfdFlags::empty())?;
        Ok(Running { child, process, script, output, control, received: Vec::new() })
    }

    /// Runs a command until its marker, the end of the shell, the deadline, or the cancellation.
    fn run(&mut self, command: &str, deadline: Instant, cancel: &Cancel, output: &mut Tail) -> io::Result<End> {
        self.received.clear();
        let marker = random_marker()?;
        let script = script_line(command, &marker);
        let mut unsent = script.as_bytes();
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(End::TimedOut);
            }
            let to_send = if unsent.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
            let mut waited = [
                PollFd::new(&self.output, PollFlags::IN),
                PollFd::new(&self.control, PollFlags::IN),
                PollFd::new(&self.process, PollFlags::IN),
                PollFd::from_borrowed_fd(cancel.event(), PollFlags::IN),
                PollFd::from_borrowed_fd(self.script.as_fd(), to_send),
            ];
            match poll(&mut waited, Some(&Timespec { tv_sec: left.as_secs().cast_signed(), tv_nsec: left.subsec_nanos().into() }))
            {
                Ok(_) | Err(Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            let [_, _, process, cancelled, script] = waited.map(|waited| !waited.revents().is_empty());
            self.read_output(output)?;
            if cancelled {
                return Ok(End::Cancelled);
            }
            if script && !unsent.is_empty() {
                match self.script.write(unsent) {
                    Ok(count) => unsent = &unsent[count..],
                    Err(error) if is_transient(&error) => {}
                    // The shell has ended; so says its process.
                    Err(_) => unsent = &[],
                }
            }
            if let Some(code) = self.read_marker(&marker)? {
                self.drain(output)?;
                return Ok(End::Exited(code));
            }
            if process {
                self.drain(output)?;
                return Ok(End::ShellEnded);
            }
        }
    }

    /// Reads a piece of the output; returns how much.
    fn read_output(&mut self, output: &mut Tail) -> io::Result<usize> {
        let mut piece = [0; PIECE];
        let count = read_available(&mut self.output, &mut piece)?;
        output.push(&piece[..count]);
        Ok(count)
    }

    /// Reads what the pipe still holds of the command: not more, as processes in the background may write on.
    fn drain(&mut self, output: &mut Tail) -> io::Result<()> {
        let mut left = rustix::pipe::fcntl_getpipe_size(&self.output).unwrap_or(PIECE);
        while left > 0 {
            match self.read_output(output)? {
                0 => break,
                count => left = left.saturating_sub(count),
            }
        }
        Ok(())
    }

    /// Reads the marker's pipe; returns the exit status if the marker is there.
    fn read_marker(&mut self, marker: &str) -> io::Result<Option<i32>> {
        let mut piece = [0; 4096];
        loop {
            let count = read_available(&mut self.control, &mut piece)?;
            if count == 0 {
                break;
            }
            self.received.extend_from_slice(&piece[..count]);
            let surplus = self.received.len().saturating_sub(MAX_CONTROL_BYTES);
            self.received.drain(..surplus);
        }
        let text = String::from_utf8_lossy(&self.received);
        // Only whole lines count.
        let whole = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
        let status = |line: &str| line.strip_prefix(marker)?.strip_prefix(' ')?.parse().ok();
        Ok(whole.lines().find_map(status))
    }

    /// Returns how the shell ended, with what it complained of before its first command.
    fn last_words(&mut self, processes: &Processes) -> String {
        let complaint = String::from_utf8_lossy(&self.received).trim().to_owned();
        let ended = match processes.status(self.child.id()) {
            Some(status) => describe(status),
            None => "the shell ended".to_owned(),
        };
        if complaint.is_empty() { ended } else { format!("{complaint}\n{ended}") }
    }
}

fn describe(status: WaitStatus) -> String {
    match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => format!("the shell ended with exit code: {code}"),
        (None, Some(signal)) => format!("the shell was ended by signal {signal}"),
        (None, None) => "the shell ended".to_owned(),
    }
}

fn random_marker() -> io::Result<String> {
    let mut bytes = [0; 16];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!("{:032x}", u128::from_ne_bytes(bytes)))
}

/// Returns the line of bash's script that runs a command and then writes the marker and the exit status.
///
/// All three standard streams are redirected, so that `exec >file` lasts as long as the command; 62 is a number that no one uses.
fn script_line(command: &str, marker: &str) -> String {
    let quoted = command.replace('\'', r"'\''");
    format!("eval '{quoted}\n' </dev/null 62>&1 >&62 2>&62 62>&-; builtin printf '%s %d\\n' {marker} $? >&2\n")
}

/// Reads what is there now; returns 0 if that is nothing, or the other side has closed the pipe.
fn read_available(pipe: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    match pipe.read(buffer) {
        Err(error) if is_transient(&error) => Ok(0),
        result => result,
    }
}

fn is_transient(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
