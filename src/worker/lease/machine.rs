//! The lease on a work item: a pure state machine, without a clock or a socket. `hold.rs` drives it.
//!
//! ```text
//!            first good heartbeat                  finish
//!  Unconfirmed ───────────────────────► Held ───────────────────────► (stops the item, still beating) ──► over
//!     │                             │  │ stopping, stopped, not extended; refused permanently;
//!     │                             │  │ given up                                          finish
//!     │                             │  └──────────────────► StopRequested ───────────────────────► (stops) ──► over
//!     │                             │                            │ the lease may have run out
//!     │                             │                            ▼                        finish, abandon
//!     │                             └─────────────────────────► Lost ───────────────────────────────────────► over
//!     │                               somebody else's heartbeat (412);
//!     │                               no good heartbeat until the lease may have run out
//!     ├── stopping, stopped; given up: stopped at once, there is no holder yet
//!     ├── refused permanently, not extended: Refused, and left to the queue
//!     ├── somebody else's heartbeat: over
//!     └── Unconfirmed: nobody can tell whose the item is; it is acknowledged again
//! ```
//!
//! Two rules keep an item from being served twice.
//!
//! **A lease is held until the moment before which nobody else can have it**: the time at which the last good heartbeat was *sent*,
//! plus the time to live, less a margin. The server counts from when the heartbeat arrived, which is later. Past that moment the
//! holder is told that the lease is lost, whatever is on its way. That holds for one who was asked to stop, too: from that moment on
//! nothing is sent, and a request to stop the item that is under way is cut off.
//!
//! **A 412 is our own doing only if it must be.** A heartbeat whose answer did not come may have been recorded all the same; the
//! next one, which states an older heartbeat, is then refused. While the lease is held, nobody else can have made the one that the
//! server reports, so it was ours, and the next heartbeat states that.
//!
//! Before the first good heartbeat it takes more care, because an item may have been handed to two workers: to one that did not
//! acknowledge it in time, and then to another.
//!
//! - Who acknowledged in time beats at once. A 412 within [`CONFIRM_WINDOW`] of the poll is its own doing, if a heartbeat may have been recorded.
//! - Who acknowledged late waits for [`CONFIRM_WINDOW`] from then, and takes a 412 for a no. So it cannot be the one whom the other takes for
//!   itself: the other's poll came before the late acknowledgement.
//! - Either believes a good answer only for as long as no lease can have begun and run out, which would have brought in a third. After
//!   that nothing is proven, and the item is acknowledged once more, late.
//!
//! This holds for leases that last for twice [`CONFIRM_WINDOW`] or longer; the service's last five minutes. `simulation.rs` looks for holes.

use crate::backoff::{Backoff, shorten};
use crate::runtime::clock::Moment;
use std::time::Duration;

/// How long after a poll the first heartbeat of a worker that acknowledged in time is sure to be the first.
pub const CONFIRM_WINDOW: Duration = Duration::from_secs(10);
/// How long the item is kept being stopped when that fails.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// The same when the worker is at its end.
pub const SHUTDOWN_STOP_TIMEOUT: Duration = Duration::from_secs(4);

const MAX_INTERVAL: Duration = Duration::from_secs(30);
/// Bounds the first heartbeat: short enough for a second one within [`CONFIRM_WINDOW`].
const FIRST_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);
/// As long as this a lease lasts at least, when the server has not said how long it does.
const DEFAULT_TTL: Duration = Duration::from_secs(30);
const MIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Bounds a heartbeat, so that one over a dead connection leaves time for others over new ones.
const MAX_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses between attempts to send a heartbeat or to stop an item.
pub(in crate::worker) const BACKOFF: Backoff = Backoff { first: Duration::from_millis(250), max: Duration::from_secs(8) };

/// How it stands with the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// Whether the item is ours is not known yet: no heartbeat was good so far.
    Unconfirmed,
    /// The item is ours.
    Held,
    /// The item is ours, and is to be stopped.
    StopRequested(Reason),
    /// The item is somebody else's, or may be.
    Lost(Reason),
}

