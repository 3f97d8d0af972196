//! Configuration: a client's JSON, then the environment variables, then the built-in defaults.
//!
//! There are two halves. [`ConnectionSettings`] configure a connection pool and never change; [`CallDefaults`] are the starting
//! point of each call, and a derived client may change them.

mod call;
mod connection;
mod env_vars;
mod headers;

pub use call::{ATTEMPT_TIMEOUT, CallDefaults, POLL_MARGIN};
pub use connection::{ConnectionSettings, Http2, Roots, parse_url};
pub use env_vars::{EnvVars, missing, non_empty, process_env_vars};
pub use headers::{BETA_HEADER, REQUIRED_BETA, betas, header_value, headers, join_betas, split_betas};

use crate::credentials::Secret;
use crate::error::{MAX_MS, Result, Status};
use crate::json::{Object, Value};
use call::CallOverrides;
use headers::{carries_credential, remove_credentials};
use std::time::Duration;

/// The largest `max_retries`.
pub const MAX_RETRIES: i64 = 100;

/// The environment variables that hold a credential.
const CREDENTIAL_VARIABLES: [&str; 3] = ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_ENVIRONMENT_KEY"];

const CREDENTIAL_ADVICE: &str = "give `api_key`, `auth_token` or `environment_key`, or set one of the environment variables \
    ANTHROPIC_API_KEY, ANTHROPIC_AUTH_TOKEN and ANTHROPIC_ENVIRONMENT_KEY (none of them holds a credential, nor does \
    ANTHROPIC_CUSTOM_HEADERS)";

/// Reads a configuration.
pub fn read(json: &str, env: EnvVars) -> Result<(ConnectionSettings, CallDefaults)> {
    let mut object = Object::parse(json, "config_json", Status::Config)?;
    let mut defaults = CallDefaults::default();
    object.check_names(connection::KEYS.iter().chain(call::KEYS).copied())?;
    let variables = non_empty(env);
    let connection = ConnectionSettings::read(&mut object, &variables, &mut defaults.redactor)?;
    let overrides = CallOverrides::read(&mut object)?;
    defaults.apply_env(&variables, overrides.has_credential())?;
    defaults.apply(overrides)?;
    if defaults.credentials.is_empty() && !carries_credential(&defaults.headers) {
        return Err(missing(env, "api_key", &CREDENTIAL_VARIABLES, CREDENTIAL_ADVICE));
    }
    Ok((connection, defaults))
}

/// Reads a derived client's configuration: returns `parent`'s defaults with the given keys replaced.
pub fn derive(parent: &CallDefaults, json: &str) -> Result<CallDefaults> {
    let mut object = Object::parse(json, "config_json", Status::Config)?;
    for key in connection::KEYS {
        if let Some(value) = object.take(key) {
            return Err(value.error("configures the connections, which a derived client shares: make a new client instead"));
        }
    }
    object.check_names(call::KEYS.iter().copied())?;
    let overrides = CallOverrides::read(&mut object)?;
    let mut defaults = parent.clone();
    if overrides.has_credential() {
        defaults.credentials.clear();
        remove_credentials(&mut defaults.headers);
    }
    defaults.apply(overrides)?;
    Ok(defaults)
}

/// Returns a client's defaults with this token as the only credential. `None`: the token is not valid in a header.
pub fn with_bearer(parent: &CallDefaults, token: &Secret) -> Option<CallDefaults> {
    let mut defaults = parent.clone();
    defaults.credentials.clear();
    remove_credentials(&mut defaults.headers);
    defaults.redactor.add(token.expose());
    defaults.credentials.set_auth_token(token.clone()).then_some(defaults)
}

/// Reads a duration in milliseconds, from 1 to [`MAX_MS`].
pub fn milliseconds(value: &Value) -> Result<Duration> {
    Ok(Duration::from_millis(value.integer(1, i64::from(MAX_MS))?.unsigned_abs()))
}

/// Reads a number of retries, from 0 to [`MAX_RETRIES`].
pub fn retries(value: &Value) -> Result<u32> {
    Ok(value.integer(0, MAX_RETRIES)? as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations::CredentialKind;
    use crate::credentials::X_API_KEY;
    use http::header::{AUTHORIZATION, HeaderValue};

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
    fn a_missing_credential_names_the_variables_that_were_read() {
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
    fn an_empty_credential_is_named() {
        for name in CREDENTIAL_VARIABLES {
            let error = with("{}", &[(name, "")]).map(drop).unwrap_err();
            assert_eq!((error.status(), error.parameter()), (Status::Config, Some(name)));
            assert!(error.to_string().starts_with(&format!("`{name}` is set but empty")), "{error}");
        }
        for key in ["api_key", "auth_token", "environment_key"] {
            let error = with(&format!(r#"{{"{key}":""}}"#), &[("ANTHROPIC_API_KEY", "k")]).map(drop).unwrap_err();
            assert_eq!(error.parameter(), Some(key));
        }
        let (_, defaults) = with("{}", &[("ANTHROPIC_API_KEY", ""), ("ANTHROPIC_AUTH_TOKEN", "token")]).unwrap();
        assert_eq!(authorization(&defaults), "Bearer token");
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
    fn an_invalid_key_or_value_is_rejected_by_name() {
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
