//! One request of a worker: a single attempt, bounded by the clock of the leases, whose failure is classified, counted and logged in one
//! place. A panic on the way is a transient failure, like a broken connection: the sender continues.

use super::LOG;
use super::metrics::{Counter, RequestKind};
use super::shared::WorkerShared;
use crate::client::{Answer, Client};
use crate::error::{Error, Status};
use crate::http::request::Request;
use crate::runtime;
use crate::runtime::clock::{self, ClockTime};
use crate::telemetry::log::{self, Level};
use serde_json::json;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::Ordering::Relaxed;
use std::task::Poll;
use std::time::Duration;

/// How long after its timeout a request is cut off. Less than the margin of any lease.
const DEADLINE_SLACK: Duration = Duration::from_millis(50);

/// The result of a request.
pub(super) struct Reply {
    /// The response, or why there is none.
    pub(super) result: Result<String, Failure>,
    /// Whether the server may have carried out the request, even if the response says otherwise.
    pub(super) may_have_arrived: bool,
    /// The wait that the server asked for.
    pub(super) retry_after: Option<Duration>,
}

/// Why a request failed.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) class: FailureClass,
    pub(super) error: Error,
}

/// What a failure means for sending the request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FailureClass {
    /// It may succeed next time.
    Transient,
    /// Transient as well: a gateway on the way to the API responded in its place.
    Gateway,
    /// 409: the item's state does not allow it.
    Conflict,
    /// 412: the server has a different last heartbeat than the request stated.
    PreconditionFailed,
    /// Refused permanently.
    Permanent,
}

impl FailureClass {
    /// Classifies an error. `has_worked`: whether the API has responded successfully to this worker before.
    pub(super) fn of(error: &Error, has_worked: bool) -> FailureClass {
        let Some(http_status) = error.http_status() else {
            let is_ours = matches!(error.status(), Status::InvalidArgument | Status::Config);
            return if is_ours { FailureClass::Permanent } else { FailureClass::Transient };
        };
        match http_status {
            // Before the first success the base URL may well be wrong.
            400..500 if has_worked && !error.is_of_api() => FailureClass::Gateway,
            408 | 429 => FailureClass::Transient,
            409 => FailureClass::Conflict,
            412 => FailureClass::PreconditionFailed,
            400..500 => FailureClass::Permanent,
            _ => FailureClass::Transient,
        }
    }

    /// Returns the reason to log where the status alone does not say it.
    fn reason(self) -> Option<&'static str> {
        (self == FailureClass::Gateway).then_some("gateway")
    }
}

/// Sends a request once, within `timeout`. `work_id`: the item that it concerns, `""` for none.
pub(super) async fn send(
    worker: &WorkerShared,
    client: &Client,
    mut request: Request,
    timeout: Duration,
    kind: RequestKind,
    work_id: &str,
) -> Reply {
    request.timeout = timeout;
    request.max_retries = 0;
    let call = async {
        #[cfg(test)]
        worker.faults.pass(super::fault_injection::FaultPoint::Request(kind));
        client.send_on(&worker.pool, request).await
    };
    if timeout.is_zero() {
        // It has waited too long for its permit.
        let error = Error::new(Status::Timeout, "no time was left to send the request");
        worker.metrics.record_failure(kind, error.status());
        let failure = Failure { class: FailureClass::Transient, error };
        return Reply { result: Err(failure), may_have_arrived: false, retry_after: None };
    }
    let answer = until_deadline(clock::now() + timeout + DEADLINE_SLACK, catch_panic(call)).await;
    let Answer { result, mut may_have_arrived, retry_after } = match answer {
        Some(Some(answer)) => answer,
        Some(None) => {
            worker.record_panic("a request");
            Answer { result: Err(runtime::fault()), may_have_arrived: true, retry_after: None }
        }
        None => {
            let late = Error::new(Status::Timeout, format!("no response within {} ms", timeout.as_millis()));
            Answer { result: Err(late), may_have_arrived: true, retry_after: None }
        }
    };
    let result = match result {
        Ok(json) => {
            worker.has_worked.store(true, Relaxed);
            Ok(json)
        }
        Err(error) => {
            let class = FailureClass::of(&error, worker.has_worked.load(Relaxed));
            // The gateway may have forwarded the request before it responded itself.
            may_have_arrived |= class == FailureClass::Gateway;
            Err(Failure { class, error })
        }
    };
    if let Err(failure) = &result {
        record_failure(worker, failure, kind, work_id);
    }
    Reply { result, may_have_arrived, retry_after }
}

