//! The database: one SQLite connection behind a lock. Every request is one short transaction, so a 200 means that the change is
//! committed, and a process killed at any moment leaves a consistent file behind.

use std::{
    path::Path,
    sync::{Mutex, MutexGuard, PoisonError},
};

use rusqlite::{Connection, Transaction, TransactionBehavior, config::DbConfig};

/// Raised whenever the schema changes: an older file is refused rather than misread.
const SCHEMA_VERSION: i64 = 3;

const SCHEMA: &str = "
BEGIN;
-- Environments and sessions are stored as the JSON text that is sent.
CREATE TABLE environments (
    seq         INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT NOT NULL UNIQUE,
    self_hosted INTEGER NOT NULL,
    archived    INTEGER NOT NULL DEFAULT 0,
    object      TEXT NOT NULL
);
CREATE TABLE environment_keys (
    key            TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL
) WITHOUT ROWID;
-- The newest version of a skill is its last row.
CREATE TABLE skill_versions (
    seq      INTEGER PRIMARY KEY AUTOINCREMENT,
    skill_id TEXT NOT NULL,
    id       TEXT NOT NULL,
    object   TEXT NOT NULL,
    archive  BLOB NOT NULL,
    UNIQUE (skill_id, id)
);
CREATE TABLE memory_stores (
    id     TEXT PRIMARY KEY,
    object TEXT NOT NULL
) WITHOUT ROWID;
CREATE TABLE memories (
    id                TEXT PRIMARY KEY,
    memory_store_id   TEXT NOT NULL,
    path              TEXT NOT NULL,
    memory_version_id TEXT NOT NULL,
    content_sha256    TEXT NOT NULL,
    size              INTEGER NOT NULL,
    created_at        INTEGER NOT NULL,
    updated_at        INTEGER NOT NULL,
    content           TEXT NOT NULL,
    UNIQUE (memory_store_id, path)
);
CREATE TABLE sessions (
    id             TEXT PRIMARY KEY,
    environment_id TEXT NOT NULL,
    object         TEXT NOT NULL
);
-- Times are microseconds since 1970.
CREATE TABLE work (
    seq                 INTEGER PRIMARY KEY AUTOINCREMENT,
    id                  TEXT NOT NULL UNIQUE,
    environment_id      TEXT NOT NULL,
    session_id          TEXT NOT NULL,
    data                TEXT NOT NULL,
    metadata            TEXT NOT NULL,
    state               TEXT NOT NULL,
    created_at          INTEGER NOT NULL,
    claimed_at          INTEGER,
    acknowledged_at     INTEGER,
    started_at          INTEGER,
    latest_heartbeat_at INTEGER,
    ttl_seconds         INTEGER,
    lease_expires_at    INTEGER,
    stop_requested_at   INTEGER,
    stopped_at          INTEGER,
    handed_out          INTEGER NOT NULL DEFAULT 0,
    lapsed_heartbeat_at INTEGER
);
CREATE INDEX work_newest  ON work (environment_id, seq);
CREATE INDEX work_queued  ON work (environment_id, claimed_at, seq) WHERE state = 'queued';
CREATE INDEX work_leased  ON work (environment_id, lease_expires_at) WHERE lease_expires_at IS NOT NULL;
CREATE INDEX work_session ON work (session_id);
-- Which worker was handed which item when, each time with a token of its own. Never deleted: a token outlives its delivery, because
-- the worker that lost the item is to learn so from the heartbeat's precondition and not from a 401. The number counts the
-- hand-outs of one item; 0 is the token that it was queued with.
CREATE TABLE deliveries (
    seq       INTEGER PRIMARY KEY,
    token     TEXT NOT NULL UNIQUE,
    work_id   TEXT NOT NULL,
    number    INTEGER NOT NULL,
    worker_id TEXT,
    at        INTEGER NOT NULL
);
-- What happened to which item, in the order in which it happened. Numbers refer to the rows of `work` and `deliveries`, for a
-- heartbeat is to cost little.
CREATE TABLE history (
    seq      INTEGER PRIMARY KEY,
    work     INTEGER NOT NULL,
    at       INTEGER NOT NULL,
    event    TEXT NOT NULL,
    force    INTEGER,
    delivery INTEGER
);
CREATE INDEX history_work ON history (work);
-- The events of sessions in the order in which streams send them. A client's event without processed_at is still queued; once it is
-- processed it moves to the end.
CREATE TABLE events (
    seq          INTEGER PRIMARY KEY AUTOINCREMENT,
    session_id   TEXT NOT NULL,
    type         TEXT NOT NULL,
    processed_at INTEGER,
    object       TEXT NOT NULL
);
CREATE INDEX events_session ON events (session_id, seq);
CREATE INDEX events_queued  ON events (session_id, seq) WHERE processed_at IS NULL;
-- The tool calls of agents: what they wait for, and how they ended (NULL: they have not).
CREATE TABLE calls (
    seq        INTEGER PRIMARY KEY,
    id         TEXT NOT NULL UNIQUE,
    session_id TEXT NOT NULL,
    label      TEXT NOT NULL,
    name       TEXT NOT NULL,
    kind       TEXT NOT NULL,
    thread_id  TEXT,
    permission TEXT NOT NULL,
    verdict    TEXT,
    ending     TEXT
);
CREATE INDEX calls_session ON calls (session_id, seq);
-- Every result sent for a call, accepted or not, and by whom.
CREATE TABLE attempts (
    seq        INTEGER PRIMARY KEY,
    call_id    TEXT NOT NULL,
    at         INTEGER NOT NULL,
    credential TEXT NOT NULL,
    delivery   INTEGER,
    event      TEXT NOT NULL,
    refusal    TEXT
);
CREATE INDEX attempts_call ON attempts (call_id, seq);
-- What agents do: the steps, and how far a session has come with them.
CREATE TABLE scripts (
    session_id TEXT PRIMARY KEY,
    steps      TEXT NOT NULL,
    progress   TEXT NOT NULL
) WITHOUT ROWID;
-- Scripts for the next sessions of an environment.
CREATE TABLE pending_scripts (
    seq            INTEGER PRIMARY KEY,
    environment_id TEXT NOT NULL,
    count          INTEGER NOT NULL,
    steps          TEXT NOT NULL,
    on_message     INTEGER NOT NULL
);
PRAGMA user_version = 3;
COMMIT;
";

