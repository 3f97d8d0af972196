//! Credentials: which one a request carries, and how they are kept out of everything else.

mod redaction;
mod secret;

pub use redaction::Redactor;
pub use secret::Secret;

use crate::api::operations::CredentialKind;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, PROXY_AUTHORIZATION};

/// The older header for an API key.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Returns whether a header contains a credential.
pub fn is_credential(name: &HeaderName) -> bool {
    [AUTHORIZATION, X_API_KEY, PROXY_AUTHORIZATION].contains(name)
}

/// The credentials of a client, as the headers that they are sent in: an API key or an auth token, an environment key, or both kinds.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    as_x_api_key: bool,
    api_key: Option<Secret>,
    account_header: Option<(HeaderName, HeaderValue)>,
    environment_header: Option<HeaderValue>,
}

impl Credentials {
    /// Returns whether there is no credential.
    pub fn is_empty(&self) -> bool {
        self.account_header.is_none() && self.environment_header.is_none()
    }

    /// Removes all credentials.
    pub fn clear(&mut self) {
        *self = Credentials { as_x_api_key: self.as_x_api_key, ..Credentials::default() };
    }

    /// Sends the API key, the current or a later one, in `x-api-key` (true) or as a bearer token (false).
    pub fn send_as_x_api_key(&mut self, as_x_api_key: bool) {
        self.as_x_api_key = as_x_api_key;
        if let Some(key) = self.api_key.take() {
            self.set_api_key(key);
        }
    }

    /// Sets the API key. Returns false if it is not valid in a header.
    pub fn set_api_key(&mut self, key: Secret) -> bool {
        let (name, prefix) = if self.as_x_api_key { (X_API_KEY, "") } else { (AUTHORIZATION, "Bearer ") };
        self.account_header = key.header(prefix).map(|value| (name, value));
        self.api_key = Some(key);
        self.account_header.is_some()
    }

    /// Sets the auth token, which replaces the API key. Returns false if it is not valid in a header.
    pub fn set_auth_token(&mut self, token: Secret) -> bool {
        self.api_key = None;
        self.account_header = token.header("Bearer ").map(|value| (AUTHORIZATION, value));
        self.account_header.is_some()
    }

    /// Sets the environment key. Returns false if it is not valid in a header.
    pub fn set_environment_key(&mut self, key: Secret) -> bool {
        self.environment_header = key.header("Bearer ");
        self.environment_header.is_some()
    }

    /// Returns the environment key, if there is one.
    pub fn environment_key(&self) -> Option<Secret> {
        let header = self.environment_header.as_ref()?.to_str().ok()?;
        header.strip_prefix("Bearer ").map(|key| Secret::new(key.to_owned()))
    }

    /// Returns the header for an operation. A client with one credential sends that one and lets the server decide. A client with both
    /// sends the kind that the API accepts; if it accepts both, the environment key, which permits less.
    pub fn header(&self, accepts: CredentialKind) -> Option<(HeaderName, HeaderValue)> {
        let environment_header = self.environment_header.clone().map(|value| (AUTHORIZATION, value));
        match accepts {
            CredentialKind::ApiKey => self.account_header.clone().or(environment_header),
            CredentialKind::EnvironmentKey | CredentialKind::Both => environment_header.or_else(|| self.account_header.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("sk-ant-very-secret".into());
        let mut credentials = Credentials::default();
        assert!(credentials.set_api_key(secret.clone()));
        assert!(credentials.set_environment_key(secret.clone()));
        let mut redactor = Redactor::default();
        redactor.add(secret.expose());
        let shown = format!("{secret:?} {credentials:?} {redactor:?}");
        assert!(!shown.contains("very-secret"), "{shown}");
    }

    #[test]
    fn a_secret_that_would_break_the_header_is_rejected() {
        assert!(!Credentials::default().set_api_key(Secret::new("a\r\nx: y".into())));
    }

    #[test]
    fn each_operation_gets_the_credential_that_the_api_accepts() {
        let mut credentials = Credentials::default();
        credentials.set_api_key(Secret::new("account".into()));
        let sent = |credentials: &Credentials, accepts| credentials.header(accepts).unwrap().1.to_str().unwrap().to_owned();
        assert_eq!(sent(&credentials, CredentialKind::EnvironmentKey), "Bearer account");
        credentials.set_environment_key(Secret::new("environment".into()));
        assert_eq!(sent(&credentials, CredentialKind::ApiKey), "Bearer account");
        assert_eq!(sent(&credentials, CredentialKind::EnvironmentKey), "Bearer environment");
        assert_eq!(sent(&credentials, CredentialKind::Both), "Bearer environment");
        credentials.send_as_x_api_key(true);
        assert_eq!(credentials.header(CredentialKind::ApiKey).unwrap().0, X_API_KEY);
    }
}
