//! A client: the only place that does I/O for calls. Attempts, deadlines and retries happen here.
//!
//! A call is built and judged on the caller's thread; only the exchange itself runs on the runtime:
//!
//! ```text
//! caller   request::operation ─┐                                   ┌─ Response::into_result
//! runtime                      └─ attempt ─ retry? ─ wait ─ … ─────┘
//! ```

use crate::api::operations::{self, OPERATIONS, Operation, Traffic};
use crate::config::{self, Connection, Defaults};
use crate::credentials::{Redactor, Secret};
use crate::error::{Error, Result, Status};
use crate::http::request::{self, Request};
use crate::http::response::Response;
use crate::http::retry;
use crate::http::transport::{AttemptError, Http, Tls};
use crate::runtime::fork::{Lock, Owned};
use crate::runtime::{self, Cancel, Runtime};
use crate::telemetry::log::{self, Level};
use crate::telemetry::stats::{CallUnderWay, Retry, Stats};
use serde_json::json;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use url::Url;

/// How often a request that the server certainly did not process is sent again before that counts as a failure like any other.
const MAX_UNPROCESSED: u32 = 8;
/// How long the second such time waits; it doubles. The first time is at once.
const UNPROCESSED_PAUSE: Duration = Duration::from_millis(20);

/// What the records here are filed under.
const LOG: &str = "antenv::client";

/// A client of the API. Cheap to clone; clones and derived clients share one connection pool.
///
/// Its calls block the thread, and so are not for the inside of async code.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Arc<Pool>,
    defaults: Arc<Defaults>,
}

/// What clients that are derived from one another share.
struct Pool {
    connection: Connection,
    tls: Tls,
    live: Lock<Option<Owned<Arc<Live>>>>,
}

/// The part of a pool that serves one runtime: it is made anew after the library was shut down, and in a forked child.
struct Live {
    runtime: Arc<Runtime>,
    http: Http,
    stats: Arc<Stats>,
}

/// A call whose exchange is over, to be judged by [`Client::judge`].
pub struct Exchanged {
    request: Request,
    settled: Settled,
}

/// What came of a call's attempts.
struct Settled {
    attempts: u32,
    /// Whether the server may have done what one of them asked.
    may_have_arrived: bool,
    outcome: Result<Response>,
}

/// A client's way to the server for tasks that live on the runtime. It stays open while the runtime is closing.
#[derive(Clone)]
pub struct Line(Arc<Live>);

impl Line {
    /// The runtime that it leads through.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.0.runtime
    }
}

/// The answer to a call that a task made.
pub struct Answer {
    /// The result.
    pub result: Result<String>,
    /// Whether the server may have done what was asked. With an answer that refuses it: by an earlier attempt.
    pub may_have_arrived: bool,
    /// How long the server wants to be left alone.
    pub retry_after: Option<Duration>,
}

impl Client {
    /// Makes a client from a JSON configuration (`None`: from the environment alone). No connection is made yet.
    pub fn new(config_json: Option<&str>) -> Result<Client> {
        let (connection, defaults) = config::read(config_json.unwrap_or("{}"), &config::process_environment)?;
        let tls = Tls::new(&connection)?;
        let client = Client { pool: Arc::new(Pool { connection, tls, live: Lock::default() }), defaults: Arc::new(defaults) };
        // Should the runtime not start, or the configuration not make a pool, now is the time to say so.
        client.pool.live()?;
        Ok(client)
    }

    /// Makes a client with other defaults that shares this one's connections.
    pub fn derive(&self, config_json: Option<&str>) -> Result<Client> {
        let defaults = config::derive(&self.defaults, config_json.unwrap_or("{}"))?;
        Ok(Client { pool: self.pool.clone(), defaults: Arc::new(defaults) })
    }

    /// Calls an operation by its name, every parameter in `params_json`; blocks until it is done.
    pub fn call(&self, operation: &str, params_json: Option<&str>) -> Result<String> {
        self.call_with(find(operation)?, &[], params_json)
    }

