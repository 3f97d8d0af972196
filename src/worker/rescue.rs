//! Finding items that were acknowledged and then left: a pure part, that is told what the queue holds, and the requests.
//!
//! A worker that dies between its acknowledgement and its first heartbeat leaves an item that neither a poll nor the end of a lease
//! brings back. So each worker looks through the queue now and then. An item that was acknowledged and has had no heartbeat for so
//! long that nobody can be at it any more gets one, and no other: that begins a lease, which runs out, and then the queue hands the
//! item out again, with a token of its own. Nobody is served by this, and so nobody is served twice: whoever is at it after all
//! finds that its first heartbeat is refused.

use super::LOG;
use super::metrics::{Count, Step};
use super::request::send;
use super::shared::Inner;
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

/// How many pages of the queue are looked through at a time, newest items first; the next look goes on from there. So a look costs
/// the same however many items there are, and those of a large queue take several looks.
const MOST_PAGES: usize = 10;
const PAGE: usize = 100;
/// How long an item is remembered that was not seen again: it has gone on.
const MEMORY: Duration = Duration::from_secs(86_400);
/// How long the lease lasts that is to run out. Not shorter than others': lease.rs counts on that.
const LEASE_SECONDS: u64 = 30;
const TIMEOUT: Duration = Duration::from_secs(10);

/// An item that was acknowledged and has had no heartbeat.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Left {
    /// The item.
    pub id: String,
    /// When it was acknowledged, as the server says it.
    pub acknowledged: String,
}

/// What was seen before, and how far the last look went.
#[derive(Debug, Default)]
pub struct Lookout {
    seen: HashMap<Left, ClockTime>,
    cursor: Option<String>,
}

impl Lookout {
    /// Takes in what is in the part of the queue that is looked at, and says what has been there for `patience`.
    pub fn look(&mut self, now: ClockTime, left: Vec<Left>, patience: Duration) -> Vec<Left> {
        self.seen.retain(|_, since| now.saturating_sub(*since) < MEMORY);
        left.into_iter().filter(|item| now.saturating_sub(*self.seen.entry(item.clone()).or_insert(now)) >= patience).collect()
    }
}

/// Looks through the queue, and begins a lease for what was left.
pub(super) async fn sweep(inner: Arc<Inner>, mut lookout: Lookout) -> Lookout {
    let Some(left) = list(&inner, &mut lookout.cursor).await else { return lookout };
    for item in lookout.look(clock::now(), left, inner.config.rescue_after) {
        put_back(&inner, &item.id).await;
    }
    lookout
}

/// Begins a lease that nobody keeps, if the item has none: when it runs out, the queue hands the item out again.
pub(super) async fn put_back(inner: &Inner, work_id: &str) {
    let ids = [("environment_id", inner.config.environment_id.as_str()), ("work_id", work_id)];
    let params = json!({"expected_last_heartbeat": "NO_HEARTBEAT", "desired_ttl_seconds": LEASE_SECONDS}).to_string();
    let Ok(request) = inner.client.prepare_with(&WORK_HEARTBEAT, &ids, Some(&params)) else { return };
    if ask(inner, request, work_id).await.is_some() {
        inner.counts.add(Count::Rescued);
        log::record(Level::Warn, LOG, "an item that its worker had left goes back to the queue", || json!({"work_id": work_id}));
    }
}

/// Looks at some pages of the queue, from the cursor on, and moves that; at the end it begins anew, as after a failure.
async fn list(inner: &Inner, cursor: &mut Option<String>) -> Option<Vec<Left>> {
    let params = json!({"environment_id": inner.config.environment_id, "limit": PAGE}).to_string();
    let mut request = inner.client.prepare(&WORK_LIST, Some(&params)).ok()?;
    let mut left = Vec::new();
    for _ in 0..MOST_PAGES {
        if let Some(cursor) = cursor.take() {
            request.set_query("page", cursor);
        }
        let page = ask(inner, request.clone(), "").await?;
        *cursor = read(&page, &mut left)?.filter(|cursor| !cursor.is_empty());
        if cursor.is_none() {
            break;
        }
    }
    Some(left)
}

async fn ask(inner: &Inner, request: Request, work_id: &str) -> Option<String> {
    send(inner, &inner.client, request, TIMEOUT, Step::Rescue, work_id).await.result.ok()
}

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow, default)]
    data: Vec<&'a RawValue>,
    #[serde(default)]
    next_page: Option<String>,
}

/// Reads a page of the queue: what was left there, and the cursor of the next.
fn read(page: &str, left: &mut Vec<Left>) -> Option<Option<String>> {
    let page: Page = serde_json::from_str(page).ok()?;
    left.extend(page.data.iter().filter_map(|item| {
        let mut item = Object::parse(item.get(), "item", Status::Response).ok()?;
        let mut text = |name| item.take(name).and_then(|value| value.string().ok()).filter(|text| !text.is_empty());
        let is_left = text("state")? == "starting" && text("latest_heartbeat_at").is_none();
        Some(Left { id: text("id")?, acknowledged: text("acknowledged_at")? }).filter(|_| is_left)
    }));
    Some(page.next_page)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn left(id: &str, acknowledged: &str) -> Left {
        Left { id: id.into(), acknowledged: acknowledged.into() }
    }

    #[test]
    fn an_item_is_left_when_it_is_still_there_after_a_while() {
        let (mut lookout, s) = (Lookout::default(), Duration::from_secs);
        assert_eq!(lookout.look(s(0), vec![left("a", "1"), left("b", "1")], s(60)), []);
        assert_eq!(lookout.look(s(59), vec![left("a", "1"), left("b", "1"), left("c", "9")], s(60)), []);
        // b was acknowledged anew meanwhile.
        let now = vec![left("c", "9"), left("a", "1"), left("b", "2")];
        assert_eq!(lookout.look(s(60), now.clone(), s(60)), [left("a", "1")]);
        assert_eq!(lookout.look(s(120), now, s(60)).len(), 3);
        // Another part of the queue was looked at, and then the first again.
        assert_eq!(lookout.look(s(121), vec![], s(60)), []);
        assert_eq!(lookout.look(s(180), vec![left("a", "1")], s(60)), [left("a", "1")]);
        assert_eq!(lookout.look(s(200_000), vec![left("a", "1")], s(60)), [], "a day later it is another story");
        assert_eq!(lookout.seen.len(), 1);
    }

    #[test]
    fn only_items_that_are_starting_without_a_heartbeat_are_left() {
        let mut found = Vec::new();
        let page = r#"{"data":[
            {"id":"a","state":"starting","acknowledged_at":"t","latest_heartbeat_at":null},
            {"id":"b","state":"starting","acknowledged_at":"t","latest_heartbeat_at":""},
            {"id":"c","state":"starting","acknowledged_at":"t","latest_heartbeat_at":"t"},
            {"id":"d","state":"active","acknowledged_at":"t"},
            {"id":"e","state":"starting"},
            7],"next_page":"more"}"#;
        assert_eq!(read(page, &mut found), Some(Some("more".to_owned())));
        assert_eq!(found, [left("a", "t"), left("b", "t")]);
        assert_eq!(read("7", &mut found), None);
    }
}
