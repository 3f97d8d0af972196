//! `/_emulator/…`: what tests do behind the API's back. No credential, no version, no beta; never delayed by a fault and never
//! in the request log; not for web pages.

pub mod browser_guard;
pub mod faults;
pub mod holds;
pub mod latency;
pub mod request_log;

use std::sync::atomic::Ordering;

use hyper::{Method, body::Bytes, http::request::Parts};
use serde::Serialize;
use serde_json::{json, value::RawValue};

use self::faults::Fault;
use crate::{
    App,
    api::{environments, sessions, work},
    http::{
        connection::Connection,
        query::Query,
        response::{ApiError, Response},
    },
    model::{
        clock, history, ids,
        json::{self, Object},
        work_queue,
    },
};

/// The form of every response that is a list.
#[derive(Serialize)]
struct List<T> {
    data: T,
}

/// The most items that one request may enqueue.
const MAX_COUNT: i64 = 100_000;

/// Answers a control request.
pub fn respond(app: &App, connection: &Connection, parts: &Parts, body: Option<Bytes>) -> Result<Response, ApiError> {
    browser_guard::check(&app.config, parts)?;
    let Some(body) = body else {
        return Err(ApiError::invalid("The body is too large."));
    };
    let path = parts.uri.path();
    let name = path.strip_prefix("/_emulator/").unwrap_or_default();
    let query = Query::parse(parts.uri.query());
    match (name, parts.method.as_str()) {
        ("health", "GET") => Ok(Response::of(&json!({"ok": true, "version": env!("CARGO_PKG_VERSION")}))),
        ("work", "POST") => enqueue(app, &object(&body)?),
        ("environment_keys", "POST") => environment_key(app, &object(&body)?),
        ("faults", "GET") => Ok(Response::of(&List { data: app.faults.list() })),
        ("faults", "POST") => faults(app, &body),
        ("faults", "DELETE") => Ok(Response::of(&json!({"cleared": app.faults.clear()}))),
        ("holds", "GET") => Ok(Response::of(&json!({"held": app.holds.count(query.get("operation"))}))),
        ("holds", "DELETE") => Ok(Response::of(&json!({"released": app.holds.release(query.get("operation"))}))),
        ("requests", "GET") => Ok(app.log.response(query.get("operation"))),
        ("requests", "DELETE") => Ok(Response::of(&json!({"cleared": app.log.clear()}))),
        ("history", "GET") => history(app, &query),
        ("history", "DELETE") => Ok(Response::of(&json!({"cleared": app.store.write(history::forget)?}))),
        ("clock", "GET") => Ok(clock_now(app)),
        ("clock", "POST") => set_clock(app, &object(&body)?),
        ("connections", "GET") => Ok(Response::of(&app.connections())),
        ("connections", "POST") => connections(app, connection, &object(&body)?),
        ("reset", "POST") => {
            app.reset()?;
            Ok(Response::of(&json!({"ok": true})))
        }
        _ => Err(no_such_endpoint(&parts.method, path, name)),
    }
}

fn no_such_endpoint(method: &Method, path: &str, name: &str) -> ApiError {
    let allowed = match name {
        "health" => "GET",
        "work" | "environment_keys" | "reset" => "POST",
        "holds" | "requests" | "history" => "GET, DELETE",
        "faults" => "GET, POST, DELETE",
        "clock" | "connections" => "GET, POST",
        _ => return ApiError::not_found(format!("There is nothing at {path}.")),
    };
    ApiError::method_not_allowed(method.as_str(), path, allowed)
}

fn enqueue(app: &App, body: &Object) -> Result<Response, ApiError> {
    let environment_id = required(body, "environment_id")?;
    let count = match given(body, "count") {
        None => None,
        Some(count) => match json::integer(count) {
            Some(count @ 1..=MAX_COUNT) => Some(count as usize),
            _ => return Err(ApiError::invalid(format!("count: must be an integer from 1 to {MAX_COUNT}"))),
        },
    };
    let data = match given(body, "data") {
        None => Object::default(),
        Some(data) => Object::from_raw(data).ok_or_else(|| ApiError::invalid("data: must be an object"))?,
    };
    for key in ["type", "id"] {
        if data.get(key).is_some() && data.string(key).is_none() {
            return Err(ApiError::invalid(format!("data.{key}: must be a string")));
        }
    }
    let metadata = environments::new_metadata(body.get("metadata"))?;
    work::check_metadata(&metadata)?;

    let items = work_queue::enqueue(app, &environment_id, count.unwrap_or(1), |transaction, now| {
        let mut data = data.clone();
        data.default_to("type", "session");
        if data.get("id").is_none() {
            // A worker looks its session up, so a session made up here must be there.
            let id = match data.string("type").as_deref() {
                Some("session") => sessions::insert(transaction, &environment_id, &Object::default(), now)?.string("id"),
                _ => Some(ids::session()),
            };
            data.set("id", &id);
        }
        Ok((data, metadata.clone()))
    })?;
    let shown: Vec<_> = items.iter().map(|(item, secret)| item.as_json(Some(secret))).collect();
    match (count, shown.first()) {
        (None, Some(one)) => Ok(Response::of(one)),
        _ => Ok(Response::of(&List { data: shown })),
    }
}

