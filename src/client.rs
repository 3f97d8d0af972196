//! The client: attempts, deadlines and retries. All I/O of calls starts here.
//!
//! The caller's thread builds the request and reads the response; only the attempts run on the runtime:
//!
//! ```text
//! caller   request::operation ─┐                                   ┌─ Response::into_result
//! runtime                      └─ attempt ─ retry? ─ wait ─ … ─────┘
//! ```

use crate::api::operations::{self, Operation, ResponseKind, Traffic};
use crate::config::{self, CallDefaults, ConnectionSettings};
use crate::credentials::{Redactor, Secret};
use crate::error::{Error, Result, Status};
use crate::http::request::{self, Request};
use crate::http::response::Response;
use crate::http::retry;
use crate::http::transport::{AttemptError, Http, Part, StreamedBody, Tls};
use crate::runtime::fork::{ForkSafeMutex, ProcessLocal};
use crate::runtime::{self, Cancel, Runtime};
use crate::telemetry::log::{self, Level};
use crate::telemetry::stats::{ActiveCall, RetryReason, Stats};
use serde_json::json;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep};
use url::Url;

/// How often a request that the server certainly did not process is sent again before the retries count against `max_retries`.
const MAX_UNPROCESSED: u32 = 8;
/// The delay before the second such retry; it doubles each time. The first retry is immediate.
const UNPROCESSED_PAUSE: Duration = Duration::from_millis(20);

/// The name, in statistics and logs, of a call of an endpoint that belongs to no operation.
const OTHER_CALLS: &str = "request";

/// The target of this module's log records.
const LOG: &str = "antenv::client";

/// A client of the API. Cheap to clone; clones and derived clients share one connection pool.
///
/// Its calls block the thread, so do not make them from async code.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Arc<Pool>,
    defaults: Arc<CallDefaults>,
}

/// What a client shares with the clients derived from it.
struct Pool {
    connection: ConnectionSettings,
    tls: Tls,
    runtime_pool: ForkSafeMutex<Option<ProcessLocal<Arc<RuntimePool>>>>,
}

/// The part of a pool that belongs to one runtime. After a shutdown, and in a forked child, a new one is made.
struct RuntimePool {
    runtime: Arc<Runtime>,
    http: Http,
    stats: Arc<Stats>,
}

/// A call whose attempts are over; [`RawOutcome::into_result`] reads the response.
pub struct RawOutcome {
    request: Request,
    attempts: AttemptsOutcome,
}

/// The outcome of a call's attempts.
struct AttemptsOutcome {
    /// The number of requests that were sent.
    count: u32,
    /// Whether the server may have processed one of them.
    may_have_arrived: bool,
    response: Result<Response>,
}

/// A client's connections, for tasks on the runtime. They stay open while the runtime is closing.
#[derive(Clone)]
pub struct PoolHandle(Arc<RuntimePool>);

impl PoolHandle {
    /// Returns the runtime that the connections belong to.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.0.runtime
    }
}

/// A response whose body is still arriving.
pub struct OpenResponse {
    /// The body.
    pub body: Box<StreamedBody>,
    /// The request.
    pub request: Request,
    response: Response,
    attempts: u32,
    redactor: Redactor,
}

impl OpenResponse {
    /// Returns the response's status, headers and request id as a JSON object.
    pub fn head(&self) -> String {
        self.response.head(self.attempts)
    }

    /// Returns the response's content type, if the server sent one.
    pub fn content_type(&self) -> Option<&str> {
        self.response.content_type()
    }

    /// Makes an error about the response.
    pub fn error(&self, status: Status, problem: impl Into<String>) -> Error {
        self.finish(self.response.error(status, problem))
    }

    /// Makes an error about one of the request's options.
    pub fn error_about(&self, status: Status, option: &str, problem: &str) -> Error {
        self.finish(Error::about(status, option, problem))
    }

    /// Makes the error that the server reports within a successful response.
    pub fn reported_error(&self, body: String) -> Error {
        self.finish(self.response.error_with_body(body))
    }

    fn finish(&self, error: Error) -> Error {
        let error = self.redactor.error(error.with_attempts(self.attempts));
        self.request.operation.into_iter().fold(error, |error, operation| error.in_operation(operation.name))
    }
}

