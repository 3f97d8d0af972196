//! Simulates many workers and one work queue in a world full of faults: the real state machines, a model of the service, and a made-up
//! network and clock, all determined by a seed.
//!
//! Requests and responses are lost, delayed, duplicated, or answered with a failure after they were carried out, by the service or by a
//! gateway. The service refuses permanently what it should not. Clocks differ and run at different speeds. Processes are suspended for
//! longer than a lease lasts, resume, and are killed. Holders that are asked to stop take their time, also longer than their lease lasts.
//! Holders hand their items over: to one process, to two by mistake, or to one that never begins. Some workers only claim, for others to
//! serve.
//! Then the faults end, and everything must recover:
//!
//! - No item is served by two holders at once, except for a holder whose process is suspended; when it resumes, it is notified before it
//!   does anything else.
//! - No holder's item is stopped by another worker: no request to stop an item reaches the service under another worker's lease.
//! - No item is stopped that no worker has served, unless its owner wants that.
//! - Every item is finished in the end, also one whose worker was killed between acknowledgement and first heartbeat. (Except when its
//!   owner asked to stop it just then. The owner can force that.)
//!
//! The simulation leaves out what no client can prevent: a request to stop an item that travels for longer than the margin of a lease,
//! a request to acknowledge one that is carried out after its sender has stopped waiting for it, and a process that begins the lease of a
//! claimed item so late that workers may have rescued the item.

mod service;
mod workers;

use super::claim::{AckResult, Claim, ClaimAction, RECLAIM};
use super::lease::machine::{HeartbeatResult, LeaseEnd, LeaseEvent, LeaseMachine, LeaseState, STOP_TIMEOUT, StopResult};
use super::poller::{PollAction, PollConfig, PollResult, Poller};
use super::rescue::{Orphan, RescueScanner};
use super::shared::MAX_REJECTIONS;
use crate::runtime::clock::ClockTime;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::time::Duration;

const SEEDS: u64 = 20_000;

#[test]
fn whatever_goes_wrong_no_item_is_served_twice_or_lost() {
    let (mut served, mut adopted) = (0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed, false);
        match world.run() {
            Ok(finished) => {
                served += finished;
                adopted += world.adopted;
            }
            Err(problem) => {
                let mut again = World::new(seed, true);
                let _ = again.run();
                panic!("seed {seed}: {problem}\ntrace:\n{}", again.trace_log.join("\n"));
            }
        }
    }
    assert!(served > SEEDS, "{served} items were finished: too few for the checks to mean anything");
    assert!(adopted > SEEDS, "{adopted} leases changed hands: too few for the checks to mean anything");
}

/// Shows that the checks can fail.
#[test]
fn the_simulation_detects_a_holder_that_ignores_the_loss_of_its_lease() {
    let found = (0..SEEDS).any(|seed| {
        let mut world = World::new(seed, false);
        world.ignores_loss = true;
        world.run().is_err()
    });
    assert!(found);
}

