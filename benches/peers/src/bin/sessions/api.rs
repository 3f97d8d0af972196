//! The calls of the API that a worker makes, with as little behind them as it needs.

use crate::session::{AT, Session};
use antenv_bench_peers::Result;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// How long a poll of an empty work queue is held.
const HOLD: Duration = Duration::from_millis(999);

pub struct Api {
    sessions: Vec<Arc<Session>>,
    /// How many items have been handed out.
    claimed: AtomicUsize,
    took: tokio::sync::Mutex<mpsc::UnboundedReceiver<Duration>>,
    served: tokio::sync::Mutex<mpsc::UnboundedReceiver<()>>,
}

/// What a request is answered with.
pub enum Answer {
    Json(String),
    Events(Arc<Session>),
    NotFound,
}

impl Api {
    pub fn new(sessions: usize) -> Api {
        let (taken, took) = mpsc::unbounded_channel();
        let (serving, served) = mpsc::unbounded_channel();
        let session = |index| Arc::new(Session::new(index, taken.clone(), serving.clone()));
        Api {
            sessions: (0..sessions).map(session).collect(),
            claimed: AtomicUsize::new(0),
            took: took.into(),
            served: served.into(),
        }
    }

    /// Waits until each session has a stream, and its history was read.
    pub async fn all_served(&self) {
        let mut served = self.served.lock().await;
        for _ in &self.sessions {
            served.recv().await;
        }
    }

    /// Lets each agent make so many calls; returns the figures.
    pub async fn play(&self, calls: usize, pause: Duration) -> String {
        for (index, session) in self.sessions.iter().enumerate() {
            let offset = pause * index as u32 / self.sessions.len() as u32;
            session.play(calls, pause, offset);
        }
        let mut took = Vec::new();
        let mut received = self.took.lock().await;
        while took.len() < calls * self.sessions.len() {
            took.extend(received.recv().await);
        }
        took.sort_unstable();
        let percentile = |hundredths: usize| took[(took.len() - 1) * hundredths / 100].as_secs_f64() * 1e6;
        format!(r#"{{"calls":{},"p50_us":{:.1},"p99_us":{:.1}}}"#, took.len(), percentile(50), percentile(99))
    }

    /// Answers a request whose body, if it has one, was received at `at`. What goes wrong is reported on standard error.
    pub async fn answer(&self, method: &str, path: &str, body: &[u8], at: Instant) -> Result<Answer> {
        self.route(method, path, body, at).await.inspect_err(|error| eprintln!("{method} {path}: {error}"))
    }

    async fn route(&self, method: &str, path: &str, body: &[u8], at: Instant) -> Result<Answer> {
        let path = path.split('?').next().unwrap_or_default();
        let parts: Vec<_> = path.strip_prefix("/v1/").unwrap_or_default().split('/').collect();
        Ok(match (method, &parts[..]) {
            ("GET", ["environments", _, "work", "poll"]) => Answer::Json(self.poll().await),
            ("POST", ["environments", _, "work", work, "ack" | "stop"]) => Answer::Json(item(self.named(work)?, "active")),
            ("POST", ["environments", _, "work", _, "heartbeat"]) => Answer::Json(heartbeat()),
            ("GET", ["sessions", session]) => Answer::Json(describe(self.named(session)?)),
            ("GET", ["sessions", session, "events", "stream"]) => Answer::Events(self.named(session)?.clone()),
            ("GET", ["sessions", session, "events"]) => {
                self.named(session)?.history_is_read()?;
                Answer::Json(r#"{"data":[],"next_page":null}"#.to_owned())
            }
            ("POST", ["sessions", session, "events"]) => Answer::Json(self.named(session)?.take_result(body, at)?),
            _ => Answer::NotFound,
        })
    }

    /// Returns the session that an identifier, its own or its item's, ends in the index of.
    fn named(&self, id: &str) -> Result<&Arc<Session>> {
        let index: usize = id.rsplit('_').next().unwrap_or_default().parse()?;
        Ok(self.sessions.get(index).ok_or("no such session")?)
    }

    async fn poll(&self) -> String {
        let index = self.claimed.fetch_add(1, Relaxed);
        match self.sessions.get(index) {
            Some(session) => item(session, "queued"),
            None => {
                tokio::time::sleep(HOLD).await;
                "null".to_owned()
            }
        }
    }
}

fn item(session: &Session, state: &str) -> String {
    let Session { index, id, .. } = session;
    let acknowledged = if state == "queued" { "null".to_owned() } else { format!(r#""{AT}""#) };
    format!(
        r#"{{"id":"work_{index}","acknowledged_at":{acknowledged},"created_at":"{AT}","data":{{"type":"session","id":"{id}"}},"#
    ) + &format!(
        r#""environment_id":"env_bench","latest_heartbeat_at":null,"metadata":{{}},"secret":null,"started_at":null,"state":"{state}","#
    ) + r#""stop_requested_at":null,"stopped_at":null,"type":"work"}"#
}

fn heartbeat() -> String {
    format!(r#"{{"last_heartbeat":"{AT}","lease_extended":true,"state":"active","ttl_seconds":60,"type":"work_heartbeat"}}"#)
}

fn describe(session: &Session) -> String {
    let agent = r#"{"id":"agent_bench","description":null,"mcp_servers":[],"model":{"id":"claude-opus-5-5"},"multiagent":null,"#
        .to_owned()
        + r#""name":"bench","skills":[],"system":null,"tools":[],"type":"agent","version":1}"#;
    format!(r#"{{"id":"{}","agent":{agent},"archived_at":null,"created_at":"{AT}","environment_id":"env_bench","#, session.id)
        + r#""metadata":{},"outcome_evaluations":[],"resources":[],"stats":{},"status":"idle","title":null,"#
        + &format!(r#""type":"session","updated_at":"{AT}","usage":{{}},"vault_ids":[]}}"#)
}
