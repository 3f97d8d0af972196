//! Log records for subscribers. They go to a queue as JSON; there are no callbacks, and nothing is printed.
//!
//! The library has its own log instead of using a global logger: the global logger belongs to the host, and the libraries below would
//! write headers to it at their lowest levels. Without subscribers a record costs one atomic load.

use crate::error::{Error, Result};
use crate::runtime::fork::ForkSafeMutex;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::SystemTime;

/// The importance of a record. A subscription to a level includes the levels before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// An internal error of the library.
    Error = 1,
    /// Something to investigate.
    Warn,
    /// What an operator wants to know, such as retries.
    Info,
    /// Every call.
    Debug,
    /// Every request and connection.
    Trace,
}

const LEVELS: [(&str, u8); 6] = [
    ("off", 0),
    ("error", Level::Error as u8),
    ("warn", Level::Warn as u8),
    ("info", Level::Info as u8),
    ("debug", Level::Debug as u8),
    ("trace", Level::Trace as u8),
];

impl Level {
    fn name(self) -> &'static str {
        LEVELS[self as usize].0
    }
}

/// A destination of records.
pub trait Sink: Send + Sync {
    /// Takes a record. Returns false if the sink is closed permanently.
    fn take(&self, record: String) -> bool;
    /// Returns a number that identifies this sink.
    fn identity(&self) -> usize;
}

struct Subscription {
    filter: Filter,
    sink: Arc<dyn Sink>,
}

static SUBSCRIPTIONS: ForkSafeMutex<Vec<Subscription>> = ForkSafeMutex::new(Vec::new());
/// The highest level of all subscriptions.
static MAX_LEVEL: AtomicU8 = AtomicU8::new(0);

/// Sends the records that pass `filter` to a sink from now on. Replaces the sink's earlier subscription.
pub fn subscribe(filter: &str, sink: Arc<dyn Sink>) -> Result<()> {
    let filter = Filter::parse(filter)?;
    let mut subscriptions = SUBSCRIPTIONS.lock();
    let before = remove(&mut subscriptions, &*sink);
    if filter.max_level() > 0 {
        subscriptions.push(Subscription { filter, sink });
    }
    update_max_level(&subscriptions);
    drop(subscriptions);
    drop(before);
    Ok(())
}

/// Ends a sink's subscription, if it has one.
pub fn unsubscribe(sink: &dyn Sink) {
    let mut subscriptions = SUBSCRIPTIONS.lock();
    let before = remove(&mut subscriptions, sink);
    update_max_level(&subscriptions);
    drop(subscriptions);
    drop(before);
}

/// Removes a sink's subscription, to be dropped after the lock is released.
fn remove(subscriptions: &mut Vec<Subscription>, sink: &dyn Sink) -> Vec<Subscription> {
    subscriptions.extract_if(.., |subscription| subscription.sink.identity() == sink.identity()).collect()
}

fn update_max_level(subscriptions: &[Subscription]) {
    MAX_LEVEL.store(subscriptions.iter().map(|subscription| subscription.filter.max_level()).max().unwrap_or(0), Relaxed);
}

/// Returns whether any subscription includes this level.
pub fn is_enabled(level: Level) -> bool {
    level as u8 <= MAX_LEVEL.load(Relaxed)
}

/// Sends a record to the subscriptions that it passes. `fields` is only called if there may be one. Nothing in it may be a secret.
pub fn record(level: Level, target: &str, message: &str, fields: impl FnOnce() -> Value) {
    if is_enabled(level) {
        let mut fields = Some(fields);
        deliver(level, target, message, &mut || fields.take().map_or(Value::Null, |fields| fields()));
    }
}

/// Delivers a record. Not inlined, because [`record`] is part of every place that logs.
#[cold]
#[inline(never)]
fn deliver(level: Level, target: &str, message: &str, fields: &mut dyn FnMut() -> Value) {
    let matches = |subscription: &&Subscription| subscription.filter.passes(level, target);
    let sinks: Vec<_> = SUBSCRIPTIONS.lock().iter().filter(matches).map(|subscription| subscription.sink.clone()).collect();
    if sinks.is_empty() {
        return;
    }
    let record = write(level, target, message, fields());
    for sink in sinks {
        if !sink.take(record.clone()) {
            unsubscribe(&*sink);
        }
    }
}

/// A record. The order of its fields is the order of the JSON members.
#[derive(Serialize)]
struct Record<'a> {
    time: String,
    level: &'static str,
    target: &'a str,
    message: &'a str,
    fields: Value,
}

/// Returns a record as JSON.
pub fn write(level: Level, target: &str, message: &str, fields: Value) -> String {
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let record = Record { time, level: level.name(), target, message, fields };
    serde_json::to_string(&record).unwrap_or_default()
}

/// The records of a subscription: a default level, and levels for parts of the library.
#[derive(Debug)]
struct Filter {
    default: u8,
    targets: Vec<(String, u8)>,
}

impl Filter {
    /// Parses `info`, `antenv::worker=debug`, or several such parts separated by commas.
    fn parse(text: &str) -> Result<Filter> {
        let wrong = |problem: String| Error::argument("filter", problem);
        let level = |name: &str| {
            let known = LEVELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.trim()));
            known.map(|(_, level)| *level).ok_or_else(|| {
                let name: String = name.trim().chars().take(64).collect();
                wrong(format!("has {name:?} where off, error, warn, info, debug or trace is expected"))
            })
        };
        let mut filter = Filter { default: 0, targets: Vec::new() };
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            match part.split_once('=') {
                None => filter.default = level(part)?,
                Some((target, name)) if !target.trim().is_empty() => {
                    filter.targets.push((target.trim().to_owned(), level(name)?))
                }
                Some(_) => return Err(wrong("has no target before a `=`".to_owned())),
            }
        }
        Ok(filter)
    }

    fn max_level(&self) -> u8 {
        self.targets.iter().map(|(_, level)| *level).max().unwrap_or(0).max(self.default)
    }

    /// Returns whether a record passes. The most specific part decides.
    fn passes(&self, level: Level, target: &str) -> bool {
        let covers = |part: &str| target.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let specific = self.targets.iter().filter(|(part, _)| covers(part)).max_by_key(|(part, _)| part.len());
        level as u8 <= specific.map_or(self.default, |(_, level)| *level)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_most_specific_part_of_a_filter_decides() {
        let filter = Filter::parse(" warn, antenv::client = Debug,antenv::client::retry=off,").unwrap();
        for (level, target, passes) in [
            (Level::Warn, "antenv::runtime", true),
            (Level::Info, "antenv::runtime", false),
            (Level::Debug, "antenv::client", true),
            (Level::Trace, "antenv::client", false),
            (Level::Info, "antenv::clientele", false),
            (Level::Error, "antenv::client::retry::now", false),
        ] {
            assert_eq!(filter.passes(level, target), passes, "{level:?} {target}");
        }
        assert_eq!((filter.max_level(), Filter::parse("").unwrap().max_level()), (4, 0));
        for wrong in ["loud", "antenv=", "=info", "antenv=info=debug"] {
            assert_eq!(Filter::parse(wrong).unwrap_err().parameter(), Some("filter"), "{wrong}");
        }
    }
}
