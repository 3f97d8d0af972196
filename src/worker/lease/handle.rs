//! A lease as its holder sees it: its state, waiting for a change, finishing, abandoning.

use super::machine::{self, LeaseEnd, LeaseEvent, LeaseState, Reason};
use crate::api::operations::WORK_STOP;
use crate::client::Client;
use crate::completion::Queue;
use crate::credentials::Secret;
use crate::error::{Error, Result, Status};
use crate::http::request::Request;
use crate::runtime::fork::{self, ForkSafeMutex};
use crate::telemetry::log::{self, Level};
use crate::worker::metrics::Counter;
use crate::worker::shared::WorkerShared;
use crate::worker::{LOG, handover, secret, used_after_fork};
use serde_json::{json, value::RawValue};
use std::collections::BTreeMap;
use std::pin::pin;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// A lease on a work item, usable from any thread. All its functions fail with `CLOSED` in a forked child.
pub struct Lease {
    pub(in crate::worker) worker: Arc<WorkerShared>,
    pub(in crate::worker) epoch: u32,
    pub(in crate::worker) work_id: String,
    pub(in crate::worker) session_id: String,
    pub(in crate::worker) secret: Option<Secret>,
    /// A client with the item's own token.
    pub(in crate::worker) client: Client,
    pub(in crate::worker) shared: ForkSafeMutex<LeaseShared>,
    /// Wakes the lease's task.
    pub(in crate::worker) changed: Notify,
    /// Wakes the lease's users, because its holder wants to end it.
    pub(in crate::worker) ending: Notify,
    /// How far the lease has come, for threads that wait.
    pub(in crate::worker) stage: Latch,
}

/// How far a lease has come, as its holder can wait for it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It is held.
    #[default]
    Held,
    /// Its item has to be stopped.
    StopRequested,
    /// It is lost, or has ended.
    Ended,
}

/// How a lease is no longer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Its item has to be stopped.
    StopRequested,
    /// It is lost.
    Lost,
    /// Its holder has ended it.
    Ended,
}

/// What the lease's task and the host's threads share.
pub(in crate::worker) struct LeaseShared {
    pub(in crate::worker) machine: machine::LeaseMachine,
    /// The events that the task has yet to apply.
    pub(in crate::worker) inbox: Vec<LeaseEvent>,
    /// The number of [`LeaseUse`]s, and the event by which the holder ends the lease after the last of them.
    pub(in crate::worker) users: usize,
    pub(in crate::worker) deferred: Option<LeaseEvent>,
    /// The item as the server sent it, until it is handed out.
    pub(in crate::worker) json: String,
    pub(in crate::worker) heartbeats: u64,
    /// The queues that get a completion, once, when the lease has reached a stage.
    pub(in crate::worker) watchers: Vec<(Stage, Arc<Queue>, u64)>,
    /// Receives the result of finishing, or of releasing.
    pub(in crate::worker) finish_callback: Option<FinishCallback>,
    pub(in crate::worker) stop: Option<Request>,
    /// The result of the last request to stop the item.
    pub(in crate::worker) stopped: Option<Result<String>>,
    /// The error of the last heartbeat that failed.
    pub(in crate::worker) heartbeat_error: Option<Error>,
    pub(in crate::worker) end: Option<LeaseEnd>,
}

/// The stage that a lease has reached, for threads to wait on. It never goes back.
#[derive(Default)]
pub(in crate::worker) struct Latch {
    stage: Mutex<Stage>,
    /// Wakes threads, and tasks.
    changed: Condvar,
    tasks: Notify,
}

impl Latch {
    fn reach(&self, stage: Stage) {
        let mut reached = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        *reached = stage.max(*reached);
        drop(reached);
        self.changed.notify_all();
        self.tasks.notify_waiters();
    }

    /// Waits until the stage is reached, in a task.
    async fn reaches(&self, stage: Stage) {
        loop {
            let mut changed = pin!(self.tasks.notified());
            changed.as_mut().enable();
            if *self.stage.lock().unwrap_or_else(PoisonError::into_inner) >= stage {
                return;
            }
            changed.await;
        }
    }

