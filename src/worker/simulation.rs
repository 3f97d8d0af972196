//! Many workers and a queue in a world where everything goes wrong: the state machines as they are, a model of the service, and a
//! made-up network and time, all decided by a seed.
//!
//! Requests and replies are lost, delayed, doubled, or answered with a failure after they were done, by the service or by a gateway.
//! The service refuses for good what it should not. Clocks differ and run at different speeds. Processes are stopped for longer than
//! a lease lasts, go on, and are killed. Holders that are asked to stop take their time, also for longer than their lease lasts. Then
//! the faults end, and all must come right:
//!
//! - No item is served by two holders at once, but for one whose process is stopped; and that one, when it goes on, is told before
//!   it does anything else.
//! - No holder's item is stopped by somebody else: no request to stop an item reaches the service under another's lease.
//! - No item is stopped that nobody has served, unless its owner wants that.
//! - Every item is finished in the end, also one whose worker was killed between acknowledgement and first heartbeat. (But for one whose
//!   owner asked for its stop just then. The owner can force that.)
//!
//! What no client can prevent is left out as well: a request to stop an item that travels for longer than the margin of a lease, and
//! a request to acknowledge one that is done after its sender has given up waiting for it.

use super::claim::{self, Acknowledged, Claim, RECLAIM};
use super::lease::machine::{Beaten, Event as LeaseEvent, Lease, Over, STOP_PATIENCE, Standing, Stopped};
use super::poller::{Manner, Next, Polled, Poller};
use super::rescue::{Left, Lookout};
use super::shared::MAX_REFUSED;
use crate::runtime::clock::ClockTime;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::time::Duration;

const SEEDS: u64 = 20_000;

#[test]
fn whatever_goes_wrong_no_item_is_served_twice_or_forgotten() {
    let mut served = 0;
    for seed in 0..SEEDS {
        let mut world = World::new(seed, false);
        match world.run() {
            Ok(finished) => served += finished,
            Err(problem) => {
                let mut again = World::new(seed, true);
                let _ = again.run();
                panic!("seed {seed}: {problem}\nits schedule:\n{}", again.schedule.join("\n"));
            }
        }
    }
    assert!(served > SEEDS, "{served} items were finished: the world is too hostile to tell anything");
}

/// The checks see what they are for.
#[test]
fn the_simulation_notices_a_holder_that_does_not_listen() {
    let found = (0..SEEDS).any(|seed| {
        let mut world = World::new(seed, false);
        world.is_deaf = true;
        world.run().is_err()
    });
    assert!(found);
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// An item at the service.
#[derive(Default, Clone, Debug)]
struct Item {
    state: State,
    claimed: Option<ClockTime>,
    last_heartbeat: Option<u64>,
    /// Whose heartbeat that is.
    leased: Option<Lessee>,
    expires: ClockTime,
    acknowledged: ClockTime,
    /// Its owner asked for its stop when it had been acknowledged and had had no heartbeat.
    out_of_reach: bool,
    is_done: bool,
}

/// A job of a process.
type Lessee = (usize, u32, u64);
/// The job of no item: what a worker does about those that others have left.
const RESCUE: u64 = u64::MAX;

#[derive(Default, Clone, Copy, Debug, PartialEq)]
enum State {
    #[default]
    Queued,
    Starting,
    Active,
    Stopping,
    Stopped,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Queued => "queued",
            State::Starting => "starting",
            State::Active => "active",
            State::Stopping => "stopping",
            State::Stopped => "stopped",
        }
    }
}

/// A worker process. Killed, it comes back as another.
struct Process {
    generation: u32,
    /// Its clock is this far ahead, and runs this much faster.
    ahead: Duration,
    speed: f64,
    poller: Poller,
    polls: usize,
    concurrency: usize,
    /// Items refused permanently since the last one that was claimed.
    refused: usize,
    jobs: BTreeMap<u64, Job>,
    lookout: Lookout,
    paused: bool,
    backlog: Vec<Happening>,
}

