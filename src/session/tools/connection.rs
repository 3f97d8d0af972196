//! The connection to a helper: requests and answers are lines of JSON (docs/toolset.md).
//!
//! A request that is no longer awaited is cancelled in the helper.

use super::PROTOCOL;
use super::config::HelperConfig;
use super::process::{HelperProcess, Streams};
use crate::error::{Error, Result, Status};
use crate::runtime::fork::ForkSafeMutex;
use crate::session::LOG;
use crate::telemetry::log::{self, Level};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::net::unix::pipe;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// How long a helper may take to be ready.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
/// How long the rest of standard error may take once a helper has ended.
const LAST_OUTPUT: Duration = Duration::from_secs(5);
/// The longest answer: a PDF of 20 MiB in base64 is half of it.
const MAX_ANSWER_BYTES: u64 = 64 << 20;
/// The longest line of standard error that is logged whole, and the most lines that are logged.
const MAX_ERROR_BYTES: usize = 4096;
const MAX_ERROR_LINES: usize = 1000;

/// A helper that runs. It is ended when this is dropped.
pub struct Connection {
    calls: Arc<Calls>,
    requests: mpsc::UnboundedSender<String>,
    /// What is in force, as the helper states it.
    pub confinement: Box<RawValue>,
    /// The private folder's part that commands and the library share.
    pub tmpdir: String,
    _process: HelperProcess,
    /// What reads, writes and watches.
    tasks: [JoinHandle<()>; 2],
}

/// The requests that wait for an answer. `None`: the helper has died.
type Waiting = Option<HashMap<u64, oneshot::Sender<String>>>;

struct Calls(ForkSafeMutex<(u64, Waiting)>);

/// The first line of a helper.
#[derive(Deserialize)]
struct Ready {
    protocol: u32,
    version: String,
    tmpdir: String,
    confinement: Box<RawValue>,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    id: Option<Cow<'a, str>>,
}

/// A request. When dropped before its answer has come, it is cancelled.
struct Request<'a> {
    connection: &'a Connection,
    id: u64,
}

impl Drop for Request<'_> {
    fn drop(&mut self) {
        if self.connection.calls.take(self.id).is_some() {
            let _ = self.connection.requests.send(format!("{{\"cancel\":\"{}\"}}\n", self.id));
        }
    }
}

impl Connection {
    /// Waits until a helper that was just started is ready. Errors: `CONFIG`, if it cannot serve: another version, or a sandbox that it
    /// cannot have; `TIMEOUT`.
    pub async fn open(
        mut process: HelperProcess,
        streams: Streams,
        config: &HelperConfig,
        session_id: &str,
    ) -> Result<Connection> {
        let failed = |error: io::Error| Error::new(Status::Internal, format!("the toolset's process cannot be used: {error}"));
        streams.socket.set_nonblocking(true).map_err(failed)?;
        let (input, output) = UnixStream::from_std(streams.socket).map_err(failed)?.into_split();
        let errors = pipe::Receiver::from_owned_fd(streams.errors).map_err(failed)?;
        let (last_error, last) = oneshot::channel();
        let errors = tokio::spawn(log_errors(errors, session_id.to_owned(), last_error));
        let mut input = BufReader::new(input);
        let first = timeout(READY_TIMEOUT, read_line(&mut input, MAX_ANSWER_BYTES)).await;
        let first = first.map_err(|_| Error::new(Status::Timeout, "the toolset's process did not get ready in time"))?;
        let Some(first) = first.map_err(failed)? else {
            let why = timeout(LAST_OUTPUT, last).await.ok().and_then(std::result::Result::ok).unwrap_or_default();
            let problem = format_args!("cannot be served by {}: {why}", config.path.display()).to_string();
            return Err(Error::config("toolset", problem));
        };
        let ready = read_ready(&first, config)?;
        process.owns(&ready.tmpdir);
        let (requests, lines) = mpsc::unbounded_channel();
        let calls = Arc::new(Calls(ForkSafeMutex::new((0, Some(HashMap::new())))));
        let run = run(input, output, lines, calls.clone());
        let tasks = [tokio::spawn(run), errors];
        let Ready { confinement, tmpdir, .. } = ready;
        Ok(Connection { calls, requests, confinement, tmpdir, _process: process, tasks })
    }

