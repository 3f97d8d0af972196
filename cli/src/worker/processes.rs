//! The processes of this one: the commands that it has started, and orphans, if it is the first process of a container.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, WaitOptions, WaitStatus, kill_process_group, wait, waitid, waitpid};
use std::cell::RefCell;
use std::collections::HashMap;
use tokio::sync::oneshot;

/// The commands that run. All of it happens on one thread: a command that could not be executed is reaped by the standard library, and
/// that must not happen at the same time.
#[derive(Default)]
pub struct Processes {
    running: RefCell<HashMap<Pid, oneshot::Sender<WaitStatus>>>,
}

impl Processes {
    /// Adds a command that leads a process group of its own. Returns what receives its end.
    pub fn add(&self, leader: Pid) -> oneshot::Receiver<WaitStatus> {
        let (sender, receiver) = oneshot::channel();
        self.running.borrow_mut().insert(leader, sender);
        receiver
    }

    /// Reaps every process that has ended. Call it on each SIGCHLD. What is left of the process group of a command is killed first: the
    /// number is that group's for as long as its leader has not been reaped.
    pub fn reap(&self) {
        let leaders: Vec<Pid> = self.running.borrow().keys().copied().collect();
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        for leader in leaders {
            if let Ok(Some(_)) = waitid(WaitId::Pid(leader), look) {
                signal_group(leader, Signal::KILL);
                self.reap_one(|options| waitpid(Some(leader), options));
            }
        }
        // Then the orphans. A command that has ended in between is among them.
        while self.reap_one(wait) {}
    }

    /// Reaps a process by this system call. Returns whether there was one that had ended.
    fn reap_one(&self, wait: impl Fn(WaitOptions) -> rustix::io::Result<Option<(Pid, WaitStatus)>>) -> bool {
        let (process, status) = loop {
            match wait(WaitOptions::NOHANG) {
                Ok(Some(reaped)) => break reaped,
                Err(Errno::INTR) => {}
                Ok(None) | Err(_) => return false,
            }
        };
        if let Some(ended) = self.running.borrow_mut().remove(&process) {
            signal_group(process, Signal::KILL);
            // Its item may have been given up in the meantime.
            let _ = ended.send(status);
        }
        true
    }
}

/// Sends a signal to a command and to what it has started. There may be nothing left, or nothing of this user.
pub fn signal_group(leader: Pid, signal: Signal) {
    let _ = kill_process_group(leader, signal);
}
