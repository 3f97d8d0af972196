//! What a worker's tasks and the host's threads share: what is claimed, who waits for it, and why it ends.

use super::LOG;
use super::config::Config;
use super::lease::handle::Lease;
use super::limiter::Limiter;
use super::metrics::{Count, Counts, Present};
use crate::client::{Client, PoolHandle};
use crate::completion::Queue;
use crate::error::{Error, Result, Status};
use crate::http::request::Request;
use crate::runtime::clock::{self, ClockTime};
use crate::runtime::fork::{ForkSafeMutex, ProcessLocal};
use crate::runtime::wakeup::WakeupFd;
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
const LINGER: Duration = Duration::from_secs(1);
/// After how many items in a row that were refused permanently, none having been claimed in between, the worker gives up.
pub(super) const MAX_REFUSED: usize = 3;
/// How many heartbeats, and how many stops, are in flight at once; more where more is held than they could keep in time.
const MAX_IN_FLIGHT: usize = 128;
const LEASES_EACH: usize = 64;
/// After how long an item that is being claimed says nothing any more about whether items are refused.
const UNDECIDED: Duration = Duration::from_secs(15);

/// What a worker's tasks and the host's threads share.
pub(super) struct Inner {
    pub(super) config: Config,
    /// With the environment's key.
    pub(super) client: Client,
    pub(super) line: PoolHandle,
    pub(super) poll: Request,
    pub(super) state: ForkSafeMutex<State>,
    /// Wakes the supervisor.
    pub(super) news: Notify,
    pub(super) counts: Counts,
    /// Whether the API has given this worker a good answer before.
    pub(super) has_worked: AtomicBool,
    pub(super) heartbeats: Limiter,
    pub(super) stops: Limiter,
    /// What is to panic next.
    #[cfg(test)]
    pub(super) to_break: ForkSafeMutex<Vec<&'static str>>,
    /// How often the supervisor looked for something to do.
    #[cfg(test)]
    pub(super) rounds: std::sync::atomic::AtomicU64,
}

#[derive(Default)]
pub(super) struct State {
    /// Since when no more is to be claimed.
    pub(super) stopped: Option<ClockTime>,
    /// Why nothing more is claimed.
    pub(super) ending: Option<End>,
    /// The same, once all that was claimed is ready or gone: what `next` says when nothing is ready.
    pub(super) end: Option<End>,
    /// Leases to be handed out.
    pub(super) ready: VecDeque<Arc<Lease>>,
    /// Items that are being claimed: since when.
    pub(super) unready: Slab<ClockTime>,
    /// Items altogether, those that were handed out among them.
    pub(super) busy: usize,
    pub(super) leases: Slab<Weak<Lease>>,
    /// Whether the grace period is over.
    pub(super) gave_up: bool,
    /// Whether nobody will ask for work any more.
    pub(super) is_closed: bool,
    /// Items refused permanently since the last one that was claimed.
    pub(super) refused: usize,
    /// Whether an item was claimed before.
    pub(super) has_claimed: bool,
    /// Threads in `next`.
    pub(super) waiting: usize,
    /// Those among them that sleep, longest first. Each is woken for itself: one item wakes one thread. [`Ring`] takes them out.
    pub(super) sleepers: VecDeque<Arc<WakeupFd>>,
    /// Until when the host is taken to want work, although no thread waits.
    pub(super) lingering: ClockTime,
    pub(super) attached: Option<(Arc<Queue>, u64)>,
}

/// Why there is nothing more to come.
#[derive(Clone)]
pub(super) enum End {
    Stopped,
    Drained,
    Failed(Error),
}

impl End {
    pub(super) fn name(&self) -> &'static str {
        match self {
            End::Stopped => "stopped",
            End::Drained => "drained",
            End::Failed(_) => "failed",
        }
    }

    pub(super) fn error(&self) -> Error {
        match self {
            End::Failed(error) => error.clone(),
            _ => Error::new(Status::Done, format!("the worker is {}: there is nothing more to come", self.name())),
        }
    }
}

/// A sleeper that was taken out of the list. It sleeps until it is rung, so that is what becomes of this in any case.
struct Ring(Arc<WakeupFd>);

impl Ring {
    fn one(state: &mut State) -> Option<Ring> {
        state.sleepers.pop_front().map(Ring)
    }

    fn all(state: &mut State) -> Vec<Ring> {
        state.sleepers.drain(..).map(Ring).collect()
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        self.0.set();
    }
}

