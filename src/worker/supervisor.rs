//! The worker's own task: polls, begins what the polls bring, looks for what others have left, and ends when nothing is held any more.
//! A fault in one of its rounds, or in what it has begun, is counted and costs no more than that: it goes on.

use super::config::Config;
use super::lease::machine::LAST_STOP_PATIENCE;
use super::lease::task;
use super::metrics::Step;
use super::poller::{Next, Polled, Poller};
use super::request::{Failure, Reply, Verdict, guarded, send};
use super::shared::{End, Inner, Slot};
use super::{LOG, rescue};
use crate::api::operations::WORK_POLL;
use crate::client::Client;
use crate::error::{Result, Status};
use crate::http::request::Request;
use crate::json::Object;
use crate::runtime::Runtime;
use crate::runtime::clock::{self, ClockTime};
use crate::telemetry::log::{self, Level};
use serde_json::json;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

/// How much longer than it waits at the server a poll may take.
const POLL_MARGIN: Duration = Duration::from_secs(10);
/// How often the supervisor looks whether the machine slept.
const SLEEP_CHECK: Duration = Duration::from_secs(1);
/// How long after the grace period the last request is given up, whatever it waits for. By then stops have ended by themselves.
const LAST_WORD: Duration = LAST_STOP_PATIENCE.saturating_add(Duration::from_millis(500));
/// A rest after a round that broke off by a fault, which the next one may meet again.
const AFTER_FAULT: Duration = Duration::from_secs(1);

/// An item that a poll handed out.
pub(super) struct Item {
    pub(super) json: String,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) secret: Option<String>,
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

/// The request that every poll is a copy of. An error: the configuration does not make one.
pub(super) fn poll_request(client: &Client, config: &Config) -> Result<Request> {
    let mut params = json!({"environment_id": config.environment_id, "anthropic_worker_id": config.worker_id});
    if config.block_ms > 0 {
        params["block_ms"] = config.block_ms.into();
    }
    if let Some(reclaim) = config.reclaim_older_than_ms {
        params["reclaim_older_than_ms"] = reclaim.into();
    }
    let mut request = client.prepare(&WORK_POLL, Some(&params.to_string()))?;
    request.with_response = false;
    Ok(request)
}

/// What came of a poll.
struct Poll {
    sent: ClockTime,
    reply: Reply,
}

async fn poll(inner: Arc<Inner>) -> Poll {
    #[cfg(test)]
    inner.break_off("the task of a poll");
    let (sent, timeout) = (clock::now(), inner.config.manner.block + POLL_MARGIN);
    Poll { sent, reply: send(&inner, &inner.client, inner.poll.clone(), timeout, Step::Poll, "").await }
}

/// Polls, and begins what the polls bring; ends when nothing more is to come and nothing is held.
pub(super) async fn supervise(inner: Arc<Inner>) {
    let mut supervisor = Supervisor::new(inner);
    loop {
        match guarded(supervisor.round()).await {
            Some(ControlFlow::Continue(())) => {}
            Some(ControlFlow::Break(())) => return,
            None => {
                supervisor.inner.fault("the supervisor");
                sleep(AFTER_FAULT).await;
            }
        }
    }
}

struct Supervisor {
    inner: Arc<Inner>,
    runtime: Arc<Runtime>,
    poller: Poller,
    polls: JoinSet<Poll>,
    items: JoinSet<()>,
    /// The look for what others have left, while one is under way.
    sweep: JoinSet<rescue::Lookout>,
    /// What that look knows, between two.
    lookout: rescue::Lookout,
    sweep_at: ClockTime,
    slept: SleepCheck,
    /// Whether the runtime is being closed.
    closes: bool,
    gave_up: bool,
}

impl Supervisor {
    fn new(inner: Arc<Inner>) -> Supervisor {
        Supervisor {
            runtime: inner.line.runtime().clone(),
            poller: Poller::new(clock::now(), inner.config.manner.clone()),
            polls: JoinSet::new(),
            items: JoinSet::new(),
            sweep: JoinSet::new(),
            lookout: rescue::Lookout::default(),
            sweep_at: clock::now() + inner.config.rescue_after / 4,
            slept: SleepCheck::new(),
            closes: false,
            gave_up: false,
            inner,
        }
    }

