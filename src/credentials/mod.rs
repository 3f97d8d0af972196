//! Credentials: which one a request carries, and how they stay out of everything else.

use crate::api::operations::CredentialKind;
use bytes::Bytes;
use http::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, PROXY_AUTHORIZATION};
use serde_json::value::RawValue;
use std::fmt;
use std::ops::Range;
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
    pub fn header(&self, accepts: CredentialKind) -> Option<(HeaderName, HeaderValue)> {
        let environment = self.environment.clone().map(|value| (AUTHORIZATION, value));
        match accepts {
            CredentialKind::ApiKey => self.account.clone().or(environment),
            CredentialKind::EnvironmentKey | CredentialKind::Both => environment.or_else(|| self.account.clone()),
        }
    }
}

/// Removes known secrets from text that comes from outside, however each of their characters is spelled: as it is, percent-encoded, or
/// with one of JSON's escapes.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Vec<Secret>);

impl Redactor {
    /// Secrets shorter than this are not looked for: replacing them would garble ordinary words.
    const MIN_LEN: usize = 8;

    /// Adds a secret to look for.
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= Self::MIN_LEN && !self.0.iter().any(|known| known.expose() == secret) {
            self.0.push(Secret::new(secret.to_owned()));
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
            let found = occurrences(text, secret.expose());
            if !found.is_empty() {
                let mut clean = String::with_capacity(text.len());
                let mut rest = 0;
                for found in found {
                    clean.push_str(&text[rest..found.start]);
                    clean.push_str("***");
                    rest = found.end;
                }
                clean.push_str(&text[rest..]);
                *text = clean;
            }
        }
    }

    /// The same inside JSON, which stays JSON: a document that would not is replaced as a whole.
    pub fn json(&self, json: &mut Box<RawValue>) {
        let is_clean = self.0.iter().all(|secret| occurrences(json.get(), secret.expose()).is_empty());
        if !is_clean {
            let mut text = json.get().to_owned();
            self.text(&mut text);
            let clean = RawValue::from_string(text).or_else(|_| RawValue::from_string("\"***\"".to_owned()));
            *json = clean.unwrap_or_default();
        }
    }
}

/// Where a secret stands in a text, in any spelling.
fn occurrences(text: &str, secret: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let bytes = text.as_bytes();
    for start in 0..bytes.len() {
        let is_candidate = bytes[start] == secret.as_bytes()[0] || matches!(bytes[start], b'%' | b'\\');
        if is_candidate
            && found.last().is_none_or(|last| last.end <= start)
            && let Some(length) = spelled(&bytes[start..], secret.as_bytes())
        {
            found.push(start..start + length);
        }
    }
    found
}

/// How many bytes of the text spell the secret, if its beginning does.
fn spelled(text: &[u8], secret: &[u8]) -> Option<usize> {
    if secret.is_empty() {
        return Some(0);
    }
    let [encoded, percent] = percent_decoded(text);
    let raw = text.first().map(|byte| (vec![*byte], 1));
    [encoded, percent, json_unescaped(text), backslashes(text), raw].into_iter().flatten().find_map(|(unit, length)| {
        let rest = secret.strip_prefix(unit.as_slice())?;
        Some(length + spelled(&text[length..], rest)?)
    })
}

/// What a spelling stands for, and how long it is.
type Spelling = Option<(Vec<u8>, usize)>;

/// What is percent-encoded at the beginning of the text. What was encoded twice has `25` behind the percent sign; or that is a percent sign
/// itself, and what follows stands for itself.
fn percent_decoded(text: &[u8]) -> [Spelling; 2] {
    let Some(digits) = text.strip_prefix(b"%") else { return [None, None] };
    let doubled = digits.chunks_exact(2).take_while(|pair| *pair == b"25").count();
    let followed = digits.get(2 * doubled..2 * doubled + 2).and_then(hexadecimal).and_then(|byte| u8::try_from(byte).ok());
    [followed.map(|byte| (vec![byte], 2 * doubled + 3)), (doubled > 0).then(|| (vec![b'%'], 2 * doubled + 1))]
}

/// The character that one of JSON's escapes at the beginning of the text stands for, and how long the escape is. JSON within JSON has
/// more backslashes before each.
fn json_unescaped(text: &[u8]) -> Spelling {
    let (_, start) = backslashes(text)?;
    let unit = |at: usize| text.get(at..)?.strip_prefix(b"u").and_then(|digits| hexadecimal(digits.get(..4)?));
    let character = |number| Some(char::from_u32(number)?.to_string().into_bytes());
    match (text.get(start)?, unit(start)) {
        (b'u', Some(high @ 0xD800..=0xDBFF)) => {
            let (_, between) = backslashes(text.get(start + 5..)?)?;
            let low = unit(start + 5 + between).filter(|low| (0xDC00..=0xDFFF).contains(low))?;
            Some((character(0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00))?, start + 10 + between))
        }
        (b'u', Some(number)) => Some((character(number)?, start + 5)),
        (escaped @ (b'"' | b'/'), _) => Some((vec![*escaped], start + 1)),
        (b't', _) => Some((vec![b'\t'], start + 1)),
        _ => None,
    }
}

/// A backslash, escaped however often.
fn backslashes(text: &[u8]) -> Spelling {
    let length = text.iter().take_while(|byte| **byte == b'\\').count();
    (length > 0).then(|| (vec![b'\\'], length))
}

fn hexadecimal(digits: &[u8]) -> Option<u32> {
    u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
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
        credentials.send_api_key_plain(true);
        assert_eq!(credentials.header(CredentialKind::ApiKey).unwrap().0, X_API_KEY);
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

    #[test]
    fn secrets_are_found_in_every_spelling() {
        let mut redactor = Redactor::default();
        redactor.add("sk/ant+k%ey-\"\u{e9}\u{1f511}");
        for spelling in [
            "sk/ant+k%ey-\"\u{e9}\u{1f511}",
            "sk%2Fant%2Bk%25ey-%22%C3%A9%F0%9F%94%91",
            "sk%2fant%2bk%ey-%22%c3%a9%f0%9f%94%91",
            r#"sk\/ant+k%ey-\"\u00e9\ud83d\udd11"#,
            r#"\u0073\u006B/ant\u002bk\u0025ey-\u0022\u00E9\uD83D\uDD11"#,
            r#"\\u0073\\u006b\\\/ant+k%ey-\\\"\\u00e9\\ud83d\\udd11"#,
            "sk%252Fant%252Bk%2525ey-%2522%25C3%25A9%25F0%259F%2594%2591",
        ] {
            let mut text = format!("a%zz {spelling} b {spelling}");
            redactor.text(&mut text);
            assert_eq!(text, "a%zz *** b ***", "{spelling}");
        }
        let mut other = "sk/ant+k%ey-\"e %s %2".to_owned();
        redactor.text(&mut other);
        assert_eq!(other, "sk/ant+k%ey-\"e %s %2");
    }
}
