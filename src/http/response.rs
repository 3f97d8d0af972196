//! Turning an HTTP response into JSON or an error. Pure: the response has been read already.

use crate::error::{ApiErrorBody, Error, Result, Status};
use crate::http::request::Request;
use crate::http::retry;
use crate::http::transport::StreamedBody;
use crate::json::{self, Object};
use http::header::{AsHeaderName, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, LOCATION};
use serde::de::IgnoredAny;
use serde_json::json;
use serde_json::value::{RawValue, to_raw_value};
use std::collections::BTreeMap;
use std::time::SystemTime;

/// The maximum length in bytes of a body in an error object.
pub const MAX_ERROR_BODY: usize = 1 << 20;

/// An HTTP response, its body read unless it is streamed.
#[derive(Debug, Default)]
pub struct Response {
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body, as far as it was received.
    pub body: Vec<u8>,
    /// The body of a stream or download, which has yet to be received.
    pub streamed: Option<Box<StreamedBody>>,
}

impl Response {
    /// Returns whether the server reports success.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// Makes an error for a success whose body is invalid or incomplete.
    pub fn error(&self, status: Status, problem: impl Into<String>) -> Error {
        Error::new(status, problem).with_response(self.status, self.request_id(), self.named_headers())
    }

    /// Returns the content type, if the server sent one.
    pub fn content_type(&self) -> Option<&str> {
        self.header(CONTENT_TYPE)
    }

    /// Rejects a body that is compressed: no request asks for that.
    pub fn check_encoding(&self) -> Result<()> {
        match self.header(CONTENT_ENCODING).filter(|encoding| !encoding.trim().eq_ignore_ascii_case("identity")) {
            None => Ok(()),
            Some(encoding) => {
                let problem = format!(
                    "the response is compressed (`content-encoding: {encoding}`), which the request did not ask for: \
                     let the gateway or proxy in between pass responses on unchanged"
                );
                Err(self.error(Status::Response, problem))
            }
        }
    }

    fn request_id(&self) -> Option<&str> {
        self.header("request-id")
    }

    fn header(&self, name: impl AsHeaderName) -> Option<&str> {
        self.headers.get(name).and_then(|value| value.to_str().ok())
    }

    /// Returns the headers by name, in lower case. The values of repeated headers are joined with commas.
    fn named_headers(&self) -> BTreeMap<String, String> {
        let mut named: BTreeMap<String, String> = BTreeMap::new();
        for (name, value) in &self.headers {
            let joined = named.entry(name.as_str().to_owned()).and_modify(|all| all.push_str(", ")).or_default();
            joined.push_str(&String::from_utf8_lossy(value.as_bytes()));
        }
        named
    }

    /// Returns the result of the call: the server's JSON verbatim, or an error. A date in `retry-after` is compared with `now`.
    pub fn into_result(mut self, request: &Request, attempts: u32, now: SystemTime) -> Result<String> {
        if !self.is_success() {
            let wait = retry::requested_delay(&self.headers, now);
            let body = String::from_utf8_lossy(&std::mem::take(&mut self.body)).into_owned();
            return Err(self.error_with_body(body).with_attempts(attempts).with_retry_after(wait));
        }
        self.check_encoding().map_err(|error| error.with_attempts(attempts))?;
        let body = std::mem::take(&mut self.body);
        match read_json(body, request.allows_empty_body) {
            Ok(json) if request.with_response => self.wrap(&json, attempts),
            Ok(json) => Ok(json),
            Err((problem, body)) => Err(self.error(Status::Response, problem).with_body(body).with_attempts(attempts)),
        }
    }

    /// Makes the error that the server reports in this body.
    pub fn error_with_body(&self, text: String) -> Error {
        let (mut error_body, body_request_id) = read_error(text);
        if let (300..400, Some(location)) = (self.status, self.header(LOCATION)) {
            let redirect = || format!("the server redirects to {location}, which is not followed: check `base_url`");
            error_body.message.get_or_insert_with(redirect);
        }
        let request_id = self.request_id().map(str::to_owned).or(body_request_id);
        Error::http(self.status, error_body).with_response(self.status, request_id.as_deref(), self.named_headers())
    }

