//! What a reader of a session's events knows: which events it has had, and whether the session is idle or over. Pure.
//!
//! ```text
//! history read anew: restart ─► take, take, ... ─► then the events of the stream: take, take, ...
//! ```
//!
//! After each reconnect the whole history is read again: a queued event gets its place in it when it is processed, which may be before
//! events that were seen earlier.

use serde::Deserialize;
use std::collections::HashSet;

/// The events so far.
#[derive(Default)]
pub struct Follower {
    seen: HashSet<String>,
    state: State,
}

/// What the events up to one of them say about the session.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum State {
    /// The agent works, or waits for the result of a tool or for a confirmation.
    #[default]
    Active,
    /// The agent's turn has ended.
    Idle,
    /// The session was terminated or deleted.
    Over,
}

#[derive(Deserialize)]
struct Event {
    id: Option<String>,
    #[serde(rename = "type", default)]
    kind: String,
    stop_reason: Option<StopReason>,
}

#[derive(Deserialize)]
struct StopReason {
    #[serde(rename = "type", default)]
    kind: String,
}

impl Follower {
    /// Begins to read the history from its start. What was seen stays so.
    pub fn restart(&mut self) {
        self.state = State::Active;
    }

    /// Takes an event of the history. Returns whether it is a new one.
    pub fn take_past(&mut self, json: &str) -> bool {
        let Ok(event) = serde_json::from_str::<Event>(json) else { return true };
        self.state = state_after(self.state, &event);
        self.is_new(event.id)
    }

    /// Takes an event of the stream, which may have been in the history already. Returns whether it is a new one.
    pub fn take_live(&mut self, json: &str) -> bool {
        let Ok(event) = serde_json::from_str::<Event>(json) else { return true };
        let state = state_after(self.state, &event);
        let is_new = self.is_new(event.id);
        if is_new {
            self.state = state;
        }
        is_new
    }

    fn is_new(&mut self, id: Option<String>) -> bool {
        id.is_none_or(|id| self.seen.insert(id))
    }

    /// Returns the session's state after the last event.
    pub fn state(&self) -> State {
        self.state
    }
}

fn state_after(before: State, event: &Event) -> State {
    match event.kind.as_str() {
        _ if before == State::Over => State::Over,
        "session.status_terminated" | "session.deleted" => State::Over,
        "session.status_idle" => match &event.stop_reason {
            Some(reason) if reason.kind == "requires_action" => State::Active,
            _ => State::Idle,
        },
        // These do not begin a turn.
        "user.tool_confirmation" | "user.interrupt" | "session.thread_status_terminated" => before,
        _ => State::Active,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(id: &str, kind: &str) -> String {
        let (kind, reason) = kind.split_once(' ').unwrap_or((kind, "none"));
        format!(r#"{{"id":"{id}","type":"{kind}","stop_reason":{{"type":"{reason}"}}}}"#)
    }

    #[test]
    fn the_last_events_say_whether_a_turn_has_ended() {
        for (kinds, state) in [
            (&[][..], State::Active),
            (&["session.status_idle end_turn"], State::Idle),
            (&["session.status_idle retries_exhausted"], State::Idle),
            (&["session.status_idle one_that_is_not_known"], State::Idle),
            (&["session.status_idle requires_action"], State::Active),
            (&["session.status_idle end_turn", "user.message"], State::Active),
            (&["session.status_idle end_turn", "user.interrupt"], State::Idle),
            (&["session.status_idle end_turn", "user.tool_confirmation"], State::Idle),
            (&["session.status_idle end_turn", "session.status_running"], State::Active),
            (&["session.status_terminated", "user.message"], State::Over),
            (&["session.deleted"], State::Over),
        ] {
            let (mut past, mut live) = (Follower::default(), Follower::default());
            for (number, kind) in kinds.iter().enumerate() {
                past.take_past(&event(&number.to_string(), kind));
                live.take_live(&event(&number.to_string(), kind));
            }
            assert_eq!((past.state(), live.state()), (state, state), "{kinds:?}");
        }
    }

    #[test]
    fn an_event_that_comes_twice_counts_once() {
        let mut follower = Follower::default();
        assert!(follower.take_past(&event("1", "session.status_idle end_turn")));
        assert!(follower.take_live(&event("2", "user.message")));
        assert!(!follower.take_live(&event("1", "session.status_idle end_turn")));
        assert_eq!(follower.state(), State::Active, "the end of an earlier turn");
        follower.restart();
        assert!(!follower.take_past(&event("1", "session.status_idle end_turn")));
        assert_eq!(follower.state(), State::Idle, "what came after it has yet to be read");
        assert!(!follower.take_past(&event("2", "user.message")));
        assert!(follower.take_past(&event("3", "agent.message")));
        assert_eq!(follower.state(), State::Active);
    }

    #[test]
    fn what_is_not_known_is_passed_on() {
        let mut follower = Follower::default();
        for odd in ["{}", "[]", r#"{"id":7}"#, r#"{"type":"event_delta"}"#] {
            assert!(follower.take_live(odd) && follower.take_live(odd) && follower.take_past(odd), "{odd}");
        }
    }
}
