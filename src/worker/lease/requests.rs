//! The requests that keep a lease: a heartbeat, and the stop of its item, each with what its response means.

use super::handle::{Lease, already_stopped};
use super::machine::{Heartbeat, HeartbeatResult, LeaseEvent, StopResult};
use crate::api::operations::WORK_HEARTBEAT;
use crate::error::{Error, Status};
use crate::json::Object;
use crate::runtime::clock::{self, ClockTime};
use crate::worker::metrics::RequestKind;
use crate::worker::request::{Failure, FailureClass, Reply, send};
use serde_json::json;
use std::sync::Arc;
use std::time::Duration;

/// Sends a heartbeat, and returns its result as an event.
pub(super) async fn send_heartbeat(lease: Arc<Lease>, heartbeat: Heartbeat) -> LeaseEvent {
    let worker = &lease.worker;
    let mut params = json!({"expected_last_heartbeat": heartbeat.expected.as_deref().unwrap_or("NO_HEARTBEAT")});
    if let Some(ttl) = worker.config.desired_ttl_seconds {
        params["desired_ttl_seconds"] = ttl.into();
    }
    let ids = [("environment_id", worker.config.environment_id.as_str()), ("work_id", lease.work_id.as_str())];
    let permit = worker.heartbeats.acquire(heartbeat.until).await;
    let sent = clock::now();
    worker.metrics.lateness.add(sent.saturating_sub(heartbeat.due));
    let outcome = match lease.client.prepare_with(&WORK_HEARTBEAT, &ids, Some(&params.to_string())) {
        Ok(request) => {
            // The wait for the permit is part of its time.
            let timeout = heartbeat.timeout.min(heartbeat.until.saturating_sub(sent));
            let reply = send(worker, &lease.client, request, timeout, RequestKind::Heartbeat, &lease.work_id).await;
            worker.metrics.heartbeat.add(clock::now().saturating_sub(sent));
            heartbeat_result(&lease, reply)
        }
        Err(_) => HeartbeatResult::Rejected,
    };
    drop(permit);
    if matches!(outcome, HeartbeatResult::Accepted { .. }) {
        lease.shared.lock().heartbeats += 1;
    }
    LeaseEvent::HeartbeatDone { sent, result: outcome, jitter: fastrand::f64() }
}

/// Interprets the response to a heartbeat, and keeps the error of a permanent refusal.
fn heartbeat_result(lease: &Lease, reply: Reply) -> HeartbeatResult {
    let Reply { result, may_have_arrived, retry_after } = reply;
    match result {
        Ok(json) => {
            let result = read_heartbeat(&json).unwrap_or(HeartbeatResult::Failed { may_have_arrived: true, retry_after: None });
            if matches!(result, HeartbeatResult::Accepted { extended: false, .. }) {
                let problem = "the server recorded a heartbeat, but did not extend the lease";
                lease.shared.lock().heartbeat_error = Some(Error::new(Status::Response, problem));
            }
            result
        }
        Err(Failure { class: FailureClass::PreconditionFailed, error }) => {
            HeartbeatResult::PreconditionFailed { current: error.details().and_then(read_current), may_have_arrived }
        }
        Err(Failure { class: FailureClass::Permanent, error }) => {
            lease.shared.lock().heartbeat_error = Some(error);
            HeartbeatResult::Rejected
        }
        Err(Failure { error, .. }) => {
            lease.shared.lock().heartbeat_error = Some(error);
            HeartbeatResult::Failed { may_have_arrived, retry_after }
        }
    }
}

/// Reads the response to a heartbeat; `None`: it is not one.
fn read_heartbeat(json: &str) -> Option<HeartbeatResult> {
    let mut object = Object::parse(json, "heartbeat", Status::Response).ok()?;
    let ttl = object.take("ttl_seconds").map_or(Ok(0), |value| value.integer(i64::MIN, i64::MAX)).ok()?;
    let state = object.take("state").map_or(Ok(String::new()), |value| value.string()).ok()?;
    let last_heartbeat = match object.take("last_heartbeat") {
        // It was to be stopped before it had a heartbeat.
        None if matches!(state.as_str(), "stopping" | "stopped") => String::new(),
        value => value?.string().ok()?,
    };
    Some(HeartbeatResult::Accepted {
        last_heartbeat,
        extended: object.take("lease_extended").map_or(Ok(true), |value| value.bool()).ok()?,
        state,
        ttl: Duration::from_secs(ttl.clamp(0, u32::MAX.into()).unsigned_abs()),
    })
}

