//! HTTP/1.1: what hyper cannot send is written past it.

use std::{
    convert::Infallible,
    fmt,
    future::pending,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use http_body::{Body, Frame, SizeHint};
use http_body_util::Full;
use hyper::{
    Request,
    body::{Bytes, Incoming},
    header::{CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};

use crate::{
    App,
    api::handler,
    control::faults::Outcome,
    http::{
        body::{BodyReceiver, Piece, StreamBody},
        connection::{Connection, Ending},
        response::Response,
    },
};

/// Serves a connection; how it is to end.
pub async fn serve<IO: AsyncRead + AsyncWrite + Unpin>(app: &Arc<App>, connection: &Arc<Connection>, io: IO) -> Ending {
    let handler = service_fn(|request| respond(app, connection, request));
    let mut http = http1::Builder::new().serve_connection(TokioIo::new(io), handler);
    let mut is_stopping = false;
    let (bytes, ending) = loop {
        tokio::select! {
            _ = &mut http => return Ending::Close,
            wanted = connection.end_wanted() => break wanted,
            () = app.stopped(), if !is_stopping => {
                is_stopping = true;
                std::pin::Pin::new(&mut http).graceful_shutdown();
            }
        }
    };
    let mut io = http.into_parts().io.into_inner();
    // Whatever goes wrong while writing, the connection ends.
    let _ = io.write_all(&bytes).await;
    let _ = io.flush().await;
    if ending == Ending::Close {
        let _ = io.shutdown().await;
    }
    ending
}

async fn respond(
    app: &Arc<App>,
    connection: &Arc<Connection>,
    request: Request<Incoming>,
) -> Result<hyper::Response<ResponseBody>, IncompleteRequest> {
    let (parts, body) = request.into_parts();
    let (bytes, ending) = match handler::serve(app, connection, parts, body).await.ok_or(IncompleteRequest)? {
        Outcome::Response(response) => return Ok(to_hyper(response, connection)),
        Outcome::GoAway { response: Some(mut response), .. } => {
            response.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(to_hyper(response, connection));
        }
        // hyper would rightly not send framing that lies.
        Outcome::LastResponse { response, limit } => (serialize(&response, limit), Ending::Close),
        Outcome::End { bytes, ending } => (bytes.to_vec(), ending),
        Outcome::ResetStream(_) | Outcome::GoAway { response: None, .. } => (Vec::new(), Ending::Close),
    };
    connection.end(bytes, ending);
    pending().await
}

fn to_hyper(response: Response, connection: &Arc<Connection>) -> hyper::Response<ResponseBody> {
    let mut converted = hyper::Response::new(match response.stream {
        Some(StreamBody(source)) => ResponseBody::Streamed(source.start(), connection.clone()),
        None => ResponseBody::Whole(Full::new(response.body)),
    });
    *converted.status_mut() = response.status;
    *converted.headers_mut() = response.headers;
    converted
}

/// A response's body.
enum ResponseBody {
    Whole(Full<Bytes>),
    Streamed(BodyReceiver, Arc<Connection>),
    /// Nothing more comes, and no end either: the connection is about to end.
    Cut,
}

impl Body for ResponseBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match &mut *self {
            ResponseBody::Whole(body) => Pin::new(body).poll_frame(context),
            ResponseBody::Streamed(pieces, connection) => match pieces.poll_next(context) {
                Poll::Ready(Some(Piece::Bytes(bytes))) => Poll::Ready(Some(Ok(Frame::data(bytes)))),
                Poll::Ready(Some(Piece::Cut)) => {
                    connection.end(Vec::new(), Ending::Close);
                    *self = ResponseBody::Cut;
                    Poll::Pending
                }
                Poll::Ready(None) => Poll::Ready(None),
                Poll::Pending => Poll::Pending,
            },
            ResponseBody::Cut => Poll::Pending,
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self, ResponseBody::Whole(body) if body.is_end_stream())
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            ResponseBody::Whole(body) => body.size_hint(),
            ResponseBody::Streamed(..) | ResponseBody::Cut => SizeHint::default(),
        }
    }
}

/// A response as HTTP/1.1, with at most `limit` bytes of its body.
fn serialize(response: &Response, limit: usize) -> Vec<u8> {
    let reason = response.status.canonical_reason().unwrap_or("Unknown");
    let mut bytes = format!("HTTP/1.1 {} {reason}\r\n", response.status.as_u16()).into_bytes();
    let mut header = |name: &HeaderName, value: &[u8]| {
        bytes.extend_from_slice(name.as_str().as_bytes());
        bytes.extend_from_slice(b": ");
        bytes.extend_from_slice(value);
        bytes.extend_from_slice(b"\r\n");
    };
    for (name, value) in &response.headers {
        header(name, value.as_bytes());
    }
    if response.needs_length() {
        header(&CONTENT_LENGTH, response.body.len().to_string().as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(&response.body[..limit.min(response.body.len())]);
    bytes
}

/// A request that did not arrive whole does not count, and its connection cannot be used again.
#[derive(Debug)]
struct IncompleteRequest;

impl fmt::Display for IncompleteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request did not arrive whole")
    }
}

impl std::error::Error for IncompleteRequest {}
