//! The task of one item: drives the state machines that acknowledge it, keep its lease, and stop it.

use super::handle::{Latch, Lease, LeaseShared, already_stopped};
use super::machine::{self, Actions, HeartbeatResult, LeaseEnd, LeaseEvent, LeaseState, StopResult};
use crate::api::operations::{WORK_ACK, WORK_HEARTBEAT, WORK_STOP};
use crate::client::Client;
use crate::credentials::Secret;
use crate::error::{Error, Status};
use crate::json::Object;
use crate::runtime::Critical;
use crate::runtime::clock::{self, ClockTime};
use crate::runtime::fork::{self, ForkSafeMutex};
use crate::telemetry::log::{self, Level};
use crate::worker::claim::{AckResult, Claim, ClaimAction};
use crate::worker::metrics::{Counter, RequestKind};
use crate::worker::request::{Failure, FailureClass, Reply, send};
use crate::worker::shared::{Slot, WorkerShared};
use crate::worker::supervisor::Item;
use crate::worker::{LOG, rescue, secret};
use serde_json::json;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// How long an item waits for the host to pick it up. Then it is released: its lease expires, and the work queue hands it out again.
const PICKUP_TIMEOUT: Duration = Duration::from_secs(60);
/// Bounds one attempt to stop an item that has no holder.
const STOP_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The types of items that the worker stops itself, as expected.
const HEALTH_CHECKS: [&str; 2] = ["healthcheck", "health_check"];

/// Runs one item, from the poll's response to its end. `polled`: when the poll was sent; `arrived`: when the item came.
pub(in crate::worker) async fn run_item(item: Item, polled: ClockTime, arrived: ClockTime, mut slot: Slot) {
    let worker = slot.worker.clone();
    // From the acknowledgement until the first heartbeat, no other worker can get the item.
    let critical = worker.pool.runtime().critical();
    let token = item.secret.as_deref().and_then(secret::token);
    let key_client = worker.client.redacting(item.secret.as_deref().into_iter().chain(token.as_ref().map(Secret::expose)));
    let claim = Claim::new(polled, worker.config.claim_window());
    let is_late = match acknowledge(&worker, &key_client, &item.id, claim).await {
        ClaimAction::Hold { is_late } => is_late,
        ClaimAction::Leave | ClaimAction::Retry(_) => return,
    };
    let client = item_client(&key_client, &item, token.as_ref());
    if item.kind != "session" {
        let is_known = HEALTH_CHECKS.contains(&item.kind.as_str());
        log::record(
            if is_known { Level::Debug } else { Level::Warn },
            LOG,
            "stopping an item without a session",
            || json!({"work_id": item.id, "type": item.kind}),
        );
        worker.metrics.increment(Counter::HealthChecks);
        // It is not going to be handed out.
        slot.mark_claimed();
        return stop_unheld(&worker, &client, &item.id).await;
    }
    let lease = Arc::new(Lease {
        epoch: fork::epoch(),
        work_id: item.id,
        client,
        shared: ForkSafeMutex::new(LeaseShared {
            machine: machine::LeaseMachine::new(clock::now(), polled, is_late),
            inbox: Vec::new(),
            json: item.json,
            heartbeats: 0,
            watchers: Vec::new(),
            finish_callback: None,
            stop: None,
            stopped: None,
            refusal: None,
            end: None,
        }),
        changed: Notify::new(),
        stage: Latch::default(),
        worker: worker.clone(),
    });
    slot.set_lease(&lease);
    LeaseTask { lease, slot, key_client, arrived, critical: Some(critical), pickup_deadline: None }.run().await;
}

