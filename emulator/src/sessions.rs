//! Sessions, as far as a worker needs them: creating one queues its work item, and a worker can look it up.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::{Map, Value, json};

use crate::{
    App,
    access::Caller,
    clock::{self, Micros},
    environments, ids, queue,
    reply::{ApiError, Reply},
    work,
};

/// Fields that the emulator decides, whatever the request says.
const OWN: [&str; 6] = ["id", "type", "status", "created_at", "updated_at", "archived_at"];

/// `sessions.create`
pub fn create(app: &App, body: &Map<String, Value>) -> Result<Reply, ApiError> {
    let Some(environment_id) = body.get("environment_id").and_then(Value::as_str) else {
        return Err(ApiError::invalid("environment_id: is required and must be a string"));
    };
    environments::new_metadata(body.get("metadata"))?;
    let environment = app.store.read(|connection| environments::find(connection, environment_id))?;
    if environment.archived {
        return Err(environments::archived(environment_id));
    }
    if !environment.self_hosted {
        let now = app.clock.now();
        let session = app.store.write(|transaction| insert(transaction, environment_id, body, now))?;
        return Ok(Reply::value(&session));
    }
    let mut session = Value::Null;
    queue::enqueue(app, environment_id, 1, |transaction, now| {
        session = insert(transaction, environment_id, body, now)?;
        Ok((json!({"id": session["id"], "type": "session"}), Map::new()))
    })?;
    Ok(Reply::value(&session))
}

/// `sessions.retrieve`
pub fn retrieve(app: &App, caller: &Caller, id: &str) -> Result<Reply, ApiError> {
    let (environment_id, object) = app.store.read(|connection| find(connection, id))?;
    caller.check_environment(&environment_id)?;
    if let Caller::Item(work_id) = caller
        && app.store.read(|connection| session_of(connection, work_id))?.as_deref() != Some(id)
    {
        return Err(ApiError::forbidden("This sessions token belongs to the work item of another session."));
    }
    let mut object: Map<String, Value> = serde_json::from_str(&object).unwrap_or_default();
    if work::is_session_running(app, &environment_id, id)? {
        object.insert("status".to_owned(), "running".into());
    }
    Ok(Reply::value(&object.into()))
}

/// Stores a new session and returns its object.
pub fn insert(
    transaction: &Transaction,
    environment_id: &str,
    body: &Map<String, Value>,
    now: Micros,
) -> Result<Value, ApiError> {
    let id = ids::session();
    let now = clock::text(now);
    let mut session = json!({
        "id": id,
        "type": "session",
        "status": "idle",
        "environment_id": environment_id,
        "agent": null,
        "title": null,
        "metadata": {},
        "resources": [],
        "vault_ids": [],
        "created_at": now,
        "updated_at": now,
        "archived_at": null,
    });
    for (key, value) in body {
        let keeps_default = value.is_null() && session.get(key).is_some();
        if !OWN.contains(&key.as_str()) && !keeps_default {
            session[key] = value.clone();
        }
    }
    transaction.prepare_cached("INSERT INTO sessions (id, environment_id, object) VALUES (?1, ?2, ?3)")?.execute(params![
        id,
        environment_id,
        session.to_string()
    ])?;
    Ok(session)
}

fn find(connection: &Connection, id: &str) -> Result<(String, String), ApiError> {
    connection
        .prepare_cached("SELECT environment_id, object FROM sessions WHERE id = ?1")?
        .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
        .optional()?
        .ok_or_else(|| ApiError::not_found(format!("There is no session {id:?}.")))
}

fn session_of(connection: &Connection, work_id: &str) -> rusqlite::Result<Option<String>> {
    connection.prepare_cached("SELECT session_id FROM work WHERE id = ?1")?.query_row([work_id], |row| row.get(0)).optional()
}
