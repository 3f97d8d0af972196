//! The task of one item: drives the state machines that acknowledge it, keep its lease, and stop it.

use super::handle::{Latch, Lease, LeaseShared};
use super::machine::{self, Actions, LeaseEnd, LeaseEvent, LeaseMachine, LeaseState};
use super::requests::{send_heartbeat, send_stop};
use crate::api::operations::{WORK_ACK, WORK_STOP};
use crate::client::Client;
use crate::credentials::Secret;
use crate::runtime::Critical;
use crate::runtime::clock::{self, ClockTime};
use crate::runtime::fork::{self, ForkSafeMutex};
use crate::telemetry::log::{self, Level};
use crate::worker::claim::{AckResult, Claim, ClaimAction};
use crate::worker::metrics::{Counter, RequestKind};
use crate::worker::request::{Failure, FailureClass, Reply, send};
use crate::worker::shared::{Slot, WorkerShared};
use crate::worker::supervisor::Item;
use crate::worker::{LOG, handover, rescue, secret};
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
    let token = item.secret.as_ref().and_then(|secret| secret::token(secret.expose()));
    let key_client = worker.client.redacting(item.secret.iter().chain(&token).map(Secret::expose));
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
    let machine = match worker.config.heartbeat {
        true => LeaseMachine::new(clock::now(), polled, is_late),
        // Another worker may have been handed the item, too: what it does not begin is rescued.
        false if is_late => return,
        // Counted from before the acknowledgement: after it, another worker's time to rescue the item runs.
        false => LeaseMachine::claim_only(arrived.saturating_add(worker.config.handover_window())),
    };
    let lease = new_lease(item, machine, client, worker);
    slot.set_lease(&lease);
    LeaseTask { lease, slot, key_client, arrived, critical: Some(critical), pickup_deadline: None }.run().await;
}

/// Keeps the lease on an item that another process hands over, with its last heartbeat. If it is not confirmed, the worker ends with the
/// error to report.
pub(in crate::worker) async fn adopt_item(item: Item, last_heartbeat: Option<String>, mut slot: Slot) {
    let (worker, arrived) = (slot.worker.clone(), clock::now());
    let (machine, client) = (LeaseMachine::adopted(arrived, last_heartbeat), worker.client.clone());
    let lease = new_lease(item, machine, client.clone(), worker.clone());
    slot.set_lease(&lease);
    LeaseTask { lease: lease.clone(), slot, key_client: client, arrived, critical: None, pickup_deadline: None }.run().await;
    worker.on_adoption_ended(handover::failure(&lease.shared.lock()));
}

