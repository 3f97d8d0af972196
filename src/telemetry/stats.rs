//! Counts of what a client and those derived from it did: calls, attempts, retries, failures, bytes, latencies.
//!
//! Everything is counted with relaxed atomics, almost all of it on the runtime's one thread, and takes bounded memory.

use crate::api::operations::{OPERATIONS, Operation};
use crate::error::Status;
use once_cell::race::OnceBox;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The counts.
#[derive(Debug, Default)]
pub struct Stats {
    started: AtomicU64,
    ended: AtomicU64,
    failures: [AtomicU64; Status::ALL.len()],
    attempts: AtomicU64,
    retries: [AtomicU64; RetryReason::ALL.len()],
    connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    /// One per operation, made when it is first called; the last is for requests to other endpoints.
    latencies: [OnceBox<Histogram>; OPERATIONS.len() + 1],
}

/// Why a request was made again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// No connection could be made.
    Connect,
    /// The connection broke before an answer came.
    Unanswered,
    /// The connection broke within the answer.
    CutShort,
    /// No answer came within the attempt's time.
    Timeout,
    /// The server certainly did not process the request: it refused the stream, closed the connection in an orderly way, or had
    /// closed it before the request was sent. Such a retry does not count against `max_retries`.
    NotProcessed,
    /// HTTP 408.
    RequestTimeout,
    /// HTTP 409.
    Conflict,
    /// HTTP 429.
    RateLimited,
    /// HTTP 529.
    Overloaded,
    /// Another HTTP 5xx.
    ServerError,
    /// Any other HTTP status; the server asked for the retry.
    Asked,
}

impl RetryReason {
    const ALL: [(RetryReason, &str); 11] = [
        (RetryReason::Connect, "connect"),
        (RetryReason::Unanswered, "unanswered"),
        (RetryReason::CutShort, "cut_short"),
        (RetryReason::Timeout, "timeout"),
        (RetryReason::NotProcessed, "not_processed"),
        (RetryReason::RequestTimeout, "request_timeout"),
        (RetryReason::Conflict, "conflict"),
        (RetryReason::RateLimited, "rate_limited"),
        (RetryReason::Overloaded, "overloaded"),
        (RetryReason::ServerError, "server_error"),
        (RetryReason::Asked, "asked"),
    ];

    /// The reason that an HTTP status is.
    pub fn from_http(http_status: u16) -> RetryReason {
        match http_status {
            408 => RetryReason::RequestTimeout,
            409 => RetryReason::Conflict,
            429 => RetryReason::RateLimited,
            529 => RetryReason::Overloaded,
            500..=599 => RetryReason::ServerError,
            _ => RetryReason::Asked,
        }
    }

    /// Its name, as it stands in statistics and logs.
    pub fn name(self) -> &'static str {
        RetryReason::ALL[self as usize].1
    }
}

impl Stats {
    /// Counts the beginning of a call.
    pub fn begin(self: &Arc<Stats>, operation: Option<&'static Operation>) -> ActiveCall {
        self.started.fetch_add(1, Relaxed);
        ActiveCall { stats: self.clone(), operation, begun: Instant::now(), is_over: false }
    }

    /// Counts an attempt, and what was sent with it.
    pub fn attempt(&self, body_bytes: usize) {
        self.attempts.fetch_add(1, Relaxed);
        self.sent.fetch_add(body_bytes as u64, Relaxed);
    }

    /// Counts the body of an answer.
    pub fn answer(&self, body_bytes: usize) {
        self.received.fetch_add(body_bytes as u64, Relaxed);
    }

    /// Counts a request that is made again.
    pub fn retry(&self, reason: RetryReason) {
        self.retries[reason as usize].fetch_add(1, Relaxed);
    }

    /// Counts an attempt to connect.
    pub fn connection(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    /// Counts a call that ended well on the wire but failed for its caller.
    pub fn failure(&self, status: Status) {
        if let Some(index) = Status::ALL.iter().position(|known| *known == status) {
            self.failures[index].fetch_add(1, Relaxed);
        }
    }

    /// The counts as JSON.
    pub fn to_json(&self) -> String {
        let named = |counts: &[AtomicU64], names: &dyn Fn(usize) -> &'static str| -> Map<String, Value> {
            let counts = counts.iter().map(|count| count.load(Relaxed)).enumerate();
            counts.filter(|(_, count)| *count > 0).map(|(index, count)| (names(index).to_owned(), count.into())).collect()
        };
        let failures = named(&self.failures, &|index| Status::ALL[index].name());
        let failed: u64 = failures.values().filter_map(Value::as_u64).sum();
        // Read in this order, so that what happens meanwhile cannot make a difference negative.
        let ended = self.ended.load(Relaxed);
        let started = self.started.load(Relaxed).max(ended);
        let names = OPERATIONS.iter().map(|operation| operation.name).chain(["request"]);
        let latencies = names.zip(&self.latencies).filter_map(|(name, histogram)| Some((name, histogram.get()?.to_json())));
        json!({
            "calls": {"started": started, "succeeded": ended.saturating_sub(failed), "failed": failed, "in_flight": started - ended},
            "attempts": self.attempts.load(Relaxed),
            "retries": named(&self.retries, &|index| RetryReason::ALL[index].1),
            "failures": failures,
            "connections_opened": self.connections.load(Relaxed),
            "bytes": {"sent": self.sent.load(Relaxed), "received": self.received.load(Relaxed)},
            "latency_us": latencies.collect::<BTreeMap<_, _>>(),
        })
        .to_string()
    }
}

