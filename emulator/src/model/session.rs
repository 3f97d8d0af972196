//! A session while it changes. Each change is one transaction: something happens, the session's agent plays on as far as it can, and
//! then streams, waiting polls and the agent's timer learn of it.

use std::{sync::Arc, time::Duration};

use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::json;

use crate::{
    App,
    api::environments,
    http::response::ApiError,
    model::{
        agent,
        call::{self, Call, Kind},
        clock::{self, Micros},
        ids,
        json::{self, Object},
        store, work_queue,
    },
};

/// What an event makes of a session's status.
const STATUSES: [(&str, &str); 5] = [
    ("session.status_running", "running"),
    ("session.status_idle", "idle"),
    ("session.status_rescheduled", "rescheduling"),
    ("session.status_terminated", "terminated"),
    ("session.deleted", "terminated"),
];

/// A session.
#[derive(Debug)]
pub struct Session {
    pub id: String,
    pub environment_id: String,
    /// As the API shows it.
    pub object: Object,
}

impl Session {
    /// Finds a session; 404 without one.
    pub fn find(connection: &Connection, id: &str) -> Result<Session, ApiError> {
        let (environment_id, object): (String, String) = connection
            .prepare_cached("SELECT environment_id, object FROM sessions WHERE id = ?1")?
            .query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?
            .ok_or_else(|| ApiError::not_found(format!("There is no session {id:?}.")))?;
        let object = Object::parse(object.as_bytes()).map_err(store::corrupt)?;
        Ok(Session { id: id.to_owned(), environment_id, object })
    }

    /// Returns whether the session has this status.
    pub fn is(&self, status: &str) -> bool {
        self.object.string("status").as_deref() == Some(status)
    }
}

/// Changes a session. What `work` returns is returned once all is committed.
pub fn change<T>(
    app: &Arc<App>,
    id: &str,
    work: impl FnOnce(&mut SessionTransaction) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let environment_id = app.store.read(|connection| Session::find(connection, id))?.environment_id;
    let (result, queued, pause) = work_queue::on_environment(app, &environment_id, |transaction, now| {
        let session = Session::find(transaction, id)?;
        let latest = latest(transaction, id)?;
        let streams = app.streams.count(id);
        let mut tx = SessionTransaction { app, transaction, session, streams, pause: None, now, latest, queued: 0 };
        let result = work(&mut tx)?;
        agent::play(&mut tx)?;
        transaction
            .prepare_cached("UPDATE sessions SET object = ?2 WHERE id = ?1")?
            .execute(params![id, json::text(&tx.session.object)])?;
        Ok((result, tx.queued, tx.pause))
    })?;
    app.waiters.announce(&environment_id, queued);
    app.streams.announce(id);
    if let Some(pause) = pause {
        let (app, id) = (app.clone(), id.to_owned());
        tokio::spawn(async move {
            tokio::time::sleep(pause).await;
            // A session that is gone has nothing to play.
            let _ = play(&app, &id);
        });
    }
    Ok(result)
}

/// Continues the script of a session's agent.
pub fn play(app: &Arc<App>, id: &str) -> Result<(), ApiError> {
    change(app, id, |_| Ok(()))
}

/// A session within the transaction that changes it.
pub struct SessionTransaction<'a> {
    app: &'a App,
    pub transaction: &'a Transaction<'a>,
    pub session: Session,
    /// How many streams are open.
    pub streams: usize,
    /// When the agent is to play on.
    pub pause: Option<Duration>,
    now: Micros,
    /// The time of the last event.
    latest: Micros,
    /// How many work items were queued.
    queued: usize,
}

