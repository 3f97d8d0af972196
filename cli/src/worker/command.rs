//! The commands that serve items and answer calls: finding them, their environment, their input and output.

use super::notify;
use crate::output::Failure;
use rustix::io::Errno;
use rustix::process::{Pid, WaitStatus};
use serde::Deserialize;
use std::borrow::Cow;
use std::convert::Infallible;
use std::env;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe;

/// Where commands are looked for without the variable PATH.
const DEFAULT_PATH: &str = "/bin:/usr/bin";
/// The last bytes of a command's output that are kept: as many as the toolset keeps of bash's.
const MAX_OUTPUT: usize = 100 << 10;
/// How much is read at a time, and how much a pipe holds at most.
const PART: usize = 16 << 10;
const MAX_PIPE: usize = 1 << 20;
/// What precedes output of which the beginning is not kept.
const TRUNCATED: &str = "[output truncated]\n";

/// What a command has to know of a work item.
#[derive(Deserialize)]
pub struct Item {
    /// Its identifier.
    #[serde(default)]
    pub id: String,
    #[serde(default)]
    environment_id: String,
    #[serde(default)]
    data: Data,
    secret: Option<String>,
}

#[derive(Deserialize, Default)]
struct Data {
    #[serde(default)]
    id: String,
}

impl Item {
    /// Reads an item. What is missing is empty.
    pub fn parse(json: &str) -> Item {
        let nothing = Item { id: String::new(), environment_id: String::new(), data: Data::default(), secret: None };
        serde_json::from_str(json).unwrap_or(nothing)
    }

    /// Returns the session that the item is about.
    pub fn session_id(&self) -> &str {
        &self.data.id
    }
}

/// A command that is about to run, with its environment.
pub struct Prepared<'a> {
    command: &'a [OsString],
    /// Whether the command gets the variables of this process that are about the API, and so its credentials.
    is_trusted: bool,
    /// `None`: the command does not get the variable, not even that of this process.
    variables: Vec<(&'static str, Option<String>)>,
    has_output: bool,
}

/// A command that runs.
pub struct Running {
    /// Its process, which leads a process group of its own.
    pub leader: Pid,
    /// Its standard input.
    pub input: OwnedFd,
    /// Its standard output, if it was asked for.
    pub output: Option<OwnedFd>,
}

impl Prepared<'_> {
    /// Prepares the command that serves an item.
    pub fn for_item<'a>(command: &'a [OsString], item: &Item) -> Prepared<'a> {
        let mut variables = item_variables(item);
        variables.push(("ANTHROPIC_WORK_SECRET", item.secret.clone()));
        // The item has had none: one that this process has inherited is of another item.
        variables.push(("ANTHROPIC_WORK_LAST_HEARTBEAT", None));
        Prepared { command, is_trusted: true, variables, has_output: false }
    }

    /// Prepares the command that answers a call. It works on what an agent has written, and so gets no credentials.
    pub fn for_call<'a>(command: &'a [OsString], item: &Item, workdir: Option<&Path>, call: &super::tool::Event) -> Prepared<'a> {
        let mut variables = item_variables(item);
        variables.push(("ANTENV_TOOL_NAME", Some(call.name.clone())));
        variables.push(("ANTENV_TOOL_USE_ID", Some(call.id.clone())));
        variables.push(("ANTENV_WORKDIR", workdir.map(|path| path.to_string_lossy().into_owned())));
        Prepared { command, is_trusted: false, variables, has_output: true }
    }

    /// Returns the command's name.
    pub fn name(&self) -> Cow<'_, str> {
        self.command.first().map_or(Cow::Borrowed(""), |name| name.to_string_lossy())
    }

    /// Starts the command.
    pub fn start(&self) -> io::Result<Running> {
        let (name, arguments) = self.command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut process = Command::new(name);
        process.args(arguments).stdin(Stdio::piped()).process_group(0);
        if self.has_output {
            process.stdout(Stdio::piped());
        }
        for variable in notify::VARIABLES {
            process.env_remove(variable);
        }
        if !self.is_trusted {
            for (name, _) in env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"ANTHROPIC_")) {
                process.env_remove(name);
            }
        }
        for (variable, value) in &self.variables {
            // A variable cannot hold a NUL.
            match value.as_deref().filter(|value| !value.contains('\0')) {
                Some(value) => process.env(variable, value),
                None => process.env_remove(variable),
            };
        }
        // The child is reaped with all others: dropping it here leaves it alone.
        let mut child = process.spawn()?;
        let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let (input, output) = (child.stdin.take().map(OwnedFd::from), child.stdout.take().map(OwnedFd::from));
        let running = leader.zip(input).map(|(leader, input)| Running { leader, input, output });
        running.ok_or_else(|| io::ErrorKind::Other.into())
    }
}

