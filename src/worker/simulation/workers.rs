//! The simulated workers: drive the state machines as `supervisor` and `lease::task` do, and check what the holders see.

use super::*;

impl World {
    pub(super) fn send(&mut self, process: usize, job: u64, item: usize, operation: Operation, timeout: Duration) {
        self.calls += 1;
        let generation = self.processes[process].generation;
        let call = Call { id: self.calls, process, generation, job, item, operation, sent: self.local_time(process) };
        self.trace(|| format!("process {process} (job {job}) sends {:?} for item {item}", call.operation));
        if self.has_fault(0.2) {
            // No connection.
            return self.after(ms(1), SimEvent::ResponseArrives(call, Reply::Failed(false)));
        }
        self.after(timeout, SimEvent::ResponseArrives(call.clone(), Reply::Failed(true)));
        if !self.has_fault(0.5) {
            let delay = self.delay(&call.operation);
            self.after(delay, SimEvent::RequestArrives(call, true));
        }
    }

    pub(super) fn poll(&mut self, process: usize) {
        let now = self.local_time(process);
        let worker = &self.processes[process];
        let demand = worker.concurrency.saturating_sub(worker.jobs.len() + worker.polls);
        match worker.poller.next(now, demand, worker.polls) {
            PollAction::Poll => {
                self.processes[process].polls += 1;
                self.send(process, 0, 0, Operation::Poll, s(11));
                self.poll(process);
            }
            PollAction::Wait(Some(at)) => {
                let (delay, generation) = (self.delay_until(process, at), worker.generation);
                self.after(delay, SimEvent::Timer { process, generation, job: 0 });
            }
            PollAction::Wait(None) | PollAction::Drained => {}
        }
    }

    pub(super) fn on_response(&mut self, call: Call, reply: Reply) {
        let (process, now, jitter) = (call.process, self.local_time(call.process), self.rng.f64());
        match (&call.operation, reply) {
            (Operation::Poll, reply) => {
                let worker = &mut self.processes[process];
                worker.polls -= 1;
                let outcome = match reply {
                    Reply::Claimed(Some(_)) => PollResult::Item,
                    Reply::Claimed(None) => PollResult::Empty,
                    _ => PollResult::Failed { retry_after: None },
                };
                worker.poller.on_poll_result(now, call.sent, outcome, jitter);
                if let Reply::Claimed(Some(item)) = reply {
                    self.jobs += 1;
                    let claim = Claim::new(call.sent, RECLAIM);
                    let timeout = claim.timeout(now);
                    let job = Job { item, polled: call.sent, claim, is_acknowledging: true, lease: None, is_served: false };
                    self.processes[process].jobs.insert(self.jobs, job);
                    self.send(process, self.jobs, item, Operation::Ack, timeout);
                }
                self.poll(process);
            }
            (Operation::Ack, reply) => {
                let Some(job) = self.processes[process].jobs.get_mut(&call.job) else { return };
                let outcome = match reply {
                    Reply::Accepted => AckResult::Done,
                    Reply::Failed(may_have_arrived) => AckResult::Failed { may_have_arrived, retry_after: None },
                    Reply::Conflict => AckResult::Conflict,
                    _ => AckResult::Rejected,
                };
                let is_rejected = outcome == AckResult::Rejected;
                job.is_acknowledging = false;
                let action = job.claim.on_result(now, outcome, jitter);
                let polled = job.polled;
                match action {
                    ClaimAction::Hold { is_late } if self.processes[process].claims_only => {
                        if is_late {
                            return self.drop_job(process, call.job);
                        }
                        let job = self.processes[process].jobs.get_mut(&call.job).expect("it is the one above");
                        job.lease = Some(LeaseMachine::claim_only(polled + s(30)));
                        self.step(process, call.job, LeaseEvent::Tick);
                    }
                    ClaimAction::Hold { is_late } => {
                        let job = self.processes[process].jobs.get_mut(&call.job).expect("it is the one above");
                        job.lease = Some(LeaseMachine::new(now, job.polled, is_late));
                        self.step(process, call.job, LeaseEvent::Tick);
                    }
                    ClaimAction::Retry(at) => {
                        let (delay, generation) = (self.delay_until(process, at), call.generation);
                        self.after(delay, SimEvent::Timer { process, generation, job: call.job });
                    }
                    ClaimAction::Leave => {
                        self.drop_job(process, call.job);
                        if is_rejected {
                            self.on_rejection(process);
                        }
                    }
                }
            }
            (Operation::Heartbeat(_), reply) => {
                let outcome = match reply {
                    Reply::Heartbeat(result) => result,
                    Reply::Failed(may_have_arrived) => HeartbeatResult::Failed { may_have_arrived, retry_after: None },
                    _ => HeartbeatResult::Rejected,
                };
                self.step(process, call.job, LeaseEvent::HeartbeatDone { sent: call.sent, result: outcome, jitter });
            }
            (Operation::Stop, reply) => {
                let outcome = match reply {
                    Reply::Accepted | Reply::Conflict => StopResult::Done,
                    Reply::Rejected => StopResult::Rejected,
                    _ => StopResult::Failed,
                };
                self.step(process, call.job, LeaseEvent::StopDone { result: outcome, jitter });
            }
        }
    }

