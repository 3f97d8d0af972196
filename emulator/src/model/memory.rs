//! Memories: the rules for their paths and contents, their rows in the database, and the object that the API shows.

use ring::digest;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, params};
use serde_json::{Value, json};
use unicode_normalization::is_nfc;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

use crate::{
    http::response::ApiError,
    model::{
        clock::{self, Micros},
        ids,
    },
};

/// The largest content, in bytes.
pub const MAX_CONTENT: usize = 102_400;

/// How many memories a store holds.
pub const MAX_MEMORIES: i64 = 2000;

const MAX_PATH: usize = 1024;
const MAX_SEGMENTS: usize = 20;

/// A memory as stored.
pub struct Memory {
    /// The id.
    pub id: String,
    /// The store that it belongs to.
    pub store_id: String,
    /// The path within the store.
    pub path: String,
    /// The version that its content belongs to.
    pub version_id: String,
    /// The SHA-256 of the content, in hexadecimal.
    pub sha256: String,
    /// The size of the content, in bytes.
    pub size: i64,
    /// When it was created.
    pub created_at: Micros,
    /// When it was last changed.
    pub updated_at: Micros,
    /// The content; `None` when it was not read.
    pub content: Option<String>,
}

impl Memory {
    /// Makes a memory. Path and content are checked already.
    pub fn new(store_id: &str, path: String, content: String, now: Micros) -> Memory {
        Memory {
            id: ids::memory(),
            store_id: store_id.to_owned(),
            path,
            version_id: ids::memory_version(),
            sha256: sha256(&content),
            size: content.len() as i64,
            created_at: now,
            updated_at: now,
            content: Some(content),
        }
    }

    /// Changes what is given; one that is the same already is not changed.
    pub fn change(&mut self, path: Option<String>, content: Option<String>, now: Micros) {
        let path = path.filter(|path| *path != self.path);
        let content = content.filter(|content| self.content.as_ref() != Some(content));
        if path.is_none() && content.is_none() {
            return;
        }
        if let Some(path) = path {
            self.path = path;
        }
        if let Some(content) = content {
            self.sha256 = sha256(&content);
            self.size = content.len() as i64;
            self.content = Some(content);
        }
        self.version_id = ids::memory_version();
        self.updated_at = now;
    }

    /// The object that the API shows; without its content, that is `null`.
    pub fn as_json(&self, with_content: bool) -> Value {
        json!({
            "id": self.id,
            "content": self.content.as_ref().filter(|_| with_content),
            "content_sha256": self.sha256,
            "content_size_bytes": self.size,
            "created_at": clock::text(self.created_at),
            "memory_store_id": self.store_id,
            "memory_version_id": self.version_id,
            "path": self.path,
            "type": "memory",
            "updated_at": clock::text(self.updated_at),
        })
    }

    fn from_row(row: &Row) -> rusqlite::Result<Memory> {
        Ok(Memory {
            id: row.get("id")?,
            store_id: row.get("memory_store_id")?,
            path: row.get("path")?,
            version_id: row.get("memory_version_id")?,
            sha256: row.get("content_sha256")?,
            size: row.get("size")?,
            created_at: row.get("created_at")?,
            updated_at: row.get("updated_at")?,
            content: row.get("content")?,
        })
    }
}

/// Returns the object of a memory store; 404 when there is none.
pub fn find_store(connection: &Connection, id: &str) -> Result<String, ApiError> {
    connection
        .prepare_cached("SELECT object FROM memory_stores WHERE id = ?1")?
        .query_row([id], |row| row.get(0))
        .optional()?
        .ok_or_else(|| ApiError::not_found(format!("There is no memory store {id:?}.")))
}

/// Looks a memory up, with its content; 404 when the store has none of this id.
pub fn find(connection: &Connection, store_id: &str, id: &str) -> Result<Memory, ApiError> {
    find_store(connection, store_id)?;
    connection
        .prepare_cached("SELECT * FROM memories WHERE id = ?1 AND memory_store_id = ?2")?
        .query_row([id, store_id], Memory::from_row)
        .optional()?
        .ok_or_else(|| ApiError::not_found(format!("There is no memory {id:?} in the memory store {store_id:?}.")))
}

/// Calls `visit` with the memories of a store whose paths begin with `prefix` and come after `after`, in the order of their paths,
/// until it returns false. Contents are read if `with_content`.
pub fn visit(
    connection: &Connection,
    store_id: &str,
    prefix: &str,
    after: &str,
    with_content: bool,
    mut visit: impl FnMut(Memory) -> bool,
) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "SELECT id, memory_store_id, path, memory_version_id, content_sha256, size, created_at, updated_at,
                CASE WHEN ?4 THEN content END AS content
         FROM memories WHERE memory_store_id = ?1 AND path >= ?2 AND path > ?3 ORDER BY path",
    )?;
    let mut rows = statement.query(params![store_id, prefix, after, with_content])?;
    while let Some(row) = rows.next()? {
        let memory = Memory::from_row(row)?;
        if !memory.path.starts_with(prefix) || !visit(memory) {
            break;
        }
    }
    Ok(())
}

