//! What the subcommands share: the event loop that claims items and serves them, and how it ends.
//!
//! ```text
//!         SIGTERM, SIGINT, failure                 another signal
//! Serving ────────────────────────► Stopping ─────────────────────► Hurrying
//! items are claimed                 items go on, for as long        items end
//!                                   as the grace period
//! ```
//!
//! The grace period is the library's: when it is over, a lease that is held has to be stopped, and its subscription reports that.

use super::command;
use super::log;
use super::metrics;
use super::notify::Notifier;
use super::processes::Processes;
use crate::output::Failure;
use antenv::completion::{Completion, Queue};
use antenv::error::Result as ApiResult;
use antenv::telemetry::log::Level;
use antenv::{Lease, Status, Worker};
use serde::Deserialize;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::io;
use std::net::TcpListener;
use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::{Interval, interval, sleep};

/// The tag of the worker's completions. Those of subscriptions count from the next.
const WORKER_TAG: u64 = 0;
/// The pause before a command is started again for which there was no room.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Phase {
    /// Items are claimed.
    Serving,
    /// No more items are claimed.
    Stopping,
    /// The items that are being served are ended.
    Hurrying,
}

/// What the items share. All of it is used on one thread.
pub struct Host {
    /// What claims items. `None`: there is one item, which was claimed before.
    worker: Option<Rc<Worker>>,
    queue: Arc<Queue>,
    /// The commands that run.
    pub processes: Processes,
    /// Receive completions, by tag.
    subscribers: RefCell<HashMap<u64, mpsc::UnboundedSender<ApiResult<String>>>>,
    last_tag: Cell<u64>,
    phase: watch::Sender<Phase>,
    /// Why the items are not served any more.
    failure: RefCell<Option<Failure>>,
}

impl Host {
    /// Makes the host of what a worker claims, or of one item.
    pub fn new(worker: Option<Worker>) -> Result<Rc<Host>, Failure> {
        Ok(Rc::new(Host {
            worker: worker.map(Rc::new),
            queue: Arc::new(Queue::new()?),
            processes: Processes::default(),
            subscribers: RefCell::default(),
            last_tag: Cell::new(WORKER_TAG),
            phase: watch::Sender::new(Phase::Serving),
            failure: RefCell::default(),
        }))
    }

