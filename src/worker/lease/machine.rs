//! The lease on a work item: a pure state machine, without a clock or a socket. `task.rs` drives it.
//!
//! ```text
//!              first accepted heartbeat             finish
//!  Unconfirmed ──────────────────────► Held ───────────────────────► (stops the item, heartbeats go on) ──► end
//!     │                                │  │ stopping, stopped, not extended; refused permanently;
//!     │                                │  │ grace period expired                              finish
//!     │                                │  └──────────────────► StopRequested ───────────────────────► (stops) ──► end
//!     │                                │                            │ the lease may have expired
//!     │                                │                            ▼                    finish, abandon
//!     │                                └─────────────────────────► Lost ─────────────────────────────────────► end
//!     │                                  another worker's heartbeat (412);
//!     │                                  no accepted heartbeat until the lease may have expired
//!     ├── stopping, stopped; grace period expired: stopped at once, there is no holder yet
//!     ├── refused permanently, not extended: end (Rejected), left to the work queue
//!     ├── another worker's heartbeat: end (Lost)
//!     └── not confirmed in time: end (Unconfirmed), the item is acknowledged again
//!
//!  Claimed ── the time to hand it over is over ──► Lost     (claim only: no heartbeat is sent)
//!
//!  release: Held, Claimed, StopRequested ──► end (Released), once no heartbeat is in doubt
//! ```
//!
//! Two rules keep an item from being served twice.
//!
//! **A lease is held only as long as no other worker can have the item**: from the time at which the last accepted heartbeat was *sent*,
//! for the time to live, less a margin. The server counts from when the heartbeat arrived, which is later. After that the holder is
//! notified that the lease is lost, whatever is in flight. The rule also holds for a holder that was asked to stop: after that time
//! nothing is sent, and a request to stop the item that is in flight is cut off.
//!
//! **Attribute a 412 to ourselves only when nothing else can explain it.** A heartbeat whose response was lost may have been recorded all
//! the same; the next one, which states an older heartbeat, is then refused. While the lease is held, no other worker can have sent the
//! heartbeat that the server reports, so it was ours, and the next one states it.
//!
//! Before the first accepted heartbeat more care is needed, because an item may have been handed to two workers: to one that did not
//! acknowledge it in time, and then to another.
//!
//! - A worker that acknowledged in time sends its heartbeat immediately. It attributes a 412 within [`CONFIRM_WINDOW`] of the poll to itself
//!   if an earlier heartbeat may have been recorded.
//! - A worker that acknowledged late waits for [`CONFIRM_WINDOW`] first, and never attributes a 412 to itself. So the other worker cannot
//!   mistake this heartbeat for its own: its poll came before the late acknowledgement.
//! - Either worker trusts an accepted heartbeat only while no lease can have started and expired in between, which would have brought in a
//!   third worker. After that nothing is confirmed, and the item is acknowledged once more, late.
//!
//! **A lease that another process hands over is proven by its first heartbeat alone.** That heartbeat states the last one of the other
//! process, or that there was none, so the server accepts it from one process only. A 412 is never attributed to this process: a second
//! one that was given the same heartbeat could not be distinguished from it. An item that is stopping is stopped only if the server still
//! has the heartbeat that was handed over; otherwise a third process has served it since.
//!
//! This holds for leases of at least twice [`CONFIRM_WINDOW`]; the service's last five minutes. The simulation searches for holes.

pub use super::events::{Actions, Heartbeat, HeartbeatResult, LeaseEnd, LeaseEvent, LeaseState, Reason, StopResult};
use crate::backoff::{Backoff, shorten};
use crate::runtime::clock::ClockTime;
use std::time::Duration;

/// How long after its poll the first heartbeat of a worker that acknowledged in time is sure to be the item's first.
pub const CONFIRM_WINDOW: Duration = Duration::from_secs(10);
/// Bounds all attempts to stop an item together.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(60);
/// The same when the worker's grace period has expired.
pub const SHUTDOWN_STOP_TIMEOUT: Duration = Duration::from_secs(4);

