//! `/_emulator/memory_stores`: makes memory stores, with their first memories.

use rusqlite::OptionalExtension;
use serde_json::json;

use super::{given, given_string};
use crate::{
    App,
    api::{environments, work},
    http::response::{ApiError, Response},
    model::{
        clock, ids,
        json::{self, Object},
        memory::{self, Memory},
    },
};

const MAX_NAME: usize = 255;
const MAX_DESCRIPTION: usize = 1024;

/// Makes a store from `name`, `id`, `description`, `metadata`, and `memories`: an object of contents by path.
pub fn create(app: &App, body: &Object) -> Result<Response, ApiError> {
    let id = given_string(body, "id")?.unwrap_or_else(ids::memory_store);
    let name = super::required(body, "name")?;
    if !(1..=MAX_NAME).contains(&name.chars().count()) || name.chars().any(char::is_control) {
        return Err(ApiError::invalid(format!("name: must have 1 to {MAX_NAME} characters, and no control characters")));
    }
    let description = given_string(body, "description")?.unwrap_or_default();
    if description.chars().count() > MAX_DESCRIPTION {
        return Err(ApiError::invalid(format!("description: must have at most {MAX_DESCRIPTION} characters")));
    }
    let metadata = environments::new_metadata(body.get("metadata"))?;
    work::check_metadata(&metadata)?;
    let memories = memories(body)?;

    let now = app.clock.now();
    let at = clock::text(now);
    let object = json::text(&json!({
        "id": id,
        "archived_at": null,
        "created_at": at,
        "description": description,
        "metadata": metadata,
        "name": name,
        "type": "memory_store",
        "updated_at": at,
    }));
    app.store.write(|transaction| {
        let taken: Option<i64> = transaction
            .prepare_cached("SELECT 1 FROM memory_stores WHERE id = ?1")?
            .query_row([&id], |row| row.get(0))
            .optional()?;
        if taken.is_some() {
            return Err(ApiError::conflict(format!("There is a memory store {id:?} already.")));
        }
        transaction.prepare_cached("INSERT INTO memory_stores (id, object) VALUES (?1, ?2)")?.execute([&id, &object])?;
        for (path, content) in memories {
            memory::insert(transaction, &Memory::new(&id, path, content, now))?;
        }
        Ok(())
    })?;
    Ok(Response::json(object))
}

fn memories(body: &Object) -> Result<Vec<(String, String)>, ApiError> {
    let Some(given) = given(body, "memories") else {
        return Ok(Vec::new());
    };
    let not_texts =
        || ApiError::invalid("memories: must be an object whose keys are paths and whose values are contents, strings");
    let memories = Object::from_raw(given).ok_or_else(not_texts)?;
    let read = |(path, content): (&str, _)| {
        let content = json::string(content).ok_or_else(not_texts)?;
        memory::check_path(path)?;
        memory::check_content(&content)?;
        Ok((path.to_owned(), content))
    };
    memories.iter().map(read).collect()
}
