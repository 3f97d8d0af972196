//! The state that a worker's tasks and the host's threads share: the items, the threads that wait for them, and why the worker ends.

use super::LOG;
use super::config::Config;
use super::lease::handle::Lease;
use super::limiter::Limiter;
use super::metrics::{Counter, WorkerMetrics, WorkerSnapshot};
use crate::client::{Client, PoolHandle};
use crate::completion::Queue;
use crate::error::{Error, Result, Status};
use crate::runtime::clock::{self, ClockTime};
use crate::runtime::fork::ForkSafeMutex;
use crate::runtime::waiters::{Waiters, wait_for};
use crate::telemetry::log::{self, Level};
use serde_json::json;
use slab::Slab;
use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a host counts as wanting work after a call that asked for it and returned without any.
const DEMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// The number of permanent refusals, without a claim in between, that ends the worker.
pub(super) const MAX_REJECTIONS: usize = 3;
/// The most heartbeats, and the most stops, in flight at once, for up to 8192 leases.
const MAX_IN_FLIGHT: usize = 128;
/// Above that, one more in flight for each of these many leases, so that they are kept in time.
const LEASES_PER_REQUEST: usize = 64;
/// How long a claim counts as undecided; one that takes longer no longer holds back other claims.
const CLAIM_OUTCOME_TIMEOUT: Duration = Duration::from_secs(15);

/// A worker, as its tasks and the host's threads share it.
pub(super) struct WorkerShared {
    pub(super) config: Config,
    /// With the environment's key. Of an adopted lease: with the item's own token, if there is one.
    pub(super) client: Client,
    pub(super) pool: PoolHandle,
    pub(super) state: ForkSafeMutex<State>,
    /// Wakes the supervisor.
    pub(super) changed: Notify,
    pub(super) metrics: WorkerMetrics,
    /// Whether the API has responded successfully to this worker before.
    pub(super) has_worked: AtomicBool,
    pub(super) heartbeats: Limiter,
    pub(super) stops: Limiter,
    #[cfg(test)]
    pub(super) faults: super::fault_injection::FaultInjector,
}

#[derive(Default)]
pub(super) struct State {
    /// When the worker was stopped.
    pub(super) stopped: Option<ClockTime>,
    /// Why the worker claims no more.
    pub(super) ending: Option<WorkerEnd>,
    /// The same, once no claim is pending: what `next` reports when no item is ready.
    pub(super) end: Option<WorkerEnd>,
    /// Leases to hand out.
    pub(super) ready: VecDeque<Arc<Lease>>,
    /// The items being claimed, with the time at which each claim began.
    pub(super) claiming: Slab<ClockTime>,
    /// The number of items: being claimed, ready, and handed out.
    pub(super) in_use: usize,
    pub(super) leases: Slab<Weak<Lease>>,
    /// Whether the grace period has expired.
    pub(super) grace_expired: bool,
    /// Whether the worker was closed: no thread will ask for work.
    pub(super) is_closed: bool,
    /// The number of permanent refusals since the last claim.
    pub(super) rejections: usize,
    /// Whether an item was claimed before.
    pub(super) has_claimed: bool,
    /// Why the last poll failed; `None` after one that succeeded.
    pub(super) last_poll_failure: Option<String>,
    /// The number of threads in `next`.
    pub(super) waiting: usize,
    /// The sleeping ones among them. One item wakes one thread.
    pub(super) waiters: Waiters,
    /// Until when the host counts as wanting work although no thread waits.
    pub(super) demand_until: ClockTime,
    pub(super) attached: Option<(Arc<Queue>, u64)>,
}

/// Why a worker claims no more.
#[derive(Clone)]
pub(super) enum WorkerEnd {
    Stopped,
    Drained,
    Failed(Error),
}

impl WorkerEnd {
    pub(super) fn name(&self) -> &'static str {
        match self {
            WorkerEnd::Stopped => "stopped",
            WorkerEnd::Drained => "drained",
            WorkerEnd::Failed(_) => "failed",
        }
    }

    pub(super) fn error(&self) -> Error {
        match self {
            WorkerEnd::Failed(error) => error.clone(),
            _ => Error::new(Status::Done, format!("the worker is {}: no more items will come", self.name())),
        }
    }
}

