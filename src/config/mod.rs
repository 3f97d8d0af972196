//! Configuration: the JSON a client is made from, the environment variables behind it, and the defaults behind those.
//!
//! It falls into two halves. [`Connection`] is what a connection pool is made from and stays the same for its life;
//! [`CallDefaults`] is what each call starts from, and what a derived client may change.

use crate::credentials::{Credentials, Redactor, Secret, X_API_KEY, is_credential};
use crate::error::{Error, MAX_MS, Result, Status};
use crate::http::proxy::Proxy;
use crate::json::{Object, Value};
use http::header::{ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, USER_AGENT};
use std::path::PathBuf;
use std::time::Duration;
use url::Url;

/// Bounds one attempt, if nothing else is said: so a connection that has silently died costs an attempt, not the call.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// The same for a poll, on top of the time that it waits at the server.
pub const POLL_MARGIN: Duration = Duration::from_secs(10);
/// How often a call may be retried at most.
pub const MAX_RETRIES: i64 = 100;
/// The beta that every operation needs.
pub const REQUIRED_BETA: &str = "managed-agents-2026-04-01";
/// The header that betas travel in.
pub const BETA_HEADER: HeaderName = HeaderName::from_static("anthropic-beta");
const VERSION_HEADER: HeaderName = HeaderName::from_static("anthropic-version");

const CONNECTION_KEYS: &[&str] = &[
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
const DEFAULTS_KEYS: &[&str] = &[
    "api_key",
    "auth_token",
    "environment_key",
    "timeout_ms",
    "attempt_timeout_ms",
    "max_retries",
    "default_headers",
    "betas",
    "workspace_id",
    "anthropic_version",
    "auth_header",
    "max_response_bytes",
];

/// Which version of HTTP is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Http2 {
    /// What the server prefers over TLS; HTTP/1.1 without TLS.
    Auto,
    /// HTTP/1.1.
    Never,
    /// HTTP/2, also without TLS.
    Always,
}

/// Which certificate authorities are trusted, besides those in `ca_file`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Roots {
    /// Those inside the library, and those that SSL_CERT_FILE and SSL_CERT_DIR name.
    Bundled,
    /// Those of the system.
    System,
    /// None.
    OnlyCaFile,
}

/// What a connection pool is made from.
#[derive(Debug, Clone)]
pub struct ConnectionSettings {
    /// Scheme, host, port and path prefix.
    pub base_url: Url,
    /// Bounds one attempt to connect.
    pub connect_timeout: Duration,
    /// A PEM file of further roots to trust.
    pub ca_file: Option<PathBuf>,
    /// Which other roots are trusted.
    pub roots: Roots,
    /// A PEM file with the certificate that the client shows, and its chain.
    pub client_cert_file: Option<PathBuf>,
    /// A PEM file with that certificate's key.
    pub client_key_file: Option<PathBuf>,
    /// The proxy on the way to the server, if there is one.
    pub proxy: Option<Proxy>,
    /// Which version of HTTP is spoken.
    pub http2: Http2,
}

/// What each call starts from.
#[derive(Debug, Clone)]
pub struct CallDefaults {
    /// Bounds a whole call.
    pub timeout: Duration,
    /// Bounds one attempt; `None`: [`ATTEMPT_TIMEOUT`].
    pub attempt_timeout: Option<Duration>,
    /// How often a call is retried.
    pub max_retries: u32,
    /// What every call sends, as far as it is the same for all: a call's headers start as a copy of these.
    pub headers: HeaderMap,
    /// Betas beside the required one. They stand in `headers` too, joined.
    pub betas: Vec<String>,
    /// The largest answer that is taken.
    pub max_response_bytes: usize,
    /// The credentials.
    pub credentials: Credentials,
    /// What must not show in errors.
    pub redactor: Redactor,
}

/// A source of environment variables: the process's, or a test's.
pub type EnvVars<'a> = &'a dyn Fn(&str) -> Option<String>;

/// The process's environment; an empty variable counts as unset. What is not Unicode comes with replacement characters, so that it is
/// found wrong where it is used rather than passed over.
pub fn process_env_vars(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned()).filter(|value| !value.is_empty())
}

