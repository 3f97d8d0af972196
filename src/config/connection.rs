//! The settings of a connection pool: the server, TLS, the proxy, the version of HTTP.

use super::{EnvVars, milliseconds};
use crate::credentials::Redactor;
use crate::error::{Error, Result};
use crate::http::proxy::Proxy;
use crate::json::Object;
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// The configuration keys of [`ConnectionSettings`].
pub const KEYS: &[&str] = &[
    "base_url",
    "allow_insecure_http",
    "connect_timeout_ms",
    "ca_file",
    "roots",
    "client_cert_file",
    "client_key_file",
    "proxy",
    "http2",
];
/// Which version of HTTP to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2 {
    /// The server's preference over TLS; HTTP/1.1 without TLS.
    Auto,
    /// HTTP/1.1.
    Never,
    /// HTTP/2, also without TLS.
    Always,
}

/// Which certificate authorities to trust, besides those in `ca_file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roots {
    /// Those bundled with the library, and those in SSL_CERT_FILE and SSL_CERT_DIR.
    Bundled,
    /// The system's.
    System,
    /// None.
    OnlyCaFile,
}

/// The settings of a connection pool.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// The API's scheme, host, port and path prefix.
    pub base_url: Url,
    /// The timeout of one attempt to connect.
    pub connect_timeout: Duration,
    /// A PEM file with additional trusted roots.
    pub ca_file: Option<PathBuf>,
    /// Which other roots to trust.
    pub roots: Roots,
    /// A PEM file with the client's certificate and its chain.
    pub client_cert_file: Option<PathBuf>,
    /// A PEM file with the key of that certificate.
    pub client_key_file: Option<PathBuf>,
    /// The proxy, if one is used.
    pub proxy: Option<Proxy>,
    /// Which version of HTTP to use.
    pub http2: Http2,
}

impl ConnectionSettings {
    /// Reads the settings from the configuration and the environment variables. Adds the proxy's secrets to `redactor`.
    pub fn read(object: &mut Object, env: EnvVars, redactor: &mut Redactor) -> Result<ConnectionSettings> {
        let base_url = match object.take("base_url") {
            Some(value) => value.non_empty_string()?,
            None => env("ANTHROPIC_BASE_URL").unwrap_or_else(|| "https://api.anthropic.com".to_owned()),
        };
        let insecure = object.take("allow_insecure_http").map(|value| value.bool()).transpose()?.unwrap_or(false);
        let url = check_base_url(&base_url, insecure)?;
        let proxy = match object.take("proxy") {
            Some(value) => match value.string()?.as_str() {
                "" => None,
                text => Some(Proxy::parse("proxy", text)?),
            },
            // A credential sent in plain text to this machine must not travel through another one.
            None if is_loopback(&url) => None,
            None => Proxy::from_env(&url, env)?,
        };
        for secret in proxy.iter().flat_map(|proxy| [&proxy.password, &proxy.authorization]).flatten() {
            redactor.add(secret.expose().trim_start_matches("Basic "));
        }
        let mut path = |key| object.take(key).map(|value| value.non_empty_string().map(PathBuf::from)).transpose();
        let (ca_file, client_cert_file, client_key_file) =
            (path("ca_file")?, path("client_cert_file")?, path("client_key_file")?);
        if client_key_file.is_some() && client_cert_file.is_none() {
            return Err(Error::config("client_key_file", "is given without `client_cert_file`, the certificate for this key"));
        }
        let roots = match object.take("roots") {
            None => Roots::Bundled,
            Some(value) => match value.string()?.as_str() {
                "bundled" => Roots::Bundled,
                "system" => Roots::System,
                "only_ca_file" if ca_file.is_some() => Roots::OnlyCaFile,
                "only_ca_file" => return Err(value.error("is \"only_ca_file\", but `ca_file` is not given")),
                _ => return Err(value.error("must be \"bundled\", \"system\" or \"only_ca_file\"")),
            },
        };
        Ok(ConnectionSettings {
            base_url: url,
            connect_timeout: match object.take("connect_timeout_ms") {
                Some(value) => milliseconds(&value)?,
                None => Duration::from_secs(5),
            },
            ca_file,
            roots,
            client_cert_file,
            client_key_file,
            proxy,
            http2: match object.take("http2") {
                None => Http2::Auto,
                Some(value) => match value.string()?.as_str() {
                    "auto" => Http2::Auto,
                    "never" => Http2::Never,
                    "always" => Http2::Always,
                    _ => return Err(value.error("must be \"auto\", \"never\" or \"always\"")),
                },
            },
        })
    }
}

/// Parses a URL whose host is a plain DNS name or an address. Rejects percent-encoding in the host. Lower-cases the host, which
/// the parser of internationalised names, built without its tables, cannot do.
pub fn parse_url(text: &str) -> Option<Url> {
    let (scheme, rest) = text.split_once("://")?;
    let (authority, path) = rest.split_at(rest.find(['/', '\\', '?', '#']).unwrap_or(rest.len()));
    let (user, host) = authority.split_at(authority.rfind('@').map_or(0, |at| at + 1));
    if host.contains('%') {
        return None;
    }
    Url::parse(&format!("{scheme}://{user}{}{path}", host.to_ascii_lowercase())).ok()
}

fn check_base_url(text: &str, insecure: bool) -> Result<Url> {
    // The URL may contain a password, so the message does not repeat it.
    let error = |problem: &str| Err(Error::config("base_url", problem));
    let Some(url) = parse_url(text) else { return error("must be a URL such as https://api.anthropic.com") };
    if !matches!(url.scheme(), "http" | "https") {
        return error("must begin with https:// (or http://)");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return error("must not contain a user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return error("must not have a query or a fragment");
    }
    if url.scheme() == "http" && !insecure && !is_loopback(&url) {
        return error(
            "is plain http:// to another host, which would expose the credential on the network: use https://, or set `allow_insecure_http`",
        );
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}