    /// Calls an operation, its path parameters in `ids`, the others in `params_json`; blocks until it is done.
    pub fn call_with(&self, operation: &'static Operation, ids: &[(&str, &str)], params_json: Option<&str>) -> Result<String> {
        self.send(self.prepare_with(operation, ids, params_json)?)
    }

    /// Makes a request to any other endpoint; blocks until it is done.
    pub fn request(&self, method: &str, path: &str, params_json: Option<&str>) -> Result<String> {
        self.send(self.prepare_request(method, path, params_json)?)
    }

    /// Builds a call of an operation without making it.
    pub fn prepare(&self, operation: &'static Operation, params_json: Option<&str>) -> Result<Request> {
        self.prepare_with(operation, &[], params_json)
    }

    /// The same, its path parameters in `ids`.
    pub fn prepare_with(
        &self,
        operation: &'static Operation,
        ids: &[(&str, &str)],
        params_json: Option<&str>,
    ) -> Result<Request> {
        let request = request::operation(operation, ids, params_json, &self.defaults);
        request.map_err(|error| error.in_operation(operation.name))
    }

    /// Builds a request to any other endpoint without making it.
    pub fn prepare_request(&self, method: &str, path: &str, params_json: Option<&str>) -> Result<Request> {
        request::free_form(method, path, params_json, &self.defaults)
    }

    fn send(&self, request: Request) -> Result<String> {
        self.judge(runtime::wait(self.start_awaited(request)?))
    }

    /// Begins a call. The outcome, to be judged, arrives at the receiver; dropping that does not end the call.
    pub fn start_awaited(&self, request: Request) -> Result<oneshot::Receiver<Result<Exchanged>>> {
        let live = self.pool.live()?;
        let exchange = self.exchange(&live, request)?;
        Ok(live.runtime.spawn_awaited(exchange))
    }

    /// Begins a call that can be cancelled. `done` gets the outcome, to be judged, exactly once; an error: it has not begun.
    pub fn start(
        &self,
        request: Request,
        cancel: Arc<Cancel>,
        done: impl FnOnce(Result<Exchanged>) + Send + 'static,
    ) -> Result<()> {
        let live = self.pool.live()?;
        let exchange = self.exchange(&live, request)?;
        live.runtime.spawn(exchange, Some(cancel), done);
        Ok(())
    }

    /// The exchange of a call, to be run on the runtime.
    fn exchange(&self, live: &Arc<Live>, request: Request) -> Result<impl Future<Output = Exchanged> + Send + use<>> {
        let url = request.url(&self.pool.connection.base_url)?;
        let call = live.stats.begin(request.operation);
        let (live, defaults) = (live.clone(), self.defaults.clone());
        Ok(async move {
            let settled = settle(&live.http, &request, &url, &call, &defaults).await;
            let status = match &settled.outcome {
                Ok(response) if response.is_success() => Status::Ok,
                Ok(response) => Status::from_http(response.status),
                Err(error) => error.status(),
            };
            log::record(Level::Debug, LOG, "call done", || {
                json!({"operation": call.operation_name(), "status": status.name(), "attempts": settled.attempts,
                       "elapsed_ms": call.elapsed().as_secs_f64() * 1e3})
            });
            call.end(status);
            Exchanged { request, settled }
        })
    }

    /// The way to the server for tasks on the present runtime.
    pub fn line(&self) -> Result<Line> {
        Ok(Line(self.pool.live()?))
    }

    /// Makes a call from a task.
    pub async fn call_over(&self, line: &Line, request: Request) -> Answer {
        // Behind a pointer: a task that makes one call after another is small while it waits, and the code is there once.
        let exchange: Pin<Box<dyn Future<Output = Exchanged> + Send>> = match self.exchange(&line.0, request) {
            Ok(exchange) => Box::pin(exchange),
            Err(error) => return Answer { result: Err(error), may_have_arrived: false, retry_after: None },
        };
        let exchanged = exchange.await;
        let retry_after =
            exchanged.settled.outcome.as_ref().ok().and_then(|response| retry::asked_for(&response.headers, SystemTime::now()));
        Answer { may_have_arrived: exchanged.settled.may_have_arrived, retry_after, result: self.judge(Ok(exchanged)) }
    }

