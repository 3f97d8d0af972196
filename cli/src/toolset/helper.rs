//! The second stage, which serves the tools, and the third, which becomes bash.

use super::launcher::stage_command;
use super::processes::Processes;
use super::roots::Roots;
use super::sandbox::{self, Confinement};
use super::server::{self, PROTOCOL, TOOLS};
use super::shell::Shell;
use super::{Settings, ShellSettings, Stage};
use crate::output::Failure;
use cap_std::ambient_authority;
use cap_std::fs::Dir;
use nix::sys::signal::{SigSet, Signal};
use serde::Serialize;
use std::env;
use std::ffi::OsString;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, exit};
use std::time::Duration;

/// The first line of the output.
#[derive(Serialize)]
#[serde(tag = "type", rename = "ready")]
struct Ready<'a> {
    protocol: u32,
    version: &'static str,
    tools: [&'static str; 6],
    workdir: &'a Path,
    tmpdir: &'a Path,
    confinement: &'a Confinement,
}

/// Confines this process, and serves the tools until the input ends. Then nothing that they started is left.
pub fn run(settings: &Settings) -> Result<(), Failure> {
    begin_session()?;
    nix::sys::prctl::set_child_subreaper(true).map_err(|error| Failure::io("subreaper", error.into()))?;
    let (confinement, opened) = sandbox::confine(settings).map_err(Failure::Message)?;
    let roots = Roots::open(&directories(settings), opened);
    let roots = roots.map_err(|error| Failure::io(&settings.workdir.to_string_lossy(), error))?;
    let tmp = Dir::open_ambient_dir(settings.private.join("tmp"), ambient_authority());
    let tmp = tmp.map_err(|error| Failure::io("the private folder", error))?;
    let processes = Processes::new(settings.in_namespace).map_err(|error| Failure::io("threads", error))?;
    let shell_settings = ShellSettings {
        workdir: settings.workdir.clone(),
        confined: confinement.is_on(),
        writable: writable(settings).cloned().collect(),
    };
    // Once before the first: it cannot fail later.
    stage_command(&Stage::Shell(shell_settings.clone()))?;
    let start = move || stage_command(&Stage::Shell(shell_settings.clone())).unwrap_or_else(|_| Command::new("/nonexistent"));
    let shell = Shell::new(Box::new(start), processes.clone(), Duration::from_millis(settings.bash_timeout_ms));
    server::write_line(&Ready {
        protocol: PROTOCOL,
        version: env!("CARGO_PKG_VERSION"),
        tools: TOOLS,
        workdir: &settings.workdir,
        tmpdir: &settings.private.join("tmp"),
        confinement: &confinement,
    });
    let outcome = server::serve(roots, tmp, shell);
    processes.kill_all();
    outcome.map_err(|error| Failure::io("standard input", error))?;
    // At once, whatever the threads are doing.
    exit(0)
}

/// Confines this process once more, and becomes bash.
pub fn become_shell(settings: &ShellSettings) -> Result<(), Failure> {
    begin_session()?;
    if settings.confined {
        sandbox::confine_shell(&settings.writable).map_err(Failure::Message)?;
    }
    env::set_current_dir(&settings.workdir).map_err(|error| Failure::io("the working directory", error))?;
    let mut bash = Command::new("/bin/bash");
    bash.arg0("bash").args(["--noprofile", "--norc"]);
    bash.env("PATH", accessible_path()).envs([("PS1", ""), ("PS2", ""), ("TERM", "dumb"), ("HISTFILE", "")]);
    Err(Failure::io("/bin/bash", bash.exec()))
}

/// Returns PATH without the directories that cannot be read: a program would be found there, and could not be executed.
fn accessible_path() -> OsString {
    let path = env::var_os("PATH").unwrap_or_default();
    env::join_paths(env::split_paths(&path).filter(|directory| directory.read_dir().is_ok())).unwrap_or(path)
}

/// Begins a session and a process group of this process's own; it is killed when the one that started it ends.
fn begin_session() -> Result<(), Failure> {
    // The launcher blocks those that it waits for.
    SigSet::all().thread_unblock().map_err(|error| Failure::io("signals", error.into()))?;
    nix::unistd::setsid().map_err(|error| Failure::io("session", error.into()))?;
    nix::sys::prctl::set_pdeathsig(Signal::SIGKILL).map_err(|error| Failure::io("death signal", error.into()))
}

/// The directories of the tools that use files, the working directory first, and whether they may be written.
fn directories(settings: &Settings) -> Vec<(PathBuf, bool)> {
    let writable = [&settings.workdir].into_iter().chain(&settings.memory).map(|path| (path.clone(), true));
    writable.chain(settings.memory_read_only.iter().map(|path| (path.clone(), false))).collect()
}

/// The directories that commands may write in.
fn writable(settings: &Settings) -> impl Iterator<Item = &PathBuf> {
    [&settings.workdir, &settings.private].into_iter().chain(&settings.memory)
}
