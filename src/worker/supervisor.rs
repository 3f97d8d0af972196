//! The worker's own task: polls, begins what the polls bring, looks for what others have left, and ends when nothing is held any more.
//! A fault in one of its rounds, or in what it has begun, is counted and costs no more than that: it goes on.

use super::config::Config;
use super::lease::machine::SHUTDOWN_STOP_TIMEOUT;
use super::lease::task;
use super::metrics::RequestKind;
use super::poller::{PollAction, PollResult, Poller};
use super::request::{Failure, FailureClass, Reply, catch_panic, send};
use super::shared::{Slot, WorkerEnd, WorkerShared};
use super::{LOG, rescue};
use crate::api::operations::WORK_POLL;
use crate::client::Client;
use crate::error::{Result, Status};
use crate::http::request::Request;
use crate::json::Object;
use crate::runtime::Runtime;
use crate::runtime::clock::{self, Moment};
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
const SUSPEND_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long after the grace period the last request is given up, whatever it waits for. By then stops have ended by themselves.
const FINAL_STOP_GRACE: Duration = SHUTDOWN_STOP_TIMEOUT.saturating_add(Duration::from_millis(500));
/// A rest after a round that broke off by a fault, which the next one may meet again.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

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
struct FinishedPoll {
    sent: Moment,
    reply: Reply,
}

async fn poll(worker: Arc<WorkerShared>) -> FinishedPoll {
    #[cfg(test)]
    worker.faults.pass(super::fault_injection::FaultPoint::PollTask);
    let (sent, timeout) = (clock::now(), worker.config.polling.block + POLL_MARGIN);
    FinishedPoll { sent, reply: send(&worker, &worker.client, worker.poll.clone(), timeout, RequestKind::Poll, "").await }
}

/// Polls, and begins what the polls bring; ends when nothing more is to come and nothing is held.
pub(super) async fn supervise(worker: Arc<WorkerShared>) {
    let mut supervisor = Supervisor::new(worker);
    loop {
        match catch_panic(supervisor.round()).await {
            Some(ControlFlow::Continue(())) => {}
            Some(ControlFlow::Break(())) => return,
            None => {
                supervisor.worker.record_panic("the supervisor");
                sleep(PANIC_PAUSE).await;
            }
        }
    }
}

struct Supervisor {
    worker: Arc<WorkerShared>,
    runtime: Arc<Runtime>,
    poller: Poller,
    polls: JoinSet<FinishedPoll>,
    items: JoinSet<()>,
    /// The look for what others have left, while one is under way.
    scan: JoinSet<rescue::RescueScanner>,
    /// What that look knows, between two.
    scanner: rescue::RescueScanner,
    scan_at: Moment,
    suspend: SuspendDetector,
    /// Whether the runtime is being closed.
    is_closing: bool,
    grace_expired: bool,
}

impl Supervisor {
    fn new(worker: Arc<WorkerShared>) -> Supervisor {
        Supervisor {
            runtime: worker.pool.runtime().clone(),
            poller: Poller::new(clock::now(), worker.config.polling.clone()),
            polls: JoinSet::new(),
            items: JoinSet::new(),
            scan: JoinSet::new(),
            scanner: rescue::RescueScanner::default(),
            scan_at: clock::now() + worker.config.rescue_after / 4,
            suspend: SuspendDetector::new(),
            is_closing: false,
            grace_expired: false,
            worker,
        }
    }

    /// Does what is to be done now, and then waits until something happens.
    async fn round(&mut self) -> ControlFlow<()> {
        #[cfg(test)]
        self.worker.faults.pass(super::fault_injection::FaultPoint::Supervisor);
        let now = clock::now();
        self.suspend.check(&self.worker);
        let (stopped, is_over, has_failed) = {
            let state = self.worker.state.lock();
            (state.stopped, state.ending.is_some(), matches!(state.ending, Some(WorkerEnd::Failed(_))))
        };
        if stopped.is_some() || has_failed {
            // An item that one of these was bringing is handed out again by the queue: it was not acknowledged.
            self.polls.shutdown().await;
            self.scan.shutdown().await;
            self.worker.end(WorkerEnd::Stopped);
        }
        let wake = match stopped {
            Some(since) => self.shut_down(now, since + self.worker.config.grace).await,
            None if is_over => None,
            None => self.poll(now),
        };
        if self.polls.is_empty() {
            self.worker.conclude();
            if self.items.is_empty() && self.worker.state.lock().ending.is_some() {
                return ControlFlow::Break(());
            }
        }
        tokio::select! {
            Some(poll) = self.polls.join_next(), if !self.polls.is_empty() => self.on_poll_done(poll),
            Some(ended) = self.items.join_next(), if !self.items.is_empty() => self.joined(ended, "an item"),
            Some(scanned) = self.scan.join_next(), if !self.scan.is_empty() => {
                self.scanner = self.joined(scanned, "the rescue of items").unwrap_or_default();
                None
            }
            () = self.worker.changed.notified() => None,
            () = sleep(wake.unwrap_or_default().saturating_sub(now)), if wake.is_some() => None,
            () = sleep(SUSPEND_CHECK_INTERVAL), if !self.items.is_empty() => None,
            () = self.runtime.closes(), if !self.is_closing => {
                self.is_closing = true;
                self.worker.stop();
                None
            }
        };
        ControlFlow::Continue(())
    }

