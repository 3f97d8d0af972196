//! Keeps web pages out of `/_emulator/`, which needs no credential: a page that is open in a developer's browser could
//! otherwise call it, by its address or (DNS rebinding) by a name of the page's own that leads to this machine.

use std::net::IpAddr;

use hyper::{
    header::{HOST, HeaderName, ORIGIN},
    http::{request::Parts, uri::Authority},
};

use crate::{Config, http::response::ApiError};

/// Where a browser says that a request comes from, also when it sends no `Origin`.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// Refuses a request that may come from a foreign page.
pub fn check(config: &Config, parts: &Parts) -> Result<(), ApiError> {
    let header = |name: &HeaderName| parts.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
    // What HTTP/2 and absolute targets say counts more than the header.
    let host = parts.uri.authority().cloned().or_else(|| header(&HOST)?.parse().ok());
    let host = host.ok_or_else(|| ApiError::forbidden("Host: is missing, or not a host."))?;
    if !is_ours(config, host.host()) {
        return Err(ApiError::forbidden(format!(
            "Host: {:?} is not a name of this machine. Use its address or localhost, or start the emulator with --host or --allow-host \
             and that name.",
            host.host()
        )));
    }
    if let Some(origin) = header(&ORIGIN)
        && !is_same(&origin, &host)
    {
        return Err(ApiError::forbidden(format!("Origin: {origin} is not the emulator. Web pages may not call this.")));
    }
    match header(&SEC_FETCH_SITE).as_deref() {
        None | Some("same-origin" | "none") => Ok(()),
        Some(site) => Err(ApiError::forbidden(format!("Sec-Fetch-Site: {site} is refused. Web pages may not call this."))),
    }
}

/// An address cannot be made to lead elsewhere, nor can `localhost`; other names have to be known.
fn is_ours(config: &Config, host: &str) -> bool {
    let is_address = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>().is_ok();
    let known = ["localhost", &config.host].into_iter().chain(config.allow_hosts.iter().map(String::as_str));
    is_address || known.into_iter().any(|name| name.eq_ignore_ascii_case(host))
}

fn is_same(origin: &str, host: &Authority) -> bool {
    let origin = origin.strip_prefix("http://").or_else(|| origin.strip_prefix("https://"));
    origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host.as_str()))
}