/// Why a lease is no longer simply held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The item is stopping or stopped at the server.
    StopRequested,
    /// The server did not extend the lease.
    NotExtended,
    /// The server refused a heartbeat for good: the item or the credential is gone.
    Rejected,
    /// The worker was stopped, and its grace period is over.
    Shutdown,
    /// The server has another's heartbeat.
    Taken,
    /// No heartbeat was good for as long as the lease lasts.
    Expired,
}

impl Reason {
    /// Its name in a lease's state.
    pub fn name(self) -> &'static str {
        match self {
            Reason::StopRequested => "asked",
            Reason::NotExtended => "not_extended",
            Reason::Rejected => "rejected",
            Reason::Shutdown => "shutdown",
            Reason::Taken => "taken",
            Reason::Expired => "expired",
        }
    }
}

/// What happens to a lease.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaseEvent {
    /// Time has passed.
    Tick,
    /// A heartbeat that was sent at `sent` has an outcome. `jitter`: 0 to 1.
    HeartbeatDone {
        /// When it was sent.
        sent: Moment,
        /// What came of it.
        result: HeartbeatResult,
        /// Takes up to a quarter off the pause before the next one, so that leases that began together do not beat together.
        jitter: f64,
    },
    /// The holder is done with the item, which is to be stopped.
    Finish {
        /// How long that is tried.
        timeout: Duration,
    },
    /// A request to stop the item has an outcome.
    StopDone {
        /// What came of it.
        result: StopResult,
        /// Takes up to a quarter off the pause before the next attempt.
        jitter: f64,
    },
    /// The holder wants nothing more to be done.
    Abandon,
    /// The worker is at its end: the item is to be stopped, whoever holds it.
    GraceExpired,
}

/// What came of a heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub enum HeartbeatResult {
    /// The server recorded it, or knows that the item is to be stopped.
    Accepted {
        /// What the next heartbeat must state.
        last_heartbeat: String,
        /// Whether the lease was extended.
        extended: bool,
        /// The item's state.
        state: String,
        /// How long the lease lasts; zero: the server did not say.
        ttl: Duration,
    },
    /// 412: the server has another heartbeat than was stated.
    PreconditionFailed {
        /// The item's state and last heartbeat, if the server says them.
        current: Option<(String, Option<String>)>,
        /// Whether the request was sent twice, because the first time the connection broke.
        may_have_arrived: bool,
    },
    /// Refused permanently.
    Rejected,
    /// No answer, or one that may be another next time.
    Failed {
        /// Whether the server may have recorded it.
        may_have_arrived: bool,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// What came of a request to stop the item.
#[derive(Debug, Clone, PartialEq)]
pub enum StopResult {
    /// The item is stopped, or was already.
    Done,
    /// Refused permanently.
    Rejected,
    /// No answer, or one that may be another next time.
    Failed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Actions {
    /// Send a heartbeat.
    pub heartbeat: Option<Heartbeat>,
    /// Stop the item, within this time.
    pub stop: Option<Duration>,
    /// Come back at this moment, if nothing happens before.
    pub wake_at: Option<Moment>,
    /// How it ended.
    pub end: Option<LeaseEnd>,
}

/// A heartbeat to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// The last heartbeat to state; `None`: that there was none.
    pub expected: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// When it should have been sent.
    pub due: Moment,
    /// When it is of no use any more. Of heartbeats that wait their turn, the one with the least goes first.
    pub until: Moment,
}

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// The item is stopped.
    Stopped,
    /// The item could not be stopped; its lease runs out by itself.
    NotStopped,
    /// The lease was lost: nothing was sent.
    Lost,
    /// The lease runs out by itself.
    Abandoned,
    /// The first heartbeat was refused permanently: the item is left to the queue.
    Rejected,
    /// It could not be found out whose the item is: it has to be acknowledged again, late.
    Unconfirmed,
}

