//! What is retried, and after how long. Pure: the clock and the random number are arguments.

use crate::backoff::Backoff;
use http::header::{HeaderMap, RETRY_AFTER};
use std::time::{Duration, SystemTime};

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(8) };

/// Returns whether to retry a request that got this response: `x-should-retry` decides first, then the status. A success is never
/// retried.
pub fn should_retry(status: u16, headers: &HeaderMap) -> bool {
    if (200..300).contains(&status) {
        return false;
    }
    match headers.get("x-should-retry").and_then(|value| value.to_str().ok()) {
        Some("true") => true,
        Some("false") => false,
        _ => matches!(status, 408 | 409 | 429 | 500..=599),
    }
}

/// Returns the delay before retry number `retry` (the first is 0): the wait that the server requests, else a doubling delay. `jitter`
/// (0 to 1) takes off up to a quarter, so that clients do not return all at once.
pub fn delay(retry: u32, headers: Option<&HeaderMap>, now: SystemTime, jitter: f64) -> Duration {
    headers.and_then(|headers| requested_delay(headers, now)).unwrap_or_else(|| BACKOFF.pause(retry, jitter))
}

/// Returns the wait that the server requests: in milliseconds, in seconds, or until a date. Ignores a wait of zero and a past date.
pub fn requested_delay(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::trim);
    let seconds = |number: f64| Duration::try_from_secs_f64(number).ok().filter(|wait| !wait.is_zero());
    if let Some(wait) = text("retry-after-ms").and_then(|ms| ms.parse::<f64>().ok()).and_then(|ms| seconds(ms / 1000.0)) {
        return Some(wait);
    }
    let after = text(RETRY_AFTER.as_str())?;
    match after.parse::<f64>() {
        Ok(number) => seconds(number),
        Err(_) => httpdate::parse_http_date(after).ok()?.duration_since(now).ok().filter(|wait| !wait.is_zero()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::header::{HeaderName, HeaderValue};

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
    }

    #[test]
    fn statuses_that_may_pass_are_retried_unless_the_server_says_otherwise() {
        for status in [408, 409, 429, 500, 501, 502, 503, 504, 529, 599] {
            assert!(should_retry(status, &HeaderMap::new()), "{status}");
            assert!(!should_retry(status, &headers(&[("x-should-retry", "false")])), "{status}");
        }
        for status in [301, 400, 401, 402, 403, 404, 412, 413, 418, 422, 425, 431, 499, 600, 999] {
            assert!(!should_retry(status, &HeaderMap::new()), "{status}");
            assert!(should_retry(status, &headers(&[("x-should-retry", "true")])), "{status}");
        }
        for status in [200, 201, 204, 299] {
            assert!(!should_retry(status, &headers(&[("x-should-retry", "true")])), "{status}");
        }
    }

    #[test]
    fn the_delay_is_half_a_second_at_first_and_eight_at_most() {
        let seconds = |retry, jitter| delay(retry, None, SystemTime::now(), jitter).as_secs_f64();
        assert_eq!((seconds(0, 0.0), seconds(0, 1.0), seconds(u32::MAX, 0.0)), (0.5, 0.375, 8.0));
    }

    #[test]
    fn the_server_may_ask_for_a_delay() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777); // Sun, 06 Nov 1994 08:49:37 GMT
        let default = Duration::from_millis(500);
        for (given, expected) in [
            (&[("retry-after-ms", "1")][..], Duration::from_millis(1)),
            (&[("retry-after-ms", "20.5"), ("retry-after", "5")], Duration::from_micros(20_500)),
            (&[("retry-after", "1")], Duration::from_secs(1)),
            (&[("retry-after", " 0.2 ")], Duration::from_millis(200)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:39 GMT")], Duration::from_secs(2)),
            (&[("retry-after-ms", "0"), ("retry-after", "3")], Duration::from_secs(3)),
            (&[("retry-after", "Sun, 06 Nov 1994 08:49:37 GMT")], default),
            (&[("retry-after", "0")], default),
            (&[("retry-after", "-1")], default),
            (&[("retry-after", "nan")], default),
            (&[("retry-after", "inf")], default),
            (&[("retry-after", "1e300")], default),
            (&[("retry-after", "soon")], default),
            (&[], default),
        ] {
            assert_eq!(delay(0, Some(&headers(given)), now, 0.0), expected, "{given:?}");
        }
    }
}
