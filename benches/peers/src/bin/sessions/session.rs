//! A session and its agent: the agent's part runs where its events are written, so that the time of a write is known.

use antenv_bench_peers::Result;
use memchr::memmem;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

/// When everything happened.
pub const AT: &str = "2026-11-01T12:00:00.000000Z";

/// An open stream of events.
pub trait Events {
    async fn write(&mut self, frames: String) -> Result<()>;
}

/// So many calls, one after the other, the first after `offset`.
struct Turn {
    calls: usize,
    pause: Duration,
    offset: Duration,
}

pub struct Session {
    pub index: usize,
    pub id: String,
    state: Mutex<State>,
    turns: UnboundedSender<Turn>,
    results: UnboundedSender<Instant>,
    taken: UnboundedSender<Duration>,
    served: UnboundedSender<()>,
}

struct State {
    /// The call that waits for a result.
    open_call: Option<String>,
    /// What the stream waits for, until there is one.
    unstreamed: Option<(UnboundedReceiver<Turn>, UnboundedReceiver<Instant>)>,
}

impl Session {
    pub fn new(index: usize, taken: UnboundedSender<Duration>, served: UnboundedSender<()>) -> Session {
        let (turns, next_turn) = unbounded_channel();
        let (results, next_result) = unbounded_channel();
        let state = Mutex::new(State { open_call: None, unstreamed: Some((next_turn, next_result)) });
        Session { index, id: format!("session_{index}"), state, turns, results, taken, served }
    }

    pub fn play(&self, calls: usize, pause: Duration, offset: Duration) {
        self.turns.send(Turn { calls, pause, offset }).ok();
    }

    /// Notes that the history was read: with a stream that is open, the session is served.
    pub fn history_is_read(&self) -> Result<()> {
        if self.lock().unstreamed.is_none() {
            self.served.send(())?;
        }
        Ok(())
    }

    /// Takes the result of the open call, received at `at`; returns the answer.
    pub fn take_result(&self, body: &[u8], at: Instant) -> Result<String> {
        let call = self.lock().open_call.take().ok_or("there is no open call")?;
        if memmem::find(body, call.as_bytes()).is_none() {
            return Err(format!("this is no result of {call}: {}", String::from_utf8_lossy(body)).into());
        }
        self.results.send(at)?;
        Ok(format!(r#"{{"data":[{}]}}"#, result(&call, "")))
    }

    /// Plays the agent: writes its calls to the stream, and waits for their results.
    pub async fn run(&self, events: &mut impl Events) -> Result<()> {
        let (mut turns, mut results) = self.lock().unstreamed.take().ok_or("the session has a stream already")?;
        events.write(": open\n\n".to_owned()).await?;
        let mut number = 0;
        while let Some(Turn { calls, pause, offset }) = turns.recv().await {
            tokio::time::sleep(offset).await;
            for _ in 0..calls {
                number += 1;
                let call = format!("sevt_{}_{number}", self.index);
                let frames = frames(&[tool_use(&call), waits_for(&call)]);
                self.lock().open_call = Some(call.clone());
                let written = Instant::now();
                events.write(frames).await?;
                let received = results.recv().await.ok_or("the server ends")?;
                self.taken.send(received - written)?;
                events.write(self::frames(&[result(&call, AT), running(&call)])).await?;
                tokio::time::sleep(pause).await;
            }
        }
        Ok(())
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("nothing panics")
    }
}

fn frames(events: &[String]) -> String {
    let frame = |event: &String| {
        let kind = event.split(r#""type":""#).nth(1).and_then(|rest| rest.split('"').next()).unwrap_or_default();
        format!("event: {kind}\ndata: {event}\n\n")
    };
    events.iter().map(frame).collect()
}

fn tool_use(call: &str) -> String {
    let evaluation = r#""evaluated_permission":"allow","evaluation":{"type":"always_allow"}"#;
    format!(r#"{{"id":"{call}","type":"agent.tool_use","name":"noop","input":{{}},{evaluation},"processed_at":"{AT}"}}"#)
}

fn waits_for(call: &str) -> String {
    let reason = format!(r#"{{"event_ids":["{call}"],"type":"requires_action"}}"#);
    format!(r#"{{"id":"{call}_idle","type":"session.status_idle","stop_reason":{reason},"processed_at":"{AT}"}}"#)
}

fn running(call: &str) -> String {
    format!(r#"{{"id":"{call}_running","type":"session.status_running","processed_at":"{AT}"}}"#)
}

fn result(call: &str, processed_at: &str) -> String {
    let processed = if processed_at.is_empty() { String::new() } else { format!(r#","processed_at":"{processed_at}""#) };
    let content = r#"[{"type":"text","text":"done"}]"#;
    format!(
        r#"{{"id":"{call}_result","type":"user.tool_result","tool_use_id":"{call}","is_error":false,"content":{content}{processed}}}"#
    )
}
