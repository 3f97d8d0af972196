//! The path of a request: read it, record it, apply a fault, authenticate, perform, respond.

use std::{
    io::{self, Write},
    sync::Arc,
    time::{Duration, Instant},
};

use http_body_util::BodyExt;
use hyper::{
    HeaderMap, StatusCode,
    body::{Body, Bytes},
    http::request::Parts,
};

use crate::{
    App,
    api::{
        auth::{self, Caller},
        environments, poll,
        route::{self, Ids, Operation, Row},
        sessions, work,
    },
    control,
    control::{
        faults::{Fault, Outcome, When},
        request_log::{self, Handling},
    },
    http::{
        connection::Connection,
        count::CountGuard,
        query::Query,
        response::{ApiError, Response},
    },
    model::{ids, json::Object},
};

/// The largest body of an API request.
const MAX_BODY: usize = 8 << 20;

/// The largest body of a control request: a fault may carry a very large response.
const MAX_CONTROL_BODY: usize = 256 << 20;

/// The beta that the whole API belongs to.
const BETA: &str = "managed-agents-2026-04-01";

/// A request that has arrived whole.
struct Call {
    parts: Parts,
    /// Missing when it was too large.
    body: Option<Bytes>,
    request_id: String,
    route: Result<(&'static Row, Ids), ApiError>,
    handling: Handling,
}

/// Handles one request. Returns nothing when it did not arrive whole: its client has gone.
pub async fn serve<B>(app: &Arc<App>, connection: &Connection, parts: Parts, body: B) -> Option<Outcome>
where
    B: Body<Data = Bytes> + Unpin,
{
    let request_id = ids::request();
    if parts.uri.path().starts_with("/_emulator/") {
        let body = read(body, MAX_CONTROL_BODY).await.ok()?;
        let response = control::respond(app, connection, &parts, body).unwrap_or_else(|error| error.response(&request_id));
        return Some(Outcome::Response(response.identified(&request_id)));
    }

    let body = read(body, MAX_BODY).await.ok()?;
    if app.tls.is_some() && !connection.is_tls() {
        let refusal = ApiError::invalid(format!("The base URL is {}: the API is served over TLS alone here.", app.url));
        return Some(Outcome::Response(refusal.response(&request_id).identified(&request_id)));
    }
    let _open = CountGuard::new(&app.requests_open);
    let started = Instant::now();
    let route = route::find(&parts.method, parts.uri.path());
    let operation = route.as_ref().ok().map(|(row, _)| row.name);
    let handling = app.log.begin(operation, &parts, body.as_deref().unwrap_or_default(), connection.number);
    let mut call = Call { parts, body, request_id, route, handling };

    let outcome = match app.faults.take(operation) {
        None => Outcome::Response(respond(app, Some(connection), &call).await),
        Some(fault) if fault.is_detached() => {
            // A task goes on when this future is dropped because the client has gone; all that is the call's goes with it.
            let app = app.clone();
            let task = tokio::spawn(async move { (respond_with_fault(&app, None, &call, &fault).await, call) });
            let (outcome, back) = task.await.ok()?;
            call = back;
            outcome
        }
        Some(fault) => respond_with_fault(app, Some(connection), &call, &fault).await,
    };
    let status = outcome.status();
    call.handling.finish(status);
    if app.config.verbose {
        log_request(&call.parts, operation, status, started.elapsed(), connection);
    }
    Some(outcome)
}

/// Handles a request that met a fault.
async fn respond_with_fault(app: &App, connection: Option<&Connection>, call: &Call, fault: &Fault) -> Outcome {
    pause(app, call, fault, When::Before).await;
    let real = match fault.processes() {
        true => Some(respond(app, connection, call).await),
        false => None,
    };
    pause(app, call, fault, When::After).await;
    fault.outcome(real, &call.request_id)
}

fn log_request(parts: &Parts, operation: Option<&str>, status: Option<StatusCode>, elapsed: Duration, connection: &Connection) {
    let status = status.map_or("---".to_owned(), |status| status.as_u16().to_string());
    let (method, target, name) = (&parts.method, request_log::target(parts), operation.unwrap_or("-"));
    let millis = elapsed.as_secs_f64() * 1000.0;
    // A closed standard error is no reason to fail.
    let _ = writeln!(io::stderr(), "{status} {method} {target} {name} {millis:.1} ms, connection {}", connection.number);
}

/// Waits as long as the fault has a request wait at this point.
async fn pause(app: &App, call: &Call, fault: &Fault, now: When) {
    if fault.holds(now) {
        app.holds.wait(call.route.as_ref().ok().map(|(row, _)| row.name)).await;
    }
    if let Some(latency) = fault.latency(now) {
        tokio::time::sleep(latency).await;
    }
}

/// Reads a body; `None` when it is larger than the limit.
async fn read<B>(mut body: B, limit: usize) -> Result<Option<Bytes>, B::Error>
where
    B: Body<Data = Bytes> + Unpin,
{
    let mut whole = Vec::new();
    let mut length = 0;
    // Most bodies arrive in one frame, and need no copy.
    let mut only = Bytes::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else {
            continue;
        };
        length += data.len();
        if length > limit.saturating_mul(8) {
            // A client that sends without end gets its response whether it stops or not.
            return Ok(None);
        }
        if length > limit {
            // Read on without keeping it: a client that is still sending would not see the response.
            whole = Vec::new();
        } else if length == data.len() && body.is_end_stream() {
            only = data;
        } else {
            whole.extend_from_slice(&data);
        }
    }
    match length {
        length if length > limit => Ok(None),
        _ if only.is_empty() => Ok(Some(whole.into())),
        _ => Ok(Some(only)),
    }
}

