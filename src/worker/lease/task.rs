//! One item: acknowledging it, keeping its lease, stopping it. What the state machines say is done here.

use super::handle::{Latch, Lease, Shared, nothing};
use super::machine::{self, Beaten, Event, Over, Standing, Stopped, Todo};
use crate::api::operations::{WORK_ACK, WORK_HEARTBEAT, WORK_STOP};
use crate::client::Client;
use crate::credentials::Secret;
use crate::error::{Error, Status};
use crate::json::Object;
use crate::runtime::Critical;
use crate::runtime::clock::{self, ClockTime};
use crate::runtime::fork::{self, ForkSafeMutex};
use crate::telemetry::log::{self, Level};
use crate::worker::claim::{self, Acknowledged, Claim};
use crate::worker::metrics::{Count, Step};
use crate::worker::request::{Failure, Reply, Verdict, send};
use crate::worker::shared::{Inner, Slot};
use crate::worker::supervisor::Item;
use crate::worker::{LOG, rescue, secret};
use serde_json::json;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// How long an item waits for the host to come for it. Then it goes back: its lease runs out, and the queue hands it out again.
const HANDOVER: Duration = Duration::from_secs(60);
/// Bounds an attempt to stop an item that nobody holds.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
/// The types of items that are looked after here.
const HEALTH_CHECKS: [&str; 2] = ["healthcheck", "health_check"];

/// Serves one item, from the poll's answer to its end.
pub(in crate::worker) async fn serve(item: Item, polled: ClockTime, arrived: ClockTime, mut slot: Slot) {
    let inner = slot.inner.clone();
    // From the acknowledgement on, the item is out of everybody's reach until its first heartbeat.
    let critical = inner.line.runtime().critical();
    let token = item.secret.as_deref().and_then(secret::token);
    let keyed = inner.client.redacting(item.secret.as_deref().into_iter().chain(token.as_ref().map(Secret::expose)));
    let claim = Claim::new(polled, inner.config.claim_window());
    let is_late = match acknowledge(&inner, &keyed, &item.id, claim).await {
        claim::Next::Hold { is_late } => is_late,
        claim::Next::Leave | claim::Next::Again(_) => return,
    };
    let client = item_client(&keyed, &item, token.as_ref());
    if item.kind != "session" {
        let is_known = HEALTH_CHECKS.contains(&item.kind.as_str());
        log::record(
            if is_known { Level::Debug } else { Level::Warn },
            LOG,
            "an item without a session is stopped",
            || json!({"work_id": item.id, "type": item.kind}),
        );
        inner.counts.add(Count::HealthCheck);
        // Nobody waits for it to be handed out.
        slot.ready();
        return stop_at_once(&inner, &client, &item.id).await;
    }
    let lease = Arc::new(Lease {
        epoch: fork::epoch(),
        work_id: item.id,
        client,
        shared: ForkSafeMutex::new(Shared {
            machine: machine::Lease::new(clock::now(), polled, is_late),
            inbox: Vec::new(),
            json: item.json,
            beats: 0,
            watchers: Vec::new(),
            finisher: None,
            stop: None,
            stopped: None,
            refusal: None,
            over: None,
        }),
        news: Notify::new(),
        stage: Latch::default(),
        inner: inner.clone(),
    });
    slot.holds(&lease);
    Holding { lease, slot, keyed, arrived, critical: Some(critical), handover: None }.run().await;
}