    /// Applies an event to a job, and does what its state machine wants.
    pub(super) fn step(&mut self, process: usize, key: u64, event: LeaseEvent) {
        let now = self.local_time(process);
        let Some(job) = self.processes[process].jobs.get_mut(&key) else { return };
        let item = job.item;
        let Some(lease) = &mut job.lease else {
            // The pause before the next acknowledgement is over.
            let timeout = job.claim.timeout(now);
            if !std::mem::replace(&mut job.is_acknowledging, true) {
                self.send(process, key, item, Operation::Ack, timeout);
            }
            return;
        };
        let before = lease.state();
        let actions = lease.next(now, event);
        let after = lease.state();
        let (is_claim_only, is_adopted) = (lease.is_claim_only(), lease.is_adopted());
        let last_heartbeat = lease.last_heartbeat().map(str::to_owned);
        let generation = self.processes[process].generation;
        if before != after {
            self.trace(|| format!("process {process} (job {key}) has item {item} {after:?}"));
            self.on_state_change(process, key, item, before, after, is_adopted);
        }
        if let Some(heartbeat) = actions.heartbeat {
            self.send(process, key, item, Operation::Heartbeat(heartbeat.expected), heartbeat.timeout);
        }
        if let Some(timeout) = actions.stop {
            self.send(process, key, item, Operation::Stop, timeout);
        }
        if let Some(at) = actions.wake_at {
            let delay = self.delay_until(process, at);
            self.after(delay, SimEvent::Timer { process, generation, job: key });
        }
        if actions.end == Some(LeaseEnd::Unconfirmed) {
            let job = self.processes[process].jobs.get_mut(&key).expect("it is the one above");
            (job.claim, job.lease) = (Claim::late(), None);
            return self.step(process, key, LeaseEvent::Tick);
        }
        if let Some(over) = actions.end {
            self.items[item].is_finished |= over == LeaseEnd::Stopped;
            self.drop_job(process, key);
            match over {
                LeaseEnd::Released => self.hand_over(item, last_heartbeat),
                LeaseEnd::Abandoned if is_claim_only => self.send(process, RESCUE, item, Operation::Heartbeat(None), s(10)),
                _ => {}
            }
            if over == LeaseEnd::Rejected && !is_adopted {
                self.on_rejection(process);
            }
        }
    }

    /// Counts a permanent refusal. After too many the worker ends, and is started again.
    pub(super) fn on_rejection(&mut self, process: usize) {
        let worker = &mut self.processes[process];
        worker.rejections += 1;
        if worker.rejections >= MAX_REJECTIONS {
            self.kill(process);
        }
    }

    pub(super) fn on_state_change(
        &mut self,
        process: usize,
        key: u64,
        item: usize,
        before: LeaseState,
        after: LeaseState,
        is_adopted: bool,
    ) {
        let generation = self.processes[process].generation;
        let mut set = |is_served| {
            if let Some(job) = self.processes[process].jobs.get_mut(&key) {
                job.is_served = is_served;
            }
        };
        match after {
            LeaseState::Held if before == LeaseState::Unconfirmed => {
                set(true);
                self.processes[process].rejections = 0;
                self.adopted += u64::from(is_adopted);
                let work = ms(self.rng.u64(..self.ttl.as_millis() as u64 * 2));
                self.after(work, SimEvent::HolderDone { process, generation, job: key });
                if self.rng.f64() < 0.4 {
                    let work = ms(self.rng.u64(..self.ttl.as_millis() as u64));
                    self.after(work, SimEvent::HolderReleases { process, generation, job: key });
                }
                self.check_only_holder(process, key, item);
            }
            LeaseState::Claimed => {
                self.processes[process].rejections = 0;
                // Some are too slow.
                let longest = if self.rng.f64() < 0.1 { 40_000 } else { 5_000 };
                let rest = ms(self.rng.u64(..longest));
                self.after(rest, SimEvent::HolderReleases { process, generation, job: key });
            }
            LeaseState::Lost(_) => {
                set(self.ignores_loss);
                let rest = if self.ignores_loss { s(30) } else { s(0) };
                self.after(rest, SimEvent::HolderDone { process, generation, job: key });
            }
            LeaseState::StopRequested(_) if before == LeaseState::Held => {
                let longest = if self.rng.bool() { 2_000 } else { self.ttl.as_millis() as u64 * 3 };
                let tidying = ms(self.rng.u64(..longest));
                self.after(tidying, SimEvent::HolderDone { process, generation, job: key });
            }
            _ => {}
        }
    }

