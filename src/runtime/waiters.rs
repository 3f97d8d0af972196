//! Threads that wait for a state to change, each woken alone.

use super::fork::{ForkSafeMutex, ProcessLocal};
use super::wakeup::{WaitOutcome, WakeupFd, pause};
use crate::error::{Error, Result, Status};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

thread_local! {
    /// Wakes this thread.
    static THREAD_WAKEUP: RefCell<Option<ProcessLocal<Arc<WakeupFd>>>> = const { RefCell::new(None) };
}

/// The threads that sleep until a state changes, in the order of arrival. It is a part of that state, under its lock.
#[derive(Debug, Default)]
pub struct Waiters(VecDeque<Arc<WakeupFd>>);

/// A waiter that was removed from the list. Only this wakes it, so dropping this wakes it in any case: drop it after unlocking the state.
#[must_use]
pub struct WakeOnDrop(Arc<WakeupFd>);

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl Waiters {
    /// Removes up to `count` threads, to be woken.
    pub fn take(&mut self, count: usize) -> Vec<WakeOnDrop> {
        let count = count.min(self.0.len());
        self.0.drain(..count).map(WakeOnDrop).collect()
    }

    /// Removes all threads, to be woken.
    pub fn take_all(&mut self) -> Vec<WakeOnDrop> {
        self.take(usize::MAX)
    }

    fn remove(&mut self, wakeup: &Arc<WakeupFd>) -> bool {
        let at = self.0.iter().position(|other| Arc::ptr_eq(other, wakeup));
        at.is_some_and(|at| self.0.remove(at).is_some())
    }
}

/// Waits up to `timeout` (`None`: without limit) until `check` returns something, and returns that. `check` is called again whenever
/// this thread was woken; `waiters` returns the state's list.
///
/// A thread that does not have to wait needs no descriptor; one that gets none, because all are in use, looks again every few milliseconds.
///
/// Errors: `TIMEOUT`; `INTERRUPTED` if a signal handler ran in this thread.
pub fn wait_for<S, T>(
    state: &ForkSafeMutex<S>,
    waiters: impl Fn(&mut S) -> &mut Waiters,
    timeout: Option<Duration>,
    mut check: impl FnMut(&mut S) -> Option<T>,
) -> Result<T> {
    let timed_out = || Error::new(Status::Timeout, "nothing came in time");
    let interrupted = || Error::new(Status::Interrupted, "a signal handler ran in the waiting thread");
    let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
    loop {
        let mut locked = state.lock();
        if let Some(found) = check(&mut locked) {
            return Ok(found);
        }
        if until.is_some_and(|until| until <= Instant::now()) {
            return Err(timed_out());
        }
        let Ok(wakeup) = thread_wakeup() else {
            drop(locked);
            if pause(until) == WaitOutcome::Interrupted {
                return Err(interrupted());
            }
            continue;
        };
        waiters(&mut locked).0.push_back(wakeup.clone());
        drop(locked);
        let woken = wakeup.wait(until);
        if !waiters(&mut state.lock()).remove(&wakeup) {
            // This thread was woken, perhaps at the last moment: there is something to look at.
            wakeup.clear();
            continue;
        }
        return Err(match woken {
            WaitOutcome::Interrupted => interrupted(),
            WaitOutcome::TimedOut | WaitOutcome::Signaled => timed_out(),
        });
    }
}

/// Returns the wake-up descriptor of this thread. A forked child creates its own.
fn thread_wakeup() -> Result<Arc<WakeupFd>> {
    THREAD_WAKEUP.with_borrow_mut(|wakeup| match wakeup.as_ref().and_then(ProcessLocal::get) {
        Some(known) => Ok(known.clone()),
        None => {
            let fresh = Arc::new(WakeupFd::new()?);
            *wakeup = Some(ProcessLocal::new(fresh.clone()));
            Ok(fresh)
        }
    })
}
