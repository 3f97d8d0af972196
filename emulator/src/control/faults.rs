//! Faults on demand: what is to go wrong with the next requests of an operation.

use std::{
    collections::VecDeque,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use h2::Reason;
use hyper::{
    StatusCode,
    header::{CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING},
};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value, value::RawValue};

use crate::{
    api::route::OPERATIONS,
    control::{latency::Latency, stream_fault::StreamFault},
    http::{
        body::StreamBody,
        connection::Ending,
        response::{ApiError, Response},
    },
    model::json::{self, Object},
};

/// The operation whose body is a stream.
const STREAM: &str = "sessions.events.stream";

const GARBAGE: &[u8] = b"\x16\x03\x01 this is not HTTP \xff\xfe\r\n\r\n";

/// Whether a request is processed before the fault happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum When {
    /// The request is not processed, unless the fault shows its real response.
    #[default]
    Before,
    /// The request is processed; then its response is replaced, lost or late.
    After,
}

/// One fault, as posted to `/_emulator/faults`.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    #[serde(default = "any_operation")]
    operation: String,
    #[serde(default = "once")]
    count: u64,
    #[serde(default)]
    when: When,
    #[serde(default = "certain", skip_serializing_if = "is_certain")]
    probability: f64,
    #[serde(default, skip_serializing_if = "is_default")]
    hold: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    latency_ms: Latency,
    #[serde(default, skip_serializing_if = "is_default")]
    detached: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    status: Option<u16>,
    #[serde(default, skip_serializing_if = "is_default")]
    headers: Map<String, Value>,
    /// `None` is absent; `null` is the JSON text `null`.
    #[serde(default, deserialize_with = "given", skip_serializing_if = "Option::is_none")]
    body: Option<Box<RawValue>>,
    #[serde(default, skip_serializing_if = "is_default")]
    drop: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    reset: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    cut: Option<usize>,
    #[serde(default, skip_serializing_if = "is_default")]
    garbage: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    close_after: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    silent: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    reset_stream: Option<ErrorCode>,
    #[serde(default, skip_serializing_if = "is_default")]
    goaway: bool,
    #[serde(default, skip_serializing_if = "is_default")]
    stream: Option<StreamFault>,
}

/// The names of HTTP/2's error codes (RFC 9113, section 7), in their order from 0.
const ERROR_CODES: [&str; 14] = [
    "NO_ERROR",
    "PROTOCOL_ERROR",
    "INTERNAL_ERROR",
    "FLOW_CONTROL_ERROR",
    "SETTINGS_TIMEOUT",
    "STREAM_CLOSED",
    "FRAME_SIZE_ERROR",
    "REFUSED_STREAM",
    "CANCEL",
    "COMPRESSION_ERROR",
    "CONNECT_ERROR",
    "ENHANCE_YOUR_CALM",
    "INADEQUATE_SECURITY",
    "HTTP_1_1_REQUIRED",
];

/// One of `ERROR_CODES`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(try_from = "String", into = "&'static str")]
struct ErrorCode(usize);

impl TryFrom<String> for ErrorCode {
    type Error = String;

    fn try_from(name: String) -> Result<ErrorCode, String> {
        let code = ERROR_CODES.iter().position(|known| *known == name);
        code.map(ErrorCode).ok_or_else(|| format!("reset_stream: must be one of {}", ERROR_CODES.join(", ")))
    }
}

impl From<ErrorCode> for &'static str {
    fn from(code: ErrorCode) -> &'static str {
        ERROR_CODES[code.0]
    }
}

/// What is sent.
#[derive(Debug)]
pub enum Outcome {
    /// A response that is well-formed.
    Response(Response),
    /// A response that is sent verbatim, even if its framing is wrong, and then the end of the connection.
    LastResponse {
        /// The response.
        response: Response,
        /// How much of its body is sent.
        limit: usize,
    },
    /// These bytes as they are, and then the end of the connection.
    End {
        /// What is written.
        bytes: &'static [u8],
        /// How the connection ends.
        ending: Ending,
    },
    /// The end of an HTTP/2 stream.
    ResetStream(Reason),
    /// The connection takes no more requests, and ends when those under way are done.
    GoAway {
        /// The response, if one is sent.
        response: Option<Response>,
        /// Whether the request was processed.
        is_processed: bool,
        /// Whether the connection ends immediately.
        closes: bool,
    },
}