/// The headers of every call that nobody has changed. There is room for more, also in copies of them: without it each request's would be
/// moved when the credential is added, and again inside reqwest.
fn fixed_headers() -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(12);
    headers.extend([
        (ACCEPT, HeaderValue::from_static("application/json")),
        // Without it a server may pick a coding, and nothing here would undo that.
        (ACCEPT_ENCODING, HeaderValue::from_static("identity")),
        (USER_AGENT, HeaderValue::from_static(concat!("antenv/", env!("CARGO_PKG_VERSION")))),
        (VERSION_HEADER, HeaderValue::from_static("2026-10-21")),
    ]);
    headers
}

/// Reads a configuration.
pub fn read(json: &str, environment: EnvVars) -> Result<(ConnectionSettings, CallDefaults)> {
    let mut object = Object::parse(json, "config_json", Status::Config)?;
    let mut defaults = CallDefaults {
        timeout: Duration::from_secs(600),
        attempt_timeout: None,
        max_retries: 2,
        headers: fixed_headers(),
        betas: Vec::new(),
        max_response_bytes: 64 << 20,
        credentials: Credentials::default(),
        redactor: Redactor::default(),
    };
    object.check_names(CONNECTION_KEYS.iter().chain(DEFAULTS_KEYS).copied())?;
    let connection = ConnectionSettings::read(&mut object, environment, &mut defaults.redactor)?;
    let own = CallOverrides::read(&mut object)?;
    defaults.apply_environment(environment, own.brings_credential())?;
    defaults.apply(own)?;
    if defaults.credentials.is_empty() && !carries_credential(&defaults.headers) {
        return Err(Error::config(
            "api_key",
            "is missing, and so is any other credential: give `api_key`, `auth_token` or `environment_key`, or set the environment \
             variable ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN or ANTHROPIC_ENVIRONMENT_KEY (looked at, and unset or empty; \
             ANTHROPIC_CUSTOM_HEADERS has none either)",
        ));
    }
    Ok((connection, defaults))
}

/// Reads what a derived client changes: `parent`'s defaults with the given keys replaced.
pub fn derive(parent: &CallDefaults, json: &str) -> Result<CallDefaults> {
    let mut object = Object::parse(json, "config_json", Status::Config)?;
    for key in CONNECTION_KEYS {
        if let Some(value) = object.take(key) {
            return Err(value.error("belongs to the connections, which a derived client shares: make a new client instead"));
        }
    }
    object.check_names(DEFAULTS_KEYS.iter().copied())?;
    let own = CallOverrides::read(&mut object)?;
    let mut defaults = parent.clone();
    if own.brings_credential() {
        defaults.credentials.clear();
        remove_credentials(&mut defaults.headers);
    }
    defaults.apply(own)?;
    Ok(defaults)
}

/// A client's defaults with one credential, in place of all others. `None`: it cannot stand in a header.
pub fn with_bearer(parent: &CallDefaults, token: &Secret) -> Option<CallDefaults> {
    let mut defaults = parent.clone();
    defaults.credentials.clear();
    remove_credentials(&mut defaults.headers);
    defaults.redactor.add(token.expose());
    defaults.credentials.set_auth_token(token.clone()).then_some(defaults)
}

