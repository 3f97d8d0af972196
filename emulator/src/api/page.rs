//! Lists in pages, most of them newest first. The cursor names the last row handed out, so rows inserted or deleted meanwhile shift nothing.

use base64::{Engine, engine::general_purpose::STANDARD};

use crate::http::{query::Query, response::ApiError};

const DEFAULT_LIMIT: i64 = 20;

/// Which part of a list is wanted.
pub struct Page {
    list: char,
    /// The row after which the page begins.
    pub cursor: Option<i64>,
    limit: usize,
}

impl Page {
    /// Reads `limit` (at most 100) and `page`; `list` marks the cursors, so that one list refuses those of another.
    pub fn from_query(list: char, query: &Query) -> Result<Page, ApiError> {
        Page::read(list, query, 100)
    }

    /// The same with another maximum of `limit`.
    pub fn read(list: char, query: &Query, max_limit: i64) -> Result<Page, ApiError> {
        let limit = query.integer("limit", 1..=max_limit)?.unwrap_or(DEFAULT_LIMIT);
        let wrong = || ApiError::invalid("page: not a cursor of this list; pass the next_page of a previous response verbatim");
        let cursor = query.get("page").map(|cursor| decode(list, cursor).ok_or_else(wrong)).transpose()?;
        Ok(Page { list, cursor, limit: limit as usize })
    }

    /// Only rows older than this one, where the newest come first.
    pub fn before(&self) -> i64 {
        self.cursor.unwrap_or(i64::MAX)
    }

    /// How many rows to fetch: one more than wanted shows whether another page follows.
    pub fn fetch(&self) -> i64 {
        self.limit as i64 + 1
    }

    /// The response's body, from rows of (sequence number, object as JSON).
    pub fn body(&self, mut rows: Vec<(i64, String)>) -> String {
        let more = rows.len() > self.limit;
        rows.truncate(self.limit);
        let next = match rows.last() {
            Some((sequence, _)) if more => format!("\"{}\"", encode(self.list, *sequence)),
            _ => "null".to_owned(),
        };
        let objects: Vec<String> = rows.into_iter().map(|(_, object)| object).collect();
        format!("{{\"data\":[{}],\"next_page\":{next}}}", objects.join(","))
    }
}

fn encode(list: char, sequence: i64) -> String {
    format!("page_{}", STANDARD.encode(format!("{list}{sequence}")))
}

fn decode(list: char, cursor: &str) -> Option<i64> {
    let bytes = STANDARD.decode(cursor.strip_prefix("page_")?).ok()?;
    let text = String::from_utf8(bytes).ok()?;
    let sequence: i64 = text.strip_prefix(list)?.parse().ok()?;
    // Only what `encode` writes: not "+5", not "-0".
    (sequence > 0 && encode(list, sequence) == cursor).then_some(sequence)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_accepted_only_by_its_own_list_and_only_as_it_was() {
        assert_eq!(decode('e', &encode('e', 42)), Some(42));
        assert_eq!(decode('w', &encode('e', 42)), None);
        for bad in ["", "page", "page_", "page_!!", "page_ZQ==", "page_ZS01", "page_ZSs1", "42"] {
            assert_eq!(decode('e', bad), None, "{bad:?}");
        }
    }
}