    fn check_only_holder(&mut self, process: usize, key: u64, item: usize) {
        let others = |(number, other): (usize, &Process)| {
            let is_other = |(job_key, job): (&u64, &Job)| {
                (number, *job_key) != (process, key) && job.item == item && job.is_served && !other.paused
            };
            other.jobs.iter().any(is_other)
        };
        if self.processes.iter().enumerate().any(others) {
            self.fail(format!("item {item} has a second holder, process {process}, before the first was notified"));
        }
    }

    /// The holder has finished its work, or was notified to drop it.
    pub(super) fn on_holder_done(&mut self, process: usize, key: u64) {
        if let Some(job) = self.processes[process].jobs.get_mut(&key)
            && !job.lease.as_ref().is_some_and(LeaseMachine::is_releasing)
        {
            job.is_served = false;
            self.step(process, key, LeaseEvent::Finish { timeout: STOP_TIMEOUT });
        }
    }

    /// The holder stops working, and hands the item over. A few of those that were only claimed are abandoned.
    pub(super) fn on_holder_releases(&mut self, process: usize, key: u64) {
        let is_abandoned = self.rng.f64() < 0.1;
        let Some(job) = self.processes[process].jobs.get_mut(&key) else { return };
        let is_claimed = job.lease.as_ref().is_some_and(|lease| lease.state() == LeaseState::Claimed);
        if std::mem::take(&mut job.is_served) || is_claimed {
            let event = if is_claimed && is_abandoned { LeaseEvent::Abandon } else { LeaseEvent::Release };
            self.step(process, key, event);
        }
    }

    /// Gives a released item to another process: sometimes to none, and sometimes to two.
    fn hand_over(&mut self, item: usize, last_heartbeat: Option<String>) {
        let receivers = if self.has_fault(0.5) { 0 } else { 1 + usize::from(self.has_fault(1.0)) };
        for _ in 0..receivers {
            let process = self.rng.usize(..self.processes.len());
            let delay = ms(self.rng.u64(..if last_heartbeat.is_some() { 3_000 } else { 20_000 }));
            let until = if last_heartbeat.is_some() { ClockTime::MAX } else { self.now + s(20) };
            self.after(delay, SimEvent::Adopt { process, item, last_heartbeat: last_heartbeat.clone(), until });
        }
    }

    pub(super) fn adopt(&mut self, process: usize, item: usize, last_heartbeat: Option<String>) {
        let now = self.local_time(process);
        self.jobs += 1;
        let lease = Some(LeaseMachine::adopted(now, last_heartbeat));
        let is_served = self.trusts_handovers;
        let job = Job { item, polled: now, claim: Claim::late(), is_acknowledging: false, lease, is_served };
        self.processes[process].jobs.insert(self.jobs, job);
        if is_served {
            self.check_only_holder(process, self.jobs, item);
        }
        self.step(process, self.jobs, LeaseEvent::Tick);
    }

    pub(super) fn drop_job(&mut self, process: usize, key: u64) {
        self.processes[process].jobs.remove(&key);
        self.poll(process);
    }

    pub(super) fn scan(&mut self, process: usize, generation: u32) {
        let (now, mut orphans) = (self.local_time(process), Vec::new());
        for (number, item) in self.items.iter().enumerate() {
            if item.state == State::Starting && item.last_heartbeat.is_none() {
                orphans.push(Orphan { id: number.to_string(), acknowledged: format!("{:?}", item.acknowledged) });
            }
        }
        for item in self.processes[process].scanner.observe(now, orphans, s(60)) {
            self.send(process, RESCUE, item.id.parse().expect("a number"), Operation::Heartbeat(None), s(10));
        }
        let pause = s(60).mul_f64(0.75 + self.rng.f64() / 2.0);
        self.after(pause, SimEvent::Scan { process, generation });
    }

    pub(super) fn resume(&mut self, process: usize) {
        let worker = &mut self.processes[process];
        if !std::mem::replace(&mut worker.paused, false) {
            return;
        }
        let mut backlog = std::mem::take(&mut worker.backlog);
        self.trace(|| format!("process {process} resumes"));
        self.rng.shuffle(&mut backlog);
        for event in backlog {
            self.handle(event);
        }
        let serves: Vec<usize> = self.processes[process].jobs.values().filter(|job| job.is_served).map(|job| job.item).collect();
        for item in serves {
            let running = self.processes.iter().filter(|worker| !worker.paused);
            let holders = running.flat_map(|worker| worker.jobs.values()).filter(|job| job.item == item && job.is_served);
            if holders.count() > 1 {
                self.fail(format!("process {process} resumes with item {item}, which has another holder"));
            }
        }
    }

    pub(super) fn kill(&mut self, process: usize) {
        self.trace(|| format!("process {process} is killed"));
        let generation = self.processes[process].generation + 1;
        self.processes[process] = self.process(generation);
        let rest = ms(self.rng.u64(..5_000));
        self.after(rest, SimEvent::Timer { process, generation, job: 0 });
        self.after(rest, SimEvent::Scan { process, generation });
    }
}
