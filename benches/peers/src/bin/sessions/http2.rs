//! HTTP/2: a task for each request, a hundred at a time on a connection.

use crate::api::{Answer, Api};
use crate::session::Events;
use antenv_bench_peers::Result;
use bytes::Bytes;
use h2::server::SendResponse;
use h2::{RecvStream, SendStream};
use http::header::CONTENT_TYPE;
use http::{Request, Response, StatusCode};
use std::sync::Arc;
use std::time::Instant;
use tokio::io::{AsyncRead, AsyncWrite};

/// How many requests a connection takes at once: what servers have as a rule.
const MAX_STREAMS: u32 = 100;

pub async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin, api: Arc<Api>) -> Result<()> {
    let mut connection = h2::server::Builder::new().max_concurrent_streams(MAX_STREAMS).handshake(stream).await?;
    while let Some(request) = connection.accept().await {
        let (request, respond) = request?;
        let api = api.clone();
        tokio::spawn(async move { answer(request, respond, &api).await.ok() });
    }
    Ok(())
}

async fn answer(request: Request<RecvStream>, mut respond: SendResponse<Bytes>, api: &Api) -> Result<()> {
    let (head, mut incoming) = request.into_parts();
    let mut body = Vec::new();
    while let Some(data) = incoming.data().await {
        let data = data?;
        incoming.flow_control().release_capacity(data.len())?;
        body.extend_from_slice(&data);
    }
    let at = Instant::now();
    let (kind, status) = ("application/json", StatusCode::OK);
    let begin = |kind, status| Response::builder().status(status).header(CONTENT_TYPE, kind).body(());
    match api.answer(head.method.as_str(), head.uri.path(), &body, at).await? {
        Answer::Events(session) => {
            let mut events = respond.send_response(begin("text/event-stream", status)?, false)?;
            session.run(&mut events).await?;
        }
        Answer::Json(json) => respond.send_response(begin(kind, status)?, false)?.send_data(json.into(), true)?,
        Answer::NotFound => {
            respond.send_response(begin(kind, StatusCode::NOT_FOUND)?, false)?.send_data("{}".into(), true)?;
        }
    }
    Ok(())
}

impl Events for SendStream<Bytes> {
    /// Frames are small, and fit into the window that the client gives at first: its updates come long before it is used up.
    async fn write(&mut self, frames: String) -> Result<()> {
        Ok(self.send_data(frames.into(), false)?)
    }
}