impl WorkerShared {
    pub(super) fn new(config: Config, client: Client, pool: PoolHandle) -> WorkerShared {
        let max = MAX_IN_FLIGHT.max(config.concurrency / LEASES_PER_REQUEST);
        WorkerShared {
            config,
            client,
            pool,
            state: ForkSafeMutex::default(),
            changed: Notify::new(),
            metrics: WorkerMetrics::default(),
            has_worked: AtomicBool::new(false),
            heartbeats: Limiter::new(max),
            stops: Limiter::new(max),
            #[cfg(test)]
            faults: Default::default(),
        }
    }

    /// Counts and logs a panic that was caught.
    pub(super) fn record_panic(&self, what: &'static str) {
        self.metrics.increment(Counter::Faults);
        log::record(Level::Error, LOG, "caught a panic in the library; please report it", || json!({"in": what}));
    }

    /// Records that an item was refused permanently before it was handed out; it is left to the work queue. When all items are refused,
    /// the cause lies with the worker, which ends.
    pub(super) fn on_rejected(&self, work_id: &str, error: Error) {
        self.metrics.increment(Counter::Refused);
        log::record(
            Level::Warn,
            LOG,
            "item was refused; leaving it to the work queue",
            || json!({"work_id": work_id, "status": error.status().name(), "why": error.to_string()}),
        );
        let option = self.config.refused_option(&error);
        let mut state = self.state.lock();
        state.rejections += 1;
        let is_enough = option.is_some() || state.rejections >= MAX_REJECTIONS;
        drop(state);
        if is_enough {
            self.end(WorkerEnd::Failed(option.map_or_else(|| error.clone(), |option| error.clone().blaming(option))));
            self.changed.notify_one();
        }
    }

    /// Records that an item was claimed.
    pub(super) fn on_claimed(&self) {
        self.metrics.increment(Counter::Claimed);
        let mut state = self.state.lock();
        (state.rejections, state.has_claimed) = (0, true);
    }

    pub(super) fn take_ready(&self) -> Option<Arc<Lease>> {
        self.state.lock().ready.pop_front()
    }

    /// Hands out a lease: to a thread in `next`, or through the attached queue.
    pub(super) fn offer(&self, lease: &Arc<Lease>) {
        let mut state = self.state.lock();
        state.ready.push_back(lease.clone());
        let (attached, is_closed, waiter) = (state.attached.clone(), state.is_closed, state.waiters.take(1));
        drop(state);
        drop(waiter);
        if is_closed {
            return self.release_ready();
        }
        self.post(attached, || Ok(lease.notice()));
    }

    /// Waits for the next item, as [`Worker::next`](super::Worker::next) describes.
    pub(super) fn next(&self, timeout: Option<Duration>) -> Result<Option<(Arc<Lease>, String)>> {
        let waiter = Waiter::new(self);
        let check = |state: &mut State| match (waiter.take(state), &state.end) {
            (Some(lease), _) => Some(Ok(Some(lease))),
            (None, Some(WorkerEnd::Failed(error))) => Some(Err(error.clone())),
            (None, None) if !state.is_closed => None,
            _ => Some(Ok(None)),
        };
        match wait_for(&self.state, |state| &mut state.waiters, timeout, check) {
            Ok(found) => Ok(found?.map(|lease| {
                let json = lease.hand_out();
                (lease, json)
            })),
            Err(error) => {
                waiter.keep_demand();
                Err(if error.status() == Status::Timeout { self.no_item_in_time() } else { error })
            }
        }
    }

    /// Takes a lease back before it is handed out. Returns false if it has been.
    pub(super) fn retract(&self, lease: &Arc<Lease>) -> bool {
        let mut state = self.state.lock();
        let at = state.ready.iter().position(|ready| Arc::ptr_eq(ready, lease));
        at.map(|at| state.ready.remove(at)).is_some()
    }

    /// Posts a completion to the attached queue, if there is one.
    pub(super) fn post(&self, attached: Option<(Arc<Queue>, u64)>, result: impl FnOnce() -> Result<String>) {
        if let Some((queue, tag)) = attached
            && !queue.post(tag, result())
        {
            // The queue was freed: from now on items are claimed for threads in `next`, unless another queue was attached just now.
            self.state.lock().attached.take_if(|(attached, _)| Arc::ptr_eq(attached, &queue));
        }
    }

