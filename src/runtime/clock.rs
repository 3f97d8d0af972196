//! The clock for leases. Like the server's clock it keeps running while the machine sleeps, and it is never set.

use std::time::Duration;
#[cfg(unix)]
use {
    super::LOG,
    crate::telemetry::log::{self, Level},
    serde_json::json,
};

/// A point in time: the time since an origin, on a clock that keeps running while the machine sleeps and is never set.
pub type ClockTime = Duration;

/// Returns the current time.
#[cfg(unix)]
pub fn now() -> ClockTime {
    use nix::time::{ClockId, clock_gettime};
    // On other systems the monotonic clock keeps running.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
    first_readable([CLOCK, ClockId::CLOCK_MONOTONIC], |clock| clock_gettime(clock).map(ClockTime::from))
}

/// Reads the first clock that is readable; a sandbox may allow only one of them. (It is then always the same one, so times can be
/// compared.) Warns once if the second clock is used, because leases will then not notice that the machine was asleep.
#[cfg(unix)]
fn first_readable<C: Copy>([best, other]: [C; 2], read: impl Fn(C) -> nix::Result<ClockTime>) -> ClockTime {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    static WARNED: AtomicBool = AtomicBool::new(false);
    read(best).unwrap_or_else(|problem| {
        if !WARNED.swap(true, Relaxed) {
            let problem = problem.to_string();
            log::record(
                Level::Warn,
                LOG,
                "the clock that runs while the machine sleeps cannot be read",
                || json!({"why": problem}),
            );
        }
        // A made-up time would wrongly lose or keep leases. Every timer of the process also depends on this clock.
        read(other).expect("the monotonic clock can be read")
    })
}

/// Returns the current time.
#[cfg(not(unix))]
pub fn now() -> ClockTime {
    static ORIGIN: once_cell::sync::Lazy<std::time::Instant> = once_cell::sync::Lazy::new(std::time::Instant::now);
    ORIGIN.elapsed()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn time_passes_even_if_the_best_clock_cannot_be_read() {
        assert!(now() > Duration::ZERO && now() <= now());
        let read = |clock: u64| if clock == 0 { Err(nix::errno::Errno::EINVAL) } else { Ok(Duration::from_secs(clock)) };
        assert_eq!(first_readable([7, 5], read), Duration::from_secs(7));
        assert_eq!(first_readable([0, 5], read), Duration::from_secs(5), "and not at the origin");
    }
}