/// Acknowledges an item, again and again if need be.
async fn acknowledge(inner: &Inner, keyed: &Client, work_id: &str, mut claim: Claim) -> claim::Next {
    loop {
        let ids = [("environment_id", inner.config.environment_id.as_str()), ("work_id", work_id)];
        // The server names an item by something that cannot stand in a path.
        let Ok(request) = keyed.prepare_with(&WORK_ACK, &ids, None) else { return claim::Next::Leave };
        let reply = send(inner, keyed, request, claim.timeout(clock::now()), Step::Ack, work_id).await;
        let outcome = match reply.result {
            Ok(_) => Acknowledged::Done,
            Err(Failure { verdict: Verdict::Refused, error }) => {
                inner.refused(work_id, error);
                Acknowledged::Rejected
            }
            Err(Failure { verdict: Verdict::Conflict | Verdict::Precondition, .. }) => Acknowledged::Conflict,
            Err(_) => {
                let Reply { may_have_arrived, retry_after, .. } = reply;
                Acknowledged::Failed { may_have_arrived, retry_after }
            }
        };
        match claim.next(clock::now(), outcome, fastrand::f64()) {
            claim::Next::Again(at) if !inner.state.lock().gave_up => sleep(at.saturating_sub(clock::now())).await,
            next => return next,
        }
    }
}

/// Stops an item that nobody holds, as well as can be.
async fn stop_at_once(inner: &Inner, client: &Client, work_id: &str) {
    let ids = [("environment_id", inner.config.environment_id.as_str()), ("work_id", work_id)];
    let Ok(request) = client.prepare_with(&WORK_STOP, &ids, Some("{\"force\":true}")) else { return };
    let deadline = clock::now() + machine::STOP_PATIENCE;
    for failures in 1.. {
        let turn = inner.stops.acquire(deadline).await;
        let reply = send(inner, client, request.clone(), STOP_TIMEOUT, Step::Stop, work_id).await;
        drop(turn);
        if !matches!(reply.result, Err(Failure { verdict: Verdict::Passing | Verdict::Gateway, .. })) {
            return;
        }
        let wait = reply.retry_after.unwrap_or_else(|| machine::pause(failures, fastrand::f64()));
        if wait >= deadline.saturating_sub(clock::now()) {
            return;
        }
        sleep(wait).await;
    }
}

/// A client for an item: with the token in its secret, else with the environment's key.
fn item_client(keyed: &Client, item: &Item, token: Option<&Secret>) -> Client {
    token.and_then(|token| keyed.with_bearer(token)).unwrap_or_else(|| {
        if item.secret.is_some() {
            log::record(
                Level::Warn,
                LOG,
                "an item's secret holds no token: the environment's key is used",
                || json!({"work_id": item.id}),
            );
        }
        keyed.clone()
    })
}

/// The task that keeps a lease.
struct Holding {
    lease: Arc<Lease>,
    slot: Slot,
    /// With the environment's key.
    keyed: Client,
    arrived: ClockTime,
    /// Until the first good heartbeat.
    critical: Option<Critical>,
    /// Until when the host may come for the item.
    handover: Option<ClockTime>,
}

type UnderWay = Pin<Box<dyn Future<Output = Event> + Send>>;

/// What is under way, if anything is.
async fn outcome(under_way: &mut Option<UnderWay>) -> Event {
    match under_way {
        Some(future) => {
            let event = future.await;
            *under_way = None;
            event
        }
        None => std::future::pending().await,
    }
}

impl Holding {
    async fn run(mut self) {
        #[cfg(test)]
        self.lease.inner.break_off("the task of an item");
        let (mut beat, mut stop): (Option<UnderWay>, Option<UnderWay>) = (None, None);
        let mut event = Event::Woken;
        loop {
            let todo = self.take_in(event);
            if let Some(due) = todo.beat {
                beat = Some(Box::pin(send_heartbeat(self.lease.clone(), due)));
            }
            if let Some(timeout) = todo.stop {
                stop = Some(Box::pin(send_stop(self.lease.clone(), clock::now() + timeout)));
            }
            match todo.over {
                None => {}
                Some(Over::Unproven) => {
                    (beat, stop) = (None, None);
                    if !self.prove_again().await {
                        return;
                    }
                }
                Some(_) => return,
            }
            let now = clock::now();
            let wake = [todo.wake, self.handover].into_iter().flatten().min();
            event = tokio::select! {
                event = outcome(&mut beat) => event,
                event = outcome(&mut stop) => event,
                () = sleep(wake.unwrap_or_default().saturating_sub(now)), if wake.is_some() => Event::Woken,
                () = self.lease.news.notified() => Event::Woken,
            };
        }
    }

