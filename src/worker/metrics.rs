//! What a worker did, counted: as JSON, and as text for Prometheus.

use crate::error::Status;
use crate::telemetry::stats::Histogram;
use serde_json::{Map, Value, json};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What a worker asks the server for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// For work.
    Poll,
    /// To have an item.
    Ack,
    /// To keep it.
    Heartbeat,
    /// To stop it.
    Stop,
    /// For what others have left, and to put that back.
    Rescue,
}

const STEPS: [(Step, &str); 5] =
    [(Step::Poll, "poll"), (Step::Ack, "ack"), (Step::Heartbeat, "heartbeat"), (Step::Stop, "stop"), (Step::Rescue, "rescue")];

impl Step {
    /// Its name in the counts and in the log.
    pub fn name(self) -> &'static str {
        STEPS[self as usize].1
    }
}

/// What is counted one by one: its name, and what it is.
const EVENTS: [(&str, &str); 11] = [
    ("claimed", "Items claimed and handed to the host, or about to be."),
    ("finished", "Items that were stopped when their holder was done, or at the end of the worker."),
    ("lost", "Leases lost."),
    ("stop_requested", "Leases whose item was to be stopped before its holder was done."),
    ("abandoned", "Leases given up without stopping the item."),
    ("undelivered", "Items that nobody came for; the queue hands them out again."),
    ("health_checks", "Items without a session, which the worker stops itself."),
    ("rescued", "Items that another worker had acknowledged and left; the queue hands them out again."),
    ("refused", "Items left to the queue: their acknowledgement or first heartbeat was refused permanently."),
    ("gateway", "Requests that something on the way to the API refused with a page of its own; they are made again."),
    ("faults", "Faults in the library that were caught. Please report them."),
];

/// Something that is counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Count {
    /// An item was claimed.
    Claimed,
    /// An item was stopped.
    Finished,
    /// A lease was lost.
    Lost,
    /// An item is to be stopped.
    StopRequested,
    /// A lease was given up.
    Abandoned,
    /// Nobody came for an item.
    Undelivered,
    /// An item without a session.
    HealthCheck,
    /// An item that another worker had left.
    Rescued,
    /// An item that was refused.
    Refused,
    /// A gateway answered in the API's place.
    Gateway,
    /// A panic.
    Fault,
}

/// The counts.
#[derive(Debug, Default)]
pub struct Counts {
    events: [AtomicU64; EVENTS.len()],
    failures: [[AtomicU64; Status::ALL.len()]; STEPS.len()],
    /// From the poll's answer to the first good heartbeat.
    pub claim: Histogram,
    /// How long heartbeats took.
    pub heartbeat: Histogram,
    /// How late heartbeats were sent.
    pub lateness: Histogram,
}

/// What goes with the counts.
pub struct Present<'a> {
    /// The environment.
    pub environment_id: &'a str,
    /// The worker.
    pub worker_id: &'a str,
    /// What the worker is doing.
    pub state: &'static str,
    /// How many items it holds.
    pub held: usize,
    /// How many items it may hold.
    pub concurrency: usize,
}

impl Counts {
    /// Counts something.
    pub fn add(&self, count: Count) {
        self.events[count as usize].fetch_add(1, Relaxed);
    }

    /// Counts a request that failed.
    pub fn failure(&self, step: Step, status: Status) {
        if let Some(index) = Status::ALL.iter().position(|known| *known == status) {
            self.failures[step as usize][index].fetch_add(1, Relaxed);
        }
    }

    fn failures(&self) -> impl Iterator<Item = (&'static str, &'static str, u64)> {
        STEPS.iter().zip(&self.failures).flat_map(|((_, step), row)| {
            let counts = row.iter().map(|count| count.load(Relaxed)).zip(Status::ALL);
            counts.filter(|(count, _)| *count > 0).map(|(count, status)| (*step, status.name(), count))
        })
    }