/// Acknowledges an item, with as many attempts as the claim wants. Returns [`ClaimAction::Hold`] or [`ClaimAction::Leave`], or
/// [`ClaimAction::Retry`] when the grace period has expired.
async fn acknowledge(worker: &WorkerShared, key_client: &Client, work_id: &str, mut claim: Claim) -> ClaimAction {
    loop {
        let ids = [("environment_id", worker.config.environment_id.as_str()), ("work_id", work_id)];
        // Fails if the item's id cannot stand in a URL path.
        let Ok(request) = key_client.prepare_with(&WORK_ACK, &ids, None) else { return ClaimAction::Leave };
        let reply = send(worker, key_client, request, claim.timeout(clock::now()), RequestKind::Ack, work_id).await;
        let outcome = match reply.result {
            Ok(_) => AckResult::Done,
            Err(Failure { class: FailureClass::Permanent, error }) => {
                worker.on_rejected(work_id, error);
                AckResult::Rejected
            }
            Err(Failure { class: FailureClass::Conflict | FailureClass::PreconditionFailed, .. }) => AckResult::Conflict,
            Err(_) => {
                let Reply { may_have_arrived, retry_after, .. } = reply;
                AckResult::Failed { may_have_arrived, retry_after }
            }
        };
        match claim.on_result(clock::now(), outcome, fastrand::f64()) {
            ClaimAction::Retry(at) if !worker.state.lock().grace_expired => sleep(at.saturating_sub(clock::now())).await,
            next => return next,
        }
    }
}

/// Stops an item that has no holder; gives up after [`machine::STOP_TIMEOUT`] or a permanent failure.
async fn stop_unheld(worker: &WorkerShared, client: &Client, work_id: &str) {
    let ids = [("environment_id", worker.config.environment_id.as_str()), ("work_id", work_id)];
    let Ok(request) = client.prepare_with(&WORK_STOP, &ids, Some("{\"force\":true}")) else { return };
    let deadline = clock::now() + machine::STOP_TIMEOUT;
    for failures in 0.. {
        let permit = worker.stops.acquire(deadline).await;
        let reply = send(worker, client, request.clone(), STOP_ATTEMPT_TIMEOUT, RequestKind::Stop, work_id).await;
        drop(permit);
        if !matches!(reply.result, Err(Failure { class: FailureClass::Transient | FailureClass::Gateway, .. })) {
            return;
        }
        let wait = reply.retry_after.unwrap_or_else(|| machine::BACKOFF.pause(failures, fastrand::f64()));
        if wait >= deadline.saturating_sub(clock::now()) {
            return;
        }
        sleep(wait).await;
    }
}

/// Creates the client for an item: with the token in its secret, else with the environment key.
fn item_client(key_client: &Client, item: &Item, token: Option<&Secret>) -> Client {
    token.and_then(|token| key_client.with_bearer(token)).unwrap_or_else(|| {
        if item.secret.is_some() {
            log::record(
                Level::Warn,
                LOG,
                "the item's secret holds no token; using the environment key",
                || json!({"work_id": item.id}),
            );
        }
        key_client.clone()
    })
}

/// The task that keeps a lease.
struct LeaseTask {
    lease: Arc<Lease>,
    slot: Slot,
    /// A client with the environment key.
    key_client: Client,
    arrived: ClockTime,
    /// Held until the first accepted heartbeat.
    critical: Option<Critical>,
    /// Until when the host may pick the item up.
    pickup_deadline: Option<ClockTime>,
}

type InFlight = Pin<Box<dyn Future<Output = LeaseEvent> + Send>>;

/// Waits for the request in flight, and clears it; without one, waits for ever.
async fn completed(in_flight: &mut Option<InFlight>) -> LeaseEvent {
    match in_flight {
        Some(future) => {
            let event = future.await;
            *in_flight = None;
            event
        }
        None => std::future::pending().await,
    }
}