    /// Returns the response's status, headers and request id as a JSON object.
    pub fn head(&self, attempts: u32) -> String {
        json!({"http_status": self.status, "request_id": self.request_id(), "headers": self.named_headers(), "attempts": attempts})
            .to_string()
    }

    /// Wraps the result with the response's status, headers and request id.
    fn wrap(&self, json: &str, attempts: u32) -> Result<String> {
        let request_id = serde_json::Value::from(self.request_id());
        let headers = serde_json::to_string(&self.named_headers()).unwrap_or_default();
        let status = self.status;
        let rest = format!(r#","http_status":{status},"request_id":{request_id},"headers":{headers},"attempts":{attempts}}}"#);
        json::concatenate(&[r#"{"data":"#, json.trim(), &rest])
    }
}

/// Reads the body of a success: JSON in UTF-8, or nothing if that is allowed. Returns the problem and the body for the error object
/// otherwise.
fn read_json(body: Vec<u8>, allows_empty_body: bool) -> Result<String, (String, Option<Box<RawValue>>)> {
    if body.is_empty() {
        return if allows_empty_body {
            Ok("null".to_owned())
        } else {
            Err(("the server reported success but sent no content".to_owned(), None))
        };
    }
    let text = String::from_utf8(body).map_err(|_| ("the server's response is not UTF-8".to_owned(), None))?;
    match serde_json::from_str::<IgnoredAny>(&text) {
        Ok(_) => Ok(text),
        Err(e) => {
            let mut shown = text;
            let max = (0..=MAX_ERROR_BODY).rev().find(|at| shown.is_char_boundary(*at)).unwrap_or_default();
            shown.truncate(max);
            Err((format!("the server reported success but its response is not valid JSON: {e}"), as_json(shown)))
        }
    }
}

/// Reads an error's body, as far as it has the API's form, and the request id in it.
fn read_error(text: String) -> (ApiErrorBody, Option<String>) {
    let mut error_body = ApiErrorBody::default();
    let mut request_id = None;
    if let Ok(mut body) = Object::parse(&text, "body", Status::Response) {
        request_id = body.take("request_id").and_then(|id| id.string().ok());
        if let Some(mut error) = body.take("error").and_then(|error| error.object().ok()) {
            let mut string = |name| error.take(name).and_then(|value| value.string().ok());
            error_body.message = string("message");
            error_body.kind = string("type");
            if let Some(details) = error.take("details") {
                error_body.error_code =
                    details.object().ok().and_then(|mut details| details.take("error_code")).and_then(|code| code.string().ok());
                error_body.details = RawValue::from_string(details.raw().to_owned()).ok();
            }
        }
    }
    error_body.body = as_json(text);
    (error_body, request_id)
}

/// Returns a body for an error object: JSON verbatim, other text as a string, `None` for an empty body.
fn as_json(text: String) -> Option<Box<RawValue>> {
    if text.is_empty() {
        return None;
    }
    let is_json = serde_json::from_str::<IgnoredAny>(&text).is_ok();
    if is_json { RawValue::from_string(text).ok() } else { to_raw_value(&text).ok() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations::{ENVIRONMENTS_RETRIEVE, WORK_POLL, WORK_STOP};
    use crate::config;
    use http::header::{HeaderName, HeaderValue};

    fn response(status: u16, body: &[u8]) -> Response {
        let headers = [("request-id", "req_1"), ("x-twice", "a"), ("x-twice", "b")];
        let headers = headers.map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value)));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(name, value);
        }
        Response { status, headers: map, body: body.to_vec(), streamed: None }
    }

