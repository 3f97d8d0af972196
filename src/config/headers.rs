//! Headers: those of every call, and those that a configuration or a call gives.

use crate::credentials::X_API_KEY;
use crate::error::Result;
use crate::json::Value;
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

/// The header for betas.
pub const BETA_HEADER: HeaderName = HeaderName::from_static("anthropic-beta");
/// The header for the API version.
pub const VERSION_HEADER: HeaderName = HeaderName::from_static("anthropic-version");

/// Returns the headers of a call without any configuration. The capacity, which copies keep, avoids growing each request's map when the
/// credential is added, and again inside reqwest.
pub fn fixed_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    headers.extend([
        (ACCEPT, HeaderValue::from_static("application/json")),
        // Without this the server may choose a content coding, which is not decoded here.
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        (USER_AGENT, HeaderValue::from_static(concat!("antenv/", env!("CARGO_PKG_VERSION")))),
        (VERSION_HEADER, HeaderValue::from_static("2026-10-21")),
    ]);
    headers
}

/// Returns whether the headers contain a credential.
pub fn carries_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) || headers.contains_key(X_API_KEY)
}

/// Removes the credentials from the headers.
pub fn remove_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    headers.remove(X_API_KEY);
}

/// Reads a list of betas.
pub fn betas(value: &Value) -> Result<Vec<String>> {
    let betas = value.strings()?;
    for beta in &betas {
        header_value(value, beta)?;
    }
    Ok(betas)
}

/// Returns the value of the beta header: each beta once, the required one last unless it is among the others. `None`: no beta.
pub fn join_betas<'a>(betas: impl IntoIterator<Item = &'a String>, required: Option<&'a str>) -> Option<HeaderValue> {
    let mut all: Vec<&str> = Vec::new();
    for beta in betas.into_iter().map(String::as_str).chain(required) {
        if !all.contains(&beta) {
            all.push(beta);
        }
    }
    // Each beta was checked when it was read, so the value is valid.
    if all.is_empty() { None } else { HeaderValue::from_bytes(all.join(",").as_bytes()).ok() }
}

/// Returns the betas in a header's value.
pub fn split_betas(value: &HeaderValue) -> Vec<String> {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.split(',').map(str::trim).filter(|beta| !beta.is_empty()).map(str::to_owned).collect()
}

/// Makes a header's value of text without control characters.
pub fn header_value(source: &Value, text: &str) -> Result<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| source.error("has control characters, which are not valid in an HTTP header"))
}

/// Returns whether a header frames the message. Only the transport sets such headers.
pub fn is_framing(name: &HeaderName) -> bool {
    const FRAMING: &[&str] = &[
        "connection",
        "content-length",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    ];
    FRAMING.contains(&name.as_str())
}

/// Reads an object of headers; `null` removes a header.
pub fn headers(value: &Value) -> Result<Vec<(HeaderName, Option<HeaderValue>)>> {
    value
        .object()?
        .into_values()
        .map(|member| {
            let name: HeaderName = member.name().parse().map_err(|_| member.error("is not a valid header name"))?;
            if is_framing(&name) {
                return Err(member.error("is set by the library only"));
            }
            let text = if member.is_null() { None } else { Some(header_value(&member, &member.string()?)?) };
            Ok((name, text))
        })
        .collect()
}
