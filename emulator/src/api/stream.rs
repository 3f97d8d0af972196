//! `sessions.events.stream`: server-sent events, from the moment the stream opens. What was before is in the list.
//!
//! Events are read from the database as fast as the client takes them, so a slow client costs nothing but its socket, and an event
//! is sent once it is committed. Previews are made from the event itself, right before it.

use std::{sync::Arc, time::Duration};

use hyper::{
    body::Bytes,
    header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue},
};
use serde_json::{Value, json};
use tokio::{
    sync::{mpsc, watch},
    time::{Instant, sleep, sleep_until},
};

use crate::{
    App,
    api::{auth::Caller, sessions},
    control::stream_fault::{StreamFault, Then},
    http::{
        body::{BodyReceiver, Piece, Source, StreamBody},
        query::Query,
        response::{ApiError, Response},
    },
    model::{event, session},
};

/// The types of events that have previews.
const PREVIEWS: [&str; 2] = ["agent.message", "agent.thinking"];

/// The length of the fragments of a preview, in characters.
const FRAGMENT: usize = 16;

/// How long the last bytes before a cut may take to be written.
const FLUSH_TIMEOUT: Duration = Duration::from_millis(20);

/// Opens a stream.
pub fn open(app: &Arc<App>, caller: &Caller, session_id: &str, query: &Query) -> Result<Response, ApiError> {
    sessions::reach(app, caller, session_id)?;
    let previews = query.all(&["event_deltas[]", "event_deltas"]);
    if let Some(other) = previews.iter().find(|given| !PREVIEWS.contains(&given.as_str())) {
        return Err(ApiError::invalid(format!("event_deltas: must be of {}, not {other:?}", PREVIEWS.join(", "))));
    }
    // Joined before looking, so that nothing that happens in between is missed.
    let changed = app.streams.join(session_id);
    let last = app.store.read(|connection| event::last(connection, session_id))?;
    session::play(app, session_id)?;
    let stream = EventStream {
        app: app.clone(),
        session_id: session_id.to_owned(),
        last,
        previews,
        changed,
        fault: StreamFault::default(),
        sent: 0,
        bytes_sent: 0,
    };
    let mut response = Response::json("");
    response.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    response.stream = Some(StreamBody(Box::new(stream)));
    Ok(response)
}

struct EventStream {
    app: Arc<App>,
    session_id: String,
    /// The last event that was sent.
    last: i64,
    /// The types of events that are previewed.
    previews: Vec<String>,
    changed: watch::Receiver<()>,
    fault: StreamFault,
    /// How many events were sent.
    sent: u64,
    bytes_sent: usize,
}

/// The client has gone, or a fault ended the stream.
struct Ended;

impl Source for EventStream {
    fn start(mut self: Box<Self>) -> BodyReceiver {
        let (sender, pieces) = BodyReceiver::channel();
        tokio::spawn(async move {
            tokio::select! {
                _ = self.run(&sender) => {}
                () = sender.closed() => {}
            }
        });
        pieces
    }

    fn set_fault(&mut self, fault: StreamFault) {
        self.fault = fault;
    }
}

