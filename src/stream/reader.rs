//! Reading an open stream: the events of its body, as they arrive.

use crate::client::OpenResponse;
use crate::error::{Error, Result, Status};
use crate::http::sse::{Decoder, Frame, TooLarge};
use bytes::Bytes;
use tokio::time::timeout;

/// How much is decoded at a time, in bytes.
pub(super) const MAX_BATCH: usize = 64 << 10;
/// The content type of a stream.
const CONTENT_TYPE: &str = "text/event-stream";
/// What an event takes besides its text.
const EVENT_OVERHEAD: usize = 64;

/// An open stream whose events are being read.
pub struct EventReader {
    open: OpenResponse,
    decoder: Decoder,
    /// What has arrived and is not decoded yet.
    input: Bytes,
    end: Option<Result<()>>,
}

impl EventReader {
    /// Makes a reader of a response. Rejects one that is something else than a stream, such as the page of a gateway.
    pub fn new(open: OpenResponse) -> Result<EventReader> {
        match open.content_type() {
            Some(content_type) if !content_type.trim_start().to_ascii_lowercase().starts_with(CONTENT_TYPE) => {
                Err(open.error(Status::Response, format!("the server's response is no stream of events, but {content_type}")))
            }
            _ => {
                let decoder = Decoder::new(open.request.max_event_bytes);
                Ok(EventReader { open, decoder, input: Bytes::new(), end: None })
            }
        }
    }

    /// Returns the response's status, headers and request id as a JSON object.
    pub fn head(&self) -> String {
        self.open.head()
    }

    /// Waits for the next events, at least one, and returns their data; `None` when the server has ended the stream. Errors: why the
    /// stream broke, or what the server reported.
    pub async fn next(&mut self) -> Result<Option<Vec<String>>> {
        loop {
            if let Some(end) = &self.end {
                return end.clone().map(|()| None);
            }
            if self.input.is_empty() {
                match self.receive().await {
                    Ok(Some(chunk)) => self.input = chunk,
                    Ok(None) => self.end = Some(Ok(())),
                    Err(error) => self.end = Some(Err(error)),
                }
            }
            let mut rest = &self.input[..];
            let (events, end) = decode(&mut self.decoder, &mut rest);
            self.input = self.input.slice(self.input.len() - rest.len()..);
            match end {
                Ok(()) => {}
                Err(DecodeEnd::Reported(body)) => self.end = Some(Err(self.open.reported_error(body))),
                Err(DecodeEnd::TooLarge) => {
                    let max = self.open.request.max_event_bytes;
                    let problem = format!("an event of the stream is larger than `max_event_bytes` ({max})");
                    self.end = Some(Err(self.open.error(Status::Response, problem)));
                }
            }
            if !events.is_empty() {
                return Ok(Some(events));
            }
        }
    }

    async fn receive(&mut self) -> Result<Option<Bytes>, Error> {
        let idle_timeout = self.open.request.idle_timeout;
        let open = &mut self.open;
        match timeout(idle_timeout, open.body.next()).await {
            Ok(Ok(Some(chunk))) => Ok(Some(chunk)),
            Ok(Ok(None)) if self.decoder.is_within_frame() => {
                Err(open.error(Status::Connection, "the server ended the stream within an event"))
            }
            Ok(Ok(None)) => Ok(None),
            Ok(Err(why)) => Err(open.error(Status::Connection, format!("the stream was cut short: {why}"))),
            Err(_) => {
                let silence = format!("is over: nothing came within {} ms; the stream was closed", idle_timeout.as_millis());
                Err(open.error_about(Status::Timeout, "idle_timeout_ms", &silence))
            }
        }
    }
}

/// Returns what an event takes in memory.
pub(super) fn weight(event: &str) -> usize {
    event.len() + EVENT_OVERHEAD
}

/// Why nothing more is decoded.
enum DecodeEnd {
    /// The server reported this error.
    Reported(String),
    TooLarge,
}

impl From<TooLarge> for DecodeEnd {
    fn from(_: TooLarge) -> DecodeEnd {
        DecodeEnd::TooLarge
    }
}

/// Decodes as many events as may wait to be taken.
fn decode(decoder: &mut Decoder, input: &mut &[u8]) -> (Vec<String>, Result<(), DecodeEnd>) {
    let (mut events, mut size) = (Vec::new(), 0);
    while size < MAX_BATCH && !input.is_empty() {
        match decoder.next(input) {
            Ok(Some(Frame::Event(event))) => {
                size += weight(&event);
                events.push(event);
            }
            Ok(Some(Frame::Error(body))) => return (events, Err(DecodeEnd::Reported(body))),
            Ok(None) => break,
            Err(error) => return (events, Err(error.into())),
        }
    }
    (events, Ok(()))
}
