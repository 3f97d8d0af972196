//! A flag that threads can wait for and event loops can watch: a file descriptor that is readable while the flag is set.

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

pub use imp::{WakeupFd, pause};

/// How long a thread without a descriptor sleeps at a time.
const PAUSE: Duration = Duration::from_millis(10);

#[cfg(unix)]
mod imp {
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

/// The implementation without descriptors: threads can wait, event loops cannot watch.
#[cfg(not(unix))]
mod imp {
    use super::*;
    use std::sync::{Condvar, Mutex, PoisonError};

    /// The flag.
    #[derive(Debug, Default)]
    pub struct WakeupFd {
        set: Mutex<bool>,
        changed: Condvar,
    }

    impl WakeupFd {
        /// Makes a flag that is not set.
        pub fn new() -> Result<WakeupFd> {
            Ok(WakeupFd::default())
        }

        /// Sets the flag.
        pub fn set(&self) {
            *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.changed.notify_all();
        }

        /// Clears the flag, which is set or about to be set.
        pub fn clear(&self) {
            let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
            *self.changed.wait_while(set, |set| !*set).unwrap_or_else(PoisonError::into_inner) = false;
        }

        /// Waits until the flag is set, up to `deadline` (`None`: without limit).
        pub fn wait(&self, deadline: Option<Instant>) -> WaitOutcome {
            let remaining = deadline.map_or(Duration::MAX, |deadline| deadline.saturating_duration_since(Instant::now()));
            let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = self.changed.wait_timeout_while(set, remaining, |set| !*set).unwrap_or_else(PoisonError::into_inner);
            if outcome.1.timed_out() { WaitOutcome::TimedOut } else { WaitOutcome::Signaled }
        }

        /// Returns -1: there is no descriptor.
        pub fn number(&self) -> i32 {
            -1
        }
    }

    /// Sleeps for a moment, not beyond `deadline`.
    pub fn pause(deadline: Option<Instant>) -> WaitOutcome {
        let remaining = deadline.map_or(PAUSE, |deadline| deadline.saturating_duration_since(Instant::now()));
        std::thread::sleep(remaining.min(PAUSE));
        WaitOutcome::TimedOut
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_ends_when_the_flag_is_set_or_the_time_is_up() {
        let wakeup = WakeupFd::new().unwrap();
        let soon = || Some(Instant::now() + Duration::from_millis(5));
        assert_eq!(wakeup.wait(soon()), WaitOutcome::TimedOut);
        wakeup.set();
        assert_eq!((wakeup.wait(None), wakeup.wait(soon())), (WaitOutcome::Signaled, WaitOutcome::Signaled));
        wakeup.clear();
        assert_eq!(wakeup.wait(soon()), WaitOutcome::TimedOut);
    }
}
