//! Serving a session: a pure state machine, without a clock or a socket. `task.rs` drives it.
//!
//! The connection to the session:
//!
//! ```text
//!  retrieve ──► open the stream ──► read the history ──► live ──┐
//!     │             ▲   │              │        ▲          │    │ the stream ends
//!     │ terminated  │   │ 4xx          │ fails: │ after a  │    ▼
//!     ▼             │   ▼              ▼ live meanwhile,   │  wait (backoff)
//!    end            │  end             └────────┘ pause    │    │
//!                   └───────────────────────────────────────────┘
//! ```
//!
//! A call (`calls.rs`):
//!
//! ```text
//!           permission, verdict          a slot is free         the host replies, or its time is up
//!  routed ─┬─────────────────────► waiting ───────────► running ─────────────────────────► sending ──► posted
//!          ├─► held ── allowed ──────┘                     │ let go                        │     ▲
//!          │     └──── denied ──► settled                  ▼                      refused, │     │ after the next
//!          ├─► foreign: a tool that the host does not      foreign                too late ▼     │ history
//!          │   serve; left to other clients                                               parked ┘
//!          └─► settled: answered, denied, interrupted, or its thread has ended: at any time, from every state
//! ```
//!
//! The rules:
//!
//! - **A call runs at most once.** It is run after the whole history was read without a result for it. A result is kept until the session
//!   has it, and sent again instead of being made again.
//! - **A call is answered at most once.** Its result is sent again only when the last attempt may have failed, and not if the history shows
//!   a result. What the server refuses waits for the next history, which says why.
//! - **Denied calls are not answered**: the server has settled them. A verdict may come before its call.
//! - **An interrupt of the whole session voids the calls up to its time**, the end of a thread those of the thread.
//! - **One call runs at a time in a thread**, in the order of the events, and at most `concurrency` in all.
//! - The session is over when it says so, when it has been idle for `max_idle` after the end of a turn (`idle.rs`), or when the lease ends.

mod calls;
mod history;
mod idle;

pub use super::words::{Actions, End, LinkFailure, Outcome, RunnerConfig, RunnerEvent, SendResult, VoidReason};
use crate::backoff::Backoff;
use crate::runtime::clock::ClockTime;
use crate::session::event::{Event, EventKind};
use crate::session::time::EventTime;
use calls::Call;
use idle::Idle;
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// The pauses between connections, and between readings of the history.
const RECONNECT: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(10) };
/// How long a stream must have lived for the next pause to be the first again.
const HEALTHY: Duration = Duration::from_secs(5);
/// The pauses between attempts to send a result.
const RESEND: Backoff = Backoff { first: Duration::from_secs(1), max: Duration::from_secs(30) };
/// The pauses between readings of the history for results that were refused.
const RECHECK: Backoff = Backoff { first: Duration::from_secs(2), max: Duration::from_secs(60) };

/// The connection to the session.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Link {
    /// The next attempt is due at this time.
    Down(ClockTime),
    /// The session is being retrieved, or the stream opened.
    Opening,
    /// The stream is open.
    Open { since: ClockTime, history: History },
}

/// What is known of what happened before.
#[derive(Debug, Clone, Copy, PartialEq)]
enum History {
    /// It is being read. Events of the stream have to wait.
    Reading,
    /// It could not be read, or has to be read again at this time.
    Due(ClockTime),
    /// It was read.
    Read,
}

/// The state machine of one session.
#[derive(Debug, Clone)]
pub struct RunnerMachine {
    config: RunnerConfig,
    link: Link,
    /// Whether the session was retrieved, and is not terminated.
    is_retrieved: bool,
    /// Whether the history was read since the connection was opened. Until then calls wait: they may have been answered.
    is_current: bool,
    /// The failures in a row: of connections, of readings of the history, and of results that were refused.
    link_failures: u32,
    history_failures: u32,
    refusals: u32,
    /// The calls that are not settled, in the order of their events.
    calls: Vec<Call>,
    /// The calls that need nothing more: they are answered, denied or void.
    settled: HashSet<String>,
    /// Whether calls are allowed, for those that are not settled, also before they come.
    verdicts: HashMap<String, bool>,
    ended_threads: HashSet<String>,
    /// The time of the last interrupt.
    interrupted_at: Option<EventTime>,
    /// The events of the last history that the stream may repeat.
    known: HashSet<String>,
    idle: Idle,
    /// The event that ended the turn.
    turn_end: Option<String>,
    /// Whether the countdown is in doubt: the history since it began is unknown.
    is_stale: bool,
    actions: Actions,
}

impl RunnerMachine {
    /// Creates the machine of a session that is to be served from now on.
    pub fn new(now: ClockTime, config: RunnerConfig) -> RunnerMachine {
        RunnerMachine {
            config,
            link: Link::Down(now),
            is_retrieved: false,
            link_failures: 0,
            history_failures: 0,
            refusals: 0,
            calls: Vec::new(),
            settled: HashSet::new(),
            verdicts: HashMap::new(),
            ended_threads: HashSet::new(),
            interrupted_at: None,
            known: HashSet::new(),
            idle: Idle::Off,
            turn_end: None,
            is_current: false,
            is_stale: false,
            actions: Actions::default(),
        }
    }

