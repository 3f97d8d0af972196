//! A thread for what blocks, such as writing files: a slow disk must delay neither the runtime's thread nor its callers.
//!
//! The process has one such thread, while something uses it. It runs jobs one after the other.

use super::fault;
use super::fork::{ForkSafeMutex, ProcessLocal};
use super::without_signals;
use crate::error::Result;
use std::io;
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Weak};
use std::thread;
use tokio::sync::oneshot;

/// The name of the thread.
const THREAD_NAME: &str = "antenv-files";

type Job = Box<dyn FnOnce() + Send>;

static CURRENT: ForkSafeMutex<Option<ProcessLocal<Weak<Sender<Job>>>>> = ForkSafeMutex::new(None);

/// A use of the thread, which ends with the last one.
#[derive(Debug, Clone)]
pub struct BlockingThread(Arc<Sender<Job>>);

impl BlockingThread {
    /// Returns the thread; starts it if there is none. Errors: the system starts no more threads.
    pub fn current() -> io::Result<BlockingThread> {
        let mut current = CURRENT.lock();
        if let Some(jobs) = current.as_ref().and_then(ProcessLocal::get).and_then(Weak::upgrade) {
            return Ok(BlockingThread(jobs));
        }
        let (sender, jobs) = channel::<Job>();
        let thread = thread::Builder::new().name(THREAD_NAME.to_owned());
        without_signals(|| thread.spawn(move || jobs.into_iter().for_each(|job| job())))?;
        let sender = Arc::new(sender);
        *current = Some(ProcessLocal::new(Arc::downgrade(&sender)));
        Ok(BlockingThread(sender))
    }

    /// Runs a job on the thread and waits for its result. A job that has begun is not cut short when its result is no longer awaited.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T> {
        let (sender, receiver) = oneshot::channel();
        let _ = self.0.send(Box::new(move || drop(sender.send(job()))));
        receiver.await.map_err(|_| fault())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::runtime;
    use std::cell::Cell;

    thread_local! {
        /// Dropped when its thread ends.
        static AT_END: Cell<Option<Sender<()>>> = const { Cell::new(None) };
    }

    #[test]
    fn all_users_share_one_thread_which_ends_with_the_last_of_them() {
        let (first, second) = (BlockingThread::current().unwrap(), BlockingThread::current().unwrap());
        let (at_end, ended) = channel();
        let jobs = async move {
            let before = first.run(move || (AT_END.set(Some(at_end)), thread::current().id()).1).await;
            drop(first);
            (before.unwrap(), second.run(|| thread::current().id()).await.unwrap())
        };
        let (before, after) = runtime::wait(runtime::current().unwrap().spawn_awaited(jobs)).unwrap();
        assert!(before == after && before != thread::current().id());
        assert!(ended.recv().is_err());
    }
}