    /// Waits until the stage is reached; returns false on a timeout.
    fn wait(&self, stage: Stage, timeout: Option<Duration>) -> bool {
        let reached = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let until = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        let is_early = |reached: &mut Stage| *reached < stage;
        let reached = match until {
            None => self.changed.wait_while(reached, is_early).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.changed.wait_timeout_while(reached, left, is_early).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        *reached >= stage
    }
}

/// A use of a lease, which ends when this is dropped.
pub struct LeaseUse(Arc<Lease>);

impl Drop for LeaseUse {
    fn drop(&mut self) {
        let mut shared = self.0.shared.lock();
        shared.users -= 1;
        if shared.users == 0
            && let Some(event) = shared.deferred.take()
        {
            shared.inbox.push(event);
            drop(shared);
            self.0.changed.notify_one();
        }
    }
}

/// A callback that is called exactly once: with the result of finishing or releasing, or with an error when it is dropped before.
pub(in crate::worker) struct FinishCallback(Option<Box<dyn FnOnce(Result<String>) + Send>>);

impl FinishCallback {
    pub(in crate::worker) fn call(mut self, outcome: Result<String>) {
        if let Some(callback) = self.0.take() {
            callback(outcome);
        }
    }
}

impl Drop for FinishCallback {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback(Err(Error::new(Status::Cancelled, "the library was shut down before the lease was ended; it expires")));
        }
    }
}

impl Lease {
    /// Fails in a forked child.
    fn check(&self) -> Result<()> {
        if self.epoch == fork::epoch() { Ok(()) } else { Err(used_after_fork("lease")) }
    }

    /// Returns the lease's state as a JSON object. Does not block.
    pub fn state(&self) -> Result<String> {
        self.check()?;
        Ok(self.describe(&self.shared.lock()))
    }

    fn describe(&self, shared: &LeaseShared) -> String {
        let (state, reason) = match (shared.machine.state(), shared.end) {
            // The task is gone, and no more heartbeats are sent.
            (
                LeaseState::Held | LeaseState::Claimed | LeaseState::Unconfirmed | LeaseState::StopRequested(_),
                Some(LeaseEnd::Lost | LeaseEnd::Unconfirmed),
            ) => ("lost", Some(Reason::Shutdown)),
            (LeaseState::Held | LeaseState::Claimed | LeaseState::Unconfirmed, Some(_)) => ("ended", None),
            (LeaseState::Claimed, None) => ("claimed", None),
            (LeaseState::Held | LeaseState::Unconfirmed, None) => ("held", None),
            (LeaseState::StopRequested(reason), _) => ("stop_requested", Some(reason)),
            (LeaseState::Lost(reason), _) => ("lost", Some(reason)),
        };
        let ttl = shared.machine.ttl().map(|ttl| ttl.as_secs());
        json!({"state": state, "reason": reason.map(Reason::name), "work_id": self.work_id, "ttl_seconds": ttl,
               "last_heartbeat": shared.machine.last_heartbeat(), "beats": shared.heartbeats})
        .to_string()
    }

