//! A work item and its life cycle. Pure: no database, no clock of its own, no HTTP.
//!
//! ```text
//!            claimed by a poll          ack              first heartbeat
//!   queued ────────────────────► queued ───► starting ─────────────────► active ◄─┐ heartbeat
//!     ▲  ▲   (again when the claim │                │                     │  │  └──┘
//!     │  └── grows too old) ───────┘                │ stop           stop │  │
//!     │                                             └──────► stopping ◄───┘  │ the lease expires
//!     │                                                         │ the lease  │
//!     └─────────────────────────────────────────────────────────┼────────────┘
//!                                                               ▼ expires
//!   any state ── stop with force; queued ── stop ──────────► stopped
//! ```
//!
//! A starting item has no lease yet, and therefore none that could expire: it stays until its first heartbeat or a stop, as in
//! the real service.

use rusqlite::{
    Row, ToSql,
    types::{FromSql, FromSqlError, FromSqlResult, ToSqlOutput, ValueRef},
};
use serde::Serialize;

use crate::model::{
    clock::{self, Micros},
    history::Event,
    json::Object,
    store,
};

/// The state of a work item.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Queued,
    Starting,
    Active,
    Stopping,
    Stopped,
}

const STATES: [(State, &str); 5] = [
    (State::Queued, "queued"),
    (State::Starting, "starting"),
    (State::Active, "active"),
    (State::Stopping, "stopping"),
    (State::Stopped, "stopped"),
];

impl State {
    /// Returns the API's name of the state.
    pub fn name(self) -> &'static str {
        STATES[self as usize].1
    }
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(self.name().into())
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<State> {
        let text = value.as_str()?;
        let found = STATES.iter().find(|(_, name)| *name == text);
        found.map(|(state, _)| *state).ok_or(FromSqlError::InvalidType)
    }
}

/// A work item.
#[derive(Clone, Debug)]
pub struct WorkItem {
    pub id: String,
    pub environment_id: String,
    /// `{"type": …, "id": …}`.
    pub data: Object,
    pub metadata: Object,
    pub state: State,
    pub created_at: Micros,
    /// When a poll last handed it out, while it is queued.
    pub claimed_at: Option<Micros>,
    pub acknowledged_at: Option<Micros>,
    pub started_at: Option<Micros>,
    pub latest_heartbeat_at: Option<Micros>,
    pub ttl_seconds: Option<i64>,
    pub lease_expires_at: Option<Micros>,
    pub stop_requested_at: Option<Micros>,
    pub stopped_at: Option<Micros>,
    /// How often a poll has handed it out.
    pub handed_out: i64,
    /// The last heartbeat of a lease that ran out, until a poll hands the item out again.
    pub lapsed_heartbeat_at: Option<Micros>,
}

/// An item's fields in the order in which the API shows them.
#[derive(Serialize)]
pub struct WorkItemJson<'a> {
    id: &'a str,
    acknowledged_at: Option<String>,
    created_at: String,
    data: &'a Object,
    environment_id: &'a str,
    latest_heartbeat_at: Option<String>,
    metadata: &'a Object,
    secret: Option<&'a str>,
    started_at: Option<String>,
    state: &'a str,
    stop_requested_at: Option<String>,
    stopped_at: Option<String>,
    r#type: &'a str,
}

/// What a heartbeat expects of the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precondition<'a> {
    /// Nothing: the heartbeat is unconditional.
    Nothing,
    /// The item has had no heartbeat.
    NoHeartbeat,
    /// The previous heartbeat's text, byte for byte.
    Last(&'a str),
}

/// The outcome of a heartbeat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeartbeatOutcome {
    /// The first lease begins now.
    Started,
    /// The lease runs from now.
    Extended,
    /// The item is stopping or stopped: the worker learns so, and the lease is unchanged.
    NotExtended,
    /// Another worker holds the item, or no worker does.
    PreconditionFailed,
}

impl HeartbeatOutcome {
    /// Returns whether the caller has a lease now.
    pub fn is_extended(self) -> bool {
        matches!(self, HeartbeatOutcome::Started | HeartbeatOutcome::Extended)
    }

    /// Returns the event that the history records.
    pub fn event(self) -> Option<Event> {
        match self {
            HeartbeatOutcome::Started => Some(Event::Started),
            HeartbeatOutcome::Extended => Some(Event::Heartbeat),
            HeartbeatOutcome::NotExtended => None,
            HeartbeatOutcome::PreconditionFailed => Some(Event::HeartbeatRefused),
        }
    }
}

