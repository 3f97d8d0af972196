//! The worker's own task: polls, starts a task for each item, scans for orphaned items, and ends when no item is held any more. A panic in
//! one of its rounds, or in a task that it started, is counted; the supervisor continues.

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
use crate::credentials::Secret;
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

/// How much longer a poll may take than it waits at the server.
const POLL_MARGIN: Duration = Duration::from_secs(10);
/// How often the supervisor checks whether the machine was suspended.
const SUSPEND_CHECK_INTERVAL: Duration = Duration::from_secs(1);
/// How long after the grace period the remaining tasks are aborted. Stops have ended by then.
const FINAL_STOP_GRACE: Duration = SHUTDOWN_STOP_TIMEOUT.saturating_add(Duration::from_millis(500));
/// The pause after a round that panicked: the next one may panic too.
const PANIC_PAUSE: Duration = Duration::from_secs(1);

/// An item that a poll handed out.
pub(super) struct Item {
    pub(super) json: String,
    pub(super) id: String,
    pub(super) kind: String,
    pub(super) session_id: String,
    pub(super) secret: Option<Secret>,
}

/// Where a worker's items come from.
pub(super) enum Source {
    /// The work queue, polled with this request.
    WorkQueue(Request),
    /// Another process, which hands over this item with its last heartbeat. The worker claims no other.
    Handover(Item, Option<String>),
}

impl Item {
    /// Reads the response of a poll; `None`: it has no item.
    pub(super) fn read(json: String) -> Result<Option<Item>, String> {
        if json.trim() == "null" {
            return Ok(None);
        }
        let mut object = Object::parse(&json, "item", Status::Response).map_err(|error| error.to_string())?;
        let mut text = |name| object.take(name).and_then(|value| value.string().ok()).unwrap_or_default();
        let (id, secret) = (text("id"), text("secret"));
        let data = object.take("data").and_then(|data| data.object().ok());
        let mut data = data.unwrap_or_else(|| Object::empty(Status::Response));
        let mut text = |name| data.take(name).and_then(|value| value.string().ok()).unwrap_or_default();
        let (kind, session_id) = (text("type"), text("id"));
        drop((object, data));
        if id.is_empty() {
            return Ok(None);
        }
        Ok(Some(Item { id, kind, session_id, secret: Some(secret).filter(|secret| !secret.is_empty()).map(Secret::new), json }))
    }
}

/// Builds the request that every poll sends. Errors: `CONFIG` if the configuration does not make a valid request.
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

/// A poll that has ended.
struct FinishedPoll {
    sent: ClockTime,
    reply: Reply,
}

async fn poll(worker: Arc<WorkerShared>, request: Request) -> FinishedPoll {
    #[cfg(test)]
    worker.faults.pass(super::fault_injection::FaultPoint::PollTask);
    let (sent, timeout) = (clock::now(), worker.config.polling.block + POLL_MARGIN);
    FinishedPoll { sent, reply: send(&worker, &worker.client, request, timeout, RequestKind::Poll, "").await }
}

/// Runs a worker; returns when it claims no more and holds no item.
pub(super) async fn supervise(worker: Arc<WorkerShared>, source: Source) {
    let mut supervisor = Supervisor::new(worker, source);
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
    /// The request that every poll sends; `None`: the worker only keeps the item that it was given.
    request: Option<Request>,
    runtime: Arc<Runtime>,
    poller: Poller,
    polls: JoinSet<FinishedPoll>,
    items: JoinSet<()>,
    /// The scan for orphaned items, while it runs.
    scan: JoinSet<rescue::RescueScanner>,
    /// What the scanner remembers between two scans.
    scanner: rescue::RescueScanner,
    scan_at: ClockTime,
    suspend: SuspendDetector,
    /// Whether the runtime is being closed.
    is_closing: bool,
    grace_expired: bool,
}

impl Supervisor {
    fn new(worker: Arc<WorkerShared>, source: Source) -> Supervisor {
        let mut items = JoinSet::new();
        let request = match source {
            Source::WorkQueue(request) => Some(request),
            Source::Handover(item, last_heartbeat) => {
                items.spawn(task::adopt_item(item, last_heartbeat, Slot::take(&worker)));
                None
            }
        };
        Supervisor {
            request,
            runtime: worker.pool.runtime().clone(),
            poller: Poller::new(clock::now(), worker.config.polling.clone()),
            polls: JoinSet::new(),
            items,
            scan: JoinSet::new(),
            scanner: rescue::RescueScanner::default(),
            scan_at: clock::now() + worker.config.rescue_after / 4,
            suspend: SuspendDetector::new(),
            is_closing: false,
            grace_expired: false,
            worker,
        }
    }

