//! What makes the library survive `fork()`.
//!
//! A forked child has the memory of its parent but only one of its threads. Two things follow, and each has a small tool here:
//!
//! - A lock that another thread held at that moment would stay locked in the child for ever. So every lock of the library is a
//!   [`ForkSafeMutex`]: it is held only within a section, and a fork waits until no thread is in one. Sections are short; nothing blocks there.
//! - What the parent's runtime serves (its thread, sockets, calls) does not exist in the child, and touching what is left of it
//!   would disturb the parent or hang. So such things are [`ProcessLocal`] by the process that made them: in a child they are out of reach,
//!   and not even dropped.
//!
//! ```text
//! parent   ... sections ...  | prepare: shut the gate, wait for sections | fork | parent: open the gate
//! child                                                                   `----> child: open the gate, next epoch
//! ```
//!
//! `ffi::process` registers the three handlers with the system. All this is a word of memory and a thread-local flag, so that it
//! needs no lock itself.

use std::cell::Cell;
use std::ops::{Deref, DerefMut};
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Sections under way, and in the upper half forks under way (two threads may fork at once).
static GATE: AtomicU64 = AtomicU64::new(0);
const FORK: u64 = 1 << 32;

/// How many forks lie between this process and the one that loaded the library.
static EPOCH: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// Whether this thread is in a section.
    static INSIDE: Cell<bool> = const { Cell::new(false) };
    /// Whether this thread's fork did not shut the gate, because it came from a signal handler that interrupted a section.
    static UNGATED: Cell<bool> = const { Cell::new(false) };
}

/// A stretch of code during which the process is not forked. Sections may nest.
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

/// Before a fork, in the thread that forks.
pub extern "C" fn prepare() {
    if INSIDE.get() {
        // Waiting for ourselves would hang. The parent goes on unharmed, and so does a child that calls `exec`.
        return UNGATED.set(true);
    }
    GATE.fetch_add(FORK, SeqCst);
    wait_while(|| GATE.load(SeqCst) & (FORK - 1) != 0);
}

/// After a fork, in the parent.
pub extern "C" fn parent() {
    if !UNGATED.replace(false) {
        GATE.fetch_sub(FORK, SeqCst);
    }
}

/// After a fork, in the child.
pub extern "C" fn child() {
    UNGATED.set(false);
    EPOCH.fetch_add(1, SeqCst);
    GATE.store(INSIDE.get().into(), SeqCst);
}

/// The number of this process among its ancestors that had the library loaded. It changes by forking alone.
pub fn epoch() -> u32 {
    EPOCH.load(SeqCst)
}

/// A mutex that a forked child never finds locked. Hold it shortly, and never across anything that blocks.
#[derive(Debug, Default)]
pub struct ForkSafeMutex<T>(Mutex<T>);

/// A [`ForkSafeMutex`] that is held.
pub struct ForkSafeGuard<'a, T> {
    // Released first, and then the section ends.
    value: MutexGuard<'a, T>,
    _section: Section,
}

impl<T> ForkSafeMutex<T> {
    /// A lock around a value.
    pub const fn new(value: T) -> ForkSafeMutex<T> {
        ForkSafeMutex(Mutex::new(value))
    }

    /// Waits for the lock. A panic while it was held leaves it usable: each holder leaves the value in order.
    pub fn lock(&self) -> ForkSafeGuard<'_, T> {
        let section = Section::enter();
        ForkSafeGuard { value: take(&self.0), _section: section }
    }
}

#[cfg(not(tsan))]
fn take<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// ThreadSanitizer does not see into the standard library, where a thread waits for a mutex that is held: here nothing happens there.
#[cfg(tsan)]
fn take<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    use std::sync::TryLockError::{Poisoned, WouldBlock};
    loop {
        match mutex.try_lock() {
            Ok(value) => return value,
            Err(Poisoned(poisoned)) => return PoisonError::into_inner(poisoned),
            Err(WouldBlock) => std::thread::yield_now(),
        }
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

/// A thing of the process that made it. In a forked child it is out of reach, and left alone when it would be dropped.
#[derive(Debug)]
pub struct ProcessLocal<T> {
    epoch: u32,
    value: Option<T>,
}

impl<T> ProcessLocal<T> {
    /// Makes it this process's.
    pub fn new(value: T) -> ProcessLocal<T> {
        ProcessLocal { epoch: epoch(), value: Some(value) }
    }

    /// The thing, if this process made it.
    pub fn get(&self) -> Option<&T> {
        self.value.as_ref().filter(|_| self.epoch == epoch())
    }

    /// The thing, if this process made it.
    pub fn get_mut(&mut self) -> Option<&mut T> {
        self.value.as_mut().filter(|_| self.epoch == epoch())
    }

    /// Takes the thing out, if this process made it.
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
