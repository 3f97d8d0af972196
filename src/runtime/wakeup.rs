//! A flag that threads can sleep on and event loops can watch: a file descriptor that is readable while the flag is set.

use crate::error::{Error, Result, Status};
use std::time::Instant;

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

pub use imp::WakeupFd;

fn failed(e: impl std::fmt::Display) -> Error {
    Error::new(Status::Internal, format!("a file descriptor for the queue could not be made: {e}"))
}

#[cfg(unix)]
mod imp {
    use super::*;
    use nix::errno::Errno;
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
    use std::time::Duration;

    /// The flag. It is set and cleared in turn; clearing may come first, and then waits for its turn.
    #[derive(Debug)]
    pub struct WakeupFd {
        reader: OwnedFd,
        /// The other end, where it is not the same descriptor.
        writer: Option<OwnedFd>,
    }

    impl WakeupFd {
        /// A flag that is not set.
        #[cfg(any(target_os = "linux", target_os = "android"))]
        pub fn new() -> Result<WakeupFd> {
            use nix::sys::eventfd::{EfdFlags, EventFd};
            let fd = EventFd::from_flags(EfdFlags::EFD_CLOEXEC | EfdFlags::EFD_NONBLOCK).map_err(failed)?;
            Ok(WakeupFd { reader: fd.into(), writer: None })
        }

        /// A flag that is not set.
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

        /// Sets the flag, which is not set (or is, and about to be cleared).
        pub fn set(&self) {
            // An eventfd takes eight bytes, a number to add; a pipe any. There is room for both.
            let _ = nix::unistd::write(self.writer.as_ref().unwrap_or(&self.reader), &1u64.to_ne_bytes());
        }

        /// Clears the flag, which is set or about to be.
        pub fn clear(&self) {
            while let Err(Errno::EAGAIN | Errno::EINTR) = nix::unistd::read(&self.reader, &mut [0; 8]) {
                self.wait(None);
            }
        }

        /// Sleeps until the flag is set; `None`: however long that takes.
        pub fn wait(&self, until: Option<Instant>) -> WaitOutcome {
            loop {
                let left = until.map(|until| until.saturating_duration_since(Instant::now()));
                // Whole milliseconds, rounded up; what is longer than the system can wait is waited for in turns.
                let timeout = left.map_or(PollTimeout::NONE, |left| {
                    let rounded = left.saturating_add(Duration::from_nanos(999_999));
                    i32::try_from(rounded.as_millis()).ok().and_then(|ms| ms.try_into().ok()).unwrap_or(PollTimeout::MAX)
                });
                match poll(&mut [PollFd::new(self.as_fd(), PollFlags::POLLIN)], timeout) {
                    Ok(0) if left.is_some_and(|left| left > Duration::from_millis(i32::MAX as u64)) => {}
                    Ok(0) => return WaitOutcome::TimedOut,
                    Err(Errno::EINTR) => return WaitOutcome::Interrupted,
                    // An error that is not EINTR cannot be waited away; the caller looks for itself.
                    Ok(_) | Err(_) => return WaitOutcome::Signaled,
                }
            }
        }

        /// The number of the descriptor.
        pub fn number(&self) -> i32 {
            self.reader.as_raw_fd()
        }
    }

    impl AsFd for WakeupFd {
        fn as_fd(&self) -> BorrowedFd<'_> {
            self.reader.as_fd()
        }
    }
}

/// Where there are no such descriptors: threads can sleep, event loops cannot watch.
#[cfg(not(unix))]
mod imp {
    use super::*;
    use std::sync::{Condvar, Mutex, PoisonError};
    use std::time::Duration;

    /// The flag.
    #[derive(Debug, Default)]
    pub struct WakeupFd {
        set: Mutex<bool>,
        changed: Condvar,
    }

    impl WakeupFd {
        /// A flag that is not set.
        pub fn new() -> Result<WakeupFd> {
            Ok(WakeupFd::default())
        }

        /// Sets the flag.
        pub fn set(&self) {
            *self.set.lock().unwrap_or_else(PoisonError::into_inner) = true;
            self.changed.notify_all();
        }

        /// Clears the flag, which is set or about to be.
        pub fn clear(&self) {
            let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
            *self.changed.wait_while(set, |set| !*set).unwrap_or_else(PoisonError::into_inner) = false;
        }

        /// Sleeps until the flag is set; `None`: however long that takes.
        pub fn wait(&self, until: Option<Instant>) -> WaitOutcome {
            let left = until.map_or(Duration::MAX, |until| until.saturating_duration_since(Instant::now()));
            let set = self.set.lock().unwrap_or_else(PoisonError::into_inner);
            let outcome = self.changed.wait_timeout_while(set, left, |set| !*set).unwrap_or_else(PoisonError::into_inner);
            if outcome.1.timed_out() { WaitOutcome::TimedOut } else { WaitOutcome::Signaled }
        }

        /// There is none.
        pub fn number(&self) -> i32 {
            -1
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_wait_ends_when_the_flag_is_set_or_the_time_is_up() {
        let event = WakeupFd::new().unwrap();
        let soon = || Some(Instant::now() + Duration::from_millis(5));
        assert_eq!(event.wait(soon()), WaitOutcome::TimedOut);
        event.set();
        assert_eq!((event.wait(None), event.wait(soon())), (WaitOutcome::Signaled, WaitOutcome::Signaled));
        event.clear();
        assert_eq!(event.wait(soon()), WaitOutcome::TimedOut);
    }
}
