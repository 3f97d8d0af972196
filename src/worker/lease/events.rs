//! What the state machine of a lease receives and returns: states, events, results of requests, actions.

use crate::runtime::clock::ClockTime;
use std::time::Duration;

/// The state of a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseState {
    /// No heartbeat was accepted yet, so it is unknown whether the item is ours.
    Unconfirmed,
    /// The item is acknowledged, and this worker sends no heartbeat: another process is to begin the lease.
    Claimed,
    /// The item is ours.
    Held,
    /// The item is ours, and has to be stopped.
    StopRequested(Reason),
    /// Another worker has the item, or may have it.
    Lost(Reason),
}

/// Why a lease is no longer simply held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The item is stopping or stopped at the server.
    StopRequested,
    /// The server did not extend the lease.
    NotExtended,
    /// The server refused a heartbeat permanently: the item or the credential is gone.
    Rejected,
    /// The worker was stopped, and its grace period has expired.
    Shutdown,
    /// The server reports another worker's heartbeat.
    Taken,
    /// No heartbeat was accepted for as long as the lease lasts.
    Expired,
}

impl Reason {
    /// Returns its name in a lease's state.
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

/// An event in the life of a lease.
#[derive(Debug, Clone, PartialEq)]
pub enum LeaseEvent {
    /// Time has passed.
    Tick,
    /// A heartbeat has ended.
    HeartbeatDone {
        /// When it was sent.
        sent: ClockTime,
        /// Its result.
        result: HeartbeatResult,
        /// From 0 to 1: shortens the pause before the next one, so that leases that began together do not send theirs together.
        jitter: f64,
    },
    /// The holder has finished the item, which has to be stopped.
    Finish {
        /// How long to try.
        timeout: Duration,
    },
    /// A request to stop the item has ended.
    StopDone {
        /// Its result.
        result: StopResult,
        /// From 0 to 1: shortens the pause before the next attempt.
        jitter: f64,
    },
    /// The holder abandons the item: nothing more is sent.
    Abandon,
    /// The holder hands the item over to another process: nothing more is sent once the last heartbeat is known.
    Release,
    /// The worker's grace period has expired: the item has to be stopped, with or without a holder.
    GraceExpired,
}

/// The result of a heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub enum HeartbeatResult {
    /// The server recorded it, or reports that the item is stopping or stopped.
    Accepted {
        /// What the next heartbeat has to state.
        last_heartbeat: String,
        /// Whether the lease was extended.
        extended: bool,
        /// The item's state.
        state: String,
        /// How long the lease lasts; zero: the server does not report it.
        ttl: Duration,
    },
    /// 412: the server has a different last heartbeat than the request stated.
    PreconditionFailed {
        /// The item's state and last heartbeat, if the server reports them.
        current: Option<(String, Option<String>)>,
        /// Whether it may have been recorded: the request was sent twice, because the connection broke the first time.
        may_have_arrived: bool,
    },
    /// Refused permanently.
    Rejected,
    /// A failure that may pass: no response, or a temporary error.
    Failed {
        /// Whether the server may have recorded it all the same.
        may_have_arrived: bool,
        /// The wait that the server asked for.
        retry_after: Option<Duration>,
    },
}

/// The result of a request to stop the item.
#[derive(Debug, Clone, PartialEq)]
pub enum StopResult {
    /// The item is stopped, or was before.
    Done,
    /// Refused permanently.
    Rejected,
    /// A failure that may pass: no response, or a temporary error.
    Failed,
}

/// What the driver has to do.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Actions {
    /// Send a heartbeat.
    pub heartbeat: Option<Heartbeat>,
    /// Send a request to stop the item, within this time.
    pub stop: Option<Duration>,
    /// Send a [`LeaseEvent::Tick`] at this time, unless something happens before.
    pub wake_at: Option<ClockTime>,
    /// The lease has ended, in this way.
    pub end: Option<LeaseEnd>,
}

/// A heartbeat to send.
#[derive(Debug, Clone, PartialEq)]
pub struct Heartbeat {
    /// The last heartbeat to state; `None`: there was none.
    pub expected: Option<String>,
    /// Bounds the request.
    pub timeout: Duration,
    /// When it was due.
    pub due: ClockTime,
    /// When it becomes useless. Of the heartbeats that wait for a permit, the one with the earliest time goes first.
    pub until: ClockTime,
}

/// How a lease ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeaseEnd {
    /// The item is stopped.
    Stopped,
    /// The item could not be stopped; its lease expires.
    NotStopped,
    /// The lease was lost: nothing was sent.
    Lost,
    /// The holder abandoned it; the lease expires.
    Abandoned,
    /// The holder handed it over to another process.
    Released,
    /// The first heartbeat was refused permanently; the item is left to the work queue.
    Rejected,
    /// No heartbeat confirmed in time whose the item is. It has to be acknowledged again, late.
    Unconfirmed,
}

impl LeaseEnd {
    /// Returns its name in the log.
    pub fn name(self) -> &'static str {
        match self {
            LeaseEnd::Stopped => "stopped",
            LeaseEnd::NotStopped => "not_stopped",
            LeaseEnd::Lost => "lost",
            LeaseEnd::Abandoned => "abandoned",
            LeaseEnd::Released => "released",
            LeaseEnd::Rejected => "rejected",
            LeaseEnd::Unconfirmed => "unconfirmed",
        }
    }
}