impl EventStream {
    async fn run(&mut self, client: &mpsc::Sender<Piece>) -> Result<(), Ended> {
        let interval = Duration::from_millis(self.app.config.ping_interval_ms);
        let mut ping = Instant::now() + interval;
        loop {
            self.fail_if_due(client, None).await?;
            self.changed.borrow_and_update();
            let Ok(events) = self.app.store.read(|connection| event::after(connection, &self.session_id, self.last)) else {
                return Err(Ended);
            };
            if events.is_empty() {
                if !self.exists() {
                    return Ok(());
                }
                tokio::select! {
                    changed = self.changed.changed() => changed.map_err(|_| Ended)?,
                    () = self.app.stopped() => return Ok(()),
                    () = sleep_until(ping) => {
                        self.send(client, &frame("ping", r#"{"type":"ping"}"#)).await?;
                        ping = Instant::now() + interval;
                    }
                }
                continue;
            }
            let mut frames = String::new();
            for (seq, kind, object) in events {
                let frame = [self.preview(&kind, &object), frame(&kind, &object)].concat();
                if self.fault == StreamFault::default() {
                    frames.push_str(&frame);
                } else {
                    self.fail_if_due(client, Some(&frame)).await?;
                    self.send(client, &frame).await?;
                }
                (self.last, self.sent) = (seq, self.sent + 1);
            }
            if !frames.is_empty() {
                self.send(client, &frames).await?;
            }
            ping = Instant::now() + interval;
        }
    }

    /// Returns whether the session is still there: a reset forgets it.
    fn exists(&self) -> bool {
        self.app.store.read(|connection| session::Session::find(connection, &self.session_id)).is_ok()
    }

    /// Lets the fault happen once it is due; a cut needs a frame to cut.
    async fn fail_if_due(&mut self, client: &mpsc::Sender<Piece>, next: Option<&str>) -> Result<(), Ended> {
        match (self.fault.due(self.sent), next) {
            (None, _) | (Some(Then::Cut), None) => return Ok(()),
            (Some(Then::End), _) => {}
            (Some(Then::Silence), _) => self.app.stopped().await,
            (Some(Then::Error), _) => {
                let error = json!({
                    "type": "error",
                    "error": {"type": "overloaded_error", "message": "This error was requested (POST /_emulator/faults)."},
                });
                self.send(client, &frame("error", &error.to_string())).await?;
            }
            (Some(Then::Cut), Some(next)) => {
                self.send(client, next.get(..next.len() / 2).unwrap_or("event: ")).await?;
                return cut(client).await;
            }
        }
        Err(Ended)
    }

    async fn send(&mut self, client: &mpsc::Sender<Piece>, text: &str) -> Result<(), Ended> {
        let mut bytes = Bytes::copy_from_slice(text.as_bytes());
        let left = self.fault.cut.map(|limit| limit.saturating_sub(self.bytes_sent));
        let is_cut = left.is_some_and(|left| left <= bytes.len());
        bytes.truncate(left.unwrap_or(usize::MAX));
        self.bytes_sent += bytes.len();
        for piece in self.fault.split(bytes) {
            client.send(Piece::Bytes(piece)).await.map_err(|_| Ended)?;
        }
        if is_cut { cut(client).await } else { Ok(()) }
    }

    /// Returns the frames that preview an event, if the client asked for them.
    fn preview(&self, kind: &str, object: &str) -> String {
        if !self.previews.iter().any(|wanted| wanted == kind) {
            return String::new();
        }
        let event: Value = serde_json::from_str(object).unwrap_or_default();
        let start = json!({"type": "event_start", "event": {"type": kind, "id": event["id"]}});
        let mut frames = frame("event_start", &start.to_string());
        for (index, block) in event["content"].as_array().into_iter().flatten().enumerate() {
            let text: Vec<char> = block["text"].as_str().unwrap_or_default().chars().collect();
            for fragment in text.chunks(FRAGMENT) {
                let fragment: String = fragment.iter().collect();
                let content = json!({"type": "text", "text": fragment});
                let delta = json!({"type": "content_delta", "index": index, "content": content});
                let delta = json!({"type": "event_delta", "event_id": event["id"], "delta": delta});
                frames.push_str(&frame("event_delta", &delta.to_string()));
            }
        }
        frames
    }
}

/// Ends the connection, once the last bytes are written.
async fn cut(client: &mpsc::Sender<Piece>) -> Result<(), Ended> {
    sleep(FLUSH_TIMEOUT).await;
    let _ = client.send(Piece::Cut).await;
    Err(Ended)
}

fn frame(name: &str, data: &str) -> String {
    format!("event: {name}\ndata: {data}\n\n")
}
