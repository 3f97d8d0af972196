//! A client: the only place that does I/O for calls. Attempts, deadlines and retries happen here.
//!
//! A call is built and judged on the caller's thread; only the exchange itself runs on the runtime:
//!
//! ```text
//! caller   request::operation ─┐                                   ┌─ Response::into_result
//! runtime                      └─ attempt ─ retry? ─ wait ─ … ─────┘
//! ```

use crate::config::{self, Defaults};
use crate::error::{Error, Result, Status};
use crate::operation::{self, OPERATIONS, Operation};
use crate::request::{self, Request};
use crate::response::Response;
use crate::{retry, runtime, transport};
use reqwest::Url;
use std::sync::Arc;
use std::time::SystemTime;
use tokio::time::{Instant, sleep, timeout_at};

/// How many kept connections in a row may turn out to be closed before that counts as a failure like any other.
const MOST_STALE: u32 = 8;

/// How much memory is set aside for an answer before it comes.
const MOST_RESERVED: u64 = 1 << 20;

/// A client of the API. Cheap to clone; clones and derived clients share one connection pool.
///
/// Its calls block the thread, and so are not for the inside of async code.
#[derive(Debug, Clone)]
pub struct Client {
    pool: Arc<Pool>,
    defaults: Arc<Defaults>,
}

#[derive(Debug)]
struct Pool {
    base_url: Url,
    http: reqwest::Client,
}

/// A call whose exchange is over, to be judged by [`Client::judge`].
pub struct Exchanged {
    request: Request,
    attempts: u32,
    outcome: Result<Response>,
}

impl Client {
    /// Makes a client from a JSON configuration (`None`: from the environment alone). No connection is made yet.
    pub fn new(config_json: Option<&str>) -> Result<Client> {
        let (connection, defaults) = config::read(config_json.unwrap_or("{}"), &config::process_environment)?;
        // Should it not start, now is the time to say so.
        runtime::start()?;
        let http = transport::build(&connection)?;
        Ok(Client { pool: Arc::new(Pool { base_url: connection.base_url, http }), defaults: Arc::new(defaults) })
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
    pub fn call_with(&self, operation: &Operation, ids: &[(&str, &str)], params_json: Option<&str>) -> Result<String> {
        self.send(request::operation(operation, ids, params_json, &self.defaults)?)
    }

    /// Makes a request to any other endpoint; blocks until it is done.
    pub fn request(&self, method: &str, path: &str, params_json: Option<&str>) -> Result<String> {
        self.send(request::free_form(method, path, params_json, &self.defaults)?)
    }

    /// Builds a call without making it.
    pub fn prepare(&self, operation: &Operation, params_json: Option<&str>) -> Result<Request> {
        request::operation(operation, &[], params_json, &self.defaults)
    }

    fn send(&self, request: Request) -> Result<String> {
        self.judge(runtime::wait(runtime::spawn(self.exchange(request))?)?)
    }

    /// The exchange of a call, to be run on the runtime.
    pub fn exchange(&self, request: Request) -> impl Future<Output = Exchanged> + Send + use<> {
        let url = request.url(&self.pool.base_url);
        let pool = self.pool.clone();
        async move {
            let (attempts, outcome) = settle(&pool.http, &request, &url).await;
            Exchanged { request, attempts, outcome }
        }
    }

    /// What came of an exchange. Reading a large answer takes a while, so this is for the caller's thread.
    pub fn judge(&self, exchanged: Exchanged) -> Result<String> {
        let Exchanged { request, attempts, outcome } = exchanged;
        let result = outcome.and_then(|response| response.into_result(&request, attempts));
        result.map_err(|error| {
            let mut redactor = self.defaults.redactor.clone();
            redactor.add_headers(&request.headers);
            error.with_attempts(attempts).redact(&redactor)
        })
    }
}

/// The operation of that name, or an error that lists them.
pub fn find(name: &str) -> Result<&'static Operation> {
    operation::find(name).ok_or_else(|| {
        let known: Vec<_> = OPERATIONS.iter().map(|operation| operation.name).collect();
        Error::argument("operation", format_args!("is not known; known are: {}", known.join(", ")))
    })
}