    /// Waits until the lease is no longer held, and returns its state. Blocks for at most `timeout`; `None` waits without a limit. Errors:
    /// `TIMEOUT` while it is held, `DONE` when it has ended as its holder wanted.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<String> {
        self.wait_for(Stage::StopRequested, timeout)
    }

    /// Does the same, but also waits while the item only has to be stopped: until the lease is lost, or has ended.
    pub fn wait_lost(&self, timeout: Option<Duration>) -> Result<String> {
        self.wait_for(Stage::Ended, timeout)
    }

    fn wait_for(&self, stage: Stage, timeout: Option<Duration>) -> Result<String> {
        self.check()?;
        let is_there = self.stage.wait(stage, timeout);
        let shared = self.shared.lock();
        match self.notification(&shared, stage).filter(|_| is_there) {
            Some((_, notification)) => notification,
            None => Err(Error::new(Status::Timeout, "the lease is still held")),
        }
    }

    /// Returns the stage that the lease has reached, and the result to report to whoever waits for `waited_for`. `None`: the lease has not
    /// come so far.
    fn notification(&self, shared: &LeaseShared, waited_for: Stage) -> Option<(Stage, Result<String>)> {
        let state = || Ok(self.describe(shared));
        let (reached, outcome) = match (shared.machine.state(), shared.end) {
            (_, None | Some(LeaseEnd::Unconfirmed)) => match shared.machine.state() {
                LeaseState::Unconfirmed | LeaseState::Claimed | LeaseState::Held => return None,
                LeaseState::StopRequested(_) => (Stage::StopRequested, state()),
                LeaseState::Lost(_) => (Stage::Ended, state()),
            },
            (LeaseState::Lost(_), _) | (_, Some(LeaseEnd::Lost | LeaseEnd::Rejected)) => (Stage::Ended, state()),
            // A stop was waited for: report its reason, not that the lease has ended since.
            (LeaseState::StopRequested(_), _) if waited_for < Stage::Ended => (Stage::Ended, state()),
            (_, Some(LeaseEnd::Stopped | LeaseEnd::NotStopped | LeaseEnd::Abandoned | LeaseEnd::Released)) => {
                (Stage::Ended, Err(Error::new(Status::Done, "the lease has ended")))
            }
        };
        (reached >= waited_for).then_some((reached, outcome))
    }

    /// Posts a completion with this tag to the queue, once, when the lease is no longer held: with its state, or with `DONE` when it ended
    /// as the holder wanted. Does not block. Errors: `CLOSED`.
    pub fn attach(&self, queue: &Arc<Queue>, tag: u64) -> Result<()> {
        self.attach_for(Stage::StopRequested, queue, tag)
    }

    /// Does the same when the lease is lost, or has ended.
    pub fn attach_lost(&self, queue: &Arc<Queue>, tag: u64) -> Result<()> {
        self.attach_for(Stage::Ended, queue, tag)
    }

    fn attach_for(&self, stage: Stage, queue: &Arc<Queue>, tag: u64) -> Result<()> {
        self.check()?;
        queue.fd()?;
        let mut shared = self.shared.lock();
        shared.watchers.push((stage, queue.clone(), tag));
        self.notify_watchers(shared);
        Ok(())
    }

    /// Notifies the threads and queues that wait for the stage that the lease has reached.
    pub(in crate::worker) fn notify_watchers(&self, mut shared: fork::ForkSafeGuard<'_, LeaseShared>) {
        let (reached, mut notifications) = (self.notification(&shared, Stage::Held).map(|(reached, _)| reached), Vec::new());
        let Some(reached) = reached else { return };
        for (stage, queue, tag) in std::mem::take(&mut shared.watchers) {
            match self.notification(&shared, stage) {
                Some((_, notification)) => notifications.push((queue, tag, notification)),
                None => shared.watchers.push((stage, queue, tag)),
            }
        }
        drop(shared);
        self.stage.reach(reached);
        for (queue, tag, notification) in notifications {
            queue.post(tag, notification);
        }
    }

    /// Returns the session that the item is about.
    pub fn session_id(&self) -> &str {
        &self.session_id
    }

    /// Returns how long the lease lasts after a heartbeat, if the server has said so.
    pub fn ttl(&self) -> Option<Duration> {
        self.shared.lock().machine.ttl()
    }

    /// Returns whether no heartbeat is sent, because another process is to begin the lease.
    pub fn is_claim_only(&self) -> bool {
        self.shared.lock().machine.is_claim_only()
    }

    /// Returns how the lease is no longer held; `None`: it is.
    pub fn standing(&self) -> Option<Standing> {
        let shared = self.shared.lock();
        match (shared.machine.state(), shared.end) {
            (LeaseState::Lost(_), _) | (_, Some(LeaseEnd::Lost | LeaseEnd::Rejected)) => Some(Standing::Lost),
            _ if shared.deferred.is_some() => Some(Standing::Ended),
            (LeaseState::StopRequested(_), None) => Some(Standing::StopRequested),
            (_, None | Some(LeaseEnd::Unconfirmed)) => None,
            (_, Some(_)) => Some(Standing::Ended),
        }
    }

    /// Waits, in a task, until the lease is no longer held, or its holder wants to end it.
    pub async fn ends(&self) -> Standing {
        let mut ending = pin!(self.ending.notified());
        ending.as_mut().enable();
        if let Some(standing) = self.standing() {
            return standing;
        }
        tokio::select! {
            () = self.stage.reaches(Stage::StopRequested) => {}
            () = ending => {}
        }
        self.standing().unwrap_or(Standing::Ended)
    }

    /// Begins to use the lease. While it is used, its holder can neither finish nor release it: that waits until the last use has ended, with
    /// the heartbeats going on.
    pub fn begin_use(self: &Arc<Lease>) -> LeaseUse {
        self.shared.lock().users += 1;
        LeaseUse(self.clone())
    }

    /// Returns whether the item has a token of its own.
    pub fn has_token(&self) -> bool {
        self.secret.as_ref().is_some_and(|secret| secret::token(secret.expose()).is_some())
    }

    /// Returns a client with the item's own token, on the worker's connections.
    pub fn client(&self) -> Result<Client> {
        self.check()?;
        Ok(self.client.clone())
    }

    /// Builds the request that finishes the lease. Errors: `INVALID_ARGUMENT` for invalid parameters.
    pub fn prepare_finish(&self, params_json: Option<&str>) -> Result<Request> {
        self.check()?;
        self.stop_request(params_json)
    }

    /// Stops the item, unless the lease is lost, and ends the lease. `prepared` comes from [`prepare_finish`]. Calls `done` exactly once,
    /// with the result: here, or on the library's thread. Does not block.
    ///
    /// [`prepare_finish`]: Lease::prepare_finish
    pub fn finish(&self, prepared: Request, done: impl FnOnce(Result<String>) + Send + 'static) {
        let event = LeaseEvent::Finish { timeout: prepared.timeout };
        self.shared.lock().stop.get_or_insert(prepared);
        self.end_by(event, done);
    }

    /// Has the task end the lease by this event, and calls `done` exactly once with the result.
    fn end_by(&self, event: LeaseEvent, done: impl FnOnce(Result<String>) + Send + 'static) {
        let finish_callback = FinishCallback(Some(Box::new(done)));
        let mut shared = self.shared.lock();
        let outcome = match shared.end {
            // What another thread released, or stopped, is not released again.
            Some(LeaseEnd::Released) => Err(ended()),
            Some(LeaseEnd::Stopped | LeaseEnd::NotStopped) if event == LeaseEvent::Release => Err(ended()),
            Some(end) => self.outcome(end, &mut shared),
            None if shared.finish_callback.is_some() => Err(Error::new(Status::Closed, "the lease is being ended already")),
            None => {
                shared.finish_callback = Some(finish_callback);
                if shared.users > 0 {
                    shared.deferred = Some(event);
                    drop(shared);
                    return self.ending.notify_waiters();
                }
                shared.inbox.push(event);
                drop(shared);
                return self.changed.notify_one();
            }
        };
        drop(shared);
        finish_callback.call(outcome);
    }

    /// Does the same, and waits for the result.
    pub fn finish_and_wait(&self, prepared: Request) -> Result<String> {
        let (sender, receiver) = oneshot::channel();
        self.finish(prepared, move |outcome| drop(sender.send(outcome)));
        crate::runtime::wait(receiver)
    }

    /// Ends the heartbeats, and returns what another process needs to adopt the lease: a JSON object with secrets. Sends nothing after
    /// that. Blocks until the last heartbeat is known: not at all as a rule, at most until the lease is lost. Errors: `LEASE_LOST`;
    /// `CLOSED` if the lease has ended, or after a fork; `CANCELLED` if the library is shut down.
    pub fn release(&self) -> Result<String> {
        self.check()?;
        let (sender, receiver) = oneshot::channel();
        self.end_by(LeaseEvent::Release, move |outcome| drop(sender.send(outcome)));
        crate::runtime::wait(receiver)
    }

    /// Ends the heartbeats without stopping the item: its lease expires, and the work queue hands it out again. Does not block.
    pub fn abandon(&self) {
        if self.check().is_ok() {
            self.push(LeaseEvent::Abandon);
        }
    }

    /// Stops the item because the worker's grace period has expired.
    pub(in crate::worker) fn expire_grace(&self) {
        self.push(LeaseEvent::GraceExpired);
    }

    /// Has the task check the clock.
    pub(in crate::worker) fn recheck(&self) {
        self.changed.notify_one();
    }

    /// Gives back an item that was not picked up: its lease expires, and the work queue hands it out again.
    pub(in crate::worker) fn give_back(&self) {
        self.worker.metrics.increment(Counter::Undelivered);
        log::record(Level::Warn, LOG, "item was not picked up; releasing it", || json!({"work_id": self.work_id}));
        self.push(LeaseEvent::Abandon);
    }

    /// Adds an event to the inbox of the lease's task.
    pub(in crate::worker) fn push(&self, event: LeaseEvent) {
        self.shared.lock().inbox.push(event);
        self.changed.notify_one();
    }

    /// Returns the JSON of the completion that announces the item.
    pub(in crate::worker) fn notice(&self) -> String {
        json!({"work_id": self.work_id}).to_string()
    }

    /// Takes the item's JSON, which marks the item as handed out.
    pub(in crate::worker) fn hand_out(&self) -> String {
        std::mem::take(&mut self.shared.lock().json)
    }

    /// Builds a request to stop the item; it is sent once.
    pub(in crate::worker) fn stop_request(&self, params_json: Option<&str>) -> Result<Request> {
        let params = with_defaults(params_json.unwrap_or("{}"));
        let ids = [("environment_id", self.worker.config.environment_id.as_str()), ("work_id", self.work_id.as_str())];
        let mut request = self.client.prepare_with(&WORK_STOP, &ids, Some(&params))?;
        request.max_retries = 0;
        Ok(request)
    }

    /// Returns the result of finishing a lease that ended in this way.
    pub(in crate::worker) fn outcome(&self, end: LeaseEnd, shared: &mut LeaseShared) -> Result<String> {
        match end {
            LeaseEnd::Stopped | LeaseEnd::NotStopped if shared.machine.is_releasing() => Err(ended()),
            LeaseEnd::Stopped => shared.stopped.take().unwrap_or_else(|| Ok("null".to_owned())),
            LeaseEnd::NotStopped => match shared.stopped.take() {
                Some(Err(error)) => Err(error),
                _ => Err(Error::new(Status::Timeout, "the item could not be stopped in time; its lease expires")),
            },
            LeaseEnd::Lost | LeaseEnd::Rejected | LeaseEnd::Unconfirmed => Err(Error::new(
                Status::LeaseLost,
                "the lease was lost; nothing was sent, because another worker may have the item",
            )),
            LeaseEnd::Abandoned => Err(ended()),
            LeaseEnd::Released => Ok(handover::describe(self, shared.machine.last_heartbeat())),
        }
    }
}

