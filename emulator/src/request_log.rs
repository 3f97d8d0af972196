//! What clients really sent. A request is kept as received and turned into JSON only when somebody asks, so that recording
//! costs next to nothing.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use hyper::{Method, StatusCode, http::request::Parts};
use serde_json::{Map, Value, json};

use crate::{
    clock::{self, Micros},
    query::Query,
};

/// The bodies in the log never take more memory than this; the oldest entries go first.
const MAX_BYTES: usize = 256 << 20;

/// A request as it was received. Copied: what hyper hands out would keep the connection's whole read buffer alive.
pub struct Received {
    operation: Option<&'static str>,
    method: Method,
    /// Path and query.
    target: Box<str>,
    /// `name: value` lines.
    headers: Box<[u8]>,
    body: Box<[u8]>,
    connection: u64,
    /// When the request had arrived whole, by the machine's clock.
    at: Micros,
    state: AtomicU16,
}

/// The values of `state` that are not a status.
const HELD: u16 = 0;
const DONE_WITHOUT_STATUS: u16 = 1;

impl Received {
    fn new(operation: Option<&'static str>, parts: &Parts, body: &[u8], connection: u64) -> Received {
        let mut headers = Vec::with_capacity(512);
        for (name, value) in &parts.headers {
            headers.extend_from_slice(name.as_str().as_bytes());
            headers.push(b':');
            headers.extend_from_slice(value.as_bytes());
            headers.push(b'\n');
        }
        Received {
            operation,
            method: parts.method.clone(),
            target: target(parts).into(),
            headers: headers.into(),
            body: body.into(),
            connection,
            at: clock::system_now(),
            state: AtomicU16::new(HELD),
        }
    }

    fn object(&self) -> Value {
        let state = self.state.load(Ordering::SeqCst);
        let mut headers = Map::new();
        for line in self.headers.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let name = String::from_utf8_lossy(&line[..colon]);
            let value = String::from_utf8_lossy(&line[colon + 1..]);
            let lines = match headers.get(&*name).and_then(Value::as_str) {
                Some(earlier) => format!("{earlier}, {value}"),
                None => value.into_owned(),
            };
            headers.insert(name.into_owned(), lines.into());
        }
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*self.target, None),
        };
        let body = match serde_json::from_slice(&self.body) {
            _ if self.body.is_empty() => Value::Null,
            Ok(value) => value,
            Err(_) => String::from_utf8_lossy(&self.body).into(),
        };
        json!({
            "operation": self.operation,
            "method": self.method.as_str(),
            "target": self.target,
            "path": path,
            "query": Query::parse(query).0,
            "headers": headers,
            "body": body,
            "status": (state > DONE_WITHOUT_STATUS).then_some(state),
            "done": state != HELD,
            "connection": self.connection,
            "at": clock::text_in_millis(self.at),
        })
    }
}

/// Marks a request as done however its handling ends, also when the client goes away meanwhile.
pub struct Handling(Option<Arc<Received>>);

impl Handling {
    /// The reply has been decided on; `None` when the connection ends without one.
    pub fn finish(self, status: Option<StatusCode>) {
        if let (Some(request), Some(status)) = (&self.0, status) {
            request.state.store(status.as_u16(), Ordering::SeqCst);
        }
    }
}

impl Drop for Handling {
    fn drop(&mut self) {
        let Some(request) = &self.0 else {
            return;
        };
        let _ = request.state.compare_exchange(HELD, DONE_WITHOUT_STATUS, Ordering::SeqCst, Ordering::SeqCst);
    }
}

/// The last requests.
pub struct RequestLog {
    limit: usize,
    entries: Mutex<Entries>,
}

#[derive(Default)]
struct Entries {
    requests: VecDeque<Arc<Received>>,
    bytes: usize,
}

impl RequestLog {
    /// Keeps at most `limit` requests.
    pub fn new(limit: usize) -> RequestLog {
        RequestLog { limit, entries: Mutex::default() }
    }

    /// Records a request that is about to be handled.
    pub fn begin(&self, operation: Option<&'static str>, parts: &Parts, body: &[u8], connection: u64) -> Handling {
        if self.limit == 0 {
            return Handling(None);
        }
        let request = Arc::new(Received::new(operation, parts, body, connection));
        let mut entries = self.lock();
        entries.bytes += request.body.len();
        entries.requests.push_back(request.clone());
        while entries.requests.len() > self.limit || entries.bytes > MAX_BYTES {
            match entries.requests.pop_front() {
                Some(oldest) => entries.bytes -= oldest.body.len(),
                None => break,
            }
        }
        Handling(Some(request))
    }

    /// The requests of an operation, or all, oldest first.
    pub fn list(&self, operation: Option<&str>) -> Value {
        let requests: Vec<Arc<Received>> = self.lock().requests.iter().cloned().collect();
        let wanted = |request: &&Arc<Received>| operation.is_none() || request.operation == operation;
        requests.iter().filter(wanted).map(|request| request.object()).collect()
    }

    /// Forgets them; returns how many there were.
    pub fn clear(&self) -> usize {
        std::mem::take(&mut *self.lock()).requests.len()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Path and query, as received.
pub fn target(parts: &Parts) -> &str {
    parts.uri.path_and_query().map_or("", |target| target.as_str())
}