impl ConnectionSettings {
    fn read(object: &mut Object, environment: EnvVars, redactor: &mut Redactor) -> Result<ConnectionSettings> {
        let base_url = match object.take("base_url") {
            Some(value) => value.non_empty_string()?,
            None => environment("ANTHROPIC_BASE_URL").unwrap_or_else(|| "https://api.anthropic.com".to_owned()),
        };
        let insecure = object.take("allow_insecure_http").map(|value| value.bool()).transpose()?.unwrap_or(false);
        let url = check_base_url(&base_url, insecure)?;
        let proxy = match object.take("proxy") {
            Some(value) => match value.string()?.as_str() {
                "" => None,
                text => Some(Proxy::parse("proxy", text)?),
            },
            // A credential sent in plain text to this machine must not take a way over another.
            None if is_loopback(&url) => None,
            None => Proxy::from_variables(&url, environment)?,
        };
        for secret in proxy.iter().flat_map(|proxy| [&proxy.password, &proxy.authorization]).flatten() {
            redactor.add(secret.expose().trim_start_matches("Basic "));
        }
        let mut path = |key| object.take(key).map(|value| value.non_empty_string().map(PathBuf::from)).transpose();
        let (ca_file, client_cert_file, client_key_file) =
            (path("ca_file")?, path("client_cert_file")?, path("client_key_file")?);
        if client_key_file.is_some() && client_cert_file.is_none() {
            return Err(Error::config("client_key_file", "is given without `client_cert_file`, the certificate that it is for"));
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

/// Reads a URL whose host is a name or an address as they stand in DNS: what is percent-encoded there is no host, and capital letters are
/// small ones (the parser of internationalised names, which is built without their tables, does not expect them).
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
    // The URL is not repeated in the message: it may hold a password.
    let error = |problem: &str| Err(Error::config("base_url", problem));
    let Some(url) = parse_url(text) else { return error("must be a URL such as https://api.anthropic.com") };
    if !matches!(url.scheme(), "http" | "https") {
        return error("must begin with https:// (or http://)");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return error("must not hold a user name or password");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return error("must not have a query or a fragment");
    }
    if url.scheme() == "http" && !insecure && !is_loopback(&url) {
        return error(
            "is plain http:// to another host, which would show the credential to everyone on the way: use https://, or set `allow_insecure_http`",
        );
    }
    Ok(url)
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']').parse::<std::net::IpAddr>();
    host == "localhost" || address.is_ok_and(|address| address.is_loopback())
}

/// The keys of a configuration that a derived client may give too; `None`: not given.
struct CallOverrides {
    api_key: Option<Secret>,
    auth_token: Option<Secret>,
    environment_key: Option<Secret>,
    plain_api_key: Option<bool>,
    timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    max_retries: Option<u32>,
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
    betas: Option<Vec<String>>,
    workspace_id: Option<HeaderValue>,
    version: Option<HeaderValue>,
    max_response_bytes: Option<usize>,
}

impl CallOverrides {
    fn read(object: &mut Object) -> Result<CallOverrides> {
        let mut secret = |key| object.take(key).map(|value| value.non_empty_string().map(Secret::new)).transpose();
        let (api_key, auth_token, environment_key) = (secret("api_key")?, secret("auth_token")?, secret("environment_key")?);
        if api_key.is_some() && auth_token.is_some() {
            return Err(Error::config("auth_token", "and `api_key` are both given: give one of them"));
        }
        let text_header = |value: Value| header_value(&value, &value.non_empty_string()?);
        Ok(CallOverrides {
            api_key,
            auth_token,
            environment_key,
            plain_api_key: match object.take("auth_header") {
                None => None,
                Some(value) => match value.string()?.as_str() {
                    "authorization" => Some(false),
                    "x-api-key" => Some(true),
                    _ => return Err(value.error("must be \"authorization\" or \"x-api-key\"")),
                },
            },
            timeout: object.take("timeout_ms").map(|value| milliseconds(&value)).transpose()?,
            attempt_timeout: object.take("attempt_timeout_ms").map(|value| milliseconds(&value)).transpose()?,
            max_retries: object.take("max_retries").map(|value| retries(&value)).transpose()?,
            headers: object.take("default_headers").map(|value| headers(&value)).transpose()?.unwrap_or_default(),
            betas: object.take("betas").map(|value| betas(&value)).transpose()?,
            workspace_id: object.take("workspace_id").map(text_header).transpose()?,
            version: object.take("anthropic_version").map(text_header).transpose()?,
            max_response_bytes: object
                .take("max_response_bytes")
                .map(|value| value.integer(1, isize::MAX as i64))
                .transpose()?
                .map(|bytes| bytes as usize),
        })
    }