    /// Acknowledges the item once more, and begins anew with its first heartbeat. False: it is left alone.
    async fn prove_again(&mut self) -> bool {
        let next = acknowledge(&self.lease.inner, &self.keyed, &self.lease.work_id, Claim::late()).await;
        let mut shared = self.lease.shared.lock();
        shared.machine = machine::Lease::new(clock::now(), ClockTime::ZERO, true);
        if !matches!(next, claim::Next::Hold { .. }) {
            shared.over = Some(Over::Lost);
        }
        // The machine has something to do at once.
        self.lease.news.notify_one();
        shared.over.is_none()
    }

    /// Has the machine take in what happened, and tells those who want to know.
    fn take_in(&mut self, event: Event) -> Todo {
        let (lease, now) = (self.lease.clone(), clock::now());
        let mut shared = lease.shared.lock();
        let before = shared.machine.standing();
        let mut events = std::mem::take(&mut shared.inbox);
        events.insert(0, event);
        let mut todo = Todo::default();
        for event in events {
            let next = shared.machine.next(now, event);
            todo = Todo { beat: todo.beat.or(next.beat), stop: todo.stop.or(next.stop), ..next };
        }
        let after = shared.machine.standing();
        if before != after {
            self.stands(before, after, now);
        }
        shared.over = todo.over.filter(|over| *over != Over::Unproven);
        let finished = shared.over.and_then(|over| {
            let finisher = shared.finisher.take()?;
            Some((finisher, lease.outcome(over, &mut shared)))
        });
        let refusal = if shared.over == Some(Over::Refused) { shared.refusal.take() } else { None };
        let is_handed_out = shared.json.is_empty();
        // Counted first: who is told looks at the counts.
        if let Some(over) = shared.over {
            self.count(over);
        }
        lease.tell_watchers(shared);
        if let Some(error) = refusal {
            lease.inner.refused(&lease.work_id, error);
        }
        if let Some((finisher, outcome)) = finished {
            finisher.tell(outcome);
        }
        if before == Standing::Proving && after == Standing::Held {
            self.slot.ready();
            lease.inner.offer(&lease);
        } else if matches!(after, Standing::StopRequested(_) | Standing::Lost(_)) && before == Standing::Held && !is_handed_out {
            // Nobody has it yet, and now nobody shall.
            if lease.inner.withdraw(&lease) {
                lease.push(Event::Finish { patience: machine::STOP_PATIENCE });
            }
        }
        if self.handover.is_some() && (is_handed_out || todo.over.is_some()) {
            self.handover = None;
        } else if self.handover.is_some_and(|until| now >= until) {
            self.handover = None;
            if lease.inner.withdraw(&lease) {
                lease.put_back();
            }
        }
        if todo.over.is_some() {
            lease.inner.withdraw(&lease);
        }
        todo
    }

    /// The lease stands otherwise than before.
    fn stands(&mut self, before: Standing, after: Standing, now: ClockTime) {
        let inner = &self.lease.inner;
        let work_id = || json!({"work_id": self.lease.work_id});
        match after {
            Standing::Proving => {}
            Standing::Held => {
                self.critical = None;
                self.handover = Some(now + HANDOVER);
                inner.claimed();
                inner.counts.claim.add(now.saturating_sub(self.arrived));
                log::record(Level::Info, LOG, "claimed an item", work_id);
            }
            Standing::StopRequested(reason) => {
                inner.counts.add(Count::StopRequested);
                log::record(
                    Level::Info,
                    LOG,
                    "an item is to be stopped",
                    || json!({"work_id": self.lease.work_id, "reason": reason.name()}),
                );
            }
            // Whoever was quicker has it, and this worker never had.
            Standing::Lost(_) if before == Standing::Proving => {
                log::record(Level::Info, LOG, "an item is somebody else's", work_id);
            }
            Standing::Lost(reason) => {
                inner.counts.add(Count::Lost);
                log::record(
                    Level::Warn,
                    LOG,
                    "a lease is lost",
                    || json!({"work_id": self.lease.work_id, "reason": reason.name()}),
                );
            }
        }
    }

