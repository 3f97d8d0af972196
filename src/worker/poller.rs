//! When to poll: a pure state machine.
//!
//! ```text
//!               an item: one more poll may be in flight
//!   ┌──────────────────────────────────────────────────┐
//!   ▼                                                  │
//!  eager ── polls one after the other ─────────────────┤
//!   │  ▲                                               │
//!   │  └── an item ── relaxed ── a pause before each poll
//!   │                  ▲
//!   ├── nothing for long
//!   ├── a failure ──► backing off: pauses that double ── an answer ──► as before
//!   └── nothing, and only what is there is wanted ──► drained
//! ```
//!
//! A poll waits at the server, so an eager poller has an item within milliseconds of its arrival and makes one request a second.

use crate::runtime::clock::ClockTime;
use std::time::Duration;

/// How many polls may be in flight at once while items keep coming. One at a time would claim no more than one item a round trip.
pub const WIDEST: usize = 8;

const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often at most a queue is asked that does not let polls wait.
const SHORTEST_ROUND: Duration = Duration::from_millis(250);

/// How a poller goes about it.
#[derive(Debug, Clone)]
pub struct Manner {
    /// How long a poll waits at the server.
    pub block: Duration,
    /// Whether to end when the queue is empty.
    pub drain: bool,
    /// After how long without an item the poller relaxes.
    pub idle_after: Duration,
    /// The pauses between the polls of a relaxed poller, least and most.
    pub idle_pause: (Duration, Duration),
}

/// What came of a poll.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Polled {
    /// An item.
    Item,
    /// Nothing.
    Nothing,
    /// No answer, or one that may be another next time.
    Failed {
        /// How long the server wants to be left alone.
        retry_after: Option<Duration>,
    },
}

/// What to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Poll.
    Poll,
    /// Nothing before this moment; `None`: nothing until something happens.
    Wait(Option<ClockTime>),
    /// There is nothing more to come.
    Drained,
}

/// The machine.
#[derive(Debug, Clone)]
pub struct Poller {
    manner: Manner,
    failures: u32,
    active: ClockTime,
    not_before: ClockTime,
    width: usize,
    is_drained: bool,
}

impl Poller {
    /// A poller, eager at first.
    pub fn new(now: ClockTime, manner: Manner) -> Poller {
        Poller { manner, failures: 0, active: now, not_before: now, width: 1, is_drained: false }
    }

    /// What to do, when `wanted` more items could be taken in and so many polls are in flight.
    pub fn next(&self, now: ClockTime, wanted: usize, in_flight: usize) -> Next {
        match () {
            () if self.is_drained => Next::Drained,
            () if wanted == 0 || in_flight >= self.width => Next::Wait(None),
            () if now < self.not_before => Next::Wait(Some(self.not_before)),
            () => Next::Poll,
        }
    }

