//! Errors: a status number for programs, an error object for people.
//!
//! Every failure is one [`Error`]. A C function returns its [`Status`] and hands out its JSON form. Errors never contain a secret:
//! text from a server or a transport goes through `Redactor::error` before it leaves the client.

use serde::Serialize;
use serde_json::value::RawValue;
use std::collections::BTreeMap;
use std::ffi::CStr;
use std::fmt;
use std::time::Duration;

/// The maximum of every wait in milliseconds, 24 days. A larger number is probably a mistake.
pub const MAX_MS: u32 = i32::MAX as u32;

/// What a function returns: `ANTENV_OK`, or why it failed.
///
/// 1 to 99 come from the library, 100 and above from the server's response. New numbers may be added in later versions (treat an
/// unknown one as a failure); none ever changes its meaning.
#[repr(i32)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Success.
    Ok = 0,
    /// An argument is invalid; the error's `parameter` names it. Nothing was sent.
    InvalidArgument = 1,
    /// A handle is NULL, already freed, of a different type, or not a handle. Nothing was sent.
    InvalidHandle = 2,
    /// The configuration is invalid, or no credential was found; the error's `parameter` names the key.
    Config = 3,
    /// The server could not be reached, or the connection broke before the response was complete.
    Connection = 4,
    /// The call's `timeout_ms` is over (for functions that wait: nothing happened in time).
    Timeout = 5,
    /// The call was cancelled.
    Cancelled = 6,
    /// A success whose body is not valid JSON, was cut short, is empty, or is larger than `max_response_bytes`.
    Response = 7,
    /// There is nothing more: the pager is at its end, the worker was stopped, or the work queue is drained.
    Done = 8,
    /// The object was closed meanwhile, or was created before fork() and cannot be used in the child.
    Closed = 9,
    /// The lease on a work item was lost before it was finished: another worker may hold the item. Nothing was sent.
    LeaseLost = 10,
    /// A fault in the library itself. Please report it.
    Internal = 11,
    /// A signal handler ran in the waiting thread. Nothing is lost: call again to go on waiting.
    Interrupted = 12,
    /// HTTP 400: the API refused the request.
    BadRequest = 100,
    /// HTTP 401: the credential is missing, wrong or expired.
    Authentication = 101,
    /// HTTP 402: there is a problem with billing.
    PaymentRequired = 102,
    /// HTTP 403: the credential may not do this.
    PermissionDenied = 103,
    /// HTTP 404: there is no such object.
    NotFound = 104,
    /// HTTP 408: the server gave up waiting for the request.
    RequestTimeout = 105,
    /// HTTP 409: the object's current state does not allow it.
    Conflict = 106,
    /// HTTP 412: a condition does not hold, such as `expected_last_heartbeat`.
    PreconditionFailed = 107,
    /// HTTP 413: the request is too large.
    ContentTooLarge = 108,
    /// HTTP 422: the request is well-formed, but cannot be processed.
    Unprocessable = 109,
    /// HTTP 429: too many requests.
    RateLimited = 110,
    /// HTTP 500 to 599 except 529: the server failed.
    ServerError = 111,
    /// HTTP 529: the API is overloaded.
    Overloaded = 112,
    /// Any other HTTP status that is not a success: see `http_status`.
    HttpStatus = 113,
}

/// Defines [`Status::ALL`] and [`Status::c_name`] from one table. If it lacks a status, it does not compile. The enumeration itself is
/// written out above for cbindgen.
macro_rules! status_names {
    ($($status:ident => $name:literal,)*) => {
        impl Status {
            /// All statuses, in the order of their numbers.
            pub const ALL: [Status; [$($name),*].len()] = [$(Status::$status),*];

            /// Returns the status's name, such as `not_found`, as a C string.
            pub fn c_name(self) -> &'static CStr {
                match self {
                    $(Status::$status => $name,)*
                }
            }
        }
    };
}

status_names! {
    Ok => c"ok",
    InvalidArgument => c"invalid_argument",
    InvalidHandle => c"invalid_handle",
    Config => c"config",
    Connection => c"connection",
    Timeout => c"timeout",
    Cancelled => c"cancelled",
    Response => c"response",
    Done => c"done",
    Closed => c"closed",
    LeaseLost => c"lease_lost",
    Internal => c"internal",
    Interrupted => c"interrupted",
    BadRequest => c"bad_request",
    Authentication => c"authentication",
    PaymentRequired => c"payment_required",
    PermissionDenied => c"permission_denied",
    NotFound => c"not_found",
    RequestTimeout => c"request_timeout",
    Conflict => c"conflict",
    PreconditionFailed => c"precondition_failed",
    ContentTooLarge => c"content_too_large",
    Unprocessable => c"unprocessable",
    RateLimited => c"rate_limited",
    ServerError => c"server_error",
    Overloaded => c"overloaded",
    HttpStatus => c"http_status",
}