    /// Stops claiming.
    pub(super) fn stop(&self) {
        self.state.lock().stopped.get_or_insert_with(clock::now);
        self.changed.notify_one();
    }

    /// Stops the worker for a host that will not ask for work any more. Threads in `next` return without an item.
    pub(super) fn close(&self) {
        self.stop();
        let mut state = self.state.lock();
        state.is_closed = true;
        let waiters = state.waiters.take_all();
        drop(state);
        drop(waiters);
        self.release_ready();
    }

    /// Ends the claiming, for this reason unless there is one already.
    pub(super) fn end(&self, end: WorkerEnd) {
        let mut state = self.state.lock();
        if state.ending.is_some() {
            return;
        }
        log::record(Level::Info, LOG, "worker claims no more items", || {
            json!({"why": end.name(), "error": match &end {
                WorkerEnd::Failed(error) => Some(error.to_string()),
                _ => None,
            }})
        });
        state.ending = Some(end);
    }

    /// Ends a worker that only kept an adopted lease. `failure`: why it could not be adopted.
    pub(super) fn on_adoption_ended(&self, failure: Option<Error>) {
        if let Some(error) = &failure {
            log::record(Level::Info, LOG, "item was not adopted", || json!({"why": error.to_string()}));
        }
        self.state.lock().ending.get_or_insert(failure.map_or(WorkerEnd::Stopped, WorkerEnd::Failed));
    }

    /// Lets `next` report the end, once no claim is pending or the worker was closed.
    pub(super) fn conclude(&self) {
        let mut state = self.state.lock();
        if state.end.is_some() || (!state.claiming.is_empty() && !state.is_closed) || state.ending.is_none() {
            return;
        }
        state.end = state.ending.clone();
        let (attached, end, waiters) = (state.attached.clone(), state.end.clone(), state.waiters.take_all());
        drop(state);
        drop(waiters);
        if let Some(end) = end {
            self.post(attached, || Err(end.error()));
        }
    }

    /// Returns how many more items to poll for, besides those that `polls` polls in flight may return.
    pub(super) fn demand(&self, now: ClockTime, polls: usize) -> usize {
        let state = self.state.lock();
        let mut room = self.config.concurrency.saturating_sub(state.in_use + polls);
        if state.rejections > 0 || !state.has_claimed {
            // If all items are going to be refused, a few are enough to find out.
            let undecided =
                state.claiming.iter().filter(|(_, since)| now.saturating_sub(**since) < CLAIM_OUTCOME_TIMEOUT).count();
            room = room.min(MAX_REJECTIONS.saturating_sub(state.rejections + undecided + polls));
        }
        if state.attached.is_some() {
            return room;
        }
        let demand = state.waiting.max(usize::from(now < state.demand_until));
        room.min(demand.saturating_sub(state.claiming.len() + state.ready.len() + polls))
    }

    /// Returns the leases that are still kept.
    pub(super) fn leases(&self) -> Vec<Arc<Lease>> {
        self.state.lock().leases.iter().filter_map(|(_, lease)| lease.upgrade()).collect()
    }

    /// Ends the grace period: notifies the holders and stops their items. Items not handed out yet are released.
    pub(super) fn expire_grace(&self) {
        self.state.lock().grace_expired = true;
        self.release_ready();
        self.leases().iter().for_each(|lease| lease.expire_grace());
    }

    /// Releases the items that are ready to be handed out.
    pub(super) fn release_ready(&self) {
        while let Some(lease) = self.take_ready() {
            lease.give_back();
        }
    }

    /// The error of a wait for an item that timed out. It names the failure of the last poll, if there was one.
    pub(super) fn no_item_in_time(&self) -> Error {
        let failure = self.state.lock().last_poll_failure.clone();
        let failure = failure.map(|why| format!("; the last poll failed: {why}"));
        Error::new(Status::Timeout, format!("no work came in time{}", failure.unwrap_or_default()))
    }

    /// Returns the worker's present state.
    pub(super) fn snapshot(&self) -> WorkerSnapshot<'_> {
        let state = self.state.lock();
        let doing = match (&state.ending, state.stopped) {
            (Some(end), _) => end.name(),
            (None, Some(_)) => "stopping",
            (None, None) => "running",
        };
        WorkerSnapshot {
            environment_id: &self.config.environment_id,
            worker_id: &self.config.worker_id,
            state: doing,
            held: state.in_use - state.claiming.len().min(state.in_use),
            concurrency: self.config.concurrency,
            last_poll_failure: state.last_poll_failure.clone(),
        }
    }
}

