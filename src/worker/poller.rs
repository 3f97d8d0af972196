//! When to poll: a pure state machine.
//!
//! ```text
//!               an item: one more poll may be in flight
//!   ┌──────────────────────────────────────────────────┐
//!   ▼                                                  │
//!  eager ── one poll after the other ──────────────────┤
//!   │  ▲                                               │
//!   │  └── an item ── relaxed ── a pause before each poll
//!   │                  ▲
//!   ├── no item for a while
//!   ├── a failure ──► backing off: pauses that double ── a response ──► as before
//!   └── no item, while draining ──► drained
//! ```
//!
//! A poll waits at the server, so an eager poller receives an item within milliseconds of its arrival at one request a second.

use crate::backoff::Backoff;
use crate::runtime::clock::ClockTime;
use std::time::Duration;

/// The most polls in flight while items keep coming. A single one would claim no more than one item per round trip.
pub const MAX_PARALLEL_POLLS: usize = 8;

const BACKOFF: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(60) };
/// The shortest interval between polls of a server that does not let polls wait.
const MIN_INTERVAL: Duration = Duration::from_millis(250);

/// When to poll.
#[derive(Debug, Clone)]
pub struct PollConfig {
    /// How long a poll waits at the server for an item.
    pub block: Duration,
    /// Whether to end when the work queue is empty.
    pub drain: bool,
    /// After how long without an item the poller relaxes.
    pub idle_after: Duration,
    /// The shortest and the longest pause between the polls of a relaxed poller.
    pub idle_pause: (Duration, Duration),
}

/// The result of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollResult {
    /// An item.
    Item,
    /// No item.
    Empty,
    /// A failure that may pass: no response, or a temporary error.
    Failed {
        /// The wait that the server asked for.
        retry_after: Option<Duration>,
    },
}

/// What to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PollAction {
    /// Poll.
    Poll,
    /// Wait until this time, or without a limit, for something to happen.
    Wait(Option<ClockTime>),
    /// End: the work queue is empty.
    Drained,
}

/// The state machine of one worker's polls.
#[derive(Debug, Clone)]
pub struct Poller {
    config: PollConfig,
    failures: u32,
    last_item_at: ClockTime,
    not_before: ClockTime,
    max_in_flight: usize,
    is_drained: bool,
}

impl Poller {
    /// Creates a poller, which is eager at first.
    pub fn new(now: ClockTime, config: PollConfig) -> Poller {
        Poller { config, failures: 0, last_item_at: now, not_before: now, max_in_flight: 1, is_drained: false }
    }

    /// Returns what to do when there is demand for `demand` more items and `in_flight` polls are in flight.
    pub fn next(&self, now: ClockTime, demand: usize, in_flight: usize) -> PollAction {
        match () {
            () if self.is_drained => PollAction::Drained,
            () if demand == 0 || in_flight >= self.max_in_flight => PollAction::Wait(None),
            () if now < self.not_before => PollAction::Wait(Some(self.not_before)),
            () => PollAction::Poll,
        }
    }

