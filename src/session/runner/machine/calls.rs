//! Calls: which of them run, and when; what voids them; how their results reach the session.

use super::idle::Idle;
use super::{RESEND, RunnerMachine};
use crate::runtime::clock::ClockTime;
use crate::session::event::{Permission, ToolUse};
use crate::session::runner::words::{Outcome, SendResult, VoidReason};
use crate::session::time::EventTime;
use std::sync::Arc;
use std::time::Duration;

/// A call that is not settled.
#[derive(Debug, Clone)]
pub(super) struct Call {
    event: Arc<ToolUse>,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum State {
    /// It has just come.
    Routed,
    /// A user has to allow it.
    Held,
    /// It may run.
    Waiting,
    /// It was handed out. Its time, if it has a limit, is up at `until`, or later while it is not known to be taken.
    Running { until: Option<ClockTime>, is_taken: bool },
    /// Its result has to reach the session.
    Sending(Sending),
    /// It is left to other clients.
    Foreign,
}

/// A result on its way.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Sending {
    schedule: Schedule,
    /// Until when it is tried before the host gets an outcome.
    until: ClockTime,
    window: Duration,
    failures: u32,
    /// Whether the session may have it.
    may_have_arrived: bool,
    /// Whether the session has a result, while an attempt is in flight: its response says whose that is.
    is_answered: bool,
    /// Whether the host waits for the outcome.
    is_awaited: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Schedule {
    Due(ClockTime),
    InFlight,
    /// Until the next history.
    Parked,
}

/// Where a call goes.
enum Route {
    Hold,
    Run,
    Deny,
}

impl State {
    /// Returns the state of a call whose time runs from `from`, or later if it is not taken.
    fn running(from: ClockTime, timeout: Option<Duration>, is_taken: bool) -> State {
        State::Running { until: timeout.map(|timeout| from.saturating_add(timeout)), is_taken }
    }
}

impl Call {
    /// Returns whether it takes one of the slots for calls that run at once. A call does until its result is with the session, so that the
    /// results of a thread keep their order.
    fn occupies_slot(&self) -> bool {
        match &self.state {
            State::Running { .. } => true,
            State::Sending(sending) => sending.schedule != Schedule::Parked,
            _ => false,
        }
    }
}

impl RunnerMachine {
    /// Adds a call that has just come, unless it is known.
    pub(super) fn add(&mut self, event: ToolUse) {
        if !self.settled.contains(&event.id) && !self.calls.iter().any(|call| call.event.id == event.id) {
            self.calls.push(Call { event: Arc::new(event), state: State::Routed });
        }
    }

    /// Routes the calls that have just come, and those that are held: a verdict may have come.
    pub(super) fn route_all(&mut self, now: ClockTime) {
        for index in (0..self.calls.len()).rev() {
            let was = self.calls[index].state;
            if !matches!(was, State::Routed | State::Held) {
                continue;
            }
            if let Some(reason) = self.void_reason(&self.calls[index].event) {
                self.settle(now, index, reason);
                continue;
            }
            let call = &self.calls[index].event;
            let (is_ours, is_denied) = (self.config.served_by(call).is_some(), call.permission == Permission::Deny);
            let route = match self.verdicts.get(&call.id) {
                _ if is_denied => Route::Deny,
                None if call.permission == Permission::Allow => Route::Run,
                None => Route::Hold,
                Some(true) => Route::Run,
                Some(false) => Route::Deny,
            };
            match route {
                Route::Hold => self.calls[index].state = State::Held,
                Route::Run if is_ours => self.calls[index].state = State::Waiting,
                Route::Run => {
                    self.calls[index].state = State::Foreign;
                    // Another client has to answer it first.
                    self.idle = Idle::Off;
                }
                Route::Deny => {
                    self.actions.denied += 1;
                    self.remove(now, index, false);
                }
            }
        }
    }

    /// Returns why a call is void, as far as its thread and interrupts say so.
    fn void_reason(&self, call: &ToolUse) -> Option<VoidReason> {
        if self.ended_threads.contains(&call.thread) {
            return Some(VoidReason::ThreadTerminated);
        }
        let is_interrupted =
            call.processed_at.zip(self.interrupted_at).is_some_and(|(called, interrupted)| called <= interrupted);
        is_interrupted.then_some(VoidReason::Interrupted)
    }

    pub(super) fn on_thread_ended(&mut self, now: ClockTime, thread: String) {
        self.ended_threads.insert(thread);
        self.void_all(now);
    }