/// Creates a lease, which its task then keeps.
pub(in crate::worker) fn new_lease(item: Item, machine: LeaseMachine, client: Client, worker: Arc<WorkerShared>) -> Arc<Lease> {
    Arc::new(Lease {
        epoch: fork::epoch(),
        work_id: item.id,
        session_id: item.session_id,
        secret: item.secret,
        client,
        shared: ForkSafeMutex::new(LeaseShared {
            machine,
            inbox: Vec::new(),
            users: 0,
            deferred: None,
            json: item.json,
            heartbeats: 0,
            watchers: Vec::new(),
            finish_callback: None,
            stop: None,
            stopped: None,
            heartbeat_error: None,
            end: None,
        }),
        changed: Notify::new(),
        ending: Notify::new(),
        stage: Latch::default(),
        worker,
    })
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
                Some(end) => return self.give_back(end).await,
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

    /// Returns an item to the work queue that ended before any process began its lease.
    async fn give_back(&self, end: LeaseEnd) {
        let lease = &self.lease;
        let is_unbegun = {
            let shared = lease.shared.lock();
            let is_shut_down = shared.machine.state() == LeaseState::Lost(machine::Reason::Shutdown);
            shared.machine.is_claim_only() && (end == LeaseEnd::Abandoned || is_shut_down)
        };
        if is_unbegun {
            rescue::release(&lease.worker, &lease.work_id).await;
        }
    }

    /// Acknowledges the item once more, and starts over with its first heartbeat. Returns false if it is left to the work queue.
    async fn reacknowledge(&mut self) -> bool {
        let next = acknowledge(&self.lease.worker, &self.key_client, &self.lease.work_id, Claim::late()).await;
        let mut shared = self.lease.shared.lock();
        shared.machine = LeaseMachine::new(clock::now(), ClockTime::ZERO, true);
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
            self.on_state_change(before, after, now, shared.machine.is_adopted());
        }
        shared.end = actions.end.filter(|end| *end != LeaseEnd::Unconfirmed);
        let finished = shared.end.and_then(|end| {
            let finish_callback = shared.finish_callback.take()?;
            Some((finish_callback, lease.outcome(end, &mut shared)))
        });
        let refusal = if shared.end == Some(LeaseEnd::Rejected) { shared.heartbeat_error.clone() } else { None };
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
        if before == LeaseState::Unconfirmed && matches!(after, LeaseState::Claimed | LeaseState::Held) {
            self.slot.mark_claimed();
            lease.worker.offer(&lease);
        }
        let is_withdrawn =
            matches!(after, LeaseState::StopRequested(_) | LeaseState::Lost(_)) && before != LeaseState::Unconfirmed;
        if is_withdrawn && !is_handed_out && lease.worker.retract(&lease) {
            lease.push(LeaseEvent::Finish { timeout: machine::STOP_TIMEOUT });
        }
        if is_handed_out || has_ended {
            self.pickup_deadline = None;
        }
        if self.pickup_deadline.take_if(|deadline| clock::now() >= *deadline).is_some() && lease.worker.retract(&lease) {
            lease.give_back();
        }
        if has_ended {
            lease.worker.retract(&lease);
        }
    }

    /// Counts and logs a new state.
    fn on_state_change(&mut self, before: LeaseState, after: LeaseState, now: ClockTime, is_adopted: bool) {
        let worker = &self.lease.worker;
        let work_id = || json!({"work_id": self.lease.work_id});
        match after {
            LeaseState::Unconfirmed => {}
            LeaseState::Claimed | LeaseState::Held => {
                self.critical = None;
                self.pickup_deadline = Some(now + PICKUP_TIMEOUT);
                worker.on_claimed();
                worker.metrics.claim.add(now.saturating_sub(self.arrived));
                log::record(Level::Info, LOG, if is_adopted { "adopted an item" } else { "claimed an item" }, work_id);
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
            LeaseEnd::Released => worker.metrics.increment(Counter::Released),
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
        let is_orphaned = match shared.machine.state() {
            LeaseState::Unconfirmed => !shared.machine.is_late(),
            state => state == LeaseState::Claimed,
        };
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

#[cfg(test)]
mod tests {
    use super::machine::STOP_TIMEOUT;
    use super::*;
    use crate::worker::Worker;
    use std::io::{Read, Write};
    use std::net::TcpListener;

    #[test]
    fn a_stop_that_the_server_postpones_beyond_its_deadline_is_given_up() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = json!({"api_key": "k", "base_url": format!("http://{}", listener.local_addr().unwrap())});
        let client = Client::new(Some(&config.to_string())).unwrap();
        let worker = Worker::new(&client, Some(r#"{"environment_id":"env_1","environment_key":"k"}"#)).unwrap();
        let server = std::thread::spawn(move || {
            let mut connection = listener.accept().unwrap().0;
            let mut request = Vec::new();
            while !request.ends_with(b"}") {
                let mut byte = [0];
                connection.read_exact(&mut byte).unwrap();
                request.push(byte[0]);
            }
            connection.write_all(b"HTTP/1.1 503 Busy\r\nretry-after: 86400\r\ncontent-length: 0\r\n\r\n").unwrap();
        });
        let stop =
            async { tokio::time::timeout(STOP_TIMEOUT / 2, stop_unheld(worker.shared().unwrap(), &client, "work_1")).await };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(stop).expect("it is given up at once");
        server.join().unwrap();
    }
}
