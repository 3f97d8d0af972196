//! A worker: claims items from the queue of a self-hosted environment, and holds their leases while the host serves them.
//!
//! ```text
//!                 ┌ poller: when ─┐          ┌ claim: acknowledge ┐  ┌ lease: heartbeats ─────────────┐
//!  supervisor ────┴ polls         ┴─ item ──►┴                    ┴─►┴ first good one ─► ready ─► next ┴─► finish, abandon
//!     │  one task a worker                      one task an item                            the host's threads
//!     └─ stop: no more polls; leases go on; when the grace period is over, the items are stopped
//! ```
//!
//! `poller`, `claim` and `lease` are pure state machines; the supervisor here and `hold` do what they say. The host pulls: nothing
//! is called back, and no more is claimed than it asks for. An item is handed out after its first good heartbeat, which is what
//! makes it this worker's; from then on the lease is kept whatever the host's threads do.

pub mod claim;
pub mod clock;
pub mod config;
pub mod counts;
mod hold;
pub mod lease;
pub mod poller;
pub mod rescue;
pub mod secret;
#[cfg(test)]
mod simulation;

pub use hold::Lease;

use crate::client::{Answer, Client, Line};
use crate::config::process_environment;
use crate::error::{Error, Result, Status};
use crate::event::{Event, Woken};
use crate::fork::{Lock, Owned};
use crate::json::Object;
use crate::log::{self, Level};
use crate::operation::WORK_POLL;
use crate::queue::Queue;
use crate::request::Request;
use config::Config;
use counts::{Counts, Present, Step};
use lease::Moment;
use poller::{Next, Polled, Poller};
use serde_json::json;
use slab::Slab;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// What the records here are filed under.
const LOG: &str = "antenv::worker";
/// How much longer than it waits at the server a poll may take.
const POLL_MARGIN: Duration = Duration::from_secs(10);
/// How long a host that asks for work without waiting is taken to want it.
const LINGER: Duration = Duration::from_secs(1);
/// How often the supervisor looks whether the machine slept.
const SLEEP_CHECK: Duration = Duration::from_secs(1);

/// A worker. Dropping it stops it.
pub struct Worker(Owned<Arc<Inner>>);

/// What a worker's tasks and the host's threads share.
struct Inner {
    config: Config,
    /// With the environment's key.
    client: Client,
    line: Line,
    poll: Request,
    state: Lock<State>,
    /// Wakes the supervisor.
    news: Notify,
    counts: Counts,
}

#[derive(Default)]
struct State {
    /// Since when no more is to be claimed.
    stopped: Option<Moment>,
    /// Why nothing more is claimed.
    ending: Option<End>,
    /// The same, once all that was claimed is ready or gone: what `next` says when nothing is ready.
    end: Option<End>,
    /// Leases to be handed out.
    ready: VecDeque<Arc<Lease>>,
    /// Items that are being claimed.
    unready: usize,
    /// Items altogether, those that were handed out among them.
    busy: usize,
    leases: Slab<Weak<Lease>>,
    /// Whether the grace period is over.
    gave_up: bool,
    /// Whether nobody will ask for work any more.
    is_closed: bool,
    /// Threads in `next`.
    waiting: usize,
    /// Those among them that sleep, longest first. Each is woken for itself: one item wakes one thread.
    sleepers: VecDeque<Arc<Event>>,
    /// Until when the host is taken to want work, although no thread waits.
    lingering: Moment,
    attached: Option<(Arc<Queue>, u64)>,
}

/// Why there is nothing more to come.
#[derive(Clone)]
enum End {
    Stopped,
    Drained,
    Failed(Error),
}

impl End {
    fn name(&self) -> &'static str {
        match self {
            End::Stopped => "stopped",
            End::Drained => "drained",
            End::Failed(_) => "failed",
        }
    }

    fn error(&self) -> Error {
        match self {
            End::Failed(error) => error.clone(),
            _ => Error::new(Status::Done, format!("the worker is {}: there is nothing more to come", self.name())),
        }
    }
}

/// An item that a poll handed out.
struct Item {
    json: String,
    id: String,
    kind: String,
    secret: Option<String>,
}

