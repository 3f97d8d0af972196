//! A session and its calls as the host sees them: waiting for calls, replying to them, letting them go.

use super::config::SessionConfig;
use super::resources::Resources;
use super::shared::{CallNotifications, HostCall, ReplyCallback, SessionEnd, SessionShared, State, void_error};
use super::task;
use super::words::{End, RunnerEvent};
use crate::completion::Queue;
use crate::error::{Error, Result, Status};
use crate::runtime;
use crate::runtime::clock;
use crate::runtime::fork::{ForkSafeMutex, ProcessLocal, used_after_fork};
use crate::runtime::waiters::wait_for;
use crate::session::event::ToolUse;
use crate::session::result::ToolResult;
use crate::session::tools::helper::Helper;
use crate::worker::Lease;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// A session that is being served, usable from any thread. Dropping it ends that. All its functions fail with `CLOSED` in a forked child.
pub struct Session(ProcessLocal<Arc<SessionShared>>);

/// A call of one of the host's tools. Dropping it without a reply lets it go.
pub struct ToolCall {
    session: ProcessLocal<Arc<SessionShared>>,
    event: Arc<ToolUse>,
}

/// What waiting for a call gives.
pub enum Next {
    /// A call.
    Call(ToolCall),
    /// The session is over: why, as a JSON object.
    End(String),
}

impl Session {
    /// Begins to serve the session of an item. Does not block. Errors: `CONFIG`, naming the key; `INVALID_ARGUMENT`, if another process is to
    /// begin the lease; `CLOSED`, if the lease has ended, in a forked child, and while the library shuts down.
    pub fn new(lease: &Arc<Lease>, config_json: Option<&str>) -> Result<Session> {
        let config = SessionConfig::read(config_json)?;
        let client = lease.client()?;
        if lease.is_claim_only() {
            return Err(Error::argument("lease", "has no heartbeats: another process is to serve the item"));
        }
        let pool = client.pool_handle()?;
        let (state, changed) = (ForkSafeMutex::default(), Notify::new());
        let helper = config.tools.helper.and_then(|config| Helper::new(config, lease.session_id(), pool.clone()));
        let (id, has_token) = (lease.session_id(), lease.has_token());
        let resources = Resources::new(helper, config.tools.resources, client.clone(), pool.clone(), id, has_token);
        let shared = Arc::new(SessionShared { lease: lease.clone(), client, pool, state, changed, resources });
        task::start(&shared, config.runner);
        Ok(Session(ProcessLocal::new(shared)))
    }

    fn shared(&self) -> Result<&Arc<SessionShared>> {
        self.0.get().ok_or_else(|| used_after_fork("session"))
    }

    /// Waits for the next call. Blocks for at most `timeout`; `None` waits without a limit. Several threads may wait at once: each call goes
    /// to one of them. Errors: `TIMEOUT`, `INTERRUPTED` (a signal handler ran in this thread), `CLOSED` (the session was freed, or belongs
    /// to the parent), `CANCELLED` (the library was shut down), or what the server has refused permanently.
    pub fn next(&self, timeout: Option<Duration>) -> Result<Next> {
        let shared = self.shared()?;
        let check = |state: &mut State| match (state.ready.pop_front(), &state.end) {
            (Some(call), _) => {
                // The task needs to know of it when the call's time may be up, and is not woken before.
                state.inbox.push_back(RunnerEvent::Taken { call: call.id.clone(), at: clock::now() });
                Some(Ok(Some(call)))
            }
            (None, Some(end)) => Some(end.outcome().map(|_| None)),
            (None, None) => None,
        };
        let Some(event) = wait_for(&shared.state, |state| &mut state.waiters, timeout, check)?? else {
            let end = shared.state.lock().end.clone();
            return end.map_or_else(|| Err(runtime::fault()), |end: SessionEnd| end.outcome().map(Next::End));
        };
        Ok(Next::Call(ToolCall { session: ProcessLocal::new(shared.clone()), event }))
    }

    /// Posts a completion with this tag for each call that is ready; take it with [`next`](Session::next) and a timeout of zero. The last
    /// completion reports the end. `None` in place of a queue detaches the session. Does not block. Errors: `CLOSED`.
    pub fn attach(&self, queue: Option<&Arc<Queue>>, tag: u64) -> Result<()> {
        self.shared()?.attach(queue, tag)
    }

    /// Returns the session's state and metrics as a JSON object. Does not block. Errors: `CLOSED` after a fork.
    pub fn stats(&self) -> Result<String> {
        self.shared().map(|shared| shared.stats())
    }

