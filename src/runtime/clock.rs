//! The clock that leases go by: it goes on while the machine sleeps, as the server's does, and is never set.

use std::time::Duration;
#[cfg(unix)]
use {
    super::LOG,
    crate::telemetry::log::{self, Level},
    serde_json::json,
};

/// A point in time: how long after an origin, on a clock that goes on while the machine sleeps and is never set.
pub type ClockTime = Duration;

/// Now.
#[cfg(unix)]
pub fn now() -> ClockTime {
    use nix::time::{ClockId, clock_gettime};
    // Elsewhere the monotonic clock is the one that goes on.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
    first_that_goes([CLOCK, ClockId::CLOCK_MONOTONIC], |clock| clock_gettime(clock).map(ClockTime::from))
}

/// What the first clock says that the system lets be read; a sandbox may know one of them only. (It is always the same one then, so
/// that moments can be compared.) That leases will not notice when the machine sleeps is worth a warning, once.
#[cfg(unix)]
fn first_that_goes<C: Copy>([best, other]: [C; 2], read: impl Fn(C) -> nix::Result<ClockTime>) -> ClockTime {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
    static WARNED: AtomicBool = AtomicBool::new(false);
    read(best).unwrap_or_else(|problem| {
        if !WARNED.swap(true, Relaxed) {
            let problem = problem.to_string();
            log::record(
                Level::Warn,
                LOG,
                "the clock that goes on while the machine sleeps cannot be read",
                || json!({"why": problem}),
            );
        }
        // A moment made up would lose or keep leases that it should not. Every timer of the process goes by this clock, too.
        read(other).expect("the monotonic clock can be read")
    })
}

/// Now.
#[cfg(not(unix))]
pub fn now() -> ClockTime {
    static ORIGIN: once_cell::sync::Lazy<std::time::Instant> = once_cell::sync::Lazy::new(std::time::Instant::now);
    ORIGIN.elapsed()
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn time_goes_on_also_where_the_best_clock_cannot_be_read() {
        assert!(now() > Duration::ZERO && now() <= now());
        let read = |clock: u64| if clock == 0 { Err(nix::errno::Errno::EINVAL) } else { Ok(Duration::from_secs(clock)) };
        assert_eq!(first_that_goes([7, 5], read), Duration::from_secs(7));
        assert_eq!(first_that_goes([0, 5], read), Duration::from_secs(5), "and never at the beginning of time");
    }
}