impl Item {
    /// Reads a poll's answer; `None`: nothing.
    fn read(json: String) -> Result<Option<Item>, String> {
        if json.trim() == "null" {
            return Ok(None);
        }
        let mut object = Object::parse(&json, "item", Status::Response).map_err(|error| error.to_string())?;
        let mut text = |name| object.take(name).and_then(|value| value.string().ok()).unwrap_or_default();
        let (id, secret) = (text("id"), text("secret"));
        let data = object.take("data").and_then(|data| data.object().ok());
        let kind = data.and_then(|mut data| data.take("type")?.string().ok()).unwrap_or_default();
        drop(object);
        if id.is_empty() {
            return Ok(None);
        }
        Ok(Some(Item { id, kind, secret: Some(secret).filter(|secret| !secret.is_empty()), json }))
    }
}

/// Whether a request that ended so would end so again.
fn is_final(error: &Error) -> bool {
    match error.http_status() {
        Some(status) => (400..500).contains(&status) && !matches!(status, 408 | 409 | 429),
        None => matches!(error.status(), Status::InvalidArgument | Status::Config),
    }
}

fn elsewhere() -> Error {
    Error::new(Status::Closed, "the worker belongs to the process that made it, and this is a child of that")
}

impl Worker {
    /// Makes a worker from a JSON configuration, and has it claim work as soon as the host asks for it.
    pub fn new(client: &Client, config_json: Option<&str>) -> Result<Worker> {
        let config = Config::read(config_json, client, &process_environment)?;
        let client = client
            .with_bearer(&config.environment_key)
            .ok_or_else(|| Error::config("environment_key", "has characters that cannot stand in an HTTP header"))?;
        let line = client.line()?;
        let inner = Arc::new(Inner {
            poll: poll_request(&client, &config)?,
            state: Lock::default(),
            news: Notify::new(),
            counts: Counts::default(),
            config,
            client,
            line,
        });
        let supervised = inner.clone();
        inner.line.runtime().spawn(supervise(inner.clone()), None, move |outcome| {
            // It ends by itself, is cut off when the library shuts down in a hurry, or broke off by a fault.
            let end = outcome.err().map_or(End::Stopped, |error| match error.status() {
                Status::Cancelled => End::Stopped,
                _ => End::Failed(error),
            });
            supervised.state.lock().unready = 0;
            supervised.end(end);
            supervised.conclude();
        });
        Ok(Worker(Owned::new(inner)))
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
                Woken::BySignal => Error::new(Status::Interrupted, "a signal handler ran in the waiting thread"),
                Woken::ByTime | Woken::BySet => timeout(),
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
            inner.stop();
            inner.state.lock().is_closed = true;
            inner.put_back_ready();
        }
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.close();
    }
}

fn poll_request(client: &Client, config: &Config) -> Result<Request> {
    let mut params = json!({"environment_id": config.environment_id, "anthropic_worker_id": config.worker_id});
    if config.block_ms > 0 {
        params["block_ms"] = config.block_ms.into();
    }
    if let Some(reclaim) = config.reclaim_older_than_ms {
        params["reclaim_older_than_ms"] = reclaim.into();
    }
    let mut request = client.prepare(&WORK_POLL, Some(&params.to_string()))?;
    request.timeout = config.manner.block + POLL_MARGIN;
    request.max_retries = 0;
    request.with_response = false;
    Ok(request)
}

/// A thread that wants an item.
struct Wanted<'a>(&'a Inner);

