//! A flag that threads can wait for and event loops can watch: a file descriptor, on Windows a socket, that is readable while the
//! flag is set.

use crate::error::Result;
use std::time::{Duration, Instant};

/// How a wait ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WaitOutcome {
    /// The flag was set.
    Signaled,
    /// The time ran out.
    TimedOut,
    /// A signal handler ran in the waiting thread.
    Interrupted,
}

#[cfg(unix)]
pub use descriptors::{WakeupFd, pause};
#[cfg(not(unix))]
pub use sockets::{WakeupFd, pause};

/// How long a thread without a descriptor sleeps at a time.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(unix)]
mod descriptors {
    use super::*;
    use crate::error::{Error, Status};
    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

    fn failed(e: impl std::fmt::Display) -> Error {
        Error::new(Status::Internal, format!("a file descriptor for the queue could not be created: {e}"))
    }

    /// The flag. Setting and clearing alternate; clearing first waits until the flag is set.
    #[derive(Debug)]
    pub struct WakeupFd {
        reader: OwnedFd,
        /// The other end, if it is not the same descriptor.
        writer: Option<OwnedFd>,
    }

    impl WakeupFd {
        /// Makes a flag that is not set.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        pub fn new() -> Result<WakeupFd> {
            use nix::sys::eventfd::{EfdFlags, EventFd};
            let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(failed)?;
            Ok(WakeupFd { reader: fd.into(), writer: None })
        }

        /// Makes a flag that is not set.
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        pub fn new() -> Result<WakeupFd> {
            use nix::fcntl::{FcntlArg, FdFlag, OFlag, fcntl};
            let (reader, writer) = nix::unistd::pipe().map_err(failed)?;
            for end in [&reader, &writer] {
                fcntl(end, FcntlArg::F_SETFD(FdFlag::FD_CLOEXEC)).map_err(failed)?;
                fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).map_err(failed)?;
            }
            Ok(WakeupFd { reader, writer: Some(writer) })
        }

        /// Sets the flag, which is not set or about to be cleared.
        pub fn set(&self) {
            // An eventfd takes a number of eight bytes to add, a pipe any bytes. Both have room.
            let _ = nix::unistd::write(self.writer.as_ref().unwrap_or(&self.reader), &1u64.to_ne_bytes());
        }

        /// Clears the flag, which is set or about to be set.
        pub fn clear(&self) {
            while let Err(Errno::EAGAIN | Errno::EINTR) = nix::unistd::read(&self.reader, &mut [0; 8]) {
                self.wait(None);
            }
        }

        /// Waits until the flag is set, up to `deadline` (`None`: without limit).
        pub fn wait(&self, deadline: Option<Instant>) -> WaitOutcome {
            loop {
                let remaining = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
                // A wait longer than the system supports is split.
                let timeout = remaining.map_or(PollTimeout::NONE, whole_milliseconds);
                match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout) {
                    Ok(0) if remaining.is_some_and(|remaining| remaining > Duration::from_millis(i32::MAX as u64)) => {}
                    Ok(0) => return WaitOutcome::TimedOut,
                    Err(Errno::EINTR) => return WaitOutcome::Interrupted,
                    // Waiting does not help against other errors than EINTR; the caller checks the state itself.
                    Ok(_) | Err(_) => return WaitOutcome::Signaled,
                }
            }
        }

        /// Returns the number of the descriptor.
        pub fn number(&self) -> i32 {
            self.reader.as_raw_fd()
        }
    }

    /// Sleeps for a moment, not beyond `deadline`, without a descriptor.
    pub fn pause(deadline: Option<Instant>) -> WaitOutcome {
        let remaining = deadline.map_or(PAUSE, |deadline| deadline.saturating_duration_since(Instant::now()));
        match poll(&mut [], whole_milliseconds(remaining.min(PAUSE))) {
            Err(Errno::EINTR) => WaitOutcome::Interrupted,
            _ => WaitOutcome::TimedOut,
        }
    }

    /// Rounds up.
    fn whole_milliseconds(duration: Duration) -> PollTimeout {
        let rounded = duration.saturating_add(Duration::from_nanos(999_999));
        i32::try_from(rounded.as_millis()).ok().and_then(|ms| ms.try_into().ok()).unwrap_or(PollTimeout::MAX)
    }

    impl AsFd for WakeupFd {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.reader.as_fd()
        }
    }
}

/// The implementation where event loops watch sockets alone: threads wait for a condition variable, and a pair of sockets exists once
/// a loop asks for the number of one.
#[cfg(any(not(unix), test))]
mod sockets {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{Ipv4Addr, TcpListener, TcpStream};
    use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

    /// The flag.
    #[derive(Debug, Default)]
    pub struct WakeupFd {
        state: Mutex<State>,
        changed: Condvar,
    }

    #[derive(Debug, Default)]
    struct State {
        set: bool,
        watched: Option<Pair>,
    }

    /// Two connected sockets: `reader` has a byte to read while the flag is set.
    #[derive(Debug)]
    struct Pair {
        reader: TcpStream,
        writer: TcpStream,
    }

