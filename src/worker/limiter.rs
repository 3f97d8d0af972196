//! A limit on how many of a worker's requests are in flight at once, granted in the order of their deadlines. Over HTTP/1.1 each request
//! has a connection of its own, and so a file descriptor that the host may need. After the machine was suspended, or the process stopped,
//! the heartbeats of all leases are due at the same moment.

use crate::runtime::clock::ClockTime;
use crate::runtime::fork::ForkSafeMutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// A semaphore whose waiters are ordered by deadline.
pub(super) struct Limiter(Arc<ForkSafeMutex<State>>);

struct State {
    free: usize,
    /// In the order of their deadlines; those with the same deadline in the order of arrival.
    waiting: BTreeMap<(ClockTime, u64), oneshot::Sender<Permit>>,
    sequence: u64,
}

/// The right to have a request in flight. Dropping it passes it to the waiter with the earliest deadline.
pub(super) struct Permit(Option<Arc<ForkSafeMutex<State>>>);

impl Limiter {
    /// Creates a limiter with `max` permits.
    pub(super) fn new(max: usize) -> Limiter {
        Limiter(Arc::new(ForkSafeMutex::new(State { free: max, waiting: BTreeMap::new(), sequence: 0 })))
    }

    /// Waits for a permit. Cancel-safe: a permit that arrives for a dropped future goes to the next waiter.
    pub(super) async fn acquire(&self, deadline: ClockTime) -> Permit {
        let permit = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Permit(Some(self.0.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            state.sequence += 1;
            let key = (deadline, state.sequence);
            state.waiting.insert(key, sender);
            receiver
        };
        match permit.await {
            Ok(permit) => permit,
            // A sender stays in the map until it sends.
            Err(_) => std::future::pending().await,
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let Some(state) = self.0.take() else { return };
        loop {
            let mut locked = state.lock();
            let Some((_, next)) = locked.waiting.pop_first() else {
                locked.free += 1;
                return;
            };
            drop(locked);
            match next.send(Permit(Some(state.clone()))) {
                Ok(()) => return,
                // The waiter is gone. This permit is still ours to pass on, and must not be released twice.
                Err(mut unwanted) => drop(unwanted.0.take()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};
    use std::time::Duration;

    fn poll_once<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_earliest_deadline_goes_first_and_a_waiter_that_is_gone_is_skipped() {
        let (limiter, s) = (Limiter::new(2), Duration::from_secs);
        let one = poll_once(pin!(limiter.acquire(s(9)))).unwrap();
        let other = poll_once(pin!(limiter.acquire(s(9)))).unwrap();
        let (mut late, mut early) = (pin!(limiter.acquire(s(5))), pin!(limiter.acquire(s(3))));
        assert!(poll_once(late.as_mut()).is_none() && poll_once(early.as_mut()).is_none());
        {
            let mut gone = pin!(limiter.acquire(s(1)));
            assert!(poll_once(gone.as_mut()).is_none());
        }
        drop(one);
        assert!(poll_once(late.as_mut()).is_none(), "the free permit is not for the latest deadline");
        let early = poll_once(early.as_mut()).unwrap();
        drop(other);
        let late = poll_once(late.as_mut()).unwrap();
        // A waiter that receives a permit and is dropped before it sees it.
        let mut gone = Box::pin(limiter.acquire(s(1)));
        assert!(poll_once(gone.as_mut()).is_none());
        drop(late);
        drop(gone);
        drop(early);
        assert_eq!(limiter.0.lock().free, 2, "all permits are back");
    }
}