impl Status {
    /// Returns the status with this number.
    pub fn from_code(code: i32) -> Option<Status> {
        Status::ALL.into_iter().find(|status| *status as i32 == code)
    }

    /// Returns the status for an unsuccessful HTTP status.
    pub fn from_http(http_status: u16) -> Status {
        match http_status {
            400 => Status::BadRequest,
            401 => Status::Authentication,
            402 => Status::PaymentRequired,
            403 => Status::PermissionDenied,
            404 => Status::NotFound,
            408 => Status::RequestTimeout,
            409 => Status::Conflict,
            412 => Status::PreconditionFailed,
            413 => Status::ContentTooLarge,
            422 => Status::Unprocessable,
            429 => Status::RateLimited,
            529 => Status::Overloaded,
            500..=599 => Status::ServerError,
            _ => Status::HttpStatus,
        }
    }

    /// Returns the status's name, such as `not_found`.
    pub fn name(self) -> &'static str {
        self.c_name().to_str().unwrap_or_default()
    }
}

impl Serialize for Status {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A failed call. It is displayed with its operation, HTTP status and request id; [`Error::to_json`] returns everything.
#[derive(Clone)]
pub struct Error(Box<Fields>);

/// The error object. The order of its fields is the order of the JSON members.
#[derive(Clone, Serialize)]
struct Fields {
    status: Status,
    code: i32,
    message: String,
    http_status: Option<u16>,
    #[serde(rename = "type")]
    kind: Option<String>,
    error_code: Option<String>,
    details: Option<Box<RawValue>>,
    request_id: Option<String>,
    attempts: u32,
    parameter: Option<String>,
    body: Option<Box<RawValue>>,
    operation: Option<&'static str>,
    headers: BTreeMap<String, String>,
    retry_after_ms: Option<u32>,
}

/// The parts of the server's error body that could be read.
#[derive(Debug, Default)]
pub struct ApiErrorBody {
    /// `error.message`.
    pub message: Option<String>,
    /// `error.type`.
    pub kind: Option<String>,
    /// `error.details.error_code`.
    pub error_code: Option<String>,
    /// `error.details`.
    pub details: Option<Box<RawValue>>,
    /// The whole body: JSON verbatim, or a string; `None` if it was empty.
    pub body: Option<Box<RawValue>>,
}

/// The result of a fallible function of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// Makes an error that the library itself reports.
    pub fn new(status: Status, message: impl Into<String>) -> Error {
        Error(Box::new(Fields {
            status,
            code: status as i32,
            message: message.into(),
            http_status: None,
            kind: None,
            error_code: None,
            details: None,
            request_id: None,
            attempts: 0,
            parameter: None,
            body: None,
            operation: None,
            headers: BTreeMap::new(),
            retry_after_ms: None,
        }))
    }

    /// Makes an error for an invalid argument. The message begins with the parameter's name.
    pub fn argument(parameter: &str, problem: impl fmt::Display) -> Error {
        Error::about(Status::InvalidArgument, parameter, problem)
    }

    /// Makes an error for an invalid configuration key. The message begins with the key.
    pub fn config(parameter: &str, problem: impl fmt::Display) -> Error {
        Error::about(Status::Config, parameter, problem)
    }

    /// Makes an error about one named parameter. The name may come from the caller, so it is limited to 64 characters.
    pub fn about(status: Status, parameter: &str, problem: impl fmt::Display) -> Error {
        let parameter: String = parameter.chars().take(64).collect();
        let mut error = Error::new(status, format!("`{parameter}` {problem}"));
        error.0.parameter = Some(parameter);
        error
    }

    /// Makes an error from an unsuccessful response.
    pub fn http(http_status: u16, body: ApiErrorBody) -> Error {
        let message = body.message.unwrap_or_else(|| format!("the server responded with HTTP {http_status}"));
        let mut error = Error::new(Status::from_http(http_status), message);
        error.0.http_status = Some(http_status);
        error.0.kind = body.kind;
        error.0.error_code = body.error_code;
        error.0.details = body.details;
        error.0.body = body.body;
        error
    }

    /// Adds the response's status, request id and headers.
    pub fn with_response(mut self, http_status: u16, request_id: Option<&str>, headers: BTreeMap<String, String>) -> Error {
        self.0.http_status = Some(http_status);
        self.0.request_id = request_id.map(str::to_owned);
        self.0.headers = headers;
        self
    }

    /// Adds the wait that the server requests, rounded up to milliseconds and at most [`MAX_MS`].
    pub fn with_retry_after(mut self, wait: Option<Duration>) -> Error {
        self.0.retry_after_ms = wait.map(|wait| wait.as_nanos().div_ceil(1_000_000).try_into().unwrap_or(u32::MAX).min(MAX_MS));
        self
    }

