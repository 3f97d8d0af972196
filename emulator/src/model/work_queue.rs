//! The work queue over the database: finding items, applying the rules of `work_item.rs`, handing items out.
//!
//! Expired leases are settled at the beginning of each operation on an environment. No client can see an item without such an
//! operation, so no background task is needed and the clock may jump.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use rusqlite::{Connection, OptionalExtension, Transaction, params};
use serde_json::{Value, json};
use tokio::sync::Notify;

use crate::{
    App,
    api::{auth::Caller, environments},
    http::response::ApiError,
    model::{
        clock::{self, Micros},
        history::{self, Event},
        ids,
        json::{self, Object},
        work_item::{State, WorkItem},
    },
};

/// How long a claim without acknowledgement lasts when the poll does not say.
pub const DEFAULT_RECLAIM_MS: i64 = 5000;

/// How far back `workers_polling` looks.
const POLLING_WINDOW: Micros = 30_000_000;

/// As many entries may be in memory before those that mean nothing any more are dropped.
const MAX_IDLE_ENTRIES: usize = 10_000;

/// What lives in memory only: the polls that wait for work, and the workers that polled lately.
#[derive(Default)]
pub struct Waiters {
    arrivals: Mutex<HashMap<String, Arc<Notify>>>,
    workers: Mutex<HashMap<(String, String), Micros>>,
}

impl Waiters {
    /// Signalled once for each item that becomes free. Waiters are served in the order they came, and one that gives up passes
    /// its signal on.
    pub fn arrivals(&self, environment_id: &str) -> Arc<Notify> {
        let mut arrivals = lock(&self.arrivals);
        if let Some(notify) = arrivals.get(environment_id) {
            return notify.clone();
        }
        if arrivals.len() >= MAX_IDLE_ENTRIES {
            // A poll looks before it sleeps, so a signal without a waiter is of no use to later polls.
            arrivals.retain(|_, notify| Arc::strong_count(notify) > 1);
        }
        arrivals.entry(environment_id.to_owned()).or_default().clone()
    }

    /// Wakes one waiter for each of `items` new items.
    pub fn announce(&self, environment_id: &str, items: usize) {
        let arrivals = lock(&self.arrivals).get(environment_id).cloned();
        if let Some(arrivals) = arrivals {
            (0..items).for_each(|_| arrivals.notify_one());
        }
    }

    /// Makes every waiter check again.
    pub fn wake_all(&self) {
        for notify in lock(&self.arrivals).values() {
            notify.notify_waiters();
        }
    }

    /// Records that a worker polled.
    pub fn saw_worker(&self, environment_id: &str, worker_id: &str, now: Micros) {
        let mut workers = lock(&self.workers);
        workers.insert((environment_id.to_owned(), worker_id.to_owned()), now);
        if workers.len() > MAX_IDLE_ENTRIES {
            workers.retain(|_, seen| *seen >= now - POLLING_WINDOW);
        }
    }

    /// Forgets the workers seen.
    pub fn clear(&self) {
        lock(&self.workers).clear();
    }