/// The outcome of a call that a task made.
pub struct Answer {
    /// The result.
    pub result: Result<String>,
    /// Whether the server may have processed the request, in this or an earlier attempt.
    pub may_have_arrived: bool,
    /// The wait that the server requests.
    pub retry_after: Option<Duration>,
}

impl Client {
    /// Makes a client from a JSON configuration (`None`: from environment variables alone). Opens no connection yet.
    pub fn new(config_json: Option<&str>) -> Result<Client> {
        let (connection, defaults) = config::read(config_json.unwrap_or("{}"), &config::process_env_vars)?;
        let tls = Tls::new(&connection)?;
        let client = Client {
            pool: Arc::new(Pool { connection, tls, runtime_pool: ForkSafeMutex::default() }),
            defaults: Arc::new(defaults),
        };
        // Report now that the runtime cannot start or that the configuration is invalid for a pool.
        client.pool.current()?;
        Ok(client)
    }

    /// Makes a client that shares this client's connections but has other defaults.
    pub fn derive(&self, config_json: Option<&str>) -> Result<Client> {
        let defaults = config::derive(&self.defaults, config_json.unwrap_or("{}"))?;
        Ok(Client { pool: self.pool.clone(), defaults: Arc::new(defaults) })
    }

    /// Calls an operation by name, with every parameter in `params_json`. Blocks until the call is done.
    pub fn call(&self, operation: &str, params_json: Option<&str>) -> Result<String> {
        self.call_with(operations::find(operation, ResponseKind::Json)?, &[], params_json)
    }

    /// Calls an operation, with its path parameters in `ids` and the others in `params_json`. Blocks until the call is done.
    pub fn call_with(&self, operation: &'static Operation, ids: &[(&str, &str)], params_json: Option<&str>) -> Result<String> {
        self.send(self.prepare_with(operation, ids, params_json)?)
    }

    /// Makes a request to any other endpoint. Blocks until the call is done.
    pub fn request(&self, method: &str, path: &str, params_json: Option<&str>) -> Result<String> {
        self.send(self.prepare_request(method, path, params_json)?)
    }

    /// Builds the request for an operation without sending it.
    pub fn prepare(&self, operation: &'static Operation, params_json: Option<&str>) -> Result<Request> {
        self.prepare_with(operation, &[], params_json)
    }

    /// Builds the request for an operation, with its path parameters in `ids`, without sending it.
    pub fn prepare_with(
        &self,
        operation: &'static Operation,
        ids: &[(&str, &str)],
        params_json: Option<&str>,
    ) -> Result<Request> {
        let request = request::operation(operation, ids, params_json, &self.defaults);
        request.map_err(|error| error.in_operation(operation.name))
    }

    /// Builds a request to any other endpoint without sending it.
    pub fn prepare_request(&self, method: &str, path: &str, params_json: Option<&str>) -> Result<Request> {
        request::free_form(method, path, params_json, &self.defaults)
    }

    fn send(&self, request: Request) -> Result<String> {
        runtime::wait(self.start_awaited(request)?)?.into_result(self)
    }

    /// Starts a call and returns the receiver of its outcome. Dropping the receiver does not cancel the call.
    pub fn start_awaited(&self, request: Request) -> Result<oneshot::Receiver<Result<RawOutcome>>> {
        let pool = self.pool.current()?;
        let exchange = self.exchange(&pool, request, None)?;
        Ok(pool.runtime.spawn_awaited(exchange))
    }

    /// Returns a future for the runtime of `pool` that makes the attempts to open a stream.
    pub fn open(&self, pool: &PoolHandle, request: Request) -> Result<impl Future<Output = Result<OpenResponse>> + Send + use<>> {
        let exchange = self.exchange(&pool.0, request, None)?;
        let client = self.clone();
        Ok(async move { exchange.await.into_open(&client) })
    }

    /// Starts a call that can be cancelled. `parts` receives the body of a download. `done` receives the outcome exactly once. On an error
    /// the call was not started.
    pub fn start(
        &self,
        request: Request,
        parts: Option<mpsc::Sender<Part>>,
        cancel: Arc<Cancel>,
        done: impl FnOnce(Result<RawOutcome>) + Send + 'static,
    ) -> Result<()> {
        let pool = self.pool.current()?;
        let exchange = self.exchange(&pool, request, parts)?;
        pool.runtime.spawn(exchange, Some(cancel), done);
        Ok(())
    }

