//! A client: the only place that does I/O for calls. Attempts, deadlines and retries happen here.
//!
//! A call is built and judged on the caller's thread; only the exchange itself runs on the runtime:
//!
//! ```text
//! caller   request::operation ─┐                                   ┌─ Response::into_result
//! runtime                      └─ attempt ─ retry? ─ wait ─ … ─────┘
//! ```

use crate::api::operations::{self, OPERATIONS, Operation, Traffic};
use crate::config::{self, CallDefaults, ConnectionSettings};
use crate::credentials::{Redactor, Secret};
use crate::error::{Error, Result, Status};
use crate::http::request::{self, Request};
use crate::http::response::Response;
use crate::http::retry;
use crate::http::transport::{AttemptError, Http, Tls};
use crate::runtime::fork::{ForkSafeMutex, ProcessLocal};
use crate::runtime::{self, Cancel, Runtime};
use crate::telemetry::log::{self, Level};
use crate::telemetry::stats::{ActiveCall, RetryReason, Stats};
use serde_json::json;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep};
use url::Url;

/// How often a request that the server certainly did not process is sent again before that counts as a failed attempt.
const MAX_UNPROCESSED: u32 = 8;
/// The delay before the second such time; it doubles. The first time is immediate.
const UNPROCESSED_PAUSE: Duration = Duration::from_millis(20);

/// What the records here are filed under.
const LOG: &str = "antenv::client";

/// A client of the API. Cheap to clone; clones and derived clients share one connection pool.
///
/// Its calls block the thread, and so are not for the inside of async code.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Arc<Pool>,
    defaults: Arc<CallDefaults>,
}

/// What a client shares with those derived from it.
struct Pool {
    connection: ConnectionSettings,
    tls: Tls,
    runtime_pool: ForkSafeMutex<Option<ProcessLocal<Arc<RuntimePool>>>>,
}

/// The part of a pool that belongs to one runtime. It is made anew after a shutdown, and in a forked child.
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
    /// How many requests went out.
    count: u32,
    /// Whether the server may have carried out one of them.
    may_have_arrived: bool,
    response: Result<Response>,
}

/// A client's connections, for tasks on the runtime. They stay open while the runtime is closing.
#[derive(Clone)]
pub struct PoolHandle(Arc<RuntimePool>);

impl PoolHandle {
    /// The runtime that the connections belong to.
    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.0.runtime
    }
}

/// The outcome of a call that a task made.
pub struct Answer {
    /// The result.
    pub result: Result<String>,
    /// Whether the server may have carried out the request. When the last response refuses it: by an earlier attempt.
    pub may_have_arrived: bool,
    /// The wait that the server asks for.
    pub retry_after: Option<Duration>,
}

impl Client {
    /// Makes a client from a JSON configuration (`None`: from environment variables alone). No connection is opened yet.
    pub fn new(config_json: Option<&str>) -> Result<Client> {
        let (connection, defaults) = config::read(config_json.unwrap_or("{}"), &config::process_env_vars)?;
        let tls = Tls::new(&connection)?;
        let client = Client {
            pool: Arc::new(Pool { connection, tls, runtime_pool: ForkSafeMutex::default() }),
            defaults: Arc::new(defaults),
        };
        // If the runtime cannot start, or the configuration makes no pool, report it now.
        client.pool.current()?;
        Ok(client)
    }

