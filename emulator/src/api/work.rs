//! The operations on work items, but for the poll, which waits (`poll.rs`).

use std::sync::atomic::Ordering;

use hyper::StatusCode;
use serde_json::json;

use crate::{
    App,
    api::{auth::Caller, environments, page::Page},
    http::{
        query::Query,
        response::{ApiError, Response},
    },
    model::{
        clock,
        json::{self, Object},
        work_item::{HeartbeatOutcome, Precondition, State, WorkItem, WrongState},
        work_queue,
    },
};

const MAX_PAIRS: usize = 16;
const MAX_KEY: usize = 64;
const MAX_VALUE: usize = 512;

/// The literal that stands for "this item has had no heartbeat".
const NO_HEARTBEAT: &str = "NO_HEARTBEAT";

/// `work.list`
pub fn list(app: &App, environment_id: &str, query: &Query) -> Result<Response, ApiError> {
    let page = Page::from_query('w', query)?;
    let rows = work_queue::on_environment(app, environment_id, |transaction, _| {
        Ok(work_queue::list(transaction, environment_id, page.before(), page.fetch())?)
    })?;
    Ok(Response::json(page.body(rows)))
}

/// `work.stats`
pub fn stats(app: &App, environment_id: &str) -> Result<Response, ApiError> {
    Ok(Response::of(&work_queue::stats(app, environment_id)?))
}

/// `work.retrieve`
pub fn retrieve(app: &App, environment_id: &str, work_id: &str) -> Result<Response, ApiError> {
    let item =
        work_queue::on_environment(app, environment_id, |transaction, _| work_queue::find(transaction, environment_id, work_id))?;
    Ok(object(&item))
}

/// `work.update`
pub fn update(app: &App, caller: &Caller, environment_id: &str, work_id: &str, body: &Object) -> Result<Response, ApiError> {
    let Some(patch) = body.get("metadata").and_then(Object::from_raw) else {
        return Err(ApiError::invalid("metadata: is required and must be an object"));
    };
    work_queue::on_item(app, caller, environment_id, work_id, |item, _| {
        for (key, value) in patch.iter() {
            match json::is_null(value) {
                true => item.metadata.remove(key),
                false => item.metadata.set(key, value),
            }
        }
        check_metadata(&item.metadata)?;
        Ok((object(item), None))
    })
}

/// Holds a work item's metadata to the API's limits.
pub fn check_metadata(metadata: &Object) -> Result<(), ApiError> {
    let refuse = |message: String| Err(ApiError::invalid(message).code("invalid_metadata"));
    if metadata.len() > MAX_PAIRS {
        return refuse(format!("metadata: at most {MAX_PAIRS} pairs"));
    }
    for (key, value) in metadata.iter() {
        if !(1..=MAX_KEY).contains(&key.chars().count()) {
            return refuse(format!("metadata: a key has 1 to {MAX_KEY} characters"));
        }
        match json::string(value) {
            Some(text) if text.chars().count() <= MAX_VALUE => {}
            Some(_) => return refuse(format!("metadata: a value has at most {MAX_VALUE} characters")),
            None => return refuse(format!("metadata: the value of {key:?} must be a string, or null to delete it")),
        }
    }
    Ok(())
}

/// `work.ack`
pub fn ack(app: &App, caller: &Caller, environment_id: &str, work_id: &str) -> Result<Response, ApiError> {
    work_queue::on_item(app, caller, environment_id, work_id, |item, now| {
        let event = item.acknowledge(now).map_err(|WrongState| wrong_state(item))?;
        Ok((object(item), event))
    })
}

/// `work.stop`
pub fn stop(app: &App, caller: &Caller, environment_id: &str, work_id: &str, body: &Object) -> Result<Response, ApiError> {
    let force = match body.get("force").filter(|force| !json::is_null(force)) {
        None => false,
        Some(force) => json::boolean(force).ok_or_else(|| ApiError::invalid("force: must be true or false"))?,
    };
    work_queue::on_item(app, caller, environment_id, work_id, |item, now| {
        let event = item.stop(now, force).map_err(|WrongState| wrong_state(item))?;
        Ok((object(item), event))
    })
}

/// `work.heartbeat`
pub fn heartbeat(app: &App, caller: &Caller, environment_id: &str, work_id: &str, query: &Query) -> Result<Response, ApiError> {
    let default_ttl = i64::from(app.config.lease_ttl);
    let ttl = match query.integer("desired_ttl_seconds", 0..=3600)? {
        None | Some(0) => default_ttl,
        Some(seconds) => seconds,
    };
    let expected = match query.get("expected_last_heartbeat") {
        None => Precondition::Nothing,
        Some(NO_HEARTBEAT) => Precondition::NoHeartbeat,
        Some(text) => Precondition::Last(text),
    };
    let lapsed_is_stopped = app.lapsed_leases_answer_stopped.load(Ordering::SeqCst);
    // A refusal is a result here and no failure: the history keeps it.
    work_queue::on_item(app, caller, environment_id, work_id, |item, now| {
        if let Precondition::Last(text) = expected
            && lapsed_is_stopped
            && item.has_lapsed(expected)
        {
            return Ok((Ok(heartbeat_object(text, false, State::Stopped, default_ttl)), None));
        }
        let beat = item.heartbeat(now, expected, ttl);
        let ttl_seconds = item.ttl_seconds.unwrap_or(default_ttl);
        let result = match beat {
            HeartbeatOutcome::PreconditionFailed => Err(precondition_failed(item, ttl_seconds)),
            _ => {
                let last = item.last_heartbeat().unwrap_or_default();
                Ok(heartbeat_object(&last, beat.is_extended(), item.state, ttl_seconds))
            }
        };
        Ok((result, beat.event()))
    })?
}

fn heartbeat_object(last_heartbeat: &str, lease_extended: bool, state: State, ttl_seconds: i64) -> Response {
    Response::of(&json!({
        "last_heartbeat": last_heartbeat,
        "lease_extended": lease_extended,
        "state": state.name(),
        "ttl_seconds": ttl_seconds,
        "type": "work_heartbeat",
    }))
}

/// 404 unless the environment has such an item.
pub fn check_exists(app: &App, environment_id: &str, work_id: &str) -> Result<(), ApiError> {
    app.store.read(|connection| {
        environments::find(connection, environment_id)?;
        work_queue::find(connection, environment_id, work_id).map(drop)
    })
}

fn object(item: &WorkItem) -> Response {
    Response::of(&item.as_json(None))
}

fn wrong_state(item: &WorkItem) -> ApiError {
    ApiError::conflict(format!("The work item {:?} is {}.", item.id, item.state.name()))
}

fn precondition_failed(item: &WorkItem, ttl_seconds: i64) -> ApiError {
    let last_heartbeat = item.latest_heartbeat_at.map(clock::heartbeat_text);
    ApiError::new(
        StatusCode::PRECONDITION_FAILED,
        "expected_last_heartbeat: is not the item's last heartbeat; another worker holds the item, or none does.",
    )
    .code("heartbeat_precondition_failed")
    .detail(
        "current_state",
        json!({
            "state": item.state.name(),
            "last_heartbeat": last_heartbeat,
            "lease_extended": false,
            "ttl_seconds": ttl_seconds,
        }),
    )
}
