//! `antenv worker poll`: runs a command for each item.
//!
//! ```text
//!              ┌ start ─────────┐   ┌ serve ──────────────────────────────────────┐
//! item ───────►┤ no room: again ├──►┤ the command ends ─────────────────────────► ├──► stop the item
//!              │ in a second    │   │ lease lost, item to be stopped, hurry:      │    (handoff: give it back
//!              └─ or give it up ┘   │ SIGTERM ─► grace ─► SIGKILL ─► it has ended │     if it was never begun)
//!                                   └─────────────────────────────────────────────┘
//! ```

use super::command::{self, Item};
use super::log::{self, Format, Log};
use super::notify::Notifier;
use super::processes::{Processes, signal_group};
use super::{grace, metrics};
use crate::client::ClientOptions;
use crate::output::Failure;
use antenv::completion::{Completion, Queue};
use antenv::telemetry::log::Level;
use antenv::{Lease, Status, Worker};
use clap::Args;
use rustix::process::{Pid, Signal, WaitStatus};
use serde::Deserialize;
use serde_json::json;
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::OsString;
use std::io;
use std::net::TcpListener;
use std::rc::Rc;
use std::sync::Arc;
use std::thread;
use std::time::Duration;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinSet, LocalSet, spawn_local};
use tokio::time::{Interval, interval, sleep, timeout};

/// The tag of the worker's completions. Those of leases count from the next.
const WORKER_TAG: u64 = 0;
/// The pause before a command is started again for which there was no room.
const ROOM_PAUSE: Duration = Duration::from_secs(1);

/// Runs a command for each item of the work queue
///
/// The command has the item's JSON on its standard input, and in its environment ANTHROPIC_WORK_ID, ANTHROPIC_ENVIRONMENT_ID,
/// ANTHROPIC_SESSION_ID and, if the item has one, ANTHROPIC_WORK_SECRET, besides the variables of this process. It runs in a process group
/// of its own. When it has ended, its item is stopped, whatever its exit code, and what is left of its process group is killed.
///
/// When a lease is lost or an item is to be stopped, the command gets SIGTERM, and SIGKILL when the grace period is over. On SIGTERM or
/// SIGINT this process claims no more and waits for the commands; those that still run after the grace period get SIGTERM, and SIGKILL after
/// as long again. A second SIGTERM or SIGINT ends the first of these waits.
///
/// The work queue is that of ANTHROPIC_ENVIRONMENT_ID, with ANTHROPIC_ENVIRONMENT_KEY. As a container's first process, this one also reaps
/// orphans. Under systemd it says when it is ready and, if it has a watchdog, that it is alive.
///
/// Exits with 0 when it was asked to end, or the work queue is drained; with 1 when it had to give up, such as for a key that is rejected or
/// a command that cannot be started any more; with 2 on wrong usage, such as a command that cannot be found.
#[derive(Args)]
pub struct Options {
    /// The command and its arguments: all that follows. No shell is involved
    #[arg(long, value_name = "COMMAND", num_args = 1.., required = true, allow_hyphen_values = true, display_order = 100)]
    on_work: Vec<OsString>,

    /// How many commands run at once
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    concurrency: u32,

    /// The time that commands have to end: up to 86400, such as 0.5 or 30s
    #[arg(long, value_name = "SECONDS", default_value = "30", value_parser = grace::parse, allow_negative_numbers = true)]
    grace: Duration,

    /// Claim only: each command adopts the lease of its item, sends the heartbeats, and stops the item. It has to begin within a minute
    #[arg(long)]
    handoff: bool,

    /// End when the work queue is empty
    #[arg(long)]
    drain: bool,

    /// Where /metrics is served for Prometheus, such as :9464 or 127.0.0.1:9464
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<String>,

    /// How the log on standard error is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    log: Format,

    #[command(flatten)]
    client: ClientOptions,
}

/// Serves the work queue until there is no more to do.
pub fn run(options: Options) -> Result<(), Failure> {
    command::check(&options.on_work)?;
    let listener = options.metrics.as_deref().map(metrics::listen).transpose()?;
    let log = Log::start(options.log)?;
    let outcome = serve(options, listener).map_err(log::failure);
    drop(log);
    outcome
}