/// The item is in a state that does not allow this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WrongState;

impl WorkItem {
    /// Creates an item, queued.
    pub fn new(id: String, environment_id: String, data: Object, metadata: Object, now: Micros) -> WorkItem {
        WorkItem {
            id,
            environment_id,
            data,
            metadata,
            state: State::Queued,
            created_at: now,
            claimed_at: None,
            acknowledged_at: None,
            started_at: None,
            latest_heartbeat_at: None,
            ttl_seconds: None,
            lease_expires_at: None,
            stop_requested_at: None,
            stopped_at: None,
            handed_out: 0,
            lapsed_heartbeat_at: None,
        }
    }

    /// Hands the item out to a poll.
    pub fn claim(&mut self, now: Micros) -> Event {
        self.claimed_at = Some(now);
        self.lapsed_heartbeat_at = None;
        self.handed_out += 1;
        Event::Claimed
    }

    /// Acknowledges the item. Doing it again is fine: the first response may have been lost.
    pub fn acknowledge(&mut self, now: Micros) -> Result<Option<Event>, WrongState> {
        match self.state {
            State::Queued => {
                self.state = State::Starting;
                self.acknowledged_at = Some(now);
                self.claimed_at = None;
                Ok(Some(Event::Acknowledged))
            }
            State::Starting => Ok(None),
            State::Active | State::Stopping | State::Stopped => Err(WrongState),
        }
    }

    /// Extends the lease, if the precondition is met.
    pub fn heartbeat(&mut self, now: Micros, expected: Precondition, ttl_seconds: i64) -> HeartbeatOutcome {
        match self.state {
            State::Queued => return HeartbeatOutcome::PreconditionFailed,
            State::Stopping | State::Stopped => return HeartbeatOutcome::NotExtended,
            State::Starting | State::Active => {}
        }
        let met = match (expected, self.latest_heartbeat_at) {
            (Precondition::Nothing, _) | (Precondition::NoHeartbeat, None) => true,
            (Precondition::Last(text), Some(last)) => text == clock::heartbeat_text(last),
            (Precondition::NoHeartbeat, Some(_)) | (Precondition::Last(_), None) => false,
        };
        if !met {
            return HeartbeatOutcome::PreconditionFailed;
        }
        // Two heartbeats within one microsecond, or after a clock was set back, must still differ.
        let at = self.latest_heartbeat_at.map_or(now, |last| now.max(last + 1));
        let beat = if self.latest_heartbeat_at.is_some() { HeartbeatOutcome::Extended } else { HeartbeatOutcome::Started };
        self.latest_heartbeat_at = Some(at);
        self.started_at.get_or_insert(at);
        self.ttl_seconds = Some(ttl_seconds);
        self.lease_expires_at = Some(at + ttl_seconds * 1_000_000);
        self.state = State::Active;
        beat
    }

    /// Whether the item waits for its next poll after the lease of this heartbeat ran out.
    pub fn has_lapsed(&self, expected: Precondition) -> bool {
        let last = self.lapsed_heartbeat_at.filter(|_| self.state == State::Queued).map(clock::heartbeat_text);
        match expected {
            Precondition::Last(text) => last.is_some_and(|last| last == text),
            Precondition::Nothing | Precondition::NoHeartbeat => false,
        }
    }

    /// Stops the item: immediately with force, otherwise once its worker agrees.
    pub fn stop(&mut self, now: Micros, force: bool) -> Result<Option<Event>, WrongState> {
        let event = match self.state {
            State::Stopped => return Err(WrongState),
            State::Stopping if !force => return Ok(None),
            State::Starting | State::Active if !force => {
                self.state = State::Stopping;
                Event::StopRequested
            }
            State::Queued | State::Starting | State::Active | State::Stopping => {
                self.end(now);
                Event::Stopped { force }
            }
        };
        self.stop_requested_at.get_or_insert(now);
        Ok(Some(event))
    }

