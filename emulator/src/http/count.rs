//! Counts that go down by themselves.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Counts something for as long as it lives, however it ends.
pub struct CountGuard<'a>(&'a AtomicUsize);

impl<'a> CountGuard<'a> {
    /// One more.
    pub fn new(count: &'a AtomicUsize) -> CountGuard<'a> {
        count.fetch_add(1, Ordering::SeqCst);
        CountGuard(count)
    }
}

impl Drop for CountGuard<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}
