//! The helper of a session: started once, and again after it has died.

use super::config::{HelperConfig, Limits};
use super::connection::Connection;
use super::process::{Alive, HelperProcess};
use crate::backoff::Backoff;
use crate::client::PoolHandle;
use crate::error::{Error, Result, Status};
use crate::json::Object;
use crate::runtime::blocking::BlockingThread;
use crate::runtime::fork::ForkSafeMutex;
use crate::session::LOG;
use crate::session::event::ToolUse;
use crate::session::result::{ToolResult, whole_surrogates};
use crate::telemetry::log::{self, Level};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{sleep, timeout};

/// The pauses before a helper that has died is started again. The first call that it answers ends their growth.
const RESTART: Backoff = Backoff { first: Duration::from_millis(100), max: Duration::from_secs(10) };
/// How long a command may take longer than its own limit, at which the helper itself ends it.
const BASH_GRACE: Duration = Duration::from_secs(10);
/// The longest input that the helper takes, but for what surrounds it.
const MAX_INPUT_BYTES: usize = (32 << 20) - 1024;

/// Directories besides the working directory.
#[derive(Debug, Clone, Default)]
pub struct Directories {
    /// Memory directories that the tools may write.
    pub memory: Vec<PathBuf>,
    /// Memory directories that they may only read.
    pub memory_read_only: Vec<PathBuf>,
}

/// The helper of a session. Its functions run on the runtime, but for [`stats`](Helper::stats).
pub struct Helper {
    config: HelperConfig,
    session_id: String,
    pool: PoolHandle,
    state: Mutex<State>,
    /// Held while a command runs: the helper runs one at a time, and its time begins then.
    bash: Mutex<()>,
    stats: ForkSafeMutex<HelperStats>,
}

struct State {
    directories: Directories,
    connection: Option<Arc<Connection>>,
    /// How often in a row it has died without an answer to a call.
    deaths: u32,
    /// Those of the processes, and what is notified when there is none. `None`: the session is over.
    alive: Option<(Alive, mpsc::Receiver<()>)>,
}

/// What happened so far.
#[derive(Debug, Clone, Default)]
pub struct HelperStats {
    /// What is in force, as the helper has stated it.
    pub confinement: Option<Box<RawValue>>,
    /// How often it was started.
    pub starts: u64,
    /// How many calls it was given.
    pub calls: u64,
    /// How many of them took too long.
    pub timed_out: u64,
}

/// An answer to a call.
#[derive(Deserialize)]
struct Answer<'a> {
    #[serde(borrow)]
    content: &'a RawValue,
    is_error: bool,
}

impl Helper {
    /// Makes the helper of a session, which is not started yet.
    pub fn new(config: HelperConfig, session_id: &str, pool: PoolHandle) -> Option<Helper> {
        let (directories, alive) = (Directories::default(), Some(mpsc::channel(1)));
        let state = Mutex::new(State { directories, connection: None, deaths: 0, alive });
        let (bash, stats) = (Mutex::default(), ForkSafeMutex::default());
        Some(Helper { config, session_id: session_id.to_owned(), pool, state, bash, stats })
    }

    /// Starts the helper with these directories, unless it runs. Errors: `CONFIG`, if it cannot serve; `TIMEOUT`, `INTERNAL`.
    pub async fn start(&self, directories: Directories) -> Result<()> {
        self.state.lock().await.directories = directories;
        self.connection().await.map(drop)
    }

    /// Returns what happened so far. Callable from any thread.
    pub fn stats(&self) -> HelperStats {
        self.stats.lock().clone()
    }

    /// Sends the helper a request and returns its answer, a JSON object. `members`: those of the request but for `id`, as JSON on one line.
    /// Starts the helper again if it has died. When the future is dropped, the request is cancelled. Errors: `CONNECTION`, if it dies before
    /// its answer; those of [`start`](Helper::start).
    pub async fn request(&self, members: &str) -> Result<String> {
        let connection = self.connection().await?;
        let answer = connection.request(members).await?;
        self.state.lock().await.deaths = 0;
        Ok(answer)
    }

    /// Returns the folder for temporary files that only commands and the host can use. Errors: as for [`start`](Helper::start).
    pub async fn tmpdir(&self) -> Result<String> {
        Ok(self.connection().await?.tmpdir.clone())
    }

