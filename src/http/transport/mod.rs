//! Connections, and one attempt over them.
//!
//! | to learn about | read |
//! |---|---|
//! | how connections are opened, and what it means when they are not | `connector`, `tunnel` |
//! | whom to trust, what to show | `tls` |
//! | names to addresses | `names` |
//! | which connection a request goes over, and when one is given up | `lanes` |
//!
//! HTTP itself is reqwest's. What it can do besides (redirects, retries, deadlines, proxies of the environment) is switched off: these are
//! the client's business.

mod connector;
mod lanes;
mod names;
mod tls;
mod tunnel;

use crate::api::operations::Traffic;
use crate::config::{ConnectionSettings, Http2};
use crate::error::{Error, Result, Status};
use crate::http::request::Request;
use crate::http::response::{MAX_ERROR_BODY, Response};
use crate::telemetry::stats::Stats;
use connector::{ConnectError, Target, causes, chain, host};
use lanes::{Lanes, Progress};
use reqwest::Version;
use std::error::Error as StdError;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;

pub use tls::Tls;

/// How much memory is set aside for an answer before it comes.
const MAX_RESERVED: u64 = 1 << 20;
/// A client's connections.
pub struct Http {
    calls: Lanes,
    /// Heartbeats wait behind nothing else.
    heartbeats: Lanes,
    stats: Arc<Stats>,
}

/// Why an attempt brought no response.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// No connection could be made.
    #[error("could not connect to {0}")]
    Connect(String),
    /// The connection was closed before the request went out.
    #[error("the connection was closed before the request was sent to {0}")]
    NotSent(String),
    /// The request went out, and the server said that it has not processed it.
    #[error("the request was not processed by {0}")]
    NotProcessed(String),
    /// The connection broke, or spoke no HTTP, before the response began.
    #[error("the connection failed before an answer came from {0}")]
    NoResponse(String),
    /// No response within the attempt's time.
    #[error("no answer came from {host} within {} ms (`attempt_timeout_ms`)", .after.as_millis())]
    TimedOut {
        /// The server.
        host: String,
        /// How long the attempt took.
        after: Duration,
        /// Whether the request went out.
        was_sent: bool,
    },
    /// The connection broke within the body of a success.
    #[error("the server reported success but its answer was cut short: {1}")]
    IncompleteBody(Response, String),
    /// The body of a success is larger than the bound.
    #[error("the server's answer is larger than `max_response_bytes` ({1})")]
    TooLarge(Response, usize),
    /// There was not enough memory for the body of a success.
    #[error("there is not enough memory for the server's answer (of which {1} bytes were read)")]
    OutOfMemory(Response, usize),
}

impl AttemptError {
    /// The error that the call ends with, if this was the last attempt.
    pub fn into_error(self) -> Error {
        let problem = self.to_string();
        match self {
            Self::Connect(_) | Self::NotSent(_) | Self::NotProcessed(_) | Self::NoResponse(_) => {
                Error::new(Status::Connection, problem)
            }
            Self::TimedOut { .. } => Error::new(Status::Timeout, problem),
            Self::IncompleteBody(response, _) | Self::TooLarge(response, _) | Self::OutOfMemory(response, _) => {
                response.error(problem)
            }
        }
    }

    /// Whether the server certainly did nothing of what was asked, so that the request may be sent again in any case.
    pub fn is_unprocessed(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::NotProcessed(_))
    }

    /// Whether the server may have done what was asked.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Connect(_) | Self::NotSent(_) | Self::NotProcessed(_) => false,
            Self::TimedOut { was_sent, .. } => *was_sent,
            _ => true,
        }
    }
}

impl Http {
    /// Makes a pool; it belongs to the present runtime.
    pub fn new(connection: &ConnectionSettings, tls: &Tls, stats: Arc<Stats>) -> Result<Http> {
        let is_http1 = match connection.http2 {
            Http2::Auto => connection.base_url.scheme() == "http",
            Http2::Never => true,
            Http2::Always => false,
        };
        let target = Arc::new(Target {
            url: connection.base_url.clone(),
            proxy: connection.proxy.clone(),
            tls: tls.fresh(connection.http2),
            connect_timeout: connection.connect_timeout,
            is_http1: AtomicBool::new(is_http1),
            max_streams: AtomicUsize::new(lanes::MAX_STREAMS),
            stats: stats.clone(),
        });
        let lanes = || Lanes::new(target.clone(), connection.http2 == Http2::Always);
        let wrong = |e| Error::config("config_json", format_args!("does not make a client: {e}"));
        Ok(Http { calls: lanes().map_err(wrong)?, heartbeats: lanes().map_err(wrong)?, stats })
    }

