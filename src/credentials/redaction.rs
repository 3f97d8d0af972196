//! Redaction: removing known secrets from text that comes from outside.

use super::{Secret, is_credential};
use crate::error::Error;
use http::header::HeaderMap;
use serde_json::value::RawValue;
use std::ops::Range;

/// Removes known secrets from text that comes from outside. Each character may be verbatim, percent-encoded or a JSON escape.
#[derive(Debug, Clone, Default)]
pub struct Redactor(Vec<Secret>);

impl Redactor {
    /// Shorter secrets are ignored: replacing them would garble ordinary words.
    const MIN_LEN: usize = 8;

    /// Adds a secret.
    pub fn add(&mut self, secret: &str) {
        if secret.len() >= Self::MIN_LEN && !self.0.iter().any(|known| known.expose() == secret) {
            self.0.push(Secret::new(secret.to_owned()));
        }
    }

    /// Adds the secrets in these headers.
    pub fn add_headers(&mut self, headers: &HeaderMap) {
        for (_, value) in headers.iter().filter(|(name, _)| is_credential(name)) {
            let text = String::from_utf8_lossy(value.as_bytes());
            self.add(text.strip_prefix("Bearer ").unwrap_or(&text));
        }
    }

    /// Removes secrets that a server or a transport may have repeated in an error.
    pub fn error(&self, error: Error) -> Error {
        error.edit(|text| self.text(text), |json| self.json(json))
    }

    /// Replaces every secret in the text with `***`.
    pub fn text(&self, text: &mut String) {
        for secret in &self.0 {
            let found = find_occurrences(text, secret.expose());
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

    /// Replaces every secret in the JSON. If the result would not be valid JSON, replaces the whole document.
    pub fn json(&self, json: &mut Box<RawValue>) {
        let is_clean = self.0.iter().all(|secret| find_occurrences(json.get(), secret.expose()).is_empty());
        if !is_clean {
            let mut text = json.get().to_owned();
            self.text(&mut text);
            let clean = RawValue::from_string(text).or_else(|_| RawValue::from_string("\"***\"".to_owned()));
            *json = clean.unwrap_or_default();
        }
    }
}

/// Returns the ranges of a text that spell the secret.
fn find_occurrences(text: &str, secret: &str) -> Vec<Range<usize>> {
    let mut found: Vec<Range<usize>> = Vec::new();
    let bytes = text.as_bytes();
    for start in 0..bytes.len() {
        let is_candidate = bytes[start] == secret.as_bytes()[0] || matches!(bytes[start], b'%' | b'\\');
        if is_candidate
            && found.last().is_none_or(|last| last.end <= start)
            && let Some(length) = match_len(&bytes[start..], secret.as_bytes())
        {
            found.push(start..start + length);
        }
    }
    found
}

/// Returns the number of bytes that spell the secret at the beginning of the text, if they do.
fn match_len(text: &[u8], secret: &[u8]) -> Option<usize> {
    if secret.is_empty() {
        return Some(0);
    }
    let [encoded, percent] = percent_decoded(text);
    let raw = text.first().map(|byte| (vec![*byte], 1));
    [encoded, percent, json_unescaped(text), backslashes(text), raw].into_iter().flatten().find_map(|(unit, length)| {
        let rest = secret.strip_prefix(unit.as_slice())?;
        Some(length + match_len(&text[length..], rest)?)
    })
}

/// The bytes that a spelling stands for, and its length.
type Spelling = Option<(Vec<u8>, usize)>;

/// Decodes a percent-encoding at the beginning of the text. Text that was encoded twice has `25` after the percent sign. `%25` may
/// also stand for a percent sign, with verbatim text after it, so there are two readings.
fn percent_decoded(text: &[u8]) -> [Spelling; 2] {
    let Some(digits) = text.strip_prefix(b"%") else { return [None, None] };
    let doubled = digits.chunks_exact(2).take_while(|pair| *pair == b"25").count();
    let followed = digits.get(2 * doubled..2 * doubled + 2).and_then(hexadecimal).and_then(|byte| u8::try_from(byte).ok());
    [followed.map(|byte| (vec![byte], 2 * doubled + 3)), (doubled > 0).then(|| (vec![b'%'], 2 * doubled + 1))]
}

/// Decodes a JSON escape at the beginning of the text. JSON within JSON has more backslashes before each escape.
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

/// Decodes a backslash, which may have been escaped several times.
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
