//! Statistics of a client and those derived from it: calls, attempts, retries, failures, bytes, latencies.
//!
//! The counters are relaxed atomics, almost all of them updated on the runtime's one thread, and take bounded memory.

use crate::error::Status;
use crate::telemetry::histogram::Histogram;
use once_cell::race::OnceBox;
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// The counters.
#[derive(Debug)]
pub struct Stats {
    started: AtomicU64,
    ended: AtomicU64,
    failures: [AtomicU64; Status::ALL.len()],
    attempts: AtomicU64,
    retries: [AtomicU64; RetryReason::ALL.len()],
    connections: AtomicU64,
    sent: AtomicU64,
    received: AtomicU64,
    /// One per kind of call, allocated by its first one.
    latencies: BTreeMap<&'static str, OnceBox<Histogram>>,
}

/// Why a request was retried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RetryReason {
    /// No connection could be opened.
    Connect,
    /// The connection failed before a response came.
    NoResponse,
    /// The connection failed within the response.
    IncompleteBody,
    /// No response came within the attempt's timeout.
    Timeout,
    /// The server certainly did not process the request: it refused the stream, or closed the connection gracefully or before the
    /// request was sent. Such a retry does not count against `max_retries`.
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
    /// Any other HTTP status, for which the server requested a retry.
    ServerRequested,
}

impl RetryReason {
    const ALL: [(RetryReason, &str); 11] = [
        (RetryReason::Connect, "connect"),
        (RetryReason::NoResponse, "unanswered"),
        (RetryReason::IncompleteBody, "cut_short"),
        (RetryReason::Timeout, "timeout"),
        (RetryReason::NotProcessed, "not_processed"),
        (RetryReason::RequestTimeout, "request_timeout"),
        (RetryReason::Conflict, "conflict"),
        (RetryReason::RateLimited, "rate_limited"),
        (RetryReason::Overloaded, "overloaded"),
        (RetryReason::ServerError, "server_error"),
        (RetryReason::ServerRequested, "asked"),
    ];

    /// Returns the reason for an HTTP status.
    pub fn from_http(http_status: u16) -> RetryReason {
        match http_status {
            408 => RetryReason::RequestTimeout,
            409 => RetryReason::Conflict,
            429 => RetryReason::RateLimited,
            529 => RetryReason::Overloaded,
            500..=599 => RetryReason::ServerError,
            _ => RetryReason::ServerRequested,
        }
    }

    /// Returns the reason's name in statistics and logs.
    pub fn name(self) -> &'static str {
        RetryReason::ALL[self as usize].1
    }
}

impl Stats {
    /// Creates the statistics of a client whose calls have these names.
    pub fn new(names: impl Iterator<Item = &'static str>) -> Stats {
        Stats {
            started: AtomicU64::default(),
            ended: AtomicU64::default(),
            failures: Default::default(),
            attempts: AtomicU64::default(),
            retries: Default::default(),
            connections: AtomicU64::default(),
            sent: AtomicU64::default(),
            received: AtomicU64::default(),
            latencies: names.map(|name| (name, OnceBox::new())).collect(),
        }
    }

    /// Counts the start of a call. `name` is one of those given to [`Stats::new`].
    pub fn begin(self: &Arc<Stats>, name: &'static str) -> ActiveCall {
        self.started.fetch_add(1, Relaxed);
        ActiveCall { stats: self.clone(), name, started_at: Instant::now(), is_counted: false }
    }

    /// Counts an attempt and the bytes of its body.
    pub fn attempt(&self, body_bytes: usize) {
        self.attempts.fetch_add(1, Relaxed);
        self.sent.fetch_add(body_bytes as u64, Relaxed);
    }

    /// Counts the bytes of a response's body.
    pub fn response(&self, body_bytes: usize) {
        self.received.fetch_add(body_bytes as u64, Relaxed);
    }

    /// Counts a retry.
    pub fn retry(&self, reason: RetryReason) {
        self.retries[reason as usize].fetch_add(1, Relaxed);
    }

    /// Counts an attempt to connect.
    pub fn connection(&self) {
        self.connections.fetch_add(1, Relaxed);
    }

    /// Counts a failure. A call that succeeded on the wire may still fail for its caller.
    pub fn failure(&self, status: Status) {
        if let Some(index) = Status::ALL.iter().position(|known| *known == status) {
            self.failures[index].fetch_add(1, Relaxed);
        }
    }

    /// Returns the statistics as JSON.
    pub fn to_json(&self) -> String {
        let named = |counts: &[AtomicU64], names: &dyn Fn(usize) -> &'static str| -> Map<String, Value> {
            let counts = counts.iter().map(|count| count.load(Relaxed)).enumerate();
            counts.filter(|(_, count)| *count > 0).map(|(index, count)| (names(index).to_owned(), count.into())).collect()
        };
        let failures = named(&self.failures, &|index| Status::ALL[index].name());
        let failed: u64 = failures.values().filter_map(Value::as_u64).sum();
        // Read in this order, so that concurrent changes cannot make the difference negative.
        let ended = self.ended.load(Relaxed);
        let started = self.started.load(Relaxed).max(ended);
        let latencies = self.latencies.iter().filter_map(|(name, histogram)| Some((*name, histogram.get()?.to_json())));
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

/// A call in progress. If it is dropped before its end, it was cancelled or it panicked.
#[derive(Debug)]
pub struct ActiveCall {
    stats: Arc<Stats>,
    name: &'static str,
    started_at: Instant,
    is_counted: bool,
}

impl ActiveCall {
    /// Returns the statistics that the call is counted in.
    pub fn stats(&self) -> &Stats {
        &self.stats
    }

    /// Returns the call's name.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Returns the time since the call's start.
    pub fn elapsed(&self) -> Duration {
        self.started_at.elapsed()
    }

    /// Counts the call's end.
    pub fn end(mut self, status: Status) {
        if let Some(histogram) = self.stats.latencies.get(self.name) {
            histogram.get_or_init(Box::default).add(self.started_at.elapsed());
        }
        self.count_end(status);
    }

    fn count_end(&mut self, status: Status) {
        self.is_counted = true;
        if status != Status::Ok {
            self.stats.failure(status);
        }
        self.stats.ended.fetch_add(1, Relaxed);
    }
}

impl Drop for ActiveCall {
    fn drop(&mut self) {
        if !self.is_counted {
            self.count_end(if std::thread::panicking() { Status::Internal } else { Status::Cancelled });
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_counted_once_however_it_ends() {
        let stats = Arc::new(Stats::new(["work.poll", "request"].into_iter()));
        stats.begin("work.poll").end(Status::Ok);
        stats.begin("work.poll").end(Status::NotFound);
        drop(stats.begin("request"));
        let in_flight = stats.begin("request");
        let json: Value = serde_json::from_str(&stats.to_json()).unwrap();
        assert_eq!(json["calls"], json!({"started": 4, "succeeded": 1, "failed": 2, "in_flight": 1}));
        assert_eq!(json["failures"], json!({"not_found": 1, "cancelled": 1}));
        assert_eq!(json["latency_us"]["work.poll"]["count"], 2);
        in_flight.end(Status::Ok);
        let json: Value = serde_json::from_str(&stats.to_json()).unwrap();
        assert_eq!((&json["calls"]["in_flight"], &json["latency_us"]["request"]["count"]), (&json!(0), &json!(1)));
    }

    #[test]
    fn reasons_for_retries_are_in_the_order_of_their_numbers() {
        for (index, (reason, _)) in RetryReason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, index);
        }
    }
}