    /// The lease is over.
    fn count(&self, over: Over) {
        let inner = &self.lease.inner;
        match over {
            Over::Stopped => inner.counts.add(Count::Finished),
            Over::Abandoned => inner.counts.add(Count::Abandoned),
            Over::Lost | Over::NotStopped | Over::Refused | Over::Unproven => {}
        }
        log::record(
            Level::Debug,
            LOG,
            "let go of an item",
            || json!({"work_id": self.lease.work_id, "how": format!("{over:?}").to_lowercase()}),
        );
    }
}

/// A lease whose task ends before its time, by a fault or by the end of the runtime, must not be left as it is.
impl Drop for Holding {
    fn drop(&mut self) {
        let lease = &self.lease;
        let mut shared = lease.shared.lock();
        if shared.over.is_some() {
            return;
        }
        let is_ours_alone = shared.machine.standing() == Standing::Proving && !shared.machine.is_late();
        shared.over = Some(Over::Lost);
        let finisher = shared.finisher.take();
        lease.tell_watchers(shared);
        drop(finisher);
        lease.inner.withdraw(lease);
        // A lease that was held runs out by itself. An item without a first heartbeat has none: while there is a way, it gets one.
        if is_ours_alone {
            let lease = lease.clone();
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { rescue::put_back(&lease.inner, &lease.work_id).await });
            }
        }
    }
}

async fn send_heartbeat(lease: Arc<Lease>, beat: machine::Beat) -> Event {
    let inner = &lease.inner;
    let mut params = json!({"expected_last_heartbeat": beat.expected.as_deref().unwrap_or("NO_HEARTBEAT")});
    if let Some(ttl) = inner.config.desired_ttl_seconds {
        params["desired_ttl_seconds"] = ttl.into();
    }
    let ids = [("environment_id", inner.config.environment_id.as_str()), ("work_id", lease.work_id.as_str())];
    let turn = inner.heartbeats.acquire(beat.until).await;
    let sent = clock::now();
    inner.counts.lateness.add(sent.saturating_sub(beat.due));
    let outcome = match lease.client.prepare_with(&WORK_HEARTBEAT, &ids, Some(&params.to_string())) {
        Ok(request) => {
            // What it has waited for its turn, it has less.
            let timeout = beat.timeout.min(beat.until.saturating_sub(sent));
            let reply = send(inner, &lease.client, request, timeout, Step::Heartbeat, &lease.work_id).await;
            inner.counts.heartbeat.add(clock::now().saturating_sub(sent));
            beaten(&lease, reply)
        }
        Err(_) => Beaten::Rejected,
    };
    drop(turn);
    if matches!(outcome, Beaten::Good { .. }) {
        lease.shared.lock().beats += 1;
    }
    Event::Beaten { sent, outcome, jitter: fastrand::f64() }
}

/// What a heartbeat's answer means.
fn beaten(lease: &Lease, reply: Reply) -> Beaten {
    let Reply { result, may_have_arrived, retry_after } = reply;
    match result {
        Ok(json) => {
            let beaten = read_heartbeat(&json).unwrap_or(Beaten::Failed { may_have_arrived: true, retry_after: None });
            if matches!(beaten, Beaten::Good { extended: false, .. }) {
                let problem = "the server recorded a heartbeat, but did not extend the lease";
                lease.shared.lock().refusal = Some(Error::new(Status::Response, problem));
            }
            beaten
        }
        Err(Failure { verdict: Verdict::Precondition, error }) => {
            Beaten::Refused { current: error.details().and_then(read_current), in_doubt: may_have_arrived }
        }
        Err(Failure { verdict: Verdict::Refused, error }) => {
            lease.shared.lock().refusal = Some(error);
            Beaten::Rejected
        }
        Err(_) => Beaten::Failed { may_have_arrived, retry_after },
    }
}

