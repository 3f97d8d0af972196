//! `/_emulator/scripts`: what agents are to do, and how they were answered.

use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::{Value, json, value::RawValue};

use crate::{
    App,
    api::environments,
    http::response::{ApiError, Response},
    model::{
        agent::Script,
        call::{self, Call},
        clock,
        json::{self, Object},
        session::{self, Session},
        store,
    },
};

/// Adds steps to a session's script, or keeps a script for the next sessions of an environment.
pub fn post(app: &Arc<App>, body: &Object) -> Result<Response, ApiError> {
    let steps: Option<Vec<Box<RawValue>>> = body.get("steps").and_then(|steps| serde_json::from_str(steps.get()).ok());
    let Some(steps) = steps else {
        return Err(ApiError::invalid("steps: is required and must be an array"));
    };
    let on_message = match body.string("start").as_deref() {
        None | Some("now") => false,
        Some("message") => true,
        Some(_) => return Err(ApiError::invalid("start: must be \"now\" or \"message\"")),
    };
    match (body.string("session_id"), body.string("environment_id")) {
        (Some(session_id), None) => {
            session::change(app, &session_id, |tx| attach(tx.transaction, &tx.session.id, steps, on_message))?;
            Ok(Response::of(&app.store.read(|connection| report(connection, &session_id))?))
        }
        (None, Some(environment_id)) => {
            let count = match body.get("count").map(json::integer) {
                None => 1,
                Some(Some(count @ 1..)) => count,
                Some(_) => return Err(ApiError::invalid("count: must be an integer of at least 1")),
            };
            Script { steps: steps.clone(), ..Script::default() }.check().map_err(ApiError::invalid)?;
            app.store.write(|transaction| {
                environments::find(transaction, &environment_id)?;
                transaction.execute(
                    "INSERT INTO pending_scripts (environment_id, count, steps, on_message) VALUES (?1, ?2, ?3, ?4)",
                    params![environment_id, count, json::text(&steps), on_message],
                )?;
                Ok::<_, ApiError>(())
            })?;
            Ok(Response::of(&json!({"environment_id": environment_id, "count": count})))
        }
        _ => Err(ApiError::invalid("give one of session_id and environment_id")),
    }
}

/// Gives a new session the script that was kept for it.
pub fn attach_pending(transaction: &Transaction, session_id: &str, environment_id: &str) -> Result<(), ApiError> {
    let pending = transaction
        .prepare_cached("SELECT seq, steps, on_message FROM pending_scripts WHERE environment_id = ?1 ORDER BY seq LIMIT 1")?
        .query_row([environment_id], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?, row.get::<_, bool>(2)?)))
        .optional()?;
    let Some((seq, steps, on_message)) = pending else {
        return Ok(());
    };
    transaction.execute("UPDATE pending_scripts SET count = count - 1 WHERE seq = ?1", [seq])?;
    transaction.execute("DELETE FROM pending_scripts WHERE seq = ?1 AND count = 0", [seq])?;
    attach(transaction, session_id, serde_json::from_str(&steps).map_err(store::corrupt)?, on_message)
}

fn attach(transaction: &Transaction, session_id: &str, steps: Vec<Box<RawValue>>, on_message: bool) -> Result<(), ApiError> {
    let mut script = Script::load(transaction, session_id)?.unwrap_or_default();
    script.steps.extend(steps);
    script.check().map_err(ApiError::invalid)?;
    script.progress.in_turn |= !on_message;
    script.save(transaction, session_id)?;
    Ok(())
}

/// Reports on one session, or on all that have a script.
pub fn get(app: &App, session_id: Option<&str>) -> Result<Response, ApiError> {
    let data = app.store.read(|connection| {
        let ids: Vec<String> = match session_id {
            Some(id) => vec![id.to_owned()],
            None => connection
                .prepare_cached("SELECT session_id FROM scripts JOIN sessions ON id = session_id ORDER BY sessions.rowid")?
                .query_map([], |row| row.get(0))?
                .collect::<Result<_, _>>()?,
        };
        ids.iter().map(|id| report(connection, id)).collect::<Result<Vec<_>, ApiError>>()
    })?;
    Ok(Response::of(&json!({"data": data})))
}

/// Continues all scripts after a start.
pub fn resume(app: &Arc<App>) -> Result<(), ApiError> {
    let ids: Vec<String> = app.store.read(|connection| {
        connection.prepare("SELECT session_id FROM scripts")?.query_map([], |row| row.get(0))?.collect::<rusqlite::Result<_>>()
    })?;
    ids.iter().try_for_each(|id| session::play(app, id))
}

fn report(connection: &Connection, session_id: &str) -> Result<Value, ApiError> {
    let session = Session::find(connection, session_id)?;
    let Script { steps, progress } = Script::load(connection, session_id)?.unwrap_or_default();
    let is_over = session.is("terminated");
    let calls = call::list(connection, session_id, false)?;
    let calls = calls.iter().map(|call| report_call(connection, call)).collect::<Result<Vec<_>, _>>()?;
    Ok(json!({
        "session_id": session_id,
        "status": session.object.string("status"),
        "step": progress.step,
        "steps": steps.len(),
        "done": is_over || (progress.step >= steps.len() && !progress.in_turn),
        "calls": calls,
    }))
}

fn report_call(connection: &Connection, call: &Call) -> rusqlite::Result<Value> {
    let attempts: Vec<Value> = connection
        .prepare_cached(
            "SELECT attempts.at, credential, event, refusal, work_id, worker_id, number
             FROM attempts LEFT JOIN deliveries ON deliveries.seq = delivery WHERE call_id = ?1 ORDER BY attempts.seq",
        )?
        .query_map([&call.id], |row| {
            let event: String = row.get(2)?;
            let event: Value = serde_json::from_str(&event).map_err(store::corrupt)?;
            Ok(json!({
                "at": clock::text(row.get(0)?),
                "accepted": row.get::<_, Option<String>>(3)?.is_none(),
                "refusal": row.get::<_, Option<String>>(3)?,
                "type": event["type"],
                "content": event["content"],
                "is_error": event["is_error"] == true,
                "credential": row.get::<_, String>(1)?,
                "work_id": row.get::<_, Option<String>>(4)?,
                "worker_id": row.get::<_, Option<String>>(5)?,
                "delivery": row.get::<_, Option<i64>>(6)?,
            }))
        })?
        .collect::<Result<_, _>>()?;
    let accepted = attempts.iter().position(|attempt| attempt["accepted"] == true);
    let answered = match (accepted, attempts.len()) {
        (Some(0), 1) => "once",
        (Some(0), _) => "twice",
        (None, 0) => "never",
        (None, _) if call.ending.is_some() => "late",
        (Some(_) | None, _) => "early",
    };
    Ok(json!({
        "id": call.id,
        "label": call.label,
        "name": call.name,
        "type": call.kind.use_event(),
        "session_thread_id": call.thread_id,
        "permission": call.permission,
        "confirmation": call.verdict,
        "ending": call.ending,
        "answered": answered,
        "attempts": attempts,
    }))
}