    /// Serves each item that the worker claims, in a task of its own, until no more items come and the last of them is served.
    /// `background` runs meanwhile.
    pub fn run<F>(
        self: &Rc<Host>,
        listener: Option<TcpListener>,
        background: impl Future<Output = ()> + 'static,
        serve: impl Fn(Arc<Lease>, String) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = ()> + 'static,
    {
        block_on(async {
            spawn_local(background);
            self.worker.as_ref().map_or(Ok(()), |worker| worker.attach(Some(&self.queue), WORKER_TAG))?;
            self.run_until_done(listener, JoinSet::new(), serve).await
        })
    }

    /// Runs the task that serves the one item.
    pub fn run_one(self: &Rc<Host>, item: impl Future<Output = ()> + 'static) -> Result<(), Failure> {
        block_on(async {
            let mut items = JoinSet::new();
            items.spawn_local(item);
            self.run_until_done(None, items, |_, _| async {}).await
        })
    }

    async fn run_until_done<F>(
        self: &Rc<Host>,
        listener: Option<TcpListener>,
        mut items: JoinSet<()>,
        serve: impl Fn(Arc<Lease>, String) -> F,
    ) -> Result<(), Failure>
    where
        F: Future<Output = ()> + 'static,
    {
        let failed = |error: io::Error| Failure::io("signals", error);
        let mut children = signal(SignalKind::child()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        let mut completions = completions(self.queue.clone())?;
        if let (Some(listener), Some(worker)) = (listener, &self.worker) {
            log::info(None, &format!("metrics at {}", metrics::url(&listener)));
            spawn_local(metrics::serve(listener, worker.clone()));
        }
        let notifier = Notifier::from_env();
        let mut watchdog = notifier.watchdog().map(interval);
        notifier.send("READY=1");
        let mut is_over = self.worker.is_none();
        while !is_over || !items.is_empty() {
            tokio::select! {
                Some(completion) = completions.recv() => is_over |= self.take_completion(completion, &mut items, &serve),
                _ = children.recv() => self.processes.reap(),
                _ = terminate.recv() => self.on_signal("SIGTERM", &notifier),
                _ = interrupt.recv() => self.on_signal("SIGINT", &notifier),
                () = tick(&mut watchdog) => notifier.send("WATCHDOG=1"),
                Some(_) = items.join_next() => {}
            }
        }
        notifier.send("STOPPING=1");
        self.failure.take().map_or(Ok(()), Err)
    }

    fn on_signal(&self, name: &str, notifier: &Notifier) {
        if *self.phase.borrow() != Phase::Serving {
            return self.stop(Phase::Hurrying);
        }
        notifier.send("STOPPING=1");
        match self.worker {
            Some(_) => {
                log::info(None, &format!("claims no more: {name}"));
                self.stop(Phase::Stopping);
            }
            // Whoever claimed the item wants its end.
            None => self.stop(Phase::Hurrying),
        }
    }

    /// Claims no more.
    fn stop(&self, phase: Phase) {
        self.phase.send_if_modified(|before| std::mem::replace(before, phase.max(*before)) < phase);
        if let Some(worker) = &self.worker {
            // It fails in a forked child, which this process is not.
            let _ = worker.stop();
        }
    }

    /// Gives up: claims no more, waits for the items that are being served, and ends with this failure, unless there was one before.
    pub fn give_up(&self, failure: Failure) {
        self.failure.borrow_mut().get_or_insert_with(|| log::failure(failure));
        self.stop(Phase::Stopping);
    }

    /// Returns whether it has given up.
    pub fn has_given_up(&self) -> bool {
        self.failure.borrow().is_some()
    }

    /// Returns what reports how far the end has come.
    pub fn phase(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Waits until the items that are being served have to end.
    pub async fn hurries(&self) {
        // The sender is this host's own.
        let _ = self.phase().wait_for(|phase| *phase == Phase::Hurrying).await;
    }

    /// Takes what has come to the queue. Returns whether no more items will come.
    fn take_completion<F>(
        &self,
        Completion { tag, result }: Completion,
        items: &mut JoinSet<()>,
        serve: &impl Fn(Arc<Lease>, String) -> F,
    ) -> bool
    where
        F: Future<Output = ()> + 'static,
    {
        match (tag, result) {
            (WORKER_TAG, Ok(_)) => {
                // The item may have gone.
                if let Some(Ok(Some((lease, json)))) = self.worker.as_ref().map(|worker| worker.next(Some(Duration::ZERO))) {
                    items.spawn_local(serve(lease, json));
                }
                false
            }
            (WORKER_TAG, Err(end)) => {
                if end.status() != Status::Done {
                    self.give_up(end.into());
                }
                true
            }
            (tag, result) => {
                if let Some(subscriber) = self.subscribers.borrow().get(&tag) {
                    // Whoever waits for it may be about to end.
                    let _ = subscriber.send(result);
                }
                false
            }
        }
    }

    /// Makes a subscription to what a session or a lease reports. `attach` gets the queue and the tag.
    pub fn subscribe(self: &Rc<Host>, attach: impl FnOnce(&Arc<Queue>, u64) -> ApiResult<()>) -> Subscription {
        let (sender, completions) = mpsc::unbounded_channel();
        let tag = self.last_tag.get() + 1;
        self.last_tag.set(tag);
        if attach(&self.queue, tag).is_ok() {
            self.subscribers.borrow_mut().insert(tag, sender);
        }
        Subscription { host: self.clone(), tag, completions }
    }

    /// Starts a command, later if there is no room for it now. `None`: it cannot be started, or is not to be any more. Then the end of
    /// `until` says why, or the phase, or this host has given up: the next command would fail, too.
    pub async fn start(
        &self,
        work_id: &str,
        command: &command::Prepared<'_>,
        until: impl Future<Output = String>,
    ) -> Option<command::Running> {
        let warn = |message: String| log::record(Level::Warn, Some(work_id), &message);
        let mut phase = self.phase();
        let mut until = pin!(until);
        loop {
            if self.has_given_up() {
                return None;
            }
            let error = match command.start() {
                Ok(running) => return Some(running),
                Err(error) => error,
            };
            if !is_no_room(&error) {
                self.give_up(Failure::io(&command.name(), error));
                return None;
            }
            if *phase.borrow_and_update() > Phase::Serving {
                warn(format!("is not begun any more: {error}"));
                return None;
            }
            warn(format!("not begun yet: {error}"));
            tokio::select! {
                () = sleep(ROOM_PAUSE) => {}
                _ = phase.changed() => {}
                why = &mut until => {
                    warn(format!("is not begun any more: {why}"));
                    return None;
                }
            }
        }
    }
}

/// Completions of a session or a lease. Dropping it ends the subscription.
pub struct Subscription {
    host: Rc<Host>,
    tag: u64,
    completions: mpsc::UnboundedReceiver<ApiResult<String>>,
}

impl Subscription {
    /// Waits for the next completion; `None`: none will come.
    pub async fn next(&mut self) -> Option<ApiResult<String>> {
        self.completions.recv().await
    }

    /// Waits until a lease is no longer held, and returns its state in words. Waits without end for one that ended as its holder wanted.
    pub async fn state(&mut self) -> String {
        match self.next().await {
            Some(Ok(state)) => describe_state(&state),
            _ => std::future::pending().await,
        }
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.host.subscribers.borrow_mut().remove(&self.tag);
    }
}

/// Runs a future, and the local tasks that it starts.
fn block_on(program: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let runtime = Builder::new_current_thread().enable_all().build().map_err(|error| Failure::io("event loop", error))?;
    LocalSet::new().block_on(&runtime, program)
}

/// Returns what receives the queue's completions. A thread waits for them: the queue's descriptor is borrowed from it, which Rust cannot
/// express without unsafe code.
fn completions(queue: Arc<Queue>) -> Result<mpsc::UnboundedReceiver<Completion>, Failure> {
    let (sender, receiver) = mpsc::unbounded_channel();
    let forward = move || {
        loop {
            match queue.next(usize::MAX, None) {
                Ok(completions) => {
                    // The receiver goes when this program ends.
                    if completions.into_iter().any(|completion| sender.send(completion).is_err()) {
                        return;
                    }
                }
                Err(error) if error.status() == Status::Interrupted => {}
                Err(_) => return,
            }
        }
    };
    let thread = thread::Builder::new().name("completions".to_owned()).spawn(forward);
    thread.map_err(|error| Failure::io("event loop", error))?;
    Ok(receiver)
}

/// Waits for the next time to notify the watchdog; without one, forever.
async fn tick(watchdog: &mut Option<Interval>) {
    match watchdog {
        Some(watchdog) => drop(watchdog.tick().await),
        None => std::future::pending().await,
    }
}

/// Stops an item, unless its lease is lost, and records the outcome. Returns whether it is stopped.
pub async fn finish(lease: &Lease, work_id: &str) -> bool {
    let finished = match lease.prepare_finish(None) {
        Ok(prepared) => {
            let (sender, receiver) = oneshot::channel();
            lease.finish(prepared, move |outcome| drop(sender.send(outcome)));
            let unreported = |_| Err(antenv::Error::new(Status::Internal, "the end of the lease was not reported"));
            receiver.await.unwrap_or_else(unreported)
        }
        Err(error) => Err(error),
    };
    match &finished {
        Ok(_) => log::info(Some(work_id), "done"),
        Err(error) => {
            let why = format!("not stopped: {}: {error}", error.status().name());
            log::record(Level::Warn, Some(work_id), &why);
        }
    }
    finished.is_ok()
}

/// Returns whether an error means that the system has no room for a process at the moment.
fn is_no_room(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| Some(errno.raw_os_error()) == error.raw_os_error())
}

/// Returns the state of a lease in words: `lost, taken`.
fn describe_state(json: &str) -> String {
    #[derive(Deserialize)]
    struct State<'a> {
        state: &'a str,
        reason: Option<&'a str>,
    }
    let state = serde_json::from_str(json).unwrap_or(State { state: json, reason: None });
    state.reason.map_or_else(|| state.state.to_owned(), |reason| format!("{}, {reason}", state.state))
}
