//! What clients really sent. A request is kept as received and turned into JSON only on request, so that recording
//! costs next to nothing.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU16, Ordering},
    },
};

use hyper::{Method, StatusCode, Version, http::request::Parts};
use indexmap::IndexMap;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};

use crate::{
    http::{query::Query, response::Response},
    model::clock::{self, Micros},
};

/// The bodies in the log never take more memory than this; the oldest entries go first.
const MAX_BYTES: usize = 256 << 20;

/// A request as it was received. Copied: what hyper returns would keep the connection's whole read buffer alive.
pub struct Received {
    operation: Option<&'static str>,
    method: Method,
    version: Version,
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
            version: parts.version,
            target: target(parts).into(),
            headers: headers.into(),
            body: body.into(),
            connection,
            at: clock::system_now(),
            state: AtomicU16::new(HELD),
        }
    }

    fn as_json(&self) -> RequestJson<'_> {
        let state = self.state.load(Ordering::SeqCst);
        let (path, query) = match self.target.split_once('?') {
            Some((path, query)) => (path, Some(query)),
            None => (&*self.target, None),
        };
        RequestJson {
            operation: self.operation,
            method: self.method.as_str(),
            http: if self.version == Version::HTTP_2 { "2" } else { "1.1" },
            target: &self.target,
            path,
            query: Query::parse(query).0,
            headers: self.headers(),
            body: self.body(),
            status: (state > DONE_WITHOUT_STATUS).then_some(state),
            done: state != HELD,
            connection: self.connection,
            at: clock::text_in_millis(self.at),
        }
    }

    fn headers(&self) -> IndexMap<String, String> {
        let mut headers: IndexMap<String, String> = IndexMap::new();
        for line in self.headers.split(|byte| *byte == b'\n') {
            let Some(colon) = line.iter().position(|byte| *byte == b':') else {
                continue;
            };
            let value = String::from_utf8_lossy(&line[colon + 1..]);
            headers
                .entry(String::from_utf8_lossy(&line[..colon]).into_owned())
                .and_modify(|earlier| *earlier = format!("{earlier}, {value}"))
                .or_insert_with(|| value.into_owned());
        }
        headers
    }

    fn body(&self) -> Option<Box<RawValue>> {
        if self.body.is_empty() {
            return None;
        }
        let as_text = || to_raw_value(&String::from_utf8_lossy(&self.body)).ok();
        serde_json::from_slice(&self.body).ok().or_else(as_text)
    }
}

/// A request as the log shows it.
#[derive(Serialize)]
struct RequestJson<'a> {
    operation: Option<&'a str>,
    method: &'a str,
    http: &'static str,
    target: &'a str,
    path: &'a str,
    query: Vec<(String, String)>,
    headers: IndexMap<String, String>,
    /// JSON as it arrived, anything else as a string.
    body: Option<Box<RawValue>>,
    status: Option<u16>,
    done: bool,
    connection: u64,
    at: String,
}

/// Marks a request as done however its handling ends, also when the client disconnects.
pub struct Handling(Option<Arc<Received>>);

impl Handling {
    /// The response has been decided on; `None` when the connection ends without one.
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
    pub fn response(&self, operation: Option<&str>) -> Response {
        #[derive(Serialize)]
        struct List<'a> {
            data: Vec<RequestJson<'a>>,
        }
        let requests: Vec<Arc<Received>> = self.lock().requests.iter().cloned().collect();
        let wanted = |request: &&Arc<Received>| operation.is_none() || request.operation == operation;
        Response::of(&List { data: requests.iter().filter(wanted).map(|request| request.as_json()).collect() })
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
