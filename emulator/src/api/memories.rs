//! The operations on a memory store and its memories. Stores are made by `/_emulator/memory_stores`.

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    App,
    http::{
        query::Query,
        response::{ApiError, Response},
    },
    model::{
        json::{self, Object},
        memory::{self, Memory},
    },
};

const DEFAULT_LIMIT: i64 = 20;

/// The most items of a page that shows contents.
const MAX_FULL: usize = 20;

/// What every cursor of this list begins with, decoded: cursors of other lists are refused.
const CURSOR_PREFIX: &str = "m/";

/// How much of a memory a response shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum View {
    Basic,
    Full,
}

impl View {
    fn from_query(query: &Query, default: View) -> Result<View, ApiError> {
        match query.get("view") {
            None => Ok(default),
            Some("basic") => Ok(View::Basic),
            Some("full") => Ok(View::Full),
            Some(other) => Err(ApiError::invalid(format!("view: must be basic or full, not {other:?}"))),
        }
    }

    fn show(self, memory: &Memory) -> Value {
        memory.as_json(self == View::Full)
    }
}

/// `memory_stores.retrieve`
pub fn retrieve_store(app: &App, id: &str) -> Result<Response, ApiError> {
    Ok(Response::json(app.store.read(|connection| memory::find_store(connection, id))?))
}

/// `memory_stores.memories.list`, in the order of paths. A cursor is the path of the item before.
pub fn list(app: &App, store_id: &str, query: &Query) -> Result<Response, ApiError> {
    let view = View::from_query(query, View::Basic)?;
    let limit = query.integer("limit", 1..=100)?.unwrap_or(DEFAULT_LIMIT) as usize;
    let limit = if view == View::Full { limit.min(MAX_FULL) } else { limit };
    let direct_only = query.integer("depth", 0..=1)? == Some(1);
    let prefix = query.get("path_prefix").unwrap_or("/");
    if !prefix.starts_with('/') || !prefix.ends_with('/') {
        return Err(ApiError::invalid("path_prefix: must begin and end with /"));
    }
    let after = query.get("page").map(path_of_cursor).transpose()?.unwrap_or_default();

    let mut items: Vec<Value> = Vec::new();
    let mut last = after.clone();
    let mut more = false;
    app.store.read(|connection| {
        memory::find_store(connection, store_id)?;
        memory::visit(connection, store_id, prefix, &after, view == View::Full, |memory| {
            if last.ends_with('/') && memory.path.starts_with(&last) {
                return true;
            }
            more = items.len() == limit;
            if !more {
                let below = memory.path[prefix.len()..].find('/').filter(|_| direct_only);
                let directory = below.map(|end| memory.path[..=prefix.len() + end].to_owned());
                items.push(match &directory {
                    Some(directory) => json!({"path": directory, "type": "memory_prefix"}),
                    None => view.show(&memory),
                });
                last = directory.unwrap_or(memory.path);
            }
            !more
        })?;
        Ok::<_, ApiError>(())
    })?;
    let next_page = more.then(|| cursor(&last));
    Ok(Response::of(&json!({"data": items, "next_page": next_page})))
}

/// Makes the cursor of the page that follows a path.
fn cursor(path: &str) -> String {
    format!("page_{}", STANDARD.encode(format!("m{path}")))
}

fn path_of_cursor(cursor: &str) -> Result<String, ApiError> {
    let bytes = cursor.strip_prefix("page_").and_then(|text| STANDARD.decode(text).ok());
    let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok()).filter(|text| text.starts_with(CURSOR_PREFIX));
    let not_a_cursor = "page: not a cursor of this list; pass the next_page of a previous response verbatim";
    text.map(|text| text[1..].to_owned()).ok_or_else(|| ApiError::invalid(not_a_cursor))
}

/// `memory_stores.memories.retrieve`
pub fn retrieve(app: &App, store_id: &str, id: &str, query: &Query) -> Result<Response, ApiError> {
    let view = View::from_query(query, View::Full)?;
    let memory = app.store.read(|connection| memory::find(connection, store_id, id))?;
    Ok(Response::of(&view.show(&memory)))
}

