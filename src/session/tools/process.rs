//! The process of a helper.
//!
//! It is known by a descriptor, never by its number: a host that ignores SIGCHLD, or that waits for all its children, has the number freed
//! at any moment. The descriptor is opened right after the start, long before the kernel has given out all other numbers.
//!
//! ```text
//! start ──► runs ──► our end of its input is shut down ──► it ends everything below it, and itself ──► reaped
//!             │                                        └── takes too long: killed ─────────────────────┘
//!             └── dies
//! ```
//!
//! The socket is shut down, not only closed: a process that the host has forked may have it open as well.

use super::config::HelperConfig;
use super::helper::Directories;
use crate::runtime::fork::ForkSafeMutex;
use crate::runtime::{Critical, without_signals};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions, pidfd_open, pidfd_send_signal, waitid};
use std::io;
use std::net::Shutdown;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;
use tokio::sync::mpsc;

/// How long a helper may take to end; how long one that was killed may.
const END_TIMEOUT: u16 = 10_000;
const KILL_TIMEOUT: u16 = 5_000;
/// How the name of a private folder begins.
const FOLDER_PREFIX: &str = "antenv-toolset-";
/// The name of the thread that waits for that.
const THREAD_NAME: &str = "antenv-helper";

/// Held while the helper's end of the socket is open in this process: a child that is forked then would keep it open, and the helper's death
/// would go unseen.
static STARTING: ForkSafeMutex<()> = ForkSafeMutex::new(());

/// A process, ended when dropped.
pub struct HelperProcess(Option<Parts>);

struct Parts {
    pidfd: OwnedFd,
    /// Our end of its standard input and output.
    socket: UnixStream,
    /// Its private folder, which stays if it is killed.
    folder: Option<PathBuf>,
    /// The end of the runtime, and that of the session, wait for that of the process.
    _critical: Critical,
    _alive: Alive,
}

/// Held while a process is there. When all clones are dropped, the receiver of the channel is notified.
pub type Alive = mpsc::Sender<()>;

/// The streams of a process that has just started.
pub struct Streams {
    /// Its standard input and output.
    pub socket: UnixStream,
    /// Its standard error.
    pub errors: OwnedFd,
}

impl HelperProcess {
    /// Starts a helper. Blocks until it is being executed.
    pub fn start(
        config: &HelperConfig,
        directories: &Directories,
        critical: Critical,
        alive: Alive,
    ) -> io::Result<(HelperProcess, Streams)> {
        let no_fork = STARTING.lock();
        let (socket, theirs) = UnixStream::pair()?;
        let mut command = command(config, directories);
        command.stdin(OwnedFd::from(theirs.try_clone()?)).stdout(OwnedFd::from(theirs)).stderr(Stdio::piped());
        let mut child = command.spawn()?;
        // Closes our copies of its end.
        drop(command);
        drop(no_fork);
        let pidfd = pidfd_open(Pid::from_child(&child), PidfdFlags::empty())?;
        let ours = socket.try_clone()?;
        let process = HelperProcess(Some(Parts { pidfd, socket: ours, folder: None, _critical: critical, _alive: alive }));
        let errors = child.stderr.take().ok_or(io::ErrorKind::BrokenPipe)?.into();
        Ok((process, Streams { socket, errors }))
    }

    /// Has the process's private folder removed when it has ended, if it has not done that itself. `tmpdir` is in it.
    pub fn owns(&mut self, tmpdir: &str) {
        let folder = Path::new(tmpdir).parent().filter(|folder| {
            let name = folder.file_name().unwrap_or_default().to_string_lossy();
            name.starts_with(FOLDER_PREFIX)
        });
        if let Some(parts) = &mut self.0 {
            parts.folder = folder.map(Path::to_owned);
        }
    }
}

/// Ends the process with everything that it has started. Does not block: a thread waits for that.
impl Drop for HelperProcess {
    fn drop(&mut self) {
        let Some(parts) = self.0.take() else { return };
        let _ = parts.socket.shutdown(Shutdown::Both);
        let pidfd = parts.pidfd.try_clone();
        let thread = thread::Builder::new().name(THREAD_NAME.to_owned());
        if without_signals(|| thread.spawn(move || parts.reap())).is_err()
            && let Ok(pidfd) = pidfd
        {
            // Nothing can wait for it.
            let _ = pidfd_send_signal(pidfd, Signal::KILL);
        }
    }
}

impl Parts {
    fn reap(&self) {
        if !self.exits_within(END_TIMEOUT) {
            let _ = pidfd_send_signal(&self.pidfd, Signal::KILL);
            self.exits_within(KILL_TIMEOUT);
        }
        // Fails if the host has reaped it, or the kernel has because the host ignores SIGCHLD.
        let _ = waitid(WaitId::PidFd(self.pidfd.as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        // Follows no symbolic link.
        let _ = self.folder.as_ref().map(std::fs::remove_dir_all);
    }

    fn exits_within(&self, milliseconds: u16) -> bool {
        let mut watched = [PollFd::new(self.pidfd.as_fd(), PollFlags::POLLIN)];
        poll(&mut watched, PollTimeout::from(milliseconds)).is_ok_and(|ready| ready > 0)
    }
}

fn command(config: &HelperConfig, directories: &Directories) -> Command {
    let mut command = Command::new(&config.path);
    command.args(["toolset", "--sandbox", &config.sandbox]).arg("--workdir").arg(&config.workdir);
    if config.network {
        command.arg("--network");
    }
    let time = config.limits.tool_timeout.unwrap_or(Duration::from_secs(86_400)).as_millis().to_string();
    command.args(["--bash-timeout-ms", &time]);
    for name in &config.env {
        command.arg(format!("--env={name}"));
    }
    for (option, paths) in [("--memory", &directories.memory), ("--memory-read-only", &directories.memory_read_only)] {
        for path in paths {
            command.arg(option).arg(path);
        }
    }
    command.env_clear().envs(config.variables.iter().cloned());
    // A group of its own: Ctrl-C on a terminal is the host's business.
    command.process_group(0);
    command
}