/// A thread in `next`. Until it has an item, it counts as demand for one.
struct Waiter<'a> {
    worker: &'a WorkerShared,
    is_counted: Cell<bool>,
}

impl<'a> Waiter<'a> {
    fn new(worker: &'a WorkerShared) -> Waiter<'a> {
        worker.state.lock().waiting += 1;
        worker.changed.notify_one();
        Waiter { worker, is_counted: Cell::new(true) }
    }

    /// Takes a lease that is ready. From the same moment the thread is no demand, nor is what it asked for shortly before: a poll for another
    /// item would claim it for nobody.
    fn take(&self, state: &mut State) -> Option<Arc<Lease>> {
        let taken = state.ready.pop_front()?;
        self.discount(state);
        state.demand_until = ClockTime::ZERO;
        Some(taken)
    }

    /// Counts the thread as demand no longer.
    fn discount(&self, state: &mut State) {
        state.waiting -= usize::from(self.is_counted.replace(false));
    }

    /// Keeps the demand for a while: the thread returns without an item, and will soon be back.
    fn keep_demand(&self) {
        self.worker.state.lock().demand_until = clock::now() + DEMAND_TIMEOUT;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.discount(&mut self.worker.state.lock());
    }
}

/// One of the `concurrency` items that a worker may hold.
pub(super) struct Slot {
    pub(super) worker: Arc<WorkerShared>,
    /// Its key in [`State::claiming`], while it is being claimed.
    pub(super) claiming: Option<usize>,
    /// The key of its lease in [`State::leases`].
    pub(super) key: Option<usize>,
}

impl Slot {
    /// Takes a slot for an item that is being claimed.
    pub(super) fn take(worker: &Arc<WorkerShared>) -> Slot {
        let mut state = worker.state.lock();
        state.in_use += 1;
        let claiming = Some(state.claiming.insert(clock::now()));
        drop(state);
        Slot { worker: worker.clone(), claiming, key: None }
    }

    /// Adds the item's lease to the worker's.
    pub(super) fn set_lease(&mut self, lease: &Arc<Lease>) {
        let mut state = self.worker.state.lock();
        self.key = Some(state.leases.insert(Arc::downgrade(lease)));
        let grace_expired = state.grace_expired;
        drop(state);
        if grace_expired {
            lease.expire_grace();
        }
    }

    /// Marks the item as claimed, or as gone.
    pub(super) fn mark_claimed(&mut self) {
        if let Some(claiming) = self.claiming.take() {
            self.worker.state.lock().claiming.try_remove(claiming);
            self.worker.changed.notify_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.mark_claimed();
        let mut state = self.worker.state.lock();
        state.in_use -= 1;
        self.key.map(|key| state.leases.remove(key));
        drop(state);
        self.worker.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::worker::Worker;
    use crate::worker::lease::machine::LeaseMachine;
    use crate::worker::lease::task::new_lease;
    use crate::worker::supervisor::Item;

    #[test]
    fn a_thread_is_no_demand_from_the_moment_at_which_it_takes_its_item() {
        let client = Client::new(Some(r#"{"api_key":"k","base_url":"http://127.0.0.1:1"}"#)).unwrap();
        let worker = Worker::new(&client, Some(r#"{"environment_id":"env_1","environment_key":"k"}"#)).unwrap();
        let shared = worker.shared().unwrap();
        let item = Item::read(r#"{"id":"work_1","data":{"type":"session","id":"session_1"}}"#.to_owned()).unwrap().unwrap();
        let machine = LeaseMachine::new(ClockTime::ZERO, ClockTime::ZERO, false);
        let lease = new_lease(item, machine, client.clone(), shared.clone());
        let demand = || shared.demand(clock::now(), 0);
        let waiter = Waiter::new(shared);
        assert!(waiter.take(&mut shared.state.lock()).is_none());
        assert_eq!(demand(), 1, "it waits on");
        waiter.keep_demand();
        shared.state.lock().ready.push_back(lease);
        assert!(waiter.take(&mut shared.state.lock()).is_some());
        assert_eq!(demand(), 0);
        drop(waiter);
        assert_eq!(shared.state.lock().waiting, 0, "it is not discounted twice");
    }
}
