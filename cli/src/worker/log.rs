//! The log: the library's records and this command's own, on standard error.
//!
//! A thread of its own writes them. A standard error that nobody reads delays neither the leases nor the commands: records wait in the
//! library's queue, and beyond its bound the oldest are dropped.

use crate::output::Failure;
use antenv::completion::Queue;
use antenv::telemetry::log::{self, Level};
use clap::ValueEnum;
use serde::Deserialize;
use serde_json::{Map, Value};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

/// The records that are written: from this level on.
const FILTER: &str = "info";
/// The target of this command's own records.
const TARGET: &str = "antenv::command";
const RECORD_TAG: u64 = 0;
const END_TAG: u64 = 1;
const PROGRESS_TAG: u64 = 2;
/// Erases the line of a terminal in which the progress is.
const ERASE: &str = "\r\x1b[K";
/// How many records are taken from the queue at a time.
const BATCH: usize = 64;

/// How records are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// A line for people
    Text,
    /// A JSON object: time, level, target, message, fields
    Json,
}

/// The thread that writes the log. Dropping it writes what is left, and ends it.
pub struct Log {
    queue: Arc<Queue>,
    has_progress: bool,
    thread: Option<JoinHandle<()>>,
}

/// The line below the records in which a terminal shows the progress.
pub struct Progress(Arc<Queue>);

impl Progress {
    /// Shows a text of less than a line in place of the one before.
    pub fn show(&self, text: String) {
        self.0.post(PROGRESS_TAG, Ok(text));
    }
}

impl Log {
    /// Starts the log.
    pub fn start(format: Format) -> Result<Log, Failure> {
        let queue = Arc::new(Queue::new()?);
        queue.subscribe(FILTER, RECORD_TAG)?;
        let records = queue.clone();
        let thread = thread::Builder::new().name("log".to_owned()).spawn(move || write_all(&records, format));
        let thread = Some(thread.map_err(|error| Failure::io("log", error))?);
        Ok(Log { queue, has_progress: format == Format::Text && io::stderr().is_terminal(), thread })
    }

    /// Returns what shows the progress, if standard error is a terminal.
    pub fn progress(&self) -> Option<Progress> {
        self.has_progress.then(|| Progress(self.queue.clone()))
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        let _ = self.queue.subscribe("off", RECORD_TAG);
        self.queue.post(END_TAG, Ok(String::new()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Writes a record about an item, or about the worker as a whole.
pub fn record(level: Level, work_id: Option<&str>, message: &str) {
    log::record(level, TARGET, message, || {
        let id = work_id.map(|id| ("work_id".to_owned(), Value::from(id)));
        Value::Object(id.into_iter().collect::<Map<_, _>>())
    });
}

/// Records why this command gives up.
pub fn failure(failure: Failure) -> Failure {
    let message = match failure {
        Failure::Error(error) => format!("{}: {error}", error.status().name()),
        Failure::Message(message) | Failure::Usage(message) => message,
        Failure::Logged | Failure::OutputClosed => return failure,
    };
    record(Level::Error, None, &message);
    Failure::Logged
}

/// Writes an info record.
pub fn info(work_id: Option<&str>, message: &str) {
    record(Level::Info, work_id, message);
}

/// Writes records until the end is in the queue, and the rest of them.
fn write_all(records: &Queue, format: Format) {
    let (mut is_ending, mut progress) = (false, String::new());
    loop {
        let timeout = is_ending.then_some(std::time::Duration::ZERO);
        let Ok(completions) = records.next(BATCH, timeout) else {
            // Nothing is left at the end. Otherwise a signal handler ran in this thread.
            if is_ending {
                return;
            }
            continue;
        };
        let mut text = String::from(if progress.is_empty() { "" } else { ERASE });
        for completion in completions {
            match (completion.tag, completion.result) {
                (RECORD_TAG, Ok(record)) => {
                    text.push_str(&if format == Format::Text { line(&record) } else { record });
                    text.push('\n');
                }
                (PROGRESS_TAG, Ok(shown)) => progress = shown,
                (tag, _) => is_ending |= tag == END_TAG,
            }
        }
        if is_ending {
            progress.clear();
        }
        text.push_str(&progress);
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

#[derive(Deserialize)]
struct Record<'a> {
    time: &'a str,
    level: &'a str,
    target: &'a str,
    message: String,
    fields: Value,
}

/// Returns a record as a line: `TIME LEVEL ITEM: MESSAGE` for one of this command, with the target and the fields for one of the library.
fn line(json: &str) -> String {
    let Ok(Record { time, level, target, message, fields }) = serde_json::from_str(json) else { return json.to_owned() };
    let level = level.to_uppercase();
    match fields.get("work_id").and_then(Value::as_str) {
        Some(item) if target == TARGET => format!("{time} {level} {item}: {message}"),
        _ if target == TARGET => format!("{time} {level} {message}"),
        _ if fields.as_object().is_some_and(Map::is_empty) => format!("{time} {level} {target}: {message}"),
        _ => format!("{time} {level} {target}: {message} {fields}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_line_begins_with_the_item_or_with_the_librarys_target() {
        let text = |target: &str, message: &str, fields: Value| {
            let record = log::write(Level::Warn, target, message, fields);
            line(&record).split_once(' ').unwrap().1.to_owned()
        };
        assert_eq!(text(TARGET, "begun", json!({"work_id": "work_1"})), "WARN work_1: begun");
        assert_eq!(text(TARGET, "a \"quoted\" é", json!({})), "WARN a \"quoted\" é");
        assert_eq!(text("antenv::worker", "lost", json!({})), "WARN antenv::worker: lost");
        let fields = json!({"work_id": "work_1", "beats": 3});
        assert_eq!(text("antenv::worker", "lost", fields), r#"WARN antenv::worker: lost {"beats":3,"work_id":"work_1"}"#);
        assert_eq!(line("no record"), "no record");
    }
}