    /// Ends the lease if it has expired.
    pub fn expire(&mut self, now: Micros) -> Option<Event> {
        if self.lease_expires_at.is_none_or(|end| end >= now) {
            return None;
        }
        match self.state {
            State::Active => {
                self.state = State::Queued;
                self.claimed_at = None;
                self.acknowledged_at = None;
                self.started_at = None;
                self.lapsed_heartbeat_at = self.latest_heartbeat_at.take();
                self.ttl_seconds = None;
                self.lease_expires_at = None;
                Some(Event::Requeued)
            }
            State::Stopping => {
                self.end(now);
                Some(Event::Expired)
            }
            State::Queued | State::Starting | State::Stopped => None,
        }
    }

    fn end(&mut self, now: Micros) {
        self.state = State::Stopped;
        self.stopped_at = Some(now);
        self.claimed_at = None;
        self.lease_expires_at = None;
    }

    /// The text that the next heartbeat must echo. An item that was stopped before its first beat answers with the time of the
    /// stop, because the API promises a string.
    pub fn last_heartbeat(&self) -> Option<String> {
        let stopped = self.stop_requested_at.or(self.stopped_at);
        self.latest_heartbeat_at.or(stopped).map(clock::heartbeat_text)
    }

    /// The object that the API sends. The secret is `null` but in the response of a poll.
    pub fn as_json<'a>(&'a self, secret: Option<&'a str>) -> WorkItemJson<'a> {
        let time = |at: Option<Micros>| at.map(clock::text);
        WorkItemJson {
            id: &self.id,
            acknowledged_at: time(self.acknowledged_at),
            created_at: clock::text(self.created_at),
            data: &self.data,
            environment_id: &self.environment_id,
            latest_heartbeat_at: self.latest_heartbeat_at.map(clock::heartbeat_text),
            metadata: &self.metadata,
            secret,
            started_at: time(self.started_at),
            state: self.state.name(),
            stop_requested_at: time(self.stop_requested_at),
            stopped_at: time(self.stopped_at),
            r#type: "work",
        }
    }