/// An item in a worker's hands.
struct Job {
    item: usize,
    polled: ClockTime,
    claim: Claim,
    is_acknowledging: bool,
    lease: Option<Lease>,
    /// Its holder works on it: the lease was handed out, and nobody has told that it is lost.
    is_served: bool,
}

#[derive(Clone, Debug)]
enum Ask {
    Poll,
    Ack,
    Beat(Option<String>),
    Stop,
}

#[derive(Clone, Debug)]
enum Reply {
    Claimed(Option<usize>),
    Fine,
    Conflict,
    Beaten(Beaten),
    /// For good.
    Refused,
    Failed(bool),
}

#[derive(Clone, Debug)]
struct Call {
    id: u64,
    process: usize,
    generation: u32,
    job: u64,
    item: usize,
    ask: Ask,
    sent: ClockTime,
}

#[derive(Clone, Debug)]
enum Happening {
    Arrives(Call, bool),
    PollEnds(Call),
    Answered(Call, Reply),
    /// A timer of a job, or of the poller (0).
    Timer {
        process: usize,
        generation: u32,
        job: u64,
    },
    /// A worker looks for items that others have left.
    Sweep {
        process: usize,
        generation: u32,
    },
    /// The holder is done.
    Served {
        process: usize,
        generation: u32,
        job: u64,
    },
    Pause(usize),
    Resume(usize),
    Kill(usize),
    Owner(usize),
}

struct World {
    dice: fastrand::Rng,
    now: ClockTime,
    turn: u64,
    agenda: BinaryHeap<Reverse<(ClockTime, u64, usize)>>,
    happenings: Vec<Option<Happening>>,
    items: Vec<Item>,
    processes: Vec<Process>,
    /// The calls whose sender has an answer, or waits no longer.
    answered: HashSet<u64>,
    calls: u64,
    jobs: u64,
    beats: u64,
    ttl: Duration,
    /// Until when things go wrong.
    storm: ClockTime,
    hostility: f64,
    /// Holders go on for half a minute when they are told that their lease is lost.
    is_deaf: bool,
    is_traced: bool,
    schedule: Vec<String>,
    problem: Option<String>,
}

impl World {
    fn new(seed: u64, is_traced: bool) -> World {
        let mut dice = fastrand::Rng::with_seed(seed);
        let ttl = s([20, 30, 60][dice.usize(..3)]);
        let storm = s(dice.u64(30..240));
        let mut world = World {
            now: s(0),
            turn: 0,
            agenda: BinaryHeap::new(),
            happenings: Vec::new(),
            items: vec![Item::default(); dice.usize(1..8)],
            processes: Vec::new(),
            answered: Default::default(),
            calls: 0,
            jobs: 0,
            beats: 0,
            ttl,
            storm,
            hostility: dice.f64() * 0.3,
            is_deaf: false,
            is_traced,
            schedule: Vec::new(),
            problem: None,
            dice,
        };
        for process in 0..world.dice.usize(1..5) {
            let fresh = world.process(0);
            world.processes.push(fresh);
            world.after(ms(0), Happening::Timer { process, generation: 0, job: 0 });
            world.after(ms(0), Happening::Sweep { process, generation: 0 });
            for _ in 0..world.dice.usize(..4) {
                let at = world.dice.u64(..storm.as_millis() as u64);
                let what = if world.dice.bool() { Happening::Kill(process) } else { Happening::Pause(process) };
                world.after(ms(at), what);
            }
        }
        for item in 0..world.items.len() {
            if world.dice.f64() < 0.1 {
                let at = world.dice.u64(..storm.as_millis() as u64);
                world.after(ms(at), Happening::Owner(item));
            }
        }
        world
    }

