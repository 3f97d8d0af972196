//! Simulates a session, a service and a host in a world full of faults: the real state machine, a model of the service, and a made-up
//! network and clock, all determined by a seed.
//!
//! Requests and responses are lost, also those of results that the service has taken. Streams break, pages of the history fail, events come
//! both ways, and late. The agent calls tools in several threads, some of which need a verdict; users allow, deny and interrupt at any
//! moment; threads end; other clients answer. Leases are lost in the middle. Then the faults end, and:
//!
//! - No call runs twice, none runs that is not allowed, and none that the service shows as settled when the history was read.
//! - The service takes no two results for one call, and of this runner's results only those of calls that it ran.
//! - No call of the host's tools is forgotten: in the end each is answered or settled otherwise.
//! - Each call that the host has, and each of its replies, gets an outcome, at the latest at the end; and the session ends.

mod driver;
mod service;

use super::machine::RunnerMachine;
use super::words::{Actions, End, LinkFailure, Outcome, RunnerConfig, RunnerEvent, SendResult};
use crate::runtime::clock::ClockTime;
use crate::session::event::{Event, EventKind, Permission, ToolUse};
use crate::session::time::EventTime;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashSet};
use std::time::Duration;

const SEEDS: u64 = 10_000;
const MAX_IDLE: Duration = Duration::from_secs(60);
const WINDOW: Duration = Duration::from_secs(30);
/// The agent's last event comes before this time.
const FAULTS_UNTIL: ClockTime = Duration::from_secs(120);
/// How long an event may be on its way, or a break of the stream unnoticed.
const ON_ITS_WAY: Duration = Duration::from_secs(15);
/// When a session must have ended.
const END: ClockTime = Duration::from_secs(1_200);

#[test]
fn whatever_goes_wrong_no_call_runs_twice_or_is_forgotten() {
    let (mut answered, mut lost, mut voided) = (0, 0, 0);
    for seed in 0..SEEDS {
        let mut world = World::new(seed, false, Flaw::None);
        match world.run() {
            Ok(()) => {
                answered += world.answered_by_us;
                lost += u64::from(world.lease_ends.is_some());
                voided += world.voided;
            }
            Err(problem) => {
                let mut again = World::new(seed, true, Flaw::None);
                let _ = again.run();
                panic!("seed {seed}: {problem}\ntrace:\n{}", again.trace_log.join("\n"));
            }
        }
    }
    assert!(answered > SEEDS && voided > SEEDS / 10 && lost > SEEDS / 20, "{answered} {voided} {lost}: too few to mean anything");
}

/// Shows that the checks can fail.
#[test]
fn the_simulation_detects_a_driver_with_a_flaw() {
    for flaw in [Flaw::DropsHistory, Flaw::ForgetsSends, Flaw::TrustsPartialHistory] {
        let found = (0..SEEDS).any(|seed| World::new(seed, false, flaw).run().is_err());
        assert!(found, "{flaw:?}");
    }
}

/// What a driver may do wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Flaw {
    None,
    /// Takes every history as empty.
    DropsHistory,
    /// Reports no failed attempt to send a result.
    ForgetsSends,
    /// Takes a history with a page missing as whole.
    TrustsPartialHistory,
}

/// How a call stands at the service.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Standing {
    Held,
    Open,
    Answered,
    Settled,
}

/// What happens in the world.
#[derive(Debug, Clone)]
enum SimEvent {
    Agent,
    User,
    /// Something for the machine, of the connection with this number.
    Machine(u64, RunnerEvent),
    /// An event of the stream arrives.
    Arrives(u64, Event),
    /// A request with a result arrives at the service.
    SendArrives(String, u64),
    /// A response, or the lack of one.
    SendDone(String, u64, SendResult),
    HostDone(String),
    LeaseEnds,
    /// Users and other clients do what is left to them.
    Settle,
    Wake(u64),
}