fn serve(options: Options, listener: Option<TcpListener>) -> Result<(), Failure> {
    let config = json!({"concurrency": options.concurrency, "grace_ms": options.grace.as_millis() as u64,
                        "heartbeat": !options.handoff, "drain": options.drain});
    let worker = Rc::new(Worker::new(&options.client.client()?, Some(&config.to_string()))?);
    let queue = Arc::new(Queue::new()?);
    let program = Program {
        options,
        worker,
        queue,
        processes: Processes::default(),
        leases: RefCell::default(),
        last_tag: Cell::new(WORKER_TAG),
        phase: watch::Sender::new(Phase::Serving),
        failure: RefCell::default(),
    };
    let failed = |error| Failure::io("event loop", error);
    let runtime = Builder::new_current_thread().enable_all().build().map_err(failed)?;
    LocalSet::new().block_on(&runtime, Rc::new(program).run(listener))
}

/// How far the end has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Phase {
    Serving,
    /// No more items are claimed.
    Stopping,
    /// Commands that run are ended.
    Hurrying,
}

/// What the items share.
struct Program {
    options: Options,
    worker: Rc<Worker>,
    queue: Arc<Queue>,
    processes: Processes,
    /// Receive, by tag, the state of a lease that is no longer held.
    leases: RefCell<HashMap<u64, oneshot::Sender<String>>>,
    last_tag: Cell<u64>,
    phase: watch::Sender<Phase>,
    /// Why this program gave up.
    failure: RefCell<Option<Failure>>,
}