/// The longest interval between heartbeats.
const MAX_INTERVAL: Duration = Duration::from_secs(30);
/// Bounds the first heartbeat: short enough for a second one within [`CONFIRM_WINDOW`].
const FIRST_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(3);
/// The assumed time to live, when the server does not report one.
const DEFAULT_TTL: Duration = Duration::from_secs(30);
/// The least time that a request gets.
const MIN_TIMEOUT: Duration = Duration::from_millis(500);
/// Bounds a heartbeat, so that one over a dead connection leaves time for another over a new one.
const MAX_HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(10);
/// Bounds one attempt to stop the item.
const STOP_ATTEMPT_TIMEOUT: Duration = Duration::from_secs(10);
/// The pauses between attempts to send a heartbeat or to stop an item.
pub(in crate::worker) const BACKOFF: Backoff = Backoff { first: Duration::from_millis(250), max: Duration::from_secs(8) };

/// When a repeated request is sent next.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Schedule {
    Due(ClockTime),
    InFlight,
}

impl Schedule {
    fn due(self) -> Option<ClockTime> {
        match self {
            Schedule::Due(due) => Some(due),
            Schedule::InFlight => None,
        }
    }
}

/// The state machine of one lease.
#[derive(Debug, Clone)]
pub struct LeaseMachine {
    state: LeaseState,
    expected: Option<String>,
    ttl: Option<Duration>,
    /// Held or stop requested: no other worker can have the item before then. Unconfirmed: a heartbeat recorded before then is ours.
    exclusive_until: ClockTime,
    /// Unconfirmed, acknowledged late: until when an accepted heartbeat is trusted.
    late_deadline: Option<ClockTime>,
    /// When the first heartbeat since the last accepted one was sent that may have been recorded unnoticed.
    unconfirmed_since: Option<ClockTime>,
    failures: u32,
    heartbeat: Schedule,
    stopping: Option<Stopping>,
    /// Claim only: until when the item can be handed over.
    claimed_until: Option<ClockTime>,
    /// Whether another process handed the lease over.
    is_adopted: bool,
    /// Whether the holder hands the item over to another process.
    is_releasing: bool,
    end: Option<LeaseEnd>,
}

#[derive(Debug, Clone)]
struct Stopping {
    schedule: Schedule,
    until: ClockTime,
    failures: u32,
}

/// Returns how long before its expiry a lease counts as lost.
fn margin(ttl: Duration) -> Duration {
    (ttl / 10).clamp(Duration::from_millis(100), Duration::from_secs(5))
}

/// Returns the interval between heartbeats.
fn interval(ttl: Duration) -> Duration {
    (ttl / 2).min(MAX_INTERVAL)
}

impl Stopping {
    fn was_tried(&self) -> bool {
        self.failures > 0 || self.schedule == Schedule::InFlight
    }
}

impl LeaseMachine {
    /// Creates the lease on an acknowledged item whose poll was sent at `polled`. `is_late`: another worker may have been handed the item
    /// before it was acknowledged.
    pub fn new(now: ClockTime, polled: ClockTime, is_late: bool) -> LeaseMachine {
        LeaseMachine {
            state: LeaseState::Unconfirmed,
            expected: None,
            ttl: None,
            exclusive_until: if is_late { ClockTime::ZERO } else { polled + CONFIRM_WINDOW },
            late_deadline: is_late.then(|| now + CONFIRM_WINDOW * 2),
            unconfirmed_since: None,
            failures: 0,
            heartbeat: Schedule::Due(if is_late { now + CONFIRM_WINDOW } else { now }),
            stopping: None,
            claimed_until: None,
            is_adopted: false,
            is_releasing: false,
            end: None,
        }
    }

    /// Creates the lease on an item that was acknowledged in time, and whose first heartbeat another process sends. After `until` the
    /// item may be rescued, and another worker's.
    pub fn claim_only(until: ClockTime) -> LeaseMachine {
        let heartbeat = Schedule::Due(ClockTime::MAX);
        LeaseMachine { heartbeat, claimed_until: Some(until), ..LeaseMachine::new(ClockTime::ZERO, ClockTime::ZERO, false) }
    }