    /// Does what is due, and then waits until something happens.
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
            // An item in one of their responses was not acknowledged: the work queue hands it out again.
            self.polls.shutdown().await;
            self.scan.shutdown().await;
            self.worker.end(WorkerEnd::Stopped);
        }
        let wake = match stopped {
            Some(since) => self.shut_down(now, since + self.worker.config.grace).await,
            None if is_over => None,
            None => self.request.clone().and_then(|request| self.poll(now, &request)),
        };
        if self.polls.is_empty() {
            self.worker.conclude();
            let claims_no_more = self.request.is_none() || self.worker.state.lock().ending.is_some();
            if self.items.is_empty() && claims_no_more {
                return ControlFlow::Break(());
            }
        }
        tokio::select! {
            Some(poll) = self.polls.join_next(), if !self.polls.is_empty() => self.on_poll_done(poll),
            Some(ended) = self.items.join_next(), if !self.items.is_empty() => self.joined(ended, "the task of an item"),
            Some(scanned) = self.scan.join_next(), if !self.scan.is_empty() => {
                self.scanner = self.joined(scanned, "the scan for orphaned items").unwrap_or_default();
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

    /// Stops the items once the grace period has expired, and soon afterwards aborts their tasks. Returns when the next step is due.
    async fn shut_down(&mut self, now: ClockTime, grace_ends: ClockTime) -> Option<ClockTime> {
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

    /// Starts the polls and the scan that are due. Returns when the next one is.
    fn poll(&mut self, now: ClockTime, request: &Request) -> Option<ClockTime> {
        let mut wake = loop {
            let in_flight = self.polls.len();
            match self.poller.next(now, self.worker.demand(now, in_flight), in_flight) {
                PollAction::Poll => drop(self.polls.spawn(poll(self.worker.clone(), request.clone()))),
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
                // Jitter: workers that were started together do not scan at the same time.
                self.scan_at = now + rescue_after.mul_f64(0.75 + fastrand::f64() / 2.0);
                self.scan.spawn(rescue::scan(self.worker.clone(), std::mem::take(&mut self.scanner)));
            } else {
                wake = Some(wake.map_or(self.scan_at, |wake| wake.min(self.scan_at)));
            }
        }
        wake
    }

    /// Returns the output of a task; `None`: it panicked, which is recorded, or was aborted.
    fn joined<T>(&self, ended: Result<T, JoinError>, what: &'static str) -> Option<T> {
        ended
            .inspect_err(|error| {
                if error.is_panic() {
                    self.worker.record_panic(what)
                }
            })
            .ok()
    }

    /// Applies the result of a poll, and starts the task of the item that it returned.
    fn on_poll_done(&mut self, poll: Result<FinishedPoll, JoinError>) -> Option<()> {
        let now = clock::now();
        let Some(FinishedPoll { sent, reply }) = self.joined(poll, "the task of a poll") else {
            self.poller.on_poll_result(now, now, PollResult::Failed { retry_after: None }, fastrand::f64());
            return None;
        };
        let mut failure = None;
        let outcome = match reply.result {
            Ok(json) => match Item::read(json) {
                Ok(None) => PollResult::Empty,
                Ok(Some(item)) => {
                    self.items.spawn(task::run_item(item, sent, now, Slot::take(&self.worker)));
                    PollResult::Item
                }
                Err(problem) => {
                    log::record(Level::Warn, LOG, "the response to a poll is not an item", || json!({"why": problem}));
                    self.worker.metrics.record_failure(RequestKind::Poll, Status::Response);
                    failure = Some(problem);
                    PollResult::Failed { retry_after: reply.retry_after }
                }
            },
            Err(Failure { class, error }) => {
                failure = Some(error.to_string());
                if matches!(class, FailureClass::Permanent | FailureClass::PreconditionFailed) {
                    self.worker.end(WorkerEnd::Failed(error));
                }
                PollResult::Failed { retry_after: reply.retry_after }
            }
        };
        self.worker.state.lock().last_poll_failure = failure;
        self.poller.on_poll_result(now, sent, outcome, fastrand::f64());
        Some(())
    }
}

/// Detects that the machine was suspended: its timers stood still, but the leases ran on.
struct SuspendDetector {
    clock: ClockTime,
    timers: Instant,
}

impl SuspendDetector {
    fn new() -> SuspendDetector {
        SuspendDetector { clock: clock::now(), timers: Instant::now() }
    }

    /// If the machine was suspended since the last check, has every lease check the clock.
    fn check(&mut self, worker: &WorkerShared) {
        let now = SuspendDetector::new();
        let suspended = (now.clock.saturating_sub(self.clock)).saturating_sub(now.timers - self.timers);
        *self = now;
        if suspended > SUSPEND_CHECK_INTERVAL / 4 {
            log::record(Level::Warn, LOG, "the machine was suspended", || json!({"for_ms": suspended.as_secs_f64() * 1e3}));
            worker.leases().iter().for_each(|lease| lease.recheck());
        }
    }
}
