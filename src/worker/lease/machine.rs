//! The lease on a work item: a pure state machine, without a clock or a socket. `hold.rs` drives it.
//!
//! ```text
//!            first good heartbeat                  finish
//!  Proving ───────────────────────► Held ───────────────────────► (stops the item, still beating) ──► over
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
//!     └── Unproven: nobody can tell whose the item is; it is acknowledged again
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
//! - Who acknowledged in time beats at once. A 412 within [`PROOF`] of the poll is its own doing, if a heartbeat may have been recorded.
//! - Who acknowledged late waits for [`PROOF`] from then, and takes a 412 for a no. So it cannot be the one whom the other takes for
//!   itself: the other's poll came before the late acknowledgement.
//! - Either believes a good answer only for as long as no lease can have begun and run out, which would have brought in a third. After
//!   that nothing is proven, and the item is acknowledged once more, late.
//!
//! This holds for leases that last for twice [`PROOF`] or longer; the service's last five minutes. `simulation.rs` looks for holes.

use crate::runtime::clock::ClockTime;
use std::time::Duration;

/// How long after a poll the first heartbeat of a worker that acknowledged in time is sure to be the first.
pub const PROOF: Duration = Duration::from_secs(10);
/// How long the item is kept being stopped when that fails.
pub const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// The same when the worker is at its end.
pub const LAST_STOP_PATIENCE: Duration = Duration::from_secs(4);

const LONGEST_INTERVAL: Duration = Duration::from_secs(30);
/// Bounds the first heartbeat: short enough for a second one within [`PROOF`].
const PROOF_TIMEOUT: Duration = Duration::from_secs(3);
/// As long as this a lease lasts at least, when the server has not said how long it does.
const SHORTEST_LEASE: Duration = Duration::from_secs(30);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(500);
/// Bounds a heartbeat, so that one over a dead connection leaves time for others over new ones.
const LONGEST_TIMEOUT: Duration = Duration::from_secs(10);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);
const FIRST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// How it stands with the lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Whether the item is ours is not known yet: no heartbeat was good so far.
    Proving,
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
    Asked,
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
            Reason::Asked => "asked",
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
pub enum Event {
    /// Time has passed.
    Woken,
    /// A heartbeat that was sent at `sent` has an outcome. `jitter`: 0 to 1.
    Beaten {
        /// When it was sent.
        sent: ClockTime,
        /// What came of it.
        outcome: Beaten,
        /// Takes up to a quarter off the pause before the next one, so that leases that began together do not beat together.
        jitter: f64,
    },
    /// The holder is done with the item, which is to be stopped.
    Finish {
        /// How long that is tried.
        patience: Duration,
    },
    /// A request to stop the item has an outcome.
    Stopped {
        /// What came of it.
        outcome: Stopped,
        /// Takes up to a quarter off the pause before the next attempt.
        jitter: f64,
    },
    /// The holder wants nothing more to be done.
    Abandon,
    /// The worker is at its end: the item is to be stopped, whoever holds it.
    GiveUp,
}