    /// Sends a request of the library's own, such as `unpack`, and returns its result. Errors: `INTERNAL`, with the helper's words, if it cannot do that;
    /// those of [`request`](Helper::request).
    pub async fn ask<T: DeserializeOwned>(&self, request: &str, input: &Value) -> Result<T> {
        #[derive(Deserialize)]
        #[serde(rename_all = "snake_case")]
        struct Answer<T> {
            result: Option<T>,
            error: Option<String>,
        }
        let answer = self.request(&format!("\"{request}\":{input}")).await?;
        let unusable =
            |error: serde_json::Error| Error::new(Status::Internal, format!("the toolset's answer is unusable: {error}"));
        let answer: Answer<T> = serde_json::from_str(&answer).map_err(unusable)?;
        answer.result.ok_or_else(|| Error::new(Status::Internal, answer.error.unwrap_or_default()))
    }

    /// Runs a call of a tool and returns its result, also that of a failure. When the future is dropped, the call is cancelled.
    pub async fn call(&self, call: &ToolUse) -> ToolResult {
        self.stats.lock().calls += 1;
        let is_bash = call.name == "bash";
        let input = match input(&call.json) {
            Ok(input) => input,
            Err(problem) => return ToolResult::text(&problem, true),
        };
        let members = format!("\"name\":{},\"input\":{input}", json!(call.name));
        let turn = if is_bash { Some(self.bash.lock().await) } else { None };
        let limit = self.config.limits.of_call(is_bash.then_some(input.as_str()));
        let request = self.request(&members);
        let answer = match limit {
            Some(limit) => timeout(limit, request).await,
            None => Ok(request.await),
        };
        drop(turn);
        match answer {
            Ok(Ok(answer)) => result(&answer),
            Ok(Err(error)) if error.status() == Status::Connection => {
                let text =
                    format!("the process that runs {} has died during the call; the next call starts another one", call.name);
                ToolResult::text(&text, true)
            }
            Ok(Err(error)) => ToolResult::text(&format!("{} could not be run: {error}", call.name), true),
            Err(_) => {
                self.stats.lock().timed_out += 1;
                let limit = limit.unwrap_or_default().as_millis();
                ToolResult::text(&format!("{} did not finish within {limit} ms", call.name), true)
            }
        }
    }

    /// Ends the helper and everything that it has started, and waits for that. It is not started again.
    pub async fn end(&self) {
        let mut state = self.state.lock().await;
        state.connection = None;
        let Some((alive, mut none_left)) = state.alive.take() else { return };
        drop((state, alive));
        // Those as well that died, or whose start was given up.
        none_left.recv().await;
    }

    /// Returns the connection to the helper, started if it does not run.
    async fn connection(&self) -> Result<Arc<Connection>> {
        let mut state = self.state.lock().await;
        let Some((alive, _)) = &state.alive else { return Err(Error::new(Status::Closed, "the session is over")) };
        let alive = alive.clone();
        if let Some(connection) = state.connection.take_if(|connection| connection.is_dead()) {
            log::record(Level::Warn, LOG, "the toolset's process has died", || json!({"session_id": self.session_id}));
            drop(connection);
            state.deaths += 1;
        }
        if let Some(connection) = &state.connection {
            return Ok(connection.clone());
        }
        if state.deaths > 0 {
            sleep(RESTART.pause(state.deaths - 1, fastrand::f64())).await;
        }
        let connection = Arc::new(self.open(state.directories.clone(), alive).await?);
        state.connection = Some(connection.clone());
        Ok(connection)
    }

    async fn open(&self, directories: Directories, alive: Alive) -> Result<Connection> {
        let (config, critical) = (self.config.clone(), self.pool.runtime().critical());
        let start = move || HelperProcess::start(&config, &directories, critical, alive);
        let started = BlockingThread::current()?.run(start).await?;
        let path = self.config.path.display();
        let (process, streams) =
            started.map_err(|error| Error::new(Status::Internal, format!("{path} could not be started: {error}")))?;
        let connection = Connection::open(process, streams, &self.config, &self.session_id).await?;
        let confinement = connection.confinement.clone();
        log::record(
            Level::Info,
            LOG,
            "the toolset's process is ready",
            || json!({"session_id": self.session_id, "confinement": confinement}),
        );
        let mut stats = self.stats.lock();
        (stats.starts, stats.confinement) = (stats.starts + 1, Some(connection.confinement.clone()));
        Ok(connection)
    }
}