    fn take(operation: &'static crate::api::operations::Operation, params: &str, status: u16, body: &[u8]) -> Result<String> {
        let defaults = config::read(r#"{"api_key":"k"}"#, &|_| None).unwrap().1;
        let ids: Vec<_> =
            [("environment_id", "e"), ("work_id", "w")].into_iter().filter(|(id, _)| operation.path.contains(id)).collect();
        let request = crate::http::request::operation(operation, &ids, Some(params), &defaults).unwrap();
        response(status, body).into_result(&request, 2, SystemTime::now())
    }

    #[test]
    fn a_success_is_passed_on_verbatim() {
        let odd = "{\"b\":1.00e2,\"a\":[ 18446744073709551616 ],\"new\":\"\\u0000\"}";
        assert_eq!(take(&ENVIRONMENTS_RETRIEVE, "{}", 200, odd.as_bytes()).unwrap(), odd);
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        assert_eq!(take(&ENVIRONMENTS_RETRIEVE, "{}", 200, deep.as_bytes()).unwrap(), deep);
    }

    #[test]
    fn an_empty_body_is_allowed_only_for_a_poll_and_a_stop() {
        for operation in [&WORK_POLL, &WORK_STOP] {
            assert_eq!(take(operation, "{}", 204, b"").unwrap(), "null");
        }
        assert_eq!(take(&ENVIRONMENTS_RETRIEVE, "{}", 200, b"null").unwrap(), "null");
        assert_eq!(take(&ENVIRONMENTS_RETRIEVE, "{}", 204, b"").unwrap_err().status(), Status::Response);
    }

    #[test]
    fn a_success_that_is_not_json_is_an_error_that_shows_it() {
        for body in [&b"<html></html>"[..], b"{\"id\":\"env_1\"", b"{} x", b"\xff", b"\"\n\""] {
            let error = take(&ENVIRONMENTS_RETRIEVE, "{}", 200, body).unwrap_err();
            let json: serde_json::Value = serde_json::from_str(&error.to_json()).unwrap();
            assert_eq!(
                (json["status"].as_str(), json["http_status"].as_u64(), json["attempts"].as_u64()),
                (Some("response"), Some(200), Some(2))
            );
            assert_eq!(json["request_id"], "req_1");
        }
    }

    #[test]
    fn an_error_body_of_any_form_makes_an_error() {
        let full =
            r#"{"type":"error","error":{"type":"t","message":"m","details":{"error_code":"c", "n":1.0}},"request_id":"other"}"#;
        for (body, message, kind, code) in [
            (full, "m", Some("t"), Some("c")),
            (r#"{"error":{"message":"m","details":["x"]}}"#, "m", None, None),
            (
                r#"{"error":{"message":7,"type":null,"details":{"error_code":7}}}"#,
                "the server responded with HTTP 409",
                None,
                None,
            ),
            (r#"{"error":"s"}"#, "the server responded with HTTP 409", None, None),
            ("[1]", "the server responded with HTTP 409", None, None),
            ("<html>", "the server responded with HTTP 409", None, None),
            ("", "the server responded with HTTP 409", None, None),
        ] {
            let error = take(&ENVIRONMENTS_RETRIEVE, "{}", 409, body.as_bytes()).unwrap_err();
            assert_eq!((error.status(), error.message()), (Status::Conflict, message), "{body}");
            let json: serde_json::Value = serde_json::from_str(&error.to_json()).unwrap();
            assert_eq!((json["type"].as_str(), json["error_code"].as_str()), (kind, code), "{body}");
            assert_eq!(json["request_id"], "req_1");
            assert_eq!(json["headers"], serde_json::json!({"request-id": "req_1", "x-twice": "a, b"}));
        }
        let json = take(&ENVIRONMENTS_RETRIEVE, "{}", 400, full.as_bytes()).unwrap_err().to_json();
        assert!(json.contains(r#""details":{"error_code":"c", "n":1.0}"#) && json.contains(full), "{json}");
        let deep = format!("{{\"error\":{}{}}}", "[".repeat(100_000), "]".repeat(100_000));
        assert_eq!(take(&ENVIRONMENTS_RETRIEVE, "{}", 500, deep.as_bytes()).unwrap_err().status(), Status::ServerError);
    }

    #[test]
    fn with_response_wraps_the_result() {
        let wrapped = take(&ENVIRONMENTS_RETRIEVE, r#"{"with_response":true}"#, 200, b" {\"id\": 1} ").unwrap();
        let expected = r#"{"data":{"id": 1},"http_status":200,"request_id":"req_1","headers":{"request-id":"req_1","x-twice":"a, b"},"attempts":2}"#;
        assert_eq!(wrapped, expected);
    }
}
