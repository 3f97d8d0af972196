//! Requests that a fault holds until a test releases them.

use std::sync::{Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

/// The requests that are held, in the order of their arrival.
#[derive(Default)]
pub struct Holds(Mutex<Vec<Hold>>);

/// One held request. It is closed once its client has disconnected.
struct Hold {
    /// `None` is a request to no operation.
    operation: Option<&'static str>,
    release: oneshot::Sender<()>,
}

impl Hold {
    /// Returns whether the request is still there and belongs to this operation; `None` stands for every one.
    fn is_of(&self, operation: Option<&str>) -> bool {
        !self.release.is_closed() && (operation.is_none() || operation == self.operation)
    }
}

impl Holds {
    /// Holds a request. Returns once it is released.
    pub async fn wait(&self, operation: Option<&'static str>) {
        let (release, released) = oneshot::channel();
        self.lock().push(Hold { operation, release });
        let _ = released.await;
    }

    /// Returns how many requests of an operation, or of all (`None`), are held.
    pub fn count(&self, operation: Option<&str>) -> usize {
        self.lock().iter().filter(|hold| hold.is_of(operation)).count()
    }

    /// Releases the held requests of an operation, or all (`None`). Returns how many there were.
    pub fn release(&self, operation: Option<&str>) -> usize {
        let mut holds = self.lock();
        holds.retain(|hold| !hold.release.is_closed());
        let (released, kept): (Vec<Hold>, _) = holds.drain(..).partition(|hold| hold.is_of(operation));
        *holds = kept;
        released.into_iter().map(|hold| hold.release.send(())).filter(Result::is_ok).count()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Hold>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
