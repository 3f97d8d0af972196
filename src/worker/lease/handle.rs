//! A lease as its holder sees it: how it stands, waiting for a change, finishing, giving up.

use super::machine::{self, Event, Over, Reason, Standing};
use crate::api::operations::WORK_STOP;
use crate::client::Client;
use crate::completion::Queue;
use crate::error::{Error, Result, Status};
use crate::http::request::Request;
use crate::runtime::fork::{self, ForkSafeMutex};
use crate::telemetry::log::{self, Level};
use crate::worker::metrics::Count;
use crate::worker::shared::Inner;
use crate::worker::{LOG, elsewhere};
use serde_json::{json, value::RawValue};
use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, oneshot};

/// A lease on a work item.
pub struct Lease {
    pub(in crate::worker) inner: Arc<Inner>,
    pub(in crate::worker) epoch: u32,
    pub(in crate::worker) work_id: String,
    /// With the item's own token.
    pub(in crate::worker) client: Client,
    pub(in crate::worker) shared: ForkSafeMutex<Shared>,
    /// Wakes the lease's task.
    pub(in crate::worker) news: Notify,
    /// How far it has come.
    pub(in crate::worker) stage: Latch,
}

/// How far a lease has come, as far as its holder wants to be told.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// It is simply held.
    #[default]
    Held,
    /// Its item is to be stopped.
    StopRequested,
    /// It is lost, or has ended.
    Over,
}

/// What the lease's task and the host's threads share.
pub(in crate::worker) struct Shared {
    pub(in crate::worker) machine: machine::Lease,
    /// What happened and the task has yet to take in.
    pub(in crate::worker) inbox: Vec<Event>,
    /// The item as the server sent it, until it is handed out.
    pub(in crate::worker) json: String,
    pub(in crate::worker) beats: u64,
    /// Who wants to be told, once, that the lease has come so far.
    pub(in crate::worker) watchers: Vec<(Stage, Arc<Queue>, u64)>,
    /// Who wants to know what came of finishing.
    pub(in crate::worker) finisher: Option<Finisher>,
    pub(in crate::worker) stop: Option<Request>,
    /// What came of stopping the item, so far.
    pub(in crate::worker) stopped: Option<Result<String>>,
    /// Why a heartbeat was refused permanently.
    pub(in crate::worker) refusal: Option<Error>,
    pub(in crate::worker) over: Option<Over>,
}

/// The stage that a lease has reached, for threads that wait for one.
#[derive(Default)]
pub(in crate::worker) struct Latch {
    stage: Mutex<Stage>,
    moved: Condvar,
}

impl Latch {
    fn reach(&self, stage: Stage) {
        let mut reached = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        *reached = stage.max(*reached);
        drop(reached);
        self.moved.notify_all();
    }

    /// Whether the stage was reached in time.
    fn wait(&self, stage: Stage, patience: Option<Duration>) -> bool {
        let reached = self.stage.lock().unwrap_or_else(PoisonError::into_inner);
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        let is_early = |reached: &mut Stage| *reached < stage;
        let reached = match until {
            None => self.moved.wait_while(reached, is_early).unwrap_or_else(PoisonError::into_inner),
            Some(until) => {
                let left = until.saturating_duration_since(Instant::now());
                self.moved.wait_timeout_while(reached, left, is_early).unwrap_or_else(PoisonError::into_inner).0
            }
        };
        *reached >= stage
    }
}

/// Told of the end exactly once, also when nobody gets to the end.
pub(in crate::worker) struct Finisher(Option<Box<dyn FnOnce(Result<String>) + Send>>);

impl Finisher {
    pub(in crate::worker) fn tell(mut self, outcome: Result<String>) {
        if let Some(tell) = self.0.take() {
            tell(outcome);
        }
    }
}

impl Drop for Finisher {
    fn drop(&mut self) {
        if let Some(tell) = self.0.take() {
            tell(Err(Error::new(Status::Cancelled, "the library was shut down before the item was stopped; its lease runs out")));
        }
    }
}

impl Lease {
    /// Fails in a process that did not get the lease.
    fn check(&self) -> Result<()> {
        if self.epoch == fork::epoch() { Ok(()) } else { Err(elsewhere()) }
    }

    /// How it stands with the lease: a JSON object.
    pub fn state(&self) -> Result<String> {
        self.check()?;
        Ok(self.describe(&self.shared.lock()))
    }