    fn process(&mut self, generation: u32) -> Process {
        let ahead = ms(self.dice.u64(..1_000_000_000));
        let speed = 1.0 + (self.dice.f64() - 0.5) / 100.0;
        let manner = Manner { block: ms(999), drain: false, idle_after: s(60), idle_pause: (s(1), s(3)) };
        let now = ahead + self.now.mul_f64(speed);
        Process {
            generation,
            ahead,
            speed,
            poller: Poller::new(now, manner),
            polls: 0,
            concurrency: self.dice.usize(1..4),
            refused: 0,
            jobs: BTreeMap::new(),
            lookout: Lookout::default(),
            paused: false,
            backlog: Vec::new(),
        }
    }

    fn trace(&mut self, text: impl FnOnce() -> String) {
        if self.is_traced {
            let text = text();
            self.schedule.push(format!("{:9.3} {text}", self.now.as_secs_f64()));
        }
    }

    fn fail(&mut self, problem: String) {
        self.trace(|| format!("!!! {problem}"));
        self.problem.get_or_insert(problem);
    }

    fn after(&mut self, delay: Duration, what: Happening) {
        self.turn += 1;
        self.happenings.push(Some(what));
        self.agenda.push(Reverse((self.now + delay, self.turn, self.happenings.len() - 1)));
    }

    fn local(&self, process: usize) -> ClockTime {
        let process = &self.processes[process];
        process.ahead + self.now.mul_f64(process.speed)
    }

    /// How long until a process's clock shows a moment.
    fn until(&self, process: usize, moment: ClockTime) -> Duration {
        let left = moment.saturating_sub(self.local(process));
        left.div_f64(self.processes[process].speed) + Duration::from_micros(1)
    }

    fn goes_wrong(&mut self, how_often: f64) -> bool {
        self.now < self.storm && self.dice.f64() < how_often * self.hostility
    }

    fn run(&mut self) -> Result<u64, String> {
        // Long enough for leases to run out and late acknowledgements to be settled, several times over.
        let end = self.storm + s(900);
        while let Some(Reverse((at, _, index))) = self.agenda.pop() {
            if at > end || self.problem.is_some() || self.items.iter().all(|item| item.state == State::Stopped) {
                break;
            }
            self.now = at;
            let happening = self.happenings[index].take().expect("each happens once");
            self.settle_leases();
            self.happen(happening);
        }
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        for (index, item) in self.items.iter().enumerate() {
            if item.state != State::Stopped && !item.out_of_reach {
                return Err(format!("item {index} was forgotten: {item:?}"));
            }
        }
        Ok(self.items.iter().filter(|item| item.is_done).count() as u64)
    }

    fn happen(&mut self, happening: Happening) {
        let whose = match &happening {
            Happening::Answered(call, _) => Some((call.process, call.generation)),
            Happening::Timer { process, generation, .. }
            | Happening::Served { process, generation, .. }
            | Happening::Sweep { process, generation } => Some((*process, *generation)),
            _ => None,
        };
        if let Some((process, generation)) = whose {
            let of = &mut self.processes[process];
            if of.generation != generation {
                return;
            }
            if of.paused {
                return of.backlog.push(happening);
            }
        }
        match happening {
            Happening::Arrives(call, may_double) => self.arrives(call, may_double),
            Happening::PollEnds(call) => {
                let found = self.claim();
                self.reply(call, Reply::Claimed(found));
            }
            Happening::Answered(call, reply) => {
                if self.answered.insert(call.id) {
                    self.answered(call, reply);
                }
            }
            Happening::Timer { process, job: 0, .. } => self.poll(process),
            Happening::Timer { process, job, .. } => self.step(process, job, LeaseEvent::Woken),
            Happening::Served { process, job, .. } => self.served(process, job),
            Happening::Sweep { process, generation } => self.sweep(process, generation),
            Happening::Pause(process) => {
                if !self.processes[process].paused {
                    let pause = ms(self.dice.u64(100..self.ttl.as_millis() as u64 * 3));
                    self.trace(|| format!("process {process} stands still for {pause:?}"));
                    self.processes[process].paused = true;
                    self.after(pause, Happening::Resume(process));
                }
            }
            Happening::Resume(process) => self.resume(process),
            Happening::Kill(process) => self.kill(process),
            Happening::Owner(item) => {
                let item = &mut self.items[item];
                // Whether the item was acknowledged cannot be found out any more.
                item.out_of_reach |= item.state == State::Starting;
                if matches!(item.state, State::Starting | State::Active) {
                    item.state = State::Stopping;
                } else {
                    item.state = State::Stopped;
                }
            }
        }
    }

