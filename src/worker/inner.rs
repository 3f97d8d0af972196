//! What a worker's tasks and the host's threads share: what is claimed, who waits for it, and why it ends.

use super::config::Config;
use super::counts::{Counts, Present};
use super::holder::Lease;
use super::lease::Moment;
use super::{LOG, clock};
use crate::client::{Client, Line};
use crate::error::{Error, Result, Status};
use crate::event::Event;
use crate::fork::{Lock, Owned};
use crate::log::{self, Level};
use crate::queue::Queue;
use crate::request::Request;
use serde_json::json;
use slab::Slab;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;

/// How long a host that asks for work without waiting is taken to want it.
const LINGER: Duration = Duration::from_secs(1);

/// What a worker's tasks and the host's threads share.
pub(super) struct Inner {
    pub(super) config: Config,
    /// With the environment's key.
    pub(super) client: Client,
    pub(super) line: Line,
    pub(super) poll: Request,
    pub(super) state: Lock<State>,
    /// Wakes the supervisor.
    pub(super) news: Notify,
    pub(super) counts: Counts,
}

#[derive(Default)]
pub(super) struct State {
    /// Since when no more is to be claimed.
    pub(super) stopped: Option<Moment>,
    /// Why nothing more is claimed.
    pub(super) ending: Option<End>,
    /// The same, once all that was claimed is ready or gone: what `next` says when nothing is ready.
    pub(super) end: Option<End>,
    /// Leases to be handed out.
    pub(super) ready: VecDeque<Arc<Lease>>,
    /// Items that are being claimed.
    pub(super) unready: usize,
    /// Items altogether, those that were handed out among them.
    pub(super) busy: usize,
    pub(super) leases: Slab<Weak<Lease>>,
    /// Whether the grace period is over.
    pub(super) gave_up: bool,
    /// Whether nobody will ask for work any more.
    pub(super) is_closed: bool,
    /// Threads in `next`.
    pub(super) waiting: usize,
    /// Those among them that sleep, longest first. Each is woken for itself: one item wakes one thread.
    pub(super) sleepers: VecDeque<Arc<Event>>,
    /// Until when the host is taken to want work, although no thread waits.
    pub(super) lingering: Moment,
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

impl Inner {
    pub(super) fn take_ready(&self) -> Option<Arc<Lease>> {
        self.state.lock().ready.pop_front()
    }

    /// A lease is to be handed out.
    pub(super) fn offer(&self, lease: &Arc<Lease>) {
        let mut state = self.state.lock();
        state.ready.push_back(lease.clone());
        let (attached, is_closed, sleeper) = (state.attached.clone(), state.is_closed, state.sleepers.pop_front());
        drop(state);
        if is_closed {
            return self.put_back_ready();
        }
        if let Some(sleeper) = sleeper {
            sleeper.set();
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

    /// If all that was claimed is ready or gone, that is what `next` may say.
    pub(super) fn conclude(&self) {
        let mut state = self.state.lock();
        if state.end.is_some() || state.unready > 0 || state.ending.is_none() {
            return;
        }
        state.end = state.ending.clone();
        let (attached, end, sleepers) = (state.attached.clone(), state.end.clone(), std::mem::take(&mut state.sleepers));
        drop(state);
        sleepers.iter().for_each(|sleeper| sleeper.set());
        if let Some(end) = end {
            self.tell(attached, || Err(end.error()));
        }
    }

    /// How many more items to ask for, beside those that polls in flight may bring.
    pub(super) fn wanted(&self, now: Moment, polls: usize) -> usize {
        let state = self.state.lock();
        let room = self.config.concurrency.saturating_sub(state.busy + polls);
        if state.attached.is_some() {
            return room;
        }
        let demand = state.waiting.max(usize::from(now < state.lingering));
        room.min(demand.saturating_sub(state.unready + state.ready.len() + polls))
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
            held: state.busy - state.unready.min(state.busy),
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
    static BELL: RefCell<Option<Owned<Arc<Event>>>> = const { RefCell::new(None) };
}

/// The bell of this thread, in this process.
pub(super) fn bell() -> Result<Arc<Event>> {
    BELL.with_borrow_mut(|bell| match bell.as_ref().and_then(Owned::get) {
        Some(known) => Ok(known.clone()),
        None => {
            let fresh = Arc::new(Event::new()?);
            *bell = Some(Owned::new(fresh.clone()));
            Ok(fresh)
        }
    })
}

/// A place among the items that a worker may hold.
pub(super) struct Slot {
    pub(super) inner: Arc<Inner>,
    pub(super) is_ready: bool,
    /// Where the lease stands in the list of all.
    pub(super) key: Option<usize>,
}

impl Slot {
    pub(super) fn take(inner: &Arc<Inner>) -> Slot {
        let mut state = inner.state.lock();
        state.busy += 1;
        state.unready += 1;
        drop(state);
        Slot { inner: inner.clone(), is_ready: false, key: None }
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
        if !std::mem::replace(&mut self.is_ready, true) {
            let mut state = self.inner.state.lock();
            state.unready = state.unready.saturating_sub(1);
            drop(state);
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
