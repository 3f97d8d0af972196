//! The protocol: requests are lines of JSON on standard input, answers are lines of JSON on standard output (docs/toolset.md).
//!
//! A thread runs the commands of the shell, in order; a few threads run the other tools. The calling thread reads requests, and returns at
//! the end of the input.

use super::error::{ToolError, ToolResult};
use super::files;
use super::host::HostRequest;
use super::roots::Roots;
use super::search;
use super::shell::{BashInput, Shell};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use cap_std::fs::Dir;
use rustix::event::{EventfdFlags, eventfd};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io::{self, BufRead, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;

/// The version of the protocol.
pub const PROTOCOL: u32 = 1;
pub const TOOLS: [&str; 6] = ["bash", "read", "write", "edit", "glob", "grep"];
/// The longest request.
const MAX_REQUEST_BYTES: u64 = 32 << 20;
/// How many calls of tools other than bash run at once.
const FILE_THREADS: usize = 4;

/// What a tool returns.
#[derive(Debug, Serialize)]
pub struct Content(pub Vec<Block>);

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    Text { text: String },
    Image { source: Source },
    Document { source: Source },
}

#[derive(Debug, Serialize)]
pub struct Source {
    r#type: &'static str,
    media_type: &'static str,
    data: String,
}

impl Content {
    pub fn text(text: impl Into<String>) -> Content {
        Content(vec![Block::Text { text: text.into() }])
    }
}

impl Block {
    pub fn image(media_type: &'static str, bytes: &[u8]) -> Block {
        Block::Image { source: Source { r#type: "base64", media_type, data: STANDARD.encode(bytes) } }
    }

    pub fn document(media_type: &'static str, bytes: &[u8]) -> Block {
        Block::Document { source: Source { r#type: "base64", media_type, data: STANDARD.encode(bytes) } }
    }
}

/// A line of the input: a call, a request of the host, or the cancellation of one.
#[derive(Deserialize)]
struct Message {
    id: Option<String>,
    name: Option<String>,
    input: Option<Value>,
    cancel: Option<String>,
    /// A request of the host.
    #[serde(flatten)]
    rest: Map<String, Value>,
}

#[derive(Serialize)]
struct Answer<'a> {
    id: Option<&'a str>,
    content: Content,
    is_error: bool,
}

/// Whether a call is to end: a flag, and a descriptor to wait for.
pub struct Cancel {
    cancelled: AtomicBool,
    event: OwnedFd,
}

impl Cancel {
    pub fn new() -> io::Result<Cancel> {
        Ok(Cancel { cancelled: AtomicBool::new(false), event: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)? })
    }

    fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        // Cannot fail: the counter is far from its end.
        let _ = rustix::io::write(&self.event, &1u64.to_ne_bytes());
    }

    pub fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Returns an error if the call was cancelled.
    pub fn check(&self) -> ToolResult<()> {
        if self.is_cancelled() { Err(ToolError::new("the call was cancelled")) } else { Ok(()) }
    }

    /// Returns a descriptor that is readable once the call is cancelled.
    pub fn event(&self) -> BorrowedFd<'_> {
        self.event.as_fd()
    }
}

/// The answer to a request of the host.
#[derive(Serialize)]
struct HostAnswer<'a> {
    id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    result: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

struct Call {
    id: String,
    request: Request,
    cancel: Arc<Cancel>,
}

enum Request {
    Tool { name: String, input: Value },
    Host(HostRequest),
}

impl Request {
    fn is_bash(&self) -> bool {
        matches!(self, Request::Tool { name, .. } if name == "bash")
    }
}

/// What all threads share.
struct Server {
    roots: Roots,
    /// The folder that archives are left in.
    tmp: Dir,
    calls: Mutex<HashMap<String, Arc<Cancel>>>,
}

/// Answers requests until the input ends. `tmp`: the folder that archives are left in. The shell belongs to a thread of its own until then.
pub fn serve(roots: Roots, tmp: Dir, shell: Shell) -> io::Result<()> {
    let server = Arc::new(Server { roots, tmp, calls: Mutex::default() });
    let (bash_queue, bash_calls) = channel::<Call>();
    let (file_queue, file_calls) = channel::<Call>();
    let file_calls = Arc::new(Mutex::new(file_calls));
    for number in 0..FILE_THREADS {
        let (server, calls) = (server.clone(), file_calls.clone());
        thread::Builder::new().name(format!("file-tools-{number}")).spawn(move || server.run_file_tools(&calls))?;
    }
    let bash = server.clone();
    thread::Builder::new().name("bash".to_owned()).spawn(move || bash.run_bash(&bash_calls, shell))?;
    server.read_requests(&bash_queue, &file_queue)
}

