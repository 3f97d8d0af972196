//! The task of one session: drives the state machine, reads the stream and the history, and sends results.

use super::machine::RunnerMachine;
use super::requests::{classify, open, read_history, retrieve, send_result};
use super::shared::{SessionEnd, SessionShared};
use super::words::{Actions, End, LinkFailure, RunnerConfig, RunnerEvent, SendResult, ServedBy};
use crate::error::{Error, Result, Status};
use crate::runtime::clock::{self, ClockTime};
use crate::session::LOG;
use crate::session::event::{Event, ToolUse};
use crate::session::result::ToolResult;
use crate::stream::EventReader;
use crate::telemetry::log::{self, Level};
use crate::worker::{LeaseUse, Standing};
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::sleep;

/// The task of a session.
struct SessionTask {
    shared: Arc<SessionShared>,
    machine: RunnerMachine,
    config: RunnerConfig,
    tool_timeout: Duration,
    /// The request in flight: the session's, that for the stream, or the history.
    request: Option<InFlight<Step>>,
    /// The next events of the stream.
    stream: Option<InFlight<Batch>>,
    /// Events of the stream that are not applied yet.
    live: VecDeque<Event>,
    /// Whether the history is being read: the events of the stream wait.
    is_reading: bool,
    /// The sync of the memory directories.
    sync: Option<InFlight<()>>,
    /// Whether the session was retrieved.
    has_worked: bool,
    sends: JoinSet<(String, SendResult, Option<Error>)>,
    /// The calls of the toolset that run.
    calls: JoinSet<ToolResult>,
    running: HashMap<tokio::task::Id, (Arc<ToolUse>, AbortHandle)>,
    /// The errors of the last attempts to send results.
    send_errors: HashMap<String, Error>,
    /// What the server has refused permanently.
    refusal: Option<Error>,
    /// The lease does not end before this task.
    _lease: LeaseUse,
}

type InFlight<T> = Pin<Box<dyn Future<Output = T> + Send>>;
/// The reader of a stream, and the next events that it has read.
type Batch = (Box<EventReader>, Result<Option<Vec<String>>>);

/// The outcome of a request.
enum Step {
    Retrieved(Result<bool>),
    Opened(Result<Box<EventReader>>),
    History(Vec<Event>, Option<Error>),
}

/// Waits for a future, and clears it; without one, waits for ever.
async fn completed<T>(in_flight: &mut Option<InFlight<T>>) -> T {
    match in_flight {
        Some(future) => {
            let output = future.await;
            *in_flight = None;
            output
        }
        None => std::future::pending().await,
    }
}

/// Starts to serve a session.
pub(super) fn start(shared: &Arc<SessionShared>, config: RunnerConfig) {
    let tool_timeout = config.tool_timeout.unwrap_or_default();
    let task = SessionTask {
        shared: shared.clone(),
        machine: RunnerMachine::new(clock::now(), config.clone()),
        config,
        tool_timeout,
        request: None,
        stream: None,
        live: VecDeque::new(),
        is_reading: false,
        sync: None,
        has_worked: false,
        sends: JoinSet::new(),
        calls: JoinSet::new(),
        running: HashMap::new(),
        send_errors: HashMap::new(),
        refusal: None,
        _lease: shared.lease.begin_use(),
    };
    let at_end = shared.clone();
    shared.pool.runtime().spawn(task.run(), None, move |outcome| {
        // The task returned, was dropped because the library shut down, or panicked.
        at_end.on_end(outcome.unwrap_or_else(|error| match error.status() {
            Status::Cancelled => SessionEnd::Over(End::Shutdown),
            _ => SessionEnd::Failed(error),
        }));
    });
}

impl SessionTask {
    async fn run(mut self) -> SessionEnd {
        let mut event = RunnerEvent::Tick;
        loop {
            let actions = self.machine.next(clock::now(), event, fastrand::f64());
            let wake_at = actions.wake_at;
            if let Some(end) = self.perform(actions) {
                return self.end(end).await;
            }
            event = self.next_event(wake_at).await;
        }
    }

