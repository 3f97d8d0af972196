//! The processes below the helper: started, reaped, and killed all at once.
//!
//! Orphans are left to the helper, which is the first process of a namespace or a subreaper. So the helper reaps whatever ends, and the
//! exit of a shell is learned from there.

use super::server::lock;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid as NixPid;
use rustix::io::Errno;
use rustix::process::{Pid, WaitOptions, WaitStatus, wait};
use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::process::{Child, Command};
use std::sync::{Arc, Condvar, Mutex};
use std::thread;
use std::time::{Duration, Instant};

/// How long processes that were killed may take to end. One that waits for a disk that does not answer takes longer.
const MAX_DYING: Duration = Duration::from_secs(10);
const PAUSE: Duration = Duration::from_millis(5);

#[derive(Default)]
struct State {
    /// The children that were started here: how they ended.
    started: HashMap<u32, Option<WaitStatus>>,
    /// Whether there is any child, ours or an orphan.
    any: bool,
}

/// The processes below this one.
#[derive(Clone)]
pub struct Processes {
    shared: Arc<(Mutex<State>, Condvar)>,
    in_namespace: bool,
}

impl Processes {
    /// Starts the thread that reaps. `in_namespace`: this process is the first of a process namespace.
    pub fn new(in_namespace: bool) -> io::Result<Processes> {
        let processes = Processes { shared: Arc::default(), in_namespace };
        let reaper = processes.clone();
        thread::Builder::new().name("reaper".to_owned()).spawn(move || reaper.reap())?;
        Ok(processes)
    }

    /// Starts a process. Its end is to be waited for with [`Processes::status`], not through `Child`.
    pub fn spawn(&self, command: &mut Command) -> io::Result<Child> {
        let (state, changed) = &*self.shared;
        let mut state = lock(state);
        let child = command.spawn()?;
        state.started.insert(child.id(), None);
        state.any = true;
        changed.notify_all();
        Ok(child)
    }

    /// Waits for a started process that has ended or is about to, and returns how it ended; None if it takes too long.
    pub fn status(&self, process: u32) -> Option<WaitStatus> {
        let (state, changed) = &*self.shared;
        let running = |state: &mut State| state.started.get(&process).is_some_and(Option::is_none);
        let (mut state, _) =
            changed.wait_timeout_while(lock(state), MAX_DYING, running).unwrap_or_else(|poisoned| poisoned.into_inner());
        state.started.remove(&process).flatten()
    }

    /// Kills every process below this one, and waits for their end.
    pub fn kill_all(&self) {
        let (state, changed) = &*self.shared;
        let deadline = Instant::now() + MAX_DYING;
        while lock(state).any && Instant::now() < deadline {
            self.kill_once();
            let (ended, _) = changed
                .wait_timeout_while(lock(state), PAUSE, |state| state.any)
                .unwrap_or_else(|poisoned| poisoned.into_inner());
            drop(ended);
        }
        // Whoever wanted to know how one ended has asked by now.
        lock(state).started.retain(|_, ended| ended.is_none());
    }

    fn kill_once(&self) {
        if self.in_namespace {
            // All of the namespace but this process, at one moment: one that forks meanwhile fails to.
            let _ = kill(NixPid::from_raw(-1), Signal::SIGKILL);
        } else {
            kill_descendants();
        }
    }

    fn reap(&self) {
        let (state, changed) = &*self.shared;
        loop {
            match wait(WaitOptions::empty()) {
                Ok(Some((process, status))) => {
                    if let Some(ended) = lock(state).started.get_mut(&process.as_raw_pid().cast_unsigned()) {
                        *ended = Some(status);
                    }
                    changed.notify_all();
                }
                Ok(None) | Err(Errno::INTR) => {}
                Err(_) => self.wait_for_a_child(),
            }
        }
    }

    /// Waits until a process is started, when there is none.
    fn wait_for_a_child(&self) {
        let (state, changed) = &*self.shared;
        let mut state = lock(state);
        if state.started.values().any(Option::is_none) {
            // Started after the call that found none.
            return;
        }
        state.any = false;
        changed.notify_all();
        drop(changed.wait_while(state, |state| !state.any));
    }
}

/// Kills every process below this one, as far as they can be found: first stops them, so that none makes others meanwhile.
pub fn kill_descendants() {
    let mut stopped = HashSet::new();
    loop {
        let found = descendants();
        let fresh: Vec<i32> = found.iter().copied().filter(|process| !stopped.contains(process)).collect();
        if fresh.is_empty() {
            break;
        }
        for process in fresh {
            let _ = kill(NixPid::from_raw(process), Signal::SIGSTOP);
            stopped.insert(process);
        }
    }
    for process in stopped {
        let _ = kill(NixPid::from_raw(process), Signal::SIGKILL);
    }
}

/// Returns the processes below this one.
fn descendants() -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(process) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        if let Some(parent) = living_parent(process) {
            children.entry(parent).or_default().push(process);
        }
    }
    let mut found = Vec::new();
    let mut unvisited = vec![rustix::process::getpid().as_raw_pid()];
    while let Some(process) = unvisited.pop() {
        let below = children.remove(&process).unwrap_or_default();
        found.extend(&below);
        unvisited.extend(below);
    }
    found
}

/// Returns the parent of a process that is no zombie.
fn living_parent(process: i32) -> Option<i32> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (state != "Z" && state != "X").then_some(parent)
}

/// Returns a process's number as rustix has it.
pub fn pid_of(child: &Child) -> Option<Pid> {
    Pid::from_raw(child.id().cast_signed())
}
