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
mod fault_injection;
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
use crate::config::process_environment;
use crate::error::{Error, Result, Status};
use crate::runtime::fork::Owned;
use crate::runtime::wakeup::Woken;
use config::Config;
use shared::{Waiter, WorkerEnd, WorkerShared, thread_wakeup};
use std::sync::Arc;
use std::time::{Duration, Instant};
use supervisor::{poll_request, supervise};

/// What the records here are filed under.
const LOG: &str = "antenv::worker";

/// A worker. Dropping it stops it.
pub struct Worker(Owned<Arc<WorkerShared>>);

fn used_after_fork() -> Error {
    Error::new(Status::Closed, "the worker belongs to the process that made it, and this is a child of that")
}

impl Worker {
    /// Makes a worker from a JSON configuration, and has it claim work as soon as the host asks for it.
    pub fn new(client: &Client, config_json: Option<&str>) -> Result<Worker> {
        let config = Config::read(config_json, client, &process_environment)?;
        let client = client
            .with_bearer(&config.environment_key)
            .ok_or_else(|| Error::config("environment_key", "has characters that cannot stand in an HTTP header"))?;
        let pool = client.line()?;
        let poll = poll_request(&client, &config)?;
        let shared = Arc::new(WorkerShared::new(config, client, pool, poll));
        let supervised = shared.clone();
        shared.pool.runtime().spawn(supervise(shared.clone()), None, move |outcome| {
            // It ends by itself, is cut off when the library shuts down in a hurry, or broke off by a fault.
            let end = outcome.err().map_or(WorkerEnd::Stopped, |error| match error.status() {
                Status::Cancelled => WorkerEnd::Stopped,
                _ => WorkerEnd::Failed(error),
            });
            supervised.state.lock().claiming.clear();
            supervised.end(end);
            supervised.conclude();
        });
        Ok(Worker(Owned::new(shared)))
    }

    fn shared(&self) -> Result<&Arc<WorkerShared>> {
        self.0.get().ok_or_else(used_after_fork)
    }

    /// The next item: its lease, and its JSON; blocks until there is one, up to `timeout` (`None`: however long that takes).
    /// `None`: there is nothing more to come. Errors: `TIMEOUT`, `INTERRUPTED`, or the one that ended the worker.
    pub fn next(&self, timeout: Option<Duration>) -> Result<Option<(Arc<Lease>, String)>> {
        let shared = self.shared()?;
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let waiter = Waiter::new(shared);
        let wakeup = thread_wakeup()?;
        loop {
            let mut state = shared.state.lock();
            if let Some(lease) = state.ready.pop_front() {
                drop(state);
                let json = lease.hand_out();
                return Ok(Some((lease, json)));
            }
            match state.end.clone() {
                None => {}
                Some(WorkerEnd::Failed(error)) => return Err(error),
                Some(_) => return Ok(None),
            }
            if state.is_closed {
                return Ok(None);
            }
            let timed_out = || Error::new(Status::Timeout, "no work came in time");
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                drop(state);
                waiter.keep_demand();
                return Err(timed_out());
            }
            state.waiters.push_back(wakeup.clone());
            drop(state);
            let woken = wakeup.wait(until);
            let mut state = shared.state.lock();
            let at = state.waiters.iter().position(|other| Arc::ptr_eq(other, &wakeup));
            at.map(|at| state.waiters.remove(at));
            drop(state);
            if at.is_none() {
                // It was rung, be it at the last moment: there is something to look at.
                wakeup.clear();
                continue;
            }
            waiter.keep_demand();
            return Err(match woken {
                Woken::BySignal => Error::new(Status::Interrupted, "a signal handler ran in the waiting thread"),
                Woken::ByTime | Woken::BySet => timed_out(),
            });
        }
    }

    /// Has each item's arrival told by a completion with this tag, and as many items claimed as the worker may hold. [`next`]
    /// without waiting takes them. A last completion tells that there is nothing more to come: `DONE`, or why the worker failed.
    /// `None` in place of a queue ends that.
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
            queue.tell(tag, Ok(lease.notice()));
        }
        end.map(|end| queue.tell(tag, Err(end.error())));
        shared.changed.notify_one();
        Ok(())
    }

    /// Claims no more. Leases go on until they are finished or the grace period is over; what was claimed is still handed out.
    pub fn stop(&self) -> Result<()> {
        self.shared().map(|shared| shared.stop())
    }

    /// What the worker did so far: a JSON object.
    pub fn stats(&self) -> Result<String> {
        self.shared().map(|shared| shared.metrics.to_json(&shared.snapshot()))
    }

    /// The same for Prometheus.
    pub fn metrics(&self) -> Result<String> {
        self.shared().map(|shared| shared.metrics.to_prometheus(&shared.snapshot()))
    }

    /// Stops the worker; nobody will ask it for work any more.
    pub fn close(&self) {
        if let Some(shared) = self.0.get() {
            shared.close();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.close();
    }
}