/// Makes attempts until one settles the call, the retries are used up, or the time is. Beside the outcome: how many were made.
async fn settle(http: &reqwest::Client, request: &Request, url: &Url) -> (u32, Result<Response>) {
    let deadline = Instant::now() + request.timeout;
    let (mut attempts, mut stale) = (0, 0);
    let mut before: Option<Result<Response, Failure>> = None;
    loop {
        let Ok(outcome) = timeout_at(deadline, transport::noting_dials(attempt(http, request, url))).await else {
            return (attempts + 1, Err(timed_out(request, before)));
        };
        // A kept connection that broke before any answer: almost always the server had just closed it, and the request is simply
        // sent on another one. (A server that died in the middle of the request looks the same.)
        if stale < MOST_STALE && matches!(outcome, Err(Failure::Stale(_))) {
            stale += 1;
            continue;
        }
        attempts += 1;
        let headers = match &outcome {
            Ok(response) if retry::wanted(response.status, &response.headers) => Some(&response.headers),
            Err(Failure::Connect(_) | Failure::Unanswered(_) | Failure::Stale(_) | Failure::CutShort(..)) => None,
            Ok(_) | Err(Failure::TooLarge(..)) => return (attempts, outcome.map_err(Failure::into_error)),
        };
        let wait = retry::delay(attempts - 1, headers, SystemTime::now(), fastrand::f64());
        if attempts > request.max_retries || wait >= deadline.saturating_duration_since(Instant::now()) {
            return (attempts, outcome.map_err(Failure::into_error));
        }
        before = Some(outcome);
        sleep(wait).await;
    }
}

/// Why an attempt brought no response.
enum Failure {
    /// No connection could be made.
    Connect(String),
    /// The connection broke, or spoke no HTTP, before the response began.
    Unanswered(String),
    /// The same with a connection that was kept from an earlier call.
    Stale(String),
    /// The connection broke within the body of a success.
    CutShort(Response, String),
    /// The body of a success is larger than the bound.
    TooLarge(Response, usize),
}

impl Failure {
    fn into_error(self) -> Error {
        match self {
            Failure::Connect(cause) => Error::new(Status::Connection, format!("could not connect to {cause}")),
            Failure::Unanswered(cause) | Failure::Stale(cause) => {
                Error::new(Status::Connection, format!("the connection failed before an answer came from {cause}"))
            }
            Failure::CutShort(response, cause) => {
                response.error(format!("the server reported success but its answer was cut short: {cause}"))
            }
            Failure::TooLarge(response, bound) => {
                response.error(format!("the server's answer is larger than `max_response_bytes` ({bound})"))
            }
        }
    }
}

/// One request and its response.
async fn attempt(http: &reqwest::Client, request: &Request, url: &Url) -> Result<Response, Failure> {
    let mut outgoing = reqwest::Request::new(request.method.clone(), url.clone());
    *outgoing.headers_mut() = request.headers.clone();
    *outgoing.body_mut() = request.body.clone().map(Into::into);
    let mut incoming = http.execute(outgoing).await.map_err(|error| {
        let failure = match () {
            () if error.is_connect() => Failure::Connect,
            () if error.is_request() && !transport::dialled() => Failure::Stale,
            () => Failure::Unanswered,
        };
        failure(format!("{}: {}", url.authority(), transport::causes(&error)))
    })?;
    let mut response =
        Response { status: incoming.status().as_u16(), headers: std::mem::take(incoming.headers_mut()), body: Vec::new() };
    // No more than is likely to come, whatever the server announces; and one byte for the terminator that C wants.
    let announced = incoming.content_length().unwrap_or(0).min(MOST_RESERVED);
    response.body.reserve_exact(announced as usize + 1);
    loop {
        match incoming.chunk().await {
            Ok(Some(chunk)) if response.body.len() + chunk.len() <= request.max_response_bytes => {
                response.body.extend_from_slice(&chunk)
            }
            Ok(None) => return Ok(response),
            // What came of an error's body is enough to tell it.
            _ if !response.is_success() => return Ok(response),
            Ok(Some(_)) => return Err(Failure::TooLarge(response, request.max_response_bytes)),
            Err(error) => return Err(Failure::CutShort(response, transport::causes(&error))),
        }
    }
}

/// The call's time ran out: what the last attempt before it met is the best clue to why.
fn timed_out(request: &Request, before: Option<Result<Response, Failure>>) -> Error {
    let clue = match before {
        None => String::new(),
        Some(Ok(response)) => format!("; the attempt before was answered with HTTP {}", response.status),
        Some(Err(failure)) => format!("; the attempt before failed: {}", failure.into_error()),
    };
    Error::new(Status::Timeout, format!("no answer within {} ms{clue}", request.timeout.as_millis()))
}