    /// Ends what belongs to the session, and returns how that ended.
    async fn end(mut self, end: End) -> SessionEnd {
        (self.stream, self.request, self.sync) = (None, None, None);
        self.sends.abort_all();
        self.calls.shutdown().await;
        let is_well = matches!(end, End::Idle | End::Terminated);
        self.shared.resources.release(is_well, end != End::Shutdown).await;
        log::record(
            Level::Info,
            LOG,
            "session is over",
            || json!({"session_id": self.shared.lease.session_id(), "why": end.name()}),
        );
        match (end, self.refusal.take()) {
            (End::Refused, Some(error)) => SessionEnd::Failed(error),
            _ => SessionEnd::Over(end),
        }
    }

    /// Does what the machine wants. Returns how the session ended, if it did.
    fn perform(&mut self, actions: Actions) -> Option<End> {
        let shared = self.shared.clone();
        for (call, reason) in &actions.void {
            self.cancel_call(call);
            shared.void(call, *reason);
        }
        for (call, outcome) in actions.outcomes {
            let error = self.send_errors.get(&call).cloned();
            shared.on_outcome(&call, outcome, error);
        }
        for call in actions.run {
            match self.config.served_by(&call) {
                Some(ServedBy::Toolset) => self.run_call(call),
                Some(ServedBy::Host) | None => shared.offer(call),
            }
        }
        actions.timed_out.iter().for_each(|call| shared.time_out(call, self.tool_timeout));
        if !actions.send.is_empty() && self.sync.is_none() {
            self.sync = shared.resources.sync().map(|sync| Box::pin(sync) as InFlight<()>);
        }
        for call in actions.send {
            let params = shared.state.lock().results.get(&call.id).cloned();
            let (shared, id) = (shared.clone(), call.id.clone());
            self.sends.spawn(async move {
                let (result, error) = send_result(shared, params.unwrap_or_default()).await;
                (id, result, error)
            });
        }
        let mut state = shared.state.lock();
        state.metrics.denied += actions.denied;
        for call in &actions.settled {
            state.results.remove(call);
            self.send_errors.remove(call);
        }
        drop(state);
        if actions.retrieve {
            let retrieved = retrieve(shared.clone());
            self.request = Some(Box::pin(async { Step::Retrieved(retrieved.await) }));
        }
        if actions.open {
            let opened = open(shared.clone());
            self.request = Some(Box::pin(async { Step::Opened(opened.await.map(Box::new)) }));
        }
        if actions.read_history {
            self.is_reading = true;
            let history = read_history(shared.clone());
            self.request = Some(Box::pin(async {
                let (events, error) = history.await;
                Step::History(events, error)
            }));
        }
        actions.end
    }

    /// Has the helper run a call. It bounds the call's time itself.
    fn run_call(&mut self, call: Arc<ToolUse>) {
        let (shared, event) = (self.shared.clone(), call.clone());
        let handle = self.calls.spawn(async move {
            match &shared.resources.helper {
                Some(helper) => helper.call(&event).await,
                None => ToolResult::text("there is no toolset", true),
            }
        });
        self.running.insert(handle.id(), (call, handle));
    }

    /// Cancels a call of the toolset, if it is one.
    fn cancel_call(&mut self, id: &str) {
        for (_, (_, handle)) in self.running.extract_if(|_, (call, _)| call.id == id) {
            handle.abort();
        }
    }

    /// Applies the result of a call of the toolset. `None`: it was cancelled.
    fn on_call_done(&mut self, done: std::result::Result<(tokio::task::Id, ToolResult), JoinError>) -> Option<RunnerEvent> {
        let (id, result) = match done {
            Ok((id, result)) => (id, result),
            Err(error) => (error.id(), ToolResult::text("the call was ended by a fault of the library", true)),
        };
        let (call, _) = self.running.remove(&id)?;
        self.shared.on_tool_done(&call, &result);
        Some(RunnerEvent::Replied { call: call.id.clone(), window: self.shared.window() })
    }