/// `memory_stores.memories.create`
pub fn create(app: &App, store_id: &str, query: &Query, body: &Object) -> Result<Response, ApiError> {
    let view = View::from_query(query, View::Basic)?;
    let Some(path) = path(body)? else {
        return Err(ApiError::invalid("path: is required and must be a string"));
    };
    if body.get("content").is_none() {
        return Err(ApiError::invalid("content: is required and must be a string"));
    }
    let content = content(body)?.unwrap_or_default();
    let now = app.clock.now();
    let memory = app.store.write(|transaction| {
        memory::find_store(transaction, store_id)?;
        let memory = Memory::new(store_id, path, content, now);
        memory::insert(transaction, &memory)?;
        Ok::<_, ApiError>(memory)
    })?;
    Ok(Response::of(&view.show(&memory)))
}

/// `memory_stores.memories.update`: what is absent or `null` stays as it is.
pub fn update(app: &App, store_id: &str, id: &str, query: &Query, body: &Object) -> Result<Response, ApiError> {
    let view = View::from_query(query, View::Basic)?;
    let (path, content) = (path(body)?, content(body)?);
    let expected = precondition(body)?;
    let now = app.clock.now();
    let memory = app.store.write(|transaction| {
        let mut memory = memory::find(transaction, store_id, id)?;
        check_precondition(&memory, expected.as_deref())?;
        memory.change(path, content, now);
        memory::update(transaction, &memory)?;
        Ok::<_, ApiError>(memory)
    })?;
    Ok(Response::of(&view.show(&memory)))
}

/// `memory_stores.memories.delete`
pub fn delete(app: &App, store_id: &str, id: &str, query: &Query) -> Result<Response, ApiError> {
    let expected = query.get("expected_content_sha256");
    if let Some(expected) = expected {
        check_hash("expected_content_sha256", expected)?;
    }
    app.store.write(|transaction| {
        check_precondition(&memory::find(transaction, store_id, id)?, expected)?;
        memory::delete(transaction, id).map_err(ApiError::from)
    })?;
    Ok(Response::of(&json!({"id": id, "type": "memory_deleted"})))
}

/// The string of that name; nothing when it is absent or `null`.
fn string(body: &Object, key: &str) -> Result<Option<String>, ApiError> {
    match body.get(key).filter(|value| !json::is_null(value)) {
        None => Ok(None),
        Some(value) => {
            json::string(value).map(Some).ok_or_else(|| ApiError::invalid(format!("{key}: must be a string of Unicode text")))
        }
    }
}

fn path(body: &Object) -> Result<Option<String>, ApiError> {
    let path = string(body, "path")?;
    path.as_deref().map_or(Ok(()), memory::check_path)?;
    Ok(path)
}

fn content(body: &Object) -> Result<Option<String>, ApiError> {
    let content = string(body, "content")?;
    content.as_deref().map_or(Ok(()), memory::check_content)?;
    Ok(content)
}

/// The hash that the content must have.
fn precondition(body: &Object) -> Result<Option<String>, ApiError> {
    let Some(given) = body.get("precondition").filter(|given| !json::is_null(given)) else {
        return Ok(None);
    };
    let given = Object::from_raw(given).filter(|given| given.string("type").as_deref() == Some("content_sha256"));
    let Some(hash) = given.and_then(|given| given.string("content_sha256")) else {
        return Err(ApiError::invalid("precondition: must be {\"type\": \"content_sha256\", \"content_sha256\": …}"));
    };
    check_hash("precondition.content_sha256", &hash)?;
    Ok(Some(hash))
}

fn check_hash(name: &str, hash: &str) -> Result<(), ApiError> {
    if hash.len() == 64 && hash.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Ok(());
    }
    Err(ApiError::invalid(format!("{name}: must be 64 lower-case hexadecimal digits")))
}

/// 409 unless the content has the expected hash.
fn check_precondition(memory: &Memory, expected: Option<&str>) -> Result<(), ApiError> {
    if expected.is_none_or(|expected| expected == memory.sha256) {
        return Ok(());
    }
    let message = format!("The content_sha256 of the memory {:?} is {}, not the expected one.", memory.id, memory.sha256);
    Err(ApiError::conflict(message).with_type("memory_precondition_failed_error"))
}