    /// Adds the operation that failed.
    pub fn in_operation(mut self, name: &'static str) -> Error {
        self.0.operation = Some(name);
        self
    }

    /// Adds the body that the server sent.
    pub fn with_body(mut self, body: Option<Box<RawValue>>) -> Error {
        self.0.body = body;
        self
    }

    /// Adds the number of requests that were made.
    pub fn with_attempts(mut self, attempts: u32) -> Error {
        self.0.attempts = attempts;
        self
    }

    /// Edits every text and every JSON document that a server or a transport may have contributed to.
    pub fn edit(mut self, text: impl Fn(&mut String), json: impl Fn(&mut Box<RawValue>)) -> Error {
        let fields = &mut self.0;
        text(&mut fields.message);
        let texts = [&mut fields.kind, &mut fields.error_code, &mut fields.request_id].into_iter().flatten();
        texts.chain(fields.headers.values_mut()).for_each(text);
        [&mut fields.details, &mut fields.body].into_iter().flatten().for_each(json);
        self
    }

    /// Attributes the server's rejection to one named parameter.
    pub fn blaming(mut self, parameter: &str) -> Error {
        self.0.message = format!("the server does not accept `{parameter}`: {}", self.0.message);
        self.0.parameter = Some(parameter.to_owned());
        self
    }

    /// Returns whether the API itself responded: the body is its error object, not the page of a gateway.
    pub fn is_of_api(&self) -> bool {
        #[derive(serde::Deserialize)]
        struct Body {
            r#type: String,
        }
        let body = self.0.body.as_deref().and_then(|body| serde_json::from_str::<Body>(body.get()).ok());
        self.0.kind.is_some() && body.is_some_and(|body| body.r#type == "error")
    }

    /// Returns the status.
    pub fn status(&self) -> Status {
        self.0.status
    }

    /// Returns the HTTP status, if the server responded.
    pub fn http_status(&self) -> Option<u16> {
        self.0.http_status
    }

    /// Returns the name of the parameter that the error is about, if any.
    pub fn parameter(&self) -> Option<&str> {
        self.0.parameter.as_deref()
    }

    /// Returns the details in the server's error body: JSON.
    pub fn details(&self) -> Option<&str> {
        self.0.details.as_deref().map(RawValue::get)
    }

    /// Returns the number of requests that were made.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// Returns the message, without the operation and the status.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Returns the error object as JSON.
    pub fn to_json(&self) -> String {
        // The fields are strings, numbers and JSON that was checked earlier, so this cannot fail. If it did, the code would remain.
        serde_json::to_string(&self.0).unwrap_or_else(|_| format!("{{\"code\":{}}}", self.0.code))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = &self.0;
        if let Some(operation) = fields.operation {
            write!(f, "{operation}: ")?;
        }
        if let Some(http_status) = fields.http_status {
            write!(f, "{http_status} {}: ", fields.status.name())?;
        }
        f.write_str(&fields.message)?;
        fields.request_id.as_ref().map_or(Ok(()), |id| write!(f, " ({id})"))
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_json())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_status_is_found_by_its_number_and_has_a_name_of_its_own() {
        let mut names = std::collections::HashSet::new();
        for status in Status::ALL {
            assert_eq!(Status::from_code(status as i32), Some(status));
            assert!(names.insert(status.name()), "{} is used twice", status.name());
        }
        assert_eq!(Status::from_code(99), None);
    }

    #[test]
    fn an_error_object_has_every_field_also_when_it_is_unknown() {
        let json: serde_json::Value =
            serde_json::from_str(&Error::argument("limit", "must be a whole number").to_json()).unwrap();
        let expected = serde_json::json!({
            "status": "invalid_argument", "code": 1, "message": "`limit` must be a whole number", "http_status": null, "type": null,
            "error_code": null, "details": null, "request_id": null, "attempts": 0, "parameter": "limit", "body": null,
            "operation": null, "headers": {}, "retry_after_ms": null,
        });
        assert_eq!(json, expected);
    }

    #[test]
    fn an_error_is_displayed_with_its_operation_status_and_request_id() {
        let error = Error::argument("limit", "must be a whole number");
        assert_eq!(error.to_string(), "`limit` must be a whole number");
        assert_eq!(error.in_operation("environments.list").to_string(), "environments.list: `limit` must be a whole number");
        let error = Error::http(404, ApiErrorBody { message: Some("There is none.".to_owned()), ..ApiErrorBody::default() })
            .with_response(404, Some("req_1"), BTreeMap::new())
            .in_operation("environments.retrieve");
        assert_eq!(error.to_string(), "environments.retrieve: 404 not_found: There is none. (req_1)");
        assert_eq!(error.message(), "There is none.");
    }
}
