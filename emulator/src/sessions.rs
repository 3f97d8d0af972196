//! Sessions, as far as a worker needs them: creating one queues its work item, and a worker can look it up.

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::json;

use crate::{
    App,
    access::Caller,
    clock::{self, Micros},
    environments, ids,
    json::{self, Object},
    queue,
    reply::{ApiError, Reply},
    store, work,
};

/// Fields that the emulator decides, whatever the request says.
const OWN: [&str; 6] = ["id", "type", "status", "created_at", "updated_at", "archived_at"];

/// `sessions.create`
pub fn create(app: &App, body: &Object) -> Result<Reply, ApiError> {
    let Some(environment_id) = &body.string("environment_id") else {
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
        return Ok(Reply::of(&session));
    }
    let mut session = Object::default();
    queue::enqueue(app, environment_id, 1, |transaction, now| {
        session = insert(transaction, environment_id, body, now)?;
        let mut data = Object::default();
        data.set("id", &session.string("id"));
        data.set("type", "session");
        Ok((data, Object::default()))
    })?;
    Ok(Reply::of(&session))
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
    let mut object = Object::parse(object.as_bytes()).map_err(store::corrupt)?;
    if work::is_session_running(app, &environment_id, id)? {
        object.set("status", "running");
    }
    Ok(Reply::of(&object))
}

/// Stores a new session and returns its object.
pub fn insert(transaction: &Transaction, environment_id: &str, body: &Object, now: Micros) -> Result<Object, ApiError> {
    let id = ids::session();
    let now = clock::text(now);
    let mut session = Object::default();
    session.set("id", &id);
    session.set("type", "session");
    session.set("status", "idle");
    session.set("environment_id", environment_id);
    session.set("agent", &());
    session.set("title", &());
    session.set("metadata", &json!({}));
    session.set("resources", &json!([]));
    session.set("vault_ids", &json!([]));
    session.set("created_at", &now);
    session.set("updated_at", &now);
    session.set("archived_at", &());
    for (key, value) in body.iter() {
        let keeps_default = json::is_null(value) && session.get(key).is_some();
        if !OWN.contains(&key) && !keeps_default {
            session.set(key, value);
        }
    }
    transaction.prepare_cached("INSERT INTO sessions (id, environment_id, object) VALUES (?1, ?2, ?3)")?.execute(params![
        id,
        environment_id,
        json::text(&session)
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