/// Shows the same of hand-overs.
#[test]
fn the_simulation_detects_an_adopter_that_serves_before_its_first_heartbeat_is_accepted() {
    let found = (0..SEEDS).any(|seed| {
        let mut world = World::new(seed, false);
        world.trusts_handovers = true;
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
    /// Who sent that heartbeat.
    leased_by: Option<Holder>,
    expires: ClockTime,
    acknowledged: ClockTime,
    /// Its owner asked to stop it between its acknowledgement and its first heartbeat.
    is_unreachable: bool,
    is_finished: bool,
}

/// A job of a process: the process, its generation, and the job.
type Holder = (usize, u32, u64);
/// The job that sends the heartbeats of rescues.
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

/// A worker process. After a kill it starts again, as a new generation.
struct Process {
    generation: u32,
    /// How far its clock is ahead, and how fast it runs.
    clock_offset: Duration,
    clock_rate: f64,
    poller: Poller,
    polls: usize,
    concurrency: usize,
    /// Whether it leaves the heartbeats to those that it hands its items over to.
    claims_only: bool,
    /// The number of permanent refusals since the last claim.
    rejections: usize,
    jobs: BTreeMap<u64, Job>,
    scanner: RescueScanner,
    paused: bool,
    backlog: Vec<SimEvent>,
}

/// An item that a worker claims or holds.
struct Job {
    item: usize,
    polled: ClockTime,
    claim: Claim,
    is_acknowledging: bool,
    lease: Option<LeaseMachine>,
    /// Whether its holder works on it: it was handed out, and the holder was not notified of a loss.
    is_served: bool,
}

#[derive(Clone, Debug)]
enum Operation {
    Poll,
    Ack,
    Heartbeat(Option<String>),
    Stop,
}

#[derive(Clone, Debug)]
enum Reply {
    Claimed(Option<usize>),
    Accepted,
    Conflict,
    Heartbeat(HeartbeatResult),
    /// Permanently.
    Rejected,
    Failed(bool),
}

#[derive(Clone, Debug)]
struct Call {
    id: u64,
    process: usize,
    generation: u32,
    job: u64,
    item: usize,
    operation: Operation,
    sent: ClockTime,
}

#[derive(Clone, Debug)]
enum SimEvent {
    RequestArrives(Call, bool),
    PollEnds(Call),
    ResponseArrives(Call, Reply),
    /// A timer of a job, or of the poller (0).
    Timer {
        process: usize,
        generation: u32,
        job: u64,
    },
    /// A worker scans for orphaned items.
    Scan {
        process: usize,
        generation: u32,
    },
    /// The holder has finished.
    HolderDone {
        process: usize,
        generation: u32,
        job: u64,
    },
    /// The holder hands the item over.
    HolderReleases {
        process: usize,
        generation: u32,
        job: u64,
    },
    /// A process adopts an item with its last heartbeat, if it is not too late to begin.
    Adopt {
        process: usize,
        item: usize,
        last_heartbeat: Option<String>,
        until: ClockTime,
    },
    Pause(usize),
    Resume(usize),
    Kill(usize),
    OwnerStops(usize),
}

struct World {
    rng: fastrand::Rng,
    now: ClockTime,
    sequence: u64,
    timeline: BinaryHeap<Reverse<(ClockTime, u64, usize)>>,
    events: Vec<Option<SimEvent>>,
    items: Vec<Item>,
    processes: Vec<Process>,
    /// The calls whose sender has a response, or has stopped waiting.
    settled_calls: HashSet<u64>,
    calls: u64,
    jobs: u64,
    heartbeats: u64,
    /// The number of leases that were adopted.
    adopted: u64,
    ttl: Duration,
    /// Until when faults happen, and how often.
    faults_until: ClockTime,
    fault_rate: f64,
    /// Whether holders continue for half a minute after they were notified that their lease is lost.
    ignores_loss: bool,
    /// Whether adopters serve an item before a heartbeat is accepted.
    trusts_handovers: bool,
    is_traced: bool,
    trace_log: Vec<String>,
    problem: Option<String>,
}

impl World {
    fn new(seed: u64, is_traced: bool) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let ttl = s([20, 30, 60][rng.usize(..3)]);
        let faults_until = s(rng.u64(30..240));
        let mut world = World {
            now: s(0),
            sequence: 0,
            timeline: BinaryHeap::new(),
            events: Vec::new(),
            items: vec![Item::default(); rng.usize(1..8)],
            processes: Vec::new(),
            settled_calls: Default::default(),
            calls: 0,
            jobs: 0,
            heartbeats: 0,
            adopted: 0,
            ttl,
            faults_until,
            fault_rate: rng.f64() * 0.3,
            ignores_loss: false,
            trusts_handovers: false,
            is_traced,
            trace_log: Vec::new(),
            problem: None,
            rng,
        };
        for process in 0..world.rng.usize(1..5) {
            let fresh = world.process(0);
            world.processes.push(fresh);
            world.after(ms(0), SimEvent::Timer { process, generation: 0, job: 0 });
            world.after(ms(0), SimEvent::Scan { process, generation: 0 });
            for _ in 0..world.rng.usize(..4) {
                let at = world.rng.u64(..faults_until.as_millis() as u64);
                let what = if world.rng.bool() { SimEvent::Kill(process) } else { SimEvent::Pause(process) };
                world.after(ms(at), what);
            }
        }
        for item in 0..world.items.len() {
            if world.rng.f64() < 0.1 {
                let at = world.rng.u64(..faults_until.as_millis() as u64);
                world.after(ms(at), SimEvent::OwnerStops(item));
            }
        }
        world
    }

    fn process(&mut self, generation: u32) -> Process {
        let clock_offset = ms(self.rng.u64(..1_000_000_000));
        let clock_rate = 1.0 + (self.rng.f64() - 0.5) / 100.0;
        let polling = PollConfig { block: ms(999), drain: false, idle_after: s(60), idle_pause: (s(1), s(3)) };
        let now = clock_offset + self.now.mul_f64(clock_rate);
        Process {
            generation,
            clock_offset,
            clock_rate,
            poller: Poller::new(now, polling),
            polls: 0,
            concurrency: self.rng.usize(1..4),
            claims_only: self.rng.f64() < 0.2,
            rejections: 0,
            jobs: BTreeMap::new(),
            scanner: RescueScanner::default(),
            paused: false,
            backlog: Vec::new(),
        }
    }

    fn trace(&mut self, text: impl FnOnce() -> String) {
        if self.is_traced {
            let text = text();
            self.trace_log.push(format!("{:9.3} {text}", self.now.as_secs_f64()));
        }
    }

    fn fail(&mut self, problem: String) {
        self.trace(|| format!("!!! {problem}"));
        self.problem.get_or_insert(problem);
    }

    fn after(&mut self, delay: Duration, what: SimEvent) {
        self.sequence += 1;
        self.events.push(Some(what));
        self.timeline.push(Reverse((self.now + delay, self.sequence, self.events.len() - 1)));
    }

    fn local_time(&self, process: usize) -> ClockTime {
        let process = &self.processes[process];
        process.clock_offset + self.now.mul_f64(process.clock_rate)
    }

    /// Returns how long it takes until a process's clock shows this time.
    fn delay_until(&self, process: usize, moment: ClockTime) -> Duration {
        let left = moment.saturating_sub(self.local_time(process));
        left.div_f64(self.processes[process].clock_rate) + Duration::from_micros(1)
    }

    fn has_fault(&mut self, weight: f64) -> bool {
        self.now < self.faults_until && self.rng.f64() < weight * self.fault_rate
    }

    fn run(&mut self) -> Result<u64, String> {
        // Long enough for leases to expire and for late acknowledgements to be settled, several times over.
        let end = self.faults_until + s(900);
        while let Some(Reverse((at, _, index))) = self.timeline.pop() {
            if at > end || self.problem.is_some() || self.items.iter().all(|item| item.state == State::Stopped) {
                break;
            }
            self.now = at;
            let event = self.events[index].take().expect("each event is handled once");
            self.expire_leases();
            self.handle(event);
        }
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        for (index, item) in self.items.iter().enumerate() {
            if item.state != State::Stopped && !item.is_unreachable {
                return Err(format!("item {index} was lost: {item:?}"));
            }
        }
        Ok(self.items.iter().filter(|item| item.is_finished).count() as u64)
    }

    fn handle(&mut self, event: SimEvent) {
        let whose = match &event {
            SimEvent::ResponseArrives(call, _) => Some((call.process, call.generation)),
            SimEvent::Timer { process, generation, .. }
            | SimEvent::HolderDone { process, generation, .. }
            | SimEvent::HolderReleases { process, generation, .. }
            | SimEvent::Scan { process, generation } => Some((*process, *generation)),
            SimEvent::Adopt { process, .. } => Some((*process, self.processes[*process].generation)),
            _ => None,
        };
        if let Some((process, generation)) = whose {
            let worker = &mut self.processes[process];
            if worker.generation != generation {
                return;
            }
            if worker.paused {
                return worker.backlog.push(event);
            }
        }
        match event {
            SimEvent::RequestArrives(call, may_double) => self.on_request(call, may_double),
            SimEvent::PollEnds(call) => {
                let found = self.claim();
                self.reply(call, Reply::Claimed(found));
            }
            SimEvent::ResponseArrives(call, reply) => {
                if self.settled_calls.insert(call.id) {
                    self.on_response(call, reply);
                }
            }
            SimEvent::Timer { process, job: 0, .. } => self.poll(process),
            SimEvent::Timer { process, job, .. } => self.step(process, job, LeaseEvent::Tick),
            SimEvent::HolderDone { process, job, .. } => self.on_holder_done(process, job),
            SimEvent::HolderReleases { process, job, .. } => self.on_holder_releases(process, job),
            SimEvent::Adopt { process, item, last_heartbeat, until } if self.now < until => {
                self.adopt(process, item, last_heartbeat)
            }
            SimEvent::Adopt { .. } => {}
            SimEvent::Scan { process, generation } => self.scan(process, generation),
            SimEvent::Pause(process) => {
                if !self.processes[process].paused {
                    let pause = ms(self.rng.u64(100..self.ttl.as_millis() as u64 * 3));
                    self.trace(|| format!("process {process} is suspended for {pause:?}"));
                    self.processes[process].paused = true;
                    self.after(pause, SimEvent::Resume(process));
                }
            }
            SimEvent::Resume(process) => self.resume(process),
            SimEvent::Kill(process) => self.kill(process),
            SimEvent::OwnerStops(item) => {
                let item = &mut self.items[item];
                // No worker can find out any more whether the item was acknowledged.
                item.is_unreachable |= item.state == State::Starting;
                if matches!(item.state, State::Starting | State::Active) {
                    item.state = State::Stopping;
                } else {
                    item.state = State::Stopped;
                }
            }
        }
    }
}
