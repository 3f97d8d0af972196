//! Streams of a session's events, 1 KB each, made before they are sent. The session's name says which:
//!
//! | session | stream |
//! |---|---|
//! | `flood-N` | N events as fast as they are read |
//! | `paced-N` | N events, a millisecond or more apart |
//!
//! An event's `id` is the time of sending, in nanoseconds since 1970, of one that is paced.

use antenv_bench_peers::Result;
use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use std::time::{Duration, SystemTime};
use tokio::io::{AsyncWrite, AsyncWriteExt};

const PACE: Duration = Duration::from_millis(1);
/// How many events are written at once.
const BATCH: usize = 50;
/// The length of an event's data.
const EVENT_BYTES: usize = 1000;
/// The digits of an `id`.
const DIGITS: usize = 19;

/// A stream that a request asks for.
#[derive(Clone, Copy)]
pub struct Stream {
    count: usize,
    is_paced: bool,
}

impl Stream {
    /// Returns the stream of this path, if it is the path of one.
    pub fn of(path: &str) -> Option<Stream> {
        let (session, rest) = path.strip_prefix("/v1/sessions/")?.split_once('/')?;
        let (kind, count) = session.split_once('-')?;
        let is_paced = kind == "paced";
        rest.starts_with("events/stream").then_some(Stream { count: count.parse().ok()?, is_paced })
    }

    /// Writes it as a response of HTTP/1.1, each event a chunk.
    pub async fn write(self, to: &mut (impl AsyncWrite + Unpin)) -> Result<()> {
        to.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n").await?;
        to.flush().await?;
        let chunk = |id| {
            let frame = frame(id);
            format!("{:x}\r\n{frame}\r\n", frame.len())
        };
        let batch = chunk(0).repeat(BATCH);
        let mut left = self.count;
        while left > 0 {
            if self.is_paced {
                tokio::time::sleep(PACE).await;
                to.write_all(chunk(now()?).as_bytes()).await?;
                left -= 1;
            } else {
                let count = left.min(BATCH);
                to.write_all(&batch.as_bytes()[..batch.len() / BATCH * count]).await?;
                left -= count;
            }
            to.flush().await?;
        }
        to.write_all(b"0\r\n\r\n").await?;
        Ok(to.flush().await?)
    }

    /// Sends it as a response of HTTP/2.
    pub async fn send(self, mut respond: h2::server::SendResponse<Bytes>) -> Result<()> {
        let mut response = http::Response::new(());
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
        let mut body = respond.send_response(response, false)?;
        let batch = Bytes::from(frame(0).repeat(BATCH));
        let mut left = self.count;
        while left > 0 {
            let mut data = if self.is_paced {
                tokio::time::sleep(PACE).await;
                left -= 1;
                Bytes::from(frame(now()?))
            } else {
                let count = left.min(BATCH);
                left -= count;
                batch.slice(..batch.len() / BATCH * count)
            };
            while !data.is_empty() {
                body.reserve_capacity(data.len());
                let room = std::future::poll_fn(|context| body.poll_capacity(context)).await.ok_or("the stream was reset")??;
                body.send_data(data.split_to(room.min(data.len())), false)?;
            }
        }
        Ok(body.send_data(Bytes::new(), true)?)
    }
}

/// Nanoseconds since 1970.
fn now() -> Result<u128> {
    Ok(SystemTime::UNIX_EPOCH.elapsed()?.as_nanos())
}

fn frame(id: u128) -> String {
    let begin = format!(r#"{{"id":"{id:0DIGITS$}","type":"agent.message","processed_at":"2026-11-01T12:00:00.000000Z","#);
    let begin = begin + r#""content":[{"type":"text","text":""#;
    let end = r#""}]}"#;
    let words = "All that an agent says comes in such events. ".repeat(EVENT_BYTES / 40);
    format!("event: agent.message\ndata: {begin}{}{end}\n\n", &words[..EVENT_BYTES - begin.len() - end.len()])
}
