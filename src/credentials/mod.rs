//! Credentials: which one a request carries, and how they stay out of everything else.

mod redaction;
mod secret;

pub use redaction::Redactor;
pub use secret::Secret;

use crate::api::operations::CredentialKind;
use http::header::{AUTHORIZATION, HeaderName, HeaderValue, PROXY_AUTHORIZATION};

/// The older header that an API key may travel in.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Whether a header holds a credential.
pub fn is_credential(name: &HeaderName) -> bool {
    [AUTHORIZATION, X_API_KEY, PROXY_AUTHORIZATION].contains(name)
}

/// The credentials of a client, and the header each is sent in: an API key or an auth token, an environment key, or both kinds.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    as_x_api_key: bool,
    api_key: Option<Secret>,
    account_header: Option<(HeaderName, HeaderValue)>,
    environment_header: Option<HeaderValue>,
}

impl Credentials {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.account_header.is_none() && self.environment_header.is_none()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        *self = Credentials { as_x_api_key: self.as_x_api_key, ..Credentials::default() };
    }

    /// Whether an API key, the present or a later one, travels in `x-api-key` instead of as a bearer.
    pub fn send_as_x_api_key(&mut self, as_x_api_key: bool) {
        self.as_x_api_key = as_x_api_key;
        if let Some(key) = self.api_key.take() {
            self.set_api_key(key);
        }
    }

    /// Sets the API key; false when it cannot stand in a header, like all of these.
    pub fn set_api_key(&mut self, key: Secret) -> bool {
        let (name, prefix) = if self.as_x_api_key { (X_API_KEY, "") } else { (AUTHORIZATION, "Bearer ") };
        self.account_header = key.header(prefix).map(|value| (name, value));
        self.api_key = Some(key);
        self.account_header.is_some()
    }

    /// Sets the auth token, which stands in for the API key.
    pub fn set_auth_token(&mut self, token: Secret) -> bool {
        self.api_key = None;
        self.account_header = token.header("Bearer ").map(|value| (AUTHORIZATION, value));
        self.account_header.is_some()
    }

    /// Sets the environment key.
    pub fn set_environment_key(&mut self, key: Secret) -> bool {
        self.environment_header = key.header("Bearer ");
        self.environment_header.is_some()
    }

    /// The environment key, if there is one.
    pub fn environment_key(&self) -> Option<Secret> {
        let header = self.environment_header.as_ref()?.to_str().ok()?;
        header.strip_prefix("Bearer ").map(|key| Secret::new(key.to_owned()))
    }

    /// The header for an operation. A client that has one credential sends that one and lets the server judge; one that has both
    /// sends the one the API accepts, and where it accepts both, the environment key, which opens less.
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
    fn a_secret_that_would_break_the_header_is_refused() {
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
