//! The secret of a work item: a base64-encoded JSON object that holds a token for the item and its session.

use crate::credentials::Secret;
use crate::error::Status;
use crate::json::Object;
use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

const ANY_PADDING: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent).with_decode_allow_trailing_bits(true);

/// Returns the token in a secret, or `None` if it holds none. Accepts both base64 alphabets, with and without padding.
pub fn token(secret: &str) -> Option<Secret> {
    let text: String = secret
        .trim()
        .trim_end_matches('=')
        .chars()
        .map(|c| {
            if c == '+' {
                '-'
            } else if c == '/' {
                '_'
            } else {
                c
            }
        })
        .collect();
    let text = Zeroizing::new(text);
    let json = Zeroizing::new(GeneralPurpose::new(&URL_SAFE, ANY_PADDING).decode(text.as_bytes()).ok()?);
    let mut object = Object::parse(std::str::from_utf8(&json).ok()?, "secret", Status::Response).ok()?;
    let token = object.take("sessions_token")?.string().ok()?;
    (!token.is_empty()).then(|| Secret::new(token))
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::engine::general_purpose::{STANDARD, URL_SAFE as PADDED, URL_SAFE_NO_PAD};

    #[test]
    fn a_token_is_found_in_any_form_of_base64() {
        let json = r#"{"sessions_token":"sk-ant-req-?>?>","api_base_url":"https://x"}"#;
        let forms = [STANDARD.encode(json), PADDED.encode(json), URL_SAFE_NO_PAD.encode(json)];
        let more = [format!(" {}\n", forms[2]), format!("{}====", forms[2])];
        for form in forms.iter().chain(&more) {
            assert_eq!(token(form).unwrap().expose(), "sk-ant-req-?>?>", "{form}");
        }
    }

    #[test]
    fn what_holds_no_token_gives_none() {
        for json in ["{}", "[]", "7", "{\"sessions_token\":\"\"}", "{\"sessions_token\":7}", "{\"sessions_token\":null}", "{"] {
            assert!(token(&STANDARD.encode(json)).is_none(), "{json}");
        }
        assert!(token("").is_none() && token("no base64!").is_none() && token(&STANDARD.encode(b"\xff\xfe")).is_none());
    }
}