/// Reads a heartbeat's answer; `None`: it is not one.
fn read_heartbeat(json: &str) -> Option<Beaten> {
    let mut object = Object::parse(json, "heartbeat", Status::Response).ok()?;
    let last_heartbeat = object.take("last_heartbeat")?.string().ok()?;
    let ttl = object.take("ttl_seconds").map_or(Ok(0), |value| value.integer(i64::MIN, i64::MAX)).ok()?;
    Some(Beaten::Good {
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

async fn send_stop(lease: Arc<Lease>, deadline: ClockTime) -> Event {
    let request = lease.shared.lock().stop.clone();
    let request = request.map_or_else(|| lease.stop_request(None), Ok);
    let with_response = request.as_ref().is_ok_and(|request| request.with_response);
    let turn = lease.inner.stops.acquire(deadline).await;
    let timeout = deadline.saturating_sub(clock::now());
    let (outcome, result) = match request {
        Ok(request) => match send(&lease.inner, &lease.client, request, timeout, Step::Stop, &lease.work_id).await.result {
            Ok(json) => (Stopped::Done, Ok(json)),
            // It has stopped already.
            Err(Failure { verdict: Verdict::Conflict, .. }) => (Stopped::Done, Ok(nothing(with_response))),
            Err(Failure { verdict: Verdict::Passing | Verdict::Gateway, error }) => (Stopped::Failed, Err(error)),
            Err(Failure { error, .. }) => (Stopped::Rejected, Err(error)),
        },
        Err(error) => (Stopped::Rejected, Err(error)),
    };
    drop(turn);
    lease.shared.lock().stopped = Some(result);
    Event::Stopped { outcome, jitter: fastrand::f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_heartbeats_answer_is_read_leniently_but_not_blindly() {
        let good = |last: &str, extended, state: &str, ttl| {
            Some(Beaten::Good { last_heartbeat: last.into(), extended, state: state.into(), ttl: Duration::from_secs(ttl) })
        };
        for (json, outcome) in [
            (
                r#"{"type":"work_heartbeat","last_heartbeat":"t","lease_extended":true,"state":"active","ttl_seconds":300}"#,
                good("t", true, "active", 300),
            ),
            (r#"{"last_heartbeat":"","lease_extended":false,"state":"novel","more":[1]}"#, good("", false, "novel", 0)),
            (r#"{"last_heartbeat":"t","ttl_seconds":-5}"#, good("t", true, "", 0)),
            (r#"{"lease_extended":true}"#, None),
            (r#"{"last_heartbeat":7}"#, None),
            (r#"{"last_heartbeat":"t","ttl_seconds":"300"}"#, None),
            ("null", None),
            ("\"text\"", None),
        ] {
            assert_eq!(read_heartbeat(json), outcome, "{json}");
        }
    }

    #[test]
    fn the_current_state_of_a_refusal_is_read() {
        for (details, current) in [
            (
                r#"{"error_code":"c","current_state":{"state":"active","last_heartbeat":"t"}}"#,
                Some(("active".into(), Some("t".into()))),
            ),
            (r#"{"current_state":{"state":"queued","last_heartbeat":null}}"#, Some(("queued".into(), None))),
            (r#"{"current_state":{}}"#, Some((String::new(), None))),
            (r#"{"current_state":null}"#, None),
            ("[]", None),
        ] {
            assert_eq!(read_current(details), current, "{details}");
        }
    }
}
