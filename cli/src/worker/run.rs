//! `antenv worker run`: claims items, and serves the session of each to its end.

use super::host::Host;
use super::log::{self, Format, Log};
use super::metrics;
use super::options::WorkerOptions;
use super::serve::{ServeOptions, Server};
use super::workdir::Workdirs;
use crate::client::ClientOptions;
use crate::output::Failure;
use clap::Args;
use std::net::TcpListener;

/// Serves the sessions of the work queue, each to its end
///
/// The tools of an agent, bash, read, write, edit, glob and grep, run in a process of their own that is confined (docs/security.md), one for
/// each session. Custom tools are answered by the command of --on-tool: it has the event of the call on its standard input, and in its
/// environment ANTENV_TOOL_NAME, ANTENV_TOOL_USE_ID, ANTENV_WORKDIR, ANTHROPIC_WORK_ID, ANTHROPIC_ENVIRONMENT_ID and ANTHROPIC_SESSION_ID,
/// but no credential. Its standard output is the result, which is an error unless it exits with 0. It is killed, with its process group, when
/// the call needs no answer any more.
///
/// On SIGTERM or SIGINT this process claims no more and waits for the sessions; those that still go on after the grace period are ended, and
/// their items stopped. A second SIGTERM or SIGINT ends the wait.
///
/// The work queue is that of ANTHROPIC_ENVIRONMENT_ID, with ANTHROPIC_ENVIRONMENT_KEY. Under systemd it says when it is ready and, if it has
/// a watchdog, that it is alive.
///
/// Exits with 0 when it was asked to end, or the work queue is drained; with 1 when it had to give up, such as for a key that is rejected;
/// with 2 on wrong usage, such as a directory that is not there.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    serve: ServeOptions,

    #[command(flatten)]
    worker: WorkerOptions,

    /// How the log on standard error is written
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t = Format::Text)]
    log: Format,

    #[command(flatten)]
    client: ClientOptions,
}

/// Serves the work queue until there is no more to do.
pub fn run(options: Options) -> Result<(), Failure> {
    let workdirs = options.serve.check()?;
    let listener = options.worker.metrics.as_deref().map(metrics::listen).transpose()?;
    let log = Log::start(options.log)?;
    let outcome = serve(options, workdirs, listener, &log).map_err(log::failure);
    drop(log);
    outcome
}

fn serve(options: Options, workdirs: Workdirs, listener: Option<TcpListener>, log: &Log) -> Result<(), Failure> {
    let worker = options.worker.start(&options.client.client()?, true)?;
    let host = Host::new(Some(worker))?;
    let server = Server::new(host.clone(), options.serve, workdirs);
    let outcome = host.run(listener, server.clone().show_progress(log.progress()), |lease, json| {
        let server = server.clone();
        async move {
            server.serve_item(lease, json).await;
        }
    });
    log::info(None, &server.summary());
    outcome
}