    /// The counts as JSON.
    pub fn to_json(&self, present: &Present) -> String {
        let mut failures: Map<String, Value> = STEPS.iter().map(|(_, step)| ((*step).to_owned(), json!({}))).collect();
        for (step, status, count) in self.failures() {
            failures[step][status] = count.into();
        }
        let mut all = json!({
            "environment_id": present.environment_id,
            "worker_id": present.worker_id,
            "state": present.state,
            "concurrency": present.concurrency,
            "leases_held": present.held,
            "failures": failures,
            "claim_us": self.claim.to_json(),
            "heartbeat_us": self.heartbeat.to_json(),
            "heartbeat_late_us": self.lateness.to_json(),
        });
        for ((name, _), count) in EVENTS.iter().zip(&self.events) {
            all[*name] = count.load(Relaxed).into();
        }
        all.to_string()
    }

    /// The counts in Prometheus's text format.
    pub fn to_prometheus(&self, present: &Present) -> String {
        let mut text = String::new();
        let labels = format!("environment_id={},worker_id={}", quoted(present.environment_id), quoted(present.worker_id));
        let mut family = |name: &str, kind: &str, help: &str, samples: &[(String, String)]| {
            let _ = writeln!(text, "# HELP antenv_worker_{name} {help}\n# TYPE antenv_worker_{name} {kind}");
            for (sample, value) in samples {
                let _ = writeln!(text, "antenv_worker_{name}{sample} {value}");
            }
        };
        let plain = |value: u64| [(format!("{{{labels}}}"), value.to_string())];
        family("leases_held", "gauge", "Items held at present.", &plain(present.held as u64));
        family("concurrency", "gauge", "Items held at most.", &plain(present.concurrency as u64));
        for ((name, help), count) in EVENTS.iter().zip(&self.events) {
            family(&format!("{name}_total"), "counter", help, &plain(count.load(Relaxed)));
        }
        let failures: Vec<_> = self
            .failures()
            .map(|(step, status, count)| (format!("{{{labels},step=\"{step}\",status=\"{status}\"}}"), count.to_string()))
            .collect();
        family("failures_total", "counter", "Requests that failed, by step and status.", &failures);
        for (name, help, histogram) in [
            ("claim_seconds", "From the poll's answer to the first good heartbeat.", &self.claim),
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

    fn present() -> Present<'static> {
        Present { environment_id: "env_1", worker_id: "host \"a\"", state: "running", held: 2, concurrency: 4 }
    }

    #[test]
    fn counts_stand_in_the_order_of_their_numbers() {
        for (index, (step, _)) in STEPS.iter().enumerate() {
            assert_eq!(*step as usize, index);
        }
        assert_eq!(EVENTS[Count::HealthCheck as usize].0, "health_checks");
        assert_eq!(EVENTS[Count::Rescued as usize].0, "rescued");
        assert_eq!(EVENTS[Count::Undelivered as usize].0, "undelivered");
        assert_eq!(EVENTS[Count::Refused as usize].0, "refused");
        assert_eq!(EVENTS[Count::Gateway as usize].0, "gateway");
        assert_eq!(EVENTS[Count::Fault as usize].0, "faults");
    }

    #[test]
    fn both_forms_say_the_same() {
        let counts = Counts::default();
        counts.add(Count::Claimed);
        counts.add(Count::Claimed);
        counts.add(Count::Lost);
        counts.failure(Step::Heartbeat, Status::ServerError);
        counts.claim.add(Duration::from_millis(3));
        counts.claim.add(Duration::from_secs(2));
        let json: Value = serde_json::from_str(&counts.to_json(&present())).unwrap();
        assert_eq!((&json["claimed"], &json["lost"], &json["leases_held"]), (&json!(2), &json!(1), &json!(2)));
        assert_eq!(json["failures"], json!({"poll": {}, "ack": {}, "heartbeat": {"server_error": 1}, "stop": {}, "rescue": {}}));
        assert_eq!(json["claim_us"]["count"], 2);
        let text = counts.to_prometheus(&present());
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
