//! Connections, and single attempts over them.
//!
//! | to learn about | read |
//! |---|---|
//! | how connections are opened, and why that failed | `connector`, `tunnel`, `relay` |
//! | trusted roots and client certificates | `tls` |
//! | names to addresses | `names` |
//! | which connection a request uses, and when a connection is abandoned | `lanes` |
//! | bodies that are read while they arrive | `body` |
//!
//! reqwest speaks HTTP. Its redirects, retries, deadlines and proxies from environment variables are switched off: the client handles
//! these.

mod body;
mod connector;
mod lanes;
mod names;
mod relay;
mod tls;
mod tunnel;

use crate::api::operations::{ResponseKind, Traffic};
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
use tokio::sync::OnceCell;
use tokio::time::Instant;
use url::Url;

pub use body::{Part, StreamedBody};
pub use tls::Tls;

/// How much memory is reserved for a response before it arrives.
const MAX_RESERVED: u64 = 1 << 20;
/// A client's connections.
pub struct Http {
    calls: Lanes,
    /// Heartbeats have separate connections, so they never wait behind other requests.
    heartbeats: Lanes,
    /// Streams and downloads, too: one that is read slowly would use up the window that an HTTP/2 connection has for all its requests.
    streams: Lanes,
    stats: Arc<Stats>,
}

/// Why an attempt got no complete response.
#[derive(Debug, thiserror::Error)]
pub enum AttemptError {
    /// No connection could be opened.
    #[error("could not connect to {0}")]
    Connect(String),
    /// The connection was closed before the request was sent.
    #[error("the connection was closed before the request was sent to {0}")]
    NotSent(String),
    /// The request was sent, and the server reported that it did not process it.
    #[error("the request was not processed by {0}")]
    NotProcessed(String),
    /// The connection failed, or the server did not speak HTTP, before the response began.
    #[error("the connection failed before a response came from {0}")]
    NoResponse(String),
    /// No response within the attempt's timeout.
    #[error("no response came from {host} within {} ms (`attempt_timeout_ms`)", .after.as_millis())]
    TimedOut {
        /// The server.
        host: String,
        /// How long the attempt took.
        after: Duration,
        /// Whether the request was sent.
        was_sent: bool,
    },
    /// The connection failed within the body of a success.
    #[error("the server reported success but its response was cut short: {1}")]
    IncompleteBody(Response, String),
    /// The body of a success is larger than the named option allows.
    #[error("the server's response is larger than `{1}` ({2})")]
    TooLarge(Response, &'static str, u64),
    /// There was not enough memory for the body of a success.
    #[error("there is not enough memory for the server's response (of which {1} bytes were read)")]
    OutOfMemory(Response, usize),
}

impl AttemptError {
    /// Returns the error of the call, if this was its last attempt.
    pub fn into_error(self) -> Error {
        let problem = self.to_string();
        match self {
            Self::Connect(_) | Self::NotSent(_) | Self::NotProcessed(_) | Self::NoResponse(_) => {
                Error::new(Status::Connection, problem)
            }
            Self::TimedOut { .. } => Error::new(Status::Timeout, problem),
            Self::IncompleteBody(response, _) | Self::TooLarge(response, ..) | Self::OutOfMemory(response, _) => {
                response.error(Status::Response, problem)
            }
        }
    }

    /// Returns whether the server certainly did not process the request, so that it is always safe to send it again.
    pub fn is_unprocessed(&self) -> bool {
        matches!(self, Self::NotSent(_) | Self::NotProcessed(_))
    }

    /// Returns whether the server may have processed the request.
    pub fn may_have_arrived(&self) -> bool {
        match self {
            Self::Connect(_) | Self::NotSent(_) | Self::NotProcessed(_) => false,
            Self::TimedOut { was_sent, .. } => *was_sent,
            _ => true,
        }
    }
}

impl Http {
    /// Makes a connection pool, which belongs to the current runtime.
    pub fn new(connection: &ConnectionSettings, tls: &Tls, stats: Arc<Stats>) -> Result<Http> {
        let is_http1 = match connection.http2 {
            Http2::Auto => connection.base_url.scheme() == "http",
            Http2::Never => true,
            Http2::Always => false,
        };
        let target = Arc::new(Target {
            url: connection.base_url.clone(),
            proxy: connection.proxy.clone(),
            relay: OnceCell::new(),
            tls: tls.for_pool(connection.http2),
            connect_timeout: connection.connect_timeout,
            requires_http2: connection.http2 == Http2::Always,
            has_responded: AtomicBool::new(false),
            is_http1: AtomicBool::new(is_http1),
            max_streams: AtomicUsize::new(lanes::MAX_STREAMS),
            stats: stats.clone(),
        });
        let lanes = |windows| Lanes::new(target.clone(), windows);
        let invalid = |e| Error::config("config_json", format_args!("is not valid for a client: {e}"));
        Ok(Http {
            calls: lanes(None).map_err(invalid)?,
            heartbeats: lanes(None).map_err(invalid)?,
            streams: lanes(Some(lanes::STREAM_WINDOW)).map_err(invalid)?,
            stats,
        })
    }

