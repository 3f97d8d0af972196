//! A bound on how many of a worker's requests are in flight at once. Over HTTP/1.1 each has a connection, which takes a descriptor that
//! the host may need: after a machine slept, or a process was stopped, the heartbeats of all leases are due in the same moment. Those
//! that wait go in the order of their deadlines.

use crate::runtime::clock::ClockTime;
use crate::runtime::fork::ForkSafeMutex;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::oneshot;

/// The bound.
pub(super) struct Limiter(Arc<ForkSafeMutex<State>>);

struct State {
    free: usize,
    /// In the order of their deadlines, and of their coming.
    waiting: BTreeMap<(ClockTime, u64), oneshot::Sender<Permit>>,
    came: u64,
}

/// The right to have a request in flight. Dropping it gives it to whoever waits with the earliest deadline.
pub(super) struct Permit(Option<Arc<ForkSafeMutex<State>>>);

impl Limiter {
    /// A bound of so many.
    pub(super) fn new(most: usize) -> Limiter {
        Limiter(Arc::new(ForkSafeMutex::new(State { free: most, waiting: BTreeMap::new(), came: 0 })))
    }

    /// Waits for a turn.
    pub(super) async fn acquire(&self, deadline: ClockTime) -> Permit {
        let turn = {
            let mut state = self.0.lock();
            if state.free > 0 {
                state.free -= 1;
                return Permit(Some(self.0.clone()));
            }
            let (sender, receiver) = oneshot::channel();
            state.came += 1;
            let key = (deadline, state.came);
            state.waiting.insert(key, sender);
            receiver
        };
        match turn.await {
            Ok(permit) => permit,
            // The sender waits in the list until it sends.
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
                // Who waited has gone. Its permit is this one still, and is not to be given up twice.
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

    fn look<F: Future>(future: Pin<&mut F>) -> Option<F::Output> {
        match future.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(output) => Some(output),
            Poll::Pending => None,
        }
    }

    #[test]
    fn the_earliest_deadline_goes_first_and_who_has_gone_is_left_out() {
        let (limiter, s) = (Limiter::new(2), Duration::from_secs);
        let one = look(pin!(limiter.acquire(s(9)))).unwrap();
        let other = look(pin!(limiter.acquire(s(9)))).unwrap();
        let (mut late, mut early) = (pin!(limiter.acquire(s(5))), pin!(limiter.acquire(s(3))));
        assert!(look(late.as_mut()).is_none() && look(early.as_mut()).is_none());
        {
            let mut gone = pin!(limiter.acquire(s(1)));
            assert!(look(gone.as_mut()).is_none());
        }
        drop(one);
        assert!(look(late.as_mut()).is_none(), "one is free, and it is not the latest's");
        let early = look(early.as_mut()).unwrap();
        drop(other);
        let late = look(late.as_mut()).unwrap();
        // One that is given a permit and goes before it has seen that.
        let mut gone = Box::pin(limiter.acquire(s(1)));
        assert!(look(gone.as_mut()).is_none());
        drop(late);
        drop(gone);
        drop(early);
        assert_eq!(limiter.0.lock().free, 2, "all come back");
    }
}
