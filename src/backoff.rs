//! The exponential backoff between attempts. Pure: the caller supplies the random number.

use std::time::Duration;

/// The largest share of a pause that jitter takes off.
const MAX_JITTER: f64 = 0.25;

/// An exponential backoff: a pause that doubles with each failure, up to a maximum.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The pause after the first failure.
    pub first: Duration,
    /// The longest pause.
    pub max: Duration,
}

impl Backoff {
    /// Returns the pause before retry number `retry` (the first is 0), shortened by `jitter` (0 to 1).
    pub fn pause(&self, retry: u32, jitter: f64) -> Duration {
        let doubled = self.first.saturating_mul(2u32.saturating_pow(retry));
        shorten(doubled.min(self.max), jitter)
    }
}

/// Takes up to a quarter off a pause, so that callers that began together do not return together. `jitter`: from 0 (nothing is taken
/// off) to 1; values outside that range are clamped.
pub fn shorten(pause: Duration, jitter: f64) -> Duration {
    pause.mul_f64(1.0 - MAX_JITTER * jitter.clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(8) };

    #[test]
    fn the_pause_doubles_up_to_its_maximum() {
        let pauses: Vec<f64> = (0..7).map(|retry| BACKOFF.pause(retry, 0.0).as_secs_f64()).collect();
        assert_eq!(pauses, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0]);
        assert_eq!(BACKOFF.pause(u32::MAX, 0.0), BACKOFF.max);
        let unbounded = Backoff { first: Duration::from_secs(1), max: Duration::MAX };
        assert_eq!(unbounded.pause(u32::MAX, 0.0), Duration::from_secs(u32::MAX.into()), "it does not overflow");
    }

    #[test]
    fn jitter_takes_up_to_a_quarter_off_and_adds_nothing() {
        for (jitter, seconds) in [(0.0, 8.0), (0.5, 7.0), (1.0, 6.0), (7.0, 6.0), (-1.0, 8.0)] {
            assert_eq!(BACKOFF.pause(9, jitter).as_secs_f64(), seconds, "{jitter}");
            assert_eq!(shorten(BACKOFF.max, jitter).as_secs_f64(), seconds, "{jitter}");
        }
    }
}
