//! Rescuing orphans, items that were acknowledged and then left behind: a pure scanner, and the requests that it needs.
//!
//! A worker that dies between its acknowledgement and its first heartbeat leaves an item behind that neither a poll nor an expiring lease
//! returns to the work queue. Each worker therefore scans the work queue from time to time. An item that was acknowledged, and has had no
//! heartbeat for longer than any worker takes, gets exactly one heartbeat. That starts a lease, which expires, and the work queue hands
//! the item out again, with a new token. A rescue serves no item, so none is served twice: a worker that holds the item after all finds
//! that its first heartbeat is refused.

use super::LOG;
use super::metrics::{Counter, RequestKind};
use super::request::send;
use super::shared::WorkerShared;
use crate::api::operations::{WORK_HEARTBEAT, WORK_LIST};
use crate::error::Status;
use crate::http::request::Request;
use crate::json::Object;
use crate::runtime::clock::{self, ClockTime};
use crate::telemetry::log::{self, Level};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// The most pages that one scan reads, newest items first; the next scan continues from there. A scan costs the same however long the
/// work queue is, and a long one takes several scans.
const MAX_PAGES: usize = 10;
const PAGE_SIZE: usize = 100;
/// How long the scanner remembers an item: one that was not seen again has moved on.
const FORGET_AFTER: Duration = Duration::from_secs(86_400);
/// How long the lease lasts that a rescue starts. `lease::machine` relies on its being no shorter than other leases.
const LEASE_SECONDS: u64 = 30;
const TIMEOUT: Duration = Duration::from_secs(10);

/// An item that was acknowledged and has had no heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Orphan {
    /// The item's id.
    pub id: String,
    /// When it was acknowledged, as the server reports it.
    pub acknowledged: String,
}

/// Remembers which orphans were seen and when, and where the last scan ended.
#[derive(Debug, Default)]
pub struct RescueScanner {
    seen: HashMap<Orphan, ClockTime>,
    cursor: Option<String>,
}

impl RescueScanner {
    /// Records the orphans that a scan found, and returns those that have been there for `timeout`.
    pub fn observe(&mut self, now: ClockTime, orphans: Vec<Orphan>, timeout: Duration) -> Vec<Orphan> {
        self.seen.retain(|_, since| now.saturating_sub(*since) < FORGET_AFTER);
        orphans.into_iter().filter(|item| now.saturating_sub(*self.seen.entry(item.clone()).or_insert(now)) >= timeout).collect()
    }
}

/// Scans a part of the work queue, and releases the orphans that have been there for too long.
pub(super) async fn scan(worker: Arc<WorkerShared>, mut scanner: RescueScanner) -> RescueScanner {
    let Some(orphans) = list(&worker, &mut scanner.cursor).await else { return scanner };
    for item in scanner.observe(clock::now(), orphans, worker.config.rescue_after) {
        release(&worker, &item.id).await;
    }
    scanner
}

/// Starts a lease that no worker keeps, if the item has none: when it expires, the work queue hands the item out again.
pub(super) async fn release(worker: &WorkerShared, work_id: &str) {
    let ids = [("environment_id", worker.config.environment_id.as_str()), ("work_id", work_id)];
    let params = json!({"expected_last_heartbeat": "NO_HEARTBEAT", "desired_ttl_seconds": LEASE_SECONDS}).to_string();
    let Ok(request) = worker.client.prepare_with(&WORK_HEARTBEAT, &ids, Some(&params)) else { return };
    // An item that is stopping or stopped needs no lease.
    if send_rescue(worker, request, work_id).await.is_some_and(|json| began_lease(&json)) {
        worker.metrics.increment(Counter::Rescued);
        log::record(Level::Warn, LOG, "released an item that was left behind", || json!({"work_id": work_id}));
    }
}

/// Returns whether the response to a heartbeat says that a lease runs now.
fn began_lease(json: &str) -> bool {
    let object = Object::parse(json, "heartbeat", Status::Response).ok();
    object.and_then(|mut object| object.take("lease_extended")).is_none_or(|value| value.bool().unwrap_or(true))
}