    /// The worker is stopped: when the grace period is over, its items are, and soon after that everything is. Gives when that is.
    async fn shut_down(&mut self, now: Moment, grace_ends: Moment) -> Option<Moment> {
        if now < grace_ends {
            return Some(grace_ends);
        }
        if !std::mem::replace(&mut self.grace_expired, true) {
            self.worker.expire_grace();
        }
        if now >= grace_ends + FINAL_STOP_GRACE {
            self.items.shutdown().await;
        }
        Some(grace_ends + FINAL_STOP_GRACE)
    }

    /// Polls as often as the poller says, and looks for what others have left. Gives when there will be something to do.
    fn poll(&mut self, now: Moment) -> Option<Moment> {
        let mut wake = loop {
            let in_flight = self.polls.len();
            match self.poller.next(now, self.worker.demand(now, in_flight), in_flight) {
                PollAction::Poll => drop(self.polls.spawn(poll(self.worker.clone()))),
                PollAction::Wait(until) => break until,
                PollAction::Drained => {
                    if in_flight == 0 {
                        self.worker.end(WorkerEnd::Drained);
                    }
                    break None;
                }
            }
        };
        let rescue_after = self.worker.config.rescue_after;
        let scans = !rescue_after.is_zero() && !self.worker.config.polling.drain;
        if scans && self.scan.is_empty() {
            if now >= self.scan_at {
                // Workers that were started together do not look all at once.
                self.scan_at = now + rescue_after.mul_f64(0.75 + fastrand::f64() / 2.0);
                self.scan.spawn(rescue::scan(self.worker.clone(), std::mem::take(&mut self.scanner)));
            } else {
                wake = Some(wake.map_or(self.scan_at, |wake| wake.min(self.scan_at)));
            }
        }
        wake
    }

    /// What a task of the supervisor's gave; `None`: it broke off by a fault, or was ended.
    fn joined<T>(&self, ended: Result<T, JoinError>, what: &'static str) -> Option<T> {
        ended
            .inspect_err(|error| {
                if error.is_panic() {
                    self.worker.record_panic(what)
                }
            })
            .ok()
    }

    /// Takes a poll's outcome in; an item begins its life here.
    fn on_poll_done(&mut self, poll: Result<FinishedPoll, JoinError>) -> Option<()> {
        let now = clock::now();
        let Some(FinishedPoll { sent, reply }) = self.joined(poll, "a poll") else {
            self.poller.on_poll_result(now, now, PollResult::Failed { retry_after: None }, fastrand::f64());
            return None;
        };
        let outcome = match reply.result {
            Ok(json) => match Item::read(json) {
                Ok(None) => PollResult::Empty,
                Ok(Some(item)) => {
                    self.items.spawn(task::serve(item, sent, now, Slot::take(&self.worker)));
                    PollResult::Item
                }
                Err(problem) => {
                    let why = || json!({"why": problem});
                    log::record(Level::Warn, LOG, "a poll was answered with something else than an item", why);
                    self.worker.metrics.record_failure(RequestKind::Poll, Status::Response);
                    PollResult::Failed { retry_after: reply.retry_after }
                }
            },
            Err(Failure { class, error }) => {
                if matches!(class, FailureClass::Permanent | FailureClass::PreconditionFailed) {
                    self.worker.end(WorkerEnd::Failed(error));
                }
                PollResult::Failed { retry_after: reply.retry_after }
            }
        };
        self.poller.on_poll_result(now, sent, outcome, fastrand::f64());
        Some(())
    }
}

/// Notices that the machine slept: timers stood still meanwhile, leases did not.
struct SuspendDetector {
    clock: Moment,
    timers: Instant,
}

impl SuspendDetector {
    fn new() -> SuspendDetector {
        SuspendDetector { clock: clock::now(), timers: Instant::now() }
    }

    /// If the machine slept since the last look, has every lease look at the clock.
    fn check(&mut self, worker: &WorkerShared) {
        let now = SuspendDetector::new();
        let suspended = (now.clock.saturating_sub(self.clock)).saturating_sub(now.timers - self.timers);
        *self = now;
        if suspended > SUSPEND_CHECK_INTERVAL / 4 {
            log::record(Level::Warn, LOG, "the machine slept", || json!({"for_ms": suspended.as_secs_f64() * 1e3}));
            worker.leases().iter().for_each(|lease| lease.recheck());
        }
    }
}
