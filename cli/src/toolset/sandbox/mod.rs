//! Confinement of the helper and of everything below it (docs/security.md).
//!
//! | what | confines |
//! |---|---|
//! | [`namespaces`] | which processes there are, how many, and that all of them end; read-only mounts |
//! | [`landlock`] | reading, writing, TCP, signals, other processes' memory |
//! | [`seccomp`] | sockets, and system calls that no tool needs |
//! | [`limits`] | capabilities, sizes, descriptors, who is killed when memory is short |

pub mod landlock;
pub mod limits;
pub mod namespaces;
pub mod seccomp;

use super::Settings;
use cap_std::fs::Dir;
use clap::ValueEnum;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::path::PathBuf;

/// How much confinement is asked for.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mode {
    Auto,
    Required,
    Off,
}

/// What is in force. The line at start says it to the host; each member is a promise.
#[derive(Serialize)]
pub struct Confinement {
    sandbox: Mode,
    /// The version of Landlock's interface; 0: there is none.
    landlock_abi: u32,
    /// Files are written only below the working directory, the memory directories and the private folder.
    writes: bool,
    /// Files are read only there, below the system's directories, and where `--read` allows it.
    reads: bool,
    /// Modes, owners, times and attributes are changed only where files are written.
    metadata: bool,
    /// `denied`: there are no sockets but pairs. `tcp_denied`: no TCP. `allowed`: all of it.
    network: &'static str,
    /// Processes outside cannot be signalled.
    signals: bool,
    /// Memory and environment of the helper and of processes outside cannot be read.
    memory: bool,
    /// Processes outside cannot be seen.
    processes: bool,
    /// Processes and threads there may be at once; null: as many as the system allows.
    max_processes: Option<u32>,
    /// Everything that commands started ends with the helper, even when the helper is killed.
    kill: bool,
    /// No privilege is held, and none can be gained.
    privileges: bool,
    /// What the kernel or the system could not give.
    missing: Vec<String>,
}

impl Confinement {
    pub fn is_on(&self) -> bool {
        self.sandbox != Mode::Off
    }

    fn off() -> Confinement {
        Confinement {
            sandbox: Mode::Off,
            landlock_abi: 0,
            writes: false,
            reads: false,
            metadata: false,
            network: "allowed",
            signals: false,
            memory: false,
            processes: false,
            max_processes: None,
            kill: false,
            privileges: false,
            missing: Vec::new(),
        }
    }
}

/// Confines this process, which has one thread as yet. Fails if something is missing that is required. Returns the memory directories, too,
/// that only this process can write, opened.
pub fn confine(settings: &Settings) -> Result<(Confinement, HashMap<PathBuf, Dir>), String> {
    limits::protect().map_err(|error| format!("limits: {error}"))?;
    if settings.sandbox == Mode::Off {
        return Ok((Confinement::off(), HashMap::new()));
    }
    let mut missing = Vec::new();
    let mut note = |problem: String| missing.push(problem);
    let mut mounts = match settings.in_namespace {
        true => namespaces::set_up(settings, &mut note),
        false => {
            note("process and mount namespaces: not permitted".to_owned());
            namespaces::Mounts::default()
        }
    };
    let max_processes = mounts.max_processes.or_else(|| limits::limit_processes(settings.max_processes));
    if max_processes.is_none() {
        note("a limit of processes: none that holds for root".to_owned());
    }
    let privileges = match limits::drop_privileges() {
        Ok(()) => true,
        Err(error) => {
            note(format!("capabilities: {error}"));
            false
        }
    };
    let abi = match landlock::restrict(settings) {
        Ok(abi) => abi,
        Err(problem) => {
            note(format!("Landlock: {problem}"));
            0
        }
    };
    if (1..landlock::COMPLETE_ABI).contains(&abi) {
        note(format!("Landlock ABI {abi}: less than {}", landlock::COMPLETE_ABI));
    }
    let filtered = match seccomp::restrict(settings.network, abi == 0) {
        Ok(()) => true,
        Err(problem) => {
            note(format!("seccomp: {problem}"));
            false
        }
    };
    if settings.sandbox == Mode::Required && !missing.is_empty() {
        return Err(format!("the sandbox is required, and this is missing: {}", missing.join("; ")));
    }
    let opened = std::mem::take(&mut mounts.memory);
    let confinement = Confinement {
        sandbox: settings.sandbox,
        landlock_abi: abi,
        writes: abi >= landlock::TRUNCATE_ABI || (abi > 0 && mounts.read_only),
        reads: abi > 0,
        metadata: mounts.read_only,
        network: match (settings.network, filtered) {
            (true, _) => "allowed",
            (false, true) => "denied",
            (false, false) if abi >= landlock::TCP_ABI => "tcp_denied",
            (false, false) => "allowed",
        },
        signals: settings.in_namespace || abi >= landlock::SIGNAL_ABI,
        memory: abi > 0,
        processes: mounts.own_proc,
        max_processes,
        kill: settings.in_namespace,
        privileges,
        missing,
    };
    Ok((confinement, opened))
}

/// Confines the process that becomes a shell once more, so that nothing below it reaches the helper, or writes anywhere but in these
/// directories.
pub fn confine_shell(writable: &[PathBuf]) -> Result<(), String> {
    landlock::restrict_shell(writable).map_err(|problem| format!("Landlock: {problem}"))
}
