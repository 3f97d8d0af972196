//! HTTP/2: a task a stream, and the frames that end streams and connections.

use std::{
    future::{pending, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
    time::Duration,
};

use h2::{
    Reason, RecvStream,
    server::{self, SendResponse},
};
use http_body::{Body, Frame};
use hyper::{
    Request,
    body::Bytes,
    header::{CONNECTION, CONTENT_LENGTH, HeaderName, TRANSFER_ENCODING, UPGRADE},
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    task::JoinSet,
    time::{Instant, sleep_until},
};

use super::frames::{Frames, Inserted, goaway};
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

/// How much a client may send before it hears from us.
const WINDOW: u32 = 1 << 20;

/// How long a connection is kept after GOAWAY and the end of its last stream; the client is to close it.
const GOAWAY_GRACE: Duration = Duration::from_secs(1);

/// How long the last bytes may take to be written before a connection is closed.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(20);

/// Serves a connection; how it is to end.
pub async fn serve<IO: AsyncRead + AsyncWrite + Unpin>(app: &Arc<App>, connection: &Arc<Connection>, io: IO) -> Ending {
    let inserted = Inserted::default();
    let handshake = server::Builder::new()
        .initial_window_size(WINDOW)
        .initial_connection_window_size(WINDOW)
        .max_concurrent_streams(app.max_streams())
        .handshake::<_, Bytes>(Frames::new(io, inserted.clone()));
    let Ok(mut http) = handshake.await else {
        return Ending::Close;
    };
    let mut streams = JoinSet::new();
    // The numbers of the newest stream, and of the one before.
    let (mut newest, mut previous) = (0, 0);
    let mut is_stopping = false;
    // After a GOAWAY: its last stream, when the connection ends, and the streams that it leaves without an answer.
    let (mut last, mut end, mut unanswered) = (u32::MAX, None, Vec::new());
    loop {
        tokio::select! {
            accepted = http.accept() => match accepted {
                Some(Ok((_, respond))) if respond.stream_id().as_u32() > last => unanswered.push(respond),
                Some(Ok((request, respond))) => {
                    (previous, newest) = (newest, respond.stream_id().as_u32());
                    streams.spawn(serve_stream(app.clone(), connection.clone(), request, respond));
                }
                _ => return Ending::Close,
            },
            Some(answered) = streams.join_next() => {
                if let Ok(Some(Last { mut respond, goes_away, is_processed, closes })) = answered {
                    let stream = respond.stream_id().as_u32();
                    last = if !is_processed && stream == newest { previous } else { newest };
                    if goes_away {
                        inserted.push(&goaway(last));
                    }
                    if !is_processed && stream < last {
                        // Later streams have been served, so the frame cannot say that this one was not.
                        respond.send_reset(Reason::REFUSED_STREAM);
                    } else {
                        unanswered.push(respond);
                    }
                    end = closes.then(|| Instant::now() + FLUSH_TIMEOUT);
                }
                if last != u32::MAX && streams.is_empty() {
                    end = end.or_else(|| Some(Instant::now() + GOAWAY_GRACE));
                }
            }
            (bytes, ending) = connection.end_wanted() => {
                if bytes.is_empty() {
                    return ending;
                }
                inserted.push(&bytes);
                end = Some(Instant::now() + FLUSH_TIMEOUT);
            }
            () = sleep_until(end.unwrap_or_else(Instant::now)), if end.is_some() => return Ending::Close,
            () = app.stopped(), if !is_stopping => {
                is_stopping = true;
                // A second GOAWAY must not take back what the first one said.
                if last == u32::MAX {
                    http.graceful_shutdown();
                }
            }
        }
    }
}

/// A stream after which its connection takes no more.
struct Last {
    respond: SendResponse<Bytes>,
    goes_away: bool,
    is_processed: bool,
    closes: bool,
}

async fn serve_stream(
    app: Arc<App>,
    connection: Arc<Connection>,
    request: Request<RecvStream>,
    mut respond: SendResponse<Bytes>,
) -> Option<Last> {
    let (parts, body) = request.into_parts();
    let outcome = tokio::select! {
        outcome = handler::serve(&app, &connection, parts, Incoming(body)) => outcome?,
        // The client gave it up.
        _ = poll_fn(|context| respond.poll_reset(context)) => return None,
    };
    match outcome {
        Outcome::Response(mut response) => match response.stream.take() {
            // It fails when the client has had enough.
            Some(StreamBody(source)) => drop(stream(&mut respond, response, source.start()).await),
            None => send(&mut respond, response, usize::MAX),
        },
        Outcome::LastResponse { response, limit } => {
            send(&mut respond, response, limit);
            return Some(Last { respond, goes_away: false, is_processed: true, closes: true });
        }
        Outcome::ResetStream(reason) => respond.send_reset(reason),
        Outcome::GoAway { response, is_processed, closes } => {
            if let Some(response) = response {
                send(&mut respond, response, usize::MAX);
            }
            return Some(Last { respond, goes_away: true, is_processed, closes });
        }
        Outcome::End { bytes, ending } => {
            connection.end(bytes.to_vec(), ending);
            pending().await
        }
    }
    None
}

/// Makes the head of a response, as HTTP/2 has it.
fn head(mut response: Response) -> hyper::Response<()> {
    // What HTTP/2 does not have.
    let names = [CONNECTION, TRANSFER_ENCODING, UPGRADE];
    for name in names.into_iter().chain(["keep-alive", "proxy-connection"].map(HeaderName::from_static)) {
        response.headers.remove(name);
    }
    let mut head = hyper::Response::new(());
    *head.status_mut() = response.status;
    *head.headers_mut() = response.headers;
    head
}

/// Sends a response with at most `limit` bytes of its body. A client that has gone is ignored.
fn send(respond: &mut SendResponse<Bytes>, mut response: Response, limit: usize) {
    if response.needs_length() {
        response.headers.insert(CONTENT_LENGTH, response.body.len().into());
    }
    let body = response.body.clone();
    if let Ok(mut stream) = respond.send_response(head(response), body.is_empty())
        && !body.is_empty()
    {
        let _ = stream.send_data(body.slice(..limit.min(body.len())), limit >= body.len());
    }
}

/// Sends a response whose body is made meanwhile, no faster than the client reads.
async fn stream(respond: &mut SendResponse<Bytes>, response: Response, mut pieces: BodyReceiver) -> Result<(), h2::Error> {
    let mut stream = respond.send_response(head(response), false)?;
    loop {
        let piece = tokio::select! {
            piece = pieces.next() => piece,
            reset = poll_fn(|context| stream.poll_reset(context)) => return reset.map(drop),
        };
        match piece {
            Some(Piece::Bytes(mut bytes)) => {
                while !bytes.is_empty() {
                    stream.reserve_capacity(bytes.len());
                    let window = match stream.capacity() {
                        0 => poll_fn(|context| stream.poll_capacity(context)).await.unwrap_or(Err(Reason::CANCEL.into()))?,
                        window => window,
                    };
                    stream.send_data(bytes.split_to(window.min(bytes.len())), false)?;
                }
            }
            Some(Piece::Cut) => {
                stream.send_reset(Reason::INTERNAL_ERROR);
                return Ok(());
            }
            None => return stream.send_data(Bytes::new(), true),
        }
    }
}

/// A request's body.
struct Incoming(RecvStream);

impl Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        let data = ready!(self.0.poll_data(context)).transpose()?;
        if let Some(data) = &data {
            // Taken: as much more may come.
            let _ = self.0.flow_control().release_capacity(data.len());
        }
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_end_stream()
    }
}