    /// Applies an event and returns what to do. `jitter` (0 to 1) shortens pauses. Once the session has ended, nothing happens any more.
    pub fn next(&mut self, now: ClockTime, event: RunnerEvent, jitter: f64) -> Actions {
        self.actions = Actions { end: self.actions.end, ..Actions::default() };
        if self.actions.end.is_none() {
            self.apply(now, event, jitter);
            self.expire(now);
            self.start_due(now);
        }
        if self.actions.end.is_some() {
            self.drop_calls();
        } else {
            self.actions.wake_at = self.next_wake();
        }
        let rest = Actions { end: self.actions.end, ..Actions::default() };
        std::mem::replace(&mut self.actions, rest)
    }

    fn apply(&mut self, now: ClockTime, event: RunnerEvent, jitter: f64) {
        match event {
            RunnerEvent::Tick => {}
            RunnerEvent::Retrieved { is_terminated: true } => self.end(End::Terminated),
            RunnerEvent::Retrieved { is_terminated: false } => {
                (self.is_retrieved, self.link_failures, self.link) = (true, 0, Link::Down(now));
            }
            RunnerEvent::Opened => {
                self.is_stale = true;
                self.link = Link::Open { since: now, history: History::Due(now) };
            }
            RunnerEvent::LinkFailed(LinkFailure::NotFound) => self.end(End::NotFound),
            RunnerEvent::LinkFailed(LinkFailure::Refused) => self.end(End::Refused),
            RunnerEvent::LinkFailed(LinkFailure::Passing) => {
                if matches!(self.link, Link::Open { since, .. } if now >= since + HEALTHY) {
                    self.link_failures = 0;
                }
                self.is_current = false;
                self.link = Link::Down(now + RECONNECT.pause(self.link_failures, jitter));
                self.link_failures += 1;
            }
            RunnerEvent::HistoryRead(events) => {
                (self.history_failures, self.is_stale, self.is_current) = (0, false, true);
                self.set_history(History::Read);
                self.on_history(now, events);
            }
            RunnerEvent::HistoryFailed(events) => {
                self.on_partial_history(now, events);
                self.set_history(History::Due(now + RECONNECT.pause(self.history_failures, jitter)));
                self.history_failures += 1;
            }
            RunnerEvent::Live(event) => self.on_live(now, event),
            RunnerEvent::Taken { call, at } => self.on_taken(at, &call),
            RunnerEvent::Replied { call, window } => self.on_replied(now, &call, window),
            RunnerEvent::LetGo { call } => self.on_let_go(&call),
            RunnerEvent::Sent { call, result } => self.on_sent(now, &call, result, jitter),
            RunnerEvent::LeaseEnded(end) => self.end(end),
        }
    }

    /// Applies an event of the stream.
    fn on_live(&mut self, now: ClockTime, event: Event) {
        if !event.is_queued() && !event.id.is_empty() {
            if self.known.contains(&event.id) {
                return;
            }
            // What comes after it is not in the history either.
            self.known = HashSet::new();
        }
        self.on_idle_event(now, &event);
        match event.kind {
            EventKind::ToolUse(call) => self.add(call),
            kind => self.note(now, event.processed_at, kind),
        }
        self.route_all(now);
    }

    /// Applies an event that is not a call.
    fn note(&mut self, now: ClockTime, at: Option<EventTime>, kind: EventKind) {
        match kind {
            EventKind::Result(call) => self.on_answered(now, call),
            EventKind::Confirmation { call, is_allowed } if !self.settled.contains(&call) => {
                self.verdicts.insert(call, is_allowed);
            }
            EventKind::ThreadTerminated(thread) => self.on_thread_ended(now, thread),
            EventKind::Interrupt { is_session_wide: true } => self.on_interrupt(now, at),
            EventKind::Terminated => self.end(End::Terminated),
            EventKind::Deleted => self.end(End::Deleted),
            EventKind::ToolUse(_)
            | EventKind::Confirmation { .. }
            | EventKind::Interrupt { .. }
            | EventKind::Idle { .. }
            | EventKind::Other => {}
        }
    }

    fn end(&mut self, end: End) {
        self.actions.end.get_or_insert(end);
    }

    fn set_history(&mut self, to: History) {
        if let Link::Open { history, .. } = &mut self.link {
            *history = to;
        }
    }

    /// Has the history read again, for results that the server has refused.
    fn recheck(&mut self, now: ClockTime, jitter: f64) {
        let due = now + RECHECK.pause(self.refusals, jitter);
        self.refusals += 1;
        if matches!(self.link, Link::Open { history: History::Read, .. }) {
            self.set_history(History::Due(due));
        }
    }

    /// Ends what has lasted too long.
    fn expire(&mut self, now: ClockTime) {
        self.expire_calls(now);
        if self.idle_until().is_some_and(|until| now >= until) {
            self.end(End::Idle);
        }
    }

    /// Starts what is due: requests, and calls.
    fn start_due(&mut self, now: ClockTime) {
        if self.actions.end.is_some() {
            return;
        }
        match self.link {
            Link::Down(due) if due <= now => {
                (self.actions.retrieve, self.actions.open) = (!self.is_retrieved, self.is_retrieved);
                self.link = Link::Opening;
            }
            Link::Open { history: History::Due(due), .. } if due <= now => {
                (self.actions.read_history, self.is_stale) = (true, true);
                self.set_history(History::Reading);
            }
            _ => {}
        }
        self.start_calls(now);
    }

    fn next_wake(&self) -> Option<ClockTime> {
        let link = match self.link {
            Link::Down(due) | Link::Open { history: History::Due(due), .. } => Some(due),
            Link::Opening | Link::Open { .. } => None,
        };
        [link, self.idle_until(), self.calls_wake()].into_iter().flatten().min()
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "sending_tests.rs"]
mod sending_tests;