/// Adds a memory. 409 when its path is taken, 400 when the store is full.
pub fn insert(transaction: &Transaction, memory: &Memory) -> Result<(), ApiError> {
    check_path_is_free(transaction, memory)?;
    let count: i64 = transaction
        .prepare_cached("SELECT count(*) FROM memories WHERE memory_store_id = ?1")?
        .query_row([&memory.store_id], |row| row.get(0))?;
    if count >= MAX_MEMORIES {
        return Err(ApiError::invalid(format!("A memory store holds at most {MAX_MEMORIES} memories.")));
    }
    store(transaction, memory)
}

/// Stores a memory that was changed. 409 when its path belongs to another one.
pub fn update(transaction: &Transaction, memory: &Memory) -> Result<(), ApiError> {
    check_path_is_free(transaction, memory)?;
    store(transaction, memory)
}

/// Deletes a memory.
pub fn delete(transaction: &Transaction, id: &str) -> rusqlite::Result<()> {
    transaction.prepare_cached("DELETE FROM memories WHERE id = ?1")?.execute([id]).map(drop)
}

fn check_path_is_free(transaction: &Transaction, memory: &Memory) -> Result<(), ApiError> {
    let taken: Option<String> = transaction
        .prepare_cached("SELECT id FROM memories WHERE memory_store_id = ?1 AND path = ?2 AND id <> ?3")?
        .query_row([&memory.store_id, &memory.path, &memory.id], |row| row.get(0))
        .optional()?;
    match taken {
        None => Ok(()),
        Some(id) => Err(ApiError::conflict(format!("path: {:?} is the path of the memory {id:?} already", memory.path))
            .with_type("memory_path_conflict_error")),
    }
}

fn store(transaction: &Transaction, memory: &Memory) -> Result<(), ApiError> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO memories
             (id, memory_store_id, path, memory_version_id, content_sha256, size, created_at, updated_at, content)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            memory.id,
            memory.store_id,
            memory.path,
            memory.version_id,
            memory.sha256,
            memory.size,
            memory.created_at,
            memory.updated_at,
            memory.content
        ])?;
    Ok(())
}

/// Holds a path to the API's rules.
pub fn check_path(path: &str) -> Result<(), ApiError> {
    let refuse = |message: &str| Err(ApiError::invalid(format!("path: {message}")));
    let Some(relative) = path.strip_prefix('/') else {
        return refuse("must begin with /");
    };
    if path.len() > MAX_PATH {
        return refuse(&format!("must have at most {MAX_PATH} bytes"));
    }
    if relative.split('/').count() > MAX_SEGMENTS {
        return refuse(&format!("must have 1 to {MAX_SEGMENTS} segments"));
    }
    if relative.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return refuse("a segment must not be empty, . or ..");
    }
    if path.chars().any(is_forbidden) {
        return refuse("must not contain control or format characters, or line or paragraph separators");
    }
    if !is_nfc(path) {
        return refuse("must be in Unicode Normalization Form C");
    }
    Ok(())
}

fn is_forbidden(character: char) -> bool {
    use GeneralCategory::{Control, Format, LineSeparator, ParagraphSeparator};
    matches!(character.general_category(), Control | Format | LineSeparator | ParagraphSeparator)
}

/// Holds a content to the API's limit.
pub fn check_content(content: &str) -> Result<(), ApiError> {
    match content.len() {
        0..=MAX_CONTENT => Ok(()),
        size => Err(ApiError::invalid(format!("content: must have at most {MAX_CONTENT} bytes, not {size}"))),
    }
}

/// The SHA-256 of a content, in lower-case hexadecimal.
pub fn sha256(content: &str) -> String {
    let digest = digest::digest(&digest::SHA256, content.as_bytes());
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_keeps_to_the_rules() {
        let deepest = "/s".repeat(MAX_SEGMENTS);
        let longest = format!("/{}", "x".repeat(MAX_PATH - 1));
        for valid in ["/a", "/a b/.hidden/..c", "/\u{e9}/\u{4f60}\u{597d}.md", "/emoji\u{1f600}", &deepest, &longest] {
            assert!(check_path(valid).is_ok(), "{valid:?}");
        }
        let too_deep = format!("{deepest}/s");
        let too_long = format!("{longest}x");
        for bad in [
            "",
            "a",
            "a/b",
            "/",
            "//",
            "/a/",
            "/a//b",
            "/.",
            "/a/..",
            "/../a",
            "/a\n",
            "/a\0",
            "/\u{7f}",
            "/\u{85}",
            "/a\u{ad}",
            "/\u{200d}",
            "/\u{feff}",
            "/\u{2028}",
            "/\u{2029}",
            "/e\u{301}",
            "/\u{212b}",
            &too_deep,
            &too_long,
        ] {
            assert!(check_path(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn the_hash_is_the_one_that_the_standard_gives() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
