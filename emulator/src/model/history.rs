//! What happened to which work item, when, and through which worker: written in the transaction that makes the change, so that it
//! records every change and nothing else.

use rusqlite::{Connection, Transaction, params, params_from_iter};
use serde::Serialize;

use crate::model::clock::{self, Micros};

/// An event of an item's history: a change, or a refused heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    Queued,
    /// Handed out by a poll.
    Claimed,
    Acknowledged,
    /// The first heartbeat since it was claimed.
    Started,
    /// Any later one.
    Heartbeat,
    /// Not based on the heartbeat before.
    HeartbeatRefused,
    /// The lease ran out.
    Requeued,
    StopRequested,
    /// A call ended it.
    Stopped {
        force: bool,
    },
    /// The lease ran out while it was stopping.
    Expired,
}

impl Event {
    /// Returns the history's name of the event.
    pub fn name(self) -> &'static str {
        match self {
            Event::Queued => "queued",
            Event::Claimed => "claimed",
            Event::Acknowledged => "acknowledged",
            Event::Started => "started",
            Event::Heartbeat => "heartbeat",
            Event::HeartbeatRefused => "heartbeat_refused",
            Event::Requeued => "requeued",
            Event::StopRequested => "stop_requested",
            Event::Stopped { .. } => "stopped",
            Event::Expired => "expired",
        }
    }

    /// Returns whether the item was stopped by force; nothing for other events.
    pub fn force(self) -> Option<bool> {
        match self {
            Event::Stopped { force } => Some(force),
            _ => None,
        }
    }
}

/// One event as it is shown.
#[derive(Debug, Serialize)]
pub struct Entry {
    work_id: String,
    environment_id: String,
    at: String,
    event: String,
    /// Whether an item was ended by force; null for all other events.
    force: Option<bool>,
    /// The worker to whom the token was handed out with which the request was made; null without one.
    worker_id: Option<String>,
    /// Which hand-out of the item that was.
    delivery: Option<i64>,
}

/// Adds an event. `delivery` is a row of `deliveries`.
pub fn record(
    transaction: &Transaction,
    work_id: &str,
    event: Event,
    at: Micros,
    delivery: Option<i64>,
) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached(
            "INSERT INTO history (work, at, event, force, delivery)
             VALUES ((SELECT seq FROM work WHERE id = ?1), ?2, ?3, ?4, ?5)",
        )?
        .execute(params![work_id, at, event.name(), event.force(), delivery])
}

/// The events of one item, of one environment or of all, oldest first.
pub fn list(connection: &Connection, work_id: Option<&str>, environment_id: Option<&str>) -> rusqlite::Result<Vec<Entry>> {
    let mut query = "SELECT work.id, environment_id, history.at, event, force, worker_id, number
                     FROM history JOIN work ON work.seq = history.work LEFT JOIN deliveries ON deliveries.seq = delivery
                     WHERE TRUE"
        .to_owned();
    // Only the conditions that there are, so that SQLite finds the way by the index of each.
    let conditions = [(work_id, " AND work.id = ?"), (environment_id, " AND environment_id = ?")];
    let given: Vec<(&str, &str)> = conditions.into_iter().filter_map(|(value, condition)| Some((value?, condition))).collect();
    query.extend(given.iter().map(|(_, condition)| *condition));
    query.push_str(" ORDER BY history.seq");
    connection
        .prepare_cached(&query)?
        .query_map(params_from_iter(given.iter().map(|(value, _)| value)), |row| {
            Ok(Entry {
                work_id: row.get(0)?,
                environment_id: row.get(1)?,
                at: clock::text(row.get(2)?),
                event: row.get(3)?,
                force: row.get(4)?,
                worker_id: row.get(5)?,
                delivery: row.get(6)?,
            })
        })?
        .collect()
}

/// Forgets all; returns how many events there were.
pub fn forget(transaction: &Transaction) -> rusqlite::Result<usize> {
    transaction.execute("DELETE FROM history", [])
}

/// Forgets what happened in an environment.
pub fn forget_environment(transaction: &Transaction, environment_id: &str) -> rusqlite::Result<usize> {
    transaction
        .prepare_cached("DELETE FROM history WHERE work IN (SELECT seq FROM work WHERE environment_id = ?1)")?
        .execute([environment_id])
}