/// A request that is made again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Schedule {
    Due(Moment),
    InFlight,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct LeaseMachine {
    state: LeaseState,
    expected: Option<String>,
    ttl: Option<Duration>,
    /// Held, or to be stopped: nobody else can have the item before then. Unconfirmed: whoever shows up before then is us.
    exclusive_until: Moment,
    /// Unconfirmed, late: until when a good heartbeat is one.
    late_deadline: Option<Moment>,
    /// When the first heartbeat since the last good one was sent that may have arrived unnoticed.
    unconfirmed_since: Option<Moment>,
    failures: u32,
    heartbeat: Schedule,
    stopping: Option<Stopping>,
    end: Option<LeaseEnd>,
}

#[derive(Debug, Clone)]
struct Stopping {
    schedule: Schedule,
    until: Moment,
    failures: u32,
}

/// How long before a lease runs out its holder is told.
fn margin(ttl: Duration) -> Duration {
    (ttl / 10).clamp(Duration::from_millis(100), Duration::from_secs(5))
}

/// How long to wait between two heartbeats.
fn interval(ttl: Duration) -> Duration {
    (ttl / 2).min(MAX_INTERVAL)
}

impl Stopping {
    fn was_tried(&self) -> bool {
        self.failures > 0 || self.schedule == Schedule::InFlight
    }
}

impl LeaseMachine {
    /// A lease on an item that was acknowledged, and was asked for (by a poll) at `polled`. `is_late`: another poller may have been
    /// handed the item before it was acknowledged.
    pub fn new(now: Moment, polled: Moment, is_late: bool) -> LeaseMachine {
        LeaseMachine {
            state: LeaseState::Unconfirmed,
            expected: None,
            ttl: None,
            exclusive_until: if is_late { Moment::ZERO } else { polled + CONFIRM_WINDOW },
            late_deadline: is_late.then(|| now + CONFIRM_WINDOW * 2),
            unconfirmed_since: None,
            failures: 0,
            heartbeat: Schedule::Due(if is_late { now + CONFIRM_WINDOW } else { now }),
            stopping: None,
            end: None,
        }
    }

    /// How it stands.
    pub fn state(&self) -> LeaseState {
        self.state
    }

    /// Whether somebody else may have been handed the item before it was acknowledged.
    pub fn is_late(&self) -> bool {
        self.late_deadline.is_some()
    }

    /// How long the lease lasts, as far as the server has said.
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// The last heartbeat that the server is known to have.
    pub fn last_heartbeat(&self) -> Option<&str> {
        self.expected.as_deref()
    }

    /// Takes in what happened, and says what is to be done.
    pub fn next(&mut self, now: Moment, event: LeaseEvent) -> Actions {
        match event {
            LeaseEvent::Tick => {}
            LeaseEvent::HeartbeatDone { sent, result, jitter } => self.on_heartbeat(now, sent, result, jitter),
            LeaseEvent::Finish { timeout } => self.stop(now, timeout),
            LeaseEvent::StopDone { result, jitter } => self.on_stop(now, result, jitter),
            LeaseEvent::Abandon => self.end_with(LeaseEnd::Abandoned),
            LeaseEvent::GraceExpired => self.on_grace_expired(now),
        }
        if matches!(self.state, LeaseState::Held | LeaseState::StopRequested(_)) && now >= self.exclusive_until {
            self.lose(Reason::Expired);
        }
        if self.state == LeaseState::Unconfirmed && self.confirmation_deadline(None).is_some_and(|end| now >= end) {
            self.end_with(LeaseEnd::Unconfirmed);
        }
        // Each stop is tried once at least, also by a process that stood still; and cut off when it hangs.
        if self.stopping.as_ref().is_some_and(|stopping| stopping.was_tried() && now >= stopping.until) {
            self.end_with(LeaseEnd::NotStopped);
        }
        self.actions(now)
    }

