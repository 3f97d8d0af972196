//! HTTP/1.1, as far as the clients use it: no pipelining, bodies with a length.

use crate::api::{Answer, Api};
use crate::session::Events;
use antenv_bench_peers::Result;
use memchr::memmem;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

const STREAM: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";

/// Answers the requests of a connection, one after the other. A stream of events is its last one.
pub async fn serve(mut stream: impl AsyncRead + AsyncWrite + Unpin, api: Arc<Api>) -> Result<()> {
    let mut request = Vec::with_capacity(4096);
    while stream.read_buf(&mut request).await? > 0 {
        let Some(end) = memmem::find(&request, b"\r\n\r\n").map(|end| end + 4) else { continue };
        let head = std::str::from_utf8(&request[..end])?;
        if request.len() < end + body_length(head)? {
            continue;
        }
        let at = Instant::now();
        let mut words = head.split(' ');
        let (method, path) = words.next().zip(words.next()).ok_or("no request line")?;
        let text = match api.answer(method, path, &request[end..], at).await? {
            Answer::Events(session) => {
                stream.write_all(STREAM.as_bytes()).await?;
                return session.run(&mut Chunks(stream)).await;
            }
            Answer::Json(json) => as_text("200 OK", &json),
            Answer::NotFound => as_text("404 Not Found", "{}"),
        };
        stream.write_all(text.as_bytes()).await?;
        stream.flush().await?;
        request.clear();
    }
    Ok(())
}

fn body_length(head: &str) -> Result<usize> {
    let length =
        head.lines().filter_map(|line| line.split_once(':')).find(|(name, _)| name.eq_ignore_ascii_case("content-length"));
    Ok(length.map_or(Ok(0), |(_, length)| length.trim().parse())?)
}

fn as_text(status: &str, json: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n{json}", json.len())
}

struct Chunks<S>(S);

impl<S: AsyncWrite + Unpin> Events for Chunks<S> {
    async fn write(&mut self, frames: String) -> Result<()> {
        self.0.write_all(format!("{:x}\r\n{frames}\r\n", frames.len()).as_bytes()).await?;
        Ok(self.0.flush().await?)
    }
}