impl Limits {
    /// Returns how long a call may take. `bash`: the input, if the call is a command. The helper ends a command itself at the time that
    /// it states, with what it has put out so far, so it is given a little more.
    fn of_call(&self, bash: Option<&str>) -> Option<Duration> {
        #[derive(Deserialize)]
        struct Input {
            timeout_ms: Option<u64>,
        }
        let Some(input) = bash else { return self.tool_timeout };
        let asked = serde_json::from_str::<Input>(input).ok().and_then(|input| input.timeout_ms).map(Duration::from_millis);
        match (asked, self.tool_timeout) {
            (Some(asked), Some(max)) if self.is_cap && asked > max => Some(max),
            (own, default) => own.or(default).map(|own| own.saturating_add(BASH_GRACE)),
        }
    }
}

/// Returns the input of a call, on one line. Errors: what the helper could not read.
fn input(event: &str) -> std::result::Result<String, String> {
    let event = whole_surrogates(event);
    let object = Object::parse(&event, "event", Status::Internal);
    let input = object.ok().and_then(|mut event| event.take("input")).map_or("{}", |input| input.raw());
    if input.len() > MAX_INPUT_BYTES {
        return Err(format!("the input is longer than {MAX_INPUT_BYTES} bytes"));
    }
    serde_json::from_str::<Value>(input).map_err(|error| format!("the input is not valid: {error}"))?;
    // Strings have no newlines, so these stand between them.
    Ok(input.replace(['\n', '\r'], " "))
}

fn result(answer: &str) -> ToolResult {
    let answer = serde_json::from_str::<Answer>(answer).map_err(|error| Error::new(Status::Internal, error.to_string()));
    let result = answer.and_then(|Answer { content, is_error }| {
        ToolResult::parse(&format!("{{\"content\":{},\"is_error\":{is_error}}}", content.get()))
    });
    result.unwrap_or_else(|error| ToolResult::text(&format!("the tool's answer cannot be used: {error}"), true))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(milliseconds: u64) -> Option<Duration> {
        Some(Duration::from_millis(milliseconds))
    }

    #[test]
    fn a_command_may_ask_for_more_time_unless_the_host_has_set_a_limit() {
        let by_default = Limits { tool_timeout: ms(120_000), is_cap: false };
        let set = Limits { is_cap: true, ..by_default };
        let unlimited = Limits { tool_timeout: None, is_cap: true };
        for (limits, input, expected) in [
            (by_default, None, ms(120_000)),
            (by_default, Some("{}"), ms(130_000)),
            (by_default, Some(r#"{"timeout_ms":600000}"#), ms(610_000)),
            (set, Some(r#"{"timeout_ms":600000}"#), ms(120_000)),
            (set, Some(r#"{"timeout_ms":500}"#), ms(10_500)),
            (set, Some(r#"{"timeout_ms":"soon"}"#), ms(130_000)),
            (unlimited, None, None),
            (unlimited, Some("{}"), None),
            (unlimited, Some(r#"{"timeout_ms":500}"#), ms(10_500)),
        ] {
            assert_eq!(limits.of_call(input), expected, "{limits:?} {input:?}");
        }
    }

    #[test]
    fn an_input_is_one_line_that_the_helper_can_read() {
        let deep = format!("{{\"input\":{}1{}}}", "[".repeat(200), "]".repeat(200));
        for (event, expected) in [
            (r#"{"input":{"a":1.0,"b":"\n"}}"#, Ok(r#"{"a":1.0,"b":"\n"}"#)),
            ("{\"input\":{\n\"a\":\r\n1}}", Ok("{ \"a\":  1}")),
            ("{}", Ok("{}")),
            (r#"{"input":null}"#, Ok("{}")),
            (r#"{"input":{"a":"\ud800"}}"#, Ok(r#"{"a":"\ufffd"}"#)),
            (&deep, Err(())),
        ] {
            assert_eq!(input(event).as_deref().map_err(|_| ()), expected, "{event}");
        }
    }

    #[test]
    fn an_answer_becomes_a_result_that_the_api_accepts() {
        let text = |text, is_error| ToolResult::text(text, is_error);
        assert_eq!(result(r#"{"id":"1","content":[{"type":"text","text":"a"}],"is_error":true}"#), text("a", true));
        assert_eq!(result(r#"{"id":"1","content":[],"is_error":false}"#), text("", false));
        assert!(format!("{:?}", result("{}")).contains("cannot be used"));
    }
}
