//! The emulator's idea of now, which tests may move: a lease of five minutes expires in an instant.
//!
//! Times are microseconds since 1970 everywhere inside, and become text only in responses. Waiters (a held poll, a fault's
//! latency) is always real time; the clock only decides what is due.

use std::sync::atomic::{AtomicI64, Ordering};

use jiff::{Timestamp, tz::Offset};

/// Microseconds since 1970-01-01T00:00:00Z.
pub type Micros = i64;

/// The end of the range that the clock may be moved to (the year 9000), so that a lease can always be added to now.
const LATEST: Micros = 221_845_392_000_000_000;

/// The system's time plus an offset.
#[derive(Default)]
pub struct Clock {
    offset: AtomicI64,
}

impl Clock {
    /// The emulator's now.
    pub fn now(&self) -> Micros {
        system_now().saturating_add(self.offset())
    }

    /// How far ahead of the system's time the clock is.
    pub fn offset(&self) -> Micros {
        self.offset.load(Ordering::SeqCst)
    }

    /// Moves the clock; `None` when the result would lie outside 1970 to 9000.
    pub fn set_offset(&self, offset: Micros) -> Option<()> {
        let now = system_now().checked_add(offset)?;
        if !(0..=LATEST).contains(&now) {
            return None;
        }
        self.offset.store(offset, Ordering::SeqCst);
        Some(())
    }

    /// Makes now the given time.
    pub fn set_now(&self, now: Micros) -> Option<()> {
        self.set_offset(now.checked_sub(system_now())?)
    }
}

/// The machine's time, whatever the emulator's clock says.
pub fn system_now() -> Micros {
    Timestamp::now().as_microsecond()
}

/// `2026-03-15T10:00:00.123456Z`, the form of every timestamp but a heartbeat's.
pub fn text(at: Micros) -> String {
    format!("{:.6}", timestamp(at))
}

/// `2026-03-15T10:00:00.123Z`, for the request log.
pub fn text_in_millis(at: Micros) -> String {
    format!("{:.3}", timestamp(at))
}

/// `2026-03-15T10:00:00.123456+00:00`: a heartbeat is echoed in a query, and the plus sign catches clients that do not encode it.
pub fn heartbeat_text(at: Micros) -> String {
    format!("{:.6}", timestamp(at).display_with_offset(Offset::UTC))
}

/// Reads an RFC 3339 timestamp.
pub fn parse(text: &str) -> Option<Micros> {
    text.parse::<Timestamp>().ok().map(Timestamp::as_microsecond)
}

fn timestamp(at: Micros) -> Timestamp {
    Timestamp::from_microsecond(at).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_rfc_3339_with_a_fixed_number_of_digits() {
        let at = parse("2026-03-15T10:00:00.100Z").unwrap();
        assert_eq!(text(at), "2026-03-15T10:00:00.100000Z");
        assert_eq!(text_in_millis(at), "2026-03-15T10:00:00.100Z");
        assert_eq!(heartbeat_text(at), "2026-03-15T10:00:00.100000+00:00");
        assert_eq!(parse(&heartbeat_text(at)), Some(at));
    }

    #[test]
    fn the_clock_cannot_be_moved_out_of_its_range() {
        let clock = Clock::default();
        assert_eq!(clock.set_offset(i64::MAX), None);
        assert_eq!(clock.set_offset(i64::MIN), None);
        assert_eq!(clock.set_now(-1_000_000_000), None);
        assert_eq!(clock.set_now(LATEST + 1_000_000_000), None);
        assert_eq!(clock.offset(), 0);
        assert_eq!(clock.set_now(0), Some(()));
    }
}