    /// Applies an interrupt. One that is still queued has no effect yet.
    pub(super) fn on_interrupt(&mut self, now: ClockTime, at: Option<EventTime>) {
        if at > self.interrupted_at {
            self.interrupted_at = at;
            self.void_all(now);
        }
    }

    fn void_all(&mut self, now: ClockTime) {
        for index in (0..self.calls.len()).rev() {
            if let Some(reason) = self.void_reason(&self.calls[index].event) {
                self.settle(now, index, reason);
            }
        }
    }

    /// Applies a result that the session has.
    pub(super) fn on_answered(&mut self, now: ClockTime, id: String) {
        let Some(index) = self.position(&id) else {
            self.verdicts.remove(&id);
            self.settled.insert(id);
            return;
        };
        match &mut self.calls[index].state {
            State::Sending(sending) if sending.schedule == Schedule::InFlight => sending.is_answered = true,
            _ => self.settle(now, index, VoidReason::Answered),
        }
    }

    /// Settles a call that needs no result any more, and notifies the host.
    fn settle(&mut self, now: ClockTime, index: usize, reason: VoidReason) {
        let call = &self.calls[index];
        let id = call.event.id.clone();
        match call.state {
            State::Running { .. } => self.actions.void.push((id, reason)),
            State::Sending(sending) if sending.is_awaited => {
                // A result that was sent, and whose response was lost, is our own.
                let is_own = sending.is_answered || reason == VoidReason::Answered && sending.may_have_arrived;
                self.actions.outcomes.push((id, if is_own { Outcome::Posted } else { Outcome::Void(reason) }));
            }
            _ => {}
        }
        self.remove(now, index, reason == VoidReason::ThreadTerminated);
    }

    fn remove(&mut self, now: ClockTime, index: usize, is_dead: bool) {
        let call = self.calls.remove(index);
        self.verdicts.remove(&call.event.id);
        self.settled.insert(call.event.id.clone());
        self.actions.settled.push(call.event.id.clone());
        self.on_call_settled(now, is_dead);
    }

    /// Voids all calls, because the session is over.
    pub(super) fn drop_calls(&mut self) {
        for call in std::mem::take(&mut self.calls) {
            let id = call.event.id.clone();
            match call.state {
                State::Running { .. } => self.actions.void.push((id, VoidReason::SessionEnded)),
                State::Sending(sending) if sending.is_awaited => {
                    // A session that has a result for it has this one, as a rule.
                    let void = Outcome::Void(VoidReason::SessionEnded);
                    self.actions.outcomes.push((id, if sending.is_answered { Outcome::Posted } else { void }));
                }
                _ => {}
            }
        }
    }

    pub(super) fn on_taken(&mut self, at: ClockTime, id: &str) {
        if let Some(index) = self.position(id)
            && let State::Running { is_taken: false, .. } = self.calls[index].state
        {
            self.calls[index].state = State::running(at, self.config.tool_timeout, true);
        }
    }

    pub(super) fn on_replied(&mut self, now: ClockTime, id: &str, window: Duration) {
        if let Some(index) = self.position(id)
            && matches!(self.calls[index].state, State::Running { .. })
        {
            self.calls[index].state = State::Sending(Sending::new(now, window, true));
        }
    }

    /// Leaves a call to other clients. It is not handed out again.
    pub(super) fn on_let_go(&mut self, id: &str) {
        if let Some(index) = self.position(id)
            && matches!(self.calls[index].state, State::Running { .. })
        {
            self.calls[index].state = State::Foreign;
            self.idle = Idle::Off;
        }
    }

    pub(super) fn on_sent(&mut self, now: ClockTime, id: &str, result: SendResult, jitter: f64) {
        let Some(index) = self.position(id) else { return };
        let State::Sending(sending) = &mut self.calls[index].state else { return };
        if let SendResult::Failed { may_have_arrived: true, .. } = result {
            sending.may_have_arrived = true;
        }
        if result != SendResult::Done && std::mem::take(&mut sending.is_answered) {
            return self.settle(now, index, VoidReason::Answered);
        }
        match result {
            SendResult::Done => {
                let is_awaited = sending.is_awaited;
                self.refusals = 0;
                if is_awaited {
                    self.actions.outcomes.push((id.to_owned(), Outcome::Posted));
                }
                self.remove(now, index, false);
            }
            SendResult::Refused => {
                // If an earlier attempt may have arrived, the history says whether it did.
                let is_reported = !sending.may_have_arrived;
                self.park(now, index, is_reported, jitter);
            }
            SendResult::Failed { retry_after, .. } => {
                let again = now + retry_after.unwrap_or_else(|| RESEND.pause(sending.failures, jitter)).min(RESEND.max);
                sending.failures += 1;
                sending.schedule = Schedule::Due(again);
                if again >= sending.until {
                    self.park(now, index, true, jitter);
                }
            }
        }
    }