    fn on_heartbeat(&mut self, now: Moment, sent: Moment, result: HeartbeatResult, jitter: f64) {
        if !matches!(self.state, LeaseState::Unconfirmed | LeaseState::Held) {
            return;
        }
        match result {
            _ if self.state == LeaseState::Unconfirmed
                && self.confirmation_deadline(Some(sent)).is_some_and(|end| now >= end) =>
            {
                self.end_with(LeaseEnd::Unconfirmed);
            }
            HeartbeatResult::Accepted { state, .. } if matches!(state.as_str(), "stopping" | "stopped") => {
                self.request_stop(now, Reason::StopRequested)
            }
            // Nobody has served the item, so nobody ends it: it is left to whoever can have it.
            HeartbeatResult::Accepted { extended: false, .. } | HeartbeatResult::Rejected
                if self.state == LeaseState::Unconfirmed =>
            {
                self.end_with(LeaseEnd::Rejected);
            }
            HeartbeatResult::Accepted { extended: false, .. } => self.request_stop(now, Reason::NotExtended),
            HeartbeatResult::Accepted { last_heartbeat, ttl, .. } => {
                let ttl = Some(ttl).filter(|ttl| !ttl.is_zero()).or(self.ttl).unwrap_or(DEFAULT_TTL);
                self.state = LeaseState::Held;
                self.expected = Some(last_heartbeat);
                self.ttl = Some(ttl);
                self.exclusive_until = sent + ttl - margin(ttl);
                self.unconfirmed_since = None;
                self.failures = 0;
                self.heartbeat = Schedule::Due(sent + shorten(interval(ttl), jitter));
            }
            HeartbeatResult::PreconditionFailed { current, may_have_arrived } => {
                if may_have_arrived {
                    self.unconfirmed_since.get_or_insert(sent);
                }
                match self.own_heartbeat(now, current) {
                    Some(last_heartbeat) => {
                        self.expected = Some(last_heartbeat);
                        self.heartbeat = Schedule::Due(now);
                    }
                    None => self.lose(Reason::Taken),
                }
            }
            HeartbeatResult::Rejected => self.request_stop(now, Reason::Rejected),
            HeartbeatResult::Failed { may_have_arrived, retry_after } => {
                if may_have_arrived {
                    self.unconfirmed_since.get_or_insert(sent);
                }
                let max = interval(self.ttl.unwrap_or(DEFAULT_TTL));
                let mut wait = retry_after.unwrap_or_else(|| BACKOFF.pause(self.failures, jitter)).min(max);
                self.failures += 1;
                if self.state == LeaseState::Held {
                    // There is always time for one more.
                    wait = wait.min(self.exclusive_until.saturating_sub(now) / 2);
                }
                self.heartbeat = Schedule::Due(now + wait);
            }
        }
    }

    /// Until when a first heartbeat can prove anything; `sent`: when the one was sent that is about to. `None`: nothing was recorded yet.
    fn confirmation_deadline(&self, sent: Option<Moment>) -> Option<Moment> {
        self.late_deadline.or_else(|| Some(self.unconfirmed_since.or(sent)? + CONFIRM_WINDOW))
    }

    /// The heartbeat that the server reports in a 412, if it must be one of ours whose answer was lost.
    fn own_heartbeat(&self, now: Moment, current: Option<(String, Option<String>)>) -> Option<String> {
        self.unconfirmed_since?;
        let (state, last_heartbeat) = current?;
        let is_running = !matches!(state.as_str(), "queued" | "stopping" | "stopped");
        last_heartbeat.filter(|last| is_running && now < self.exclusive_until && Some(last) != self.expected.as_ref())
    }

    fn request_stop(&mut self, now: Moment, reason: Reason) {
        let is_unconfirmed = self.state == LeaseState::Unconfirmed;
        if is_unconfirmed && self.is_late() {
            // It may be another's, who is not to lose it to us.
            return self.lose(reason);
        }
        self.state = LeaseState::StopRequested(reason);
        if is_unconfirmed {
            // There is no holder who would finish; and from stopping no item goes back into the queue.
            self.exclusive_until = now + STOP_TIMEOUT;
            self.stop(now, STOP_TIMEOUT);
        }
    }

    fn lose(&mut self, reason: Reason) {
        let has_holder = matches!(self.state, LeaseState::Held | LeaseState::StopRequested(_));
        let is_unfinished = has_holder && self.stopping.is_none();
        self.state = LeaseState::Lost(reason);
        self.stopping = None;
        if !is_unfinished {
            self.end_with(LeaseEnd::Lost);
        }
    }

