//! What a worker's tasks and the host's threads share: what is claimed, who waits for it, and why it ends.

use super::LOG;
use super::config::Config;
use super::lease::handle::Lease;
use super::limiter::Limiter;
use super::metrics::{Counter, WorkerMetrics, WorkerSnapshot};
use crate::client::{Client, Line};
use crate::completion::Queue;
use crate::error::{Error, Result, Status};
use crate::http::request::Request;
use crate::runtime::clock::{self, Moment};
use crate::runtime::fork::{Lock, Owned};
use crate::runtime::wakeup::Event;
use crate::telemetry::log::{self, Level};
use serde_json::json;
use slab::Slab;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a host that asks for work without waiting is taken to want it.
const DEMAND_TIMEOUT: Duration = Duration::from_secs(1);
/// After how many items in a row that were refused permanently, none having been claimed in between, the worker gives up.
pub(super) const MAX_REJECTIONS: usize = 3;
/// How many heartbeats, and how many stops, are in flight at once; more where more is held than they could keep in time.
const MAX_IN_FLIGHT: usize = 128;
const LEASES_PER_REQUEST: usize = 64;
/// After how long an item that is being claimed says nothing any more about whether items are refused.
const CLAIM_OUTCOME_TIMEOUT: Duration = Duration::from_secs(15);

/// What a worker's tasks and the host's threads share.
pub(super) struct WorkerShared {
    pub(super) config: Config,
    /// With the environment's key.
    pub(super) client: Client,
    pub(super) pool: Line,
    pub(super) poll: Request,
    pub(super) state: Lock<State>,
    /// Wakes the supervisor.
    pub(super) changed: Notify,
    pub(super) metrics: WorkerMetrics,
    /// Whether the API has given this worker a good answer before.
    pub(super) has_worked: AtomicBool,
    pub(super) heartbeats: Limiter,
    pub(super) stops: Limiter,
    #[cfg(test)]
    pub(super) faults: super::fault_injection::FaultInjector,
}

#[derive(Default)]
pub(super) struct State {
    /// Since when no more is to be claimed.
    pub(super) stopped: Option<Moment>,
    /// Why nothing more is claimed.
    pub(super) ending: Option<WorkerEnd>,
    /// The same, once all that was claimed is ready or gone: what `next` says when nothing is ready.
    pub(super) end: Option<WorkerEnd>,
    /// Leases to be handed out.
    pub(super) ready: VecDeque<Arc<Lease>>,
    /// Items that are being claimed: since when.
    pub(super) claiming: Slab<Moment>,
    /// Items altogether, those that were handed out among them.
    pub(super) in_use: usize,
    pub(super) leases: Slab<Weak<Lease>>,
    /// Whether the grace period is over.
    pub(super) grace_expired: bool,
    /// Whether nobody will ask for work any more.
    pub(super) is_closed: bool,
    /// Items refused permanently since the last one that was claimed.
    pub(super) rejections: usize,
    /// Whether an item was claimed before.
    pub(super) has_claimed: bool,
    /// Threads in `next`.
    pub(super) waiting: usize,
    /// Those among them that sleep, longest first. Each is woken for itself: one item wakes one thread. [`WakeOnDrop`] takes them out.
    pub(super) waiters: VecDeque<Arc<Event>>,
    /// Until when the host is taken to want work, although no thread waits.
    pub(super) demand_until: Moment,
    pub(super) attached: Option<(Arc<Queue>, u64)>,
}

/// Why there is nothing more to come.
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
            _ => Error::new(Status::Done, format!("the worker is {}: there is nothing more to come", self.name())),
        }
    }
}

/// A waiter that was taken out of the list. It sleeps until it is rung, so that is what becomes of this in any case.
struct WakeOnDrop(Arc<Event>);

impl WakeOnDrop {
    fn one(state: &mut State) -> Option<WakeOnDrop> {
        state.waiters.pop_front().map(WakeOnDrop)
    }

    fn all(state: &mut State) -> Vec<WakeOnDrop> {
        state.waiters.drain(..).map(WakeOnDrop).collect()
    }
}

impl Drop for WakeOnDrop {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl WorkerShared {
    pub(super) fn new(config: Config, client: Client, pool: Line, poll: Request) -> WorkerShared {
        let max = MAX_IN_FLIGHT.max(config.concurrency / LEASES_PER_REQUEST);
        WorkerShared {
            config,
            client,
            pool,
            poll,
            state: Lock::default(),
            changed: Notify::new(),
            metrics: WorkerMetrics::default(),
            has_worked: AtomicBool::new(false),
            heartbeats: Limiter::new(max),
            stops: Limiter::new(max),
            #[cfg(test)]
            faults: Default::default(),
        }
    }

    /// A panic was caught.
    pub(super) fn record_panic(&self, what: &'static str) {
        self.metrics.increment(Counter::Faults);
        log::record(Level::Error, LOG, "a fault in the library was caught; please report it", || json!({"in": what}));
    }