    /// Reads a row of the table `work`.
    pub fn from_row(row: &Row) -> rusqlite::Result<WorkItem> {
        let json = |column: &str| -> rusqlite::Result<Object> {
            Object::parse(row.get_ref(column)?.as_bytes()?).map_err(store::corrupt)
        };
        Ok(WorkItem {
            id: row.get("id")?,
            environment_id: row.get("environment_id")?,
            data: json("data")?,
            metadata: json("metadata")?,
            state: row.get("state")?,
            created_at: row.get("created_at")?,
            claimed_at: row.get("claimed_at")?,
            acknowledged_at: row.get("acknowledged_at")?,
            started_at: row.get("started_at")?,
            latest_heartbeat_at: row.get("latest_heartbeat_at")?,
            ttl_seconds: row.get("ttl_seconds")?,
            lease_expires_at: row.get("lease_expires_at")?,
            stop_requested_at: row.get("stop_requested_at")?,
            stopped_at: row.get("stopped_at")?,
            handed_out: row.get("handed_out")?,
            lapsed_heartbeat_at: row.get("lapsed_heartbeat_at")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: i64 = 10;

    fn item(state: State) -> WorkItem {
        let mut item = WorkItem::new("w".into(), "e".into(), Object::default(), Object::default(), 1);
        if state == State::Queued {
            return item;
        }
        item.acknowledge(2).unwrap();
        if state == State::Starting {
            return item;
        }
        item.heartbeat(3, Precondition::NoHeartbeat, TTL);
        match state {
            State::Stopping => drop(item.stop(4, false).unwrap()),
            State::Stopped => drop(item.stop(4, true).unwrap()),
            _ => {}
        }
        assert_eq!(item.state, state);
        item
    }

    #[test]
    fn every_event_in_every_state_leads_where_the_diagram_says() {
        use State::*;
        type Deed = fn(&mut WorkItem) -> Result<Option<Event>, WrongState>;
        let ack: Deed = |item| item.acknowledge(9);
        let stop: Deed = |item| item.stop(9, false);
        let force: Deed = |item| item.stop(9, true);
        let beat: Deed = |item| Ok(item.heartbeat(9, Precondition::Nothing, TTL).event());
        let expire: Deed = |item| Ok(item.expire(i64::MAX));
        let (ended, killed) = (Event::Stopped { force: false }, Event::Stopped { force: true });
        let (refused, nothing) = (Err(WrongState), Ok(None));
        let ok = |event| Ok(Some(event));
        #[rustfmt::skip]
        let table = [
            ("ack",    ack,    Queued,   ok(Event::Acknowledged),     Starting),
            ("ack",    ack,    Starting, nothing,                     Starting),
            ("ack",    ack,    Active,   refused,                     Active),
            ("ack",    ack,    Stopping, refused,                     Stopping),
            ("ack",    ack,    Stopped,  refused,                     Stopped),
            ("beat",   beat,   Queued,   ok(Event::HeartbeatRefused), Queued),
            ("beat",   beat,   Starting, ok(Event::Started),          Active),
            ("beat",   beat,   Active,   ok(Event::Heartbeat),        Active),
            ("beat",   beat,   Stopping, nothing,                     Stopping),
            ("beat",   beat,   Stopped,  nothing,                     Stopped),
            ("stop",   stop,   Queued,   ok(ended),                   Stopped),
            ("stop",   stop,   Starting, ok(Event::StopRequested),    Stopping),
            ("stop",   stop,   Active,   ok(Event::StopRequested),    Stopping),
            ("stop",   stop,   Stopping, nothing,                     Stopping),
            ("stop",   stop,   Stopped,  refused,                     Stopped),
            ("force",  force,  Queued,   ok(killed),                  Stopped),
            ("force",  force,  Starting, ok(killed),                  Stopped),
            ("force",  force,  Active,   ok(killed),                  Stopped),
            ("force",  force,  Stopping, ok(killed),                  Stopped),
            ("force",  force,  Stopped,  refused,                     Stopped),
            ("expire", expire, Queued,   nothing,                     Queued),
            ("expire", expire, Starting, nothing,                     Starting),
            ("expire", expire, Active,   ok(Event::Requeued),         Queued),
            ("expire", expire, Stopping, ok(Event::Expired),          Stopped),
            ("expire", expire, Stopped,  nothing,                     Stopped),
        ];
        for (name, deed, from, outcome, to) in table {
            let mut item = item(from);
            assert_eq!(deed(&mut item), outcome, "{name} of {from:?}");
            assert_eq!(item.state, to, "{name} of {from:?}");
            assert_eq!(item.stopped_at.is_some(), to == Stopped, "{name} of {from:?}");
        }
    }

    #[test]
    fn each_holding_has_a_beginning_of_its_own() {
        let mut item = item(State::Active);
        let again =
            |item: &mut WorkItem| (item.claim(20), item.acknowledge(21), item.heartbeat(22, Precondition::NoHeartbeat, TTL));
        for holding in 1..=2 {
            assert_eq!(item.expire(i64::MAX), Some(Event::Requeued));
            assert_eq!(again(&mut item), (Event::Claimed, Ok(Some(Event::Acknowledged)), HeartbeatOutcome::Started));
            assert_eq!(item.handed_out, holding);
        }
    }

    #[test]
    fn a_heartbeat_counts_only_when_its_expectation_is_met() {
        let started = item(State::Active);
        let text = started.last_heartbeat().unwrap();
        let cases = [
            (State::Starting, Precondition::Nothing, true),
            (State::Starting, Precondition::NoHeartbeat, true),
            (State::Starting, Precondition::Last(&text), false),
            (State::Active, Precondition::Nothing, true),
            (State::Active, Precondition::NoHeartbeat, false),
            (State::Active, Precondition::Last(&text), true),
            (State::Active, Precondition::Last("1970-01-01T00:00:00.000003Z"), false),
            (State::Active, Precondition::Last(""), false),
        ];
        for (state, expected, met) in cases {
            let mut item = item(state);
            let beat = item.heartbeat(9, expected, TTL);
            assert_eq!(beat.is_extended(), met, "{state:?} {expected:?}");
        }
    }

    #[test]
    fn heartbeats_of_one_moment_differ() {
        let mut item = item(State::Active);
        let first = item.last_heartbeat().unwrap();
        item.heartbeat(0, Precondition::Last(&first), TTL);
        assert!(item.last_heartbeat().unwrap() > first);
    }

    #[test]
    fn a_lease_ends_only_after_its_last_microsecond() {
        let mut item = item(State::Active);
        let end = item.lease_expires_at.unwrap();
        assert_eq!(item.expire(end), None);
        assert_eq!(item.expire(end + 1), Some(Event::Requeued));
        assert_eq!((item.acknowledged_at, item.started_at, item.latest_heartbeat_at), (None, None, None));
    }
}