impl LeaseTask {
    async fn run(mut self) {
        #[cfg(test)]
        self.lease.worker.faults.pass(crate::worker::fault_injection::FaultPoint::LeaseTask);
        let (mut heartbeat, mut stop): (Option<InFlight>, Option<InFlight>) = (None, None);
        let mut event = LeaseEvent::Tick;
        loop {
            let actions = self.apply_event(event);
            if let Some(due) = actions.heartbeat {
                heartbeat = Some(Box::pin(send_heartbeat(self.lease.clone(), due)));
            }
            if let Some(timeout) = actions.stop {
                stop = Some(Box::pin(send_stop(self.lease.clone(), clock::now() + timeout)));
            }
            match actions.end {
                None => {}
                Some(LeaseEnd::Unconfirmed) => {
                    (heartbeat, stop) = (None, None);
                    if !self.reacknowledge().await {
                        return;
                    }
                }
                Some(_) => return,
            }
            let now = clock::now();
            let wake = [actions.wake_at, self.pickup_deadline].into_iter().flatten().min();
            event = tokio::select! {
                event = completed(&mut heartbeat) => event,
                event = completed(&mut stop) => event,
                () = sleep(wake.unwrap_or_default().saturating_sub(now)), if wake.is_some() => LeaseEvent::Tick,
                () = self.lease.changed.notified() => LeaseEvent::Tick,
            };
        }
    }

    /// Acknowledges the item once more, and starts over with its first heartbeat. Returns false if it is left to the work queue.
    async fn reacknowledge(&mut self) -> bool {
        let next = acknowledge(&self.lease.worker, &self.key_client, &self.lease.work_id, Claim::late()).await;
        let mut shared = self.lease.shared.lock();
        shared.machine = machine::LeaseMachine::new(clock::now(), ClockTime::ZERO, true);
        if !matches!(next, ClaimAction::Hold { .. }) {
            shared.end = Some(LeaseEnd::Lost);
        }
        // The new machine has something to do at once.
        self.lease.changed.notify_one();
        shared.end.is_none()
    }

    /// Applies an event and those in the inbox to the machine, and notifies everyone who waits for the result.
    fn apply_event(&mut self, event: LeaseEvent) -> Actions {
        let (lease, now) = (self.lease.clone(), clock::now());
        let mut shared = lease.shared.lock();
        let before = shared.machine.state();
        let mut events = std::mem::take(&mut shared.inbox);
        events.insert(0, event);
        let mut actions = Actions::default();
        for event in events {
            let next = shared.machine.next(now, event);
            actions = Actions { heartbeat: actions.heartbeat.or(next.heartbeat), stop: actions.stop.or(next.stop), ..next };
        }
        let after = shared.machine.state();
        if before != after {
            self.on_state_change(before, after, now);
        }
        shared.end = actions.end.filter(|end| *end != LeaseEnd::Unconfirmed);
        let finished = shared.end.and_then(|end| {
            let finish_callback = shared.finish_callback.take()?;
            Some((finish_callback, lease.outcome(end, &mut shared)))
        });
        let refusal = if shared.end == Some(LeaseEnd::Rejected) { shared.refusal.take() } else { None };
        let is_handed_out = shared.json.is_empty();
        // Counted first: whoever is notified may read the metrics.
        if let Some(end) = shared.end {
            self.on_end(end);
        }
        lease.notify_watchers(shared);
        if let Some(error) = refusal {
            lease.worker.on_rejected(&lease.work_id, error);
        }
        if let Some((finish_callback, outcome)) = finished {
            finish_callback.call(outcome);
        }
        self.update_offer(before, after, is_handed_out, actions.end.is_some());
        actions
    }

    /// Offers the item to the host once it is held, and takes it back if it has to stop, has ended, or is not picked up in time.
    fn update_offer(&mut self, before: LeaseState, after: LeaseState, is_handed_out: bool, has_ended: bool) {
        let lease = self.lease.clone();
        if before == LeaseState::Unconfirmed && after == LeaseState::Held {
            self.slot.mark_claimed();
            lease.worker.offer(&lease);
        }
        let is_withdrawn = matches!(after, LeaseState::StopRequested(_) | LeaseState::Lost(_)) && before == LeaseState::Held;
        if is_withdrawn && !is_handed_out && lease.worker.retract(&lease) {
            lease.push(LeaseEvent::Finish { timeout: machine::STOP_TIMEOUT });
        }
        if is_handed_out || has_ended {
            self.pickup_deadline = None;
        }
        if self.pickup_deadline.take_if(|deadline| clock::now() >= *deadline).is_some() && lease.worker.retract(&lease) {
            lease.release();
        }
        if has_ended {
            lease.worker.retract(&lease);
        }
    }