    impl Pair {
        fn new() -> std::io::Result<Pair> {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
            let writer = TcpStream::connect(listener.local_addr()?)?;
            writer.set_nodelay(true)?;
            // Another program of this machine may have connected first.
            loop {
                let (reader, from) = listener.accept()?;
                if from == writer.local_addr()? {
                    return Ok(Pair { reader, writer });
                }
            }
        }
    }

    impl WakeupFd {
        /// Makes a flag that is not set.
        pub fn new() -> Result<WakeupFd> {
            Ok(WakeupFd::default())
        }

        fn lock(&self) -> MutexGuard<'_, State> {
            self.state.lock().unwrap_or_else(PoisonError::into_inner)
        }

        /// Sets the flag, which is not set or about to be cleared.
        pub fn set(&self) {
            let mut state = self.lock();
            state.set = true;
            if let Some(mut writer) = state.watched.as_ref().map(|pair| &pair.writer) {
                let _ = writer.write_all(&[1]);
            }
            drop(state);
            self.changed.notify_all();
        }

        /// Clears the flag, which is set or about to be set.
        pub fn clear(&self) {
            let mut state = self.changed.wait_while(self.lock(), |state| !state.set).unwrap_or_else(PoisonError::into_inner);
            state.set = false;
            if let Some(mut reader) = state.watched.as_ref().map(|pair| &pair.reader) {
                let _ = reader.read_exact(&mut [0]);
            }
        }

        /// Waits until the flag is set, up to `deadline` (`None`: without limit).
        pub fn wait(&self, deadline: Option<Instant>) -> WaitOutcome {
            let remaining = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            let waited = self.changed.wait_timeout_while(self.lock(), remaining, |state| !state.set);
            let timed_out = waited.unwrap_or_else(PoisonError::into_inner).1.timed_out();
            if timed_out { WaitOutcome::TimedOut } else { WaitOutcome::Signaled }
        }

        /// Returns the number of the socket, or -1 if none can be had.
        pub fn number(&self) -> i32 {
            let mut state = self.lock();
            if state.watched.is_none() {
                let Ok(pair) = Pair::new() else { return -1 };
                if state.set && (&pair.writer).write_all(&[1]).is_err() {
                    return -1;
                }
                state.watched = Some(pair);
            }
            state.watched.as_ref().map_or(-1, |pair| number_of(&pair.reader))
        }
    }

    #[cfg(unix)]
    fn number_of(socket: &TcpStream) -> i32 {
        std::os::fd::AsRawFd::as_raw_fd(socket)
    }

    /// Windows numbers its handles by 32 bits on every architecture.
    #[cfg(windows)]
    fn number_of(socket: &TcpStream) -> i32 {
        std::os::windows::io::AsRawSocket::as_raw_socket(socket).try_into().unwrap_or(-1)
    }

    /// Sleeps for a moment, not beyond `deadline`.
    #[cfg(not(unix))]
    pub fn pause(deadline: Option<Instant>) -> WaitOutcome {
        let remaining = deadline.map_or(PAUSE, |deadline| deadline.saturating_duration_since(Instant::now()));
        std::thread::sleep(remaining.min(PAUSE));
        WaitOutcome::TimedOut
    }

    #[cfg(all(test, unix))]
    mod tests {
        use super::*;
        use nix::poll::{PollFd, PollFlags, poll};
        use std::os::fd::AsFd;

        /// Whatever the flag was when its number was asked for.
        #[test]
        fn a_socket_is_readable_while_the_flag_is_set() {
            for set_before in [false, true] {
                let wakeup = WakeupFd::new().unwrap();
                if set_before {
                    wakeup.set();
                }
                assert!(wakeup.number() >= 0 && wakeup.number() == wakeup.number());
                let socket = wakeup.lock().watched.as_ref().unwrap().reader.try_clone().unwrap();
                let readable = |ms: u16| poll(&mut [PollFd::new(socket.as_fd(), PollFlags::POLLIN)], ms).unwrap() == 1;
                if !set_before {
                    assert!(!readable(0));
                    wakeup.set();
                }
                for _ in 0..3 {
                    assert!(readable(60_000));
                    wakeup.clear();
                    assert!(!readable(0));
                    wakeup.set();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    macro_rules! check {
        ($name:ident, $WakeupFd:ty) => {
            #[test]
            fn $name() {
                let wakeup = <$WakeupFd>::new().unwrap();
                let soon = || Some(Instant::now() + Duration::from_millis(5));
                assert_eq!(wakeup.wait(soon()), WaitOutcome::TimedOut);
                wakeup.set();
                assert_eq!((wakeup.wait(None), wakeup.wait(soon())), (WaitOutcome::Signaled, WaitOutcome::Signaled));
                wakeup.clear();
                assert_eq!(wakeup.wait(soon()), WaitOutcome::TimedOut);
            }
        };
    }
    check!(a_wait_ends_when_the_flag_is_set_or_the_time_is_up, WakeupFd);
    check!(a_wait_with_sockets_ends_when_the_flag_is_set_or_the_time_is_up, sockets::WakeupFd);
}