    /// Ends serving the session: its calls are void, and the threads that wait are woken. Nothing is sent. Does not block.
    pub fn close(&self) {
        if let Some(shared) = self.0.get() {
            shared.on_end(SessionEnd::Over(End::Closed));
            shared.changed.notify_one();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.close();
    }
}

impl ToolCall {
    fn shared(&self) -> Result<&Arc<SessionShared>> {
        self.session.get().ok_or_else(|| used_after_fork("call"))
    }

    /// Returns the event of the call, verbatim.
    pub fn json(&self) -> &str {
        &self.event.json
    }

    /// Reads the result of a call, without sending it. Errors: `INVALID_ARGUMENT`; `CLOSED` in a forked child.
    pub fn prepare_reply(&self, result_json: &str) -> Result<ToolResult> {
        self.shared()?;
        ToolResult::parse(result_json)
    }

    /// Posts the result of the call, and returns `{"posted":true}`. Blocks until the session has it: failures that may pass are retried for
    /// as long as the lease lasts. Errors: `CANCELLED`, if the call needs no reply any more; the common call errors, if the result was
    /// refused or could not be posted in time: then it is kept, and posted later if the session still waits for it; `CLOSED`, if the call
    /// has a reply, or belongs to the parent.
    pub fn reply(&self, result: &ToolResult) -> Result<String> {
        let (sender, receiver) = oneshot::channel();
        self.submit_reply(result, move |outcome| drop(sender.send(outcome)))?;
        runtime::wait(receiver)
    }

    /// Does the same without blocking. Calls `done` exactly once, with the outcome: here, or on the library's thread. Errors: `CLOSED`.
    pub fn submit_reply(&self, result: &ToolResult, done: impl FnOnce(Result<String>) + Send + 'static) -> Result<()> {
        let (shared, id, done) = (self.shared()?, &self.event.id, Box::new(done) as ReplyCallback);
        let mut state = shared.state.lock();
        let has_reply = || Error::new(Status::Closed, "the call has a reply already");
        let call = state.calls.get_mut(id).ok_or_else(has_reply)?;
        if let Some(reason) = call.void {
            state.calls.remove(id);
            drop(state);
            done(Err(void_error(reason)));
            return Ok(());
        }
        if call.reply.is_some() {
            return Err(has_reply());
        }
        call.reply = Some(done);
        state.results.insert(id.clone(), result.params(&self.event));
        drop(state);
        shared.push(RunnerEvent::Replied { call: id.clone(), window: shared.window() });
        Ok(())
    }

    /// Waits until the call needs no reply any more, and returns why: `{"reason":...}`. Blocks for at most `timeout`; `None` waits without a
    /// limit. Errors: `TIMEOUT` while it needs one; `DONE`, when it has been replied to or let go; `INTERRUPTED` (a signal handler ran in
    /// this thread); `CLOSED` in a forked child.
    pub fn wait(&self, timeout: Option<Duration>) -> Result<String> {
        let check = |state: &mut State| match state.calls.get(&self.event.id) {
            None => Some(HostCall::default().end()),
            Some(call) => call.void.map(|_| call.end()),
        };
        wait_for(&self.shared()?.state, |state| &mut state.call_waiters, timeout, check)?
    }

    /// Posts one completion with this tag when the call needs no reply any more, at once if that is so already: with what
    /// [`wait`](ToolCall::wait) returns. Does not block. Errors: `CLOSED`.
    pub fn attach(&self, queue: &Arc<Queue>, tag: u64) -> Result<()> {
        let shared = self.shared()?;
        queue.fd()?;
        let mut state = shared.state.lock();
        let notifications = match state.calls.get_mut(&self.event.id) {
            None => HostCall { watchers: vec![(queue.clone(), tag)], ..HostCall::default() }.take_notifications(),
            Some(call) => {
                call.watchers.push((queue.clone(), tag));
                if call.void.is_some() { call.take_notifications() } else { CallNotifications::default() }
            }
        };
        drop(state);
        notifications.send();
        Ok(())
    }

    /// Lets the call go, unless it has a reply: nothing is posted, and it is left to other clients. Does not block.
    pub fn let_go(&self) {
        let Some(shared) = self.session.get() else { return };
        let mut state = shared.state.lock();
        let is_replied = state.calls.get(&self.event.id).is_none_or(|call| call.reply.is_some());
        if is_replied {
            return;
        }
        let mut call = state.calls.remove(&self.event.id);
        let notifications = call.as_mut().map(HostCall::take_notifications).unwrap_or_default();
        let was_void = call.is_none_or(|call| call.void.is_some());
        if !was_void {
            state.metrics.let_go += 1;
            state.inbox.push_back(RunnerEvent::LetGo { call: self.event.id.clone() });
        }
        let waiters = state.call_waiters.take_all();
        drop(state);
        drop(waiters);
        notifications.send();
        shared.changed.notify_one();
    }
}

impl Drop for ToolCall {
    fn drop(&mut self) {
        self.let_go();
    }
}
