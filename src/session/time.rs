//! The times of events, as far as they must be compared. Pure.

/// A time in an event (RFC 3339): seconds since 1970, and nanoseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct EventTime(i64, u32);

impl EventTime {
    /// Reads a time. `None`: it is none, or has no time zone. Digits beyond nanoseconds are dropped.
    pub fn parse(text: &str) -> Option<EventTime> {
        let (date, rest) = text.split_at_checked(10)?;
        let (clock, rest) = rest.strip_prefix(['T', 't', ' '])?.split_at_checked(8)?;
        let [year, month, day] = numbers(date, '-')?;
        let [hour, minute, second] = numbers(clock, ':')?;
        let (fraction, zone) = match rest.strip_prefix('.') {
            Some(rest) => rest.split_at(rest.find(|c: char| !c.is_ascii_digit())?),
            None => ("", rest),
        };
        let nanoseconds = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
        let offset = match zone.as_bytes().first()? {
            b'Z' | b'z' if zone.len() == 1 => 0,
            sign @ (b'+' | b'-') => {
                let [hours, minutes] = numbers(zone.get(1..)?, ':')?;
                (hours * 3600 + minutes * 60) * if *sign == b'-' { -1 } else { 1 }
            }
            _ => return None,
        };
        let seconds = days_since_1970(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset;
        (1..=12).contains(&month).then_some(EventTime(seconds, nanoseconds))
    }

    /// Makes a time for tests.
    #[cfg(test)]
    pub fn at(seconds: i64) -> EventTime {
        EventTime(seconds, 0)
    }
}

/// Reads numbers with a separator between them.
fn numbers<const N: usize>(text: &str, separator: char) -> Option<[i64; N]> {
    let is_number = |part: &&str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts: Vec<i64> = text.split(separator).map(|part| Some(part).filter(is_number)?.parse().ok()).collect::<Option<_>>()?;
    parts.try_into().ok()
}

/// Counts the days from 1970-01-01 to a date of the Gregorian calendar. Years are counted from March, so that a leap day is the last.
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let day_of_year = (153 * month + 2) / 5 + day - 1;
    year * 365 + year / 4 - year / 100 + year / 400 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_compared_whatever_their_zone_and_precision() {
        for (text, time) in [
            ("1970-01-01T00:00:00Z", Some(EventTime(0, 0))),
            ("2026-11-26T08:00:00.5Z", Some(EventTime(1_795_680_000, 500_000_000))),
            ("2026-11-26T09:00:00.500000000123+01:00", Some(EventTime(1_795_680_000, 500_000_000))),
            ("2026-11-26t03:30:00-04:30", Some(EventTime(1_795_680_000, 0))),
            ("2024-02-29T23:59:59Z", Some(EventTime(1_709_251_199, 0))),
            ("2026-11-26T08:00:00", None),
            ("2026-13-26T08:00:00Z", None),
            ("2026-11-26T08:00:00.Zulu", None),
            ("2026-11-26", None),
            ("yesterday", None),
            ("2026-11-2\u{fc}T08:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(EventTime::parse(text), time, "{text}");
        }
    }
}
