//! What the task of a session and the host's threads share: the calls that the host gets, its replies, and how the session ended.

use super::resources::Resources;
use super::words::{End, Outcome, RunnerEvent, VoidReason};
use crate::client::{Client, PoolHandle};
use crate::completion::Queue;
use crate::error::{Error, Result, Status};
use crate::runtime::fork::ForkSafeMutex;
use crate::runtime::waiters::Waiters;
use crate::session::event::ToolUse;
use crate::session::result::ToolResult;
use crate::session::tools::helper::Helper;
use crate::worker::Lease;
use serde::Serialize;
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// How long a result is tried to be sent when the server does not report how long the lease lasts.
const DEFAULT_WINDOW: Duration = Duration::from_secs(300);

/// A session, as its task and the host's threads share it.
pub(super) struct SessionShared {
    pub(super) lease: Arc<Lease>,
    /// With the item's own token.
    pub(super) client: Client,
    pub(super) pool: PoolHandle,
    pub(super) state: ForkSafeMutex<State>,
    /// Wakes the task.
    pub(super) changed: Notify,
    pub(super) resources: Resources,
}

#[derive(Default)]
pub(super) struct State {
    /// Calls to hand out.
    pub(super) ready: VecDeque<Arc<ToolUse>>,
    /// The calls that the host has, or is about to get.
    pub(super) calls: HashMap<String, HostCall>,
    /// The results that the session does not have yet: the parameters of the requests that send them.
    pub(super) results: HashMap<String, String>,
    /// The events that the task has yet to apply.
    pub(super) inbox: VecDeque<RunnerEvent>,
    pub(super) end: Option<SessionEnd>,
    /// Threads that wait for a call.
    pub(super) waiters: Waiters,
    /// Threads that wait for a call to become void.
    pub(super) call_waiters: Waiters,
    pub(super) attached: Option<(Arc<Queue>, u64)>,
    pub(super) is_live: bool,
    pub(super) metrics: Metrics,
}

/// A call that the host has.
#[derive(Default)]
pub(super) struct HostCall {
    pub(super) void: Option<VoidReason>,
    /// Receives the outcome of the host's reply.
    pub(super) reply: Option<ReplyCallback>,
    /// The queues, each with its tag, that wait for the call to need no reply any more.
    pub(super) watchers: Vec<(Arc<Queue>, u64)>,
}

pub(super) type ReplyCallback = Box<dyn FnOnce(Result<String>) + Send>;

/// How a session ended.
#[derive(Debug, Clone)]
pub(super) enum SessionEnd {
    Over(End),
    Failed(Error),
}

/// What happened so far.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Metrics {
    pub(super) calls: u64,
    pub(super) posted: u64,
    pub(super) void: u64,
    pub(super) timed_out: u64,
    pub(super) let_go: u64,
    pub(super) denied: u64,
    pub(super) sends: u64,
    pub(super) send_failures: u64,
    pub(super) streams: u64,
    pub(super) histories: u64,
    pub(super) history_failures: u64,
}

impl HostCall {
    /// Returns why the call needs no reply any more, as JSON. Errors: `DONE`, if the host has ended it.
    pub(super) fn end(&self) -> Result<String> {
        match self.void {
            Some(reason) => Ok(json!({"reason": reason.name()}).to_string()),
            None => Err(Error::new(Status::Done, "the call has been replied to, or let go")),
        }
    }

    /// Takes the notifications for the queues that wait, now that the call needs no reply any more. Send them after unlocking the state.
    pub(super) fn take_notifications(&mut self) -> CallNotifications {
        let end = self.end();
        CallNotifications(self.watchers.drain(..).map(|(queue, tag)| (queue, tag, end.clone())).collect())
    }
}

/// Completions to post for calls that need no reply any more.
#[must_use]
#[derive(Default)]
pub(super) struct CallNotifications(Vec<(Arc<Queue>, u64, Result<String>)>);

impl CallNotifications {
    /// Posts them.
    pub(super) fn send(self) {
        for (queue, tag, end) in self.0 {
            queue.post(tag, end);
        }
    }
}