    fn stop(&mut self, now: Moment, timeout: Duration) {
        if matches!(self.state, LeaseState::Lost(_)) {
            self.end_with(LeaseEnd::Lost);
        } else if self.stopping.is_none() {
            self.stopping = Some(Stopping { schedule: Schedule::Due(now), until: now + timeout, failures: 0 });
        }
    }

    fn on_stop(&mut self, now: Moment, result: StopResult, jitter: f64) {
        let Some(stopping) = &mut self.stopping else { return };
        let again = now + BACKOFF.pause(stopping.failures, jitter);
        stopping.failures += 1;
        match result {
            StopResult::Done => self.end_with(LeaseEnd::Stopped),
            StopResult::Rejected => self.end_with(LeaseEnd::NotStopped),
            StopResult::Failed if again >= stopping.until => self.end_with(LeaseEnd::NotStopped),
            StopResult::Failed => stopping.schedule = Schedule::Due(again),
        }
    }

    fn on_grace_expired(&mut self, now: Moment) {
        match self.state {
            LeaseState::Unconfirmed if self.late_deadline.is_some() => self.end_with(LeaseEnd::Lost),
            LeaseState::Lost(_) => self.end_with(LeaseEnd::Lost),
            LeaseState::Unconfirmed | LeaseState::Held => self.state = LeaseState::StopRequested(Reason::Shutdown),
            LeaseState::StopRequested(_) => {}
        }
        let until = now + SHUTDOWN_STOP_TIMEOUT;
        match &mut self.stopping {
            Some(stopping) => stopping.until = stopping.until.min(until),
            None => self.stop(now, SHUTDOWN_STOP_TIMEOUT),
        }
    }

    fn end_with(&mut self, end: LeaseEnd) {
        self.end.get_or_insert(end);
    }

    fn actions(&mut self, now: Moment) -> Actions {
        let mut actions = Actions { end: self.end, ..Actions::default() };
        if self.end.is_some() {
            return actions;
        }
        if let (LeaseState::Unconfirmed | LeaseState::Held, Schedule::Due(due)) = (self.state, self.heartbeat) {
            if due <= now {
                let timeout = match self.state {
                    LeaseState::Held => {
                        // One that hangs leaves time for another.
                        let left = self.exclusive_until - now;
                        MAX_HEARTBEAT_TIMEOUT.min((left / 2).max(MIN_TIMEOUT)).min(left)
                    }
                    _ => {
                        let left = self.confirmation_deadline(Some(now)).map_or(CONFIRM_WINDOW, |end| end.saturating_sub(now));
                        (FIRST_HEARTBEAT_TIMEOUT * (self.failures + 1)).min(left)
                    }
                };
                let until = match self.state {
                    LeaseState::Held => self.exclusive_until,
                    _ => self.confirmation_deadline(None).unwrap_or(now + CONFIRM_WINDOW),
                };
                self.heartbeat = Schedule::InFlight;
                actions.heartbeat = Some(Heartbeat { expected: self.expected.clone(), timeout, due, until });
            } else {
                actions.wake_at = Some(due);
            }
        }
        if let Some(stopping) = &mut self.stopping
            && let Schedule::Due(due) = stopping.schedule
        {
            if due <= now {
                stopping.schedule = Schedule::InFlight;
                // A request that is still on its way when the lease is not ours any more might stop another's work.
                let ours = self.exclusive_until.saturating_sub(now);
                let left = stopping.until.saturating_sub(now).max(MIN_TIMEOUT);
                actions.stop = Some(STOP_ATTEMPT_TIMEOUT.min(left).min(ours));
            } else {
                actions.wake_at = Some(actions.wake_at.map_or(due, |wake| wake.min(due)));
            }
        }
        let end = match self.state {
            LeaseState::Held | LeaseState::StopRequested(_) => Some(self.exclusive_until),
            LeaseState::Unconfirmed => self.confirmation_deadline(None),
            LeaseState::Lost(_) => None,
        };
        let given_up = self.stopping.as_ref().filter(|stopping| stopping.was_tried()).map(|stopping| stopping.until);
        actions.wake_at = [actions.wake_at, end, given_up].into_iter().flatten().min();
        actions
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
