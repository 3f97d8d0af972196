//! The query of a request: decoded pairs, and the checks that parameters share.

use std::ops::RangeInclusive;

use crate::http::response::ApiError;

/// Decoded `name=value` pairs in the order they came. Unknown names are ignored.
#[derive(Debug, Default)]
pub struct Query(pub Vec<(String, String)>);

impl Query {
    /// Decodes what follows the `?`.
    pub fn parse(raw: Option<&str>) -> Query {
        Query(form_urlencoded::parse(raw.unwrap_or_default().as_bytes()).into_owned().collect())
    }

    /// The last value given under this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().rev().find(|(key, _)| key == name)?;
        Some(&pair.1)
    }

    /// All values given under these names, in order.
    pub fn all(&self, names: &[&str]) -> Vec<String> {
        self.0.iter().filter(|(key, _)| names.contains(&key.as_str())).map(|(_, value)| value.clone()).collect()
    }

    /// An integer within a range.
    pub fn integer(&self, name: &str, range: RangeInclusive<i64>) -> Result<Option<i64>, ApiError> {
        let Some(text) = self.get(name) else {
            return Ok(None);
        };
        match text.parse::<i64>() {
            Ok(number) if range.contains(&number) => Ok(Some(number)),
            _ if *range.end() == i64::MAX => {
                Err(ApiError::invalid(format!("{name}: must be an integer of at least {}, not {text:?}", range.start())))
            }
            _ => Err(ApiError::invalid(format!(
                "{name}: must be an integer from {} to {}, not {text:?}",
                range.start(),
                range.end()
            ))),
        }
    }

    /// `true` or `false`.
    pub fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some("true") => Ok(Some(true)),
            Some("false") => Ok(Some(false)),
            Some(text) => Err(ApiError::invalid(format!("{name}: must be true or false, not {text:?}"))),
        }
    }
}
