//! Credentials: which one a request carries, and how they stay out of everything else.

use crate::operation::Accepts;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use serde_json::value::RawValue;
use std::fmt;
use zeroize::Zeroizing;

/// A secret text: wiped when freed, shown as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes the text over.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// The text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// A header value made of `prefix` and the secret: wiped when its last copy is freed, hidden from Debug. `None` when the
    /// secret cannot stand in a header.
    fn header(&self, prefix: &str) -> Option<HeaderValue> {
        let text = Zeroizing::new([prefix, self.expose()].concat().into_bytes());
        let mut value = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).ok()?;
        value.set_sensitive(true);
        Some(value)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// The older header that an API key may travel in.
pub const X_API_KEY: HeaderName = HeaderName::from_static("x-api-key");

/// Whether a header holds a credential.
pub fn is_credential(name: &HeaderName) -> bool {
    [AUTHORIZATION, X_API_KEY, PROXY_AUTHORIZATION].contains(name)
}

/// The credentials of a client, and the header each is sent in: an API key or an auth token, an environment key, or both kinds.
#[derive(Debug, Clone, Default)]
pub struct Credentials {
    plain: bool,
    api_key: Option<Secret>,
    account: Option<(HeaderName, HeaderValue)>,
    environment: Option<HeaderValue>,
}

impl Credentials {
    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.account.is_none() && self.environment.is_none()
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        *self = Credentials { plain: self.plain, ..Credentials::default() };
    }

    /// Whether an API key, the present or a later one, travels in `x-api-key` instead of as a bearer.
    pub fn send_api_key_plain(&mut self, plain: bool) {
        self.plain = plain;
        if let Some(key) = self.api_key.take() {
            self.set_api_key(key);
        }
    }

    /// Sets the API key; false when it cannot stand in a header, like all of these.
    pub fn set_api_key(&mut self, key: Secret) -> bool {
        let (name, prefix) = if self.plain { (X_API_KEY, "") } else { (AUTHORIZATION, "Bearer ") };
        self.account = key.header(prefix).map(|value| (name, value));
        self.api_key = Some(key);
        self.account.is_some()
    }

    /// Sets the auth token, which stands in for the API key.
    pub fn set_auth_token(&mut self, token: Secret) -> bool {
        self.api_key = None;
        self.account = token.header("Bearer ").map(|value| (AUTHORIZATION, value));
        self.account.is_some()
    }

    /// Sets the environment key.
    pub fn set_environment_key(&mut self, key: Secret) -> bool {
        self.environment = key.header("Bearer ");
        self.environment.is_some()
    }

    /// The environment key, if there is one.
    pub fn environment_key(&self) -> Option<Secret> {
        let header = self.environment.as_ref()?.to_str().ok()?;
        header.strip_prefix("Bearer ").map(|key| Secret::new(key.to_owned()))
    }

    /// The header for an operation. A client that has one credential sends that one and lets the server judge; one that has both
    /// sends the one the API accepts, and where it accepts both, the environment key, which opens less.
    pub fn header(&self, accepts: Accepts) -> Option<(HeaderName, HeaderValue)> {
        let environment = self.environment.clone().map(|value| (AUTHORIZATION, value));
        match accepts {
            Accepts::ApiKey => self.account.clone().or(environment),
            Accepts::EnvironmentKey | Accepts::Both => environment.or_else(|| self.account.clone()),
        }
    }
}

/// Removes known secrets from text that comes from outside.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Vec<Secret>);

impl Redactor {
    /// Secrets shorter than this are not looked for: replacing them would garble ordinary words.
    const SHORTEST: usize = 8;

    /// Adds a secret to look for, in the forms it may be repeated in.
    pub fn add(&mut self, secret: &str) {
        if secret.len() < Self::SHORTEST {
            return;
        }
        let escaped = serde_json::to_string(secret).unwrap_or_default();
        let escaped = escaped.trim_matches('"');
        for form in [escaped, secret] {
            if !self.0.iter().any(|known| known.expose() == form) {
                self.0.push(Secret::new(form.to_owned()));
            }
        }
    }

    /// Adds the secrets that stand in headers.
    pub fn add_headers(&mut self, headers: &HeaderMap) {
        for (_, value) in headers.iter().filter(|(name, _)| is_credential(name)) {
            let text = String::from_utf8_lossy(value.as_bytes());
            self.add(text.strip_prefix("Bearer ").unwrap_or(&text));
        }
    }

    /// Replaces every secret in the text with `***`.
    pub fn text(&self, text: &mut String) {
        for secret in &self.0 {
            if text.contains(secret.expose()) {
                *text = text.replace(secret.expose(), "***");
            }
        }
    }

    /// The same inside JSON, which stays JSON: a document that would not is replaced as a whole.
    pub fn json(&self, json: &mut Box<RawValue>) {
        let mut text = json.get().to_owned();
        self.text(&mut text);
        if text != json.get() {
            let clean = RawValue::from_string(text).or_else(|_| RawValue::from_string("\"***\"".to_owned()));
            *json = clean.unwrap_or_default();
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
        assert_eq!(sent(&credentials, Accepts::EnvironmentKey), "Bearer account");
        credentials.set_environment_key(Secret::new("environment".into()));
        assert_eq!(sent(&credentials, Accepts::ApiKey), "Bearer account");
        assert_eq!(sent(&credentials, Accepts::EnvironmentKey), "Bearer environment");
        assert_eq!(sent(&credentials, Accepts::Both), "Bearer environment");
        credentials.send_api_key_plain(true);
        assert_eq!(credentials.header(Accepts::ApiKey).unwrap().0, X_API_KEY);
    }

    #[test]
    fn secrets_are_removed_from_text_and_from_json_also_when_escaped() {
        let mut redactor = Redactor::default();
        redactor.add("sk-\"quoted\"-key");
        let mut text = "bad key sk-\"quoted\"-key!".to_owned();
        redactor.text(&mut text);
        assert_eq!(text, "bad key ***!");
        let mut json = RawValue::from_string(r#"{"message":"bad key sk-\"quoted\"-key"}"#.into()).unwrap();
        redactor.json(&mut json);
        assert_eq!(json.get(), r#"{"message":"bad key ***"}"#);
    }
}