impl Outcome {
    /// The status, if one is sent.
    pub fn status(&self) -> Option<StatusCode> {
        match self {
            Outcome::Response(response) | Outcome::LastResponse { response, .. } => Some(response.status),
            Outcome::End { .. } | Outcome::ResetStream(_) => None,
            Outcome::GoAway { response, .. } => response.as_ref().map(|response| response.status),
        }
    }
}

impl Fault {
    /// Reads and checks a fault.
    pub fn parse(json: &RawValue) -> Result<Fault, ApiError> {
        let fault: Fault =
            serde_json::from_str(json.get()).map_err(|error| ApiError::invalid(format!("not a fault: {error}")))?;
        fault.check().map_err(ApiError::invalid)?;
        Ok(fault)
    }

    fn check(&self) -> Result<(), String> {
        let known = self.operation == "*" || OPERATIONS.iter().any(|row| row.name == self.operation);
        if !known {
            let names: Vec<&str> = OPERATIONS.iter().map(|row| row.name).collect();
            return Err(format!("operation: must be \"*\" or one of {}", names.join(", ")));
        }
        if self.count == 0 {
            return Err("count: must be at least 1".to_owned());
        }
        if !(self.probability > 0.0 && self.probability <= 1.0) {
            return Err("probability: must be more than 0 and at most 1".to_owned());
        }
        if self.status.is_some_and(|status| !(200..=999).contains(&status)) {
            return Err("status: must be from 200 to 999".to_owned());
        }
        for (name, value) in &self.headers {
            header(name, value)?;
        }
        if let Some(stream) = &self.stream {
            stream.check()?;
            if self.operation != STREAM {
                return Err(format!("stream: only {STREAM} is streamed"));
            }
            if self.canned_status().is_some() {
                return Err("stream: not with status and body, which replace the stream".to_owned());
            }
        }
        let connection_faults = [
            // With `goaway` it means that the connection ends immediately.
            self.drop && !self.goaway,
            self.reset,
            self.garbage,
            self.cut.is_some(),
            self.close_after,
            self.silent,
            self.reset_stream.is_some(),
            self.goaway,
            self.stream.is_some(),
        ];
        match connection_faults.iter().filter(|set| **set).count() {
            0 if self.does_nothing() => Err(
                "the fault does nothing: give hold, latency_ms, detached, status, headers, body, drop, reset, cut, garbage, close_after, \
                 silent, reset_stream, goaway or stream"
                    .to_owned(),
            ),
            0 | 1 => Ok(()),
            _ => Err("only one of drop, reset, cut, garbage, close_after, silent, reset_stream, goaway and stream can happen (drop with goaway as well)".to_owned()),
        }
    }

    /// Whether the connection is all that could make it a fault.
    fn does_nothing(&self) -> bool {
        !self.hold && self.latency_ms.is_zero() && !self.detached && self.canned_status().is_none() && self.headers.is_empty()
    }

    /// Returns whether the request waits at this point until it is released.
    pub fn holds(&self, now: When) -> bool {
        self.when == now && self.hold
    }

    /// How long to wait at this point.
    pub fn latency(&self, now: When) -> Option<Duration> {
        (self.when == now && !self.latency_ms.is_zero()).then(|| self.latency_ms.draw())
    }

    /// Whether the request is processed to its end even when its client goes away.
    pub fn is_detached(&self) -> bool {
        self.detached
    }

    /// Whether the request is processed at all.
    pub fn processes(&self) -> bool {
        let responds = !(self.drop || self.reset || self.garbage || self.silent || self.reset_stream.is_some() || self.goaway);
        self.when == When::After || (responds && self.canned_status().is_none())
    }