/// A call between its beginning and its end. One that is dropped before was cancelled, or broke off by a fault.
#[derive(Debug)]
pub struct ActiveCall {
    stats: Arc<Stats>,
    operation: Option<&'static Operation>,
    begun: Instant,
    is_over: bool,
}

impl ActiveCall {
    /// The counts that it goes into.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// What is called.
    pub fn operation_name(&self) -> &'static str {
        self.operation.map_or("request", |operation| operation.name)
    }

    /// How long ago it began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// Counts its end.
    pub fn end(mut self, status: Status) {
        let row = OPERATIONS.iter().position(|known| self.operation.is_some_and(|operation| operation.name == known.name));
        let histogram = self.stats.latencies[row.unwrap_or(OPERATIONS.len())].get_or_init(Box::default);
        histogram.add(self.begun.elapsed());
        self.over(status);
    }

    fn over(&mut self, status: Status) {
        self.is_over = true;
        if status != Status::Ok {
            self.stats.failure(status);
        }
        self.stats.ended.fetch_add(1, Relaxed);
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        if !self.is_over {
            self.over(if std::thread::panicking() { Status::Internal } else { Status::Cancelled });
        }
    }
}

/// How long calls took: four buckets to each doubling, from 1 µs to 19 hours. The buckets are the same everywhere, so that
/// histograms of several clients or hosts are merged by adding them up.
#[derive(Debug)]
pub struct Histogram {
    sum: AtomicU64,
    longest: AtomicU64,
    buckets: [AtomicU64; BUCKETS],
}

const OCTAVES: usize = 36;
/// The doublings that are shown as buckets of seconds: from 0.13 ms to 134 s.
const SHOWN_OCTAVES: std::ops::Range<usize> = 6..27;
const BUCKETS: usize = 4 * OCTAVES;

/// The bucket that a number of microseconds falls into.
fn bucket(us: u64) -> usize {
    let us = us.max(1);
    let octave = us.ilog2() as usize;
    let quarter = if octave >= 2 { us >> (octave - 2) } else { us << (2 - octave) } as usize % 4;
    (4 * octave + quarter).min(BUCKETS - 1)
}

/// The first number of microseconds past a bucket.
fn bound(bucket: usize) -> u64 {
    // Below 4 µs quarters are no whole numbers: those buckets end where the next number begins.
    ((5 + bucket as u64 % 4) << (bucket / 4)).div_ceil(4)
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { sum: AtomicU64::default(), longest: AtomicU64::default(), buckets: [const { AtomicU64::new(0) }; BUCKETS] }
    }
}

impl Histogram {
    /// Adds a time.
    pub fn add(&self, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.sum.fetch_add(us, Relaxed);
        self.longest.fetch_max(us, Relaxed);
        self.buckets[bucket(us)].fetch_add(1, Relaxed);
    }

    /// How many times were below each of some doubling bounds, in seconds; how many there were at all; and their sum in seconds.
    pub fn doubling(&self) -> (Vec<(f64, u64)>, u64, f64) {
        let mut below = Vec::new();
        let mut count = 0;
        for (index, bucket) in self.buckets.iter().enumerate() {
            count += bucket.load(Relaxed);
            if index % 4 == 3 && SHOWN_OCTAVES.contains(&(index / 4)) {
                below.push((bound(index) as f64 / 1e6, count));
            }
        }
        (below, count, self.sum.load(Relaxed) as f64 / 1e6)
    }

    /// What it holds, as JSON.
    pub fn to_json(&self) -> Value {
        let counts = self.buckets.iter().map(|count| count.load(Relaxed)).enumerate().filter(|(_, count)| *count > 0);
        let buckets: Vec<[u64; 2]> = counts.map(|(index, count)| [bound(index), count]).collect();
        let count: u64 = buckets.iter().map(|[_, count]| count).sum();
        json!({"count": count, "sum": self.sum.load(Relaxed), "max": self.longest.load(Relaxed), "buckets": buckets})
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations::WORK_POLL;

    #[test]
    fn buckets_follow_one_another_without_gap_or_overlap() {
        let mut last = 0;
        for us in (1..5_000).chain([1 << 20, (1 << 20) + 1, 3 << 30, 1 << 35]) {
            let index = bucket(us);
            assert!(us < bound(index), "{us} is not below the bound of its bucket {index}");
            assert!(index == 0 || us >= bound(index - 1), "{us} belongs to an earlier bucket than {index}");
            assert!(index >= last);
            assert!(us < 4 || bound(index) as f64 / us as f64 <= 1.25, "the bucket of {us} is too wide");
            last = index;
        }
        assert_eq!((bucket(0), bucket(u64::MAX)), (0, BUCKETS - 1));
    }

    #[test]
    fn every_call_is_counted_once_however_it_ends() {
        let stats = Arc::new(Stats::default());
        stats.begin(Some(&WORK_POLL)).end(Status::Ok);
        stats.begin(Some(&WORK_POLL)).end(Status::NotFound);
        drop(stats.begin(None));
        let under_way = stats.begin(None);
        let json: Value = serde_json::from_str(&stats.to_json()).unwrap();
        assert_eq!(json["calls"], json!({"started": 4, "succeeded": 1, "failed": 2, "in_flight": 1}));
        assert_eq!(json["failures"], json!({"not_found": 1, "cancelled": 1}));
        assert_eq!(json["latency_us"]["work.poll"]["count"], 2);
        under_way.end(Status::Ok);
        let json: Value = serde_json::from_str(&stats.to_json()).unwrap();
        assert_eq!((&json["calls"]["in_flight"], &json["latency_us"]["request"]["count"]), (&json!(0), &json!(1)));
    }

    #[test]
    fn reasons_for_retries_stand_in_the_order_of_their_numbers() {
        for (index, (reason, _)) in RetryReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
