//! A worker: claims items from the work queue of a self-hosted environment, and keeps their leases while the host serves them.
//!
//! ```text
//!                 ┌ poller: when ─┐          ┌ claim: acknowledge ┐  ┌ lease: heartbeats ─────────────┐
//!  supervisor ────┴ polls         ┴─ item ──►┴                    ┴─►┴ first accepted ─► ready ─► next ┴─► finish, abandon
//!     │  one task a worker                      one task an item                            the host's threads
//!     └─ stop: no more polls; leases continue; when the grace period expires, the items are stopped
//! ```
//!
//! `poller`, `claim` and `lease::machine` are pure state machines; `supervisor` and `lease::task` drive them. `shared` holds the state that
//! these tasks share with the host's threads, and `lease::handle` is the lease as its holder sees it. The host pulls: nothing is called
//! back, and no more is claimed than it asks for. An item is handed out after its first accepted heartbeat, which makes it this worker's;
//! from then on the lease is kept, whatever the host's threads do. `handover` moves a lease from one process to another.

pub mod claim;
pub mod config;
#[cfg(test)]
mod fault_injection;
#[cfg(test)]
mod fault_tests;
mod handover;
#[cfg(test)]
mod handover_tests;
pub mod lease;
mod limiter;
pub mod metrics;
pub mod poller;
mod request;
pub mod rescue;
pub mod secret;
mod shared;
#[cfg(test)]
mod simulation;
mod supervisor;

pub use handover::adopt;
pub use lease::{Lease, LeaseUse, Standing};

use crate::client::Client;
use crate::completion::Queue;
use crate::config::process_env_vars;
use crate::credentials::Secret;
use crate::error::{Error, Result, Status};
use crate::runtime::fork::ProcessLocal;
pub(crate) use crate::runtime::fork::used_after_fork;
use config::Config;
use shared::{WorkerEnd, WorkerShared};
use std::sync::Arc;
use std::time::Duration;
use supervisor::{Source, poll_request, supervise};

/// The target of the worker's log records.
const LOG: &str = "antenv::worker";

/// A worker, usable from any thread. Dropping it closes it.
pub struct Worker(ProcessLocal<Arc<WorkerShared>>);

impl Worker {
    /// Creates a worker from a JSON configuration, with defaults from the client and the environment variables. It claims work as soon as
    /// the host asks for it. Does not block. Errors: `CONFIG`, naming the key; `CLOSED` while the library shuts down; `INTERNAL`.
    pub fn new(client: &Client, config_json: Option<&str>) -> Result<Worker> {
        let config = Config::read(config_json, client, &process_env_vars)?;
        let client = with_credential(client, "environment_key", config.environment_key.as_ref())?;
        let pool = client.pool_handle()?;
        let poll = poll_request(&client, &config)?;
        let shared = Arc::new(WorkerShared::new(config, client, pool));
        start(&shared, Source::WorkQueue(poll));
        Ok(Worker(ProcessLocal::new(shared)))
    }

    fn shared(&self) -> Result<&Arc<WorkerShared>> {
        self.0.get().ok_or_else(|| used_after_fork("worker"))
    }

    /// Waits for the next item and returns its lease and its JSON. Blocks for at most `timeout`; `None` waits without a limit. Returns
    /// `None` when no more items will come. Several threads may wait at once. Errors: `TIMEOUT`, `INTERRUPTED` (a signal handler ran in
    /// this thread), `CLOSED` after a fork, or the error that ended the worker.
    pub fn next(&self, timeout: Option<Duration>) -> Result<Option<(Arc<Lease>, String)>> {
        self.shared()?.next(timeout)
    }

    /// Posts a completion with this tag for each item that is ready, and claims as many items as the worker may hold. Take the items
    /// with [`next`] and a timeout of zero. A last completion reports that no more items will come: `DONE`, or the error that ended
    /// the worker. `None` in place of a queue detaches the worker. Does not block. Errors: `CLOSED`, of the worker or of the queue.
    ///
    /// [`next`]: Worker::next
    pub fn attach(&self, queue: Option<&Arc<Queue>>, tag: u64) -> Result<()> {
        let shared = self.shared()?;
        let Some(queue) = queue else {
            shared.state.lock().attached = None;
            return Ok(());
        };
        queue.fd()?;
        let mut state = shared.state.lock();
        state.attached = Some((queue.clone(), tag));
        let ready: Vec<_> = state.ready.iter().cloned().collect();
        let end = state.end.clone();
        drop(state);
        for lease in ready {
            queue.post(tag, Ok(lease.notice()));
        }
        end.map(|end| queue.post(tag, Err(end.error())));
        shared.changed.notify_one();
        Ok(())
    }

    /// Stops claiming. Leases continue until they are finished or the grace period expires; items claimed before are still handed out.
    /// Does not block; calling it again has no effect. Errors: `CLOSED` after a fork.
    pub fn stop(&self) -> Result<()> {
        self.shared().map(|shared| shared.stop())
    }

    /// Returns the worker's state and metrics as a JSON object. Does not block. Errors: `CLOSED` after a fork.
    pub fn stats(&self) -> Result<String> {
        self.shared().map(|shared| shared.metrics.to_json(&shared.snapshot()))
    }

    /// Returns the same in Prometheus's text format.
    pub fn metrics(&self) -> Result<String> {
        self.shared().map(|shared| shared.metrics.to_prometheus(&shared.snapshot()))
    }

    /// Stops the worker, wakes all threads in [`next`](Worker::next) and releases the items that are ready. Does not block.
    pub fn close(&self) {
        if let Some(shared) = self.0.get() {
            shared.close();
        }
    }
}

/// Starts the worker's own task.
fn start(shared: &Arc<WorkerShared>, source: Source) {
    let supervised = shared.clone();
    shared.pool.runtime().spawn(supervise(shared.clone(), source), None, move |outcome| {
        // The task returned, was cancelled because the library shut down, or panicked.
        let end = outcome.err().map_or(WorkerEnd::Stopped, |error| match error.status() {
            Status::Cancelled => WorkerEnd::Stopped,
            _ => WorkerEnd::Failed(error),
        });
        supervised.state.lock().claiming.clear();
        supervised.end(end);
        supervised.conclude();
    });
}

/// Returns a client on the same connections with this credential, which the configuration's `key` gives. Errors: `CONFIG`.
fn with_credential(client: &Client, key: &str, credential: Option<&Secret>) -> Result<Client> {
    let credential = credential.ok_or_else(|| Error::config(key, "is missing"))?;
    let invalid = || Error::config(key, "contains characters that an HTTP header cannot carry");
    client.with_bearer(credential).ok_or_else(invalid)
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.close();
    }
}
