//! The simulated service and network: what a request does when it arrives, and when its response does.

use super::*;

impl World {
    pub(super) fn expire_leases(&mut self) {
        for item in &mut self.items {
            if self.now <= item.expires {
                continue;
            }
            match item.state {
                State::Active => *item = Item { is_finished: item.is_finished, ..Item::default() },
                State::Stopping if item.last_heartbeat.is_some() => item.state = State::Stopped,
                _ => {}
            }
        }
    }

    pub(super) fn claim(&mut self) -> Option<usize> {
        let now = self.now;
        let is_free = |item: &Item| item.state == State::Queued && item.claimed.is_none_or(|at| at + RECLAIM <= now);
        let found = self.items.iter().position(is_free)?;
        self.items[found].claimed = Some(now);
        Some(found)
    }

    pub(super) fn on_request(&mut self, call: Call, may_double: bool) {
        if may_double && self.has_fault(0.2) {
            let delay = ms(self.rng.u64(..500));
            self.after(delay, SimEvent::RequestArrives(call.clone(), false));
        }
        if matches!(call.operation, Operation::Ack) && self.settled_calls.contains(&call.id) {
            return;
        }
        if self.has_fault(0.3) {
            // The server fails before it has carried out anything, or a gateway blocks the request.
            return self.reply(call, Reply::Failed(true));
        }
        if !matches!(call.operation, Operation::Poll) && self.has_fault(0.2) {
            return self.reply(call, Reply::Rejected);
        }
        let (now, ttl) = (self.now, self.ttl);
        let holder = (call.process, call.generation, call.job);
        let item = &mut self.items[call.item];
        let reply = match &call.operation {
            Operation::Poll => {
                let found = self.claim();
                if found.is_none() {
                    return self.after(ms(999), SimEvent::PollEnds(call));
                }
                Reply::Claimed(found)
            }
            Operation::Ack => match item.state {
                State::Queued => {
                    item.state = State::Starting;
                    item.acknowledged = now;
                    item.claimed = None;
                    Reply::Accepted
                }
                State::Starting => Reply::Accepted,
                _ => Reply::Conflict,
            },
            Operation::Heartbeat(expected) => {
                let known = item.last_heartbeat.map(|heartbeat| heartbeat.to_string());
                let result = match item.state {
                    State::Stopping | State::Stopped => HeartbeatResult::Accepted {
                        last_heartbeat: known.unwrap_or_default(),
                        extended: false,
                        state: item.state.name().into(),
                        ttl,
                    },
                    State::Starting | State::Active if *expected == known => {
                        self.heartbeats += 1;
                        item.last_heartbeat = Some(self.heartbeats);
                        item.leased_by = Some(holder);
                        item.expires = now + ttl;
                        item.state = State::Active;
                        HeartbeatResult::Accepted {
                            last_heartbeat: self.heartbeats.to_string(),
                            extended: true,
                            state: "active".into(),
                            ttl,
                        }
                    }
                    _ => HeartbeatResult::PreconditionFailed {
                        current: Some((item.state.name().into(), known)),
                        may_have_arrived: false,
                    },
                };
                Reply::Heartbeat(result)
            }
            Operation::Stop if item.state == State::Stopped => Reply::Conflict,
            Operation::Stop => {
                let (was, leased_by) = (item.state, item.leased_by);
                item.state = State::Stopped;
                let (stopped, job) = (call.item, call.job);
                // A lease that a rescue started has no holder.
                let is_other_holders = leased_by.is_some_and(|leased_by| leased_by != holder && leased_by.2 != RESCUE);
                if was == State::Active && is_other_holders {
                    self.fail(format!("item {stopped} was stopped by {holder:?} under the lease of {leased_by:?}"));
                }
                if was != State::Stopping && leased_by.is_none() {
                    self.fail(format!("item {stopped} was stopped by {holder:?}, and no worker has served it"));
                }
                let others = |process: &Process| {
                    let mut jobs = process.jobs.iter();
                    jobs.any(|(key, other)| *key != job && other.item == stopped && other.is_served && !process.paused)
                };
                if self.processes.iter().any(others) {
                    self.fail(format!("item {stopped} was stopped while its holder worked on it"));
                }
                Reply::Accepted
            }
        };
        self.trace(|| {
            format!("  {:?} of item {} by process {} (job {}): {reply:?}", call.operation, call.item, call.process, call.job)
        });
        // Carried out, but the response is lost or garbled on its way.
        let reply = if self.has_fault(0.3) { Reply::Failed(true) } else { reply };
        self.reply(call, reply);
    }

    pub(super) fn reply(&mut self, call: Call, reply: Reply) {
        if self.has_fault(0.5) {
            return;
        }
        let delay = self.delay(&call.operation);
        self.after(delay, SimEvent::ResponseArrives(call, reply));
    }

    pub(super) fn delay(&mut self, operation: &Operation) -> Duration {
        match operation {
            _ if !self.has_fault(1.0) => ms(self.rng.u64(1..60)),
            // Both ways together take less than the margin of the shortest lease.
            Operation::Stop => ms(self.rng.u64(..450)),
            _ => ms(self.rng.u64(..9_000)),
        }
    }
}
