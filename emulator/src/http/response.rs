//! Responses, and errors that become one.

use hyper::{
    HeaderMap, StatusCode,
    body::Bytes,
    header::{ALLOW, CONTENT_LENGTH, CONTENT_TYPE, HeaderName, HeaderValue, TRANSFER_ENCODING},
};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{http::body::StreamBody, model::json};

/// The header that names a request.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

/// A response that is ready to be written.
#[derive(Debug)]
pub struct Response {
    /// The status.
    pub status: StatusCode,
    /// Every header but those of the framing.
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
    /// What makes the body, when it is not there yet.
    pub stream: Option<StreamBody>,
}

impl Response {
    /// 200 with a JSON text.
    pub fn json(body: impl Into<Bytes>) -> Response {
        Response::with_status(StatusCode::OK, body)
    }

    /// 200 with anything as JSON.
    pub fn of(body: &(impl Serialize + ?Sized)) -> Response {
        Response::json(json::text(body))
    }

    /// 200 with bytes.
    pub fn binary(content_type: &'static str, body: Vec<u8>) -> Response {
        let mut response = Response::json(body);
        response.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        response
    }

    /// Any status with a JSON text.
    pub fn with_status(status: StatusCode, body: impl Into<Bytes>) -> Response {
        let mut headers = HeaderMap::with_capacity(4);
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Response { status, headers, body: body.into(), stream: None }
    }

    /// Returns whether a `content-length` is still to be added.
    pub fn needs_length(&self) -> bool {
        self.stream.is_none()
            && self.status != StatusCode::NO_CONTENT
            && self.status != StatusCode::NOT_MODIFIED
            && !self.headers.contains_key(CONTENT_LENGTH)
            && !self.headers.contains_key(TRANSFER_ENCODING)
    }

    /// Sets the request id header.
    pub fn identified(mut self, request_id: &str) -> Response {
        if let Ok(value) = HeaderValue::from_str(request_id) {
            self.headers.insert(REQUEST_ID, value);
        }
        self
    }
}

/// A refusal, in the API's terms.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    r#type: &'static str,
    message: String,
    details: Map<String, Value>,
    allow: Option<HeaderValue>,
}

impl ApiError {
    /// Any status; the error's type follows from it, unless it is set.
    pub fn new(status: StatusCode, message: impl Into<String>) -> ApiError {
        ApiError { status, r#type: error_type(status), message: message.into(), details: Map::new(), allow: None }
    }

    /// 400: the request itself is wrong.
    pub fn invalid(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::BAD_REQUEST, message)
    }

    /// 401: no credential, or one that is not known.
    pub fn unauthenticated(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::UNAUTHORIZED, message)
    }

    /// 403: a credential that may not do this.
    pub fn forbidden(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::FORBIDDEN, message)
    }

    /// 404.
    pub fn not_found(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::NOT_FOUND, message)
    }

    /// 404 for an environment that never was or is deleted.
    pub fn environment_not_found(id: &str) -> ApiError {
        ApiError::not_found(format!("There is no environment {id:?}.")).code("environment_not_found")
    }

    /// 409: the thing is in another state.
    pub fn conflict(message: impl Into<String>) -> ApiError {
        ApiError::new(StatusCode::CONFLICT, message)
    }

    /// 405, with the methods that the path does answer.
    pub fn method_not_allowed(method: &str, path: &str, allowed: &str) -> ApiError {
        ApiError {
            allow: HeaderValue::from_str(allowed).ok(),
            ..ApiError::new(StatusCode::METHOD_NOT_ALLOWED, format!("{method} is not a method of {path}; it answers {allowed}."))
        }
    }

    /// Sets the type, where an operation has one of its own.
    pub fn with_type(self, r#type: &'static str) -> ApiError {
        ApiError { r#type, ..self }
    }

    /// Adds the machine-readable reason.
    pub fn code(self, code: &str) -> ApiError {
        self.detail("error_code", code.into())
    }

    /// Adds a field under `details`.
    pub fn detail(mut self, key: &str, value: Value) -> ApiError {
        self.details.insert(key.to_owned(), value);
        self
    }

    /// Makes the response.
    pub fn response(&self, request_id: &str) -> Response {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: &'a str,
            error: Error<'a>,
            request_id: &'a str,
        }
        #[derive(Serialize)]
        struct Error<'a> {
            r#type: &'a str,
            message: &'a str,
            #[serde(skip_serializing_if = "Map::is_empty")]
            details: &'a Map<String, Value>,
        }
        let error = Error { r#type: self.r#type, message: &self.message, details: &self.details };
        let body = json::text(&Body { r#type: "error", error, request_id });
        let mut response = Response::with_status(self.status, body);
        if let Some(allow) = &self.allow {
            response.headers.insert(ALLOW, allow.clone());
        }
        response
    }
}

impl From<rusqlite::Error> for ApiError {
    fn from(error: rusqlite::Error) -> ApiError {
        ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, format!("The emulator's database failed: {error}"))
    }
}

/// The `error.type` that the API pairs with a status. The official clients know no type of its own for 412 and 413.
pub fn error_type(status: StatusCode) -> &'static str {
    match status.as_u16() {
        401 => "authentication_error",
        402 => "billing_error",
        403 => "permission_error",
        404 => "not_found_error",
        409 => "conflict_error",
        429 => "rate_limit_error",
        504 => "timeout_error",
        529 => "overloaded_error",
        500.. => "api_error",
        _ => "invalid_request_error",
    }
}