    /// Makes a client that shares this one's connections and has other defaults.
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
        runtime::wait(self.start_awaited(request)?)?.into_result(self)
    }

    /// Starts a call. Its outcome arrives at the receiver; dropping the receiver does not end the call.
    pub fn start_awaited(&self, request: Request) -> Result<oneshot::Receiver<Result<RawOutcome>>> {
        let pool = self.pool.current()?;
        let exchange = self.exchange(&pool, request)?;
        Ok(pool.runtime.spawn_awaited(exchange))
    }

    /// Starts a call that can be cancelled. `done` receives its outcome exactly once. After an error the call was not started.
    pub fn start(
        &self,
        request: Request,
        cancel: Arc<Cancel>,
        done: impl FnOnce(Result<RawOutcome>) + Send + 'static,
    ) -> Result<()> {
        let pool = self.pool.current()?;
        let exchange = self.exchange(&pool, request)?;
        pool.runtime.spawn(exchange, Some(cancel), done);
        Ok(())
    }

    /// Returns the future of a call's attempts, to be run on the runtime.
    fn exchange(&self, pool: &Arc<RuntimePool>, request: Request) -> Result<impl Future<Output = RawOutcome> + Send + use<>> {
        let url = request.url(&self.pool.connection.base_url)?;
        let call = pool.stats.begin(request.operation);
        let (pool, defaults) = (pool.clone(), self.defaults.clone());
        Ok(async move {
            let attempts = run_attempts(&pool.http, &request, &url, &call, &defaults).await;
            let status = match &attempts.response {
                Ok(response) if response.is_success() => Status::Ok,
                Ok(response) => Status::from_http(response.status),
                Err(error) => error.status(),
            };
            log::record(Level::Debug, LOG, "call done", || {
                json!({"operation": call.operation_name(), "status": status.name(), "attempts": attempts.count,
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

    /// Makes a call from a task.
    pub async fn send_on(&self, pool: &PoolHandle, request: Request) -> Answer {
        // Boxed: a task that makes one call after another stays small while it waits, and the code exists once.
        let exchange: Pin<Box<dyn Future<Output = RawOutcome> + Send>> = match self.exchange(&pool.0, request) {
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

    /// The environment key that this client has.
    pub fn environment_key(&self) -> Option<Secret> {
        self.defaults.credentials.environment_key()
    }

    /// The same client; what the server says of its calls is cleared of these secrets, too.
    pub fn redacting<'a>(&self, secrets: impl IntoIterator<Item = &'a str>) -> Client {
        let mut defaults = CallDefaults::clone(&self.defaults);
        secrets.into_iter().for_each(|secret| defaults.redactor.add(secret));
        Client { pool: self.pool.clone(), defaults: Arc::new(defaults) }
    }

    /// A client on the same connections with one credential alone, for every operation. `None`: it cannot stand in a header.
    pub fn with_bearer(&self, token: &Secret) -> Option<Client> {
        let defaults = config::with_bearer(&self.defaults, token)?;
        Some(Client { pool: self.pool.clone(), defaults: Arc::new(defaults) })
    }

    /// What this client, and those that share its connections, did so far in this process: a JSON object.
    pub fn stats(&self) -> String {
        self.pool.stats().unwrap_or_default().to_json()
    }
}

impl RawOutcome {
    /// Reads the response: the call's result. A large one takes a while to read, so this is for the caller's thread.
    pub fn into_result(self, client: &Client) -> Result<String> {
        let RawOutcome { request, attempts: AttemptsOutcome { count, response, .. } } = self;
        let was_answered = response.as_ref().is_ok_and(Response::is_success);
        let result = response.and_then(|response| response.into_result(&request, count, SystemTime::now()));
        result.map_err(|error| {
            if let Some(stats) = client.pool.stats().filter(|_| was_answered) {
                stats.failure(error.status());
            }
            let error = error.with_attempts(count).redact(&redactor(&client.defaults, &request));
            request.operation.into_iter().fold(error, |error, operation| error.in_operation(operation.name))
        })
    }
}

impl Pool {
    /// The statistics of this process, if it has made a call.
    fn stats(&self) -> Option<Arc<Stats>> {
        self.runtime_pool.lock().as_ref().and_then(ProcessLocal::get).map(|pool| pool.stats.clone())
    }

    /// Returns the part that belongs to the current runtime.
    fn current(&self) -> Result<Arc<RuntimePool>> {
        let mut current = self.runtime_pool.lock();
        let known = current.as_ref().and_then(ProcessLocal::get);
        if let Some(known) = known.filter(|pool| pool.runtime.is_open()) {
            return Ok(known.clone());
        }
        let stats = known.map(|pool| pool.stats.clone()).unwrap_or_default();
        let runtime = runtime::current()?;
        let http = Http::new(&self.connection, &self.tls, stats.clone())?;
        let fresh = Arc::new(RuntimePool { runtime, http, stats });
        *current = Some(ProcessLocal::new(fresh.clone()));
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
fn redactor(defaults: &CallDefaults, request: &Request) -> Redactor {
    let mut redactor = defaults.redactor.clone();
    redactor.add_headers(&request.headers);
    redactor
}

/// Makes attempts until one settles the call, the retries are used up, or the time is.
async fn run_attempts(http: &Http, request: &Request, url: &Url, call: &ActiveCall, defaults: &CallDefaults) -> AttemptsOutcome {
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
        let end = |outcome: Result<Response, AttemptError>| AttemptsOutcome {
            count: attempts,
            may_have_arrived,
            response: outcome.map_err(AttemptError::into_error),
        };
        if matches!(outcome, Err(AttemptError::TimedOut { .. })) && Instant::now() >= deadline {
            return AttemptsOutcome { count: attempts, may_have_arrived, response: Err(timed_out(request, before)) };
        }
        let is_free = unprocessed < MAX_UNPROCESSED && outcome.as_ref().is_err_and(AttemptError::is_unprocessed);
        let (reason, headers) = match &outcome {
            Ok(response) if retry::should_retry(response.status, &response.headers) => {
                (RetryReason::from_http(response.status), Some(&response.headers))
            }
            Err(AttemptError::Connect(_)) => (RetryReason::Connect, None),
            Err(AttemptError::NotSent(_) | AttemptError::NotProcessed(_)) => (RetryReason::NotProcessed, None),
            Err(AttemptError::NoResponse(_)) => (RetryReason::Unanswered, None),
            Err(AttemptError::TimedOut { .. }) => (RetryReason::Timeout, None),
            Err(AttemptError::IncompleteBody(..)) => (RetryReason::CutShort, None),
            Ok(_) | Err(AttemptError::TooLarge(..) | AttemptError::OutOfMemory(..)) => return end(outcome),
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
            return end(outcome);
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
