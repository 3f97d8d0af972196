//! The clock that leases go by: it goes on while the machine sleeps, as the server's does, and is never set.

use super::lease::Moment;

/// Now.
#[cfg(unix)]
pub fn now() -> Moment {
    use nix::time::{ClockId, clock_gettime};
    // Elsewhere the monotonic clock is the one that goes on.
    #[cfg(any(target_os = "linux", target_os = "android"))]
    const CLOCK: ClockId = ClockId::CLOCK_BOOTTIME;
    #[cfg(not(any(target_os = "linux", target_os = "android")))]
    const CLOCK: ClockId = ClockId::CLOCK_MONOTONIC;
    clock_gettime(CLOCK).map(Moment::from).unwrap_or_default()
}

/// Now.
#[cfg(not(unix))]
pub fn now() -> Moment {
    static ORIGIN: once_cell::sync::Lazy<std::time::Instant> = once_cell::sync::Lazy::new(std::time::Instant::now);
    ORIGIN.elapsed()
}
