//! The body of a response while it arrives: read piece by piece, so that the server sends only as fast as its reader reads.

use super::AttemptError;
use super::connector::causes;
use super::lanes::Progress;
use crate::http::response::Response;
use crate::telemetry::stats::Stats;
use bytes::Bytes;
use std::error::Error as StdError;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};

/// A body that is being received. Dropping it ends the request at once: with RST_STREAM over HTTP/2, by closing the connection over
/// HTTP/1.1.
pub struct StreamedBody {
    incoming: reqwest::Response,
    /// Counts the request as in flight on its lane.
    progress: Arc<Progress>,
    stats: Arc<Stats>,
}

/// A part of a download, to be written to its file.
#[derive(Debug)]
pub enum Part {
    /// The body begins; what came before belongs to an attempt that failed.
    Begin,
    /// The next bytes.
    Data(Bytes),
}

impl StreamedBody {
    pub(super) fn new(incoming: reqwest::Response, progress: Arc<Progress>, stats: Arc<Stats>) -> StreamedBody {
        StreamedBody { incoming, progress, stats }
    }

    /// Waits for the next bytes; `None` at the end. An error says why the body was cut short.
    pub async fn next(&mut self) -> Result<Option<Bytes>, String> {
        let outcome = self.incoming.chunk().await;
        if let Ok(Some(bytes)) = &outcome {
            self.stats.response(bytes.len());
        }
        outcome.map_err(|error| error.source().map_or_else(|| error.to_string(), causes))
    }

    /// Hands the body of a success on to `parts`, up to `max_bytes`. Each piece must come within `max_silence`, all of them by
    /// `deadline`. Ends early when no one receives the parts.
    pub async fn copy(
        mut self,
        response: Response,
        parts: &mpsc::Sender<Part>,
        max_bytes: u64,
        max_silence: Duration,
        deadline: Instant,
    ) -> Result<Response, AttemptError> {
        let started_at = Instant::now();
        let announced = self.incoming.content_length();
        if announced.is_some_and(|length| length > max_bytes) {
            return Err(AttemptError::TooLarge(response, "max_bytes", max_bytes));
        }
        let mut received = 0_u64;
        let mut part = Part::Begin;
        loop {
            if parts.send(part).await.is_err() {
                return Ok(response);
            }
            match timeout_at(deadline, timeout(max_silence, self.next())).await {
                Err(_) => {
                    let host = self.progress.target().host().to_owned();
                    return Err(AttemptError::TimedOut { host, after: started_at.elapsed(), was_sent: true });
                }
                Ok(Err(_)) => {
                    let why = format!("no more of it came within {} ms (`attempt_timeout_ms`)", max_silence.as_millis());
                    self.progress.retire_lane();
                    return Err(AttemptError::IncompleteBody(response, why));
                }
                Ok(Ok(Err(why))) => return Err(AttemptError::IncompleteBody(response, why)),
                Ok(Ok(Ok(None))) if announced.is_some_and(|length| length != received) => {
                    let why = format!("{received} bytes came instead of {}", announced.unwrap_or_default());
                    return Err(AttemptError::IncompleteBody(response, why));
                }
                Ok(Ok(Ok(None))) => return Ok(response),
                Ok(Ok(Ok(Some(bytes)))) => {
                    received += bytes.len() as u64;
                    if received > max_bytes {
                        return Err(AttemptError::TooLarge(response, "max_bytes", max_bytes));
                    }
                    part = Part::Data(bytes);
                }
            }
        }
    }
}

impl fmt::Debug for StreamedBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StreamedBody").finish_non_exhaustive()
    }
}