struct World {
    rng: fastrand::Rng,
    now: ClockTime,
    sequence: u64,
    timeline: BinaryHeap<Reverse<(ClockTime, u64)>>,
    events: BTreeMap<u64, SimEvent>,
    machine: RunnerMachine,
    fault_rate: f64,
    flaw: Flaw,
    /// The session's events, and its calls.
    log: Vec<Event>,
    calls: BTreeMap<String, Standing>,
    /// When each of them last changed.
    changed: BTreeMap<String, ClockTime>,
    denied: HashSet<String>,
    ended_threads: HashSet<String>,
    is_over: bool,
    /// The number of the connection, whether its stream is open, and when the last event sent on it arrives.
    link: u64,
    is_open: bool,
    last_arrival: ClockTime,
    is_reading: bool,
    buffered: Vec<Event>,
    wakes: u64,
    /// The calls that ran, those that the host has, and the replies without an outcome.
    ran: HashSet<String>,
    with_host: HashSet<String>,
    awaited: HashSet<String>,
    let_go: HashSet<String>,
    /// The calls that the host has taken, and when, which the machine does not know yet.
    taken: Vec<(String, ClockTime)>,
    /// The attempts in flight, and how many there were.
    in_flight: BTreeMap<String, u64>,
    attempts: u64,
    answered_by_us: u64,
    voided: u64,
    lease_ends: Option<ClockTime>,
    end: Option<End>,
    is_traced: bool,
    trace_log: Vec<String>,
    problem: Option<String>,
}

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