    /// What is sent. `real` is the response of a request that was processed.
    pub fn outcome(&self, real: Option<Response>, request_id: &str) -> Outcome {
        let lost = |bytes, ending| Outcome::End { bytes, ending };
        if self.goaway {
            let is_processed = self.when == When::After;
            let response = (is_processed && !self.drop).then(|| self.response(real, request_id));
            return Outcome::GoAway { response, is_processed, closes: self.drop };
        }
        if let Some(ErrorCode(code)) = self.reset_stream {
            return Outcome::ResetStream(Reason::from(code as u32));
        }
        if self.silent {
            return lost(b"", Ending::Silence);
        }
        if self.drop {
            return lost(b"", Ending::Close);
        }
        if self.reset {
            return lost(b"", Ending::Reset);
        }
        if self.garbage {
            return lost(GARBAGE, Ending::Close);
        }
        let mut response = self.response(real, request_id);
        if let Some(StreamBody(source)) = &mut response.stream {
            source.set_fault(StreamFault { cut: self.cut, ..self.stream.unwrap_or_default() });
            return Outcome::Response(response);
        }
        let own_framing = self
            .headers
            .keys()
            .any(|name| [CONTENT_LENGTH, TRANSFER_ENCODING].iter().any(|framing| name.eq_ignore_ascii_case(framing.as_str())));
        if self.cut.is_none() && !self.close_after && !own_framing {
            return Outcome::Response(response);
        }
        Outcome::LastResponse { response, limit: self.cut.unwrap_or(usize::MAX) }
    }

    /// Makes the response, real or canned, with the headers of the fault.
    fn response(&self, real: Option<Response>, request_id: &str) -> Response {
        let mut response = match (self.canned_status(), real) {
            (None, Some(real)) => real,
            (status, _) => self.canned(status.unwrap_or(StatusCode::OK), request_id),
        };
        for (name, value) in &self.headers {
            match header(name, value) {
                Ok((name, Some(value))) => drop(response.headers.insert(name, value)),
                Ok((name, None)) => drop(response.headers.remove(name)),
                // Checked when the fault was posted.
                Err(_) => {}
            }
        }
        response
    }

    fn canned_status(&self) -> Option<StatusCode> {
        match self.status {
            Some(status) => StatusCode::from_u16(status).ok(),
            None => self.body.as_ref().map(|_| StatusCode::OK),
        }
    }

    fn canned(&self, status: StatusCode, request_id: &str) -> Response {
        if status == StatusCode::NO_CONTENT || status == StatusCode::NOT_MODIFIED {
            let mut response = Response::with_status(status, "").identified(request_id);
            response.headers.remove(CONTENT_TYPE);
            return response;
        }
        let own_id = self.body.as_deref().and_then(Object::from_raw).and_then(|body| body.string("request_id"));
        let response = match self.body.as_deref() {
            None if status.is_client_error() || status.is_server_error() => {
                ApiError::new(status, "This error was requested (POST /_emulator/faults).").response(request_id)
            }
            None => Response::with_status(status, ""),
            Some(body) => Response::with_status(status, json::string(body).unwrap_or_else(|| body.get().to_owned())),
        };
        response.identified(own_id.as_deref().unwrap_or(request_id))
    }
}

/// A header to set, or with `null` to leave out.
fn header(name: &str, value: &Value) -> Result<(HeaderName, Option<HeaderValue>), String> {
    let parsed = HeaderName::try_from(name).map_err(|_| format!("headers: {name:?} is not a header name"))?;
    let text = match value {
        Value::Null => return Ok((parsed, None)),
        Value::String(text) => text.clone(),
        Value::Number(number) => number.to_string(),
        _ => return Err(format!("headers: the value of {name:?} must be a string, a number or null")),
    };
    match HeaderValue::try_from(text) {
        Ok(value) => Ok((parsed, Some(value))),
        Err(_) => Err(format!("headers: the value of {name:?} is not allowed in a header")),
    }
}

/// The faults that are still to happen, in the order they were posted.
#[derive(Default)]
pub struct Faults(Mutex<VecDeque<Fault>>);

impl Faults {
    /// Takes the first fault that fits a request and meets it; `None` is a request to no operation.
    pub fn take(&self, operation: Option<&str>) -> Option<Fault> {
        self.take_by(operation, fastrand::f64)
    }

