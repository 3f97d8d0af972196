//! A secret text, which never shows.

use bytes::Bytes;
use http::header::HeaderValue;
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
