//! The simulated service: its agent, its users, and what a request does when it arrives.

use super::*;

impl World {
    /// Records an event of the session, and sends it on the open stream, which may break instead.
    fn emit(&mut self, kind: EventKind) -> String {
        let number = self.log.len();
        let id = match &kind {
            EventKind::ToolUse(call) => call.id.clone(),
            _ => format!("event {number}"),
        };
        let event = Event { id: id.clone(), processed_at: Some(EventTime::at(number as i64)), kind };
        self.trace(|| format!("  session: {event:?}"));
        self.log.push(event.clone());
        if !self.is_open {
            return id;
        }
        let link = self.link;
        if self.has_fault(0.3) {
            let delay = self.delay();
            self.is_open = false;
            self.after(delay, SimEvent::Machine(link, RunnerEvent::LinkFailed(LinkFailure::Passing)));
            return id;
        }
        // In order.
        let arrival = (self.now + self.delay()).max(self.last_arrival);
        self.last_arrival = arrival;
        for _ in 0..1 + usize::from(self.has_fault(0.2)) {
            self.after(arrival - self.now, SimEvent::Arrives(link, event.clone()));
        }
        id
    }

    /// The agent calls tools, or its turn ends.
    pub(super) fn agent_acts(&mut self) {
        if self.is_over {
            return;
        }
        for _ in 0..self.rng.usize(1..4) {
            let number = self.log.len();
            let thread = ["", "", "t", "u"][self.rng.usize(..4)].to_owned();
            if self.ended_threads.contains(&thread) {
                continue;
            }
            let (permission, standing) = match self.rng.usize(..6) {
                0 => (Permission::Ask, Standing::Held),
                1 => (Permission::Deny, Standing::Settled),
                _ => (Permission::Allow, Standing::Open),
            };
            let name = if self.rng.f64() < 0.15 { "app" } else { "ours" };
            let (id, processed_at) = (format!("{name} {number}"), Some(EventTime::at(number as i64)));
            self.set(&id, standing);
            let (name, json) = (name.to_owned(), String::new());
            let call = ToolUse { id, name, is_custom: false, processed_at, thread, permission, json };
            self.emit(EventKind::ToolUse(call));
        }
        self.emit(EventKind::Idle { ends_turn: false });
        self.end_turn();
    }

    /// Ends the turn when no call is open.
    fn end_turn(&mut self) {
        let has_open = self.calls.values().any(|standing| matches!(standing, Standing::Held | Standing::Open));
        if !has_open && !self.is_over {
            self.emit(EventKind::Idle { ends_turn: true });
        }
    }

    fn pick(&mut self, standing: Standing) -> Option<String> {
        let all: Vec<_> = self.calls.iter().filter(|(_, is)| **is == standing).map(|(id, _)| id.clone()).collect();
        (!all.is_empty()).then(|| all[self.rng.usize(..all.len())].clone())
    }

    fn thread_of(&self, id: &str) -> Option<&str> {
        self.log.iter().find_map(|event| match &event.kind {
            EventKind::ToolUse(call) if call.id == id => Some(call.thread.as_str()),
            _ => None,
        })
    }

    /// A user or another client does something.
    pub(super) fn user_acts(&mut self) {
        if self.is_over {
            return;
        }
        match self.rng.usize(..12) {
            0 => {
                for id in self.calls.keys().cloned().collect::<Vec<_>>() {
                    if matches!(self.calls[&id], Standing::Held | Standing::Open) {
                        self.set(&id, Standing::Settled);
                    }
                }
                self.emit(EventKind::Interrupt { is_session_wide: true });
            }
            1 => {
                let thread = ["t", "u"][self.rng.usize(..2)];
                self.ended_threads.insert(thread.to_owned());
                let its: Vec<_> = self.calls.keys().filter(|id| self.thread_of(id) == Some(thread)).cloned().collect();
                for id in its {
                    if matches!(self.calls[&id], Standing::Held | Standing::Open) {
                        self.set(&id, Standing::Settled);
                    }
                }
                self.emit(EventKind::ThreadTerminated(thread.to_owned()));
            }
            2 if self.rng.bool() => {
                self.is_over = true;
                self.emit(EventKind::Terminated);
            }
            3..5 => {
                if let Some(id) = self.pick(Standing::Open) {
                    self.answer(id);
                }
            }
            _ => self.decide(),
        }
        self.end_turn();
    }

    /// Allows or denies a call that is held.
    pub(super) fn decide(&mut self) {
        let Some(call) = self.pick(Standing::Held) else { return };
        let is_allowed = self.rng.bool();
        self.set(&call, if is_allowed { Standing::Open } else { Standing::Settled });
        if !is_allowed {
            self.denied.insert(call.clone());
        }
        self.emit(EventKind::Confirmation { call, is_allowed });
    }

    fn answer(&mut self, id: String) {
        self.set(&id, Standing::Answered);
        self.emit(EventKind::Result(id));
    }

    /// Decides about all calls that are held, and answers those that are not the runner's.
    pub(super) fn settle(&mut self) {
        while self.pick(Standing::Held).is_some() {
            self.decide();
        }
        for id in self.calls.keys().cloned().collect::<Vec<_>>() {
            if self.calls[&id] == Standing::Open && (id.starts_with("app") || self.let_go.contains(&id)) {
                self.answer(id);
            }
        }
        self.end_turn();
    }

    /// A result arrives.
    pub(super) fn on_result(&mut self, id: String, attempt: u64) {
        if self.has_fault(0.3) {
            return self.respond(id, attempt, SendResult::Failed { may_have_arrived: true, retry_after: None });
        }
        if self.calls.get(&id) != Some(&Standing::Open) || self.is_over {
            return self.respond(id, attempt, SendResult::Refused);
        }
        if !self.ran.contains(&id) {
            self.fail(format!("{id} was answered, and did not run"));
        }
        self.answered_by_us += 1;
        self.answer(id.clone());
        self.end_turn();
        self.respond(id, attempt, SendResult::Done);
    }

    fn respond(&mut self, id: String, attempt: u64, result: SendResult) {
        // The request ends by its timeout, if the response is lost.
        if !self.has_fault(0.4) {
            let delay = self.delay();
            self.after(delay, SimEvent::SendDone(id, attempt, result));
        }
    }

    /// Returns what a reading of the history gives.
    pub(super) fn history(&mut self) -> RunnerEvent {
        if self.flaw == Flaw::DropsHistory {
            return RunnerEvent::HistoryRead(Vec::new());
        }
        if !self.has_fault(0.6) {
            return RunnerEvent::HistoryRead(self.log.clone());
        }
        let end = self.rng.usize(..=self.log.len());
        let events = self.log[..end].to_vec();
        match self.flaw {
            Flaw::TrustsPartialHistory => RunnerEvent::HistoryRead(events),
            _ => RunnerEvent::HistoryFailed(events),
        }
    }
}