    /// Returns the future that makes a call's attempts on the runtime. `parts` receives the body of a download.
    fn exchange(
        &self,
        pool: &Arc<RuntimePool>,
        request: Request,
        parts: Option<mpsc::Sender<Part>>,
    ) -> Result<impl Future<Output = RawOutcome> + Send + use<>> {
        let url = request.url(&self.pool.connection.base_url)?;
        let call = pool.stats.begin(request.operation.map_or(OTHER_CALLS, |operation| operation.name));
        let (pool, defaults) = (pool.clone(), self.defaults.clone());
        Ok(async move {
            let attempts = run_attempts(&pool.http, &request, &url, &call, &defaults, parts.as_ref()).await;
            let status = match &attempts.response {
                Ok(response) if response.is_success() => Status::Ok,
                Ok(response) => Status::from_http(response.status),
                Err(error) => error.status(),
            };
            log::record(Level::Debug, LOG, "call done", || {
                json!({"operation": call.name(), "status": status.name(), "attempts": attempts.count,
                       "elapsed_ms": call.elapsed().as_secs_f64() * 1e3})
            });
            call.end(status);
            RawOutcome { request, attempts }
        })
    }

    /// Returns the connections of the current runtime, for its tasks.
    pub fn pool_handle(&self) -> Result<PoolHandle> {
        Ok(PoolHandle(self.pool.current()?))
    }

    /// Makes a call from a task on the runtime.
    pub async fn send_on(&self, pool: &PoolHandle, request: Request) -> Answer {
        // Boxed, so that the tasks stay small and the code exists only once.
        let exchange: Pin<Box<dyn Future<Output = RawOutcome> + Send>> = match self.exchange(&pool.0, request, None) {
            Ok(exchange) => Box::pin(exchange),
            Err(error) => return Answer { result: Err(error), may_have_arrived: false, retry_after: None },
        };
        let outcome = exchange.await;
        let response = outcome.attempts.response.as_ref().ok();
        Answer {
            retry_after: response.and_then(|response| retry::requested_delay(&response.headers, SystemTime::now())),
            may_have_arrived: outcome.attempts.may_have_arrived,
            result: outcome.into_result(self),
        }
    }

    /// Returns the client's environment key, if it has one.
    pub fn environment_key(&self) -> Option<Secret> {
        self.defaults.credentials.environment_key()
    }

    /// Returns a client on the same connections that also redacts these secrets in errors.
    pub fn redacting<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) -> Client {
        let mut defaults = CallDefaults::clone(&self.defaults);
        secrets.into_iter().for_each(|secret| defaults.redactor.add(secret));
        Client { pool: self.pool.clone(), defaults: Arc::new(defaults) }
    }

    /// Returns a client on the same connections with this token as its only credential. `None`: the token is not valid in a header.
    pub fn with_bearer(&self, token: &Secret) -> Option<Client> {
        let defaults = config::with_bearer(&self.defaults, token)?;
        Some(Client { pool: self.pool.clone(), defaults: Arc::new(defaults) })
    }

    /// Returns the statistics of this client, and of those that share its connections, in this process: a JSON object.
    pub fn stats(&self) -> String {
        self.pool.stats().unwrap_or_else(new_stats).to_json()
    }
}

impl RawOutcome {
    /// Returns the content type of a download that is complete.
    pub fn into_content_type(self, client: &Client) -> Result<Option<String>> {
        match &self.attempts.response {
            Ok(response) if response.is_success() && response.check_encoding().is_ok() => {
                Ok(response.content_type().map(str::to_owned))
            }
            _ => Err(self.into_result(client).err().unwrap_or_else(runtime::fault)),
        }
    }