    // The service.

    fn settle_leases(&mut self) {
        for item in &mut self.items {
            if self.now <= item.expires {
                continue;
            }
            match item.state {
                State::Active => *item = Item { is_done: item.is_done, ..Item::default() },
                State::Stopping if item.last_heartbeat.is_some() => item.state = State::Stopped,
                _ => {}
            }
        }
    }

    fn claim(&mut self) -> Option<usize> {
        let now = self.now;
        let is_free = |item: &Item| item.state == State::Queued && item.claimed.is_none_or(|at| at + RECLAIM <= now);
        let found = self.items.iter().position(is_free)?;
        self.items[found].claimed = Some(now);
        Some(found)
    }

    fn arrives(&mut self, call: Call, may_double: bool) {
        if may_double && self.goes_wrong(0.2) {
            let delay = ms(self.dice.u64(..500));
            self.after(delay, Happening::Arrives(call.clone(), false));
        }
        if matches!(call.ask, Ask::Ack) && self.answered.contains(&call.id) {
            return;
        }
        if self.goes_wrong(0.3) {
            // The server fails before it has done anything, or a gateway does not let it through.
            return self.reply(call, Reply::Failed(true));
        }
        if !matches!(call.ask, Ask::Poll) && self.goes_wrong(0.2) {
            return self.reply(call, Reply::Refused);
        }
        let (now, ttl) = (self.now, self.ttl);
        let lessee = (call.process, call.generation, call.job);
        let item = &mut self.items[call.item];
        let reply = match &call.ask {
            Ask::Poll => {
                let found = self.claim();
                if found.is_none() {
                    return self.after(ms(999), Happening::PollEnds(call));
                }
                Reply::Claimed(found)
            }
            Ask::Ack => match item.state {
                State::Queued => {
                    item.state = State::Starting;
                    item.acknowledged = now;
                    item.claimed = None;
                    Reply::Fine
                }
                State::Starting => Reply::Fine,
                _ => Reply::Conflict,
            },
            Ask::Beat(expected) => {
                let known = item.last_heartbeat.map(|beat| beat.to_string());
                let beaten = match item.state {
                    State::Stopping | State::Stopped => Beaten::Good {
                        last_heartbeat: known.unwrap_or_default(),
                        extended: false,
                        state: item.state.name().into(),
                        ttl,
                    },
                    State::Starting | State::Active if *expected == known => {
                        self.beats += 1;
                        item.last_heartbeat = Some(self.beats);
                        item.leased = Some(lessee);
                        item.expires = now + ttl;
                        item.state = State::Active;
                        Beaten::Good { last_heartbeat: self.beats.to_string(), extended: true, state: "active".into(), ttl }
                    }
                    _ => Beaten::Refused { current: Some((item.state.name().into(), known)), in_doubt: false },
                };
                Reply::Beaten(beaten)
            }
            Ask::Stop if item.state == State::Stopped => Reply::Conflict,
            Ask::Stop => {
                let (was, leased) = (item.state, item.leased);
                item.state = State::Stopped;
                let (stopped, job) = (call.item, call.job);
                // A lease that a rescue has begun is nobody's.
                let is_anothers = leased.is_some_and(|leased| leased != lessee && leased.2 != RESCUE);
                if was == State::Active && is_anothers {
                    self.fail(format!("item {stopped} was stopped by {lessee:?} under the lease of {leased:?}"));
                }
                if was != State::Stopping && leased.is_none() {
                    self.fail(format!("item {stopped} was stopped by {lessee:?}, and nobody has served it"));
                }
                let others = |process: &Process| {
                    let mut jobs = process.jobs.iter();
                    jobs.any(|(key, other)| *key != job && other.item == stopped && other.is_served && !process.paused)
                };
                if self.processes.iter().any(others) {
                    self.fail(format!("item {stopped} was stopped under its holder's hands"));
                }
                Reply::Fine
            }
        };
        self.trace(|| {
            format!("  {:?} of item {} by process {} (job {}): {reply:?}", call.ask, call.item, call.process, call.job)
        });
        // Done, and the answer lost or garbled on its way.
        let reply = if self.goes_wrong(0.3) { Reply::Failed(true) } else { reply };
        self.reply(call, reply);
    }