    /// Counts and logs a new state.
    fn on_state_change(&mut self, before: LeaseState, after: LeaseState, now: ClockTime) {
        let worker = &self.lease.worker;
        let work_id = || json!({"work_id": self.lease.work_id});
        match after {
            LeaseState::Unconfirmed => {}
            LeaseState::Held => {
                self.critical = None;
                self.pickup_deadline = Some(now + PICKUP_TIMEOUT);
                worker.on_claimed();
                worker.metrics.claim.add(now.saturating_sub(self.arrived));
                log::record(Level::Info, LOG, "claimed an item", work_id);
            }
            LeaseState::StopRequested(reason) => {
                worker.metrics.increment(Counter::StopRequested);
                log::record(
                    Level::Info,
                    LOG,
                    "item has to be stopped",
                    || json!({"work_id": self.lease.work_id, "reason": reason.name()}),
                );
            }
            // Another worker was quicker; this one never held it.
            LeaseState::Lost(_) if before == LeaseState::Unconfirmed => {
                log::record(Level::Info, LOG, "item was claimed by another worker", work_id);
            }
            LeaseState::Lost(reason) => {
                worker.metrics.increment(Counter::Lost);
                log::record(
                    Level::Warn,
                    LOG,
                    "a lease is lost",
                    || json!({"work_id": self.lease.work_id, "reason": reason.name()}),
                );
            }
        }
    }

    /// Counts and logs the end.
    fn on_end(&self, end: LeaseEnd) {
        let worker = &self.lease.worker;
        match end {
            LeaseEnd::Stopped => worker.metrics.increment(Counter::Finished),
            LeaseEnd::Abandoned => worker.metrics.increment(Counter::Abandoned),
            LeaseEnd::Lost | LeaseEnd::NotStopped | LeaseEnd::Rejected | LeaseEnd::Unconfirmed => {}
        }
        log::record(Level::Debug, LOG, "lease ended", || json!({"work_id": self.lease.work_id, "how": end.name()}));
    }
}

/// Ends the lease of a task that panicked, or was aborted at the end of the runtime.
impl Drop for LeaseTask {
    fn drop(&mut self) {
        let lease = &self.lease;
        let mut shared = lease.shared.lock();
        if shared.end.is_some() {
            return;
        }
        let is_orphaned = shared.machine.state() == LeaseState::Unconfirmed && !shared.machine.is_late();
        shared.end = Some(LeaseEnd::Lost);
        let finish_callback = shared.finish_callback.take();
        lease.notify_watchers(shared);
        drop(finish_callback);
        lease.worker.retract(lease);
        // A lease that was held expires. An item without a first heartbeat has none yet: if the runtime still runs, it gets one.
        if is_orphaned {
            let lease = lease.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { rescue::release(&lease.worker, &lease.work_id).await });
            }
        }
    }
}

/// Sends a heartbeat, and returns its result as an event.
async fn send_heartbeat(lease: Arc<Lease>, heartbeat: machine::Heartbeat) -> LeaseEvent {
    let worker = &lease.worker;
    let mut params = json!({"expected_last_heartbeat": heartbeat.expected.as_deref().unwrap_or("NO_HEARTBEAT")});
    if let Some(ttl) = worker.config.desired_ttl_seconds {
        params["desired_ttl_seconds"] = ttl.into();
    }
    let ids = [("environment_id", worker.config.environment_id.as_str()), ("work_id", lease.work_id.as_str())];
    let permit = worker.heartbeats.acquire(heartbeat.until).await;
    let sent = clock::now();
    worker.metrics.lateness.add(sent.saturating_sub(heartbeat.due));
    let outcome = match lease.client.prepare_with(&WORK_HEARTBEAT, &ids, Some(&params.to_string())) {
        Ok(request) => {
            // The wait for the permit is part of its time.
            let timeout = heartbeat.timeout.min(heartbeat.until.saturating_sub(sent));
            let reply = send(worker, &lease.client, request, timeout, RequestKind::Heartbeat, &lease.work_id).await;
            worker.metrics.heartbeat.add(clock::now().saturating_sub(sent));
            heartbeat_result(&lease, reply)
        }
        Err(_) => HeartbeatResult::Rejected,
    };
    drop(permit);
    if matches!(outcome, HeartbeatResult::Accepted { .. }) {
        lease.shared.lock().heartbeats += 1;
    }
    LeaseEvent::HeartbeatDone { sent, result: outcome, jitter: fastrand::f64() }
}

