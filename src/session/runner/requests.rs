//! The requests that serving a session takes, each with what its response means.

use super::shared::SessionShared;
use super::words::{LinkFailure, SendResult};
use crate::api::operations::{SESSIONS_EVENTS_LIST, SESSIONS_EVENTS_SEND, SESSIONS_EVENTS_STREAM, SESSIONS_RETRIEVE};
use crate::client::Answer;
use crate::error::{Error, Result, Status};
use crate::json::Object;
use crate::pager::Page;
use crate::session::event::Event;
use crate::stream::EventReader;
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// Bounds the retrieval of the session, and the opening of its stream.
const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
/// Bounds the silence of the stream, pings included: its connection may have died unnoticed. Proxies give up connections that are silent for
/// a minute, so servers ping more often than that.
const STREAM_SILENCE: Duration = Duration::from_secs(90);
/// Bounds one page of the history.
const PAGE_TIMEOUT: Duration = Duration::from_secs(120);
/// Bounds one attempt to send a result.
const SEND_TIMEOUT: Duration = Duration::from_secs(15);
/// How the history is asked for.
const HISTORY: &str = r#"{"limit":1000,"order":"asc"}"#;

/// Retrieves the session, prepares what it needs, and returns whether it is terminated or archived.
pub(super) async fn retrieve(shared: Arc<SessionShared>) -> Result<bool> {
    let mut request = shared.client.prepare_with(&SESSIONS_RETRIEVE, &[("session_id", shared.lease.session_id())], None)?;
    request.timeout = OPEN_TIMEOUT;
    let json = shared.client.send_on(&shared.pool, request).await.result?;
    let mut session = Object::parse(&json, "session", Status::Response)?;
    let is_archived = session.take("archived_at").is_some();
    let is_terminated = is_archived || session.take("status").is_some_and(|status| status.raw() == "\"terminated\"");
    if !is_terminated {
        shared.resources.prepare(&json).await?;
    }
    Ok(is_terminated)
}

/// Opens the stream.
pub(super) async fn open(shared: Arc<SessionShared>) -> Result<EventReader> {
    let mut request = shared.client.prepare_with(&SESSIONS_EVENTS_STREAM, &[("session_id", shared.lease.session_id())], None)?;
    (request.timeout, request.idle_timeout) = (OPEN_TIMEOUT, STREAM_SILENCE);
    EventReader::new(shared.client.open(&shared.pool, request)?.await?)
}

/// Reads the history, and returns its events, and why that is not all of them.
pub(super) async fn read_history(shared: Arc<SessionShared>) -> (Vec<Event>, Option<Error>) {
    let (mut events, mut seen, mut cursor) = (Vec::new(), HashSet::new(), None);
    loop {
        match read_page(&shared, cursor, &mut events, &mut seen).await {
            Ok(None) => return (events, None),
            Ok(next) => cursor = next,
            Err(error) => return (events, Some(error)),
        }
    }
}

async fn read_page(
    shared: &SessionShared,
    cursor: Option<String>,
    events: &mut Vec<Event>,
    seen: &mut HashSet<String>,
) -> Result<Option<String>> {
    let ids = [("session_id", shared.lease.session_id())];
    let mut request = shared.client.prepare_with(&SESSIONS_EVENTS_LIST, &ids, Some(HISTORY))?;
    request.timeout = PAGE_TIMEOUT;
    if let Some(cursor) = cursor {
        request.set_query("page", cursor);
    }
    let json = shared.client.send_on(&shared.pool, request).await.result?;
    let page = Page::parse(&json)?;
    events.extend(page.data.iter().filter_map(|event| Event::parse(event.get())));
    page.next(seen)
}

/// Makes one attempt to send a result. `params`: those of the request.
pub(super) async fn send_result(shared: Arc<SessionShared>, params: String) -> (SendResult, Option<Error>) {
    let ids = [("session_id", shared.lease.session_id())];
    let Answer { result, may_have_arrived, retry_after } =
        match shared.client.prepare_with(&SESSIONS_EVENTS_SEND, &ids, Some(&params)) {
            Ok(mut request) => {
                (request.timeout, request.max_retries) = (SEND_TIMEOUT, 0);
                shared.client.send_on(&shared.pool, request).await
            }
            Err(error) => Answer { result: Err(error), may_have_arrived: false, retry_after: None },
        };
    match result {
        Ok(_) => (SendResult::Done, None),
        Err(error) => match classify(&error, true) {
            LinkFailure::Passing => (SendResult::Failed { may_have_arrived, retry_after }, Some(error)),
            LinkFailure::NotFound | LinkFailure::Refused => (SendResult::Refused, Some(error)),
        },
    }
}

/// Returns what a failure means for trying again. `has_worked`: whether the API has responded before; then an error that is not the API's
/// is that of a gateway on the way.
pub(super) fn classify(error: &Error, has_worked: bool) -> LinkFailure {
    match error.http_status() {
        Some(408 | 409 | 429) => LinkFailure::Passing,
        Some(400..500) if has_worked && !error.is_of_api() => LinkFailure::Passing,
        Some(404) => LinkFailure::NotFound,
        Some(400..500) => LinkFailure::Refused,
        Some(_) => LinkFailure::Passing,
        None if matches!(error.status(), Status::InvalidArgument | Status::Config) => LinkFailure::Refused,
        None => LinkFailure::Passing,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ApiErrorBody;
    use serde_json::value::RawValue;

    #[test]
    fn a_failure_passes_unless_the_api_says_otherwise() {
        let api = r#"{"type":"error","error":{"type":"t","message":"m"}}"#;
        for (status, body, has_worked, expected) in [
            (400, api, true, LinkFailure::Refused),
            (401, api, true, LinkFailure::Refused),
            (403, api, false, LinkFailure::Refused),
            (404, api, true, LinkFailure::NotFound),
            (404, "\"no such page\"", true, LinkFailure::Passing),
            (404, "\"no such page\"", false, LinkFailure::NotFound),
            (408, api, true, LinkFailure::Passing),
            (409, api, true, LinkFailure::Passing),
            (429, api, true, LinkFailure::Passing),
            (500, api, true, LinkFailure::Passing),
            (529, api, true, LinkFailure::Passing),
            // An error that the API reports within a stream.
            (200, api, true, LinkFailure::Passing),
        ] {
            let kind = Some("t".to_owned());
            let body = RawValue::from_string(body.to_owned()).ok();
            let error = Error::http(status, ApiErrorBody { kind, body, ..ApiErrorBody::default() });
            assert_eq!(classify(&error, has_worked), expected, "{status} {has_worked}");
        }
        assert_eq!(classify(&Error::new(Status::Connection, "c"), true), LinkFailure::Passing);
        assert_eq!(classify(&Error::argument("p", "is odd"), true), LinkFailure::Refused);
    }
}