    /// Sends a request and waits for its answer, a JSON object. `members`: those of the request but for `id`, as JSON on one line. When the
    /// future is dropped, the request is cancelled. Errors: `CONNECTION`, if the helper dies.
    pub async fn request(&self, members: &str) -> Result<String> {
        let (id, answer) = self.calls.add().ok_or_else(died)?;
        let request = Request { connection: self, id };
        let _ = self.requests.send(format!("{{\"id\":\"{id}\",{members}}}\n"));
        let answer = answer.await.map_err(|_| died());
        drop(request);
        answer
    }

    /// Returns whether the helper has died.
    pub fn is_dead(&self) -> bool {
        self.calls.0.lock().1.is_none()
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Calls {
    fn add(&self) -> Option<(u64, oneshot::Receiver<String>)> {
        let (sender, receiver) = oneshot::channel();
        let mut calls = self.0.lock();
        calls.0 += 1;
        let id = calls.0;
        calls.1.as_mut()?.insert(id, sender);
        Some((id, receiver))
    }

    fn take(&self, id: u64) -> Option<oneshot::Sender<String>> {
        self.0.lock().1.as_mut()?.remove(&id)
    }

    /// Answers a request. An answer to one that was cancelled is dropped.
    fn on_answer(&self, line: String) {
        let id = serde_json::from_str::<Head>(&line).ok().and_then(|head| head.id?.parse().ok());
        match id {
            Some(id) => drop(self.take(id).map(|sender| sender.send(line))),
            None => log::record(Level::Warn, LOG, "the toolset's process sent an invalid answer", || json!({})),
        }
    }
}

fn died() -> Error {
    Error::new(Status::Connection, "the toolset's process has died")
}

fn read_ready(line: &str, config: &HelperConfig) -> Result<Ready> {
    let path = config.path.display();
    let ready: Ready = serde_json::from_str(line)
        .map_err(|_| Error::config("toolset_path", format_args!("is no command with a toolset: {path}")))?;
    match ready.protocol {
        PROTOCOL => Ok(ready),
        other => Err(Error::config(
            "toolset_path",
            format_args!(
                "has protocol {other}, not {PROTOCOL}: {path} is version {} of the command; this library is {}",
                ready.version,
                env!("CARGO_PKG_VERSION")
            ),
        )),
    }
}

/// Serves the connection until the helper has died.
async fn run(input: BufReader<OwnedReadHalf>, output: OwnedWriteHalf, lines: mpsc::UnboundedReceiver<String>, calls: Arc<Calls>) {
    tokio::select! {
        () = read_answers(input, &calls) => {}
        () = write_requests(output, lines) => {}
    }
    let waiting = calls.0.lock().1.take();
    drop(waiting);
}

async fn read_answers(mut input: BufReader<OwnedReadHalf>, calls: &Calls) {
    while let Ok(Some(line)) = read_line(&mut input, MAX_ANSWER_BYTES).await {
        calls.on_answer(line);
    }
}

async fn write_requests(mut output: OwnedWriteHalf, mut lines: mpsc::UnboundedReceiver<String>) {
    while let Some(line) = lines.recv().await {
        if output.write_all(line.as_bytes()).await.is_err() {
            return;
        }
    }
}

/// Reads a line of UTF-8. `None`: the output has ended. Errors also for a line that is too long.
async fn read_line(input: &mut (impl AsyncBufRead + Unpin), max: u64) -> io::Result<Option<String>> {
    let mut line = Vec::new();
    input.take(max).read_until(b'\n', &mut line).await?;
    match line.pop() {
        Some(b'\n') => String::from_utf8(line).map(Some).map_err(|_| io::ErrorKind::InvalidData.into()),
        Some(_) if line.len() as u64 + 1 == max => Err(io::ErrorKind::InvalidData.into()),
        _ => Ok(None),
    }
}

/// Logs what the helper writes to standard error. Reports the last line when that has ended.
async fn log_errors(mut errors: pipe::Receiver, session_id: String, last: oneshot::Sender<String>) {
    let (mut line, mut last_line, mut buffer, mut count) = (Vec::new(), String::new(), [0; 1024], 0);
    loop {
        let read = errors.read(&mut buffer).await.unwrap_or(0);
        for byte in &buffer[..read] {
            match byte {
                b'\n' => {}
                _ if line.len() < MAX_ERROR_BYTES => {
                    line.push(*byte);
                    continue;
                }
                _ => continue,
            }
            last_line = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
            count += 1;
            if count <= MAX_ERROR_LINES {
                let fields = || json!({"session_id": session_id, "line": last_line});
                log::record(Level::Warn, LOG, "the toolset's process reported", fields);
            }
        }
        if read == 0 {
            let _ = last.send(last_line);
            return;
        }
    }
}