/// The database.
pub struct Store {
    connection: Mutex<Connection>,
}

impl Store {
    /// Opens a file, or a database in memory.
    pub fn open(file: Option<&Path>) -> Result<Store, String> {
        let connection = match file {
            Some(file) => Connection::open(file),
            None => Connection::open_in_memory(),
        };
        let connection = connection.map_err(|error| error.to_string())?;
        prepare(&connection).map_err(|error| match error.sqlite_error_code() {
            Some(rusqlite::ErrorCode::DatabaseBusy) => "another process has it open".to_owned(),
            _ => error.to_string(),
        })?;
        match version(&connection) {
            Ok(SCHEMA_VERSION) => {}
            Ok(0) => connection.execute_batch(SCHEMA).map_err(|error| error.to_string())?,
            Ok(other) => {
                return Err(format!(
                    "it was written by another version of the emulator (schema {other}, this one writes {SCHEMA_VERSION})"
                ));
            }
            Err(error) => return Err(error.to_string()),
        }
        Ok(Store { connection: Mutex::new(connection) })
    }

    /// Locks the database: until the guard is dropped, no other thread reads or writes.
    pub fn exclusive(&self) -> Exclusive<'_> {
        Exclusive(self.lock())
    }

    /// Runs a query outside any transaction.
    pub fn read<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        self.exclusive().read(work)
    }

    /// Runs a transaction: committed when the closure succeeds, rolled back when it fails or panics.
    pub fn write<T, E: From<rusqlite::Error>>(&self, work: impl FnOnce(&Transaction) -> Result<T, E>) -> Result<T, E> {
        self.exclusive().write(work)
    }

    /// Forgets everything.
    pub fn clear(&self) -> Result<(), rusqlite::Error> {
        self.lock().execute_batch(
            "BEGIN IMMEDIATE; DELETE FROM environments; DELETE FROM environment_keys; DELETE FROM sessions;
             DELETE FROM skill_versions; DELETE FROM memory_stores; DELETE FROM memories;
             DELETE FROM work; DELETE FROM deliveries; DELETE FROM history; DELETE FROM events; DELETE FROM calls;
             DELETE FROM attempts; DELETE FROM scripts; DELETE FROM pending_scripts; COMMIT;",
        )
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic inside a transaction has rolled it back, so the connection is sound.
        self.connection.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The database for as long as several transactions have to follow each other without anything in between.
pub struct Exclusive<'a>(MutexGuard<'a, Connection>);

impl Exclusive<'_> {
    /// Runs a query outside any transaction.
    pub fn read<T, E>(&self, work: impl FnOnce(&Connection) -> Result<T, E>) -> Result<T, E> {
        work(&self.0)
    }

    /// Runs a transaction: committed when the closure succeeds, rolled back when it fails or panics.
    pub fn write<T, E: From<rusqlite::Error>>(&mut self, work: impl FnOnce(&Transaction) -> Result<T, E>) -> Result<T, E> {
        let transaction = self.0.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = work(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }
}

/// A column that does not hold the JSON it should.
pub fn corrupt(error: serde_json::Error) -> rusqlite::Error {
    rusqlite::Error::ToSqlConversionFailure(error.into())
}

fn prepare(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_prepared_statement_cache_capacity(64);
    // Otherwise a bound value that could matter to a partial index makes SQLite compile the statement again each time.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    // Held polls are woken inside one process, so a file belongs to one emulator at a time.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    // Survives the death of the process; only the death of the machine may cost the last few responses.
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    // Takes the exclusive lock now, so that a second emulator fails at its start.
    connection.execute_batch("BEGIN IMMEDIATE; COMMIT;")
}

fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}