    /// An item was refused permanently before anybody had it: it is left to the queue. When all are, the cause is the worker's.
    pub(super) fn on_rejected(&self, work_id: &str, error: Error) {
        self.metrics.increment(Counter::Refused);
        log::record(
            Level::Warn,
            LOG,
            "an item was refused, and is left to the queue",
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

    pub(super) fn on_claimed(&self) {
        self.metrics.increment(Counter::Claimed);
        let mut state = self.state.lock();
        (state.rejections, state.has_claimed) = (0, true);
    }

    pub(super) fn take_ready(&self) -> Option<Arc<Lease>> {
        self.state.lock().ready.pop_front()
    }

    /// A lease is to be handed out.
    pub(super) fn offer(&self, lease: &Arc<Lease>) {
        let mut state = self.state.lock();
        state.ready.push_back(lease.clone());
        let (attached, is_closed, waiter) = (state.attached.clone(), state.is_closed, WakeOnDrop::one(&mut state));
        drop(state);
        drop(waiter);
        if is_closed {
            return self.release_ready();
        }
        self.post(attached, || Ok(lease.notice()));
    }

    /// A lease is not to be handed out any more. False: it has been.
    pub(super) fn retract(&self, lease: &Arc<Lease>) -> bool {
        let mut state = self.state.lock();
        let at = state.ready.iter().position(|ready| Arc::ptr_eq(ready, lease));
        at.map(|at| state.ready.remove(at)).is_some()
    }

    pub(super) fn post(&self, attached: Option<(Arc<Queue>, u64)>, news: impl FnOnce() -> Result<String>) {
        if let Some((queue, tag)) = attached
            && !queue.tell(tag, news())
        {
            // The queue was freed: from now on the host is served when it asks. (Unless it has attached another queue just now.)
            self.state.lock().attached.take_if(|(attached, _)| Arc::ptr_eq(attached, &queue));
        }
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopped.get_or_insert_with(clock::now);
        self.changed.notify_one();
    }

    /// Nobody will ask for work any more; who does just now gets none.
    pub(super) fn close(&self) {
        self.stop();
        let mut state = self.state.lock();
        state.is_closed = true;
        let waiters = WakeOnDrop::all(&mut state);
        drop(state);
        drop(waiters);
        self.release_ready();
    }

    /// Nothing more is claimed.
    pub(super) fn end(&self, end: WorkerEnd) {
        let mut state = self.state.lock();
        if state.ending.is_some() {
            return;
        }
        log::record(Level::Info, LOG, "claims no more", || {
            json!({"why": end.name(), "error": match &end {
                WorkerEnd::Failed(error) => Some(error.to_string()),
                _ => None,
            }})
        });
        state.ending = Some(end);
    }

    /// If all that was claimed is ready or gone (or nobody gets it any more), that is what `next` may say.
    pub(super) fn conclude(&self) {
        let mut state = self.state.lock();
        if state.end.is_some() || (!state.claiming.is_empty() && !state.is_closed) || state.ending.is_none() {
            return;
        }
        state.end = state.ending.clone();
        let (attached, end, waiters) = (state.attached.clone(), state.end.clone(), WakeOnDrop::all(&mut state));
        drop(state);
        drop(waiters);
        if let Some(end) = end {
            self.post(attached, || Err(end.error()));
        }
    }

    /// How many more items to ask for, beside those that polls in flight may bring.
    pub(super) fn demand(&self, now: Moment, polls: usize) -> usize {
        let state = self.state.lock();
        let mut room = self.config.concurrency.saturating_sub(state.in_use + polls);
        if state.rejections > 0 || !state.has_claimed {
            // If all are going to be refused, that is found out with few.
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

    pub(super) fn leases(&self) -> Vec<Arc<Lease>> {
        self.state.lock().leases.iter().filter_map(|(_, lease)| lease.upgrade()).collect()
    }

    /// The grace period is over: whoever holds an item is told, and the item stopped. What nobody holds goes back.
    pub(super) fn expire_grace(&self) {
        self.state.lock().grace_expired = true;
        self.release_ready();
        self.leases().iter().for_each(|lease| lease.expire_grace());
    }

    pub(super) fn release_ready(&self) {
        while let Some(lease) = self.take_ready() {
            lease.release();
        }
    }

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
        }
    }
}

/// A thread that wants an item.
pub(super) struct Waiter<'a>(&'a WorkerShared);

impl<'a> Waiter<'a> {
    pub(super) fn new(worker: &'a WorkerShared) -> Waiter<'a> {
        worker.state.lock().waiting += 1;
        worker.changed.notify_one();
        Waiter(worker)
    }

    /// It will soon be back.
    pub(super) fn keep_demand(&self) {
        self.0.state.lock().demand_until = clock::now() + DEMAND_TIMEOUT;
    }
}

impl Drop for Waiter<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

thread_local! {
    /// What wakes this thread when it waits for an item.
    static THREAD_WAKEUP: RefCell<Option<Owned<Arc<Event>>>> = const { RefCell::new(None) };
}

/// The bell of this thread, in this process.
pub(super) fn thread_wakeup() -> Result<Arc<Event>> {
    THREAD_WAKEUP.with_borrow_mut(|wakeup| match wakeup.as_ref().and_then(Owned::get) {
        Some(known) => Ok(known.clone()),
        None => {
            let fresh = Arc::new(Event::new()?);
            *wakeup = Some(Owned::new(fresh.clone()));
            Ok(fresh)
        }
    })
}

/// A place among the items that a worker may hold.
pub(super) struct Slot {
    pub(super) worker: Arc<WorkerShared>,
    /// Where it stands among those that are being claimed, while it is.
    pub(super) claiming: Option<usize>,
    /// Where the lease stands in the list of all.
    pub(super) key: Option<usize>,
}

impl Slot {
    pub(super) fn take(worker: &Arc<WorkerShared>) -> Slot {
        let mut state = worker.state.lock();
        state.in_use += 1;
        let claiming = Some(state.claiming.insert(clock::now()));
        drop(state);
        Slot { worker: worker.clone(), claiming, key: None }
    }

    /// The item has a lease, to be known to the worker.
    pub(super) fn set_lease(&mut self, lease: &Arc<Lease>) {
        let mut state = self.worker.state.lock();
        self.key = Some(state.leases.insert(Arc::downgrade(lease)));
        let grace_expired = state.grace_expired;
        drop(state);
        if grace_expired {
            lease.expire_grace();
        }
    }

    /// The item is claimed.
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