    fn reply(&mut self, call: Call, reply: Reply) {
        if self.goes_wrong(0.5) {
            return;
        }
        let delay = self.delay(&call.ask);
        self.after(delay, Happening::Answered(call, reply));
    }

    fn delay(&mut self, ask: &Ask) -> Duration {
        match ask {
            _ if !self.goes_wrong(1.0) => ms(self.dice.u64(1..60)),
            // Less than the margin of the shortest lease, on both ways together.
            Ask::Stop => ms(self.dice.u64(..450)),
            _ => ms(self.dice.u64(..9_000)),
        }
    }

    // The workers.

    fn send(&mut self, process: usize, job: u64, item: usize, ask: Ask, timeout: Duration) {
        self.calls += 1;
        let generation = self.processes[process].generation;
        let call = Call { id: self.calls, process, generation, job, item, ask, sent: self.local(process) };
        self.trace(|| format!("process {process} (job {job}) sends {:?} for item {item}", call.ask));
        if self.goes_wrong(0.2) {
            // No connection.
            return self.after(ms(1), Happening::Answered(call, Reply::Failed(false)));
        }
        self.after(timeout, Happening::Answered(call.clone(), Reply::Failed(true)));
        if !self.goes_wrong(0.5) {
            let delay = self.delay(&call.ask);
            self.after(delay, Happening::Arrives(call, true));
        }
    }

    fn poll(&mut self, process: usize) {
        let now = self.local(process);
        let of = &self.processes[process];
        let wanted = of.concurrency.saturating_sub(of.jobs.len() + of.polls);
        match of.poller.next(now, wanted, of.polls) {
            Next::Poll => {
                self.processes[process].polls += 1;
                self.send(process, 0, 0, Ask::Poll, s(11));
                self.poll(process);
            }
            Next::Wait(Some(at)) => {
                let (delay, generation) = (self.until(process, at), of.generation);
                self.after(delay, Happening::Timer { process, generation, job: 0 });
            }
            Next::Wait(None) | Next::Drained => {}
        }
    }