/// Returns the variables that name an item.
fn item_variables(item: &Item) -> Vec<(&'static str, Option<String>)> {
    vec![
        ("ANTHROPIC_WORK_ID", Some(item.id.clone())),
        ("ANTHROPIC_ENVIRONMENT_ID", Some(item.environment_id.clone())),
        ("ANTHROPIC_SESSION_ID", Some(item.data.id.clone())),
    ]
}

/// Fails if the command cannot be found: the file that a path names, or one in PATH.
pub fn check(command: &[OsString]) -> Result<(), Failure> {
    let Some(name) = command.first() else { return Err(Failure::Usage("a command is needed".to_owned())) };
    let path = env::var_os("PATH").unwrap_or_else(|| DEFAULT_PATH.into());
    let is_there = if name.as_encoded_bytes().contains(&b'/') {
        is_executable(Path::new(name))
    } else {
        env::split_paths(&path).any(|folder| is_executable(&folder.join(name)))
    };
    if is_there { Ok(()) } else { Err(Failure::Usage(format!("{}: no such command", name.display()))) }
}

fn is_executable(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0)
}

/// Writes JSON to a command's input. The command need not read it.
pub async fn feed(input: OwnedFd, json: String) {
    let Ok(mut input) = pipe::Sender::from_owned_fd(input) else { return };
    let _ = input.write_all(json.as_bytes()).await;
}

/// The output of a command, read while it runs so that it never has to wait.
pub struct Output {
    pipe: Option<pipe::Receiver>,
    text: Tail,
}

impl Output {
    /// Begins to read the output of a command.
    pub fn new(output: Option<OwnedFd>) -> Output {
        Output { pipe: output.and_then(|output| pipe::Receiver::from_owned_fd(output).ok()), text: Tail::default() }
    }

    /// Reads what comes. Waits without end.
    pub async fn read(&mut self) -> Infallible {
        let mut part = [0; PART];
        while let Some(pipe) = &self.pipe {
            let count = match pipe.readable().await {
                Ok(()) => pipe.try_read(&mut part),
                Err(error) => Err(error),
            };
            match count {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Ok(0) | Err(_) => self.pipe = None,
                Ok(count) => self.text.push(&part[..count]),
            }
        }
        std::future::pending().await
    }

    /// Reads what an ended command has left in the pipe, and returns the text. A process that holds the pipe open is not waited for.
    pub fn finish(mut self) -> String {
        let mut part = [0; PART];
        for _ in 0..MAX_PIPE / PART {
            // Not by way of the event loop, which may not know yet what the command wrote before it ended.
            match self.pipe.as_ref().map(|pipe| rustix::io::read(pipe, &mut part[..])) {
                Some(Ok(count @ 1..)) => self.text.push(&part[..count]),
                Some(Err(Errno::INTR)) => {}
                _ => break,
            }
        }
        self.text.into_text()
    }
}

/// The end of a text of any length.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    fn push(&mut self, part: &[u8]) {
        self.bytes.extend_from_slice(part);
        // Not at each part, which would move all bytes each time.
        if self.bytes.len() > 2 * MAX_OUTPUT {
            self.cut();
        }
    }

    fn cut(&mut self) {
        let excess = self.bytes.len().saturating_sub(MAX_OUTPUT);
        self.is_cut |= excess > 0;
        self.bytes.drain(..excess);
    }

    fn into_text(mut self) -> String {
        self.cut();
        // A character that was cut is left out.
        let is_rest = |byte: &u8| self.is_cut && byte & 0xc0 == 0x80;
        let start = self.bytes.iter().take(3).take_while(|byte| is_rest(byte)).count();
        let text = String::from_utf8_lossy(&self.bytes[start..]);
        if self.is_cut { format!("{TRUNCATED}{text}") } else { text.into_owned() }
    }
}

/// Returns how a command ended.
pub fn describe(status: Option<WaitStatus>) -> String {
    match status.map(|status| (status.exit_status(), status.terminating_signal())) {
        Some((Some(code), _)) => format!("exited with {code}"),
        Some((_, Some(signal))) => format!("ended by signal {signal}"),
        _ => "ended".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_long_output_is_kept() {
        let text = |parts: &[&[u8]]| {
            let mut tail = Tail::default();
            parts.iter().for_each(|part| tail.push(part));
            tail.into_text()
        };
        assert_eq!(text(&[b"a", b"b\n"]), "ab\n");
        assert_eq!(text(&[]), "");
        assert_eq!(text(&[b"\xffa"]), "\u{fffd}a", "what is no UTF-8 is replaced");
        assert_eq!(text(&[&vec![b'x'; MAX_OUTPUT]]), "x".repeat(MAX_OUTPUT));
        let long = text(&[&vec![b'x'; 7 * MAX_OUTPUT], b"end"]);
        assert_eq!(long, format!("{TRUNCATED}{}end", "x".repeat(MAX_OUTPUT - 3)));
        let cut = text(&["é".repeat(MAX_OUTPUT).as_bytes(), b"x"]);
        assert_eq!(cut, format!("{TRUNCATED}{}x", "é".repeat(MAX_OUTPUT / 2 - 1)), "no half of a character");
    }
}