    /// Makes one request and reads its response, until the given moment.
    pub async fn attempt(&self, request: &Request, url: &Url, until: Instant) -> Result<Response, AttemptError> {
        let is_heartbeat = request.operation.is_some_and(|operation| operation.traffic == Traffic::Heartbeat);
        let lanes = if is_heartbeat { &self.heartbeats } else { &self.calls };
        let outcome = lanes.run(until, |lane, progress| exchange(lane, request, url, progress)).await;
        if let Ok(response)
        | Err(
            AttemptError::IncompleteBody(response, _)
            | AttemptError::TooLarge(response, _)
            | AttemptError::OutOfMemory(response, _),
        ) = &outcome
        {
            self.stats.answer(response.body.len());
        }
        outcome
    }
}

/// Sends a request by a lane's client and reads the response.
async fn exchange(
    client: reqwest::Client,
    request: &Request,
    url: &Url,
    progress: Arc<Progress>,
) -> Result<Response, AttemptError> {
    let mut outgoing = reqwest::Request::new(request.method.clone(), url.clone());
    *outgoing.headers_mut() = request.headers.clone();
    *outgoing.body_mut() = Some(progress.watch(request.body.clone().unwrap_or_default()));
    let mut incoming = client.execute(outgoing).await.map_err(|error| failure(&error, url, &progress))?;
    progress.answered(incoming.version() < Version::HTTP_2);
    let headers = std::mem::take(incoming.headers_mut());
    let mut response = Response { status: incoming.status().as_u16(), headers, body: Vec::new() };
    let most = if response.is_success() { request.max_response_bytes } else { request.max_response_bytes.min(MAX_ERROR_BODY) };
    // No more than is likely to come, whatever the server announces; and one byte for the terminator that C wants.
    let announced = incoming.content_length().unwrap_or(0).min(MAX_RESERVED);
    let mut has_room = response.body.try_reserve_exact(announced as usize + 1).is_ok();
    loop {
        match incoming.chunk().await {
            Ok(None) => return Ok(response),
            Ok(Some(data)) if response.body.len() + data.len() <= most => {
                has_room = has_room && response.body.try_reserve(data.len() + 1).is_ok();
                if !has_room {
                    let read = std::mem::take(&mut response.body).len();
                    return Err(AttemptError::OutOfMemory(response, read));
                }
                response.body.extend_from_slice(&data);
            }
            // What came of an error's body is enough to tell it.
            _ if !response.is_success() => return Ok(response),
            Ok(Some(_)) => return Err(AttemptError::TooLarge(response, most)),
            Err(error) => {
                let why = error.source().map_or_else(|| error.to_string(), causes);
                return Err(AttemptError::IncompleteBody(response, why));
            }
        }
    }
}

/// What became of a request that got no response.
fn failure(error: &reqwest::Error, url: &Url, progress: &Progress) -> AttemptError {
    let chain = || chain(error).skip(1);
    let about = |why: &str| format!("{}: {why}", host(url));
    let target = progress.target();
    if error.is_connect() {
        let said = chain().find_map(|cause| cause.downcast_ref::<ConnectError>()).map(ToString::to_string);
        let way = target.proxy.as_ref().map(|proxy| format!(" through the proxy {}", proxy.address)).unwrap_or_default();
        let late = || format!("no connection{way} within {} ms", target.connect_timeout.as_millis());
        return AttemptError::Connect(about(&said.unwrap_or_else(|| if error.is_timeout() { late() } else { causes(error) })));
    }
    // The first two causes are reqwest's and its pool's, and say only that a request failed.
    let why = chain().nth(1).map_or_else(|| error.to_string(), causes);
    if !progress.is_taken_up() {
        return AttemptError::NotSent(about(&why));
    }
    let h2 = chain().find_map(|cause| cause.downcast_ref::<h2::Error>());
    let is_refused = |h2: &h2::Error| {
        // A GOAWAY comes to those requests alone that are above the last one that the server says it has processed.
        h2.is_remote() && (h2.is_go_away() || h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM))
    };
    if h2.is_some_and(is_refused) {
        return AttemptError::NotProcessed(about(&why));
    }
    if !h2.is_some_and(h2::Error::is_reset) {
        progress.retire_lane();
    }
    AttemptError::NoResponse(about(&why))
}