    /// Waits for the next event.
    async fn next_event(&mut self, wake_at: Option<ClockTime>) -> RunnerEvent {
        loop {
            if let Some(standing) = self.shared.lease.standing() {
                return RunnerEvent::LeaseEnded(of_lease(standing));
            }
            if let Some(event) = self.inbox_event() {
                return event;
            }
            if !self.is_reading
                && let Some(event) = self.live.pop_front()
            {
                return RunnerEvent::Live(event);
            }
            let wait = wake_at.unwrap_or_default().saturating_sub(clock::now());
            let shared = self.shared.clone();
            tokio::select! {
                step = completed(&mut self.request) => return self.on_step(step),
                (reader, events) = completed(&mut self.stream), if !self.is_reading => match events {
                    Ok(Some(events)) => {
                        self.live.extend(events.iter().filter_map(|event| Event::parse(event)));
                        self.stream = Some(next_events(reader));
                    }
                    Ok(None) => return self.link_failed(LinkFailure::Passing, None),
                    Err(error) => return self.link_failed(LinkFailure::Passing, Some(error)),
                },
                Some(sent) = self.sends.join_next(), if !self.sends.is_empty() => {
                    if let Ok((call, result, error)) = sent {
                        return self.on_sent(call, result, error);
                    }
                }
                Some(done) = self.calls.join_next_with_id(), if !self.calls.is_empty() => {
                    if let Some(event) = self.on_call_done(done) {
                        return event;
                    }
                }
                () = completed(&mut self.sync) => {}
                () = sleep(wait), if wake_at.is_some() => return self.inbox_event().unwrap_or(RunnerEvent::Tick),
                () = shared.changed.notified() => {}
                standing = shared.lease.ends() => return RunnerEvent::LeaseEnded(of_lease(standing)),
                () = shared.pool.runtime().closes() => return RunnerEvent::LeaseEnded(End::Shutdown),
            }
        }
    }

    /// Takes an event of the host.
    fn inbox_event(&self) -> Option<RunnerEvent> {
        let mut state = self.shared.state.lock();
        match state.end {
            Some(_) => Some(RunnerEvent::LeaseEnded(End::Closed)),
            None => state.inbox.pop_front(),
        }
    }

    fn on_step(&mut self, step: Step) -> RunnerEvent {
        match step {
            Step::Retrieved(Ok(is_terminated)) => {
                self.has_worked = true;
                RunnerEvent::Retrieved { is_terminated }
            }
            Step::Opened(Ok(reader)) => {
                self.stream = Some(next_events(reader));
                self.shared.state.lock().metrics.streams += 1;
                RunnerEvent::Opened
            }
            Step::History(events, None) => {
                self.is_reading = false;
                let mut state = self.shared.state.lock();
                (state.metrics.histories, state.is_live) = (state.metrics.histories + 1, true);
                RunnerEvent::HistoryRead(events)
            }
            Step::History(events, Some(error)) => {
                self.is_reading = false;
                self.shared.state.lock().metrics.history_failures += 1;
                match classify(&error, self.has_worked) {
                    LinkFailure::Passing => {
                        self.record(Level::Warn, "the history could not be read", &error);
                        RunnerEvent::HistoryFailed(events)
                    }
                    failure => self.link_failed(failure, Some(error)),
                }
            }
            Step::Retrieved(Err(error)) | Step::Opened(Err(error)) => {
                self.link_failed(classify(&error, self.has_worked), Some(error))
            }
        }
    }

    fn link_failed(&mut self, failure: LinkFailure, error: Option<Error>) -> RunnerEvent {
        (self.stream, self.request, self.live) = (None, None, VecDeque::new());
        self.shared.state.lock().is_live = false;
        if let Some(error) = &error {
            let level = if failure == LinkFailure::Passing { Level::Warn } else { Level::Error };
            self.record(level, "the connection to the session failed", error);
        }
        self.refusal = error;
        RunnerEvent::LinkFailed(failure)
    }

    fn on_sent(&mut self, call: String, result: SendResult, error: Option<Error>) -> RunnerEvent {
        let mut state = self.shared.state.lock();
        state.metrics.sends += 1;
        match error {
            None => state.metrics.posted += 1,
            Some(error) => {
                state.metrics.send_failures += 1;
                drop(state);
                self.record(Level::Warn, "a result was not posted", &error);
                self.send_errors.insert(call.clone(), error);
            }
        }
        RunnerEvent::Sent { call, result }
    }

    fn record(&self, level: Level, what: &'static str, error: &Error) {
        log::record(
            level,
            LOG,
            what,
            || json!({"session_id": self.shared.lease.session_id(), "status": error.status().name(), "why": error.to_string()}),
        );
    }
}

fn next_events(mut reader: Box<EventReader>) -> InFlight<Batch> {
    Box::pin(async move {
        let events = reader.next().await;
        (reader, events)
    })
}

fn of_lease(standing: Standing) -> End {
    match standing {
        Standing::StopRequested => End::StopRequested,
        Standing::Lost => End::LeaseLost,
        Standing::Ended => End::LeaseEnded,
    }
}
