//! What a worker counts and measures: as JSON, and as text for Prometheus.

use crate::error::Status;
use crate::telemetry::histogram::Histogram;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Defines an enum from a table: each row is a value, its name, and what it means.
macro_rules! named_values {
    ($(#[$meta:meta])* $enum:ident { $($value:ident: $name:literal, $meaning:literal;)* }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $enum {
            $(#[doc = $meaning] $value,)*
        }

        impl $enum {
            /// All values, in the order of their numbers.
            pub const ALL: &'static [$enum] = &[$($enum::$value),*];

            /// Returns the value's name in metrics and logs.
            pub const fn name(self) -> &'static str {
                match self { $($enum::$value => $name),* }
            }

            /// Returns a sentence that says what the value means.
            pub const fn meaning(self) -> &'static str {
                match self { $($enum::$value => $meaning),* }
            }
        }
    };
}

named_values! {
    /// What a worker sends a request for.
    RequestKind {
        Poll: "poll", "Asks for work.";
        Ack: "ack", "Acknowledges an item.";
        Heartbeat: "heartbeat", "Keeps the lease on an item.";
        Stop: "stop", "Stops an item.";
        Rescue: "rescue", "Finds items that another worker left behind, and releases them.";
    }
}

named_values! {
    /// What a worker counts.
    Counter {
        Claimed: "claimed", "Items claimed and handed to the host, or about to be.";
        Finished: "finished", "Items stopped when their holder finished them, or when the worker shut down.";
        Lost: "lost", "Leases lost.";
        StopRequested: "stop_requested", "Leases whose item had to stop before its holder finished it.";
        Abandoned: "abandoned", "Leases abandoned without stopping the item.";
        Released: "released", "Leases handed over to another process.";
        Undelivered: "undelivered", "Items released to the work queue because the host did not pick them up.";
        HealthChecks: "health_checks", "Items without a session, which the worker stops itself.";
        Rescued: "rescued", "Items released to the work queue that another worker had acknowledged and left behind.";
        Refused: "refused", "Items left to the work queue: their acknowledgement or first heartbeat was refused permanently.";
        Gateway: "gateway", "Requests that a gateway refused in the API's place; they are sent again.";
        Faults: "faults", "Panics caught in the library. Please report them.";
    }
}

/// What one worker has counted and measured.
#[derive(Debug, Default)]
pub struct WorkerMetrics {
    counters: [AtomicU64; Counter::ALL.len()],
    failures: [[AtomicU64; Status::ALL.len()]; RequestKind::ALL.len()],
    /// From the poll's answer to the first accepted heartbeat.
    pub claim: Histogram,
    /// How long heartbeats took.
    pub heartbeat: Histogram,
    /// How late heartbeats were sent.
    pub lateness: Histogram,
}

/// The worker's present state, reported along with its metrics.
pub struct WorkerSnapshot<'a> {
    /// The environment's id.
    pub environment_id: &'a str,
    /// The worker's id.
    pub worker_id: &'a str,
    /// `running`, `stopping`, or why it ended.
    pub state: &'static str,
    /// The number of items that it holds.
    pub held: usize,
    /// The number of items that it may hold at once.
    pub concurrency: usize,
    /// Why the last poll failed; `None` after one that succeeded.
    pub last_poll_failure: Option<String>,
}

impl WorkerMetrics {
    /// Adds one to a counter.
    pub fn increment(&self, counter: Counter) {
        self.counters[counter as usize].fetch_add(1, Relaxed);
    }

    /// Counts a failed request.
    pub fn record_failure(&self, kind: RequestKind, status: Status) {
        if let Some(index) = Status::ALL.iter().position(|known| *known == status) {
            self.failures[kind as usize][index].fetch_add(1, Relaxed);
        }
    }

    fn failures(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        RequestKind::ALL.iter().zip(&self.failures).flat_map(|(kind, row)| {
            let counts = row.iter().map(|count| count.load(Relaxed)).zip(Status::ALL);
            counts.filter(|(count, _)| *count > 0).map(|(count, status)| (kind.name(), status.name(), count))
        })
    }

    /// Returns the metrics as a JSON object.
    pub fn to_json(&self, snapshot: &WorkerSnapshot) -> String {
        let mut failures: Map<String, Value> = RequestKind::ALL.iter().map(|kind| (kind.name().to_owned(), json!({}))).collect();
        for (step, status, count) in self.failures() {
            failures[step][status] = count.into();
        }
        let mut all = json!({
            "environment_id": snapshot.environment_id,
            "worker_id": snapshot.worker_id,
            "state": snapshot.state,
            "concurrency": snapshot.concurrency,
            "leases_held": snapshot.held,
            "failures": failures,
            "last_poll_failure": snapshot.last_poll_failure,
            "claim_us": self.claim.to_json(),
            "heartbeat_us": self.heartbeat.to_json(),
            "heartbeat_late_us": self.lateness.to_json(),
        });
        for (counter, value) in Counter::ALL.iter().zip(&self.counters) {
            all[counter.name()] = value.load(Relaxed).into();
        }
        all.to_string()
    }