    fn brings_credential(&self) -> bool {
        self.api_key.is_some()
            || self.auth_token.is_some()
            || self.environment_key.is_some()
            || self.headers.iter().any(|(name, value)| is_credential(name) && value.is_some())
    }
}

/// Sets one of a client's credentials; false when it cannot stand in a header.
type SetCredential = fn(&mut Credentials, Secret) -> bool;

impl CallDefaults {
    fn apply_environment(&mut self, environment: EnvVars, explicit_credential: bool) -> Result<()> {
        if let Some(lines) = environment("ANTHROPIC_CUSTOM_HEADERS") {
            for (name, value) in lines.lines().filter_map(|line| line.split_once(':')) {
                let error =
                    |what| Error::config("ANTHROPIC_CUSTOM_HEADERS", format_args!("has a line whose {what} is not valid"));
                let name: HeaderName = name.trim().parse().map_err(|_| error("header name"))?;
                if is_framing(&name) {
                    let problem = format_args!("has the header `{name}`, which is set by the library alone: remove that line");
                    return Err(Error::config("ANTHROPIC_CUSTOM_HEADERS", problem));
                }
                let value = HeaderValue::from_bytes(value.trim().as_bytes()).map_err(|_| error("value"))?;
                self.set_header(name, Some(value));
            }
        }
        if explicit_credential {
            remove_credentials(&mut self.headers);
            return Ok(());
        }
        if let Some(key) = environment("ANTHROPIC_API_KEY") {
            self.set_credential("ANTHROPIC_API_KEY", Secret::new(key), Credentials::set_api_key)
        } else if let Some(token) = environment("ANTHROPIC_AUTH_TOKEN") {
            self.set_credential("ANTHROPIC_AUTH_TOKEN", Secret::new(token), Credentials::set_auth_token)
        } else if let Some(key) = environment("ANTHROPIC_ENVIRONMENT_KEY") {
            // A host that serves work has no other credential.
            self.set_credential("ANTHROPIC_ENVIRONMENT_KEY", Secret::new(key), Credentials::set_environment_key)
        } else {
            Ok(())
        }
    }

    fn apply(&mut self, own: CallOverrides) -> Result<()> {
        if let Some(plain) = own.plain_api_key {
            self.credentials.send_api_key_plain(plain);
        }
        for (key, secret, set) in [
            ("api_key", own.api_key, Credentials::set_api_key as SetCredential),
            ("auth_token", own.auth_token, Credentials::set_auth_token),
            ("environment_key", own.environment_key, Credentials::set_environment_key),
        ] {
            if let Some(secret) = secret {
                self.set_credential(key, secret, set)?;
            }
        }
        for (name, value) in own.headers {
            self.set_header(name, value);
        }
        if let Some(betas) = own.betas {
            self.betas = betas;
        }
        for (name, value) in
            [(HeaderName::from_static("anthropic-workspace-id"), own.workspace_id), (VERSION_HEADER, own.version)]
        {
            if let Some(value) = value {
                self.headers.insert(name, value);
            }
        }
        self.timeout = own.timeout.unwrap_or(self.timeout);
        self.attempt_timeout = own.attempt_timeout.or(self.attempt_timeout);
        self.max_retries = own.max_retries.unwrap_or(self.max_retries);
        self.max_response_bytes = own.max_response_bytes.unwrap_or(self.max_response_bytes);
        self.headers.insert(BETA_HEADER, join_betas(&self.betas));
        Ok(())
    }

    fn set_credential(&mut self, source: &str, secret: Secret, set: SetCredential) -> Result<()> {
        self.redactor.add(secret.expose());
        if set(&mut self.credentials, secret) {
            return Ok(());
        }
        Err(Error::config(source, "has characters that cannot stand in an HTTP header"))
    }

    /// Sets or (with `None`) removes a default header; betas join the others instead of replacing them.
    fn set_header(&mut self, name: HeaderName, value: Option<HeaderValue>) {
        let Some(mut value) = value else {
            self.headers.remove(&name);
            return;
        };
        if name == BETA_HEADER {
            self.betas.extend(split_betas(&value));
            return;
        }
        if is_credential(&name) {
            value.set_sensitive(true);
        }
        self.headers.insert(name, value);
    }
}

fn carries_credential(headers: &HeaderMap) -> bool {
    headers.contains_key(AUTHORIZATION) || headers.contains_key(X_API_KEY)
}

fn remove_credentials(headers: &mut HeaderMap) {
    headers.remove(AUTHORIZATION);
    headers.remove(X_API_KEY);
}

/// A duration in milliseconds, at least one.
pub fn milliseconds(value: &Value) -> Result<Duration> {
    Ok(Duration::from_millis(value.integer(1, i64::from(MAX_MS))?.unsigned_abs()))
}

/// A number of retries.
pub fn retries(value: &Value) -> Result<u32> {
    Ok(value.integer(0, MAX_RETRIES)? as u32)
}

/// A list of betas.
pub fn betas(value: &Value) -> Result<Vec<String>> {
    let betas = value.strings()?;
    for beta in &betas {
        header_value(value, beta)?;
    }
    Ok(betas)
}

/// The value of the beta header: each beta once, the required one last unless it is named before.
pub fn join_betas<'a>(betas: impl IntoIterator<Item = &'a String>) -> HeaderValue {
    let mut all: Vec<&str> = Vec::new();
    for beta in betas.into_iter().map(String::as_str).chain([REQUIRED_BETA]) {
        if !all.contains(&beta) {
            all.push(beta);
        }
    }
    // Each beta was checked when it was taken in.
    HeaderValue::from_bytes(all.join(",").as_bytes()).unwrap_or(HeaderValue::from_static(REQUIRED_BETA))
}