    /// Keeps a result until the next history. `is_reported`: the host gets the outcome now.
    fn park(&mut self, now: ClockTime, index: usize, is_reported: bool, jitter: f64) {
        let Call { event, state } = &mut self.calls[index];
        let State::Sending(sending) = state else { return };
        sending.schedule = Schedule::Parked;
        if is_reported && std::mem::take(&mut sending.is_awaited) {
            self.actions.outcomes.push((event.id.clone(), Outcome::Parked));
        }
        self.recheck(now, jitter);
        // The server may have settled the call: the countdown does not wait for it.
        self.on_call_settled(now, false);
    }

    /// Sends what was kept for the history, which shows that it is still wanted.
    pub(super) fn resume_parked(&mut self, now: ClockTime) {
        let mut is_any = false;
        for call in &mut self.calls {
            if let State::Sending(sending) = &mut call.state
                && sending.schedule == Schedule::Parked
            {
                // The history shows that it did not arrive.
                *sending = Sending::new(now, sending.window, sending.is_awaited);
                is_any = true;
            }
        }
        if !is_any {
            self.refusals = 0;
        }
    }

    /// Ends the calls whose time is up: they are answered with an error.
    pub(super) fn expire_calls(&mut self, now: ClockTime) {
        for call in &mut self.calls {
            match call.state {
                State::Running { until: Some(until), is_taken } if until <= now => {
                    if !is_taken {
                        call.state = State::running(now, self.config.tool_timeout, false);
                        continue;
                    }
                    self.actions.void.push((call.event.id.clone(), VoidReason::TimedOut));
                    self.actions.timed_out.push(call.event.clone());
                    let window = self.config.tool_timeout.unwrap_or_default();
                    call.state = State::Sending(Sending::new(now, window, false));
                }
                _ => {}
            }
        }
    }

    /// Hands out the calls that may run, and sends the results that are due.
    pub(super) fn start_calls(&mut self, now: ClockTime) {
        for index in 0..self.calls.len() {
            if let State::Sending(sending) = &mut self.calls[index].state
                && matches!(sending.schedule, Schedule::Due(due) if due <= now)
            {
                sending.schedule = Schedule::InFlight;
                self.actions.send.push(self.calls[index].event.clone());
            }
            if self.calls[index].state == State::Waiting && self.is_current && self.has_slot(&self.calls[index].event.thread) {
                self.calls[index].state = State::running(now, self.config.tool_timeout, false);
                self.actions.run.push(self.calls[index].event.clone());
            }
        }
    }

    fn has_slot(&self, thread: &str) -> bool {
        let mut running = self.calls.iter().filter(|call| call.occupies_slot());
        let count = running.clone().count();
        count < self.config.concurrency && !running.any(|call| call.event.thread == thread)
    }

    /// Returns whether calls are held, or ours and unfinished.
    pub(super) fn has_unfinished_calls(&self) -> bool {
        self.calls.iter().any(|call| match &call.state {
            State::Foreign => false,
            State::Sending(sending) => sending.schedule != Schedule::Parked,
            _ => true,
        })
    }

    pub(super) fn has_foreign_calls(&self) -> bool {
        self.calls.iter().any(|call| call.state == State::Foreign)
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.calls.iter().position(|call| call.event.id == id)
    }

    /// Returns when a call's time is up, or a result is due.
    pub(super) fn calls_wake(&self) -> Option<ClockTime> {
        let due = self.calls.iter().filter_map(|call| match call.state {
            State::Running { until, .. } => until,
            State::Sending(Sending { schedule: Schedule::Due(due), .. }) => Some(due),
            _ => None,
        });
        due.min()
    }
}

impl Sending {
    fn new(now: ClockTime, window: Duration, is_awaited: bool) -> Sending {
        let (schedule, until) = (Schedule::Due(now), now.saturating_add(window));
        Sending { schedule, until, window, failures: 0, may_have_arrived: false, is_answered: false, is_awaited }
    }
}