    fn workers_polling(&self, environment_id: &str, now: Micros) -> usize {
        let recent = |(key, seen): &(&(String, String), &Micros)| key.0 == environment_id && **seen >= now - POLLING_WINDOW;
        lock(&self.workers).iter().filter(recent).count()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The result of a claim.
pub enum Claim {
    /// The item, now claimed, and its secret.
    Item(Box<WorkItem>, String),
    /// Nothing; something may fall due at this time.
    Nothing(Option<Micros>),
    /// There is an item, but the poller is gone.
    PollerGone,
}

/// Runs a transaction on an environment's queue, with expired leases settled first and waiters woken afterwards.
pub fn on_environment<T>(
    app: &App,
    environment_id: &str,
    work: impl FnOnce(&Transaction, Micros) -> Result<T, ApiError>,
) -> Result<T, ApiError> {
    let mut turn = app.store.exclusive();
    // Read only now, so that of two operations the later one has the later time.
    let now = app.clock.now();
    if turn.read(|connection| has_expired_leases(connection, environment_id, now))? {
        // A transaction of its own: a refusal below must not undo what time has done.
        let requeued = turn.write(|transaction| settle_leases(transaction, environment_id, now))?;
        app.waiters.announce(environment_id, requeued);
    }
    turn.write(|transaction| work(transaction, now))
}

/// Runs a transaction on one item and stores what the closure made of it. The history attributes it to `caller`.
pub fn on_item<T>(
    app: &App,
    caller: &Caller,
    environment_id: &str,
    work_id: &str,
    work: impl FnOnce(&mut WorkItem, Micros) -> Result<(T, Option<Event>), ApiError>,
) -> Result<T, ApiError> {
    on_environment(app, environment_id, |transaction, now| {
        let mut item = find(transaction, environment_id, work_id)?;
        let (result, event) = work(&mut item, now)?;
        save(transaction, &item)?;
        if let Some(event) = event {
            history::record(transaction, work_id, event, now, caller.delivery_of(work_id))?;
        }
        Ok(result)
    })
}

/// Puts items into the queue of a self-hosted environment, each with a first token. Returns them with their secrets.
pub fn enqueue(
    app: &App,
    environment_id: &str,
    count: usize,
    mut describe: impl FnMut(&Transaction, Micros) -> Result<(Object, Object), ApiError>,
) -> Result<Vec<(WorkItem, String)>, ApiError> {
    let items = on_environment(app, environment_id, |transaction, now| {
        let environment = environments::find(transaction, environment_id)?;
        if environment.archived {
            return Err(environments::archived(environment_id));
        }
        if !environment.self_hosted {
            return Err(ApiError::invalid(format!(
                "The environment {environment_id:?} is a cloud environment and has no work queue."
            )));
        }
        let mut items = Vec::with_capacity(count);
        for _ in 0..count {
            let (data, metadata) = describe(transaction, now)?;
            items.push(add(app, transaction, environment_id, data, metadata, now)?);
        }
        Ok(items)
    })?;
    app.waiters.announce(environment_id, items.len());
    Ok(items)
}

/// Adds one item to a queue, with a first token. Once that is committed, it is to be announced.
pub fn add(
    app: &App,
    transaction: &Transaction,
    environment_id: &str,
    data: Object,
    metadata: Object,
    now: Micros,
) -> rusqlite::Result<(WorkItem, String)> {
    let item = WorkItem::new(ids::work(), environment_id.to_owned(), data, metadata, now);
    insert(transaction, &item)?;
    history::record(transaction, &item.id, Event::Queued, now, None)?;
    let (secret, _) = deliver(app, transaction, &item, None, now)?;
    Ok((item, secret))
}

/// Claims the oldest item that is free, or whose claim is older than `reclaim_ms`. Asks whether the poller is gone only once it has found
/// one: a poller that went before an item arrived cannot take it then.
pub fn claim(
    app: &App,
    environment_id: &str,
    reclaim_ms: i64,
    worker_id: Option<&str>,
    poller_is_gone: impl Fn() -> bool,
) -> Result<Claim, ApiError> {
    let reclaim = reclaim_ms.saturating_mul(1000);
    on_environment(app, environment_id, |transaction, now| {
        let environment = environments::find(transaction, environment_id)?;
        if !environment.self_hosted {
            return Err(ApiError::invalid(format!(
                "The environment {environment_id:?} is a cloud environment and has no work queue."
            )));
        }
        let mut oldest = transaction.prepare_cached(
            "SELECT * FROM work WHERE seq = (SELECT min(seq) FROM (
                 SELECT seq FROM (SELECT seq FROM work WHERE environment_id = ?1 AND state = 'queued'
                                  AND claimed_at IS NULL ORDER BY seq LIMIT 1)
                 UNION ALL
                 SELECT min(seq) FROM work WHERE environment_id = ?1 AND state = 'queued' AND claimed_at <= ?2))",
        )?;
        let free = params![environment_id, now.saturating_sub(reclaim)];
        match oldest.query_row(free, WorkItem::from_row).optional()? {
            Some(_) if poller_is_gone() => Ok(Claim::PollerGone),
            Some(mut item) => {
                let event = item.claim(now);
                save(transaction, &item)?;
                let (secret, delivery) = deliver(app, transaction, &item, worker_id, now)?;
                history::record(transaction, &item.id, event, now, Some(delivery))?;
                Ok(Claim::Item(Box::new(item), secret))
            }
            None => Ok(Claim::Nothing(next_due(transaction, environment_id, reclaim)?)),
        }
    })
}