    /// Sends one request and reads its response, until `deadline`. The body of a stream or download is left to be read.
    pub async fn attempt(&self, request: &Request, url: &Url, deadline: Instant) -> Result<Response, AttemptError> {
        let lanes = match request.operation {
            Some(operation) if operation.response != ResponseKind::Json => &self.streams,
            Some(operation) if operation.traffic == Traffic::Heartbeat => &self.heartbeats,
            _ => &self.calls,
        };
        let outcome = lanes.run(deadline, |lane, progress| exchange(lane, request, url, progress, &self.stats)).await;
        if let Ok(response)
        | Err(
            AttemptError::IncompleteBody(response, _)
            | AttemptError::TooLarge(response, ..)
            | AttemptError::OutOfMemory(response, _),
        ) = &outcome
        {
            self.stats.response(response.body.len());
        }
        outcome
    }
}

/// Sends a request with a lane's client and reads the response.
async fn exchange(
    client: reqwest::Client,
    request: &Request,
    url: &Url,
    progress: Arc<Progress>,
    stats: &Arc<Stats>,
) -> Result<Response, AttemptError> {
    let mut outgoing = reqwest::Request::new(request.method.clone(), url.clone());
    *outgoing.headers_mut() = request.headers.clone();
    *outgoing.body_mut() = Some(progress.observe(request.body.clone().unwrap_or_default()));
    let mut incoming = client.execute(outgoing).await.map_err(|error| attempt_error(&error, url, &progress))?;
    progress.on_response(incoming.version() < Version::HTTP_2);
    let headers = std::mem::take(incoming.headers_mut());
    let mut response = Response { status: incoming.status().as_u16(), headers, body: Vec::new(), streamed: None };
    let is_streamed = request.operation.is_some_and(|operation| operation.response != ResponseKind::Json);
    if response.is_success() && is_streamed {
        response.streamed = Some(Box::new(StreamedBody::new(incoming, progress, stats.clone())));
        return Ok(response);
    }
    let max_bytes = match (response.is_success(), is_streamed) {
        (true, _) => request.max_response_bytes,
        (false, true) => MAX_ERROR_BODY as u64,
        (false, false) => request.max_response_bytes.min(MAX_ERROR_BODY as u64),
    };
    // No more than is likely to arrive, whatever length the server announces, and one byte for the terminator that C needs.
    let expected = incoming.content_length().unwrap_or(0).min(MAX_RESERVED);
    let mut has_room = response.body.try_reserve_exact(expected as usize + 1).is_ok();
    loop {
        match incoming.chunk().await {
            Ok(None) => return Ok(response),
            Ok(Some(data)) if (response.body.len() + data.len()) as u64 <= max_bytes => {
                has_room = has_room && response.body.try_reserve(data.len() + 1).is_ok();
                if !has_room {
                    let read = std::mem::take(&mut response.body).len();
                    return Err(AttemptError::OutOfMemory(response, read));
                }
                response.body.extend_from_slice(&data);
            }
            // The part of an error's body that arrived is enough to report it.
            _ if !response.is_success() => return Ok(response),
            Ok(Some(_)) => return Err(AttemptError::TooLarge(response, "max_response_bytes", max_bytes)),
            Err(error) => {
                let why = error.source().map_or_else(|| error.to_string(), causes);
                return Err(AttemptError::IncompleteBody(response, why));
            }
        }
    }
}

/// Classifies the error of a request that got no response.
fn attempt_error(error: &reqwest::Error, url: &Url, progress: &Progress) -> AttemptError {
    let chain = || chain(error).skip(1);
    let target = progress.target();
    let about = |why: &str| format!("{}: {why}", host(url));
    if error.is_connect() {
        let connect_error = chain().find_map(|cause| cause.downcast_ref::<ConnectError>()).map(ToString::to_string);
        let via = target.proxy.as_ref().map(|proxy| format!(" through the proxy {}", proxy.address)).unwrap_or_default();
        let timed_out = || format!("no connection{via} within {} ms", target.connect_timeout.as_millis());
        return AttemptError::Connect(about(
            &connect_error.unwrap_or_else(|| if error.is_timeout() { timed_out() } else { causes(error) }),
        ));
    }
    // The first two causes are reqwest's and its pool's, and report only that a request failed.
    let why = chain().nth(1).map_or_else(|| error.to_string(), causes) + target.http2_advice();
    if !progress.is_accepted() {
        return AttemptError::NotSent(about(&why));
    }
    let h2 = chain().find_map(|cause| cause.downcast_ref::<h2::Error>());
    let was_unprocessed = |h2: &h2::Error| {
        // h2 reports a GOAWAY only to requests above the last one that the server processed.
        h2.is_remote() && (h2.is_go_away() || h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM))
    };
    if h2.is_some_and(was_unprocessed) {
        return AttemptError::NotProcessed(about(&why));
    }
    if !h2.is_some_and(h2::Error::is_reset) {
        progress.retire_lane();
    }
    AttemptError::NoResponse(about(&why))
}
