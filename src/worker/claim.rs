//! Acknowledging an item that a poll handed out: a pure state machine.
//!
//! ```text
//!            acknowledged in time ──────────────────────────► Hold
//!           ╱ refused permanently ─────────────────────────────► Leave: nobody has served it, so nobody ends it
//!  polled ──── failed, still in time ───────────────────────► Again
//!           ╲ too late, and certainly not acknowledged ─────► Leave: the queue hands it out again
//!            too late, and perhaps acknowledged ────────────► Again, until the server says:
//!                 it is ───────► Hold { is_late }: the first heartbeat will tell whose it is
//!                 it is not ───► Leave
//! ```
//!
//! "In time" is before the queue may hand the item to another poller. An item that was acknowledged and gets no heartbeat is in
//! nobody's reach at the service, and so one that *may* have been acknowledged is not let go of.

use crate::runtime::clock::ClockTime;
use std::time::Duration;

/// After how long the queue hands an item that was not acknowledged to another poller, unless that one asks for another time.
pub const RECLAIM: Duration = Duration::from_millis(5000);

const FIRST_PAUSE: Duration = Duration::from_millis(100);
const SHORTEST_TIMEOUT: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);
/// Bounds an attempt to find out whether the item was acknowledged.
const LATE_TIMEOUT: Duration = Duration::from_secs(5);

/// What came of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Acknowledged {
    /// The server took it.
    Done,
    /// Refused permanently.
    Rejected,
    /// The item's present state does not allow it.
    Conflict,
    /// No answer, or one that may be another next time.
    Failed {
        /// Whether the server may have taken it.
        may_have_arrived: bool,
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// What to do with the item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Acknowledge it again, at this moment.
    Again(ClockTime),
    /// Begin its heartbeat.
    Hold {
        /// Whether somebody else may have been handed the item.
        is_late: bool,
    },
    /// Leave it to the queue.
    Leave,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Claim {
    until: ClockTime,
    failures: u32,
    may_have_arrived: bool,
}

impl Claim {
    /// A claim on an item that was asked for (by a poll) at `polled`, and that the queue keeps for `window`.
    pub fn new(polled: ClockTime, window: Duration) -> Claim {
        Claim { until: polled + window, failures: 0, may_have_arrived: false }
    }

    /// A claim on an item that was acknowledged once, or may have been, and may have been handed to others since.
    pub fn late() -> Claim {
        Claim { until: ClockTime::ZERO, failures: 0, may_have_arrived: true }
    }

    /// How long an attempt may take.
    pub fn timeout(&self, now: ClockTime) -> Duration {
        let left = self.until.saturating_sub(now);
        if left < SHORTEST_TIMEOUT { LATE_TIMEOUT } else { left }
    }

    /// Takes in what came of an attempt. `jitter` (0 to 1) takes up to a quarter off the pause before the next.
    pub fn next(&mut self, now: ClockTime, outcome: Acknowledged, jitter: f64) -> Next {
        match outcome {
            Acknowledged::Done => Next::Hold { is_late: now >= self.until },
            Acknowledged::Rejected => Next::Leave,
            Acknowledged::Conflict if now >= self.until => Next::Leave,
            Acknowledged::Conflict => self.again(now, None, jitter),
            Acknowledged::Failed { may_have_arrived, retry_after } => {
                self.may_have_arrived |= may_have_arrived;
                self.again(now, retry_after, jitter)
            }
        }
    }

    fn again(&mut self, now: ClockTime, retry_after: Option<Duration>, jitter: f64) -> Next {
        let doubled = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(self.failures)).min(LONGEST_PAUSE);
        let wait = retry_after.unwrap_or_else(|| doubled.mul_f64(1.0 - 0.25 * jitter.clamp(0.0, 1.0)));
        self.failures += 1;
        match now.checked_add(wait) {
            Some(again) if again < self.until => Next::Again(again),
            _ if self.may_have_arrived => Next::Again(now + wait.min(LONGEST_PAUSE)),
            _ => Next::Leave,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> ClockTime {
        Duration::from_millis(milliseconds)
    }

    fn failed(may_have_arrived: bool) -> Acknowledged {
        Acknowledged::Failed { may_have_arrived, retry_after: None }
    }

    #[test]
    fn what_an_acknowledgement_leads_to() {
        let slow = Acknowledged::Failed { may_have_arrived: false, retry_after: Some(at(600_000)) };
        for (now, outcome, next) in [
            (at(1_010), Acknowledged::Done, Next::Hold { is_late: false }),
            (at(6_000), Acknowledged::Done, Next::Hold { is_late: true }),
            (at(1_010), Acknowledged::Rejected, Next::Leave),
            (at(6_000), Acknowledged::Rejected, Next::Leave),
            (at(1_010), Acknowledged::Conflict, Next::Again(at(1_110))),
            (at(6_000), Acknowledged::Conflict, Next::Leave),
            (at(1_010), failed(true), Next::Again(at(1_110))),
            (at(5_950), failed(false), Next::Leave),
            (at(5_950), failed(true), Next::Again(at(6_050))),
            (at(1_010), slow, Next::Leave),
        ] {
            assert_eq!(Claim::new(at(1_000), RECLAIM).next(now, outcome, 0.0), next, "{now:?} {outcome:?}");
        }
    }

    #[test]
    fn one_attempt_that_may_have_arrived_is_not_forgotten() {
        let mut claim = Claim::new(at(0), RECLAIM);
        assert_eq!(claim.next(at(10), failed(true), 0.0), Next::Again(at(110)));
        assert_eq!(claim.next(at(120), failed(false), 1.0), Next::Again(at(270)));
        for now in [4_900, 9_000, 90_000] {
            assert!(matches!(claim.next(at(now), failed(false), 0.0), Next::Again(_)), "{now}");
        }
        let mut other = claim.clone();
        assert_eq!(claim.next(at(99_000), Acknowledged::Done, 0.0), Next::Hold { is_late: true });
        assert_eq!(other.next(at(99_000), Acknowledged::Conflict, 0.0), Next::Leave);
    }

    #[test]
    fn an_attempt_ends_when_the_queue_may_hand_the_item_to_another() {
        let claim = Claim::new(at(0), RECLAIM);
        assert_eq!((claim.timeout(at(1_000)), claim.timeout(at(9_000))), (at(4_000), LATE_TIMEOUT));
    }
}