/// Lists the orphans on some pages of the work queue, and moves the cursor. After the last page, as after a failure, the next scan
/// starts over.
async fn list(worker: &WorkerShared, cursor: &mut Option<String>) -> Option<Vec<Orphan>> {
    let params = json!({"environment_id": worker.config.environment_id, "limit": PAGE_SIZE}).to_string();
    let mut request = worker.client.prepare(&WORK_LIST, Some(&params)).ok()?;
    let mut orphans = Vec::new();
    for _ in 0..MAX_PAGES {
        if let Some(cursor) = cursor.take() {
            request.set_query("page", cursor);
        }
        let page = send_rescue(worker, request.clone(), "").await?;
        *cursor = read(&page, &mut orphans)?.filter(|cursor| !cursor.is_empty());
        if cursor.is_none() {
            break;
        }
    }
    Some(orphans)
}

async fn send_rescue(worker: &WorkerShared, request: Request, work_id: &str) -> Option<String> {
    send(worker, &worker.client, request, TIMEOUT, RequestKind::Rescue, work_id).await.result.ok()
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow, default)]
    data: Vec<&'a RawValue>,
    #[serde(default)]
    next_page: Option<String>,
}

/// Reads a page of the work queue: appends its orphans, and returns the cursor of the next page. `None`: it is not a page.
fn read(page: &str, orphans: &mut Vec<Orphan>) -> Option<Option<String>> {
    let page: Page = serde_json::from_str(page).ok()?;
    orphans.extend(page.data.iter().filter_map(|item| {
        let mut item = Object::parse(item.get(), "item", Status::Response).ok()?;
        let mut text = |name| item.take(name).and_then(|value| value.string().ok()).filter(|text| !text.is_empty());
        let is_orphan = text("state")? == "starting" && text("latest_heartbeat_at").is_none();
        Some(Orphan { id: text("id")?, acknowledged: text("acknowledged_at")? }).filter(|_| is_orphan)
    }));
    Some(page.next_page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn orphan(id: &str, acknowledged: &str) -> Orphan {
        Orphan { id: id.into(), acknowledged: acknowledged.into() }
    }

    #[test]
    fn an_item_is_an_orphan_when_it_is_still_there_after_a_while() {
        let (mut scanner, s) = (RescueScanner::default(), Duration::from_secs);
        assert_eq!(scanner.observe(s(0), vec![orphan("a", "1"), orphan("b", "1")], s(60)), []);
        assert_eq!(scanner.observe(s(59), vec![orphan("a", "1"), orphan("b", "1"), orphan("c", "9")], s(60)), []);
        // b was acknowledged again in the meantime.
        let now = vec![orphan("c", "9"), orphan("a", "1"), orphan("b", "2")];
        assert_eq!(scanner.observe(s(60), now.clone(), s(60)), [orphan("a", "1")]);
        assert_eq!(scanner.observe(s(120), now, s(60)).len(), 3);
        // A scan of another part of the work queue, and then of the first one again.
        assert_eq!(scanner.observe(s(121), vec![], s(60)), []);
        assert_eq!(scanner.observe(s(180), vec![orphan("a", "1")], s(60)), [orphan("a", "1")]);
        assert_eq!(scanner.observe(s(200_000), vec![orphan("a", "1")], s(60)), [], "after a day it counts as new");
        assert_eq!(scanner.seen.len(), 1);
    }

    #[test]
    fn a_lease_runs_unless_the_response_says_otherwise() {
        for (json, runs) in [
            (r#"{"lease_extended":true,"state":"active"}"#, true),
            (r#"{"lease_extended":false,"state":"stopped"}"#, false),
            ("{}", true),
            ("null", true),
        ] {
            assert_eq!(began_lease(json), runs, "{json}");
        }
    }

    #[test]
    fn only_items_that_are_starting_without_a_heartbeat_are_orphans() {
        let mut found = Vec::new();
        let page = r#"{"data":[
            {"id":"a","state":"starting","acknowledged_at":"t","latest_heartbeat_at":null},
            {"id":"b","state":"starting","acknowledged_at":"t","latest_heartbeat_at":""},
            {"id":"c","state":"starting","acknowledged_at":"t","latest_heartbeat_at":"t"},
            {"id":"d","state":"active","acknowledged_at":"t"},
            {"id":"e","state":"starting"},
            7],"next_page":"more"}"#;
        assert_eq!(read(page, &mut found), Some(Some("more".to_owned())));
        assert_eq!(found, [orphan("a", "t"), orphan("b", "t")]);
        assert_eq!(read("7", &mut found), None);
    }
}