fn environment_key(app: &App, body: &Object) -> Result<Response, ApiError> {
    let environment_id = required(body, "environment_id")?;
    let key = ids::environment_key();
    app.store.write(|transaction| {
        environments::find(transaction, &environment_id)?;
        transaction
            .prepare_cached("INSERT INTO environment_keys (key, environment_id) VALUES (?1, ?2)")?
            .execute([&key, &environment_id])?;
        Ok::<_, ApiError>(())
    })?;
    Ok(Response::of(&json!({"environment_id": environment_id, "environment_key": key})))
}

fn faults(app: &App, body: &[u8]) -> Result<Response, ApiError> {
    let one: Box<RawValue> = serde_json::from_slice(body).map_err(not_json)?;
    let given: Vec<Box<RawValue>> = serde_json::from_slice(body).unwrap_or_else(|_| vec![one]);
    // All or none: a test must not run with half of its faults.
    let faults: Vec<Fault> = given.iter().map(|fault| Fault::parse(fault)).collect::<Result<_, _>>()?;
    app.faults.append(faults);
    Ok(Response::of(&List { data: app.faults.list() }))
}

fn history(app: &App, query: &Query) -> Result<Response, ApiError> {
    let (work_id, environment_id) = (query.get("work_id"), query.get("environment_id"));
    let events = app.store.read(|connection| history::list(connection, work_id, environment_id))?;
    Ok(Response::of(&List { data: events }))
}

fn clock_now(app: &App) -> Response {
    Response::of(&json!({"now": clock::text(app.clock.now()), "offset_ms": app.clock.offset() / 1000}))
}

fn set_clock(app: &App, body: &Object) -> Result<Response, ApiError> {
    let moved = match (given(body, "advance_ms"), given(body, "now"), given(body, "reset")) {
        (Some(advance), None, None) => json::integer(advance)
            .and_then(|millis| millis.checked_mul(1000))
            .and_then(|micros| app.clock.offset().checked_add(micros))
            .and_then(|offset| app.clock.set_offset(offset)),
        (None, Some(now), None) => json::string(now).and_then(|now| clock::parse(&now)).and_then(|now| app.clock.set_now(now)),
        (None, None, Some(reset)) if json::boolean(reset) == Some(true) => app.clock.set_offset(0),
        _ => None,
    };
    if moved.is_none() {
        return Err(ApiError::invalid(
            "give one of {\"advance_ms\": integer}, {\"now\": RFC 3339 text} and {\"reset\": true}; the result must lie between 1970 and 9000",
        ));
    }
    app.waiters.wake_all();
    Ok(clock_now(app))
}

fn connections(app: &App, connection: &Connection, body: &Object) -> Result<Response, ApiError> {
    match (given(body, "silent"), given(body, "max_streams")) {
        (Some(silent), None) if json::boolean(silent) == Some(true) => app.silence.send_replace(connection.number),
        (None, Some(most)) => match json::integer(most).map(u32::try_from) {
            Some(Ok(most)) => app.max_streams.swap(most, Ordering::SeqCst).into(),
            _ => return Err(ApiError::invalid(format!("max_streams: must be an integer from 0 to {}", u32::MAX))),
        },
        _ => return Err(ApiError::invalid("give one of {\"silent\": true} and {\"max_streams\": integer}")),
    };
    Ok(Response::of(&app.connections()))
}

/// A value that is there and not `null`.
fn given<'a>(body: &'a Object, key: &str) -> Option<&'a RawValue> {
    body.get(key).filter(|value| !json::is_null(value))
}

fn required(body: &Object, key: &str) -> Result<String, ApiError> {
    body.string(key).ok_or_else(|| ApiError::invalid(format!("{key}: is required and must be a string")))
}

fn object(body: &[u8]) -> Result<Object, ApiError> {
    Object::parse(body).map_err(not_json)
}

fn not_json(error: serde_json::Error) -> ApiError {
    ApiError::invalid(format!("The body must be a JSON object: {error}"))
}