    fn answered(&mut self, call: Call, reply: Reply) {
        let (process, now, dice) = (call.process, self.local(call.process), self.dice.f64());
        match (&call.ask, reply) {
            (Ask::Poll, reply) => {
                let of = &mut self.processes[process];
                of.polls -= 1;
                let outcome = match reply {
                    Reply::Claimed(Some(_)) => Polled::Item,
                    Reply::Claimed(None) => Polled::Nothing,
                    _ => Polled::Failed { retry_after: None },
                };
                of.poller.polled(now, call.sent, outcome, dice);
                if let Reply::Claimed(Some(item)) = reply {
                    self.jobs += 1;
                    let claim = Claim::new(call.sent, RECLAIM);
                    let timeout = claim.timeout(now);
                    let job = Job { item, polled: call.sent, claim, is_acknowledging: true, lease: None, is_served: false };
                    self.processes[process].jobs.insert(self.jobs, job);
                    self.send(process, self.jobs, item, Ask::Ack, timeout);
                }
                self.poll(process);
            }
            (Ask::Ack, reply) => {
                let Some(job) = self.processes[process].jobs.get_mut(&call.job) else { return };
                let outcome = match reply {
                    Reply::Fine => Acknowledged::Done,
                    Reply::Failed(may_have_arrived) => Acknowledged::Failed { may_have_arrived, retry_after: None },
                    Reply::Conflict => Acknowledged::Conflict,
                    _ => Acknowledged::Rejected,
                };
                let is_refused = outcome == Acknowledged::Rejected;
                job.is_acknowledging = false;
                match job.claim.next(now, outcome, dice) {
                    claim::Next::Hold { is_late } => {
                        job.lease = Some(Lease::new(now, job.polled, is_late));
                        self.step(process, call.job, LeaseEvent::Woken);
                    }
                    claim::Next::Again(at) => {
                        let (delay, generation) = (self.until(process, at), call.generation);
                        self.after(delay, Happening::Timer { process, generation, job: call.job });
                    }
                    claim::Next::Leave => {
                        self.drop_job(process, call.job);
                        if is_refused {
                            self.refused(process);
                        }
                    }
                }
            }
            (Ask::Beat(_), reply) => {
                let outcome = match reply {
                    Reply::Beaten(beaten) => beaten,
                    Reply::Failed(may_have_arrived) => Beaten::Failed { may_have_arrived, retry_after: None },
                    _ => Beaten::Rejected,
                };
                self.step(process, call.job, LeaseEvent::Beaten { sent: call.sent, outcome, jitter: dice });
            }
            (Ask::Stop, reply) => {
                let outcome = match reply {
                    Reply::Fine | Reply::Conflict => Stopped::Done,
                    Reply::Refused => Stopped::Rejected,
                    _ => Stopped::Failed,
                };
                self.step(process, call.job, LeaseEvent::Stopped { outcome, jitter: dice });
            }
        }
    }

    /// Has a lease take something in, and does what it says.
    fn step(&mut self, process: usize, key: u64, event: LeaseEvent) {
        let now = self.local(process);
        let Some(job) = self.processes[process].jobs.get_mut(&key) else { return };
        let item = job.item;
        let Some(lease) = &mut job.lease else {
            // The pause before another acknowledgement is over.
            let timeout = job.claim.timeout(now);
            if !std::mem::replace(&mut job.is_acknowledging, true) {
                self.send(process, key, item, Ask::Ack, timeout);
            }
            return;
        };
        let before = lease.standing();
        let todo = lease.next(now, event);
        let after = lease.standing();
        let generation = self.processes[process].generation;
        if before != after {
            self.trace(|| format!("process {process} (job {key}) has item {item} {after:?}"));
            self.stands(process, key, item, before, after);
        }
        if let Some(beat) = todo.beat {
            self.send(process, key, item, Ask::Beat(beat.expected), beat.timeout);
        }
        if let Some(timeout) = todo.stop {
            self.send(process, key, item, Ask::Stop, timeout);
        }
        if let Some(at) = todo.wake {
            let delay = self.until(process, at);
            self.after(delay, Happening::Timer { process, generation, job: key });
        }
        if todo.over == Some(Over::Unproven) {
            let job = self.processes[process].jobs.get_mut(&key).expect("it is the one above");
            (job.claim, job.lease) = (Claim::late(), None);
            return self.step(process, key, LeaseEvent::Woken);
        }
        if let Some(over) = todo.over {
            self.items[item].is_done |= over == Over::Stopped;
            self.drop_job(process, key);
            if over == Over::Refused {
                self.refused(process);
            }
        }
    }

    /// An item was refused permanently. When that has come often enough the worker gives up, and somebody starts it again.
    fn refused(&mut self, process: usize) {
        let of = &mut self.processes[process];
        of.refused += 1;
        if of.refused >= MAX_REFUSED {
            self.kill(process);
        }
    }