    /// Returns the response of a stream whose body has yet to be received.
    fn into_open(mut self, client: &Client) -> Result<OpenResponse> {
        let streamed = self.attempts.response.as_mut().ok().and_then(|response| response.streamed.take());
        match (streamed, self.attempts.response) {
            (Some(body), Ok(response)) if response.check_encoding().is_ok() => {
                let redactor = redactor(&client.defaults, &self.request);
                Ok(OpenResponse { body, request: self.request, response, attempts: self.attempts.count, redactor })
            }
            (_, response) => {
                let attempts = AttemptsOutcome { response, ..self.attempts };
                Err(RawOutcome { request: self.request, attempts }.into_result(client).err().unwrap_or_else(runtime::fault))
            }
        }
    }

    /// Returns the call's result. Parsing a large response takes time, so call this on the caller's thread.
    pub fn into_result(self, client: &Client) -> Result<String> {
        let RawOutcome { request, attempts: AttemptsOutcome { count, response, .. } } = self;
        let was_answered = response.as_ref().is_ok_and(Response::is_success);
        let result = response.and_then(|response| response.into_result(&request, count, SystemTime::now()));
        result.map_err(|error| {
            if let Some(stats) = client.pool.stats().filter(|_| was_answered) {
                stats.failure(error.status());
            }
            let error = redactor(&client.defaults, &request).error(error.with_attempts(count));
            request.operation.into_iter().fold(error, |error, operation| error.in_operation(operation.name))
        })
    }
}

impl Pool {
    /// Returns this process's statistics, if it has made a call.
    fn stats(&self) -> Option<Arc<Stats>> {
        self.runtime_pool.lock().as_ref().and_then(ProcessLocal::get).map(|pool| pool.stats.clone())
    }

    /// Returns the part that belongs to the current runtime.
    fn current(&self) -> Result<Arc<RuntimePool>> {
        let mut current = self.runtime_pool.lock();
        let existing = current.as_ref().and_then(ProcessLocal::get);
        if let Some(existing) = existing.filter(|pool| pool.runtime.is_open()) {
            return Ok(existing.clone());
        }
        let stats = existing.map_or_else(new_stats, |pool| pool.stats.clone());
        let runtime = runtime::current()?;
        let http = Http::new(&self.connection, &self.tls, stats.clone())?;
        let new_pool = Arc::new(RuntimePool { runtime, http, stats });
        *current = Some(ProcessLocal::new(new_pool.clone()));
        Ok(new_pool)
    }
}

impl fmt::Debug for Pool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pool").field("connection", &self.connection).finish_non_exhaustive()
    }
}

/// Creates the statistics of a connection pool.
fn new_stats() -> Arc<Stats> {
    Arc::new(Stats::new(operations::OPERATIONS.iter().map(|operation| operation.name).chain([OTHER_CALLS])))
}

/// Returns the redactor for the client's and the request's secrets.
fn redactor(defaults: &CallDefaults, request: &Request) -> Redactor {
    let mut redactor = defaults.redactor.clone();
    redactor.add_headers(&request.headers);
    redactor
}

/// How an attempt ended.
type AttemptOutcome = Result<Response, AttemptError>;

