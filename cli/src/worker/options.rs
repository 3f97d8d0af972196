//! The options of what claims items.

use super::seconds;
use crate::output::Failure;
use antenv::{Client, Worker};
use clap::Args;
use serde_json::json;
use std::time::Duration;

/// How items are claimed, and how that ends.
#[derive(Args)]
pub struct WorkerOptions {
    /// How many items are served at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub concurrency: u32,

    /// The time that items have to end: up to 86400, such as 0.5 or 30s
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = seconds::parse, allow_negative_numbers = true)]
    pub grace: Duration,

    /// End when the work queue is empty
    #[arg(long)]
    pub drain: bool,

    /// Where /metrics is served for Prometheus, such as :9464 or 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS")]
    pub metrics: Option<String>,
}

impl WorkerOptions {
    /// Starts the worker. `keeps_leases`: whether it sends the heartbeats.
    pub fn start(&self, client: &Client, keeps_leases: bool) -> Result<Worker, Failure> {
        let config = json!({"concurrency": self.concurrency, "grace_ms": seconds::in_ms(self.grace), "drain": self.drain,
                            "heartbeat": keeps_leases});
        Ok(Worker::new(client, Some(&config.to_string()))?)
    }
}
