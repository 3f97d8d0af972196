//! The command that serves an item: finding it, its environment, its input.

use super::notify;
use crate::output::Failure;
use rustix::process::Pid;
use serde::Deserialize;
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

    /// Returns the variables that are about the item. `None`: the command does not get the variable, not even that of this process.
    fn variables(&self) -> [(&'static str, Option<&str>); 5] {
        [
            ("ANTHROPIC_WORK_ID", Some(&self.id)),
            ("ANTHROPIC_ENVIRONMENT_ID", Some(&self.environment_id)),
            ("ANTHROPIC_SESSION_ID", Some(&self.data.id)),
            ("ANTHROPIC_WORK_SECRET", self.secret.as_deref()),
            // The item has had none: one that this process has inherited is of another item.
            ("ANTHROPIC_WORK_LAST_HEARTBEAT", None),
        ]
    }
}

/// A command that runs.
pub struct Running {
    /// Its process, which leads a process group of its own.
    pub leader: Pid,
    /// Its standard input.
    pub input: OwnedFd,
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

/// Starts the command for an item.
pub fn start(command: &[OsString], item: &Item) -> io::Result<Running> {
    let (name, arguments) = command.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut process = Command::new(name);
    process.args(arguments).stdin(Stdio::piped()).process_group(0);
    for variable in notify::VARIABLES {
        process.env_remove(variable);
    }
    for (variable, value) in item.variables() {
        // A variable cannot hold a NUL.
        match value.filter(|value| !value.contains('\0')) {
            Some(value) => process.env(variable, value),
            None => process.env_remove(variable),
        };
    }
    // The child is reaped with all others: dropping it here leaves it alone.
    let mut child = process.spawn()?;
    let leader = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let input = child.stdin.take().map(OwnedFd::from);
    leader.zip(input).map(|(leader, input)| Running { leader, input }).ok_or_else(|| io::ErrorKind::Other.into())
}

/// Writes the item to the command's input. The command need not read it.
pub async fn feed(input: OwnedFd, json: String) {
    let Ok(mut input) = pipe::Sender::from_owned_fd(input) else { return };
    let _ = input.write_all(json.as_bytes()).await;
}
