//! A worker: claims items from the queue of a self-hosted environment, and holds their leases while the host serves them.
//!
//! ```text
//!                 ┌ poller: when ─┐          ┌ claim: acknowledge ┐  ┌ lease: heartbeats ─────────────┐
//!  supervisor ────┴ polls         ┴─ item ──►┴                    ┴─►┴ first good one ─► ready ─► next ┴─► finish, abandon
//!     │  one task a worker                      one task an item                            the host's threads
//!     └─ stop: no more polls; leases go on; when the grace period is over, the items are stopped
//! ```
//!
//! `poller`, `claim` and `lease::machine` are pure state machines; `supervisor` and `lease::task` do what they say; `shared` is what they
//! share with the host's threads, `lease::handle` the lease as its holder sees it. The host pulls: nothing is called back, and no more is
//! claimed than it asks for. An item is handed out after its first good heartbeat, which is what makes it this worker's; from then on the
//! lease is kept whatever the host's threads do.

pub mod claim;
pub mod config;
#[cfg(test)]
mod fault_tests;
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

pub use lease::Lease;

use crate::client::Client;
use crate::completion::Queue;
use crate::config::process_env_vars;
use crate::error::{Error, Result, Status};
use crate::runtime::fork::ProcessLocal;
use crate::runtime::wakeup::WaitOutcome;
use config::Config;
use shared::{End, Inner, Wanted, bell};
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::{poll_request, supervise};

/// What the records here are filed under.
const LOG: &str = "antenv::worker";

/// A worker. Dropping it stops it.
pub struct Worker(ProcessLocal<Arc<Inner>>);

fn elsewhere() -> Error {
    Error::new(Status::Closed, "the worker belongs to the process that made it, and this is a child of that")
}

impl Worker {
    /// Makes a worker from a JSON configuration, and has it claim work as soon as the host asks for it.
    pub fn new(client: &Client, config_json: Option<&str>) -> Result<Worker> {
        let config = Config::read(config_json, client, &process_env_vars)?;
        let client = client
            .with_bearer(&config.environment_key)
            .ok_or_else(|| Error::config("environment_key", "has characters that cannot stand in an HTTP header"))?;
        let line = client.pool_handle()?;
        let poll = poll_request(&client, &config)?;
        let inner = Arc::new(Inner::new(config, client, line, poll));
        let supervised = inner.clone();
        inner.line.runtime().spawn(supervise(inner.clone()), None, move |outcome| {
            // It ends by itself, is cut off when the library shuts down in a hurry, or broke off by a fault.
            let end = outcome.err().map_or(End::Stopped, |error| match error.status() {
                Status::Cancelled => End::Stopped,
                _ => End::Failed(error),
            });
            supervised.state.lock().unready.clear();
            supervised.end(end);
            supervised.conclude();
        });
        Ok(Worker(ProcessLocal::new(inner)))
    }

    fn inner(&self) -> Result<&Arc<Inner>> {
        self.0.get().ok_or_else(elsewhere)
    }

    /// The next item: its lease, and its JSON; blocks until there is one, up to `patience` (`None`: however long that takes).
    /// `None`: there is nothing more to come. Errors: `TIMEOUT`, `INTERRUPTED`, or the one that ended the worker.
    pub fn next(&self, patience: Option<Duration>) -> Result<Option<(Arc<Lease>, String)>> {
        let inner = self.inner()?;
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        let wanted = Wanted::new(inner);
        let bell = bell()?;
        loop {
            let mut state = inner.state.lock();
            if let Some(lease) = state.ready.pop_front() {
                drop(state);
                let json = lease.hand_out();
                return Ok(Some((lease, json)));
            }
            match state.end.clone() {
                None => {}
                Some(End::Failed(error)) => return Err(error),
                Some(_) => return Ok(None),
            }
            if state.is_closed {
                return Ok(None);
            }
            let timeout = || Error::new(Status::Timeout, "no work came in time");
            if patience.is_some_and(|patience| patience.is_zero()) {
                drop(state);
                wanted.linger();
                return Err(timeout());
            }
            state.sleepers.push_back(bell.clone());
            drop(state);
            let woken = bell.wait(until);
            let mut state = inner.state.lock();
            let at = state.sleepers.iter().position(|other| Arc::ptr_eq(other, &bell));
            at.map(|at| state.sleepers.remove(at));
            drop(state);
            if at.is_none() {
                // It was rung, be it at the last moment: there is something to look at.
                bell.clear();
                continue;
            }
            wanted.linger();
            return Err(match woken {
                WaitOutcome::Interrupted => Error::new(Status::Interrupted, "a signal handler ran in the waiting thread"),
                WaitOutcome::TimedOut | WaitOutcome::Signaled => timeout(),
            });
        }
    }

    /// Has each item's arrival told by a completion with this tag, and as many items claimed as the worker may hold. [`next`]
    /// without waiting takes them. A last completion tells that there is nothing more to come: `DONE`, or why the worker failed.
    /// `None` in place of a queue ends that.
    ///
    /// [`next`]: Worker::next
    pub fn attach(&self, queue: Option<&Arc<Queue>>, tag: u64) -> Result<()> {
        let inner = self.inner()?;
        let Some(queue) = queue else {
            inner.state.lock().attached = None;
            return Ok(());
        };
        queue.fd()?;
        let mut state = inner.state.lock();
        state.attached = Some((queue.clone(), tag));
        let ready: Vec<_> = state.ready.iter().cloned().collect();
        let end = state.end.clone();
        drop(state);
        for lease in ready {
            queue.tell(tag, Ok(lease.notice()));
        }
        end.map(|end| queue.tell(tag, Err(end.error())));
        inner.news.notify_one();
        Ok(())
    }

    /// Claims no more. Leases go on until they are finished or the grace period is over; what was claimed is still handed out.
    pub fn stop(&self) -> Result<()> {
        self.inner().map(|inner| inner.stop())
    }

    /// What the worker did so far: a JSON object.
    pub fn stats(&self) -> Result<String> {
        self.inner().map(|inner| inner.counts.to_json(&inner.present()))
    }

    /// The same for Prometheus.
    pub fn metrics(&self) -> Result<String> {
        self.inner().map(|inner| inner.counts.to_prometheus(&inner.present()))
    }

    /// Stops the worker; nobody will ask it for work any more.
    pub fn close(&self) {
        if let Some(inner) = self.0.get() {
            inner.close();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.close();
    }
}