    fn describe(&self, shared: &Shared) -> String {
        let (state, reason) = match (shared.machine.standing(), shared.over) {
            // The task is gone, and with it the heartbeats.
            (Standing::Held | Standing::Proving | Standing::StopRequested(_), Some(Over::Lost | Over::Unproven)) => {
                ("lost", Some(Reason::Shutdown))
            }
            (Standing::Held | Standing::Proving, Some(_)) => ("ended", None),
            (Standing::Held | Standing::Proving, None) => ("held", None),
            (Standing::StopRequested(reason), _) => ("stop_requested", Some(reason)),
            (Standing::Lost(reason), _) => ("lost", Some(reason)),
        };
        let ttl = shared.machine.ttl().map(|ttl| ttl.as_secs());
        json!({"state": state, "reason": reason.map(Reason::name), "work_id": self.work_id, "ttl_seconds": ttl,
               "last_heartbeat": shared.machine.last_heartbeat(), "beats": shared.beats})
        .to_string()
    }

    /// Waits until the lease is no longer simply held. Errors: `TIMEOUT` while it is, `DONE` when it ended as its holder wanted.
    pub fn wait(&self, patience: Option<Duration>) -> Result<String> {
        self.wait_for(Stage::StopRequested, patience)
    }

    /// The same, but also a lease whose item is to be stopped is waited for: until it is lost, or has ended.
    pub fn wait_lost(&self, patience: Option<Duration>) -> Result<String> {
        self.wait_for(Stage::Over, patience)
    }

    fn wait_for(&self, stage: Stage, patience: Option<Duration>) -> Result<String> {
        self.check()?;
        let is_there = self.stage.wait(stage, patience);
        let shared = self.shared.lock();
        match self.news(&shared, stage).filter(|_| is_there) {
            Some((_, news)) => news,
            None => Err(Error::new(Status::Timeout, "the lease is still held")),
        }
    }

    /// What there is to tell who waits for a stage, and the stage that the lease has reached. `None`: it has not come so far.
    fn news(&self, shared: &Shared, waited_for: Stage) -> Option<(Stage, Result<String>)> {
        let state = || Ok(self.describe(shared));
        let (reached, news) = match (shared.machine.standing(), shared.over) {
            (_, None | Some(Over::Unproven)) => match shared.machine.standing() {
                Standing::Proving | Standing::Held => return None,
                Standing::StopRequested(_) => (Stage::StopRequested, state()),
                Standing::Lost(_) => (Stage::Over, state()),
            },
            (Standing::Lost(_), _) | (_, Some(Over::Lost | Over::Refused)) => (Stage::Over, state()),
            // Whoever wanted to know that, is told why it ended, not that it has.
            (Standing::StopRequested(_), _) if waited_for < Stage::Over => (Stage::Over, state()),
            (_, Some(Over::Stopped | Over::NotStopped | Over::Abandoned)) => {
                (Stage::Over, Err(Error::new(Status::Done, "the lease has ended")))
            }
        };
        (reached >= waited_for).then_some((reached, news))
    }

    /// Has a completion with this tag tell, once, that the lease is no longer simply held: with its state, or with `DONE` when it
    /// ended as the holder wanted.
    pub fn attach(&self, queue: &Arc<Queue>, tag: u64) -> Result<()> {
        self.attach_for(Stage::StopRequested, queue, tag)
    }

    /// The same for a lease that is lost, or has ended.
    pub fn attach_lost(&self, queue: &Arc<Queue>, tag: u64) -> Result<()> {
        self.attach_for(Stage::Over, queue, tag)
    }

    fn attach_for(&self, stage: Stage, queue: &Arc<Queue>, tag: u64) -> Result<()> {
        self.check()?;
        queue.fd()?;
        let mut shared = self.shared.lock();
        shared.watchers.push((stage, queue.clone(), tag));
        self.tell_watchers(shared);
        Ok(())
    }

    /// Tells the watchers, if there is something to tell.
    pub(in crate::worker) fn tell_watchers(&self, mut shared: fork::ForkSafeGuard<'_, Shared>) {
        let (reached, mut told) = (self.news(&shared, Stage::Held).map(|(reached, _)| reached), Vec::new());
        let Some(reached) = reached else { return };
        for (stage, queue, tag) in std::mem::take(&mut shared.watchers) {
            match self.news(&shared, stage) {
                Some((_, news)) => told.push((queue, tag, news)),
                None => shared.watchers.push((stage, queue, tag)),
            }
        }
        drop(shared);
        self.stage.reach(reached);
        for (queue, tag, news) in told {
            queue.tell(tag, news);
        }
    }

    /// A client with the item's own token, on the worker's connections.
    pub fn client(&self) -> Result<Client> {
        self.check()?;
        Ok(self.client.clone())
    }

    /// What finishing the lease with these parameters takes. An error: they are not acceptable.
    pub fn prepare_finish(&self, params_json: Option<&str>) -> Result<Request> {
        self.check()?;
        self.stop_request(params_json)
    }

