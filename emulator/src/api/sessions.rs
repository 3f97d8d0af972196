//! Sessions, as far as a worker needs them: creating one queues its work item, and a worker can look it up.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::{json, value::RawValue};

use crate::{
    App,
    api::{auth::Caller, environments, event_rules},
    control::scripts,
    http::response::{ApiError, Response},
    model::{
        clock::{self, Micros},
        ids,
        json::{self, Object},
        session::{self, Session},
        work_queue,
    },
};

/// Fields that the emulator decides, whatever the request says.
const SERVER_FIELDS: [&str; 10] = [
    "id",
    "initial_events",
    "type",
    "status",
    "created_at",
    "updated_at",
    "archived_at",
    "outcome_evaluations",
    "stats",
    "usage",
];

/// The model of every agent whose caller names none.
const MODEL: &str = "claude-opus-5-5";

/// `sessions.create`
pub fn create(app: &Arc<App>, body: &Object) -> Result<Response, ApiError> {
    let Some(environment_id) = &body.string("environment_id") else {
        return Err(ApiError::invalid("environment_id: is required and must be a string"));
    };
    environments::new_metadata(body.get("metadata"))?;
    let initial = match body.get("initial_events").filter(|events| !json::is_null(events) && !json::is_empty_list(events)) {
        None => Vec::new(),
        events => event_rules::read_initial(events).map_err(ApiError::invalid)?,
    };
    let environment = app.store.read(|connection| environments::find(connection, environment_id))?;
    if environment.archived {
        return Err(environments::archived(environment_id));
    }
    if !environment.self_hosted {
        let now = app.clock.now();
        let session = app.store.write(|transaction| insert(transaction, environment_id, body, now))?;
        return begin(app, session, initial);
    }
    let mut session = Object::default();
    work_queue::enqueue(app, environment_id, 1, |transaction, now| {
        session = insert(transaction, environment_id, body, now)?;
        let mut data = Object::default();
        data.set("id", &session.string("id"));
        data.set("type", "session");
        Ok((data, Object::default()))
    })?;
    begin(app, session, initial)
}

/// Lets the agent of a new session begin. The response shows the session as it was before.
fn begin(app: &Arc<App>, session: Object, initial: Vec<Object>) -> Result<Response, ApiError> {
    let id = session.string("id").unwrap_or_default();
    session::change(app, &id, |tx| {
        initial.iter().try_for_each(|event| {
            let mut queued = event.clone();
            queued.set("processed_at", &());
            tx.add(&queued).map(drop)
        })
    })?;
    Ok(Response::of(&session))
}

/// `sessions.retrieve`
pub fn retrieve(app: &App, caller: &Caller, id: &str) -> Result<Response, ApiError> {
    Ok(Response::of(&reach(app, caller, id)?.object))
}

/// `sessions.archive`
pub fn archive(app: &Arc<App>, id: &str) -> Result<Response, ApiError> {
    let now = clock::text(app.clock.now());
    let object = session::change(app, id, |tx| {
        tx.terminate()?;
        if tx.session.object.get("archived_at").is_none_or(json::is_null) {
            tx.session.object.set("archived_at", &now);
        }
        Ok(tx.session.object.clone())
    })?;
    Ok(Response::of(&object))
}

/// Finds a session that the caller may use: 404 before 403.
pub fn reach(app: &App, caller: &Caller, id: &str) -> Result<Session, ApiError> {
    let session = app.store.read(|connection| Session::find(connection, id))?;
    caller.check_environment(&session.environment_id)?;
    if let Some(work_id) = caller.own_item()
        && app.store.read(|connection| session_of(connection, work_id))?.as_deref() != Some(id)
    {
        return Err(ApiError::forbidden("This sessions token belongs to the work item of another session."));
    }
    Ok(session)
}

/// Stores a new session and returns its object.
pub fn insert(transaction: &Transaction, environment_id: &str, body: &Object, now: Micros) -> Result<Object, ApiError> {
    let id = ids::session();
    let now = clock::text(now);
    let mut session = Object::default();
    session.set("id", &id);
    session.set("agent", &());
    session.set("archived_at", &());
    session.set("budget", &());
    session.set("created_at", &now);
    session.set("environment_id", environment_id);
    session.set("metadata", &json!({}));
    session.set("outcome_evaluations", &json!([]));
    session.set("resources", &json!([]));
    session.set("stats", &json!({}));
    session.set("status", "idle");
    session.set("title", &());
    session.set("type", "session");
    session.set("updated_at", &now);
    session.set("usage", &json!({}));
    session.set("vault_ids", &json!([]));
    session.set("deployment_id", &());
    set_given(&mut session, body, &SERVER_FIELDS);
    session.set("agent", &agent(body.get("agent"))?);
    transaction.prepare_cached("INSERT INTO sessions (id, environment_id, object) VALUES (?1, ?2, ?3)")?.execute(params![
        id,
        environment_id,
        json::text(&session)
    ])?;
    scripts::attach_pending(transaction, &id, environment_id)?;
    Ok(session)
}

/// An agent as a session shows it. There are no agents here: what the caller does not say about it is made up.
fn agent(given: Option<&RawValue>) -> Result<Object, ApiError> {
    let mut reference = Object::default();
    match given.filter(|given| !json::is_null(given)) {
        None => reference.set("id", &ids::agent()),
        Some(given) => match Object::from_raw(given) {
            Some(given) => reference = given,
            None => reference.set("id", given),
        },
    }
    let Some(id) = reference.string("id") else {
        return Err(ApiError::invalid("agent: must be an id, or an object with an id that is a string"));
    };
    let version = reference.get("version").filter(|version| !json::is_null(version));
    if version.is_some_and(|version| json::integer(version).is_none_or(|version| version < 1)) {
        return Err(ApiError::invalid("agent.version: must be an integer from 1 up"));
    }
    if let Some(model) = reference.string("model") {
        reference.set("model", &json!({"id": model}));
    }
    let mut agent = Object::default();
    agent.set("id", &id);
    agent.set("description", &());
    agent.set("execution_identity", &json!({"type": "service_account"}));
    agent.set("mcp_servers", &json!([]));
    agent.set("model", &json!({"id": MODEL}));
    agent.set("multiagent", &());
    agent.set("name", &id);
    agent.set("skills", &json!([]));
    agent.set("system", &());
    agent.set("tools", &json!([]));
    agent.set("type", "agent");
    agent.set("version", &1);
    // With overrides the type is another one.
    set_given(&mut agent, &reference, &["type"]);
    Ok(agent)
}

/// Sets what is given; `null` leaves a default, and what is the emulator's `own` stays.
fn set_given(object: &mut Object, given: &Object, own: &[&str]) {
    for (key, value) in given.iter() {
        let keeps_default = json::is_null(value) && object.get(key).is_some();
        if !own.contains(&key) && !keeps_default {
            object.set(key, value);
        }
    }
}

fn session_of(connection: &Connection, work_id: &str) -> rusqlite::Result<Option<String>> {
    connection.prepare_cached("SELECT session_id FROM work WHERE id = ?1")?.query_row([work_id], |row| row.get(0)).optional()
}
