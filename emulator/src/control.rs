//! `/_emulator/…`: what tests do behind the API's back. No credential, no version, no beta; never delayed by a fault and never
//! in the request log.

use hyper::{Method, body::Bytes, http::request::Parts};
use serde_json::{Map, Value, json};

use crate::{
    App, clock, environments,
    faults::Fault,
    ids,
    query::Query,
    queue,
    reply::{ApiError, Reply},
    sessions, work,
};

/// The most items that one request may enqueue.
const MAX_COUNT: i64 = 100_000;

type Object = Map<String, Value>;

/// Answers a control request.
pub fn answer(app: &App, parts: &Parts, body: Option<Bytes>) -> Result<Reply, ApiError> {
    let Some(body) = body else {
        return Err(ApiError::invalid("The body is too large."));
    };
    let path = parts.uri.path();
    let name = path.strip_prefix("/_emulator/").unwrap_or_default();
    let query = Query::parse(parts.uri.query());
    let result = match (name, parts.method.as_str()) {
        ("health", "GET") => json!({"ok": true, "version": env!("CARGO_PKG_VERSION")}),
        ("work", "POST") => enqueue(app, &object(&body)?)?,
        ("environment_keys", "POST") => environment_key(app, &object(&body)?)?,
        ("faults", "GET") => json!({"data": app.faults.list()}),
        ("faults", "POST") => faults(app, value(&body)?)?,
        ("faults", "DELETE") => json!({"cleared": app.faults.clear()}),
        ("requests", "GET") => json!({"data": app.log.list(query.get("operation"))}),
        ("requests", "DELETE") => json!({"cleared": app.log.clear()}),
        ("clock", "GET") => clock_now(app),
        ("clock", "POST") => set_clock(app, &object(&body)?)?,
        ("connections", "GET") => app.connections(),
        ("reset", "POST") => {
            app.reset()?;
            json!({"ok": true})
        }
        _ => return Err(no_such_endpoint(&parts.method, path, name)),
    };
    Ok(Reply::value(&result))
}

fn no_such_endpoint(method: &Method, path: &str, name: &str) -> ApiError {
    let allowed = match name {
        "health" | "connections" => "GET",
        "work" | "environment_keys" | "reset" => "POST",
        "requests" => "GET, DELETE",
        "faults" => "GET, POST, DELETE",
        "clock" => "GET, POST",
        _ => return ApiError::not_found(format!("There is nothing at {path}.")),
    };
    ApiError::method_not_allowed(method.as_str(), path, allowed)
}

fn enqueue(app: &App, body: &Object) -> Result<Value, ApiError> {
    let environment_id = text(body, "environment_id")?;
    let count = match body.get("count") {
        None | Some(Value::Null) => None,
        Some(count) => match count.as_i64() {
            Some(count @ 1..=MAX_COUNT) => Some(count as usize),
            _ => return Err(ApiError::invalid(format!("count: must be an integer from 1 to {MAX_COUNT}"))),
        },
    };
    let given = match body.get("data") {
        None | Some(Value::Null) => Object::new(),
        Some(Value::Object(data)) => data.clone(),
        Some(_) => return Err(ApiError::invalid("data: must be an object")),
    };
    for key in ["type", "id"] {
        if given.get(key).is_some_and(|value| !value.is_string()) {
            return Err(ApiError::invalid(format!("data.{key}: must be a string")));
        }
    }
    let metadata = match environments::new_metadata(body.get("metadata"))? {
        Value::Object(metadata) => metadata,
        _ => Object::new(),
    };
    work::check_metadata(&metadata)?;

    let items = queue::enqueue(app, environment_id, count.unwrap_or(1), |transaction, now| {
        let mut data = given.clone();
        let kind = data.entry("type").or_insert("session".into()).clone();
        if !data.contains_key("id") {
            // A worker looks its session up, so a session made up here must be there.
            let id = match kind == "session" {
                true => sessions::insert(transaction, environment_id, &Object::new(), now)?["id"].clone(),
                false => ids::session().into(),
            };
            data.insert("id".to_owned(), id);
        }
        Ok((data.into(), metadata.clone()))
    })?;
    let mut objects: Vec<Value> = items.iter().map(|(item, secret)| item.object(Some(secret))).collect();
    match count {
        None => Ok(objects.remove(0)),
        Some(_) => Ok(json!({"data": objects})),
    }
}

fn environment_key(app: &App, body: &Object) -> Result<Value, ApiError> {
    let environment_id = text(body, "environment_id")?;
    let key = ids::environment_key();
    app.store.write(|transaction| {
        environments::find(transaction, environment_id)?;
        transaction
            .prepare_cached("INSERT INTO environment_keys (key, environment_id) VALUES (?1, ?2)")?
            .execute([&key, environment_id])?;
        Ok::<_, ApiError>(())
    })?;
    Ok(json!({"environment_id": environment_id, "environment_key": key}))
}

fn faults(app: &App, body: Value) -> Result<Value, ApiError> {
    let given = match body {
        Value::Array(faults) => faults,
        fault => vec![fault],
    };
    // All or none: a test must not run with half of what it asked for.
    let faults: Vec<Fault> = given.into_iter().map(Fault::from_value).collect::<Result<_, _>>()?;
    app.faults.append(faults);
    Ok(json!({"data": app.faults.list()}))
}

fn clock_now(app: &App) -> Value {
    json!({"now": clock::text(app.clock.now()), "offset_ms": app.clock.offset() / 1000})
}

fn set_clock(app: &App, body: &Object) -> Result<Value, ApiError> {
    let moved = match (body.get("advance_ms"), body.get("now"), body.get("reset")) {
        (Some(advance), None, None) => advance
            .as_i64()
            .and_then(|millis| millis.checked_mul(1000))
            .and_then(|micros| app.clock.offset().checked_add(micros))
            .and_then(|offset| app.clock.set_offset(offset)),
        (None, Some(now), None) => now.as_str().and_then(clock::parse).and_then(|now| app.clock.set_now(now)),
        (None, None, Some(Value::Bool(true))) => app.clock.set_offset(0),
        _ => None,
    };
    if moved.is_none() {
        return Err(ApiError::invalid(
            "give one of {\"advance_ms\": integer}, {\"now\": RFC 3339 text} and {\"reset\": true}; the result must lie between 1970 and 9000",
        ));
    }
    app.waiting.wake_all();
    Ok(clock_now(app))
}

fn text<'a>(body: &'a Object, key: &str) -> Result<&'a str, ApiError> {
    body.get(key).and_then(Value::as_str).ok_or_else(|| ApiError::invalid(format!("{key}: is required and must be a string")))
}

fn value(body: &[u8]) -> Result<Value, ApiError> {
    serde_json::from_slice(body).map_err(|error| ApiError::invalid(format!("The body is not valid JSON: {error}")))
}

fn object(body: &[u8]) -> Result<Object, ApiError> {
    match value(body)? {
        Value::Object(object) => Ok(object),
        _ => Err(ApiError::invalid("The body must be a JSON object.")),
    }
}
