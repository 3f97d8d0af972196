//! A secret text, which is never shown.

use bytes::Bytes;
use http::header::HeaderValue;
use std::fmt;
use zeroize::Zeroizing;

/// A secret text: wiped when dropped, shown as `***`.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Zeroizing<String>);

impl Secret {
    /// Takes ownership of the text.
    pub fn new(text: String) -> Secret {
        Secret(Zeroizing::new(text))
    }

    /// Returns the text itself.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Makes a header value of `prefix` and the secret. It is wiped when its last copy is dropped, and hidden from `Debug`. Returns `None`
    /// if the secret is not valid in a header.
    pub(super) fn header(&self, prefix: &str) -> Option<HeaderValue> {
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
