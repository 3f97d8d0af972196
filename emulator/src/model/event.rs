//! The events of sessions: lists of them, and the streams that wait for them.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, params_from_iter, types::Value as Sql};
use tokio::sync::watch;

use crate::model::clock::Micros;

/// Which events a list shows.
pub struct Filter {
    /// Only these types; all when empty.
    pub types: Vec<String>,
    /// Comparisons with the time: the operator and the time.
    pub times: Vec<(&'static str, Micros)>,
    /// Newest first.
    pub descending: bool,
    /// Only those that come after this one in the list.
    pub after: Option<i64>,
}

/// Returns events of a session with their sequence numbers.
pub fn list(connection: &Connection, session_id: &str, filter: &Filter, count: i64) -> rusqlite::Result<Vec<(i64, String)>> {
    let mut query = "SELECT seq, object FROM events WHERE session_id = ?".to_owned();
    let mut values: Vec<Sql> = vec![session_id.to_owned().into()];
    if !filter.types.is_empty() {
        query.push_str(&format!(" AND type IN ({})", vec!["?"; filter.types.len()].join(", ")));
        values.extend(filter.types.iter().cloned().map(Sql::from));
    }
    for (operator, time) in &filter.times {
        query.push_str(&format!(" AND processed_at {operator} ?"));
        values.push((*time).into());
    }
    let (operator, order) = if filter.descending { ("<", "DESC") } else { (">", "ASC") };
    if let Some(after) = filter.after {
        query.push_str(&format!(" AND seq {operator} ?"));
        values.push(after.into());
    }
    query.push_str(&format!(" ORDER BY seq {order} LIMIT ?"));
    values.push(count.into());
    connection.prepare_cached(&query)?.query_map(params_from_iter(values), |row| Ok((row.get(0)?, row.get(1)?)))?.collect()
}

/// The most events that a stream reads at once.
const BATCH: i64 = 64;

/// Returns the next events of a stream: sequence number, type and JSON.
pub fn after(connection: &Connection, session_id: &str, seq: i64) -> rusqlite::Result<Vec<(i64, String, String)>> {
    connection
        .prepare_cached("SELECT seq, type, object FROM events WHERE session_id = ?1 AND seq > ?2 ORDER BY seq LIMIT ?3")?
        .query_map((session_id, seq, BATCH), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))?
        .collect()
}

/// Returns the sequence number of a session's last event; 0 without any.
pub fn last(connection: &Connection, session_id: &str) -> rusqlite::Result<i64> {
    connection
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM events WHERE session_id = ?1")?
        .query_row([session_id], |row| row.get(0))
}

/// The open streams of sessions: signalled once something has changed, and counted.
#[derive(Default)]
pub struct Streams(Mutex<HashMap<String, watch::Sender<()>>>);

impl Streams {
    /// Joins the streams of a session, until the receiver is dropped.
    pub fn join(&self, session_id: &str) -> watch::Receiver<()> {
        let mut sessions = self.lock();
        // Those of sessions without streams go now and then.
        if sessions.len().is_power_of_two() {
            sessions.retain(|_, sender| sender.receiver_count() > 0);
        }
        sessions.entry(session_id.to_owned()).or_default().subscribe()
    }

    /// Wakes the streams of a session.
    pub fn announce(&self, session_id: &str) {
        if let Some(sender) = self.lock().get(session_id) {
            sender.send_replace(());
        }
    }

    /// Wakes all streams.
    pub fn announce_all(&self) {
        for sender in self.lock().values() {
            sender.send_replace(());
        }
    }

    /// Returns the number of open streams of a session.
    pub fn count(&self, session_id: &str) -> usize {
        self.lock().get(session_id).map_or(0, watch::Sender::receiver_count)
    }

    /// Returns the number of open streams.
    pub fn total(&self) -> usize {
        self.lock().values().map(watch::Sender::receiver_count).sum()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<()>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
