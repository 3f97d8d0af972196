//! The defaults of each call, and the configuration keys that override them.

use super::headers::{
    BETA_HEADER, VERSION_HEADER, betas, fixed_headers, header_value, headers, is_framing, join_betas, remove_credentials,
    split_betas,
};
use super::{EnvVars, milliseconds, retries};
use crate::api::operations::MANAGED_AGENTS_BETA;
use crate::credentials::{Credentials, Redactor, Secret, is_credential};
use crate::error::{Error, Result};
use crate::json::{Object, Value};
use http::header::{HeaderMap, HeaderName, HeaderValue};
use std::time::Duration;

/// The configuration keys of [`CallOverrides`].
pub const KEYS: &[&str] = &[
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

/// The default timeout of one attempt, so that a silently dead connection costs an attempt and not the call.
pub const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(60);
/// The default timeout of one attempt of a poll, in addition to the time for which the server holds the poll.
pub const POLL_MARGIN: Duration = Duration::from_secs(10);
/// The defaults of each call.
#[derive(Debug, Clone)]
pub struct CallDefaults {
    /// The timeout of a whole call.
    pub timeout: Duration,
    /// The timeout of one attempt; `None`: [`ATTEMPT_TIMEOUT`].
    pub attempt_timeout: Option<Duration>,
    /// The maximum number of retries.
    pub max_retries: u32,
    /// The headers of every call. A call's headers start as a copy of these.
    pub headers: HeaderMap,
    /// Betas besides the one that an operation requires. `headers` contains them too, joined with [`MANAGED_AGENTS_BETA`].
    pub betas: Vec<String>,
    /// The maximum size of a response's body.
    pub max_response_bytes: u64,
    /// The credentials.
    pub credentials: Credentials,
    /// Removes secrets from errors.
    pub redactor: Redactor,
}

/// The call defaults in a configuration, which a derived client may override too. `None`: not given.
pub struct CallOverrides {
    api_key: Option<Secret>,
    auth_token: Option<Secret>,
    environment_key: Option<Secret>,
    api_key_as_x_api_key: Option<bool>,
    timeout: Option<Duration>,
    attempt_timeout: Option<Duration>,
    max_retries: Option<u32>,
    headers: Vec<(HeaderName, Option<HeaderValue>)>,
    betas: Option<Vec<String>>,
    workspace_id: Option<HeaderValue>,
    version: Option<HeaderValue>,
    max_response_bytes: Option<u64>,
}

impl CallOverrides {
    /// Reads the overrides from the configuration.
    pub fn read(object: &mut Object) -> Result<CallOverrides> {
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
            api_key_as_x_api_key: match object.take("auth_header") {
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
                .map(|value| value.integer(1, i64::MAX))
                .transpose()?
                .map(i64::unsigned_abs),
        })
    }

    /// Returns whether the configuration gives a credential.
    pub fn has_credential(&self) -> bool {
        self.api_key.is_some()
            || self.auth_token.is_some()
            || self.environment_key.is_some()
            || self.headers.iter().any(|(name, value)| is_credential(name) && value.is_some())
    }
}

/// Sets one of a client's credentials. Returns false if it is not valid in a header.
type SetCredential = fn(&mut Credentials, Secret) -> bool;

impl Default for CallDefaults {
    /// Returns the defaults of a client without configuration.
    fn default() -> CallDefaults {
        CallDefaults {
            timeout: Duration::from_secs(600),
            attempt_timeout: None,
            max_retries: 2,
            headers: fixed_headers(),
            betas: Vec::new(),
            max_response_bytes: 64 << 20,
            credentials: Credentials::default(),
            redactor: Redactor::default(),
        }
    }
}

impl CallDefaults {
    /// Applies the environment variables: default headers, and a credential unless one is given explicitly.
    pub fn apply_env(&mut self, env: EnvVars, explicit_credential: bool) -> Result<()> {
        if let Some(lines) = env("ANTHROPIC_CUSTOM_HEADERS") {
            for (name, value) in lines.lines().filter_map(|line| line.split_once(':')) {
                let error =
                    |what| Error::config("ANTHROPIC_CUSTOM_HEADERS", format_args!("has a line whose {what} is not valid"));
                let name: HeaderName = name.trim().parse().map_err(|_| error("header name"))?;
                if is_framing(&name) {
                    let problem = format_args!("has the header `{name}`, which only the library sets: remove that line");
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
        if let Some(key) = env("ANTHROPIC_API_KEY") {
            self.set_credential("ANTHROPIC_API_KEY", Secret::new(key), Credentials::set_api_key)
        } else if let Some(token) = env("ANTHROPIC_AUTH_TOKEN") {
            self.set_credential("ANTHROPIC_AUTH_TOKEN", Secret::new(token), Credentials::set_auth_token)
        } else if let Some(key) = env("ANTHROPIC_ENVIRONMENT_KEY") {
            // A host that serves work may have no other credential.
            self.set_credential("ANTHROPIC_ENVIRONMENT_KEY", Secret::new(key), Credentials::set_environment_key)
        } else {
            Ok(())
        }
    }

    /// Applies the overrides.
    pub fn apply(&mut self, overrides: CallOverrides) -> Result<()> {
        if let Some(as_x_api_key) = overrides.api_key_as_x_api_key {
            self.credentials.send_as_x_api_key(as_x_api_key);
        }
        for (key, secret, set) in [
            ("api_key", overrides.api_key, Credentials::set_api_key as SetCredential),
            ("auth_token", overrides.auth_token, Credentials::set_auth_token),
            ("environment_key", overrides.environment_key, Credentials::set_environment_key),
        ] {
            if let Some(secret) = secret {
                self.set_credential(key, secret, set)?;
            }
        }
        for (name, value) in overrides.headers {
            self.set_header(name, value);
        }
        if let Some(betas) = overrides.betas {
            self.betas = betas;
        }
        for (name, value) in
            [(HeaderName::from_static("anthropic-workspace-id"), overrides.workspace_id), (VERSION_HEADER, overrides.version)]
        {
            if let Some(value) = value {
                self.headers.insert(name, value);
            }
        }
        self.timeout = overrides.timeout.unwrap_or(self.timeout);
        self.attempt_timeout = overrides.attempt_timeout.or(self.attempt_timeout);
        self.max_retries = overrides.max_retries.unwrap_or(self.max_retries);
        self.max_response_bytes = overrides.max_response_bytes.unwrap_or(self.max_response_bytes);
        if let Some(joined) = join_betas(&self.betas, Some(MANAGED_AGENTS_BETA)) {
            self.headers.insert(BETA_HEADER, joined);
        }
        Ok(())
    }

    fn set_credential(&mut self, source: &str, secret: Secret, set: SetCredential) -> Result<()> {
        self.redactor.add(secret.expose());
        if set(&mut self.credentials, secret) {
            return Ok(());
        }
        Err(Error::config(source, "has characters that are not valid in an HTTP header"))
    }

    /// Sets a default header, or removes it (`None`). Betas are added to the others instead of replacing them.
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