    /// Creates the lease on an item that another process hands over, with its last heartbeat; `None`: it has sent none.
    pub fn adopted(now: ClockTime, last_heartbeat: Option<String>) -> LeaseMachine {
        LeaseMachine {
            expected: last_heartbeat,
            late_deadline: Some(now + CONFIRM_WINDOW),
            heartbeat: Schedule::Due(now),
            is_adopted: true,
            ..LeaseMachine::new(now, now, true)
        }
    }

    /// Returns the lease's state.
    pub fn state(&self) -> LeaseState {
        self.state
    }

    /// Returns whether another worker may have been handed the item before it was acknowledged.
    pub fn is_late(&self) -> bool {
        self.late_deadline.is_some()
    }

    /// Returns whether no heartbeat is sent, because another process is to begin the lease.
    pub fn is_claim_only(&self) -> bool {
        self.claimed_until.is_some()
    }

    /// Returns whether another process handed the lease over.
    pub fn is_adopted(&self) -> bool {
        self.is_adopted
    }

    /// Returns whether the holder hands the item over to another process.
    pub fn is_releasing(&self) -> bool {
        self.is_releasing
    }

    /// Returns how long the lease lasts, if the server has reported it.
    pub fn ttl(&self) -> Option<Duration> {
        self.ttl
    }

    /// Returns the last heartbeat that the server is known to have.
    pub fn last_heartbeat(&self) -> Option<&str> {
        self.expected.as_deref()
    }

    /// Applies an event, and returns what to do.
    pub fn next(&mut self, now: ClockTime, event: LeaseEvent) -> Actions {
        match event {
            LeaseEvent::Tick => {}
            LeaseEvent::HeartbeatDone { sent, result, jitter } => self.on_heartbeat(now, sent, result, jitter),
            LeaseEvent::Finish { timeout } => self.stop(now, timeout),
            LeaseEvent::StopDone { result, jitter } => self.on_stop(now, result, jitter),
            LeaseEvent::Abandon => self.end_with(LeaseEnd::Abandoned),
            LeaseEvent::Release => self.is_releasing = true,
            LeaseEvent::GraceExpired => self.on_grace_expired(now),
        }
        if let (LeaseState::Unconfirmed, Some(until)) = (self.state, self.claimed_until) {
            (self.state, self.exclusive_until) = (LeaseState::Claimed, until);
        }
        if self.has_holder() && now >= self.exclusive_until {
            self.lose(Reason::Expired);
        }
        if self.state == LeaseState::Unconfirmed && self.confirmation_deadline(None).is_some_and(|end| now >= end) {
            self.end_unconfirmed();
        }
        if self.is_releasing {
            self.release();
        }
        // A stop is tried at least once, even by a process that was stopped meanwhile; one that hangs is cut off.
        if self.stopping.as_ref().is_some_and(|stopping| stopping.was_tried() && now >= stopping.until) {
            self.end_with(LeaseEnd::NotStopped);
        }
        self.actions(now)
    }

