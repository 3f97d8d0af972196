//! `antenv sessions tail`: writes a session's events, and goes on after a break of the stream without losing or repeating one.
//!
//! ```text
//! open the stream ─► read the history ─► write what the stream brings ─► it ends or breaks ─► pause ─┐
//!        ▲                                                                                           │
//!        └───────────────────────────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! The stream is opened before the history is read, so nothing falls between them.

use super::follow::{Follower, State};
use crate::client::ClientOptions;
use crate::output::{Failure, end_on_signal, report, write_json_line};
use antenv::backoff::Backoff;
use antenv::{Client, Error, Pager, Status, Stream};
use clap::Args;
use serde_json::json;
use std::collections::VecDeque;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The pauses between attempts to reconnect.
const RECONNECT: Backoff = Backoff { first: Duration::from_millis(500), max: Duration::from_secs(10) };
/// A stream that has lived for so long was a good one: the next pause is the first again.
const HEALTHY: Duration = Duration::from_secs(5);
/// The events in a page of the history: the most that the API returns.
const PAGE: u32 = 1000;

/// Writes a session's events as they happen, one JSON object a line
///
/// It begins with the last events of the history. After a break it reconnects, and goes on without losing or repeating an event. It ends
/// with 0 when the session is terminated or deleted, on SIGINT or SIGTERM, and when the reader of its output has gone.
#[derive(Args)]
pub struct Options {
    /// The session's identifier
    #[arg(value_name = "ID")]
    session_id: String,

    /// How many events of the history to begin with: a number, or all
    #[arg(short = 'n', long, value_name = "N", default_value = "10", value_parser = lines)]
    lines: usize,

    /// End when the agent's turn has ended and it waits for a message; at once if that is so already
    #[arg(long)]
    until_idle: bool,

    #[command(flatten)]
    client: ClientOptions,
}

fn lines(text: &str) -> Result<usize, String> {
    match text {
        "all" => Ok(usize::MAX),
        _ => text.parse().map_err(|_| "neither a number nor `all`".to_owned()),
    }
}

/// Follows the session until it is over.
pub fn run(options: Options) -> Result<(), Failure> {
    let client = options.client.client()?;
    end_on_signal()?;
    let mut tail = Tail { client, options, follower: Follower::default(), has_history: false };
    let mut breaks = 0;
    loop {
        let began = Instant::now();
        let broken = match tail.follow() {
            Ok(End::Reached) => return Ok(()),
            Ok(End::OfStream) => None,
            Err(Failure::Error(error)) if tail.has_history && is_passing(&error) => Some(error),
            Err(failure) => return Err(failure),
        };
        if began.elapsed() >= HEALTHY {
            breaks = 0;
        }
        if let Some(error) = broken {
            report(&format!("reconnecting: {error}"));
        }
        sleep(RECONNECT.pause(breaks, fastrand::f64()));
        breaks += 1;
    }
}

/// Returns whether another attempt may go better.
fn is_passing(error: &Error) -> bool {
    match error.http_status() {
        Some(408 | 409 | 429) => true,
        Some(status) => !(400..500).contains(&status),
        None => matches!(error.status(), Status::Connection | Status::Timeout | Status::Response),
    }
}

/// Why [`Tail::follow`] returned.
enum End {
    /// What was to be followed is over.
    Reached,
    /// The server ended the stream.
    OfStream,
}

struct Tail {
    client: Client,
    options: Options,
    follower: Follower,
    /// Whether the history was read once.
    has_history: bool,
}

impl Tail {
    /// Follows one stream to its end.
    fn follow(&mut self) -> Result<End, Failure> {
        let session = json!({"session_id": self.options.session_id}).to_string();
        let stream = Stream::open(&self.client, "sessions.events.stream", Some(&session))?;
        self.read_history()?;
        loop {
            match self.follower.state() {
                State::Over => return Ok(End::Reached),
                State::Idle if self.options.until_idle => return Ok(End::Reached),
                _ => {}
            }
            match stream.next(None) {
                Ok(Some(event)) if self.follower.take_live(&event) => write_json_line(&event)?,
                Ok(Some(_)) => {}
                Ok(None) => return Ok(End::OfStream),
                Err(error) if error.status() == Status::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads the whole history: writes the last events of it the first time, later those that are new.
    fn read_history(&mut self) -> Result<(), Failure> {
        let parameters = json!({"session_id": self.options.session_id, "limit": PAGE}).to_string();
        let pager = Pager::new(&self.client, "sessions.events.list", Some(&parameters))?;
        let mut last = VecDeque::new();
        self.follower.restart();
        while let Some(event) = pager.next()? {
            if !self.follower.take_past(&event) {
                continue;
            }
            if self.has_history {
                write_json_line(&event)?;
                continue;
            }
            last.push_back(event);
            if last.len() > self.options.lines {
                last.pop_front();
            }
        }
        self.has_history = true;
        last.iter().try_for_each(|event| write_json_line(event))
    }
}