    /// `chance` gives a number from 0 up to, but not including, 1.
    fn take_by(&self, operation: Option<&str>, mut chance: impl FnMut() -> f64) -> Option<Fault> {
        let mut faults = self.lock();
        let fits = |fault: &Fault| fault.operation == "*" || Some(fault.operation.as_str()) == operation;
        let position = faults.iter().position(|fault| fits(fault) && chance() < fault.probability)?;
        if faults[position].count > 1 {
            faults[position].count -= 1;
            return Some(faults[position].clone());
        }
        faults.remove(position)
    }

    /// Adds faults at the end.
    pub fn append(&self, more: Vec<Fault>) {
        self.lock().extend(more);
    }

    /// What is left.
    pub fn list(&self) -> Vec<Fault> {
        self.lock().iter().cloned().collect()
    }

    /// Forgets them; returns how many there were.
    pub fn clear(&self) -> usize {
        std::mem::take(&mut *self.lock()).len()
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Fault>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn any_operation() -> String {
    "*".to_owned()
}

fn once() -> u64 {
    1
}

fn certain() -> f64 {
    1.0
}

fn is_certain(probability: &f64) -> bool {
    *probability == certain()
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(json: &str) -> Result<Fault, String> {
        Fault::parse(&RawValue::from_string(json.to_owned()).unwrap()).map_err(|error| format!("{error:?}"))
    }

    fn faults(json: &[&str]) -> Faults {
        let faults = Faults::default();
        faults.append(json.iter().map(|json| fault(json).unwrap()).collect());
        faults
    }

    #[test]
    fn a_request_that_escapes_a_fault_may_meet_the_next_one() {
        let faults = faults(&[
            r#"{"status": 501, "probability": 0.25, "count": 2}"#,
            r#"{"operation": "work.ack", "status": 502}"#,
            r#"{"status": 503, "probability": 0.75}"#,
        ]);
        let met = |chances: &[f64]| {
            let mut chances = chances.iter();
            let fault = faults.take_by(Some("work.poll"), || *chances.next().unwrap());
            assert_eq!(chances.next(), None, "one throw for each fault that fits");
            fault.and_then(|fault| fault.status)
        };
        assert_eq!(met(&[0.9, 0.9]), None);
        assert_eq!(met(&[0.25, 0.75]), None);
        assert_eq!(met(&[0.0]), Some(501));
        assert_eq!(met(&[0.3, 0.7]), Some(503));
        assert_eq!(met(&[0.9]), None);
        assert_eq!(met(&[0.24]), Some(501));
        assert_eq!(met(&[]), None, "only those that were met are counted");
        assert_eq!(faults.list().len(), 1);
    }

    #[test]
    fn a_probability_is_more_than_0_and_at_most_1() {
        for valid in ["1e-9", "0.5", "1", "1.0"] {
            fault(&format!(r#"{{"status": 500, "probability": {valid}}}"#)).unwrap();
        }
        for bad in ["0", "-0.0", "-1", "1.0001", "50", "null", "\"1\""] {
            let refusal = fault(&format!(r#"{{"status": 500, "probability": {bad}}}"#)).unwrap_err();
            assert!(refusal.contains("probability: must be more than 0") || refusal.contains("f64"), "{bad}: {refusal}");
        }
    }

    #[test]
    fn a_latency_is_a_number_or_a_range() {
        for (given, min, max, shown) in
            [("5", 5, 5, "5"), ("[0,7]", 0, 7, "[0,7]"), ("[3600000, 3600000]", 3_600_000, 3_600_000, "3600000")]
        {
            let fault = fault(&format!(r#"{{"latency_ms": {given}}}"#)).unwrap();
            assert_eq!(fault.latency_ms, Latency { min, max });
            assert!(json::text(&fault).contains(&format!(r#""latency_ms":{shown}"#)), "{}", json::text(&fault));
        }
        for bad in ["-1", "3600001", "1.5", "[]", "[1]", "[1,2,3]", "[2,1]", "[1,3600001]", "[1,\"2\"]", "\"1\"", "null", "{}"] {
            let refusal = fault(&format!(r#"{{"latency_ms": {bad}}}"#)).unwrap_err();
            assert!(refusal.contains("latency_ms: must be"), "{bad}: {refusal}");
        }
        assert!(fault(r#"{"latency_ms": [0, 0]}"#).unwrap_err().contains("does nothing"));
    }
}
