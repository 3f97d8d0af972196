//! The idle countdown: how long a session is served after the end of a turn.
//!
//! ```text
//!            the turn ends                             max_idle
//!   Off ───────────────────────────────────► Counting ──────────► the session is over
//!    ▲ │     no call is held or unfinished      ▲  │
//!    │ └────────────────────────► PutOff ───────┘  │
//!    │   there are such calls       │ the last is settled
//!    └──────────────────────────────┴──────────────┘  any event but confirmations, ends of threads and interrupts
//! ```
//!
//! While the history is unknown the countdown is in doubt: then the end of a thread is an event like any other, and the end of its last
//! call does not start the countdown.

use super::RunnerMachine;
use crate::runtime::clock::ClockTime;
use crate::session::event::{Event, EventKind};

/// The countdown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Idle {
    /// The session is at work, or waits for another client.
    Off,
    /// The turn has ended, but calls are held or unfinished.
    PutOff,
    /// The turn has ended, or the last such call, at this time.
    Counting(ClockTime),
}

/// What an event means for the countdown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Pulse {
    TurnEnded,
    Neutral,
    Activity,
}

impl RunnerMachine {
    pub(super) fn pulse(&self, kind: &EventKind) -> Pulse {
        match kind {
            EventKind::Idle { ends_turn: true } => Pulse::TurnEnded,
            EventKind::Confirmation { .. } | EventKind::Interrupt { .. } => Pulse::Neutral,
            EventKind::ThreadTerminated(_) if !self.is_stale => Pulse::Neutral,
            _ => Pulse::Activity,
        }
    }

    /// Applies an event of the stream to the countdown.
    pub(super) fn on_idle_event(&mut self, now: ClockTime, event: &Event) {
        match self.pulse(&event.kind) {
            Pulse::Neutral => return,
            Pulse::TurnEnded => {
                self.turn_end = Some(event.id.clone());
                self.count_down(now);
            }
            Pulse::Activity => self.idle = Idle::Off,
        }
        self.is_stale = false;
    }

    /// Starts the countdown, or puts it off while calls are held or unfinished.
    pub(super) fn count_down(&mut self, now: ClockTime) {
        self.idle = if self.has_unfinished_calls() { Idle::PutOff } else { Idle::Counting(now) };
    }

    /// Starts the countdown that was put off, if no call is held or unfinished now. `is_dead`: the call's thread has ended.
    pub(super) fn on_call_settled(&mut self, now: ClockTime, is_dead: bool) {
        if self.idle == Idle::PutOff && !self.has_unfinished_calls() {
            self.idle = if is_dead && self.is_stale { Idle::Off } else { Idle::Counting(now) };
        }
    }

    /// Returns when the session is over. Without a connection it is not: something may have happened that the next history shows.
    pub(super) fn idle_until(&self) -> Option<ClockTime> {
        match self.idle {
            Idle::Counting(since) if self.is_current => self.config.max_idle.map(|max| since.saturating_add(max)),
            _ => None,
        }
    }
}
