//! Acknowledging an item that a poll handed out: a pure state machine.
//!
//! ```text
//!            acknowledged in time ──────────────────────────► Hold
//!           ╱ refused permanently ─────────────────────────────► Leave: no worker has served it, so none may stop it
//!  polled ──── failed, still in time ───────────────────────► Retry
//!           ╲ too late, and certainly not acknowledged ─────► Leave: the work queue hands it out again
//!            too late, and perhaps acknowledged ────────────► Retry, until the server says:
//!                 it is ───────► Hold { is_late }: the first heartbeat decides whose it is
//!                 it is not ───► Leave
//! ```
//!
//! "In time" means before the work queue may hand the item to another poller. The service never hands out an item that was acknowledged
//! but gets no heartbeat, so an item that *may* have been acknowledged is not left alone.

use crate::backoff::Backoff;
use crate::runtime::clock::ClockTime;
use std::time::Duration;

/// How long the work queue keeps an unacknowledged item from other pollers, unless a poller asks for a different time.
pub const RECLAIM: Duration = Duration::from_millis(5000);

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(2) };
const MIN_TIMEOUT: Duration = Duration::from_millis(100);
/// Bounds one late attempt, which only finds out whether the item was acknowledged.
const LATE_ACK_TIMEOUT: Duration = Duration::from_secs(5);

/// The result of an acknowledgement.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AckResult {
    /// The server accepted it.
    Done,
    /// Refused permanently.
    Rejected,
    /// 409: the item's state does not allow it.
    Conflict,
    /// A failure that may pass: no response, or a temporary error.
    Failed {
        /// Whether the server may have accepted it all the same.
        may_have_arrived: bool,
        /// The wait that the server asked for.
        retry_after: Option<Duration>,
    },
}

/// What to do with the item next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClaimAction {
    /// Acknowledge it again at this time.
    Retry(ClockTime),
    /// Start its heartbeats.
    Hold {
        /// Whether another worker may have been handed the item.
        is_late: bool,
    },
    /// Leave it to the work queue.
    Leave,
}

/// The state machine of one claim.
#[derive(Debug, Clone)]
pub struct Claim {
    deadline: ClockTime,
    failures: u32,
    may_have_arrived: bool,
}

impl Claim {
    /// Creates a claim on an item whose poll was sent at `polled`, and that the work queue keeps from other pollers for `window`.
    pub fn new(polled: ClockTime, window: Duration) -> Claim {
        Claim { deadline: polled + window, failures: 0, may_have_arrived: false }
    }

    /// Creates a claim on an item that may have been acknowledged before, and handed to another worker since.
    pub fn late() -> Claim {
        Claim { deadline: ClockTime::ZERO, failures: 0, may_have_arrived: true }
    }

    /// Returns how long the next attempt may take.
    pub fn timeout(&self, now: ClockTime) -> Duration {
        let left = self.deadline.saturating_sub(now);
        if left < MIN_TIMEOUT { LATE_ACK_TIMEOUT } else { left }
    }

    /// Applies the result of an attempt. `jitter` (0 to 1) shortens the pause before the next one.
    pub fn on_result(&mut self, now: ClockTime, result: AckResult, jitter: f64) -> ClaimAction {
        match result {
            AckResult::Done => ClaimAction::Hold { is_late: now >= self.deadline },
            AckResult::Rejected => ClaimAction::Leave,
            AckResult::Conflict if now >= self.deadline => ClaimAction::Leave,
            AckResult::Conflict => self.retry(now, None, jitter),
            AckResult::Failed { may_have_arrived, retry_after } => {
                self.may_have_arrived |= may_have_arrived;
                self.retry(now, retry_after, jitter)
            }
        }
    }

    fn retry(&mut self, now: ClockTime, retry_after: Option<Duration>, jitter: f64) -> ClaimAction {
        let wait = retry_after.unwrap_or_else(|| BACKOFF.pause(self.failures, jitter));
        self.failures += 1;
        match now.checked_add(wait) {
            Some(again) if again < self.deadline => ClaimAction::Retry(again),
            _ if self.may_have_arrived => ClaimAction::Retry(now + wait.min(BACKOFF.max)),
            _ => ClaimAction::Leave,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> ClockTime {
        Duration::from_millis(milliseconds)
    }

    fn failed(may_have_arrived: bool) -> AckResult {
        AckResult::Failed { may_have_arrived, retry_after: None }
    }

    #[test]
    fn what_an_acknowledgement_leads_to() {
        let slow = AckResult::Failed { may_have_arrived: false, retry_after: Some(at(600_000)) };
        for (now, result, next) in [
            (at(1_010), AckResult::Done, ClaimAction::Hold { is_late: false }),
            (at(6_000), AckResult::Done, ClaimAction::Hold { is_late: true }),
            (at(1_010), AckResult::Rejected, ClaimAction::Leave),
            (at(6_000), AckResult::Rejected, ClaimAction::Leave),
            (at(1_010), AckResult::Conflict, ClaimAction::Retry(at(1_110))),
            (at(6_000), AckResult::Conflict, ClaimAction::Leave),
            (at(1_010), failed(true), ClaimAction::Retry(at(1_110))),
            (at(5_950), failed(false), ClaimAction::Leave),
            (at(5_950), failed(true), ClaimAction::Retry(at(6_050))),
            (at(1_010), slow, ClaimAction::Leave),
        ] {
            assert_eq!(Claim::new(at(1_000), RECLAIM).on_result(now, result, 0.0), next, "{now:?} {result:?}");
        }
    }

    #[test]
    fn one_attempt_that_may_have_arrived_is_remembered() {
        let mut claim = Claim::new(at(0), RECLAIM);
        assert_eq!(claim.on_result(at(10), failed(true), 0.0), ClaimAction::Retry(at(110)));
        assert_eq!(claim.on_result(at(120), failed(false), 1.0), ClaimAction::Retry(at(270)));
        for now in [4_900, 9_000, 90_000] {
            assert!(matches!(claim.on_result(at(now), failed(false), 0.0), ClaimAction::Retry(_)), "{now}");
        }
        let mut other = claim.clone();
        assert_eq!(claim.on_result(at(99_000), AckResult::Done, 0.0), ClaimAction::Hold { is_late: true });
        assert_eq!(other.on_result(at(99_000), AckResult::Conflict, 0.0), ClaimAction::Leave);
    }

    #[test]
    fn an_attempt_ends_when_the_work_queue_may_hand_the_item_to_another_worker() {
        let claim = Claim::new(at(0), RECLAIM);
        assert_eq!((claim.timeout(at(1_000)), claim.timeout(at(9_000))), (at(4_000), LATE_ACK_TIMEOUT));
    }
}