impl SessionTransaction<'_> {
    /// Adds an event of this type with these fields, processed now.
    pub fn emit(&mut self, kind: &str, fields: serde_json::Value) -> Result<String, ApiError> {
        let mut event = Object::default();
        event.set("type", kind);
        for (key, value) in fields.as_object().into_iter().flatten() {
            event.set(key, value);
        }
        self.add(&event)
    }

    /// Adds an event as it is and returns its id. The id and the time are filled in unless it has them; with a time of `null` it is
    /// queued.
    pub fn add(&mut self, event: &Object) -> Result<String, ApiError> {
        let id = event.string("id").unwrap_or_else(ids::event);
        let kind = event.string("type").unwrap_or_default();
        let processed_at = match event.get("processed_at") {
            None => Some(self.time()),
            Some(given) => json::string(given).and_then(|given| clock::parse(&given)),
        };
        let mut stored = Object::default();
        stored.set("id", &id);
        event.iter().filter(|(key, _)| *key != "id").for_each(|(key, value)| stored.set(key, value));
        if event.get("processed_at").is_none() {
            stored.set("processed_at", &processed_at.map(clock::text));
        }
        self.transaction
            .prepare_cached("INSERT INTO events (session_id, type, processed_at, object) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![self.session.id, kind, processed_at, json::text(&stored)])?;
        if let Some((_, status)) = STATUSES.iter().find(|(known, _)| *known == kind) {
            self.session.object.set("status", status);
            self.session.object.set("updated_at", &clock::text(self.now));
            if *status == "terminated" {
                self.end_calls(None, "session_terminated")?;
            }
        }
        Ok(id)
    }

    /// Adds `session.status_running` unless the session is running.
    pub fn run(&mut self) -> Result<(), ApiError> {
        if !self.session.is("running") {
            self.emit("session.status_running", json!({}))?;
        }
        Ok(())
    }

    /// Processes the messages that are queued; returns whether there were any.
    pub fn process_queued(&mut self) -> Result<bool, ApiError> {
        let queued: Vec<(i64, String)> = self
            .transaction
            .prepare_cached("SELECT seq, object FROM events WHERE session_id = ?1 AND processed_at IS NULL ORDER BY seq")?
            .query_map([&self.session.id], |row| Ok((row.get(0)?, row.get(1)?)))?
            .collect::<Result<_, _>>()?;
        let mut begins = false;
        for (seq, object) in queued {
            let mut event = Object::parse(object.as_bytes()).map_err(store::corrupt)?;
            let kind = event.string("type");
            if !matches!(kind.as_deref(), Some("user.message" | "user.define_outcome" | "system.message")) {
                continue;
            }
            event.remove("processed_at");
            self.transaction.prepare_cached("DELETE FROM events WHERE seq = ?1")?.execute([seq])?;
            self.add(&event)?;
            begins = true;
        }
        if begins {
            self.ensure_work_item()?;
        }
        Ok(begins)
    }

    /// Queues a work item unless the session has one that is not stopped.
    pub fn ensure_work_item(&mut self) -> Result<(), ApiError> {
        let is_served = self
            .transaction
            .prepare_cached("SELECT 1 FROM work WHERE session_id = ?1 AND state <> 'stopped'")?
            .exists([&self.session.id])?;
        let environment = environments::find(self.transaction, &self.session.environment_id);
        if is_served || !environment.is_ok_and(|environment| environment.self_hosted && !environment.archived) {
            return Ok(());
        }
        let mut data = Object::default();
        data.set("id", &self.session.id);
        data.set("type", "session");
        work_queue::add(self.app, self.transaction, &self.session.environment_id, data, Object::default(), self.now)?;
        self.queued += 1;
        Ok(())
    }

    /// Applies a confirmation that was checked. A denied call gets the service's own result.
    pub fn confirm(&mut self, call: &Call, event: &Object) -> Result<(), ApiError> {
        self.add(&routed(event, call))?;
        call::save(self.transaction, call)?;
        if call.ending.is_some() {
            let reason = event.string("deny_message").unwrap_or_else(|| "The user denied this call.".to_owned());
            self.deny(call, &reason)?;
        }
        Ok(())
    }

    /// Adds the service's own result of a call that is denied.
    pub fn deny(&mut self, call: &Call, reason: &str) -> Result<(), ApiError> {
        if call.kind == Kind::Toolset {
            let fields = json!({"tool_use_id": call.id, "content": [{"type": "text", "text": reason}], "is_error": true});
            self.emit("agent.tool_result", fields)?;
        }
        Ok(())
    }

    /// Applies a result that was checked.
    pub fn answer(&mut self, call: &Call, event: &Object) -> Result<(), ApiError> {
        self.add(&routed(event, call))?;
        call::save(self.transaction, call)?;
        Ok(())
    }

    /// Ends the calls of one thread, or all, without a result.
    pub fn end_calls(&mut self, thread_id: Option<&str>, ending: &str) -> Result<(), ApiError> {
        for mut call in call::list(self.transaction, &self.session.id, true)? {
            if thread_id.is_none() || thread_id == call.thread_id.as_deref() {
                call.ending = Some(ending.to_owned());
                call::save(self.transaction, &call)?;
            }
        }
        Ok(())
    }

    /// Ends the session.
    pub fn terminate(&mut self) -> Result<(), ApiError> {
        if !self.session.is("terminated") {
            self.emit("session.status_terminated", json!({}))?;
        }
        Ok(())
    }

    /// Records that a result was sent for a call; `refusal` says why it was not accepted.
    pub fn record_attempt(&mut self, call_id: &str, attempt: &Attempt, refusal: Option<&str>) -> Result<(), ApiError> {
        let Attempt { credential, delivery, event } = attempt;
        self.transaction
            .prepare_cached(
                "INSERT INTO attempts (call_id, at, credential, delivery, event, refusal) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![call_id, self.now, credential, delivery, json::text(event), refusal])?;
        Ok(())
    }

    /// Returns the time of a new event, later than that of any other, so that lists by time and by order agree.
    fn time(&mut self) -> Micros {
        self.latest = self.now.max(self.latest + 1);
        self.latest
    }
}

/// A result that was sent, and by whom.
pub struct Attempt<'a> {
    /// The kind of its credential.
    pub credential: &'static str,
    /// The row of the delivery whose token it was.
    pub delivery: Option<i64>,
    /// The result.
    pub event: &'a Object,
}

/// Adds to a client's event the thread that it goes to.
fn routed(event: &Object, call: &Call) -> Object {
    let mut event = event.clone();
    if let Some(thread_id) = &call.thread_id {
        event.set("session_thread_id", thread_id);
    }
    event
}

fn latest(connection: &Connection, session_id: &str) -> rusqlite::Result<Micros> {
    let latest = connection
        .prepare_cached(
            "SELECT processed_at FROM events WHERE session_id = ?1 AND processed_at IS NOT NULL ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([session_id], |row| row.get(0))
        .optional()?;
    Ok(latest.unwrap_or_default())
}
