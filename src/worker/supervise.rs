//! The worker's own task: polls, begins what the polls bring, looks for what others have left, and ends when nothing is held any more.

use super::config::Config;
use super::counts::Step;
use super::inner::{End, Inner, Slot};
use super::lease::Moment;
use super::poller::{Next, Polled, Poller};
use super::{LOG, clock, hold, rescue};
use crate::client::{Answer, Client};
use crate::error::{Error, Result, Status};
use crate::json::Object;
use crate::log::{self, Level};
use crate::operation::WORK_POLL;
use crate::request::Request;
use serde_json::json;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;
use tokio::time::sleep;

/// How much longer than it waits at the server a poll may take.
const POLL_MARGIN: Duration = Duration::from_secs(10);
/// How often the supervisor looks whether the machine slept.
const SLEEP_CHECK: Duration = Duration::from_secs(1);

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

/// Whether a request that ended so would end so again.
pub(super) fn is_final(error: &Error) -> bool {
    match error.http_status() {
        Some(status) => (400..500).contains(&status) && !matches!(status, 408 | 409 | 429),
        None => matches!(error.status(), Status::InvalidArgument | Status::Config),
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
    request.timeout = config.manner.block + POLL_MARGIN;
    request.max_retries = 0;
    request.with_response = false;
    Ok(request)
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
pub(super) async fn supervise(inner: Arc<Inner>) {
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