impl Server {
    fn read_requests(&self, bash_queue: &Sender<Call>, file_queue: &Sender<Call>) -> io::Result<()> {
        let mut input = io::stdin().lock();
        let mut line = Vec::new();
        loop {
            line.clear();
            input.by_ref().take(MAX_REQUEST_BYTES).read_until(b'\n', &mut line)?;
            if !line.ends_with(b"\n") {
                // The end of the input. What stands before it is no whole request, or one that is too long.
                return Ok(());
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let call = match self.accept(&line) {
                Ok(Some(call)) => call,
                Ok(None) => continue,
                Err((id, problem)) => {
                    send(id.as_deref(), Err(problem));
                    continue;
                }
            };
            let queue = if call.request.is_bash() { bash_queue } else { file_queue };
            if queue.send(call).is_err() {
                return Err(io::Error::other("a thread that runs tools has ended"));
            }
        }
    }

    /// Reads a request. A cancellation is done at once; one of a call that has ended does nothing.
    fn accept(&self, line: &[u8]) -> Result<Option<Call>, (Option<String>, ToolError)> {
        let message: Message =
            serde_json::from_slice(line).map_err(|error| (None, ToolError::new(format!("not a request: {error}"))))?;
        if let Some(id) = message.cancel {
            if let Some(cancel) = lock(&self.calls).get(&id) {
                cancel.cancel();
            }
            return Ok(None);
        }
        let Some(id) = message.id.clone() else {
            return Err((None, ToolError::new("not a request: `id` is missing")));
        };
        let request = match message.name {
            Some(name) if TOOLS.contains(&name.as_str()) => {
                Request::Tool { name, input: message.input.unwrap_or_else(|| Value::Object(Map::new())) }
            }
            Some(name) => return Err((message.id, ToolError::new(format!("there is no tool {name}")))),
            None => Request::Host(HostRequest::parse(message.rest).map_err(|problem| (message.id.clone(), problem))?),
        };
        let cancel = Cancel::new().map_err(|_| (message.id.clone(), ToolError::new("too many calls at once")))?;
        let cancel = Arc::new(cancel);
        match lock(&self.calls).entry(id.clone()) {
            Entry::Occupied(_) => return Err((message.id, ToolError::new("a call with this id is running"))),
            Entry::Vacant(vacant) => vacant.insert(cancel.clone()),
        };
        Ok(Some(Call { id, request, cancel }))
    }

    fn run_bash(&self, calls: &Receiver<Call>, mut shell: Shell) {
        while let Ok(call) = calls.recv() {
            if let Request::Tool { input, .. } = &call.request {
                let result = self.finish(&call, || shell.run(&parse::<BashInput>(input)?, &call.cancel));
                send(Some(&call.id), result);
            }
        }
    }

    fn run_file_tools(&self, calls: &Mutex<Receiver<Call>>) {
        loop {
            let received = lock(calls).recv();
            let Ok(call) = received else { return };
            match &call.request {
                Request::Tool { name, input } => {
                    let result = self.finish(&call, || match name.as_str() {
                        "read" => files::read(&self.roots, &parse(input)?),
                        "write" => files::write(&self.roots, &parse(input)?),
                        "edit" => files::edit(&self.roots, &parse(input)?),
                        "glob" => search::glob(&self.roots, &parse(input)?, &call.cancel),
                        _ => search::grep(&self.roots, &parse(input)?, &call.cancel),
                    });
                    send(Some(&call.id), result);
                }
                Request::Host(request) => {
                    let result = self.finish(&call, || request.run(&self.roots, &self.tmp, &call.cancel));
                    let (result, error) = match result {
                        Ok(result) => (Some(result), None),
                        Err(ToolError(message)) => (None, Some(message)),
                    };
                    write_line(&HostAnswer { id: &call.id, result, error });
                }
            }
        }
    }

    /// Runs a request that is about to be answered; one that panics is an error.
    fn finish<T>(&self, call: &Call, run: impl FnOnce() -> ToolResult<T>) -> ToolResult<T> {
        let result = call.cancel.check().and_then(|()| {
            catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| Err(ToolError::new("the tool failed by a fault of its own")))
        });
        // Before the answer: whoever has read it may use the id again.
        lock(&self.calls).remove(&call.id);
        result
    }
}

fn parse<T: DeserializeOwned>(input: &Value) -> ToolResult<T> {
    T::deserialize(input).map_err(|error| ToolError::new(format!("the input is not valid: {error}")))
}

fn send(id: Option<&str>, result: ToolResult<Content>) {
    let is_error = result.is_err();
    let content = result.unwrap_or_else(|ToolError(message)| Content::text(message));
    write_line(&Answer { id, content, is_error });
}

/// Writes a line at once. When nobody reads it, the input ends soon, too.
pub fn write_line(line: &impl Serialize) {
    let Ok(mut bytes) = serde_json::to_vec(line) else { return };
    bytes.push(b'\n');
    let mut output = io::stdout().lock();
    let _ = output.write_all(&bytes).and_then(|()| output.flush());
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}