    /// The environment key that this client has.
    pub fn environment_key(&self) -> Option<Secret> {
        self.defaults.credentials.environment_key()
    }

    /// The same client; what the server says of its calls is cleared of these secrets, too.
    pub fn redacting<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) -> Client {
        let mut defaults = Defaults::clone(&self.defaults);
        secrets.into_iter().for_each(|secret| defaults.redactor.add(secret));
        Client { pool: self.pool.clone(), defaults: Arc::new(defaults) }
    }

    /// A client on the same connections with one credential alone, for every operation. `None`: it cannot stand in a header.
    pub fn with_bearer(&self, token: &Secret) -> Option<Client> {
        let defaults = config::with_bearer(&self.defaults, token)?;
        Some(Client { pool: self.pool.clone(), defaults: Arc::new(defaults) })
    }

    /// What came of a call. Reading a large answer takes a while, so this is for the caller's thread.
    pub fn judge(&self, outcome: Result<Exchanged>) -> Result<String> {
        let Exchanged { request, settled: Settled { attempts, outcome, .. } } = outcome?;
        let was_answered = outcome.as_ref().is_ok_and(Response::is_success);
        let result = outcome.and_then(|response| response.into_result(&request, attempts, SystemTime::now()));
        result.map_err(|error| {
            if let Some(live) = self.pool.live.lock().as_ref().and_then(Owned::get).filter(|_| was_answered) {
                live.stats.failure(error.status());
            }
            let error = error.with_attempts(attempts).redact(&redactor(&self.defaults, &request));
            request.operation.into_iter().fold(error, |error, operation| error.in_operation(operation.name))
        })
    }

    /// What this client, and those that share its connections, did so far in this process: a JSON object.
    pub fn stats(&self) -> String {
        let stats = self.pool.live.lock().as_ref().and_then(Owned::get).map(|live| live.stats.clone());
        stats.unwrap_or_default().to_json()
    }
}