fn ended() -> Error {
    Error::new(Status::Closed, "the lease has ended")
}

/// Returns the result of finishing an item that had stopped before.
pub(in crate::worker) fn already_stopped(with_response: bool) -> String {
    let wrapped = r#"{"data":null,"http_status":409,"request_id":null,"headers":{},"attempts":1}"#;
    if with_response { wrapped } else { "null" }.to_owned()
}

/// Adds the defaults of a finish to its parameters: `force`, and a timeout for all of it. Leaves it to the request to reject parameters
/// that are not an object.
fn with_defaults(params_json: &str) -> String {
    let Ok(given) = serde_json::from_str::<BTreeMap<String, &RawValue>>(params_json) else { return params_json.to_owned() };
    let own = json!({"force": true, "timeout_ms": machine::STOP_TIMEOUT.as_millis() as u64});
    let missing = own.as_object().into_iter().flatten().filter(|(name, _)| !given.contains_key(*name));
    let missing: Vec<_> = missing.map(|(name, value)| format!("\"{name}\":{value}")).collect();
    let rest = params_json.trim_start().strip_prefix('{').unwrap_or_default();
    let comma = if given.is_empty() || missing.is_empty() { "" } else { "," };
    format!("{{{}{comma}{rest}", missing.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finishing_forces_unless_the_parameters_say_otherwise() {
        assert_eq!(with_defaults("{}"), r#"{"force":true,"timeout_ms":60000}"#);
        assert_eq!(with_defaults(r#" {"force": false}"#), r#"{"timeout_ms":60000,"force": false}"#);
        assert_eq!(with_defaults(r#"{"force":null,"timeout_ms":5}"#), r#"{"force":null,"timeout_ms":5}"#);
        assert_eq!(with_defaults("[1]"), "[1]");
    }
}
