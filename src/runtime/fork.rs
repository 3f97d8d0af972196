//! Surviving `fork()`.
//!
//! A forked child has the memory of its parent but only one of its threads. This has two consequences, each with a small tool here:
//!
//! - A lock that another thread held during the fork would stay locked in the child forever. So every lock of the library is a
//!   [`ForkSafeMutex`]: it is held only within a section, and a fork waits until no thread is in one. Sections are short and never block.
//! - The parent's runtime (its thread, sockets, calls) does not exist in the child, and touching its remains would disturb the parent or
//!   hang. So such objects are [`ProcessLocal`] to the process that made them: a child can neither reach nor drop them.
//!
//! ```text
//! parent   ... sections ...  | prepare: shut the gate, wait for sections | fork | parent: open the gate
//! child                                                                   `----> child: open the gate, next epoch
//! ```
//!
//! `ffi::process` registers the three handlers with the system. The state is a word of memory and a few thread-local flags, so it needs
//! no lock.

use crate::error::{Error, Status};
use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// The number of active sections; in the upper half the number of active forks (two threads may fork at once).
static GATE: AtomicU64 = AtomicU64::new(0);
const FORK: u64 = 1 << 32;

/// The number of forks between the process that loaded the library and this one.
static EPOCH: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Whether this thread is in a section.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread's fork did not shut the gate, because a signal handler forked within a section.
    static UNGATED: Cell<bool> = const { Cell::new(false) };
}

/// A section of code during which the process does not fork. Sections may nest.
struct Section {
    outermost: bool,
}

impl Section {
    fn enter() -> Section {
        if INSIDE.replace(true) {
            return Section { outermost: false };
        }
        while GATE.fetch_add(1, SeqCst) >= FORK {
            GATE.fetch_sub(1, SeqCst);
            wait_while(|| GATE.load(SeqCst) >= FORK);
        }
        Section { outermost: true }
    }
}

impl Drop for Section {
    fn drop(&mut self) {
        if self.outermost {
            INSIDE.set(false);
            GATE.fetch_sub(1, SeqCst);
        }
    }
}

fn wait_while(condition: impl Fn() -> bool) {
    for round in 0u32.. {
        if !condition() {
            return;
        }
        if round < 100 { std::thread::yield_now() } else { std::thread::sleep(Duration::from_micros(50)) }
    }
}

/// Shuts the gate before a fork, in the thread that forks.
pub extern "C" fn prepare() {
    if INSIDE.get() {
        // Waiting for our own section would hang. The parent continues unharmed, and so does a child that calls `exec`.
        return UNGATED.set(true);
    }
    GATE.fetch_add(FORK, SeqCst);
    wait_while(|| GATE.load(SeqCst) & (FORK - 1) != 0);
}

/// Opens the gate after a fork, in the parent.
pub extern "C" fn parent() {
    if !UNGATED.replace(false) {
        GATE.fetch_sub(FORK, SeqCst);
    }
}

/// Opens the gate after a fork, in the child, and starts the next epoch.
pub extern "C" fn child() {
    UNGATED.set(false);
    EPOCH.fetch_add(1, SeqCst);
    GATE.store(INSIDE.get().into(), SeqCst);
}

/// Returns the number of forks between the process that loaded the library and this one. Only a fork changes it.
pub fn epoch() -> u32 {
    EPOCH.load(SeqCst)
}

/// Makes the error for the use of an object that belongs to the parent.
pub fn used_after_fork(object: &str) -> Error {
    Error::new(Status::Closed, format!("the {object} was created before fork(); it cannot be used in the child"))
}

/// A mutex that is never locked in a forked child. Hold it only briefly, and never while blocking.
#[derive(Debug, Default)]
pub struct ForkSafeMutex<T>(Mutex<T>);

/// A guard of a locked [`ForkSafeMutex`].
pub struct ForkSafeGuard<'a, T> {
    // Dropped first; then the section ends.
    value: MutexGuard<'a, T>,
    _section: Section,
}

impl<T> ForkSafeMutex<T> {
    /// Makes a mutex around a value.
    pub const fn new(value: T) -> ForkSafeMutex<T> {
        ForkSafeMutex(Mutex::new(value))
    }

    /// Locks the mutex. It stays usable after a panic, because each holder leaves the value consistent.
    pub fn lock(&self) -> ForkSafeGuard<'_, T> {
        let section = Section::enter();
        ForkSafeGuard { value: self.0.lock().unwrap_or_else(PoisonError::into_inner), _section: section }
    }
}

impl<T> Deref for ForkSafeGuard<'_, T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.value
    }
}

impl<T> DerefMut for ForkSafeGuard<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.value
    }
}

/// A value of the process that made it. A forked child cannot reach it, and does not drop it.
#[derive(Debug)]
pub struct ProcessLocal<T> {
    epoch: u32,
    value: Option<T>,
}

impl<T> ProcessLocal<T> {
    /// Makes a value of this process.
    pub fn new(value: T) -> ProcessLocal<T> {
        ProcessLocal { epoch: epoch(), value: Some(value) }
    }

    /// Returns the value, if this process made it.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.epoch == epoch())
    }

    /// Returns the value, if this process made it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut().filter(|_| self.epoch == epoch())
    }

    /// Returns the value by move, if this process made it.
    pub fn into_inner(mut self) -> Option<T> {
        if self.epoch == epoch() { self.value.take() } else { None }
    }
}

impl<T> Drop for ProcessLocal<T> {
    fn drop(&mut self) {
        if self.epoch != epoch() {
            std::mem::forget(self.value.take());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn nothing_is_locked_while_the_process_is_forked() {
        let (lock, stop) = (ForkSafeMutex::new(0u64), AtomicBool::new(false));
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !stop.load(SeqCst) {
                        let mut outer = lock.lock();
                        *outer += 1;
                        // Sections nest.
                        drop(ForkSafeMutex::new(()).lock());
                    }
                });
            }
            for _ in 0..200 {
                prepare();
                assert!(lock.0.try_lock().is_ok(), "a thread held a lock at the moment of a fork");
                let before = *lock.0.lock().unwrap();
                std::thread::yield_now();
                assert_eq!(*lock.0.lock().unwrap(), before, "a thread took a lock during a fork");
                parent();
            }
            stop.store(true, SeqCst);
        });
    }

    #[test]
    fn a_fork_from_within_a_section_does_not_wait_for_itself() {
        let lock = ForkSafeMutex::new(());
        let held = lock.lock();
        prepare();
        parent();
        drop(held);
        drop(lock.lock());
    }
}
