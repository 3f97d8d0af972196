//! `antenv worker handle`: serves the session of one item, which another process has claimed.

use super::host::Host;
use super::log::{self, Format, Log};
use super::serve::{ServeOptions, Server};
use super::workdir::Workdirs;
use crate::client::ClientOptions;
use crate::output::Failure;
use clap::Args;
use std::cell::Cell;
use std::rc::Rc;
use tokio::task::spawn_blocking;

/// Serves the session of one item that another process has claimed
///
/// The item is that of ANTHROPIC_WORK_ID, ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_SESSION_ID, ANTHROPIC_WORK_SECRET (else
/// ANTHROPIC_ENVIRONMENT_KEY) and, if its lease has begun, ANTHROPIC_WORK_LAST_HEARTBEAT: what `antenv worker poll --handoff` gives its
/// commands. This process adopts the lease, serves the session to its end as `antenv worker run` does, and stops the item. On SIGTERM or
/// SIGINT the session is ended, and the item stopped, at once.
///
/// Exits with 0 when the session is over and the item is stopped; with 1 after a failure, such as a lease that is lost; with 2 on wrong
/// usage, such as a directory that is not there.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    serve: ServeOptions,

    /// How the log on standard error is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    log: Format,

    #[command(flatten)]
    client: ClientOptions,
}

/// Serves the item.
pub fn run(options: Options) -> Result<(), Failure> {
    let workdirs = options.serve.check()?;
    let log = Log::start(options.log)?;
    let outcome = serve(options, workdirs).map_err(log::failure);
    drop(log);
    outcome
}

fn serve(options: Options, workdirs: Workdirs) -> Result<(), Failure> {
    let client = options.client.client()?;
    let host = Host::new(None)?;
    let server = Server::new(host.clone(), options.serve, workdirs);
    let is_well = Rc::new(Cell::new(false));
    let (giving_up, outcome) = (host.clone(), is_well.clone());
    host.run_one(async move {
        // It waits for the first heartbeat.
        match spawn_blocking(move || antenv::worker::adopt(&client, None)).await {
            Ok(Ok((lease, json))) => outcome.set(server.serve_item(lease, json).await),
            Ok(Err(error)) => giving_up.give_up(error.into()),
            Err(panic) => giving_up.give_up(Failure::Message(panic.to_string())),
        }
    })?;
    // The log says what went wrong.
    if is_well.get() { Ok(()) } else { Err(Failure::Logged) }
}