fn record_failure(worker: &WorkerShared, Failure { class, error }: &Failure, kind: RequestKind, work_id: &str) {
    // Not a failure: the rescue found that a worker holds the item.
    if kind == RequestKind::Rescue && *class == FailureClass::PreconditionFailed {
        return;
    }
    worker.metrics.record_failure(kind, error.status());
    if *class == FailureClass::Gateway {
        worker.metrics.increment(Counter::Gateway);
    }
    let ends_worker = kind == RequestKind::Poll && *class == FailureClass::Permanent;
    let what = if kind == RequestKind::Poll { "a poll failed" } else { "a request failed" };
    log::record(if ends_worker { Level::Error } else { Level::Warn }, LOG, what, || {
        json!({"step": kind.name(), "work_id": Some(work_id).filter(|id| !id.is_empty()), "status": error.status().name(),
               "reason": class.reason(), "why": error.to_string()})
    });
}

/// Runs a future up to a deadline on the leases' clock, and returns `None` past it. Unlike a timer, this also holds for a process that
/// was stopped and a machine that was suspended: they do not resume a request that is too late by now.
async fn until_deadline<F: Future>(until: ClockTime, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(
        |context| {
            if clock::now() >= until { Poll::Ready(None) } else { future.as_mut().poll(context).map(Some) }
        },
    )
    .await
}

/// Runs a future, and returns `None` if it panicked.
pub(super) async fn catch_panic<F: Future>(future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| future.as_mut().poll(context))) {
        Ok(poll) => poll.map(Some),
        Err(_) => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::operations::WORK_STOP;
    use crate::error::ApiErrorBody;
    use crate::worker::Worker;
    use serde_json::value::RawValue;

    fn answered(status: u16, body: &str) -> Error {
        let kind = serde_json::from_str::<serde_json::Value>(body).ok();
        let kind = kind.and_then(|body| body["error"]["type"].as_str().map(str::to_owned));
        let body = RawValue::from_string(body.to_owned()).ok();
        Error::http(status, ApiErrorBody { kind, body, ..ApiErrorBody::default() })
    }

    #[test]
    fn refusals_of_the_api_are_permanent_and_those_of_a_gateway_are_not() {
        let api = r#"{"type":"error","error":{"type":"not_found_error","message":"m"}}"#;
        for (status, class) in [
            (400, FailureClass::Permanent),
            (401, FailureClass::Permanent),
            (403, FailureClass::Permanent),
            (404, FailureClass::Permanent),
            (407, FailureClass::Permanent),
            (408, FailureClass::Transient),
            (409, FailureClass::Conflict),
            (412, FailureClass::PreconditionFailed),
            (429, FailureClass::Transient),
            (500, FailureClass::Transient),
            (302, FailureClass::Transient),
        ] {
            assert_eq!(FailureClass::of(&answered(status, api), true), class, "{status}");
            assert_eq!(FailureClass::of(&answered(status, api), false), class, "{status}");
        }
        for page in ["\"404 page not found\"", "{}", r#"{"error":{"message":"m"}}"#, r#"{"error":{"type":"t"}}"#, "[1]", ""] {
            for status in [400, 401, 403, 404, 407, 409, 412, 429] {
                assert_eq!(FailureClass::of(&answered(status, page), true), FailureClass::Gateway, "{status} {page}");
            }
            assert_eq!(
                FailureClass::of(&answered(404, page), false),
                FailureClass::Permanent,
                "a wrong base URL is no gateway: {page}"
            );
            assert_eq!(FailureClass::of(&answered(502, page), true), FailureClass::Transient);
        }
        assert_eq!(FailureClass::of(&Error::argument("p", "is odd"), true), FailureClass::Permanent);
        assert_eq!(FailureClass::of(&Error::new(Status::Connection, "c"), false), FailureClass::Transient);
    }

    #[test]
    fn a_request_that_has_no_time_left_is_not_sent_and_may_be_repeated() {
        let client = Client::new(Some(r#"{"api_key":"k","base_url":"http://127.0.0.1:1"}"#)).unwrap();
        let worker = Worker::new(&client, Some(r#"{"environment_id":"env_1","environment_key":"k"}"#)).unwrap();
        let ids = [("environment_id", "env_1"), ("work_id", "work_1")];
        let request = client.prepare_with(&WORK_STOP, &ids, None).unwrap();
        let sent = send(worker.shared().unwrap(), &client, request, Duration::ZERO, RequestKind::Stop, "work_1");
        let reply = tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(sent);
        let failure = reply.result.unwrap_err();
        assert_eq!((failure.class, failure.error.status()), (FailureClass::Transient, Status::Timeout));
        assert!(!reply.may_have_arrived && reply.retry_after.is_none());
        let stats: serde_json::Value = serde_json::from_str(&worker.stats().unwrap()).unwrap();
        assert_eq!(stats["failures"]["stop"], json!({"timeout": 1}));
    }
}