/// The betas in a header's value.
pub fn split_betas(value: &HeaderValue) -> Vec<String> {
    let text = String::from_utf8_lossy(value.as_bytes());
    text.split(',').map(str::trim).filter(|beta| !beta.is_empty()).map(str::to_owned).collect()
}

/// A header's value: text without control characters.
pub fn header_value(source: &Value, text: &str) -> Result<HeaderValue> {
    HeaderValue::from_bytes(text.as_bytes())
        .map_err(|_| source.error("has control characters, which cannot stand in an HTTP header"))
}

/// Whether a header frames the message: such are the transport's own.
fn is_framing(name: &HeaderName) -> bool {
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

/// An object of headers; `null` removes one.
pub fn headers(value: &Value) -> Result<Vec<(HeaderName, Option<HeaderValue>)>> {
    value
        .object()?
        .into_values()
        .map(|member| {
            let name: HeaderName = member.name().parse().map_err(|_| member.error("is not a valid header name"))?;
            if is_framing(&name) {
                return Err(member.error("is set by the library alone"));
            }
            let text = if member.is_null() { None } else { Some(header_value(&member, &member.string()?)?) };
            Ok((name, text))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations::CredentialKind;

    fn with(json: &str, variables: &[(&str, &str)]) -> Result<(ConnectionSettings, CallDefaults)> {
        read(json, &|name| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned()))
    }

    fn authorization(defaults: &CallDefaults) -> String {
        let credential = defaults.credentials.header(CredentialKind::ApiKey).map(|(_, value)| value);
        let value = defaults.headers.get(AUTHORIZATION).cloned().or(credential).unwrap();
        value.to_str().unwrap().to_owned()
    }

    #[test]
    fn an_explicit_credential_switches_those_of_the_environment_off() {
        let variables = [
            ("ANTHROPIC_API_KEY", "env-key"),
            ("ANTHROPIC_AUTH_TOKEN", "env-token"),
            ("ANTHROPIC_CUSTOM_HEADERS", "x-team: blue\nno colon\nAuthorization: Bearer env-header"),
        ];
        let of_worker = [("ANTHROPIC_ENVIRONMENT_KEY", "env-environment")];
        assert_eq!(authorization(&with("{}", &of_worker).unwrap().1), "Bearer env-environment");
        let (_, all) = with("{}", &variables).unwrap();
        assert_eq!(authorization(&all), "Bearer env-header");
        assert_eq!(all.headers.get("x-team").unwrap(), "blue");
        assert_eq!(authorization(&with("{}", &variables[..2]).unwrap().1), "Bearer env-key");
        assert_eq!(authorization(&with("{}", &variables[1..2]).unwrap().1), "Bearer env-token");
        for (config, expected) in [
            (r#"{"api_key":"own"}"#, "Bearer own"),
            (r#"{"auth_token":"own"}"#, "Bearer own"),
            (r#"{"environment_key":"own"}"#, "Bearer own"),
            (r#"{"api_key":null,"default_headers":{"Authorization":"Basic own"}}"#, "Basic own"),
        ] {
            let (_, defaults) = with(config, &variables).unwrap();
            assert_eq!(authorization(&defaults), expected, "{config}");
            assert_eq!(defaults.headers.get("x-team").unwrap(), "blue");
        }
    }

    #[test]
    fn a_missing_credential_names_the_variables_that_were_looked_at() {
        let error = with("{}", &[]).map(drop).unwrap_err();
        assert_eq!(error.status(), Status::Config);
        for name in [
            "ANTHROPIC_API_KEY",
            "ANTHROPIC_AUTH_TOKEN",
            "ANTHROPIC_ENVIRONMENT_KEY",
            "ANTHROPIC_CUSTOM_HEADERS",
            "api_key",
            "environment_key",
        ] {
            assert!(error.to_string().contains(name), "{name}");
        }
    }

    #[test]
    fn plain_http_is_for_this_machine_alone() {
        for (url, fits) in [
            ("http://127.0.0.1:8080/pfx/", true),
            ("http://127.9.9.9", true),
            ("http://[::1]:1", true),
            ("http://localhost", true),
            ("https://example.com", true),
            ("http://example.com", false),
            ("http://localhost.example.com", false),
            ("HTTPS://API.Example.com/V1", true),
            ("https://ex%41mple.com", false),
            ("https://Ex\u{e4}mple.com", false),
            ("https:example.com", false),
            ("http://10.0.0.1", false),
            ("http://127.0.0.1@example.com", false),
            ("https://user:pass@example.com", false),
            ("https://example.com?x", false),
            ("ftp://example.com", false),
            ("example.com", false),
            ("", false),
        ] {
            let result = with(&format!(r#"{{"api_key":"k","base_url":"{url}"}}"#), &[]);
            assert_eq!(result.is_ok(), fits, "{url}");
            if let Err(error) = result {
                assert_eq!(error.parameter(), Some("base_url"));
                assert!(!error.to_string().contains("pass@"));
            }
        }
        assert!(with(r#"{"api_key":"k","base_url":"http://example.com","allow_insecure_http":true}"#, &[]).is_ok());
        let (connection, _) = with(r#"{"api_key":"k"}"#, &[("ANTHROPIC_BASE_URL", "http://127.0.0.1:1/pfx/")]).unwrap();
        assert_eq!(connection.base_url.as_str(), "http://127.0.0.1:1/pfx/");
    }

    #[test]
    fn a_wrong_key_or_value_is_refused_by_name() {
        for (config, parameter) in [
            (r#"{"api_ky":"k"}"#, "api_ky"),
            (r#"{"api_key":""}"#, "api_key"),
            (r#"{"api_key":"a\nb"}"#, "api_key"),
            (r#"{"api_key":"a","auth_token":"b"}"#, "auth_token"),
            (r#"{"api_key":"k","timeout_ms":"5"}"#, "timeout_ms"),
            (r#"{"api_key":"k","timeout_ms":0}"#, "timeout_ms"),
            (r#"{"api_key":"k","connect_timeout_ms":99999999999}"#, "connect_timeout_ms"),
            (r#"{"api_key":"k","max_retries":101}"#, "max_retries"),
            (r#"{"api_key":"k","http2":"yes"}"#, "http2"),
            (r#"{"api_key":"k","auth_header":"cookie"}"#, "auth_header"),
            (r#"{"api_key":"k","proxy":"http://"}"#, "proxy"),
            (r#"{"api_key":"k","proxy":"ftp://proxy"}"#, "proxy"),
            (r#"{"api_key":"k","roots":"none"}"#, "roots"),
            (r#"{"api_key":"k","roots":"only_ca_file"}"#, "roots"),
            (r#"{"api_key":"k","client_key_file":"k.pem"}"#, "client_key_file"),
            (r#"{"api_key":"k","attempt_timeout_ms":0}"#, "attempt_timeout_ms"),
            (r#"{"api_key":"k","default_headers":{"Host":"x"}}"#, "Host"),
            (r#"{"api_key":"k","max_response_bytes":0}"#, "max_response_bytes"),
            ("[]", "config_json"),
            ("{", "config_json"),
        ] {
            let error = with(config, &[]).map(drop).unwrap_err();
            assert_eq!((error.status(), error.parameter()), (Status::Config, Some(parameter)), "{config}");
        }
    }

    #[test]
    fn a_derived_client_changes_what_it_names_and_keeps_the_rest() {
        let config = r#"{"api_key":"one","environment_key":"two","timeout_ms":7,"default_headers":{"x-a":"1","x-b":"2"}}"#;
        let (_, parent) = with(config, &[]).unwrap();
        let same = derive(&parent, r#"{"default_headers":{"x-a":null,"x-c":"3"},"auth_header":"x-api-key"}"#).unwrap();
        assert_eq!(same.timeout, Duration::from_millis(7));
        assert_eq!((same.headers.get("x-a"), same.headers.len()), (None, parent.headers.len()));
        assert_eq!(same.credentials.header(CredentialKind::ApiKey).unwrap(), (X_API_KEY, HeaderValue::from_static("one")));
        let other = derive(&parent, r#"{"environment_key":"three"}"#).unwrap();
        assert_eq!(authorization(&other), "Bearer three");
        assert_eq!(derive(&parent, r#"{"base_url":"https://x"}"#).unwrap_err().parameter(), Some("base_url"));
    }
}
