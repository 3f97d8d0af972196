//! HTTP/1.1: what hyper cannot send is written past it.

use std::{fmt, future::pending, sync::Arc};

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
    connection: &Connection,
    request: Request<Incoming>,
) -> Result<hyper::Response<Full<Bytes>>, IncompleteRequest> {
    let (parts, body) = request.into_parts();
    let (bytes, ending) = match handler::serve(app, connection, parts, body).await.ok_or(IncompleteRequest)? {
        Outcome::Response(response) => return Ok(to_hyper(response)),
        Outcome::GoAway { response: Some(mut response), .. } => {
            response.headers.insert(CONNECTION, HeaderValue::from_static("close"));
            return Ok(to_hyper(response));
        }
        // hyper would rightly not send framing that lies.
        Outcome::LastResponse { response, limit } => (serialize(&response, limit), Ending::Close),
        Outcome::End { bytes, ending } => (bytes.to_vec(), ending),
        Outcome::ResetStream(_) | Outcome::GoAway { response: None, .. } => (Vec::new(), Ending::Close),
    };
    connection.end(bytes, ending);
    pending().await
}

fn to_hyper(response: Response) -> hyper::Response<Full<Bytes>> {
    let mut converted = hyper::Response::new(Full::new(response.body));
    *converted.status_mut() = response.status;
    *converted.headers_mut() = response.headers;
    converted
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

/// A request that did not arrive whole is none, and its connection good for no other.
#[derive(Debug)]
struct IncompleteRequest;

impl fmt::Display for IncompleteRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the request did not arrive whole")
    }
}

impl std::error::Error for IncompleteRequest {}
