//! What systemd is told (sd_notify): that the worker is ready, that it is stopping, and that it is alive.

use std::env;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process;
use std::time::Duration;

/// The variables of the service manager. They are this process's own: its commands do not get them.
pub const VARIABLES: [&str; 3] = ["NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"];

/// The connection to the service manager, if there is one.
pub struct Notifier {
    socket: Option<UnixDatagram>,
    watchdog: Option<Duration>,
}

impl Notifier {
    /// Reads the variables of the service manager. Without them, or if the socket cannot be reached, nothing is ever sent.
    pub fn from_env() -> Notifier {
        let socket = env::var("NOTIFY_SOCKET").ok().and_then(|name| connect(&name).ok());
        let variable = |name: &str| env::var(name).ok()?.parse::<u64>().ok();
        let is_for_this_process = variable("WATCHDOG_PID").is_none_or(|pid| pid == u64::from(process::id()));
        let watchdog = variable("WATCHDOG_USEC").filter(|timeout| is_for_this_process && *timeout > 1);
        // Twice in each period, as systemd advises.
        Notifier { watchdog: watchdog.filter(|_| socket.is_some()).map(|timeout| Duration::from_micros(timeout / 2)), socket }
    }

    /// Returns how often to send `WATCHDOG=1`, if at all.
    pub fn watchdog(&self) -> Option<Duration> {
        self.watchdog
    }

    /// Sends a state, such as `READY=1`. Does not block, and may fail: the service manager's deadlines decide then.
    pub fn send(&self, state: &str) {
        if let Some(socket) = &self.socket {
            let _ = socket.send(state.as_bytes());
        }
    }
}

/// Connects to the socket with this name: a path, or an abstract one after `@`.
fn connect(name: &str) -> io::Result<UnixDatagram> {
    let socket = UnixDatagram::unbound()?;
    socket.set_nonblocking(true)?;
    socket.connect_addr(&address(name)?)?;
    Ok(socket)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn address(name: &str) -> io::Result<SocketAddr> {
    use std::os::linux::net::SocketAddrExt;
    name.strip_prefix('@').map_or_else(|| SocketAddr::from_pathname(name), SocketAddr::from_abstract_name)
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
fn address(name: &str) -> io::Result<SocketAddr> {
    SocketAddr::from_pathname(name)
}