impl<'a> Wanted<'a> {
    fn new(inner: &'a Inner) -> Wanted<'a> {
        inner.state.lock().waiting += 1;
        inner.news.notify_one();
        Wanted(inner)
    }

    /// It will soon be back.
    fn linger(&self) {
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
fn bell() -> Result<Arc<Event>> {
    BELL.with_borrow_mut(|bell| match bell.as_ref().and_then(Owned::get) {
        Some(known) => Ok(known.clone()),
        None => {
            let fresh = Arc::new(Event::new()?);
            *bell = Some(Owned::new(fresh.clone()));
            Ok(fresh)
        }
    })
}

impl Inner {
    fn take_ready(&self) -> Option<Arc<Lease>> {
        self.state.lock().ready.pop_front()
    }

    /// A lease is to be handed out.
    fn offer(&self, lease: &Arc<Lease>) {
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
    fn withdraw(&self, lease: &Arc<Lease>) -> bool {
        let mut state = self.state.lock();
        let at = state.ready.iter().position(|ready| Arc::ptr_eq(ready, lease));
        at.map(|at| state.ready.remove(at)).is_some()
    }

    fn tell(&self, attached: Option<(Arc<Queue>, u64)>, news: impl FnOnce() -> Result<String>) {
        if let Some((queue, tag)) = attached
            && !queue.tell(tag, news())
        {
            // The queue was freed: from now on the host is served when it asks. (Unless it has attached another queue just now.)
            self.state.lock().attached.take_if(|(attached, _)| Arc::ptr_eq(attached, &queue));
        }
    }

    fn stop(&self) {
        self.state.lock().stopped.get_or_insert_with(clock::now);
        self.news.notify_one();
    }

    /// Nothing more is claimed.
    fn end(&self, end: End) {
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
    fn conclude(&self) {
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
    fn wanted(&self, now: Moment, polls: usize) -> usize {
        let state = self.state.lock();
        let room = self.config.concurrency.saturating_sub(state.busy + polls);
        if state.attached.is_some() {
            return room;
        }
        let demand = state.waiting.max(usize::from(now < state.lingering));
        room.min(demand.saturating_sub(state.unready + state.ready.len() + polls))
    }

    fn leases(&self) -> Vec<Arc<Lease>> {
        self.state.lock().leases.iter().filter_map(|(_, lease)| lease.upgrade()).collect()
    }

    /// The grace period is over: whoever holds an item is told, and the item stopped. What nobody holds goes back.
    fn give_up(&self) {
        self.state.lock().gave_up = true;
        self.put_back_ready();
        self.leases().iter().for_each(|lease| lease.give_up());
    }

    fn put_back_ready(&self) {
        while let Some(lease) = self.take_ready() {
            lease.put_back();
        }
    }

    fn present(&self) -> Present<'_> {
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

/// A place among the items that a worker may hold.
struct Slot {
    inner: Arc<Inner>,
    is_ready: bool,
    /// Where the lease stands in the list of all.
    key: Option<usize>,
}

impl Slot {
    fn take(inner: &Arc<Inner>) -> Slot {
        let mut state = inner.state.lock();
        state.busy += 1;
        state.unready += 1;
        drop(state);
        Slot { inner: inner.clone(), is_ready: false, key: None }
    }

    /// The item has a lease, to be known to the worker.
    fn holds(&mut self, lease: &Arc<Lease>) {
        let mut state = self.inner.state.lock();
        self.key = Some(state.leases.insert(Arc::downgrade(lease)));
        let gave_up = state.gave_up;
        drop(state);
        if gave_up {
            lease.give_up();
        }
    }

    /// The item is claimed.
    fn ready(&mut self) {
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

/// What came of a poll.
struct Poll {
    sent: Moment,
    answer: Answer,
}

async fn poll(inner: Arc<Inner>) -> Poll {
    let sent = clock::now();
    Poll { sent, answer: inner.client.call_over(&inner.line, inner.poll.clone()).await }
}

/// Polls, and begins what the polls bring; ends when nothing more is to come and nothing is held.
async fn supervise(inner: Arc<Inner>) {
    let mut poller = Poller::new(clock::now(), inner.config.manner.clone());
    let (mut polls, mut items) = (JoinSet::<Poll>::new(), JoinSet::<()>::new());
    let mut slept = SleepCheck::new();
    let (mut closes, mut gave_up) = (false, false);
    let rescue_after = inner.config.rescue_after;
    let sweeps = !rescue_after.is_zero() && !inner.config.manner.drain;
    let (mut sweeping, mut sweep_at) = (JoinSet::new(), clock::now() + rescue_after / 4);
    let mut lookout = Some(rescue::Lookout::default());
    let runtime = inner.line.runtime().clone();
    loop {
        slept.look(&inner);
        let now = clock::now();
        let (stopped, is_ending) = {
            let state = inner.state.lock();
            (state.stopped, state.ending.is_some())
        };
        let mut wake = None;
        if let Some(since) = stopped {
            // An item that one of these was bringing is handed out again by the queue: it was not acknowledged.
            polls.shutdown().await;
            sweeping.shutdown().await;
            inner.end(End::Stopped);
            let grace_ends = since + inner.config.grace;
            if now < grace_ends {
                wake = Some(grace_ends);
            } else if !std::mem::replace(&mut gave_up, true) {
                inner.give_up();
            }
        } else if !is_ending {
            match poller.next(now, inner.wanted(now, polls.len()), polls.len()) {
                Next::Poll => {
                    polls.spawn(poll(inner.clone()));
                    continue;
                }
                Next::Wait(until) => wake = until,
                Next::Drained if polls.is_empty() => inner.end(End::Drained),
                Next::Drained => {}
            }
            if sweeps {
                if let Some(lookout) = lookout.take_if(|_| now >= sweep_at) {
                    // Workers that were started together do not look all at once.
                    sweep_at = now + rescue_after.mul_f64(0.75 + fastrand::f64() / 2.0);
                    sweeping.spawn(rescue::sweep(inner.clone(), lookout));
                }
                wake = Some(wake.map_or(sweep_at, |wake: Moment| wake.min(sweep_at)));
            }
        }
        if polls.is_empty() {
            inner.conclude();
            if items.is_empty() && inner.state.lock().ending.is_some() {
                return;
            }
        }
        tokio::select! {
            Some(Ok(poll)) = polls.join_next(), if !polls.is_empty() => take_in(&inner, &mut poller, poll, &mut items),
            Some(ended) = items.join_next(), if !items.is_empty() => {
                if ended.is_err() {
                    log::record(Level::Error, LOG, "a fault in the library ended the work on an item", || json!({}));
                }
            }
            Some(swept) = sweeping.join_next(), if !sweeping.is_empty() => lookout = Some(swept.unwrap_or_default()),
            () = inner.news.notified() => {}
            () = sleep(wake.unwrap_or_default().saturating_sub(now)), if wake.is_some() => {}
            () = sleep(SLEEP_CHECK), if !items.is_empty() => {}
            () = runtime.closes(), if !closes => {
                closes = true;
                inner.stop();
            }
        }
    }
}

/// Takes a poll's outcome in; an item begins its life here.
fn take_in(inner: &Arc<Inner>, poller: &mut Poller, poll: Poll, items: &mut JoinSet<()>) {
    let now = clock::now();
    let Answer { result, retry_after, .. } = poll.answer;
    let failed = |status| {
        inner.counts.failure(Step::Poll, status);
        Polled::Failed { retry_after }
    };
    let outcome = match result {
        Ok(json) => match Item::read(json) {
            Ok(None) => Polled::Nothing,
            Ok(Some(item)) => {
                items.spawn(hold::serve(item, poll.sent, now, Slot::take(inner)));
                Polled::Item
            }
            Err(problem) => {
                log::record(Level::Warn, LOG, "a poll was answered with something else than an item", || json!({"why": problem}));
                failed(Status::Response)
            }
        },
        Err(error) => {
            let is_final = is_final(&error);
            log::record(
                if is_final { Level::Error } else { Level::Warn },
                LOG,
                "a poll failed",
                || json!({"status": error.status().name(), "why": error.to_string()}),
            );
            let outcome = failed(error.status());
            if is_final {
                inner.end(End::Failed(error));
            }
            outcome
        }
    };
    poller.polled(now, poll.sent, outcome, fastrand::f64());
}

/// Notices that the machine slept: timers stood still meanwhile, leases did not.
struct SleepCheck {
    clock: Moment,
    timers: Instant,
}

impl SleepCheck {
    fn new() -> SleepCheck {
        SleepCheck { clock: clock::now(), timers: Instant::now() }
    }

    /// If the machine slept since the last look, has every lease look at the clock.
    fn look(&mut self, inner: &Inner) {
        let now = SleepCheck::new();
        let slept = (now.clock.saturating_sub(self.clock)).saturating_sub(now.timers - self.timers);
        *self = now;
        if slept > SLEEP_CHECK / 4 {
            log::record(Level::Warn, LOG, "the machine slept", || json!({"for_ms": slept.as_secs_f64() * 1e3}));
            inner.leases().iter().for_each(|lease| lease.look());
        }
    }
}