/// Reads the item's state and last heartbeat from the details of a 412.
fn read_current(details: &str) -> Option<(String, Option<String>)> {
    let mut details = Object::parse(details, "details", Status::Response).ok()?;
    let mut current = details.take("current_state")?.object().ok()?;
    let mut text = |name| current.take(name).and_then(|value| value.string().ok());
    Some((text("state").unwrap_or_default(), text("last_heartbeat")))
}

/// Sends one request to stop the item, and returns its result as an event. Keeps the response for the holder.
pub(super) async fn send_stop(lease: Arc<Lease>, deadline: ClockTime) -> LeaseEvent {
    let request = lease.shared.lock().stop.clone();
    let request = request.map_or_else(|| lease.stop_request(None), Ok);
    let with_response = request.as_ref().is_ok_and(|request| request.with_response);
    let permit = lease.worker.stops.acquire(deadline).await;
    let timeout = deadline.saturating_sub(clock::now());
    let (outcome, result) = match request {
        Ok(request) => match send(&lease.worker, &lease.client, request, timeout, RequestKind::Stop, &lease.work_id).await.result
        {
            Ok(json) => (StopResult::Done, Ok(json)),
            // The item has stopped before.
            Err(Failure { class: FailureClass::Conflict, .. }) => (StopResult::Done, Ok(already_stopped(with_response))),
            Err(Failure { class: FailureClass::Transient | FailureClass::Gateway, error }) => (StopResult::Failed, Err(error)),
            Err(Failure { error, .. }) => (StopResult::Rejected, Err(error)),
        },
        Err(error) => (StopResult::Rejected, Err(error)),
    };
    drop(permit);
    lease.shared.lock().stopped = Some(result);
    LeaseEvent::StopDone { result: outcome, jitter: fastrand::f64() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_response_to_a_heartbeat_is_read_leniently_but_not_blindly() {
        let accepted = |last: &str, extended, state: &str, ttl| {
            Some(HeartbeatResult::Accepted {
                last_heartbeat: last.into(),
                extended,
                state: state.into(),
                ttl: Duration::from_secs(ttl),
            })
        };
        for (json, outcome) in [
            (
                r#"{"type":"work_heartbeat","last_heartbeat":"t","lease_extended":true,"state":"active","ttl_seconds":300}"#,
                accepted("t", true, "active", 300),
            ),
            (r#"{"last_heartbeat":"","lease_extended":false,"state":"novel","more":[1]}"#, accepted("", false, "novel", 0)),
            (r#"{"last_heartbeat":"t","ttl_seconds":-5}"#, accepted("t", true, "", 0)),
            (r#"{"last_heartbeat":null,"lease_extended":false,"state":"stopping"}"#, accepted("", false, "stopping", 0)),
            (r#"{"last_heartbeat":null,"state":"active"}"#, None),
            (r#"{"lease_extended":true}"#, None),
            (r#"{"last_heartbeat":7}"#, None),
            (r#"{"last_heartbeat":"t","ttl_seconds":"300"}"#, None),
            ("null", None),
            ("\"text\"", None),
        ] {
            assert_eq!(read_heartbeat(json), outcome, "{json}");
        }
    }

    #[test]
    fn the_current_state_of_a_refusal_is_read() {
        for (details, current) in [
            (
                r#"{"error_code":"c","current_state":{"state":"active","last_heartbeat":"t"}}"#,
                Some(("active".into(), Some("t".into()))),
            ),
            (r#"{"current_state":{"state":"queued","last_heartbeat":null}}"#, Some(("queued".into(), None))),
            (r#"{"current_state":{}}"#, Some((String::new(), None))),
            (r#"{"current_state":null}"#, None),
            ("[]", None),
        ] {
            assert_eq!(read_current(details), current, "{details}");
        }
    }
}