impl SessionEnd {
    /// Returns what waiting for another call gives: why there is none, as JSON, or an error.
    pub(super) fn outcome(&self) -> Result<String> {
        match self {
            SessionEnd::Over(End::Closed) => Err(Error::new(Status::Closed, "the session was freed")),
            SessionEnd::Over(End::Shutdown) => {
                Err(Error::new(Status::Cancelled, "the session is not served any more: the library was shut down"))
            }
            SessionEnd::Over(end) => Ok(json!({"reason": end.name()}).to_string()),
            SessionEnd::Failed(error) => Err(error.clone()),
        }
    }

    /// Returns the error of the last completion.
    fn completion(&self) -> Error {
        match (self, self.outcome()) {
            (SessionEnd::Over(end), Ok(_)) => Error::new(Status::Done, format!("the session is over: {}", end.name())),
            (_, Err(error)) => error,
            (SessionEnd::Failed(error), _) => error.clone(),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            SessionEnd::Over(end) => end.name(),
            SessionEnd::Failed(_) => "failed",
        }
    }
}

/// Makes the error of a reply to a call that needs none any more.
pub(super) fn void_error(reason: VoidReason) -> Error {
    Error::new(Status::Cancelled, format!("the call needs no reply any more ({}); nothing was posted", reason.name()))
}

impl SessionShared {
    /// Returns how long to try to send a result: as long as the lease lasts.
    pub(super) fn window(&self) -> Duration {
        self.lease.ttl().unwrap_or(DEFAULT_WINDOW)
    }

    /// Adds an event to the inbox of the task.
    pub(super) fn push(&self, event: RunnerEvent) {
        self.state.lock().inbox.push_back(event);
        self.changed.notify_one();
    }

    /// Hands out a call: to a thread that waits, or through the attached queue.
    pub(super) fn offer(&self, call: Arc<ToolUse>) {
        let mut state = self.state.lock();
        state.metrics.calls += 1;
        let notice = notice(&call);
        state.calls.insert(call.id.clone(), HostCall::default());
        state.ready.push_back(call);
        let (attached, waiter) = (state.attached.clone(), state.waiters.take(1));
        drop(state);
        drop(waiter);
        self.post(attached, Ok(notice));
    }

    fn post(&self, attached: Option<(Arc<Queue>, u64)>, result: Result<String>) {
        if let Some((queue, tag)) = attached
            && !queue.post(tag, result)
        {
            // The queue was freed.
            self.state.lock().attached.take_if(|(attached, _)| Arc::ptr_eq(attached, &queue));
        }
    }

    /// Posts a completion with this tag for each call from now on, from those that are ready.
    pub(super) fn attach(&self, queue: Option<&Arc<Queue>>, tag: u64) -> Result<()> {
        queue.map(|queue| queue.fd()).transpose()?;
        let mut state = self.state.lock();
        state.attached = queue.map(|queue| (queue.clone(), tag));
        let (attached, end) = (state.attached.clone(), state.end.clone());
        let notices: Vec<_> = state.ready.iter().map(|call| notice(call)).collect();
        drop(state);
        for notice in notices {
            self.post(attached.clone(), Ok(notice));
        }
        if let Some(end) = end {
            self.post(attached, Err(end.completion()));
        }
        Ok(())
    }

    /// Marks a call as void, and wakes the threads that wait for that. One that was not handed out is taken back.
    pub(super) fn void(&self, id: &str, reason: VoidReason) {
        let (mut state, mut notifications) = (self.state.lock(), CallNotifications::default());
        state.metrics.void += 1;
        if let Some(at) = state.ready.iter().position(|call| call.id == id) {
            state.ready.remove(at);
            state.calls.remove(id);
        } else if let Some(call) = state.calls.get_mut(id) {
            call.void = Some(reason);
            notifications = call.take_notifications();
        }
        let waiters = state.call_waiters.take_all();
        drop(state);
        drop(waiters);
        notifications.send();
    }

