//! Building an HTTP request from an operation and its parameters. Pure. Invalid input is rejected here, before anything is sent.

use super::body::Body;
use crate::api::operations::{COMMON, CredentialKind, MANAGED_AGENTS_BETA, Operation, ResponseKind, Traffic};
use crate::api::params::{
    self, DOWNLOAD_OPTIONS, OPTIONS, ParamLocation, ParamType, Parameter, STREAM_OPTIONS, check_id, check_path,
};
use crate::config::{self, BETA_HEADER, CallDefaults};
use crate::credentials::is_credential;
use crate::error::{Error, Result};
use crate::json::{Object, Value};
use bytes::Bytes;
use http::Method;
use http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use percent_encoding::{AsciiSet, CONTROLS, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::time::Duration;
use url::Url;

/// An HTTP request, and its timeouts, retries and limits.
#[derive(Debug, Clone)]
pub struct Request {
    /// The operation; `None`: another endpoint.
    pub operation: Option<&'static Operation>,
    /// The method.
    pub method: Method,
    path: String,
    query: Vec<(String, String)>,
    /// The headers, including the credential.
    pub headers: HeaderMap,
    /// The body, if there is one.
    pub body: Option<Bytes>,
    /// The timeout of the whole call.
    pub timeout: Duration,
    /// The timeout of one attempt.
    pub attempt_timeout: Duration,
    /// The maximum number of retries.
    pub max_retries: u32,
    /// The maximum size of the response's body; a stream has none.
    pub max_response_bytes: u64,
    /// How long a stream may be silent.
    pub idle_timeout: Duration,
    /// The maximum size of one event of a stream.
    pub max_event_bytes: usize,
    /// Whether the result contains the response's status, headers and request id.
    pub with_response: bool,
    /// Whether a success may have an empty body, which is read as `null`.
    pub allows_empty_body: bool,
}

/// The default of `idle_timeout_ms`. The server's pings come far more often.
const IDLE_TIMEOUT: Duration = Duration::from_secs(600);
/// The default of `max_event_bytes`.
const MAX_EVENT_BYTES: usize = 16 << 20;
/// The longest URL that the crate `http` accepts.
const MAX_URL: usize = u16::MAX as usize - 1;
/// The members that `antenv_request` takes besides the options.
const FREE_FORM: &[&str] = &["query", "body", "headers"];
/// The methods that `antenv_request` accepts.
const METHODS: &[Method] = &[Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE];

/// The characters to encode in a path segment: all except RFC 3986's unreserved, sub-delims, `:` and `@`.
const SEGMENT: &AsciiSet = &QUERY
    .remove(b'!')
    .remove(b'$')
    .remove(b'&')
    .remove(b'\'')
    .remove(b'(')
    .remove(b')')
    .remove(b'*')
    .remove(b'+')
    .remove(b',')
    .remove(b';')
    .remove(b'=')
    .remove(b':')
    .remove(b'@');
/// The characters to encode in a path that the caller gives as a whole and may have encoded already.
const PATH: &AsciiSet = &CONTROLS.add(b' ').add(b'"').add(b'<').add(b'>').add(b'`').add(b'{').add(b'}').add(b'^').add(b'|');
/// The characters to encode in a query: all except the unreserved ones.
const QUERY: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// Builds the request for an operation. `ids` are the path parameters that the caller gave as arguments.
pub fn operation(
    operation: &'static Operation,
    ids: &[(&str, &str)],
    params: Option<&str>,
    defaults: &CallDefaults,
) -> Result<Request> {
    let mut params = params::parse(params)?;
    for (name, _) in ids {
        if let Some(value) = params.take(name) {
            return Err(value.error("is an argument of the function: do not give it in params_json, too"));
        }
    }
    let known = operation.parameters.iter().chain(COMMON).filter(|p| !ids.iter().any(|(id, _)| *id == p.name));
    let special = match operation.response {
        ResponseKind::Json => &[],
        ResponseKind::Stream => STREAM_OPTIONS,
        ResponseKind::Binary => DOWNLOAD_OPTIONS,
    };
    params.check_names(known.map(|parameter| parameter.name).chain(OPTIONS.iter().chain(special).copied()))?;
    let mut builder =
        Builder::new(operation.method.parse().unwrap_or_default(), operation.path, operation.allows_empty_body, defaults);
    builder.request.operation = Some(operation);
    builder.body = Body::new(operation.has_body);
    for parameter in operation.parameters.iter().chain(COMMON) {
        let given = if parameter.is_nullable() { params.take_or_null(parameter.name) } else { params.take(parameter.name) };
        let argument = ids.iter().find(|(name, _)| *name == parameter.name).map(|(_, id)| *id);
        match (given, argument) {
            (_, Some(id)) => builder.set_id(parameter.name, id)?,
            (Some(value), None) => builder.add_parameter(parameter, value)?,
            (None, None) if parameter.required => return Err(Error::argument(parameter.name, "is required")),
            (None, None) => {}
        }
    }
    if operation.traffic == Traffic::Poll {
        let block = builder.request.query.iter().find(|(name, _)| name == "block_ms").and_then(|(_, ms)| ms.parse().ok());
        let margin = defaults.attempt_timeout.unwrap_or(config::POLL_MARGIN);
        builder.request.attempt_timeout = Duration::from_millis(block.unwrap_or(0)) + margin;
    }
    builder.take_options(&mut params)?;
    builder.finish(operation.credential, defaults)
}

/// Builds a request to any other endpoint.
pub fn free_form(method: &str, path: &str, params: Option<&str>, defaults: &CallDefaults) -> Result<Request> {
    let mut params = params::parse(params)?;
    let known = FREE_FORM.iter().copied().chain(COMMON.iter().map(|parameter| parameter.name));
    params.check_names(known.chain(OPTIONS.iter().copied()))?;
    let method = METHODS.iter().find(|known| known.as_str().eq_ignore_ascii_case(method)).cloned();
    let method = method.ok_or_else(|| Error::argument("method", "must be GET, POST, PUT, PATCH or DELETE"))?;
    check_path(path)?;
    let mut builder = Builder::new(method, &Cow::from(utf8_percent_encode(path, PATH)), true, defaults);
    for parameter in COMMON {
        if let Some(value) = params.take(parameter.name) {
            builder.add_parameter(parameter, value)?;
        }
    }
    if let Some(value) = params.take("query") {
        builder.add_query(&value)?;
    }
    if let Some(value) = params.take("headers") {
        builder.add_headers(&value)?;
    }
    if let Some(value) = params.take("body") {
        builder.allow_body(&value)?;
        builder.body.set_whole(&value);
    }
    builder.take_options(&mut params)?;
    builder.finish(CredentialKind::ApiKey, defaults)
}

impl Request {
    /// Sets a query parameter, replacing those of the same name.
    pub fn set_query(&mut self, name: &str, value: String) {
        self.query.retain(|(known, _)| known != name);
        self.query.push((name.to_owned(), value));
    }

    /// Returns the whole URL. `base_url` is parsed already, so only the path and query are added.
    pub fn url(&self, base_url: &Url) -> Result<Url> {
        let mut url = base_url.clone();
        let prefix = base_url.path().trim_end_matches('/');
        if prefix.is_empty() {
            url.set_path(&self.path);
        } else {
            url.set_path(&[prefix, &self.path].concat());
        }
        if !self.query.is_empty() {
            let mut text = String::new();
            for (index, (name, value)) in self.query.iter().enumerate() {
                if index > 0 {
                    text.push('&');
                }
                text.extend(utf8_percent_encode(name, QUERY));
                text.push('=');
                text.extend(utf8_percent_encode(value, QUERY));
            }
            url.set_query(Some(&text));
        }
        if url.as_str().len() > MAX_URL {
            return Err(Error::argument("path", "is too long for a URL"));
        }
        Ok(url)
    }
}

/// Builds a request. `finish` merges the layers of headers and the body.
struct Builder<'a> {
    request: Request,
    body: Body<'a>,
    betas: Vec<String>,
    /// The call's headers, which override the defaults; `None` removes a default.
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
}

