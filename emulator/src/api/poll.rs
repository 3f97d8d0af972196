//! `work.poll`: hands out the oldest free item, or waits for one.
//!
//! A held poll holds no lock: it checks, sleeps and checks again, woken by an arrival, when a claim or a lease expires, when the
//! clock is moved, or when its time is over. Checking and claiming are one transaction, so an item goes to one poll only; within it,
//! a poll takes an item only if its client is still connected. (A fault may detach it from its client.)

use std::{pin::pin, time::Duration};

use hyper::HeaderMap;
use tokio::time::{Instant, sleep_until};

use crate::{
    App,
    http::{
        connection::Connection,
        count::CountGuard,
        query::Query,
        response::{ApiError, Response},
    },
    model::work_queue::{self, Claim, DEFAULT_RECLAIM_MS},
};

/// Waits at most `block_ms` for an item. Without a connection, it ignores whether the client is still there.
pub async fn poll(
    app: &App,
    connection: Option<&Connection>,
    environment_id: &str,
    query: &Query,
    headers: &HeaderMap,
) -> Result<Response, ApiError> {
    let block_ms = query.integer("block_ms", 1..=999)?.unwrap_or(0);
    let reclaim_ms = query.integer("reclaim_older_than_ms", 0..=i64::MAX)?.unwrap_or(DEFAULT_RECLAIM_MS);
    let worker_id = headers.get("anthropic-worker-id").map(|value| String::from_utf8_lossy(value.as_bytes()));
    if let Some(worker_id) = &worker_id {
        app.waiters.saw_worker(environment_id, worker_id, app.clock.now());
    }

    let end = Instant::now() + Duration::from_millis(block_ms as u64);
    let arrivals = app.waiters.arrivals(environment_id);
    loop {
        // Registered before looking, so that an item that arrives in between is not missed.
        let mut arrival = pin!(arrivals.notified());
        arrival.as_mut().enable();
        let is_gone = || connection.is_some_and(Connection::peer_is_gone);
        let due = match work_queue::claim(app, environment_id, reclaim_ms, worker_id.as_deref(), is_gone)? {
            Claim::PollerGone => return Ok(nothing()),
            Claim::Item(item, secret) => return Ok(Response::of(&item.as_json(Some(&secret)))),
            Claim::Nothing(due) => due,
        };
        if Instant::now() >= end || app.is_stopping() {
            return Ok(nothing());
        }
        let wake = match due {
            // A millisecond more, for a lease ends after its last microsecond and timers count in milliseconds.
            Some(due) => {
                let micros = due.saturating_sub(app.clock.now()).max(0) as u64;
                end.min(Instant::now() + Duration::from_micros(micros.min(1_000_000)) + Duration::from_millis(1))
            }
            None => end,
        };
        let _waiting = CountGuard::new(&app.polls_waiting);
        tokio::select! {
            () = arrival => {}
            () = sleep_until(wake) => {}
            () = app.stopped() => {}
        }
    }
}

fn nothing() -> Response {
    Response::json("null")
}