    /// Answers a call in the host's place, because its time is up.
    pub(super) fn time_out(&self, call: &ToolUse, after: Duration) {
        let text = format!("{} did not finish within {} ms", call.name, after.as_millis());
        let mut state = self.state.lock();
        state.metrics.timed_out += 1;
        state.results.insert(call.id.clone(), ToolResult::text(&text, true).params(call));
    }

    /// Keeps the result of a call of the toolset, as the host's reply would be, and asks the task to send it.
    pub(super) fn on_tool_done(&self, call: &ToolUse, result: &ToolResult) {
        self.state.lock().results.insert(call.id.clone(), result.params(call));
    }

    /// Reports the outcome of a reply. `error`: that of the last attempt to send it.
    pub(super) fn on_outcome(&self, id: &str, outcome: Outcome, error: Option<Error>) {
        let mut state = self.state.lock();
        let mut call = state.calls.remove(id);
        let notifications = call.as_mut().map(HostCall::take_notifications).unwrap_or_default();
        let result = match outcome {
            Outcome::Posted => Ok(r#"{"posted":true}"#.to_owned()),
            Outcome::Void(reason) => {
                state.metrics.void += 1;
                Err(void_error(reason))
            }
            Outcome::Parked => {
                Err(error.unwrap_or_else(|| Error::new(Status::Timeout, "the result could not be posted in time")))
            }
        };
        let waiters = state.call_waiters.take_all();
        drop(state);
        drop(waiters);
        notifications.send();
        if let Some(reply) = call.and_then(|call| call.reply) {
            reply(result);
        }
    }

    /// Ends the session: voids its calls, answers the replies that wait, and wakes all threads.
    pub(super) fn on_end(&self, end: SessionEnd) {
        let mut state = self.state.lock();
        if state.end.is_some() {
            return;
        }
        state.end = Some(end.clone());
        (state.is_live, state.inbox) = (false, VecDeque::new());
        let (ready, results) = (std::mem::take(&mut state.ready), std::mem::take(&mut state.results));
        ready.iter().for_each(|call| drop(state.calls.remove(&call.id)));
        let replies: Vec<_> = state.calls.values_mut().filter_map(|call| call.reply.take()).collect();
        state.calls.values_mut().for_each(|call| call.void = call.void.or(Some(VoidReason::SessionEnded)));
        let notifications: Vec<_> = state.calls.values_mut().map(HostCall::take_notifications).collect();
        let (attached, waiters, call_waiters) = (state.attached.take(), state.waiters.take_all(), state.call_waiters.take_all());
        drop(state);
        drop((waiters, call_waiters, results));
        notifications.into_iter().for_each(CallNotifications::send);
        replies.into_iter().for_each(|reply| reply(Err(void_error(VoidReason::SessionEnded))));
        self.post(attached, Err(end.completion()));
    }

    /// Returns the session's state and metrics as a JSON object.
    pub(super) fn stats(&self) -> String {
        let state = self.state.lock();
        let doing = match &state.end {
            Some(_) => "ended",
            None if state.is_live => "live",
            None => "connecting",
        };
        let mut stats = json!({"session_id": self.lease.session_id(), "state": doing,
                               "end": state.end.as_ref().map(SessionEnd::name), "open_calls": state.calls.len()});
        let helper = self.resources.helper.as_deref().map(Helper::stats).unwrap_or_default();
        let mut metrics = state.metrics.clone();
        metrics.timed_out += helper.timed_out;
        if let (Some(stats), Ok(serde_json::Value::Object(metrics))) = (stats.as_object_mut(), serde_json::to_value(&metrics)) {
            stats.extend(metrics);
            stats.insert("toolset_calls".to_owned(), helper.calls.into());
            stats.insert("toolset_starts".to_owned(), helper.starts.into());
            stats.insert("confinement".to_owned(), json!(helper.confinement));
            stats.extend(self.resources.stats().map(|(name, value)| (name.to_owned(), value)));
        }
        stats.to_string()
    }
}

/// Returns the JSON of the completion that announces a call.
fn notice(call: &ToolUse) -> String {
    json!({"id": call.id, "name": call.name}).to_string()
}