/// The counters of `work.stats`.
pub fn stats(app: &App, environment_id: &str) -> Result<Value, ApiError> {
    on_environment(app, environment_id, |transaction, now| {
        let (depth, pending, oldest): (i64, i64, Option<Micros>) = transaction
            .prepare_cached(
                "SELECT count(*) - count(claimed_at), count(claimed_at), min(created_at) FROM work
                 WHERE environment_id = ?1 AND state = 'queued'",
            )?
            .query_row([environment_id], |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?;
        Ok(json!({
            "depth": depth,
            "oldest_queued_at": oldest.map(clock::text),
            "pending": pending,
            "type": "work_queue_stats",
            "workers_polling": app.waiters.workers_polling(environment_id, now),
        }))
    })
}

/// An item of an environment; one of another environment is as unknown as one that never was.
pub fn find(connection: &Connection, environment_id: &str, work_id: &str) -> Result<WorkItem, ApiError> {
    connection
        .prepare_cached("SELECT * FROM work WHERE id = ?1 AND environment_id = ?2")?
        .query_row([work_id, environment_id], WorkItem::from_row)
        .optional()?
        .ok_or_else(|| ApiError::not_found(format!("There is no work item {work_id:?} in the environment {environment_id:?}.")))
}

/// Items older than the row `before`, newest first.
pub fn list(connection: &Connection, environment_id: &str, before: i64, count: i64) -> rusqlite::Result<Vec<(i64, String)>> {
    connection
        .prepare_cached("SELECT * FROM work WHERE environment_id = ?1 AND seq < ?2 ORDER BY seq DESC LIMIT ?3")?
        .query_map(params![environment_id, before, count], |row| {
            Ok((row.get("seq")?, json::text(&WorkItem::from_row(row)?.as_json(None))))
        })?
        .collect()
}

fn next_due(connection: &Connection, environment_id: &str, reclaim: Micros) -> rusqlite::Result<Option<Micros>> {
    let (claimed, leased): (Option<Micros>, Option<Micros>) = connection
        .prepare_cached(
            "SELECT (SELECT min(claimed_at) FROM work
                     WHERE environment_id = ?1 AND state = 'queued' AND claimed_at IS NOT NULL),
                    (SELECT min(lease_expires_at) FROM work
                     WHERE environment_id = ?1 AND lease_expires_at IS NOT NULL)",
        )?
        .query_row([environment_id], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let reclaimed = claimed.map(|at| at.saturating_add(reclaim));
    Ok([reclaimed, leased].into_iter().flatten().min())
}

fn has_expired_leases(connection: &Connection, environment_id: &str, now: Micros) -> rusqlite::Result<bool> {
    connection
        .prepare_cached("SELECT 1 FROM work WHERE environment_id = ?1 AND lease_expires_at < ?2")?
        .exists(params![environment_id, now])
}

fn settle_leases(transaction: &Transaction, environment_id: &str, now: Micros) -> rusqlite::Result<usize> {
    let expired: Vec<WorkItem> = transaction
        .prepare_cached("SELECT * FROM work WHERE environment_id = ?1 AND lease_expires_at < ?2")?
        .query_map(params![environment_id, now], WorkItem::from_row)?
        .collect::<Result<_, _>>()?;
    let mut requeued = 0;
    for mut item in expired {
        let event = item.expire(now);
        requeued += usize::from(event == Some(Event::Requeued));
        save(transaction, &item)?;
        if let Some(event) = event {
            history::record(transaction, &item.id, event, now, None)?;
        }
    }
    Ok(requeued)
}

/// Records that an item was handed out, and makes the secret that goes with it. Also returns the row of the delivery.
fn deliver(
    app: &App,
    transaction: &Transaction,
    item: &WorkItem,
    worker_id: Option<&str>,
    now: Micros,
) -> rusqlite::Result<(String, i64)> {
    let token = ids::sessions_token();
    let delivery = transaction
        .prepare_cached("INSERT INTO deliveries (token, work_id, number, worker_id, at) VALUES (?1, ?2, ?3, ?4, ?5)")?
        .insert(params![token, item.id, item.handed_out, worker_id, now])?;
    let secret = json!({"sessions_token": token, "api_base_url": app.url});
    Ok((URL_SAFE_NO_PAD.encode(secret.to_string()), delivery))
}

fn insert(transaction: &Transaction, item: &WorkItem) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "INSERT INTO work (id, environment_id, session_id, data, metadata, state, created_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            item.id,
            item.environment_id,
            item.data.string("id"),
            json::text(&item.data),
            json::text(&item.metadata),
            State::Queued,
            item.created_at,
        ])
}

fn save(transaction: &Transaction, item: &WorkItem) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "UPDATE work SET metadata = ?2, state = ?3, claimed_at = ?4, acknowledged_at = ?5, started_at = ?6,
             latest_heartbeat_at = ?7, ttl_seconds = ?8, lease_expires_at = ?9, stop_requested_at = ?10, stopped_at = ?11,
             handed_out = ?12, lapsed_heartbeat_at = ?13 WHERE id = ?1",
        )?
        .execute(params![
            item.id,
            json::text(&item.metadata),
            item.state,
            item.claimed_at,
            item.acknowledged_at,
            item.started_at,
            item.latest_heartbeat_at,
            item.ttl_seconds,
            item.lease_expires_at,
            item.stop_requested_at,
            item.stopped_at,
            item.handed_out,
            item.lapsed_heartbeat_at,
        ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn environments_without_waiters_are_forgotten() {
        let waiting = Waiters::default();
        let held = waiting.arrivals("held");
        for environment in 0..3 * MAX_IDLE_ENTRIES {
            waiting.announce(&environment.to_string(), 1);
            waiting.arrivals(&environment.to_string());
        }
        assert!(lock(&waiting.arrivals).len() <= MAX_IDLE_ENTRIES);
        assert!(Arc::ptr_eq(&waiting.arrivals("held"), &held), "waiters are still reached");
    }
}