impl Pool {
    /// What serves the present runtime.
    fn live(&self) -> Result<Arc<Live>> {
        let mut live = self.live.lock();
        let known = live.as_ref().and_then(Owned::get);
        if let Some(known) = known.filter(|live| live.runtime.is_open()) {
            return Ok(known.clone());
        }
        let stats = known.map(|live| live.stats.clone()).unwrap_or_default();
        let runtime = runtime::current()?;
        let http = Http::new(&self.connection, &self.tls, stats.clone())?;
        let fresh = Arc::new(Live { runtime, http, stats });
        *live = Some(Owned::new(fresh.clone()));
        Ok(fresh)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// The operation of that name, or an error that lists them.
pub fn find(name: &str) -> Result<&'static Operation> {
    operations::find(name).ok_or_else(|| {
        let known: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        Error::argument("operation", format_args!("is not known; known are: {}", known.join(", ")))
    })
}

/// What must not show in anything that is said of a call.
fn redactor(defaults: &Defaults, request: &Request) -> Redactor {
    let mut redactor = defaults.redactor.clone();
    redactor.add_headers(&request.headers);
    redactor
}

/// Makes attempts until one settles the call, the retries are used up, or the time is.
async fn settle(http: &Http, request: &Request, url: &Url, call: &CallUnderWay, defaults: &Defaults) -> Settled {
    let deadline = Instant::now() + request.timeout;
    // Attempts are the requests that went out, and those that found no connection to go out by.
    let (mut attempts, mut retries, mut unprocessed) = (0, 0, 0);
    let mut may_have_arrived = false;
    let mut before: Option<Result<Response, AttemptError>> = None;
    loop {
        let until = deadline.min(Instant::now() + request.attempt_timeout);
        let outcome = http.attempt(request, url, until).await;
        if !matches!(outcome, Err(AttemptError::NotSent(_))) {
            attempts += 1;
            call.stats().attempt(request.body.as_ref().map_or(0, |body| body.len()));
        }
        // A request that was answered as the client's fault (too many, in conflict) was seen, but nothing came of it.
        let this_may_have_arrived = match &outcome {
            Ok(response) => !(400..500).contains(&response.status),
            Err(error) => error.may_have_arrived(),
        };
        may_have_arrived |= this_may_have_arrived;
        let settled = |outcome: Result<Response, AttemptError>| Settled {
            attempts,
            may_have_arrived,
            outcome: outcome.map_err(AttemptError::into_error),
        };
        if matches!(outcome, Err(AttemptError::TimedOut { .. })) && Instant::now() >= deadline {
            return Settled { attempts, may_have_arrived, outcome: Err(timed_out(request, before)) };
        }
        let is_free = unprocessed < MAX_UNPROCESSED && outcome.as_ref().is_err_and(AttemptError::is_unprocessed);
        let (reason, headers) = match &outcome {
            Ok(response) if retry::wanted(response.status, &response.headers) => {
                (Retry::from_http(response.status), Some(&response.headers))
            }
            Err(AttemptError::Connect(_)) => (Retry::Connect, None),
            Err(AttemptError::NotSent(_) | AttemptError::NotProcessed(_)) => (Retry::NotProcessed, None),
            Err(AttemptError::NoResponse(_)) => (Retry::Unanswered, None),
            Err(AttemptError::TimedOut { .. }) => (Retry::Timeout, None),
            Err(AttemptError::IncompleteBody(..)) => (Retry::CutShort, None),
            Ok(_) | Err(AttemptError::TooLarge(..) | AttemptError::OutOfMemory(..)) => return settled(outcome),
        };
        let wait = if is_free {
            unprocessed += 1;
            UNPROCESSED_PAUSE * ((1 << (unprocessed - 1)) - 1)
        } else {
            retries += 1;
            retry::delay(retries - 1, headers, SystemTime::now(), fastrand::f64())
        };
        let is_used_up = retries > request.max_retries || this_may_have_arrived && is_lost(request, &outcome);
        if is_used_up || wait >= deadline.saturating_duration_since(Instant::now()) {
            return settled(outcome);
        }
        call.stats().retry(reason);
        log::record(Level::Info, LOG, "retrying", || {
            let mut why = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
            redactor(defaults, request).text(&mut why);
            json!({"operation": call.operation_name(), "attempt": attempts, "reason": reason.name(), "why": why,
                   "http_status": outcome.as_ref().ok().map(|response| response.status), "wait_ms": wait.as_secs_f64() * 1e3})
        });
        before = Some(outcome);
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

/// Whether a heartbeat's answer was lost, here or behind a gateway. It is not sent again: the server may have recorded it, and then
/// refuses the next one for stating what this one has replaced.
fn is_lost(request: &Request, outcome: &Result<Response, AttemptError>) -> bool {
    let is_heartbeat = request.operation.is_some_and(|operation| operation.traffic == Traffic::Heartbeat);
    is_heartbeat && outcome.as_ref().map_or(true, |response| matches!(response.status, 502 | 504))
}

/// The call's time ran out: what the last attempt before it met is the best clue to why.
fn timed_out(request: &Request, before: Option<Result<Response, AttemptError>>) -> Error {
    let clue = match before {
        None => String::new(),
        Some(Ok(response)) => format!("; the attempt before was answered with HTTP {}", response.status),
        Some(Err(failure)) => format!("; the attempt before failed: {failure}"),
    };
    Error::new(Status::Timeout, format!("no answer within {} ms{clue}", request.timeout.as_millis()))
}
