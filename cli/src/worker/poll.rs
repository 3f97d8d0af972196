//! `antenv worker poll`: runs a command for each item.
//!
//! ```text
//!              ┌ start ─────────┐   ┌ serve ──────────────────────────────────────┐
//! item ───────►┤ no room: again ├──►┤ the command ends ─────────────────────────► ├──► stop the item
//!              │ in a second    │   │ lease lost, item to be stopped, hurry:      │    (handoff: give it back
//!              └─ or give it up ┘   │ SIGTERM ─► grace ─► SIGKILL ─► it has ended │     if it was never begun)
//!                                   └─────────────────────────────────────────────┘
//! ```

use super::command::{self, Item, Prepared};
use super::host::{Host, Subscription, finish};
use super::log::{self, Format, Log};
use super::metrics;
use super::options::WorkerOptions;
use super::processes::signal_group;
use crate::client::ClientOptions;
use crate::output::Failure;
use antenv::Lease;
use antenv::telemetry::log::Level;
use clap::Args;
use rustix::process::{Pid, Signal, WaitStatus};
use std::ffi::OsString;
use std::rc::Rc;
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::timeout;

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

    #[command(flatten)]
    worker: WorkerOptions,

    /// Claim only: each command adopts the lease of its item, sends the heartbeats, and stops the item. It has to begin within a minute
    #[arg(long)]
    handoff: bool,

    /// How the log on standard error is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    log: Format,

    #[command(flatten)]
    client: ClientOptions,
}

/// Serves the work queue until there is no more to do.
pub fn run(options: Options) -> Result<(), Failure> {
    command::check(&options.on_work)?;
    let listener = options.worker.metrics.as_deref().map(metrics::listen).transpose()?;
    let log = Log::start(options.log)?;
    let outcome = serve(options, listener).map_err(log::failure);
    drop(log);
    outcome
}

fn serve(options: Options, listener: Option<std::net::TcpListener>) -> Result<(), Failure> {
    let worker = options.worker.start(&options.client.client()?, !options.handoff)?;
    let poll = Rc::new(Poll { host: Host::new(Some(worker))?, options });
    poll.host.clone().run(listener, async {}, |lease, json| poll.clone().serve_item(lease, json))
}

struct Poll {
    options: Options,
    host: Rc<Host>,
}

impl Poll {
    /// Returns what reports the lease's state when it is no longer held. With --handoff that never comes: the lease is the command's
    /// business.
    fn watch(&self, lease: &Lease) -> Subscription {
        self.host.subscribe(|queue, tag| if self.options.handoff { Ok(()) } else { lease.attach(queue, tag) })
    }

    /// Serves an item from its start to its end.
    async fn serve_item(self: Rc<Poll>, lease: Arc<Lease>, json: String) {
        let item = Item::parse(&json);
        let mut change = self.watch(&lease);
        let command = Prepared::for_item(&self.options.on_work, &item);
        let Some(running) = self.host.start(&item.id, &command, change.state()).await else { return lease.abandon() };
        log::info(Some(&item.id), "begun");
        let mut ended = self.host.processes.add(running.leader);
        let feeding = spawn_local(command::feed(running.input, json));
        let status = match self.reason_to_end(&mut ended, change).await {
            Ok(status) => status,
            Err(why) => self.end(&item.id, running.leader, ended, &why).await,
        };
        feeding.abort();
        log::info(Some(&item.id), &command::describe(status));
        if self.options.handoff {
            // It has stopped the item, or its lease runs out. An item without one is given back.
            return lease.abandon();
        }
        finish(&lease, &item.id).await;
    }

    /// Waits until the command has ended, or returns why it has to end.
    async fn reason_to_end(
        &self,
        ended: &mut oneshot::Receiver<WaitStatus>,
        mut change: Subscription,
    ) -> Result<Option<WaitStatus>, String> {
        tokio::select! {
            biased;
            status = ended => Ok(status.ok()),
            state = change.state() => Err(state),
            () = self.host.hurries() => Err("a second signal".to_owned()),
        }
    }

    /// Ends a command: asks it, and kills it when its time is over.
    async fn end(&self, item: &str, leader: Pid, mut ended: oneshot::Receiver<WaitStatus>, why: &str) -> Option<WaitStatus> {
        log::record(Level::Warn, Some(item), &format!("is asked to end: {why}"));
        signal_group(leader, Signal::TERM);
        if let Ok(status) = timeout(self.options.worker.grace, &mut ended).await {
            return status.ok();
        }
        log::record(Level::Warn, Some(item), "is killed");
        signal_group(leader, Signal::KILL);
        ended.await.ok()
    }
}
