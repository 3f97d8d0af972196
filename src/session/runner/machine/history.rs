//! The history: what has happened before the stream was open.

use super::RunnerMachine;
use super::idle::{Idle, Pulse};
use crate::runtime::clock::ClockTime;
use crate::session::event::{Event, EventKind, ToolUse};

impl RunnerMachine {
    /// Applies the whole history: first what settles calls, wherever it is listed, then the calls.
    pub(super) fn on_history(&mut self, now: ClockTime, events: Vec<Event>) {
        self.known =
            events.iter().filter(|event| !event.is_queued() && !event.id.is_empty()).map(|event| event.id.clone()).collect();
        let last = events.iter().rev().find(|event| self.pulse(&event.kind) != Pulse::Neutral);
        let turn_end = last.filter(|event| self.pulse(&event.kind) == Pulse::TurnEnded).map(|event| event.id.clone());
        // The countdown goes on if nothing has happened since it began.
        let is_same = turn_end.is_some() && turn_end == self.turn_end;
        let before = std::mem::replace(&mut self.idle, Idle::Off);
        let calls = self.note_all(now, events);
        calls.into_iter().for_each(|call| self.add(call));
        self.route_all(now);
        self.resume_parked(now);
        match before {
            _ if turn_end.is_none() || self.has_foreign_calls() => {}
            Idle::Counting(_) if is_same => self.idle = before,
            _ => self.count_down(now),
        }
        self.turn_end = turn_end;
    }

    /// Applies what could be read of the history. Calls, also those that are allowed there, have to wait: their results may be on a page
    /// that could not be read.
    pub(super) fn on_partial_history(&mut self, now: ClockTime, mut events: Vec<Event>) {
        events.retain(|event| !matches!(event.kind, EventKind::Confirmation { .. }));
        self.note_all(now, events);
    }

    /// Applies all events but the calls, which are returned.
    fn note_all(&mut self, now: ClockTime, events: Vec<Event>) -> Vec<ToolUse> {
        let mut calls = Vec::new();
        for event in events {
            match event.kind {
                EventKind::ToolUse(call) => calls.push(call),
                kind => self.note(now, event.processed_at, kind),
            }
        }
        calls
    }
}