/// What came of a heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub enum Beaten {
    /// The server recorded it, or knows that the item is to be stopped.
    Good {
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
    Refused {
        /// The item's state and last heartbeat, if the server says them.
        current: Option<(String, Option<String>)>,
        /// Whether the request was sent twice, because the first time the connection broke.
        in_doubt: bool,
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
pub enum Stopped {
    /// The item is stopped, or was already.
    Done,
    /// Refused permanently.
    Rejected,
    /// No answer, or one that may be another next time.
    Failed,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Todo {
    /// Send a heartbeat.
    pub beat: Option<Beat>,
    /// Stop the item, within this time.
    pub stop: Option<Duration>,
    /// Come back at this moment, if nothing happens before.
    pub wake: Option<ClockTime>,
    /// How it ended.
    pub over: Option<Over>,
}

/// A heartbeat to be sent.
#[derive(Debug, Clone, PartialEq)]
pub struct Beat {
    /// The last heartbeat to state; `None`: that there was none.
    pub expected: Option<String>,
    /// How long it may take.
    pub timeout: Duration,
    /// When it should have been sent.
    pub due: ClockTime,
    /// When it is of no use any more. Of heartbeats that wait their turn, the one with the least goes first.
    pub until: ClockTime,
}

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Over {
    /// The item is stopped.
    Stopped,
    /// The item could not be stopped; its lease runs out by itself.
    NotStopped,
    /// The lease was lost: nothing was sent.
    Lost,
    /// The lease runs out by itself.
    Abandoned,
    /// The first heartbeat was refused permanently: the item is left to the queue.
    Refused,
    /// It could not be found out whose the item is: it has to be acknowledged again, late.
    Unproven,
}

/// A request that is made again and again.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Turn {
    Due(ClockTime),
    UnderWay,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Lease {
    standing: Standing,
    expected: Option<String>,
    ttl: Option<Duration>,
    /// Held, or to be stopped: nobody else can have the item before then. Proving: whoever shows up before then is us.
    sure_until: ClockTime,
    /// Proving, late: until when a good heartbeat is one.
    late_until: Option<ClockTime>,
    /// When the first heartbeat since the last good one was sent that may have arrived unnoticed.
    first_doubt: Option<ClockTime>,
    failures: u32,
    beat: Turn,
    stopping: Option<Stopping>,
    over: Option<Over>,
}

#[derive(Debug, Clone)]
struct Stopping {
    turn: Turn,
    until: ClockTime,
    failures: u32,
}

/// How long before a lease runs out its holder is told.
fn margin(ttl: Duration) -> Duration {
    (ttl / 10).clamp(Duration::from_millis(100), Duration::from_secs(5))
}

/// How long to wait between two heartbeats.
fn interval(ttl: Duration) -> Duration {
    (ttl / 2).min(LONGEST_INTERVAL)
}

/// A pause that doubles.
pub(in crate::worker) fn pause(failures: u32, jitter: f64) -> Duration {
    let doubled = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(failures.saturating_sub(1)));
    less(doubled.min(LONGEST_PAUSE), jitter)
}

/// A pause less a part that chance decides, up to a quarter.
fn less(pause: Duration, jitter: f64) -> Duration {
    pause.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0))
}

impl Stopping {
    fn was_tried(&self) -> bool {
        self.failures > 0 || self.turn == Turn::UnderWay
    }
}

impl Lease {
    /// A lease on an item that was acknowledged, and was asked for (by a poll) at `polled`. `is_late`: another poller may have been
    /// handed the item before it was acknowledged.
    pub fn new(now: ClockTime, polled: ClockTime, is_late: bool) -> Lease {
        Lease {
            standing: Standing::Proving,
            expected: None,
            ttl: None,
            sure_until: if is_late { ClockTime::ZERO } else { polled + PROOF },
            late_until: is_late.then(|| now + PROOF * 2),
            first_doubt: None,
            failures: 0,
            beat: Turn::Due(if is_late { now + PROOF } else { now }),
            stopping: None,
            over: None,
        }
    }

    /// How it stands.
    pub fn standing(&self) -> Standing {
        self.standing
    }