const fn s(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

impl World {
    fn new(seed: u64, is_traced: bool, flaw: Flaw) -> World {
        let mut rng = fastrand::Rng::with_seed(seed);
        let config = RunnerConfig {
            tools: ["ours".to_owned()].into(),
            toolset: [].into(),
            concurrency: rng.usize(1..4),
            max_idle: Some(MAX_IDLE),
            tool_timeout: rng.bool().then_some(ms(2_500)),
        };
        let lease_ends = (rng.f64() < 0.15).then(|| ms(rng.u64(..150_000)));
        let mut world = World {
            now: ms(0),
            sequence: 0,
            timeline: BinaryHeap::new(),
            events: BTreeMap::new(),
            machine: RunnerMachine::new(ms(0), config),
            fault_rate: rng.f64() * 0.4,
            flaw,
            log: Vec::new(),
            calls: BTreeMap::new(),
            changed: BTreeMap::new(),
            denied: HashSet::new(),
            ended_threads: HashSet::new(),
            is_over: false,
            link: 0,
            is_open: false,
            last_arrival: ms(0),
            is_reading: false,
            buffered: Vec::new(),
            wakes: 0,
            ran: HashSet::new(),
            with_host: HashSet::new(),
            awaited: HashSet::new(),
            let_go: HashSet::new(),
            taken: Vec::new(),
            in_flight: BTreeMap::new(),
            attempts: 0,
            answered_by_us: 0,
            voided: 0,
            lease_ends,
            end: None,
            is_traced,
            trace_log: Vec::new(),
            problem: None,
            rng,
        };
        for _ in 0..world.rng.usize(1..12) {
            let at = ms(world.rng.u64(..FAULTS_UNTIL.as_millis() as u64 * 3 / 4));
            world.after(at, SimEvent::Agent);
        }
        for _ in 0..world.rng.usize(..8) {
            let at = ms(world.rng.u64(..FAULTS_UNTIL.as_millis() as u64));
            world.after(at, SimEvent::User);
        }
        for seconds in [10, 40] {
            world.after(FAULTS_UNTIL + s(seconds), SimEvent::Settle);
        }
        if let Some(at) = lease_ends {
            world.after(at, SimEvent::LeaseEnds);
        }
        world
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

    fn after(&mut self, delay: Duration, event: SimEvent) {
        self.sequence += 1;
        self.events.insert(self.sequence, event);
        self.timeline.push(Reverse((self.now + delay, self.sequence)));
    }

    fn has_fault(&mut self, weight: f64) -> bool {
        self.now < FAULTS_UNTIL && self.rng.f64() < weight * self.fault_rate
    }

    fn delay(&mut self) -> Duration {
        let max = if self.has_fault(1.0) { 5_000 } else { 100 };
        ms(self.rng.u64(1..max))
    }

    fn run(&mut self) -> Result<(), String> {
        self.apply(RunnerEvent::Tick);
        while let Some(Reverse((at, key))) = self.timeline.pop() {
            if self.problem.is_some() || self.end.is_some() || at > END {
                break;
            }
            self.now = at;
            if let Some(event) = self.events.remove(&key) {
                self.handle(event);
            }
        }
        if let Some(problem) = self.problem.take() {
            return Err(problem);
        }
        let Some(end) = self.end else { return Err("the session has not ended".to_owned()) };
        if !self.with_host.is_empty() || !self.awaited.is_empty() {
            return Err(format!("without an outcome: {:?} {:?}", self.with_host, self.awaited));
        }
        if end == End::Idle {
            // What has happened just now may be on its way.
            let is_old = |id: &&String| self.changed[*id] + ON_ITS_WAY < self.now;
            let is_left = |id: &&String| matches!(self.calls[*id], Standing::Open | Standing::Held);
            if let Some(id) = self.calls.keys().filter(is_left).find(is_old) {
                return Err(format!("{id} was forgotten"));
            }
        }
        Ok(())
    }

    fn set(&mut self, id: &str, standing: Standing) {
        self.calls.insert(id.to_owned(), standing);
        self.changed.insert(id.to_owned(), self.now);
    }

    fn handle(&mut self, event: SimEvent) {
        match event {
            SimEvent::Agent => self.agent_acts(),
            SimEvent::User => self.user_acts(),
            SimEvent::Machine(link, event) if link == self.link => {
                match event {
                    RunnerEvent::Opened => (self.is_open, self.last_arrival) = (true, self.now),
                    RunnerEvent::LinkFailed(_) => self.close_link(),
                    RunnerEvent::HistoryRead(_) | RunnerEvent::HistoryFailed(_) => self.is_reading = false,
                    _ => {}
                }
                self.apply(event);
                self.deliver_buffered();
            }
            SimEvent::Arrives(link, event) if link == self.link => {
                self.buffered.push(event);
                self.deliver_buffered();
            }
            SimEvent::Machine(..) | SimEvent::Arrives(..) => {}
            SimEvent::SendArrives(call, attempt) => self.on_result(call, attempt),
            SimEvent::SendDone(call, attempt, result) => {
                if self.in_flight.get(&call) == Some(&attempt) {
                    self.in_flight.remove(&call);
                    if self.flaw == Flaw::ForgetsSends && result != SendResult::Done {
                        return;
                    }
                    self.apply(RunnerEvent::Sent { call, result });
                }
            }
            SimEvent::HostDone(call) => {
                if self.with_host.remove(&call) {
                    if self.rng.f64() < 0.05 {
                        self.let_go.insert(call.clone());
                        return self.apply(RunnerEvent::LetGo { call });
                    }
                    self.awaited.insert(call.clone());
                    self.apply(RunnerEvent::Replied { call, window: WINDOW });
                }
            }
            SimEvent::Settle => self.settle(),
            SimEvent::LeaseEnds => self.apply(RunnerEvent::LeaseEnded(End::LeaseLost)),
            SimEvent::Wake(number) if number == self.wakes => self.apply(RunnerEvent::Tick),
            SimEvent::Wake(_) => {}
        }
    }

    fn deliver_buffered(&mut self) {
        while !self.is_reading && !self.buffered.is_empty() && self.end.is_none() {
            let event = self.buffered.remove(0);
            self.apply(RunnerEvent::Live(event));
        }
    }

    fn close_link(&mut self) {
        self.link += 1;
        (self.is_open, self.is_reading, self.buffered) = (false, false, Vec::new());
    }
}
