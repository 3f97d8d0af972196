//! Log records, for those who subscribe. Nobody is called back and nothing is printed: records go to a queue as JSON.
//!
//! The library keeps a log of its own instead of joining a global logger: a host's logger is not ours to touch, and what the
//! libraries below would write there (headers, at their lowest levels) must not come to light. While nobody subscribes, a record
//! costs one load of an atomic.

use crate::error::{Error, Result};
use crate::runtime::fork::ForkSafeMutex;
use serde::Serialize;
use serde_json::Value;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering::Relaxed};
use std::time::SystemTime;

/// How much a record matters; a subscription to one level includes those before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// A fault in the library.
    Error = 1,
    /// Something to look into.
    Warn,
    /// What an operator wants to know: retries, for instance.
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

/// Where records go.
pub trait Sink: Send + Sync {
    /// Takes a record. False: it takes no more, for good.
    fn take(&self, record: String) -> bool;
    /// What tells this sink from others.
    fn identity(&self) -> usize;
}

struct Subscription {
    filter: Filter,
    sink: Arc<dyn Sink>,
}

static SUBSCRIPTIONS: ForkSafeMutex<Vec<Subscription>> = ForkSafeMutex::new(Vec::new());
/// The most that any subscription asks for.
static MOST: AtomicU8 = AtomicU8::new(0);

/// Sends the records that pass `filter` to a sink from now on, in place of what it got before.
pub fn subscribe(filter: &str, sink: Arc<dyn Sink>) -> Result<()> {
    let filter = Filter::parse(filter)?;
    let mut subscriptions = SUBSCRIPTIONS.lock();
    let before = remove(&mut subscriptions, &*sink);
    if filter.most() > 0 {
        subscriptions.push(Subscription { filter, sink });
    }
    settle(&subscriptions);
    drop(subscriptions);
    drop(before);
    Ok(())
}

/// Ends a sink's subscription, if it has one.
pub fn unsubscribe(sink: &dyn Sink) {
    let mut subscriptions = SUBSCRIPTIONS.lock();
    let before = remove(&mut subscriptions, sink);
    settle(&subscriptions);
    drop(subscriptions);
    drop(before);
}

/// Takes a sink's subscription out, to be dropped once the lock is released.
fn remove(subscriptions: &mut Vec<Subscription>, sink: &dyn Sink) -> Vec<Subscription> {
    subscriptions.extract_if(.., |subscription| subscription.sink.identity() == sink.identity()).collect()
}

fn settle(subscriptions: &[Subscription]) {
    MOST.store(subscriptions.iter().map(|subscription| subscription.filter.most()).max().unwrap_or(0), Relaxed);
}

/// Whether anybody may want a record of that level.
pub fn is_wanted(level: Level) -> bool {
    level as u8 <= MOST.load(Relaxed)
}

/// Makes a record for those who want it. `fields` is only called when somebody does. Neither may hold a secret.
pub fn record(level: Level, target: &str, message: &str, fields: impl FnOnce() -> Value) {
    if is_wanted(level) {
        let mut fields = Some(fields);
        deliver(level, target, message, &mut || fields.take().map_or(Value::Null, |fields| fields()));
    }
}

/// Apart from the above, which is in the code of everything that is logged.
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

/// A record, in the order it is written.
#[derive(Serialize)]
struct Record<'a> {
    time: String,
    level: &'static str,
    target: &'a str,
    message: &'a str,
    fields: Value,
}

/// A record as JSON.
pub fn write(level: Level, target: &str, message: &str, fields: Value) -> String {
    let time = humantime::format_rfc3339_micros(SystemTime::now()).to_string();
    let record = Record { time, level: level.name(), target, message, fields };
    serde_json::to_string(&record).unwrap_or_default()
}

/// Which records a subscription wants: a level for everything, and others for parts of the library.
#[derive(Debug)]
struct Filter {
    everything: u8,
    targets: Vec<(String, u8)>,
}

impl Filter {
    /// Reads `info`, `antenv::worker=debug`, or several of them with commas between.
    fn parse(text: &str) -> Result<Filter> {
        let wrong = |problem: String| Error::argument("filter", problem);
        let level = |name: &str| {
            let known = LEVELS.iter().find(|(known, _)| known.eq_ignore_ascii_case(name.trim()));
            known.map(|(_, level)| *level).ok_or_else(|| {
                let name: String = name.trim().chars().take(64).collect();
                wrong(format!("has {name:?} where off, error, warn, info, debug or trace is expected"))
            })
        };
        let mut filter = Filter { everything: 0, targets: Vec::new() };
        for part in text.split(',').filter(|part| !part.trim().is_empty()) {
            match part.split_once('=') {
                None => filter.everything = level(part)?,
                Some((target, name)) if !target.trim().is_empty() => {
                    filter.targets.push((target.trim().to_owned(), level(name)?))
                }
                Some(_) => return Err(wrong("has nothing before a `=`".to_owned())),
            }
        }
        Ok(filter)
    }

    fn most(&self) -> u8 {
        self.targets.iter().map(|(_, level)| *level).max().unwrap_or(0).max(self.everything)
    }

    /// The most specific part decides.
    fn passes(&self, level: Level, target: &str) -> bool {
        let covers = |part: &str| target.strip_prefix(part).is_some_and(|rest| rest.is_empty() || rest.starts_with("::"));
        let specific = self.targets.iter().filter(|(part, _)| covers(part)).max_by_key(|(part, _)| part.len());
        level as u8 <= specific.map_or(self.everything, |(_, level)| *level)
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
        assert_eq!((filter.most(), Filter::parse("").unwrap().most()), (4, 0));
        for wrong in ["loud", "antenv=", "=info", "antenv=info=debug"] {
            assert_eq!(Filter::parse(wrong).unwrap_err().parameter(), Some("filter"), "{wrong}");
        }
    }
}