impl Program {
    /// Runs until no more items come and the last of them is served.
    async fn run(self: Rc<Program>, listener: Option<TcpListener>) -> Result<(), Failure> {
        let failed = |error: io::Error| Failure::io("signals", error);
        let mut children = signal(SignalKind::child()).map_err(failed)?;
        let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
        let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
        self.worker.attach(Some(&self.queue), WORKER_TAG)?;
        let mut completions = completions(self.queue.clone())?;
        if let Some(listener) = listener {
            log::info(None, &format!("metrics at {}", metrics::url(&listener)));
            spawn_local(metrics::serve(listener, self.worker.clone()));
        }
        let notifier = Notifier::from_env();
        let mut watchdog = notifier.watchdog().map(interval);
        notifier.send("READY=1");
        let (mut items, mut is_over) = (JoinSet::new(), false);
        while !is_over || !items.is_empty() {
            tokio::select! {
                Some(completion) = completions.recv() => is_over |= self.take_completion(completion, &mut items),
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
        if *self.phase.borrow() == Phase::Serving {
            log::info(None, &format!("claims no more: {name}"));
            notifier.send("STOPPING=1");
            self.stop(Phase::Stopping);
        } else {
            self.stop(Phase::Hurrying);
        }
    }

    /// Claims no more.
    fn stop(&self, phase: Phase) {
        self.phase.send_if_modified(|before| std::mem::replace(before, phase.max(*before)) < phase);
        // It fails in a forked child, which this process is not.
        let _ = self.worker.stop();
    }

    /// Gives up: claims no more, waits for the commands that run, and ends with this failure, unless there was one before.
    fn give_up(&self, failure: Failure) {
        self.failure.borrow_mut().get_or_insert_with(|| log::failure(failure));
        self.stop(Phase::Stopping);
    }

    /// Takes what has come to the queue. Returns whether no more items will come.
    fn take_completion(self: &Rc<Program>, Completion { tag, result }: Completion, items: &mut JoinSet<()>) -> bool {
        match (tag, result) {
            // The item may have gone.
            (WORKER_TAG, Ok(_)) => {
                if let Ok(Some((lease, json))) = self.worker.next(Some(Duration::ZERO)) {
                    items.spawn_local(self.clone().serve_item(lease, json));
                }
                false
            }
            (WORKER_TAG, Err(end)) => {
                if end.status() != Status::Done {
                    self.give_up(end.into());
                }
                true
            }
            (tag, change) => {
                let receiver = self.leases.borrow_mut().remove(&tag);
                receiver.zip(change.ok()).map(|(receiver, state)| receiver.send(state));
                false
            }
        }
    }

    /// Returns what receives the lease's state when it is no longer held. With --handoff that never comes: the lease is the command's
    /// business.
    fn watch(&self, lease: &Lease) -> oneshot::Receiver<String> {
        let (sender, receiver) = oneshot::channel();
        let tag = self.last_tag.get() + 1;
        self.last_tag.set(tag);
        if !self.options.handoff && lease.attach(&self.queue, tag).is_ok() {
            self.leases.borrow_mut().insert(tag, sender);
        }
        receiver
    }

    /// Serves an item from its start to its end.
    async fn serve_item(self: Rc<Program>, lease: Arc<Lease>, json: String) {
        let item = Item::parse(&json);
        let mut change = self.watch(&lease);
        let Some(running) = self.start(&item, &mut change).await else { return lease.abandon() };
        log::info(Some(&item.id), "begun");
        let mut ended = self.processes.add(running.leader);
        let feeding = spawn_local(command::feed(running.input, json));
        let status = match self.reason_to_end(&mut ended, change).await {
            Ok(status) => status,
            Err(why) => self.end(&item.id, running.leader, ended, &why).await,
        };
        feeding.abort();
        log::info(Some(&item.id), &describe(status));
        if self.options.handoff {
            // It has stopped the item, or its lease runs out. An item without one is given back.
            return lease.abandon();
        }
        match finish(&lease).await {
            Ok(_) => log::info(Some(&item.id), "done"),
            Err(error) => {
                let why = format!("not stopped: {}: {error}", error.status().name());
                log::record(Level::Warn, Some(&item.id), &why);
            }
        }
    }

    /// Starts the command, later if there is no room for it now. `None`: it is not to be started any more.
    async fn start(&self, item: &Item, change: &mut oneshot::Receiver<String>) -> Option<command::Running> {
        let mut phase = self.phase.subscribe();
        let warn = |message: String| log::record(Level::Warn, Some(&item.id), &message);
        loop {
            if self.failure.borrow().is_some() {
                return None;
            }
            let error = match command::start(&self.options.on_work, item) {
                Ok(running) => return Some(running),
                Err(error) => error,
            };
            if !is_no_room(&error) {
                // The command of the next item would fail, too.
                self.give_up(Failure::io(&self.options.on_work[0].to_string_lossy(), error));
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
                Ok(state) = &mut *change => {
                    warn(format!("is not begun any more: {}", describe_state(&state)));
                    return None;
                }
            }
        }
    }

    /// Waits until the command has ended, or returns why it has to end.
    async fn reason_to_end(
        &self,
        ended: &mut oneshot::Receiver<WaitStatus>,
        mut change: oneshot::Receiver<String>,
    ) -> Result<Option<WaitStatus>, String> {
        let mut phase = self.phase.subscribe();
        tokio::select! {
            biased;
            status = ended => Ok(status.ok()),
            Ok(state) = &mut change => Err(describe_state(&state)),
            Ok(_) = phase.wait_for(|phase| *phase == Phase::Hurrying) => Err("a second signal".to_owned()),
        }
    }

    /// Ends a command: asks it, and kills it when its time is over.
    async fn end(&self, item: &str, leader: Pid, mut ended: oneshot::Receiver<WaitStatus>, why: &str) -> Option<WaitStatus> {
        log::record(Level::Warn, Some(item), &format!("is asked to end: {why}"));
        signal_group(leader, Signal::TERM);
        if let Ok(status) = timeout(self.options.grace, &mut ended).await {
            return status.ok();
        }
        log::record(Level::Warn, Some(item), "is killed");
        signal_group(leader, Signal::KILL);
        ended.await.ok()
    }
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

/// Waits for the next time to tell the watchdog; without one, forever.
async fn tick(watchdog: &mut Option<Interval>) {
    match watchdog {
        Some(watchdog) => drop(watchdog.tick().await),
        None => std::future::pending().await,
    }
}

/// Stops the item, unless the lease is lost.
async fn finish(lease: &Lease) -> antenv::error::Result<String> {
    let prepared = lease.prepare_finish(None)?;
    let (sender, receiver) = oneshot::channel();
    lease.finish(prepared, move |outcome| drop(sender.send(outcome)));
    receiver.await.unwrap_or_else(|_| Err(antenv::Error::new(Status::Internal, "the end of the lease was not reported")))
}

/// Returns whether an error means that the system has no room for a process at the moment.
fn is_no_room(error: &io::Error) -> bool {
    use rustix::io::Errno;
    [Errno::AGAIN, Errno::NOMEM, Errno::MFILE, Errno::NFILE]
        .iter()
        .any(|errno| Some(errno.raw_os_error()) == error.raw_os_error())
}

/// Returns how a command ended.
fn describe(status: Option<WaitStatus>) -> String {
    match status.map(|status| (status.exit_status(), status.terminating_signal())) {
        Some((Some(code), _)) => format!("exited with {code}"),
        Some((_, Some(signal))) => format!("ended by signal {signal}"),
        _ => "ended".to_owned(),
    }
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