    fn stands(&mut self, process: usize, key: u64, item: usize, before: Standing, after: Standing) {
        let generation = self.processes[process].generation;
        let mut set = |is_served| {
            if let Some(job) = self.processes[process].jobs.get_mut(&key) {
                job.is_served = is_served;
            }
        };
        match after {
            Standing::Held if before == Standing::Proving => {
                set(true);
                self.processes[process].refused = 0;
                let work = ms(self.dice.u64(..self.ttl.as_millis() as u64 * 2));
                self.after(work, Happening::Served { process, generation, job: key });
                let others = |(number, other): (usize, &Process)| {
                    let is_other = |(job_key, job): (&u64, &Job)| {
                        (number, *job_key) != (process, key) && job.item == item && job.is_served && !other.paused
                    };
                    other.jobs.iter().any(is_other)
                };
                if self.processes.iter().enumerate().any(others) {
                    self.fail(format!("item {item} has a second holder, process {process}, before the first was told"));
                }
            }
            Standing::Lost(_) => {
                set(self.is_deaf);
                let rest = if self.is_deaf { s(30) } else { s(0) };
                self.after(rest, Happening::Served { process, generation, job: key });
            }
            Standing::StopRequested(_) if before == Standing::Held => {
                let longest = if self.dice.bool() { 2_000 } else { self.ttl.as_millis() as u64 * 3 };
                let tidying = ms(self.dice.u64(..longest));
                self.after(tidying, Happening::Served { process, generation, job: key });
            }
            _ => {}
        }
    }

    /// The holder has done its work, or was told to leave it.
    fn served(&mut self, process: usize, key: u64) {
        if let Some(job) = self.processes[process].jobs.get_mut(&key) {
            job.is_served = false;
            self.step(process, key, LeaseEvent::Finish { patience: STOP_PATIENCE });
        }
    }

    fn drop_job(&mut self, process: usize, key: u64) {
        self.processes[process].jobs.remove(&key);
        self.poll(process);
    }

    fn sweep(&mut self, process: usize, generation: u32) {
        let (now, mut left) = (self.local(process), Vec::new());
        for (number, item) in self.items.iter().enumerate() {
            if item.state == State::Starting && item.last_heartbeat.is_none() {
                left.push(Left { id: number.to_string(), acknowledged: format!("{:?}", item.acknowledged) });
            }
        }
        for item in self.processes[process].lookout.look(now, left, s(60)) {
            self.send(process, RESCUE, item.id.parse().expect("a number"), Ask::Beat(None), s(10));
        }
        let pause = s(60).mul_f64(0.75 + self.dice.f64() / 2.0);
        self.after(pause, Happening::Sweep { process, generation });
    }

    fn resume(&mut self, process: usize) {
        let of = &mut self.processes[process];
        if !std::mem::replace(&mut of.paused, false) {
            return;
        }
        let mut backlog = std::mem::take(&mut of.backlog);
        self.trace(|| format!("process {process} goes on"));
        self.dice.shuffle(&mut backlog);
        for happening in backlog {
            self.happen(happening);
        }
        let serves: Vec<usize> = self.processes[process].jobs.values().filter(|job| job.is_served).map(|job| job.item).collect();
        for item in serves {
            let going = self.processes.iter().filter(|of| !of.paused);
            let holders = going.flat_map(|of| of.jobs.values()).filter(|job| job.item == item && job.is_served);
            if holders.count() > 1 {
                self.fail(format!("process {process} goes on with item {item}, which has another holder"));
            }
        }
    }

    fn kill(&mut self, process: usize) {
        self.trace(|| format!("process {process} is killed"));
        let generation = self.processes[process].generation + 1;
        self.processes[process] = self.process(generation);
        let rest = ms(self.dice.u64(..5_000));
        self.after(rest, Happening::Timer { process, generation, job: 0 });
        self.after(rest, Happening::Sweep { process, generation });
    }
}