    /// Takes in what came of a poll that was sent at `sent`. `dice`: 0 to 1.
    pub fn polled(&mut self, now: ClockTime, sent: ClockTime, outcome: Polled, dice: f64) {
        let dice = dice.clamp(0.0, 1.0);
        match outcome {
            Polled::Item => {
                self.failures = 0;
                self.active = now;
                self.not_before = now;
                self.width = (self.width + 1).min(WIDEST);
            }
            Polled::Nothing => {
                self.failures = 0;
                self.width = 1;
                self.is_drained |= self.manner.drain;
                // A server that answered at once is not asked again at once.
                self.not_before = now.max(sent + self.manner.block.max(SHORTEST_ROUND));
                if now.saturating_sub(self.active) >= self.manner.idle_after {
                    let (least, most) = self.manner.idle_pause;
                    self.not_before = self.not_before.max(now + least + most.saturating_sub(least).mul_f64(dice));
                }
            }
            Polled::Failed { retry_after } => {
                let doubled = FIRST_PAUSE.saturating_mul(2u32.saturating_pow(self.failures)).min(LONGEST_PAUSE);
                let wait = doubled.mul_f64(1.0 - 0.25 * dice).max(retry_after.unwrap_or_default().min(LONGEST_PAUSE));
                self.failures += 1;
                self.width = 1;
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
        let manner = Manner { block: at(999), drain, idle_after: at(60_000), idle_pause: (at(1_000), at(3_000)) };
        Poller::new(at(0), manner)
    }

    fn failed() -> Polled {
        Polled::Failed { retry_after: None }
    }

    #[test]
    fn an_eager_poller_polls_without_pause_and_a_relaxed_one_pauses() {
        let mut poller = poller(false);
        for round in 0..60 {
            poller.polled(at(1_000 * round + 999), at(1_000 * round), Polled::Nothing, 0.5);
            assert_eq!(poller.next(at(1_000 * round + 1_000), 1, 0), Next::Poll, "round {round}");
        }
        for (dice, pause) in [(0.0, 1_000), (0.5, 2_000), (1.0, 3_000)] {
            poller.polled(at(70_000), at(69_001), Polled::Nothing, dice);
            assert_eq!(poller.next(at(70_000), 1, 0), Next::Wait(Some(at(70_000 + pause))));
        }
        poller.polled(at(80_000), at(79_500), Polled::Item, 0.5);
        poller.polled(at(80_999), at(80_000), Polled::Nothing, 0.5);
        assert_eq!(poller.next(at(80_999), 1, 0), Next::Poll);
    }

    #[test]
    fn a_server_that_does_not_let_polls_wait_is_not_asked_all_the_time() {
        let mut poller = poller(false);
        poller.polled(at(10), at(0), Polled::Nothing, 0.5);
        assert_eq!(poller.next(at(10), 1, 0), Next::Wait(Some(at(999))));
        poller.manner.block = at(0);
        poller.polled(at(1_010), at(1_000), Polled::Nothing, 0.5);
        assert_eq!(poller.next(at(1_010), 1, 0), Next::Wait(Some(at(1_250))));
    }

    #[test]
    fn failures_back_off_up_to_a_minute_and_an_answer_ends_that() {
        let mut poller = poller(false);
        let pause = |poller: &mut Poller, outcome, dice| {
            poller.polled(at(0), at(0), outcome, dice);
            match poller.next(at(0), 1, 0) {
                Next::Wait(Some(until)) => until.as_secs_f64(),
                other => panic!("{other:?}"),
            }
        };
        let full: Vec<f64> = (0..10).map(|_| pause(&mut poller, failed(), 0.0)).collect();
        assert_eq!(full, [0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0]);
        assert_eq!(pause(&mut poller, failed(), 1.0), 45.0);
        poller.polled(at(0), at(0), Polled::Nothing, 0.0);
        assert_eq!(pause(&mut poller, failed(), 0.0), 0.5);
        poller.polled(at(0), at(0), Polled::Item, 0.0);
        let asked = Polled::Failed { retry_after: Some(at(7_000)) };
        assert_eq!(pause(&mut poller, asked, 0.0), 7.0);
        assert_eq!(pause(&mut poller, Polled::Failed { retry_after: Some(Duration::MAX) }, 0.0), 60.0);
    }

    #[test]
    fn nothing_is_asked_for_that_cannot_be_taken_in() {
        let poller = poller(false);
        assert_eq!(poller.next(at(0), 0, 0), Next::Wait(None));
        assert_eq!(poller.next(at(0), 5, 1), Next::Wait(None));
    }

    #[test]
    fn while_items_come_more_polls_are_in_flight() {
        let mut poller = poller(false);
        for width in 1..20 {
            assert_eq!(poller.next(at(0), 99, width.min(WIDEST) - 1), Next::Poll);
            assert_eq!(poller.next(at(0), 99, width.min(WIDEST)), Next::Wait(None));
            poller.polled(at(0), at(0), Polled::Item, 0.0);
        }
        poller.polled(at(2_000), at(1_000), Polled::Nothing, 0.0);
        assert_eq!((poller.next(at(2_000), 99, 0), poller.next(at(2_000), 99, 1)), (Next::Poll, Next::Wait(None)));
    }

    #[test]
    fn draining_ends_with_the_first_empty_answer() {
        let mut poller = poller(true);
        assert_eq!(poller.next(at(0), 1, 0), Next::Poll);
        poller.polled(at(1), at(0), Polled::Item, 0.0);
        assert_eq!(poller.next(at(1), 1, 0), Next::Poll);
        poller.polled(at(2), at(1), failed(), 0.0);
        assert_ne!(poller.next(at(2), 1, 0), Next::Drained);
        poller.polled(at(3), at(2), Polled::Nothing, 0.0);
        assert_eq!(poller.next(at(3), 0, 0), Next::Drained);
    }
}