/// Interprets the response to a heartbeat, and keeps the error of a permanent refusal.
fn heartbeat_result(lease: &Lease, reply: Reply) -> HeartbeatResult {
    let Reply { result, may_have_arrived, retry_after } = reply;
    match result {
        Ok(json) => {
            let result = read_heartbeat(&json).unwrap_or(HeartbeatResult::Failed { may_have_arrived: true, retry_after: None });
            if matches!(result, HeartbeatResult::Accepted { extended: false, .. }) {
                let problem = "the server recorded a heartbeat, but did not extend the lease";
                lease.shared.lock().refusal = Some(Error::new(Status::Response, problem));
            }
            result
        }
        Err(Failure { class: FailureClass::PreconditionFailed, error }) => {
            HeartbeatResult::PreconditionFailed { current: error.details().and_then(read_current), may_have_arrived }
        }
        Err(Failure { class: FailureClass::Permanent, error }) => {
            lease.shared.lock().refusal = Some(error);
            HeartbeatResult::Rejected
        }
        Err(_) => HeartbeatResult::Failed { may_have_arrived, retry_after },
    }
}

/// Reads the response to a heartbeat; `None`: it is not one.
fn read_heartbeat(json: &str) -> Option<HeartbeatResult> {
    let mut object = Object::parse(json, "heartbeat", Status::Response).ok()?;
    let last_heartbeat = object.take("last_heartbeat")?.string().ok()?;
    let ttl = object.take("ttl_seconds").map_or(Ok(0), |value| value.integer(i64::MIN, i64::MAX)).ok()?;
    Some(HeartbeatResult::Accepted {
        last_heartbeat,
        extended: object.take("lease_extended").map_or(Ok(true), |value| value.bool()).ok()?,
        state: object.take("state").map_or(Ok(String::new()), |value| value.string()).ok()?,
        ttl: Duration::from_secs(ttl.clamp(0, u32::MAX.into()).unsigned_abs()),
    })
}

/// Reads the item's state and last heartbeat from the details of a 412.
fn read_current(details: &str) -> Option<(String, Option<String>)> {
    let mut details = Object::parse(details, "details", Status::Response).ok()?;
    let mut current = details.take("current_state")?.object().ok()?;
    let mut text = |name| current.take(name).and_then(|value| value.string().ok());
    Some((text("state").unwrap_or_default(), text("last_heartbeat")))
}

/// Sends one request to stop the item, and returns its result as an event. Keeps the response for the holder.
async fn send_stop(lease: Arc<Lease>, deadline: ClockTime) -> LeaseEvent {
    let request = lease.shared.lock().stop.clone();
    let request = request.map_or_else(|| lease.stop_request(None), Ok);
    let with_response = request.as_ref().is_ok_and(|request| request.with_response);
    let permit = lease.worker.stops.acquire(deadline).await;
    let timeout = deadline.saturating_sub(clock::now());
    let (outcome, result) = match request {
        Ok(request) => match send(&lease.worker, &lease.client, request, timeout, RequestKind::Stop, &lease.work_id).await.result
        {
            Ok(json) => (StopResult::Done, Ok(json)),
            // The item has stopped before.
            Err(Failure { class: FailureClass::Conflict, .. }) => (StopResult::Done, Ok(already_stopped(with_response))),
            Err(Failure { class: FailureClass::Transient | FailureClass::Gateway, error }) => (StopResult::Failed, Err(error)),
            Err(Failure { error, .. }) => (StopResult::Rejected, Err(error)),
        },
        Err(error) => (StopResult::Rejected, Err(error)),
    };
    drop(permit);
    lease.shared.lock().stopped = Some(result);
    LeaseEvent::StopDone { result: outcome, jitter: fastrand::f64() }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
