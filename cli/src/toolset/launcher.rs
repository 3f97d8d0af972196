//! The first stage, which the host starts: it starts the helper with a clean environment, and clears up when the helper has ended.
//!
//! It is not confined, holds the host's environment, and does nothing but wait. It ends the helper when it is asked to end by a signal;
//! when it is killed, the helper and everything below ends with it, but the private folder stays.

use super::processes::{kill_descendants, pid_of};
use super::sandbox::{Mode, namespaces};
use super::{Options, Settings, Stage};
use crate::output::Failure;
use nix::sys::signal::{SigSet, Signal};
use rustix::process::kill_process;
use std::env;
use std::ffi::OsString;
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio, exit};

/// What commands get of the environment: nothing that could be a secret.
const KEPT_VARIABLES: [&str; 8] = ["PATH", "LANG", "LANGUAGE", "TZ", "USER", "LOGNAME", "SHELL", "NO_COLOR"];
const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";
/// Never passed on, not even when asked for.
const SECRET_PREFIX: &str = "ANTHROPIC_";
/// This executable, also when another has taken the place of its file.
pub const OWN_EXECUTABLE: &str = "/proc/self/exe";

/// Starts the helper and waits for its end; exits with its exit code.
pub fn run(options: &Options) -> Result<(), Failure> {
    let failed = |what: &'static str| move |error: nix::Error| Failure::io(what, error.into());
    close_inherited_descriptors();
    heed_children().map_err(|error| Failure::io("SIGCHLD", error))?;
    let signals: SigSet = [Signal::SIGCHLD, Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP].into_iter().collect();
    signals.thread_block().map_err(failed("signals"))?;
    // Orphans of a helper that was killed are left to this process, which kills them.
    nix::sys::prctl::set_child_subreaper(true).map_err(failed("subreaper"))?;
    let in_namespace = options.sandbox != Mode::Off && enter_namespaces();
    // After the namespaces: the files of a process that cannot be dumped belong to root, and so they could not be set up.
    nix::sys::prctl::set_dumpable(false).map_err(failed("dumpable"))?;
    let private = PrivateFolder::make()?;
    let settings = settings(options, private.path.clone(), in_namespace)?;
    let mut command = stage_command(&Stage::Helper(settings))?;
    command.env_clear().envs(environment(options)).env("TMPDIR", private.path.join("tmp")).env("HOME", private.path.join("home"));
    let mut helper = command.spawn().map_err(|error| Failure::io("the helper", error))?;
    let status = wait(&mut helper, &signals)?;
    kill_descendants();
    drop(private);
    exit(status.code().unwrap_or(1))
}

/// Undoes what a host that ignores SIGCHLD passes on: children whose end cannot be waited for. A handler takes the place of that; the next
/// stages begin with the system's default.
fn heed_children() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let _context = runtime.enter();
    tokio::signal::unix::signal(tokio::signal::unix::SignalKind::child()).map(drop)
}

/// Makes the command that starts another stage.
pub fn stage_command(stage: &Stage) -> Result<Command, Failure> {
    let stage = serde_json::to_string(stage).map_err(|error| Failure::Message(format!("a path is not valid UTF-8: {error}")))?;
    let mut command = Command::new(OWN_EXECUTABLE);
    command.args(["toolset", "--stage", &stage]);
    Ok(command)
}

/// Enters namespaces if the system lets us. Half-way in there is no way back, so a process of its own tries first.
fn enter_namespaces() -> bool {
    let probe = stage_command(&Stage::Probe).and_then(|mut command| {
        let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        quiet.status().map_err(|error| Failure::io("the probe", error))
    });
    probe.is_ok_and(|status| status.success()) && namespaces::enter().is_ok()
}

fn settings(options: &Options, private: PathBuf, in_namespace: bool) -> Result<Settings, Failure> {
    let canonical = |path: &PathBuf| path.canonicalize().map_err(|error| Failure::io(&path.to_string_lossy(), error));
    let all = |paths: &[PathBuf]| paths.iter().map(canonical).collect::<Result<Vec<_>, _>>();
    let workdir = options.workdir.as_ref().ok_or_else(|| Failure::Message("--workdir is missing".to_owned()))?;
    Ok(Settings {
        workdir: canonical(workdir)?,
        memory: all(&options.memory)?,
        memory_read_only: all(&options.memory_read_only)?,
        read: all(&options.read)?,
        private,
        network: options.network,
        sandbox: options.sandbox,
        bash_timeout_ms: options.bash_timeout_ms,
        max_processes: options.max_processes,
        in_namespace,
    })
}

/// Returns the environment of the helper and of commands, but for the private folder.
fn environment(options: &Options) -> Vec<(OsString, OsString)> {
    let kept =
        |name: &str| KEPT_VARIABLES.contains(&name) || name.starts_with("LC_") || options.env.iter().any(|each| each == name);
    let mut variables: Vec<_> = env::vars_os()
        .filter(|(name, _)| name.to_str().is_some_and(|name| kept(name) && !name.starts_with(SECRET_PREFIX)))
        .collect();
    if !variables.iter().any(|(name, _)| name == "PATH") {
        variables.push(("PATH".into(), DEFAULT_PATH.into()));
    }
    variables
}

/// Closes what the host left open, but for the standard streams.
fn close_inherited_descriptors() {
    let names = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten().map(|entry| entry.file_name());
    let inherited: Vec<i32> = names.filter_map(|name| name.to_str()?.parse().ok()).filter(|number| *number > 2).collect();
    for number in inherited {
        // One of them was the directory's own, and is closed by now.
        let _ = nix::unistd::close(number);
    }
}

/// Waits for the helper's end. Asked to end by a signal, kills the helper.
fn wait(helper: &mut Child, signals: &SigSet) -> Result<ExitStatus, Failure> {
    loop {
        if let Some(status) = helper.try_wait().map_err(|error| Failure::io("the helper", error))? {
            return Ok(status);
        }
        let signal = signals.wait().map_err(|error| Failure::io("signals", error.into()))?;
        if signal != Signal::SIGCHLD
            && let Some(process) = pid_of(helper)
        {
            let _ = kill_process(process, rustix::process::Signal::KILL);
        }
    }
}

/// The folder that is TMPDIR and HOME of commands; removed when dropped.
struct PrivateFolder {
    path: PathBuf,
}

impl PrivateFolder {
    fn make() -> Result<PrivateFolder, Failure> {
        let path = env::temp_dir().join(format!("antenv-toolset-{:016x}", fastrand::u64(..)));
        let make = |path: &Path| DirBuilder::new().mode(0o700).create(path);
        let failed = |error: io::Error| Failure::io(&path.to_string_lossy(), error);
        make(&path).map_err(failed)?;
        let folder = PrivateFolder { path: path.canonicalize().map_err(failed)? };
        make(&folder.path.join("tmp")).map_err(failed)?;
        make(&folder.path.join("home")).map_err(failed)?;
        Ok(folder)
    }
}

impl Drop for PrivateFolder {
    fn drop(&mut self) {
        // Follows no symbolic link.
        if fs::remove_dir_all(&self.path).is_err() {
            make_removable(&self.path);
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Gives the owner the rights that removing a folder's content needs. No process is left that could put links there meanwhile.
fn make_removable(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o700));
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            make_removable(&entry.path());
        }
    }
}