impl Inner {
    pub(super) fn new(config: Config, client: Client, line: PoolHandle, poll: Request) -> Inner {
        let most = MAX_IN_FLIGHT.max(config.concurrency / LEASES_EACH);
        Inner {
            config,
            client,
            line,
            poll,
            state: ForkSafeMutex::default(),
            news: Notify::new(),
            counts: Counts::default(),
            has_worked: AtomicBool::new(false),
            heartbeats: Limiter::new(most),
            stops: Limiter::new(most),
            #[cfg(test)]
            to_break: ForkSafeMutex::default(),
            #[cfg(test)]
            rounds: Default::default(),
        }
    }

    /// A panic was caught.
    pub(super) fn fault(&self, what: &'static str) {
        self.counts.add(Count::Fault);
        log::record(Level::Error, LOG, "a fault in the library was caught; please report it", || json!({"in": what}));
    }

    /// Panics, if a test wants that of whatever comes here under this name.
    #[cfg(test)]
    pub(super) fn break_off(&self, name: &str) {
        let mut to_break = self.to_break.lock();
        let at = to_break.iter().position(|other| *other == name);
        at.map(|at| to_break.remove(at));
        drop(to_break);
        assert!(at.is_none(), "a fault that a test asked for");
    }

    /// An item was refused permanently before anybody had it: it is left to the queue. When all are, the cause is the worker's.
    pub(super) fn refused(&self, work_id: &str, error: Error) {
        self.counts.add(Count::Refused);
        log::record(
            Level::Warn,
            LOG,
            "an item was refused, and is left to the queue",
            || json!({"work_id": work_id, "status": error.status().name(), "why": error.to_string()}),
        );
        let option = self.config.refused_option(&error);
        let mut state = self.state.lock();
        state.refused += 1;
        let is_enough = option.is_some() || state.refused >= MAX_REFUSED;
        drop(state);
        if is_enough {
            self.end(End::Failed(option.map_or_else(|| error.clone(), |option| error.clone().blaming(option))));
            self.news.notify_one();
        }
    }

    pub(super) fn claimed(&self) {
        self.counts.add(Count::Claimed);
        let mut state = self.state.lock();
        (state.refused, state.has_claimed) = (0, true);
    }

    pub(super) fn take_ready(&self) -> Option<Arc<Lease>> {
        self.state.lock().ready.pop_front()
    }

    /// A lease is to be handed out.
    pub(super) fn offer(&self, lease: &Arc<Lease>) {
        let mut state = self.state.lock();
        state.ready.push_back(lease.clone());
        let (attached, is_closed, sleeper) = (state.attached.clone(), state.is_closed, Ring::one(&mut state));
        drop(state);
        drop(sleeper);
        if is_closed {
            return self.put_back_ready();
        }
        self.tell(attached, || Ok(lease.notice()));
    }

    /// A lease is not to be handed out any more. False: it has been.
    pub(super) fn withdraw(&self, lease: &Arc<Lease>) -> bool {
        let mut state = self.state.lock();
        let at = state.ready.iter().position(|ready| Arc::ptr_eq(ready, lease));
        at.map(|at| state.ready.remove(at)).is_some()
    }

    pub(super) fn tell(&self, attached: Option<(Arc<Queue>, u64)>, news: impl FnOnce() -> Result<String>) {
        if let Some((queue, tag)) = attached
            && !queue.tell(tag, news())
        {
            // The queue was freed: from now on the host is served when it asks. (Unless it has attached another queue just now.)
            self.state.lock().attached.take_if(|(attached, _)| Arc::ptr_eq(attached, &queue));
        }
    }

    pub(super) fn stop(&self) {
        self.state.lock().stopped.get_or_insert_with(clock::now);
        self.news.notify_one();
    }

    /// Nobody will ask for work any more; who does just now gets none.
    pub(super) fn close(&self) {
        self.stop();
        let mut state = self.state.lock();
        state.is_closed = true;
        let sleepers = Ring::all(&mut state);
        drop(state);
        drop(sleepers);
        self.put_back_ready();
    }

    /// Nothing more is claimed.
    pub(super) fn end(&self, end: End) {
        let mut state = self.state.lock();
        if state.ending.is_some() {
            return;
        }
        log::record(Level::Info, LOG, "claims no more", || {
            json!({"why": end.name(), "error": match &end {
                End::Failed(error) => Some(error.to_string()),
                _ => None,
            }})
        });
        state.ending = Some(end);
    }

    /// If all that was claimed is ready or gone (or nobody gets it any more), that is what `next` may say.
    pub(super) fn conclude(&self) {
        let mut state = self.state.lock();
        if state.end.is_some() || (!state.unready.is_empty() && !state.is_closed) || state.ending.is_none() {
            return;
        }
        state.end = state.ending.clone();
        let (attached, end, sleepers) = (state.attached.clone(), state.end.clone(), Ring::all(&mut state));
        drop(state);
        drop(sleepers);
        if let Some(end) = end {
            self.tell(attached, || Err(end.error()));
        }
    }

