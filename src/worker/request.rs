//! One request of a worker: bounded by the clock that leases go by, one attempt, and what came of it judged, counted and logged in one
//! place. A panic on the way is a failure that may pass, as a connection that breaks is: whoever sent the request goes on.

use super::LOG;
use super::metrics::{Count, Step};
use super::shared::Inner;
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

/// How much later than its time a request must be over. Less than the margin of any lease.
const SLACK: Duration = Duration::from_millis(50);

/// What came of a request.
pub(super) struct Reply {
    /// The answer, or why there is none.
    pub(super) result: Result<String, Failure>,
    /// Whether the server may have done what was asked, also where the answer says otherwise.
    pub(super) may_have_arrived: bool,
    /// How long the server wants to be left alone.
    pub(super) retry_after: Option<Duration>,
}

/// Why a request brought nothing.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) verdict: Verdict,
    pub(super) error: Error,
}

/// What a failure means for making the request again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It may be otherwise next time.
    Passing,
    /// The same, and it was not the API that answered, but something on the way to it with a page of its own.
    Gateway,
    /// 409: the item's present state does not allow it.
    Conflict,
    /// 412: the server has another heartbeat than was stated.
    Precondition,
    /// Refused permanently.
    Refused,
}

impl Verdict {
    /// What an error means; `has_worked`: to a worker to which the API has answered before.
    pub(super) fn of(error: &Error, has_worked: bool) -> Verdict {
        let Some(http_status) = error.http_status() else {
            let is_ours = matches!(error.status(), Status::InvalidArgument | Status::Config);
            return if is_ours { Verdict::Refused } else { Verdict::Passing };
        };
        match http_status {
            // Before the first good answer it may well be the wrong address.
            400..500 if has_worked && !error.is_of_api() => Verdict::Gateway,
            408 | 429 => Verdict::Passing,
            409 => Verdict::Conflict,
            412 => Verdict::Precondition,
            400..500 => Verdict::Refused,
            _ => Verdict::Passing,
        }
    }

    /// The cause as the log has it, where the status alone does not tell.
    fn reason(self) -> Option<&'static str> {
        (self == Verdict::Gateway).then_some("gateway")
    }
}

/// Makes a request once, within `timeout`. `work_id`: the item that it is about, `""` if it is about none.
pub(super) async fn send(
    inner: &Inner,
    client: &Client,
    mut request: Request,
    timeout: Duration,
    step: Step,
    work_id: &str,
) -> Reply {
    request.timeout = timeout;
    request.max_retries = 0;
    let call = async {
        #[cfg(test)]
        inner.break_off(step.name());
        client.send_on(&inner.line, request).await
    };
    if timeout.is_zero() {
        // It has waited for its turn for too long.
        let error = Error::new(Status::Timeout, "no time was left to send the request");
        inner.counts.failure(step, error.status());
        let failure = Failure { verdict: Verdict::Passing, error };
        return Reply { result: Err(failure), may_have_arrived: false, retry_after: None };
    }
    let answer = before(clock::now() + timeout + SLACK, guarded(call)).await;
    let Answer { result, mut may_have_arrived, retry_after } = match answer {
        Some(Some(answer)) => answer,
        Some(None) => {
            inner.fault("a request");
            Answer { result: Err(runtime::fault()), may_have_arrived: true, retry_after: None }
        }
        None => {
            let late = Error::new(Status::Timeout, format!("no answer within {} ms", timeout.as_millis()));
            Answer { result: Err(late), may_have_arrived: true, retry_after: None }
        }
    };
    let result = match result {
        Ok(json) => {
            inner.has_worked.store(true, Relaxed);
            Ok(json)
        }
        Err(error) => {
            let verdict = Verdict::of(&error, inner.has_worked.load(Relaxed));
            // Whether a gateway has passed on what it then answered itself, nobody knows.
            may_have_arrived |= verdict == Verdict::Gateway;
            Err(Failure { verdict, error })
        }
    };
    if let Err(failure) = &result {
        record(inner, failure, step, work_id);
    }
    Reply { result, may_have_arrived, retry_after }
}

fn record(inner: &Inner, Failure { verdict, error }: &Failure, step: Step, work_id: &str) {
    // A rescue that is refused so has found that somebody is at the item.
    if step == Step::Rescue && *verdict == Verdict::Precondition {
        return;
    }
    inner.counts.failure(step, error.status());
    if *verdict == Verdict::Gateway {
        inner.counts.add(Count::Gateway);
    }
    let ends_worker = step == Step::Poll && *verdict == Verdict::Refused;
    let what = if step == Step::Poll { "a poll failed" } else { "a request failed" };
    log::record(if ends_worker { Level::Error } else { Level::Warn }, LOG, what, || {
        json!({"step": step.name(), "work_id": Some(work_id).filter(|id| !id.is_empty()), "status": error.status().name(),
               "reason": verdict.reason(), "why": error.to_string()})
    });
}

/// Runs a future with a time of its own, but lets it do nothing after a moment of the leases' clock: a process that stood still, or a
/// machine that slept, does not go on with what is too late by now. `None`: that was so.
async fn before<F: Future>(until: ClockTime, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    std::future::poll_fn(
        |context| {
            if clock::now() >= until { Poll::Ready(None) } else { future.as_mut().poll(context).map(Some) }
        },
    )
    .await
}

/// Runs a future; `None`: it panicked.
pub(super) async fn guarded<F: Future>(future: F) -> Option<F::Output> {
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
    use crate::error::ApiErrorBody;
    use serde_json::value::RawValue;

    fn answered(status: u16, body: &str) -> Error {
        let kind = serde_json::from_str::<serde_json::Value>(body).ok();
        let kind = kind.and_then(|body| body["error"]["type"].as_str().map(str::to_owned));
        let body = RawValue::from_string(body.to_owned()).ok();
        Error::http(status, ApiErrorBody { kind, body, ..ApiErrorBody::default() })
    }

    #[test]
    fn the_apis_own_refusals_are_final_and_a_gateways_are_not() {
        let api = r#"{"type":"error","error":{"type":"not_found_error","message":"m"}}"#;
        for (status, verdict) in [
            (400, Verdict::Refused),
            (401, Verdict::Refused),
            (403, Verdict::Refused),
            (404, Verdict::Refused),
            (407, Verdict::Refused),
            (408, Verdict::Passing),
            (409, Verdict::Conflict),
            (412, Verdict::Precondition),
            (429, Verdict::Passing),
            (500, Verdict::Passing),
            (302, Verdict::Passing),
        ] {
            assert_eq!(Verdict::of(&answered(status, api), true), verdict, "{status}");
            assert_eq!(Verdict::of(&answered(status, api), false), verdict, "{status}");
        }
        for page in ["\"404 page not found\"", "{}", r#"{"error":{"message":"m"}}"#, r#"{"error":{"type":"t"}}"#, "[1]", ""] {
            for status in [400, 401, 403, 404, 407, 409, 412, 429] {
                assert_eq!(Verdict::of(&answered(status, page), true), Verdict::Gateway, "{status} {page}");
            }
            assert_eq!(Verdict::of(&answered(404, page), false), Verdict::Refused, "the wrong address is no gateway: {page}");
            assert_eq!(Verdict::of(&answered(502, page), true), Verdict::Passing);
        }
        assert_eq!(Verdict::of(&Error::argument("p", "is odd"), true), Verdict::Refused);
        assert_eq!(Verdict::of(&Error::new(Status::Connection, "c"), false), Verdict::Passing);
    }
}