impl<'a> Builder<'a> {
    fn new(method: Method, path: &str, allows_empty_body: bool, defaults: &CallDefaults) -> Builder<'a> {
        let request = Request {
            operation: None,
            method,
            path: path.to_owned(),
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: None,
            timeout: defaults.timeout,
            attempt_timeout: defaults.attempt_timeout.unwrap_or(config::ATTEMPT_TIMEOUT),
            max_retries: defaults.max_retries,
            max_response_bytes: defaults.max_response_bytes,
            idle_timeout: IDLE_TIMEOUT,
            max_event_bytes: MAX_EVENT_BYTES,
            with_response: false,
            allows_empty_body,
        };
        Builder { request, body: Body::new(false), betas: Vec::new(), headers: Vec::new() }
    }

    /// Checks a parameter and adds it to the path, query, headers or body.
    fn add_parameter(&mut self, parameter: &Parameter, value: Value<'a>) -> Result<()> {
        match parameter.location {
            ParamLocation::Path => self.set_id(parameter.name, &value.string()?)?,
            ParamLocation::Query => self.request.query.extend(parameter.query_pairs(&value)?),
            ParamLocation::Header(_) if parameter.param_type == ParamType::Strings => self.betas.extend(config::betas(&value)?),
            ParamLocation::Header(name) => {
                let header = config::header_value(&value, &value.non_empty_string()?)?;
                self.headers.push((HeaderName::from_static(name), Some(header)));
            }
            ParamLocation::Body => {
                parameter.check_member(&value)?;
                self.body.add(&value);
            }
        }
        Ok(())
    }

    /// Inserts an identifier into the path. Rejects one that would change the path's meaning.
    fn set_id(&mut self, name: &str, id: &str) -> Result<()> {
        check_id(name, id)?;
        // The parameters come in the path's order and an encoded one contains no brace, so the first brace is this parameter's.
        let path = &mut self.request.path;
        if let Some((start, end)) = path.find('{').zip(path.find('}')) {
            debug_assert_eq!(&path[start + 1..end], name);
            let encoded: Cow<str> = utf8_percent_encode(id, SEGMENT).into();
            path.replace_range(start..=end, &encoded);
        }
        Ok(())
    }

    fn take_options(&mut self, params: &mut Object<'a>) -> Result<()> {
        if let Some(value) = params.take("timeout_ms") {
            self.request.timeout = config::milliseconds(&value)?;
        }
        if let Some(value) = params.take("idle_timeout_ms") {
            self.request.idle_timeout = config::milliseconds(&value)?;
        }
        if let Some(value) = params.take("max_event_bytes") {
            self.request.max_event_bytes = value.integer(1, i64::MAX)?.try_into().unwrap_or(usize::MAX);
        }
        if let Some(value) = params.take("max_bytes") {
            self.request.max_response_bytes = value.integer(1, i64::MAX)?.unsigned_abs();
        }
        if let Some(value) = params.take("attempt_timeout_ms") {
            self.request.attempt_timeout = config::milliseconds(&value)?;
        }
        if let Some(value) = params.take("max_retries") {
            self.request.max_retries = config::retries(&value)?;
        }
        if let Some(value) = params.take("with_response") {
            self.request.with_response = value.bool()?;
        }
        if let Some(value) = params.take("extra_headers") {
            self.add_headers(&value)?;
        }
        if let Some(value) = params.take("extra_query") {
            self.add_query(&value)?;
        }
        if let Some(value) = params.take("extra_body") {
            self.allow_body(&value)?;
            self.body.merge(&value)?;
        }
        Ok(())
    }

    fn allow_body(&self, value: &Value) -> Result<()> {
        if self.request.method == Method::GET { Err(value.error("cannot be used with GET, which has no body")) } else { Ok(()) }
    }

    /// Adds the caller's headers. Betas are added to the others and never remove the required one; for other headers `null` removes the
    /// default.
    fn add_headers(&mut self, value: &Value) -> Result<()> {
        for (name, value) in config::headers(value)? {
            match value {
                Some(value) if name == BETA_HEADER => self.betas.extend(config::split_betas(&value)),
                None if name == BETA_HEADER => {}
                value => self.headers.push((name, value)),
            }
        }
        Ok(())
    }

    /// Adds the caller's query parameters: strings, numbers, booleans, and arrays of them as `name[]`.
    fn add_query(&mut self, value: &Value) -> Result<()> {
        let scalar = |text: &str| match text.as_bytes().first() {
            Some(b'"') => serde_json::from_str(text).ok(),
            Some(b'{' | b'[' | b'n') | None => None,
            _ => Some(text.to_owned()),
        };
        for member in value.object()?.into_values().filter(|member| !member.is_null()) {
            let wrong = || member.error("must be a string, a number, a boolean, or an array of them");
            if let Ok(values) = serde_json::from_str::<Vec<&RawValue>>(member.raw()) {
                let name = format!("{}[]", member.name());
                for value in values {
                    self.request.query.push((name.clone(), scalar(value.get()).ok_or_else(wrong)?));
                }
            } else {
                self.request.set_query(member.name(), scalar(member.raw()).ok_or_else(wrong)?);
            }
        }
        Ok(())
    }

    /// Merges the layers of headers: the client's defaults, those for the body, the credential, the call's headers.
    fn finish(self, accepts: CredentialKind, defaults: &CallDefaults) -> Result<Request> {
        let Builder { mut request, body, betas, headers: extra } = self;
        request.headers = defaults.headers.clone();
        let headers = &mut request.headers;
        let required_beta = request.operation.map_or(Some(MANAGED_AGENTS_BETA), |operation| operation.beta);
        if !betas.is_empty() || required_beta != Some(MANAGED_AGENTS_BETA) {
            match config::join_betas(defaults.betas.iter().chain(&betas), required_beta) {
                Some(joined) => drop(headers.insert(BETA_HEADER, joined)),
                None => drop(headers.remove(BETA_HEADER)),
            }
        }
        if let Some(accept) = request.operation.and_then(|operation| operation.response.accept()) {
            headers.insert(ACCEPT, HeaderValue::from_static(accept));
        }
        request.body = body.into_bytes();
        if request.body.is_some() {
            headers.entry(CONTENT_TYPE).or_insert(HeaderValue::from_static("application/json"));
        } else if [Method::POST, Method::PUT, Method::PATCH].contains(&request.method) {
            headers.insert(CONTENT_LENGTH, HeaderValue::from_static("0"));
        }
        if let Some((name, value)) = defaults.credentials.header(accepts) {
            headers.entry(name).or_insert(value);
        }
        for (name, value) in extra {
            match value {
                Some(mut value) => {
                    value.set_sensitive(is_credential(&name));
                    headers.insert(name, value);
                }
                None => drop(headers.remove(name)),
            }
        }
        Ok(request)
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