    /// How many more items to ask for, beside those that polls in flight may bring.
    pub(super) fn wanted(&self, now: ClockTime, polls: usize) -> usize {
        let state = self.state.lock();
        let mut room = self.config.concurrency.saturating_sub(state.busy + polls);
        if state.refused > 0 || !state.has_claimed {
            // If all are going to be refused, that is found out with few.
            let undecided = state.unready.iter().filter(|(_, since)| now.saturating_sub(**since) < UNDECIDED).count();
            room = room.min(MAX_REFUSED.saturating_sub(state.refused + undecided + polls));
        }
        if state.attached.is_some() {
            return room;
        }
        let demand = state.waiting.max(usize::from(now < state.lingering));
        room.min(demand.saturating_sub(state.unready.len() + state.ready.len() + polls))
    }

    pub(super) fn leases(&self) -> Vec<Arc<Lease>> {
        self.state.lock().leases.iter().filter_map(|(_, lease)| lease.upgrade()).collect()
    }

    /// The grace period is over: whoever holds an item is told, and the item stopped. What nobody holds goes back.
    pub(super) fn give_up(&self) {
        self.state.lock().gave_up = true;
        self.put_back_ready();
        self.leases().iter().for_each(|lease| lease.give_up());
    }

    pub(super) fn put_back_ready(&self) {
        while let Some(lease) = self.take_ready() {
            lease.put_back();
        }
    }

    pub(super) fn present(&self) -> Present<'_> {
        let state = self.state.lock();
        let doing = match (&state.ending, state.stopped) {
            (Some(end), _) => end.name(),
            (None, Some(_)) => "stopping",
            (None, None) => "running",
        };
        Present {
            environment_id: &self.config.environment_id,
            worker_id: &self.config.worker_id,
            state: doing,
            held: state.busy - state.unready.len().min(state.busy),
            concurrency: self.config.concurrency,
        }
    }
}

/// A thread that wants an item.
pub(super) struct Wanted<'a>(&'a Inner);

impl<'a> Wanted<'a> {
    pub(super) fn new(inner: &'a Inner) -> Wanted<'a> {
        inner.state.lock().waiting += 1;
        inner.news.notify_one();
        Wanted(inner)
    }

    /// It will soon be back.
    pub(super) fn linger(&self) {
        self.0.state.lock().lingering = clock::now() + LINGER;
    }
}

impl Drop for Wanted<'_> {
    fn drop(&mut self) {
        self.0.state.lock().waiting -= 1;
    }
}

thread_local! {
    /// What wakes this thread when it waits for an item.
    static BELL: RefCell<Option<ProcessLocal<Arc<WakeupFd>>>> = const { RefCell::new(None) };
}

/// The bell of this thread, in this process.
pub(super) fn bell() -> Result<Arc<WakeupFd>> {
    BELL.with_borrow_mut(|bell| match bell.as_ref().and_then(ProcessLocal::get) {
        Some(known) => Ok(known.clone()),
        None => {
            let fresh = Arc::new(WakeupFd::new()?);
            *bell = Some(ProcessLocal::new(fresh.clone()));
            Ok(fresh)
        }
    })
}

/// A place among the items that a worker may hold.
pub(super) struct Slot {
    pub(super) inner: Arc<Inner>,
    /// Where it stands among those that are being claimed, while it is.
    pub(super) unready: Option<usize>,
    /// Where the lease stands in the list of all.
    pub(super) key: Option<usize>,
}

impl Slot {
    pub(super) fn take(inner: &Arc<Inner>) -> Slot {
        let mut state = inner.state.lock();
        state.busy += 1;
        let unready = Some(state.unready.insert(clock::now()));
        drop(state);
        Slot { inner: inner.clone(), unready, key: None }
    }

    /// The item has a lease, to be known to the worker.
    pub(super) fn holds(&mut self, lease: &Arc<Lease>) {
        let mut state = self.inner.state.lock();
        self.key = Some(state.leases.insert(Arc::downgrade(lease)));
        let gave_up = state.gave_up;
        drop(state);
        if gave_up {
            lease.give_up();
        }
    }

    /// The item is claimed.
    pub(super) fn ready(&mut self) {
        if let Some(unready) = self.unready.take() {
            self.inner.state.lock().unready.try_remove(unready);
            self.inner.news.notify_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.ready();
        let mut state = self.inner.state.lock();
        state.busy -= 1;
        self.key.map(|key| state.leases.remove(key));
        drop(state);
        self.inner.news.notify_one();
    }
}