    /// Stops the item, unless the lease is lost, and ends the lease; `prepared` is what [`prepare_finish`] gave. `done` gets what came
    /// of it, exactly once.
    ///
    /// [`prepare_finish`]: Lease::prepare_finish
    pub fn finish(&self, prepared: Request, done: impl FnOnce(Result<String>) + Send + 'static) {
        let patience = prepared.timeout;
        let finisher = Finisher(Some(Box::new(done)));
        let mut shared = self.shared.lock();
        let outcome = match shared.over {
            Some(over) => self.outcome(over, &mut shared),
            None if shared.finisher.is_some() => Err(Error::new(Status::Closed, "the item is being finished already")),
            None => {
                shared.stop = Some(prepared);
                shared.finisher = Some(finisher);
                shared.inbox.push(Event::Finish { patience });
                drop(shared);
                return self.news.notify_one();
            }
        };
        drop(shared);
        finisher.tell(outcome);
    }

    /// The same, waiting for what comes of it.
    pub fn finish_and_wait(&self, prepared: Request) -> Result<String> {
        let (sender, receiver) = oneshot::channel();
        self.finish(prepared, move |outcome| drop(sender.send(outcome)));
        crate::runtime::wait(receiver)
    }

    /// Ends the heartbeats without stopping the item: its lease runs out, and the queue hands it out again.
    pub fn abandon(&self) {
        if self.check().is_ok() {
            self.push(Event::Abandon);
        }
    }

    /// The item is to be stopped, whoever holds it.
    pub(in crate::worker) fn give_up(&self) {
        self.push(Event::GiveUp);
    }

    /// Has the task look at the clock.
    pub(in crate::worker) fn look(&self) {
        self.news.notify_one();
    }

    /// Nobody came for the item.
    pub(in crate::worker) fn put_back(&self) {
        self.inner.counts.add(Count::Undelivered);
        log::record(Level::Warn, LOG, "nobody came for an item: it goes back to the queue", || json!({"work_id": self.work_id}));
        self.push(Event::Abandon);
    }

    pub(in crate::worker) fn push(&self, event: Event) {
        self.shared.lock().inbox.push(event);
        self.news.notify_one();
    }

    /// What a completion says of the item.
    pub(in crate::worker) fn notice(&self) -> String {
        json!({"work_id": self.work_id}).to_string()
    }

    /// The item's JSON, for whoever serves it.
    pub(in crate::worker) fn hand_out(&self) -> String {
        std::mem::take(&mut self.shared.lock().json)
    }

    pub(in crate::worker) fn stop_request(&self, params_json: Option<&str>) -> Result<Request> {
        let params = with_defaults(params_json.unwrap_or("{}"));
        let ids = [("environment_id", self.inner.config.environment_id.as_str()), ("work_id", self.work_id.as_str())];
        let mut request = self.client.prepare_with(&WORK_STOP, &ids, Some(&params))?;
        request.max_retries = 0;
        Ok(request)
    }

    pub(in crate::worker) fn outcome(&self, over: Over, shared: &mut Shared) -> Result<String> {
        match over {
            Over::Stopped => shared.stopped.take().unwrap_or_else(|| Ok("null".to_owned())),
            Over::NotStopped => match shared.stopped.take() {
                Some(Err(error)) => Err(error),
                _ => Err(Error::new(Status::Timeout, "the item could not be stopped in time; its lease runs out")),
            },
            Over::Lost | Over::Refused | Over::Unproven => {
                Err(Error::new(Status::LeaseLost, "the lease was lost: nothing was sent, the item may be somebody else's"))
            }
            Over::Abandoned => Err(Error::new(Status::Closed, "the lease has ended")),
        }
    }
}

/// The result of a stop that was not needed any more.
pub(in crate::worker) fn nothing(with_response: bool) -> String {
    let wrapped = r#"{"data":null,"http_status":409,"request_id":null,"headers":{},"attempts":1}"#;
    if with_response { wrapped } else { "null" }.to_owned()
}

/// A finish's parameters with those of its own that were not given: `force`, and a bound for the whole of it. What is not an object
/// is left for the request to refuse.
fn with_defaults(params_json: &str) -> String {
    let Ok(given) = serde_json::from_str::<BTreeMap<String, &RawValue>>(params_json) else { return params_json.to_owned() };
    let own = json!({"force": true, "timeout_ms": machine::STOP_PATIENCE.as_millis() as u64});
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
    fn finishing_forces_unless_it_is_told_otherwise() {
        assert_eq!(with_defaults("{}"), r#"{"force":true,"timeout_ms":60000}"#);
        assert_eq!(with_defaults(r#" {"force": false}"#), r#"{"timeout_ms":60000,"force": false}"#);
        assert_eq!(with_defaults(r#"{"force":null,"timeout_ms":5}"#), r#"{"force":null,"timeout_ms":5}"#);
        assert_eq!(with_defaults("[1]"), "[1]");
    }
}