/// Makes the real response. `connection` shows whether the client is still there; without one, it is not checked.
async fn respond(app: &App, connection: Option<&Connection>, call: &Call) -> Response {
    let response = match &call.route {
        Ok((row, ids)) => perform(app, connection, call, row, ids).await.unwrap_or_else(|error| error.response(&call.request_id)),
        Err(error) => error.response(&call.request_id),
    };
    response.identified(&call.request_id)
}

async fn perform(
    app: &App,
    connection: Option<&Connection>,
    call: &Call,
    row: &'static Row,
    ids: &Ids,
) -> Result<Response, ApiError> {
    let caller = auth::identify(&call.parts.headers, &app.store, app.config.auth)?;
    check_headers(&call.parts.headers)?;
    caller.check_kind(row)?;
    let Some(body) = &call.body else {
        return Err(ApiError::new(StatusCode::PAYLOAD_TOO_LARGE, format!("The body is larger than {MAX_BODY} bytes.")));
    };
    if row.name.starts_with("work.") {
        check_reach(app, &caller, ids)?;
    }
    let Ids { environment, work: item, session } = ids;
    let query = || Query::parse(call.parts.uri.query());
    let body = || object(body);
    match row.operation {
        Operation::EnvironmentsCreate => environments::create(app, &body()?),
        Operation::EnvironmentsList => environments::list(app, &query()),
        Operation::EnvironmentsRetrieve => environments::retrieve(app, environment),
        Operation::EnvironmentsUpdate => environments::update(app, environment, &body()?),
        Operation::EnvironmentsDelete => environments::delete(app, environment),
        Operation::EnvironmentsArchive => environments::archive(app, environment),
        Operation::WorkList => work::list(app, environment, &query()),
        Operation::WorkPoll => poll::poll(app, connection, environment, &query(), &call.parts.headers).await,
        Operation::WorkStats => work::stats(app, environment),
        Operation::WorkRetrieve => work::retrieve(app, environment, item),
        Operation::WorkUpdate => work::update(app, &caller, environment, item, &body()?),
        Operation::WorkAck => work::ack(app, &caller, environment, item),
        Operation::WorkHeartbeat => work::heartbeat(app, &caller, environment, item, &query()),
        Operation::WorkStop => work::stop(app, &caller, environment, item, &body()?),
        Operation::SessionsCreate => sessions::create(app, &body()?),
        Operation::SessionsRetrieve => sessions::retrieve(app, &caller, session),
    }
}

fn check_headers(headers: &HeaderMap) -> Result<(), ApiError> {
    if !headers.contains_key("anthropic-version") {
        return Err(ApiError::invalid("anthropic-version: this header is required"));
    }
    let is_there = headers
        .get_all("anthropic-beta")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|beta| beta.trim() == BETA);
    if !is_there {
        return Err(ApiError::invalid(format!("anthropic-beta: this header must contain {BETA}")));
    }
    Ok(())
}

/// Environment and item exist, and are the caller's: 404 before 403, so that a deleted environment is gone for every caller.
fn check_reach(app: &App, caller: &Caller, ids: &Ids) -> Result<(), ApiError> {
    app.store.read(|connection| environments::find(connection, &ids.environment).map(drop))?;
    caller.check_environment(&ids.environment)?;
    if !ids.work.is_empty() {
        work::check_exists(app, &ids.environment, &ids.work)?;
        caller.check_item(&ids.work)?;
    }
    Ok(())
}

/// The body as a JSON object; no body is an empty one.
fn object(body: &[u8]) -> Result<Object, ApiError> {
    if body.is_empty() {
        return Ok(Object::default());
    }
    Object::parse(body).map_err(|error| ApiError::invalid(format!("The body must be a JSON object: {error}")))
}