    fn on_heartbeat(&mut self, now: ClockTime, sent: ClockTime, result: HeartbeatResult, jitter: f64) {
        if !matches!(self.state, LeaseState::Unconfirmed | LeaseState::Held) {
            return;
        }
        match result {
            _ if self.state == LeaseState::Unconfirmed
                && self.confirmation_deadline(Some(sent)).is_some_and(|end| now >= end) =>
            {
                self.end_unconfirmed();
            }
            HeartbeatResult::Accepted { state, last_heartbeat, .. } if matches!(state.as_str(), "stopping" | "stopped") => {
                let is_unchanged = last_heartbeat == self.expected.as_deref().unwrap_or_default();
                self.request_stop(now, Reason::StopRequested, is_unchanged || state == "stopped");
            }
            // The process that handed it over has served it.
            HeartbeatResult::Accepted { extended: false, .. } if self.is_adopted && self.expected.is_some() => {
                self.request_stop(now, Reason::NotExtended, true);
            }
            // No worker has served the item, so this one does not stop it either.
            HeartbeatResult::Accepted { extended: false, .. } | HeartbeatResult::Rejected
                if self.state == LeaseState::Unconfirmed =>
            {
                self.end_with(LeaseEnd::Rejected);
            }
            HeartbeatResult::Accepted { extended: false, .. } => self.request_stop(now, Reason::NotExtended, true),
            HeartbeatResult::Accepted { last_heartbeat, ttl, .. } => {
                let ttl = Some(ttl).filter(|ttl| !ttl.is_zero()).or(self.ttl).unwrap_or(DEFAULT_TTL);
                if self.state == LeaseState::Unconfirmed && now >= sent + ttl - margin(ttl) {
                    // The lease began, and may have expired since.
                    return self.end_unconfirmed();
                }
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
            HeartbeatResult::Rejected => self.request_stop(now, Reason::Rejected, true),
            HeartbeatResult::Failed { may_have_arrived, retry_after } => {
                if may_have_arrived {
                    self.unconfirmed_since.get_or_insert(sent);
                }
                let max = interval(self.ttl.unwrap_or(DEFAULT_TTL));
                let mut wait = retry_after.unwrap_or_else(|| BACKOFF.pause(self.failures, jitter)).min(max);
                self.failures += 1;
                if self.state == LeaseState::Held {
                    // Leave time for another attempt.
                    wait = wait.min(self.exclusive_until.saturating_sub(now) / 2);
                }
                self.heartbeat = Schedule::Due(now + wait);
            }
        }
    }

    /// Returns until when a first heartbeat can confirm the lease. `sent`: when the one in question was sent. `None`: none can have been
    /// recorded yet, so there is no limit.
    fn confirmation_deadline(&self, sent: Option<ClockTime>) -> Option<ClockTime> {
        self.late_deadline.or_else(|| Some(self.unconfirmed_since.or(sent)? + CONFIRM_WINDOW))
    }

    /// Returns the heartbeat that the server reports in a 412, if only one of ours whose response was lost can explain it.
    fn own_heartbeat(&self, now: ClockTime, current: Option<(String, Option<String>)>) -> Option<String> {
        self.unconfirmed_since?;
        let (state, last_heartbeat) = current?;
        let is_running = !matches!(state.as_str(), "queued" | "stopping" | "stopped");
        last_heartbeat.filter(|last| is_running && now < self.exclusive_until && Some(last) != self.expected.as_ref())
    }

    /// `is_unchanged`: no other process can have sent a heartbeat since the one that this lease was handed over with.
    fn request_stop(&mut self, now: ClockTime, reason: Reason, is_unchanged: bool) {
        let is_unconfirmed = self.state == LeaseState::Unconfirmed;
        if is_unconfirmed && self.is_late() && !(self.is_adopted && is_unchanged) {
            // The item may be another worker's, which must not lose it to this one.
            return self.lose(reason);
        }
        self.state = LeaseState::StopRequested(reason);
        if is_unconfirmed {
            // There is no holder that would finish it, and a stopping item does not return to the work queue.
            self.exclusive_until = now + STOP_TIMEOUT;
            self.stop(now, STOP_TIMEOUT);
        }
    }

    fn has_holder(&self) -> bool {
        matches!(self.state, LeaseState::Claimed | LeaseState::Held | LeaseState::StopRequested(_))
    }

    /// Ends the lease for its holder once the last heartbeat is known. The next holder has to state it.
    fn release(&mut self) {
        let is_in_doubt = self.heartbeat == Schedule::InFlight || self.unconfirmed_since.is_some();
        match self.state {
            LeaseState::Lost(_) => self.end_with(LeaseEnd::Lost),
            LeaseState::Held if is_in_doubt => {}
            _ if self.stopping.is_some() => {}
            _ => self.end_with(LeaseEnd::Released),
        }
    }

    fn lose(&mut self, reason: Reason) {
        let is_unfinished = self.has_holder() && self.stopping.is_none();
        self.state = LeaseState::Lost(reason);
        self.stopping = None;
        if !is_unfinished {
            self.end_with(LeaseEnd::Lost);
        }
    }

    fn stop(&mut self, now: ClockTime, timeout: Duration) {
        if matches!(self.state, LeaseState::Lost(_)) {
            self.end_with(LeaseEnd::Lost);
        } else if self.stopping.is_none() {
            self.stopping = Some(Stopping { schedule: Schedule::Due(now), until: now + timeout, failures: 0 });
        }
    }

    fn on_stop(&mut self, now: ClockTime, result: StopResult, jitter: f64) {
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

    fn on_grace_expired(&mut self, now: ClockTime) {
        match self.state {
            LeaseState::Unconfirmed if self.late_deadline.is_some() => self.end_with(LeaseEnd::Lost),
            LeaseState::Claimed => {
                self.state = LeaseState::Lost(Reason::Shutdown);
                self.end_with(LeaseEnd::Lost);
            }
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

    /// Ends a lease that no heartbeat confirmed in time.
    fn end_unconfirmed(&mut self) {
        self.end_with(if self.is_adopted { LeaseEnd::Lost } else { LeaseEnd::Unconfirmed });
    }

    fn end_with(&mut self, end: LeaseEnd) {
        self.end.get_or_insert(end);
    }

    fn actions(&mut self, now: ClockTime) -> Actions {
        if self.end.is_some() {
            return Actions { end: self.end, ..Actions::default() };
        }
        let (heartbeat, stop) = (self.due_heartbeat(now), self.due_stop(now));
        Actions { heartbeat, stop, wake_at: self.next_wake(), end: None }
    }

    /// Returns the heartbeat that is due, if there is one, which is then in flight.
    fn due_heartbeat(&mut self, now: ClockTime) -> Option<Heartbeat> {
        let due = self.heartbeat.due().filter(|due| *due <= now)?;
        let (timeout, until) = match self.state {
            LeaseState::Held => {
                // A heartbeat that hangs leaves time for another.
                let left = self.exclusive_until - now;
                (MAX_HEARTBEAT_TIMEOUT.min((left / 2).max(MIN_TIMEOUT)).min(left), self.exclusive_until)
            }
            LeaseState::Unconfirmed => {
                let left = self.confirmation_deadline(Some(now)).map_or(CONFIRM_WINDOW, |end| end.saturating_sub(now));
                let until = self.confirmation_deadline(None).unwrap_or(now + CONFIRM_WINDOW);
                ((FIRST_HEARTBEAT_TIMEOUT * (self.failures + 1)).min(left), until)
            }
            LeaseState::Claimed | LeaseState::StopRequested(_) | LeaseState::Lost(_) => return None,
        };
        self.heartbeat = Schedule::InFlight;
        Some(Heartbeat { expected: self.expected.clone(), timeout, due, until })
    }

    /// Returns the timeout of the request to stop the item that is due, if there is one, which is then in flight.
    fn due_stop(&mut self, now: ClockTime) -> Option<Duration> {
        let stopping = self.stopping.as_mut().filter(|stopping| stopping.schedule.due().is_some_and(|due| due <= now))?;
        stopping.schedule = Schedule::InFlight;
        // A request still in flight when the lease is no longer ours might stop another worker's item.
        let ours = self.exclusive_until.saturating_sub(now);
        let left = stopping.until.saturating_sub(now).max(MIN_TIMEOUT);
        Some(STOP_ATTEMPT_TIMEOUT.min(left).min(ours))
    }

    /// Returns when something is due, or a time limit is reached.
    fn next_wake(&self) -> Option<ClockTime> {
        let (heartbeat, limit) = match self.state {
            LeaseState::Held => (self.heartbeat.due(), Some(self.exclusive_until)),
            LeaseState::Unconfirmed => (self.heartbeat.due(), self.confirmation_deadline(None)),
            LeaseState::Claimed | LeaseState::StopRequested(_) => (None, Some(self.exclusive_until)),
            LeaseState::Lost(_) => (None, None),
        };
        let stop = self.stopping.as_ref().and_then(|stopping| stopping.schedule.due());
        let stop_limit = self.stopping.as_ref().filter(|stopping| stopping.was_tried()).map(|stopping| stopping.until);
        [heartbeat, limit, stop, stop_limit].into_iter().flatten().min()
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "handover_tests.rs"]
mod handover_tests;