    /// Returns the metrics in Prometheus's text format.
    pub fn to_prometheus(&self, snapshot: &WorkerSnapshot) -> String {
        let mut text = String::new();
        let labels = format!("environment_id={},worker_id={}", quoted(snapshot.environment_id), quoted(snapshot.worker_id));
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            let _ = writeln!(text, "# HELP antenv_worker_{name} {help}\n# TYPE antenv_worker_{name} {kind}");
            for (sample, value) in samples {
                let _ = writeln!(text, "antenv_worker_{name}{sample} {value}");
            }
        };
        let plain = |value: u64| [(format!("{{{labels}}}"), value.to_string())];
        family("leases_held", "gauge", "Items held at present.", &plain(snapshot.held as u64));
        family("concurrency", "gauge", "Items held at most.", &plain(snapshot.concurrency as u64));
        for (counter, value) in Counter::ALL.iter().zip(&self.counters) {
            family(&format!("{}_total", counter.name()), "counter", counter.meaning(), &plain(value.load(Relaxed)));
        }
        let failures: Vec<_> = self
            .failures()
            .map(|(step, status, count)| (format!("{{{labels},step=\"{step}\",status=\"{status}\"}}"), count.to_string()))
            .collect();
        family("failures_total", "counter", "Requests that failed, by step and status.", &failures);
        for (name, help, histogram) in [
            ("claim_seconds", "From the poll's answer to the first accepted heartbeat.", &self.claim),
            ("heartbeat_seconds", "How long heartbeats took.", &self.heartbeat),
            ("heartbeat_late_seconds", "How late heartbeats were sent.", &self.lateness),
        ] {
            let (below, count, sum) = histogram.doubling();
            let mut samples: Vec<_> =
                below.iter().map(|(le, count)| (format!("_bucket{{{labels},le=\"{le}\"}}"), count.to_string())).collect();
            samples.push((format!("_bucket{{{labels},le=\"+Inf\"}}"), count.to_string()));
            samples.push((format!("_sum{{{labels}}}"), sum.to_string()));
            samples.push((format!("_count{{{labels}}}"), count.to_string()));
            family(name, "histogram", help, &samples);
        }
        text
    }
}

fn quoted(value: &str) -> String {
    format!("\"{}\"", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn snapshot() -> WorkerSnapshot<'static> {
        WorkerSnapshot {
            environment_id: "env_1",
            worker_id: "host \"a\"",
            state: "running",
            held: 2,
            concurrency: 4,
            last_poll_failure: None,
        }
    }

    #[test]
    fn values_are_numbered_in_the_order_of_their_table() {
        assert!(Counter::ALL.iter().enumerate().all(|(index, counter)| *counter as usize == index));
        assert!(RequestKind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
    }

    #[test]
    fn both_forms_say_the_same() {
        let metrics = WorkerMetrics::default();
        metrics.increment(Counter::Claimed);
        metrics.increment(Counter::Claimed);
        metrics.increment(Counter::Lost);
        metrics.record_failure(RequestKind::Heartbeat, Status::ServerError);
        metrics.claim.add(Duration::from_millis(3));
        metrics.claim.add(Duration::from_secs(2));
        let json: Value = serde_json::from_str(&metrics.to_json(&snapshot())).unwrap();
        assert_eq!((&json["claimed"], &json["lost"], &json["leases_held"]), (&json!(2), &json!(1), &json!(2)));
        assert_eq!(json["failures"], json!({"poll": {}, "ack": {}, "heartbeat": {"server_error": 1}, "stop": {}, "rescue": {}}));
        assert_eq!(json["claim_us"]["count"], 2);
        let text = metrics.to_prometheus(&snapshot());
        let labels = r#"environment_id="env_1",worker_id="host \"a\"""#;
        for line in [
            format!("antenv_worker_leases_held{{{labels}}} 2"),
            format!("antenv_worker_claimed_total{{{labels}}} 2"),
            format!("antenv_worker_failures_total{{{labels},step=\"heartbeat\",status=\"server_error\"}} 1"),
            format!("antenv_worker_claim_seconds_bucket{{{labels},le=\"0.004096\"}} 1"),
            format!("antenv_worker_claim_seconds_bucket{{{labels},le=\"+Inf\"}} 2"),
            format!("antenv_worker_claim_seconds_count{{{labels}}} 2"),
            format!("antenv_worker_claim_seconds_sum{{{labels}}} 2.003"),
        ] {
            assert!(text.lines().any(|known| known == line), "{line} is not in\n{text}");
        }
        let families = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(families, text.lines().filter(|line| line.starts_with("# HELP")).count());
    }
}