    /// Does what is to be done now, and then waits until something happens.
    async fn round(&mut self) -> ControlFlow<()> {
        #[cfg(test)]
        {
            self.inner.rounds.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            self.inner.break_off("the supervisor");
        }
        let now = clock::now();
        self.slept.look(&self.inner);
        let (stopped, is_over, has_failed) = {
            let state = self.inner.state.lock();
            (state.stopped, state.ending.is_some(), matches!(state.ending, Some(End::Failed(_))))
        };
        if stopped.is_some() || has_failed {
            // An item that one of these was bringing is handed out again by the queue: it was not acknowledged.
            self.polls.shutdown().await;
            self.sweep.shutdown().await;
            self.inner.end(End::Stopped);
        }
        let wake = match stopped {
            Some(since) => self.wind_up(now, since + self.inner.config.grace).await,
            None if is_over => None,
            None => self.poll(now),
        };
        if self.polls.is_empty() {
            self.inner.conclude();
            if self.items.is_empty() && self.inner.state.lock().ending.is_some() {
                return ControlFlow::Break(());
            }
        }
        tokio::select! {
            Some(poll) = self.polls.join_next(), if !self.polls.is_empty() => self.polled(poll),
            Some(ended) = self.items.join_next(), if !self.items.is_empty() => self.ended(ended, "an item"),
            Some(swept) = self.sweep.join_next(), if !self.sweep.is_empty() => {
                self.lookout = self.ended(swept, "the rescue of items").unwrap_or_default();
                None
            }
            () = self.inner.news.notified() => None,
            () = sleep(wake.unwrap_or_default().saturating_sub(now)), if wake.is_some() => None,
            () = sleep(SLEEP_CHECK), if !self.items.is_empty() => None,
            () = self.runtime.closes(), if !self.closes => {
                self.closes = true;
                self.inner.stop();
                None
            }
        };
        ControlFlow::Continue(())
    }

    /// The worker is stopped: when the grace period is over, its items are, and soon after that everything is. Gives when that is.
    async fn wind_up(&mut self, now: ClockTime, grace_ends: ClockTime) -> Option<ClockTime> {
        if now < grace_ends {
            return Some(grace_ends);
        }
        if !std::mem::replace(&mut self.gave_up, true) {
            self.inner.give_up();
        }
        if now >= grace_ends + LAST_WORD {
            self.items.shutdown().await;
        }
        Some(grace_ends + LAST_WORD)
    }

    /// Polls as often as the poller says, and looks for what others have left. Gives when there will be something to do.
    fn poll(&mut self, now: ClockTime) -> Option<ClockTime> {
        let mut wake = loop {
            let in_flight = self.polls.len();
            match self.poller.next(now, self.inner.wanted(now, in_flight), in_flight) {
                Next::Poll => drop(self.polls.spawn(poll(self.inner.clone()))),
                Next::Wait(until) => break until,
                Next::Drained => {
                    if in_flight == 0 {
                        self.inner.end(End::Drained);
                    }
                    break None;
                }
            }
        };
        let rescue_after = self.inner.config.rescue_after;
        let sweeps = !rescue_after.is_zero() && !self.inner.config.manner.drain;
        if sweeps && self.sweep.is_empty() {
            if now >= self.sweep_at {
                // Workers that were started together do not look all at once.
                self.sweep_at = now + rescue_after.mul_f64(0.75 + fastrand::f64() / 2.0);
                self.sweep.spawn(rescue::sweep(self.inner.clone(), std::mem::take(&mut self.lookout)));
            } else {
                wake = Some(wake.map_or(self.sweep_at, |wake| wake.min(self.sweep_at)));
            }
        }
        wake
    }

    /// What a task of the supervisor's gave; `None`: it broke off by a fault, or was ended.
    fn ended<T>(&self, ended: Result<T, JoinError>, what: &'static str) -> Option<T> {
        ended
            .inspect_err(|error| {
                if error.is_panic() {
                    self.inner.fault(what)
                }
            })
            .ok()
    }

    /// Takes a poll's outcome in; an item begins its life here.
    fn polled(&mut self, poll: Result<Poll, JoinError>) -> Option<()> {
        let now = clock::now();
        let Some(Poll { sent, reply }) = self.ended(poll, "a poll") else {
            self.poller.polled(now, now, Polled::Failed { retry_after: None }, fastrand::f64());
            return None;
        };
        let outcome = match reply.result {
            Ok(json) => match Item::read(json) {
                Ok(None) => Polled::Nothing,
                Ok(Some(item)) => {
                    self.items.spawn(task::serve(item, sent, now, Slot::take(&self.inner)));
                    Polled::Item
                }
                Err(problem) => {
                    let why = || json!({"why": problem});
                    log::record(Level::Warn, LOG, "a poll was answered with something else than an item", why);
                    self.inner.counts.failure(Step::Poll, Status::Response);
                    Polled::Failed { retry_after: reply.retry_after }
                }
            },
            Err(Failure { verdict, error }) => {
                if matches!(verdict, Verdict::Refused | Verdict::Precondition) {
                    self.inner.end(End::Failed(error));
                }
                Polled::Failed { retry_after: reply.retry_after }
            }
        };
        self.poller.polled(now, sent, outcome, fastrand::f64());
        Some(())
    }
}

/// Notices that the machine slept: timers stood still meanwhile, leases did not.
struct SleepCheck {
    clock: ClockTime,
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
