//! The simulated driver, host and network: does what the machine wants, as `task.rs` does, and checks what the host sees.

use super::*;

impl World {
    /// Applies an event to the machine, and does what it wants, as `task.rs` does: after the host's notes, which do not wake it.
    pub(super) fn apply(&mut self, event: RunnerEvent) {
        for (call, at) in std::mem::take(&mut self.taken) {
            self.step(RunnerEvent::Taken { call, at });
        }
        self.step(event);
    }

    fn step(&mut self, event: RunnerEvent) {
        if self.end.is_some() {
            return;
        }
        self.trace(|| match &event {
            RunnerEvent::HistoryRead(events) => format!("history: {} events", events.len()),
            RunnerEvent::HistoryFailed(events) => format!("history failed after {} events", events.len()),
            event => format!("{event:?}"),
        });
        let jitter = self.rng.f64();
        let actions = self.machine.next(self.now, event, jitter);
        self.trace(|| format!("    {actions:?}"));
        self.perform(actions);
    }

    fn perform(&mut self, actions: Actions) {
        for (call, _) in actions.void {
            self.voided += 1;
            if !self.with_host.remove(&call) {
                self.fail(format!("{call} is void, and the host has not got it"));
            }
        }
        for (call, outcome) in actions.outcomes {
            if !self.awaited.remove(&call) {
                self.fail(format!("{call} has an outcome, and no reply: {outcome:?}"));
            }
            if outcome == Outcome::Posted && self.calls[&call] != Standing::Answered {
                self.fail(format!("{call} counts as posted, and is not"));
            }
        }
        for call in actions.run {
            self.run_call(&call);
        }
        for call in actions.send {
            self.send(call.id.clone());
        }
        let link = self.link;
        if actions.retrieve {
            let is_terminated = self.is_over;
            self.request(link, RunnerEvent::Retrieved { is_terminated });
        }
        if actions.open {
            self.request(link, RunnerEvent::Opened);
        }
        if actions.read_history {
            self.is_reading = true;
            let (history, delay) = (self.history(), self.delay());
            self.after(delay, SimEvent::Machine(link, history));
        }
        self.wakes += 1;
        if let Some(at) = actions.wake_at {
            self.after(at.saturating_sub(self.now), SimEvent::Wake(self.wakes));
        }
        self.end = actions.end;
    }

    fn request(&mut self, link: u64, success: RunnerEvent) {
        let delay = self.delay();
        let event = if self.has_fault(0.5) { RunnerEvent::LinkFailed(LinkFailure::Passing) } else { success };
        self.after(delay, SimEvent::Machine(link, event));
    }

    fn run_call(&mut self, call: &ToolUse) {
        if !self.ran.insert(call.id.clone()) {
            self.fail(format!("{} runs twice", call.id));
        }
        if self.calls[&call.id] == Standing::Held || call.permission == Permission::Deny || self.denied.contains(&call.id) {
            self.fail(format!("{} runs, and is not allowed", call.id));
        }
        let is_done = matches!(self.calls[&call.id], Standing::Answered | Standing::Settled);
        if is_done && self.changed[&call.id] + ON_ITS_WAY < self.now {
            self.fail(format!("{} runs long after it was settled", call.id));
        }
        self.with_host.insert(call.id.clone());
        self.taken.push((call.id.clone(), self.now));
        let delay = ms(self.rng.u64(1..4_000));
        self.after(delay, SimEvent::HostDone(call.id.clone()));
    }

    fn send(&mut self, call: String) {
        self.attempts += 1;
        let attempt = self.attempts;
        if self.in_flight.insert(call.clone(), attempt).is_some() {
            self.fail(format!("{call} is being sent twice at once"));
        }
        if self.has_fault(0.3) {
            let not_sent = SendResult::Failed { may_have_arrived: false, retry_after: None };
            return self.after(ms(1), SimEvent::SendDone(call, attempt, not_sent));
        }
        let timeout = SendResult::Failed { may_have_arrived: true, retry_after: None };
        self.after(s(15), SimEvent::SendDone(call.clone(), attempt, timeout));
        if !self.has_fault(0.3) {
            let delay = self.delay();
            self.after(delay, SimEvent::SendArrives(call, attempt));
        }
    }
}