    /// Whether somebody else may have been handed the item before it was acknowledged.
    pub fn is_late(&self) -> bool {
        self.late_until.is_some()
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
    pub fn next(&mut self, now: ClockTime, event: Event) -> Todo {
        match event {
            Event::Woken => {}
            Event::Beaten { sent, outcome, jitter } => self.beaten(now, sent, outcome, jitter),
            Event::Finish { patience } => self.stop(now, patience),
            Event::Stopped { outcome, jitter } => self.stopped(now, outcome, jitter),
            Event::Abandon => self.end(Over::Abandoned),
            Event::GiveUp => self.give_up(now),
        }
        if matches!(self.standing, Standing::Held | Standing::StopRequested(_)) && now >= self.sure_until {
            self.lose(Reason::Expired);
        }
        if self.standing == Standing::Proving && self.proof_ends(None).is_some_and(|end| now >= end) {
            self.end(Over::Unproven);
        }
        // Each stop is tried once at least, also by a process that stood still; and cut off when it hangs.
        if self.stopping.as_ref().is_some_and(|stopping| stopping.was_tried() && now >= stopping.until) {
            self.end(Over::NotStopped);
        }
        self.todo(now)
    }

    fn beaten(&mut self, now: ClockTime, sent: ClockTime, outcome: Beaten, jitter: f64) {
        if !matches!(self.standing, Standing::Proving | Standing::Held) {
            return;
        }
        match outcome {
            _ if self.standing == Standing::Proving && self.proof_ends(Some(sent)).is_some_and(|end| now >= end) => {
                self.end(Over::Unproven);
            }
            Beaten::Good { state, .. } if matches!(state.as_str(), "stopping" | "stopped") => {
                self.request_stop(now, Reason::Asked)
            }
            // Nobody has served the item, so nobody ends it: it is left to whoever can have it.
            Beaten::Good { extended: false, .. } | Beaten::Rejected if self.standing == Standing::Proving => {
                self.end(Over::Refused);
            }
            Beaten::Good { extended: false, .. } => self.request_stop(now, Reason::NotExtended),
            Beaten::Good { last_heartbeat, ttl, .. } => {
                let ttl = Some(ttl).filter(|ttl| !ttl.is_zero()).or(self.ttl).unwrap_or(SHORTEST_LEASE);
                self.standing = Standing::Held;
                self.expected = Some(last_heartbeat);
                self.ttl = Some(ttl);
                self.sure_until = sent + ttl - margin(ttl);
                self.first_doubt = None;
                self.failures = 0;
                self.beat = Turn::Due(sent + less(interval(ttl), jitter));
            }
            Beaten::Refused { current, in_doubt } => {
                if in_doubt {
                    self.first_doubt.get_or_insert(sent);
                }
                match self.own_doing(now, current) {
                    Some(last_heartbeat) => {
                        self.expected = Some(last_heartbeat);
                        self.beat = Turn::Due(now);
                    }
                    None => self.lose(Reason::Taken),
                }
            }
            Beaten::Rejected => self.request_stop(now, Reason::Rejected),
            Beaten::Failed { may_have_arrived, retry_after } => {
                if may_have_arrived {
                    self.first_doubt.get_or_insert(sent);
                }
                self.failures += 1;
                let longest = interval(self.ttl.unwrap_or(SHORTEST_LEASE));
                let mut wait = retry_after.unwrap_or_else(|| pause(self.failures, jitter)).min(longest);
                if self.standing == Standing::Held {
                    // There is always time for one more.
                    wait = wait.min(self.sure_until.saturating_sub(now) / 2);
                }
                self.beat = Turn::Due(now + wait);
            }
        }
    }

    /// Until when a first heartbeat can prove anything; `sent`: when the one was sent that is about to. `None`: nothing was recorded yet.
    fn proof_ends(&self, sent: Option<ClockTime>) -> Option<ClockTime> {
        self.late_until.or_else(|| Some(self.first_doubt.or(sent)? + PROOF))
    }

    /// The heartbeat that the server reports in a 412, if it must be one of ours whose answer was lost.
    fn own_doing(&self, now: ClockTime, current: Option<(String, Option<String>)>) -> Option<String> {
        self.first_doubt?;
        let (state, last_heartbeat) = current?;
        let is_running = !matches!(state.as_str(), "queued" | "stopping" | "stopped");
        last_heartbeat.filter(|last| is_running && now < self.sure_until && Some(last) != self.expected.as_ref())
    }

    fn request_stop(&mut self, now: ClockTime, reason: Reason) {
        let is_proving = self.standing == Standing::Proving;
        if is_proving && self.is_late() {
            // It may be another's, who is not to lose it to us.
            return self.lose(reason);
        }
        self.standing = Standing::StopRequested(reason);
        if is_proving {
            // There is no holder who would finish; and from stopping no item goes back into the queue.
            self.sure_until = now + STOP_PATIENCE;
            self.stop(now, STOP_PATIENCE);
        }
    }

    fn lose(&mut self, reason: Reason) {
        let has_holder = matches!(self.standing, Standing::Held | Standing::StopRequested(_));
        let is_unfinished = has_holder && self.stopping.is_none();
        self.standing = Standing::Lost(reason);
        self.stopping = None;
        if !is_unfinished {
            self.end(Over::Lost);
        }
    }

    fn stop(&mut self, now: ClockTime, patience: Duration) {
        if matches!(self.standing, Standing::Lost(_)) {
            self.end(Over::Lost);
        } else if self.stopping.is_none() {
            self.stopping = Some(Stopping { turn: Turn::Due(now), until: now + patience, failures: 0 });
        }
    }

    fn stopped(&mut self, now: ClockTime, outcome: Stopped, jitter: f64) {
        let Some(stopping) = &mut self.stopping else { return };
        stopping.failures += 1;
        let again = now + pause(stopping.failures, jitter);
        match outcome {
            Stopped::Done => self.end(Over::Stopped),
            Stopped::Rejected => self.end(Over::NotStopped),
            Stopped::Failed if again >= stopping.until => self.end(Over::NotStopped),
            Stopped::Failed => stopping.turn = Turn::Due(again),
        }
    }

    fn give_up(&mut self, now: ClockTime) {
        match self.standing {
            Standing::Proving if self.late_until.is_some() => self.end(Over::Lost),
            Standing::Lost(_) => self.end(Over::Lost),
            Standing::Proving | Standing::Held => self.standing = Standing::StopRequested(Reason::Shutdown),
            Standing::StopRequested(_) => {}
        }
        let until = now + LAST_STOP_PATIENCE;
        match &mut self.stopping {
            Some(stopping) => stopping.until = stopping.until.min(until),
            None => self.stop(now, LAST_STOP_PATIENCE),
        }
    }

    fn end(&mut self, over: Over) {
        self.over.get_or_insert(over);
    }

    fn todo(&mut self, now: ClockTime) -> Todo {
        let mut todo = Todo { over: self.over, ..Todo::default() };
        if self.over.is_some() {
            return todo;
        }
        if let (Standing::Proving | Standing::Held, Turn::Due(due)) = (self.standing, self.beat) {
            if due <= now {
                let timeout = match self.standing {
                    Standing::Held => {
                        // One that hangs leaves time for another.
                        let left = self.sure_until - now;
                        LONGEST_TIMEOUT.min((left / 2).max(SHORTEST_TIMEOUT)).min(left)
                    }
                    _ => {
                        let left = self.proof_ends(Some(now)).map_or(PROOF, |end| end.saturating_sub(now));
                        (PROOF_TIMEOUT * (self.failures + 1)).min(left)
                    }
                };
                let until = match self.standing {
                    Standing::Held => self.sure_until,
                    _ => self.proof_ends(None).unwrap_or(now + PROOF),
                };
                self.beat = Turn::UnderWay;
                todo.beat = Some(Beat { expected: self.expected.clone(), timeout, due, until });
            } else {
                todo.wake = Some(due);
            }
        }
        if let Some(stopping) = &mut self.stopping
            && let Turn::Due(due) = stopping.turn
        {
            if due <= now {
                stopping.turn = Turn::UnderWay;
                // A request that is still on its way when the lease is not ours any more might stop another's work.
                let ours = self.sure_until.saturating_sub(now);
                let left = stopping.until.saturating_sub(now).max(SHORTEST_TIMEOUT);
                todo.stop = Some(STOP_TIMEOUT.min(left).min(ours));
            } else {
                todo.wake = Some(todo.wake.map_or(due, |wake| wake.min(due)));
            }
        }
        let end = match self.standing {
            Standing::Held | Standing::StopRequested(_) => Some(self.sure_until),
            Standing::Proving => self.proof_ends(None),
            Standing::Lost(_) => None,
        };
        let given_up = self.stopping.as_ref().filter(|stopping| stopping.was_tried()).map(|stopping| stopping.until);
        todo.wake = [todo.wake, end, given_up].into_iter().flatten().min();
        todo
    }
}

#[cfg(test)]
#[path = "machine_tests.rs"]
mod tests;
