//! HTTP/1.1: what hyper cannot send is written past it.

use std::{fmt, future::pending, sync::Arc};

use http_body_util::Full;
use hyper::{
    Request, Response,
    body::{Bytes, Incoming},
    header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{
    App,
    faults::Outcome,
    line::{Ending, Line},
    reply::Reply,
    service,
};

/// Serves a connection; how it is to end.
pub async fn serve<IO: AsyncRead + AsyncWrite + Unpin>(app: &Arc<App>, line: &Arc<Line>, io: IO) -> Ending {
    let handler = service_fn(|request| answer(app, line, request));
    let mut connection = http1::Builder::new().serve_connection(TokioIo::new(io), handler);
    let mut is_stopping = false;
    let (bytes, ending) = loop {
        tokio::select! {
            _ = &mut connection => return Ending::Close,
            wanted = line.end_wanted() => break wanted,
            () = app.stopped(), if !is_stopping => {
                is_stopping = true;
                std::pin::Pin::new(&mut connection).graceful_shutdown();
            }
        }
    };
    let mut io = connection.into_parts().io.into_inner();
    // Whatever goes wrong while writing, the connection ends.
    let _ = io.write_all(&bytes).await;
    let _ = io.flush().await;
    if ending == Ending::Close {
        let _ = io.shutdown().await;
    }
    ending
}

async fn answer(app: &Arc<App>, line: &Line, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, NotWhole> {
    let (parts, body) = request.into_parts();
    let (bytes, ending) = match service::serve(app, line, parts, body).await.ok_or(NotWhole)? {
        Outcome::Reply(reply) => return Ok(response(reply)),
        Outcome::GoAway { reply: Some(mut reply), .. } => {
            reply.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(response(reply));
        }
        // hyper would rightly refuse to send framing that lies.
        Outcome::LastReply { reply, limit } => (written_out(&reply, limit), Ending::Close),
        Outcome::End { bytes, ending } => (bytes.to_vec(), ending),
        Outcome::ResetStream(_) | Outcome::GoAway { reply: None, .. } => (Vec::new(), Ending::Close),
    };
    line.end(bytes, ending);
    pending().await
}

fn response(reply: Reply) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(reply.body));
    *response.status_mut() = reply.status;
    *response.headers_mut() = reply.headers;
    response
}

/// A reply as HTTP/1.1, with at most `limit` bytes of its body.
fn written_out(reply: &Reply, limit: usize) -> Vec<u8> {
    let reason = reply.status.canonical_reason().unwrap_or("Unknown");
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", reply.status.as_u16()).into_bytes();
    let mut line = |name: &HeaderName, value: &[u8]| {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    };
    for (name, value) in &reply.headers {
        line(name, value.as_bytes());
    }
    if reply.needs_length() {
        line(&CONTENT_LENGTH, reply.body.len().to_string().as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&reply.body[..limit.min(reply.body.len())]);
    bytes
}

/// A request that did not arrive whole is none, and its connection good for no other.
#[derive(Debug)]
struct NotWhole;

impl fmt::Display for NotWhole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request did not arrive whole")
    }
}

impl std::error::Error for NotWhole {}