/// Makes attempts until one is conclusive, the retries are used up, or the time is up.
async fn run_attempts(
    http: &Http,
    request: &Request,
    url: &Url,
    call: &ActiveCall,
    defaults: &CallDefaults,
    parts: Option<&mpsc::Sender<Part>>,
) -> AttemptsOutcome {
    let deadline = Instant::now() + request.timeout;
    // Attempts are the requests that were sent, and those for which no connection could be opened.
    let (mut attempts, mut retries, mut unprocessed) = (0, 0, 0);
    let mut may_have_arrived = false;
    let mut previous: Option<AttemptOutcome> = None;
    loop {
        let attempt_deadline = deadline.min(Instant::now() + request.attempt_timeout);
        let mut outcome = http.attempt(request, url, attempt_deadline).await;
        if let (Ok(response), Some(parts)) = (&mut outcome, parts)
            && let Some(body) = response.streamed.take()
        {
            let response = std::mem::take(response);
            outcome = body.copy(response, parts, request.max_response_bytes, request.attempt_timeout, deadline).await;
        }
        if !matches!(outcome, Err(AttemptError::NotSent(_))) {
            attempts += 1;
            call.stats().attempt(request.body.as_ref().map_or(0, |body| body.len()));
        }
        // A 4xx response means that the server received the request but did not carry it out.
        let this_may_have_arrived = match &outcome {
            Ok(response) => !(400..500).contains(&response.status),
            Err(error) => error.may_have_arrived(),
        };
        may_have_arrived |= this_may_have_arrived;
        let end = |outcome: AttemptOutcome| AttemptsOutcome {
            count: attempts,
            may_have_arrived,
            response: outcome.map_err(AttemptError::into_error),
        };
        if matches!(outcome, Err(AttemptError::TimedOut { .. })) && Instant::now() >= deadline {
            return AttemptsOutcome { count: attempts, may_have_arrived, response: Err(timed_out(request, previous)) };
        }
        let is_uncounted = unprocessed < MAX_UNPROCESSED && outcome.as_ref().is_err_and(AttemptError::is_unprocessed);
        let Some(reason) = retry_reason(&outcome) else { return end(outcome) };
        let wait = if is_uncounted {
            unprocessed += 1;
            UNPROCESSED_PAUSE * ((1 << (unprocessed - 1)) - 1)
        } else {
            retries += 1;
            let headers = outcome.as_ref().ok().map(|response| &response.headers);
            retry::delay(retries - 1, headers, SystemTime::now(), fastrand::f64())
        };
        let is_final = retries > request.max_retries || this_may_have_arrived && is_lost_heartbeat(request, &outcome);
        if is_final || wait >= deadline.saturating_duration_since(Instant::now()) {
            return end(outcome);
        }
        call.stats().retry(reason);
        log_retry(|| redactor(defaults, request), call, &outcome, attempts, reason, wait);
        previous = Some(outcome);
        if !wait.is_zero() {
            sleep(wait).await;
        }
    }
}

/// Returns why the request is to be sent again. `None`: the outcome is conclusive.
fn retry_reason(outcome: &AttemptOutcome) -> Option<RetryReason> {
    match outcome {
        Ok(response) => retry::should_retry(response.status, &response.headers).then(|| RetryReason::from_http(response.status)),
        Err(AttemptError::Connect(_)) => Some(RetryReason::Connect),
        Err(AttemptError::NotSent(_) | AttemptError::NotProcessed(_)) => Some(RetryReason::NotProcessed),
        Err(AttemptError::NoResponse(_)) => Some(RetryReason::NoResponse),
        Err(AttemptError::TimedOut { .. }) => Some(RetryReason::Timeout),
        Err(AttemptError::IncompleteBody(..)) => Some(RetryReason::IncompleteBody),
        Err(AttemptError::TooLarge(..) | AttemptError::OutOfMemory(..)) => None,
    }
}

/// Records that an attempt is followed by another one.
fn log_retry(
    redactor: impl FnOnce() -> Redactor,
    call: &ActiveCall,
    outcome: &AttemptOutcome,
    attempts: u32,
    reason: RetryReason,
    wait: Duration,
) {
    log::record(Level::Info, LOG, "retrying", || {
        let mut cause = outcome.as_ref().err().map(ToString::to_string).unwrap_or_default();
        redactor().text(&mut cause);
        json!({"operation": call.name(), "attempt": attempts, "reason": reason.name(), "why": cause,
               "http_status": outcome.as_ref().ok().map(|response| response.status), "wait_ms": wait.as_secs_f64() * 1e3})
    });
}

/// Returns whether a heartbeat's response was lost, here or behind a gateway. Such a heartbeat is not retried: the server may have
/// recorded it, and would then reject the retry for an outdated `expected_last_heartbeat`.
fn is_lost_heartbeat(request: &Request, outcome: &AttemptOutcome) -> bool {
    let is_heartbeat = request.operation.is_some_and(|operation| operation.traffic == Traffic::Heartbeat);
    is_heartbeat && outcome.as_ref().map_or(true, |response| matches!(response.status, 502 | 504))
}

/// Makes the error for a call whose time is up. It includes the outcome of the previous attempt, the best clue to the cause.
fn timed_out(request: &Request, previous: Option<AttemptOutcome>) -> Error {
    let clue = match previous {
        None => String::new(),
        Some(Ok(response)) => format!("; the previous attempt got HTTP {}", response.status),
        Some(Err(failure)) => format!("; the previous attempt failed: {failure}"),
    };
    Error::new(Status::Timeout, format!("no response within {} ms{clue}", request.timeout.as_millis()))
}
