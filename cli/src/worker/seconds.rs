//! Times of the command line, in seconds.

use std::time::Duration;

/// The longest time in seconds: a day.
const MAX_SECONDS: f64 = 86_400.0;

/// Reads seconds, such as 30, 0.5 or 30s.
pub fn parse(text: &str) -> Result<Duration, String> {
    let seconds: Option<f64> = text.strip_suffix('s').unwrap_or(text).parse().ok();
    let in_range = seconds.filter(|seconds| (0.0..=MAX_SECONDS).contains(seconds));
    in_range.map(Duration::from_secs_f64).ok_or_else(|| format!("not seconds from 0 to {MAX_SECONDS}"))
}

/// Returns a time in milliseconds, as the library's configurations take it.
pub fn in_ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_may_have_a_fraction_and_their_unit() {
        for (text, milliseconds) in [("30", 30_000), ("0.5", 500), ("30s", 30_000), ("0", 0), ("86400", 86_400_000)] {
            assert_eq!(parse(text).map(in_ms), Ok(milliseconds), "{text}");
        }
        for wrong in ["", "s", "1m", "-1", "nan", "inf", "86400.1", "1 s", "thirty"] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
    }
}
