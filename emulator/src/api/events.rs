//! The events of a session: listing them, and sending some. (`stream.rs` streams them.)

use std::{collections::HashMap, sync::Arc};

use serde::Serialize;

use crate::{
    App,
    api::{
        auth::Caller,
        environments,
        event_rules::{self, ClientEvent, ClientKind},
        page::Page,
        sessions,
    },
    http::{
        query::Query,
        response::{ApiError, Response},
    },
    model::{
        call::{self, Call, Kind},
        clock, event, ids,
        json::Object,
        session::{self, Attempt, SessionTransaction},
    },
};

/// The most events of a page.
const MAX_LIMIT: i64 = 1000;

/// The comparisons of times.
const COMPARISONS: [(&str, &str); 4] =
    [("created_at[gt]", ">"), ("created_at[gte]", ">="), ("created_at[lt]", "<"), ("created_at[lte]", "<=")];

/// `sessions.events.list`
pub fn list(app: &App, caller: &Caller, session_id: &str, query: &Query) -> Result<Response, ApiError> {
    sessions::reach(app, caller, session_id)?;
    let descending = match query.get("order") {
        None | Some("asc") => false,
        Some("desc") => true,
        Some(other) => return Err(ApiError::invalid(format!("order: must be asc or desc, not {other:?}"))),
    };
    let mut times = Vec::new();
    for (name, operator) in COMPARISONS {
        if let Some(text) = query.get(name) {
            let time = clock::parse(text).ok_or_else(|| ApiError::invalid(format!("{name}: must be RFC 3339, not {text:?}")))?;
            times.push((operator, time));
        }
    }
    // A cursor belongs to one direction.
    let page = Page::read(if descending { 'd' } else { 'a' }, query, MAX_LIMIT)?;
    let types = query.all(&["types[]", "types"]);
    let filter = event::Filter { types, times, descending, after: page.cursor };
    let rows = app.store.read(|connection| event::list(connection, session_id, &filter, page.fetch()))?;
    Ok(Response::json(page.body(rows)))
}

/// `sessions.events.send`
pub fn send(app: &Arc<App>, caller: &Caller, session_id: &str, body: &Object) -> Result<Response, ApiError> {
    #[derive(Serialize)]
    struct Sent {
        data: Vec<Object>,
    }
    sessions::reach(app, caller, session_id)?;
    let events = event_rules::read(body.get("events")).map_err(ApiError::invalid)?;
    // A refusal is a result here and no failure: which results were sent is kept.
    let data = session::change(app, session_id, |tx| match check(tx, caller, &events)? {
        Err(refusal) => Ok(Err(refusal)),
        Ok(calls) => apply(tx, events, &calls).map(Ok),
    })??;
    Ok(Response::of(&Sent { data }))
}

/// Checks events against the session, all before any is applied. Returns the calls that they are about, each as its event leaves it.
fn check(
    tx: &mut SessionTransaction,
    caller: &Caller,
    events: &[ClientEvent],
) -> Result<Result<Vec<Option<Call>>, ApiError>, ApiError> {
    if tx.session.is("terminated") {
        for event in events {
            if let ClientKind::Result(_, id) = &event.kind {
                tx.record_attempt(id, &attempt(caller, &event.object), Some("the session is terminated"))?;
            }
        }
        return Ok(Err(ApiError::invalid(format!("The session {:?} is terminated.", tx.session.id))));
    }
    let mut calls: HashMap<&str, Call> = HashMap::new();
    let mut left = Vec::with_capacity(events.len());
    let mut accepted = Vec::new();
    for (number, event) in events.iter().enumerate() {
        let (ClientKind::Confirmation(id, _) | ClientKind::Result(_, id)) = &event.kind else {
            left.push(None);
            continue;
        };
        if !calls.contains_key(id.as_str()) {
            let Some(call) = call::find(tx.transaction, &tx.session.id, id)? else {
                let message = format!("events[{number}]: the session has no call {id:?}");
                return Ok(Err(ApiError::invalid(message)));
            };
            calls.insert(id, call);
        }
        let Some(call) = calls.get_mut(id.as_str()) else { continue };
        let checked = match &event.kind {
            ClientKind::Confirmation(_, allows) => call.confirm(*allows),
            ClientKind::Result(Kind::Toolset, _) if !is_self_hosted(tx) => {
                Err("user.tool_result is valid only in self-hosted environments".to_owned())
            }
            ClientKind::Result(kind, _) => call.answer(*kind),
            _ => Ok(()),
        };
        if let Err(reason) = checked {
            if let ClientKind::Result(..) = event.kind {
                tx.record_attempt(id, &attempt(caller, &event.object), Some(&reason))?;
            }
            return Ok(Err(ApiError::invalid(format!("events[{number}]: {reason}."))));
        }
        if let ClientKind::Result(..) = event.kind {
            accepted.push((id, &event.object));
        }
        left.push(Some(call.clone()));
    }
    for (id, event) in accepted {
        tx.record_attempt(id, &attempt(caller, event), None)?;
    }
    Ok(Ok(left))
}

/// Applies events that were checked; returns them as they are stored.
fn apply(tx: &mut SessionTransaction, events: Vec<ClientEvent>, calls: &[Option<Call>]) -> Result<Vec<Object>, ApiError> {
    let has_turn = events.iter().any(|event| event.kind == ClientKind::Turn);
    let mut sent = Vec::with_capacity(events.len());
    for (event, call) in events.into_iter().zip(calls) {
        let mut object = Object::default();
        object.set("id", &ids::event());
        event.object.iter().for_each(|(key, value)| object.set(key, value));
        match (&event.kind, call) {
            (ClientKind::Confirmation(..), Some(call)) => tx.confirm(call, &object)?,
            (ClientKind::Result(..), Some(call)) => tx.answer(call, &object)?,
            (ClientKind::Interrupt(thread_id), _) => {
                tx.add(&object)?;
                tx.end_calls(thread_id.as_deref(), "interrupted")?;
            }
            (ClientKind::System, _) if !has_turn => drop(tx.add(&object)?),
            // The agent takes it when it begins its next turn.
            _ => {
                object.set("processed_at", &());
                tx.add(&object)?;
            }
        }
        sent.push(object);
    }
    Ok(sent)
}

fn attempt<'a>(caller: &Caller, event: &'a Object) -> Attempt<'a> {
    let (credential, delivery) = caller.identity();
    Attempt { credential, delivery, event }
}

/// Returns whether the session's environment is self-hosted.
fn is_self_hosted(tx: &SessionTransaction) -> bool {
    environments::find(tx.transaction, &tx.session.environment_id).is_ok_and(|environment| environment.self_hosted)
}