    /// Applies the result of a poll that was sent at `sent`. `jitter` (0 to 1) varies the pause that may follow.
    pub fn on_poll_result(&mut self, now: ClockTime, sent: ClockTime, result: PollResult, jitter: f64) {
        let jitter = jitter.clamp(0.0, 1.0);
        match result {
            PollResult::Item => {
                self.failures = 0;
                self.last_item_at = now;
                self.not_before = now;
                self.max_in_flight = (self.max_in_flight + 1).min(MAX_PARALLEL_POLLS);
            }
            PollResult::Empty => {
                self.failures = 0;
                self.max_in_flight = 1;
                self.is_drained |= self.config.drain;
                // A server that responds at once is not polled again at once.
                self.not_before = now.max(sent + self.config.block.max(MIN_INTERVAL));
                if now.saturating_sub(self.last_item_at) >= self.config.idle_after {
                    let (min, max) = self.config.idle_pause;
                    self.not_before = self.not_before.max(now + min + max.saturating_sub(min).mul_f64(jitter));
                }
            }
            PollResult::Failed { retry_after } => {
                let asked_for = retry_after.unwrap_or_default().min(BACKOFF.max);
                let wait = BACKOFF.pause(self.failures, jitter).max(asked_for);
                self.failures += 1;
                self.max_in_flight = 1;
                self.not_before = now + wait;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(milliseconds: u64) -> ClockTime {
        Duration::from_millis(milliseconds)
    }

    fn poller(drain: bool) -> Poller {
        let config = PollConfig { block: at(999), drain, idle_after: at(60_000), idle_pause: (at(1_000), at(3_000)) };
        Poller::new(at(0), config)
    }

    fn failed() -> PollResult {
        PollResult::Failed { retry_after: None }
    }

    #[test]
    fn an_eager_poller_polls_without_pause_and_a_relaxed_one_pauses() {
        let mut poller = poller(false);
        for round in 0..60 {
            poller.on_poll_result(at(1_000 * round + 999), at(1_000 * round), PollResult::Empty, 0.5);
            assert_eq!(poller.next(at(1_000 * round + 1_000), 1, 0), PollAction::Poll, "round {round}");
        }
        for (jitter, pause) in [(0.0, 1_000), (0.5, 2_000), (1.0, 3_000)] {
            poller.on_poll_result(at(70_000), at(69_001), PollResult::Empty, jitter);
            assert_eq!(poller.next(at(70_000), 1, 0), PollAction::Wait(Some(at(70_000 + pause))));
        }
        poller.on_poll_result(at(80_000), at(79_500), PollResult::Item, 0.5);
        poller.on_poll_result(at(80_999), at(80_000), PollResult::Empty, 0.5);
        assert_eq!(poller.next(at(80_999), 1, 0), PollAction::Poll);
    }

    #[test]
    fn a_server_that_does_not_let_polls_wait_is_not_polled_without_pause() {
        let mut poller = poller(false);
        poller.on_poll_result(at(10), at(0), PollResult::Empty, 0.5);
        assert_eq!(poller.next(at(10), 1, 0), PollAction::Wait(Some(at(999))));
        poller.config.block = at(0);
        poller.on_poll_result(at(1_010), at(1_000), PollResult::Empty, 0.5);
        assert_eq!(poller.next(at(1_010), 1, 0), PollAction::Wait(Some(at(1_250))));
    }

    #[test]
    fn failures_back_off_up_to_a_minute_until_the_next_response() {
        let mut poller = poller(false);
        let pause = |poller: &mut Poller, result, jitter| {
            poller.on_poll_result(at(0), at(0), result, jitter);
            match poller.next(at(0), 1, 0) {
                PollAction::Wait(Some(until)) => until.as_secs_f64(),
                other => panic!("{other:?}"),
            }
        };
        let full: Vec<f64> = (0..10).map(|_| pause(&mut poller, failed(), 0.0)).collect();
        assert_eq!(full, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
        assert_eq!(pause(&mut poller, failed(), 1.0), 45.0);
        poller.on_poll_result(at(0), at(0), PollResult::Empty, 0.0);
        assert_eq!(pause(&mut poller, failed(), 0.0), 0.5);
        poller.on_poll_result(at(0), at(0), PollResult::Item, 0.0);
        let asked = PollResult::Failed { retry_after: Some(at(7_000)) };
        assert_eq!(pause(&mut poller, asked, 0.0), 7.0);
        assert_eq!(pause(&mut poller, PollResult::Failed { retry_after: Some(Duration::MAX) }, 0.0), 60.0);
    }

    #[test]
    fn nothing_is_polled_for_without_demand() {
        let poller = poller(false);
        assert_eq!(poller.next(at(0), 0, 0), PollAction::Wait(None));
        assert_eq!(poller.next(at(0), 5, 1), PollAction::Wait(None));
    }

    #[test]
    fn while_items_keep_coming_more_polls_are_in_flight() {
        let mut poller = poller(false);
        for max_in_flight in 1..20 {
            assert_eq!(poller.next(at(0), 99, max_in_flight.min(MAX_PARALLEL_POLLS) - 1), PollAction::Poll);
            assert_eq!(poller.next(at(0), 99, max_in_flight.min(MAX_PARALLEL_POLLS)), PollAction::Wait(None));
            poller.on_poll_result(at(0), at(0), PollResult::Item, 0.0);
        }
        poller.on_poll_result(at(2_000), at(1_000), PollResult::Empty, 0.0);
        assert_eq!((poller.next(at(2_000), 99, 0), poller.next(at(2_000), 99, 1)), (PollAction::Poll, PollAction::Wait(None)));
    }

    #[test]
    fn draining_ends_with_the_first_empty_response() {
        let mut poller = poller(true);
        assert_eq!(poller.next(at(0), 1, 0), PollAction::Poll);
        poller.on_poll_result(at(1), at(0), PollResult::Item, 0.0);
        assert_eq!(poller.next(at(1), 1, 0), PollAction::Poll);
        poller.on_poll_result(at(2), at(1), failed(), 0.0);
        assert_ne!(poller.next(at(2), 1, 0), PollAction::Drained);
        poller.on_poll_result(at(3), at(2), PollResult::Empty, 0.0);
        assert_eq!(poller.next(at(3), 0, 0), PollAction::Drained);
    }
}
