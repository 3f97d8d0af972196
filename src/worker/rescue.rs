//! Finding items that were acknowledged and then left: a pure part, that is told what the queue holds, and the requests.
//!
//! A worker that dies between its acknowledgement and its first heartbeat leaves an item that neither a poll nor the end of a lease
//! brings back. So each worker looks through the queue now and then. An item that was acknowledged and has had no heartbeat for so
//! long that nobody can be at it any more gets one, and no other: that begins a lease, which runs out, and then the queue hands the
//! item out again, with a token of its own. Nobody is served by this, and so nobody is served twice: whoever is at it after all
//! finds that its first heartbeat is refused.

use super::counts::{Count, Step};
use super::inner::Inner;
use super::lease::Moment;
use super::{LOG, clock};
use crate::error::Status;
use crate::json::Object;
use crate::log::{self, Level};
use crate::operation::{WORK_HEARTBEAT, WORK_LIST};
use crate::request::Request;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

/// How many pages of the queue are looked through, newest items first.
const MOST_PAGES: usize = 10;
const PAGE: usize = 100;
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

/// What was seen before.
#[derive(Debug, Default)]
pub struct Lookout(HashMap<Left, Moment>);

impl Lookout {
    /// Takes in what is there now, and says which have been there for `patience`.
    pub fn look(&mut self, now: Moment, left: Vec<Left>, patience: Duration) -> Vec<Left> {
        let before = std::mem::take(&mut self.0);
        self.0 =
            left.into_iter().map(|item| (before.get(&item).copied().unwrap_or(now), item)).map(|(at, item)| (item, at)).collect();
        let mut old: Vec<_> = self.0.iter().filter(|(_, since)| now.saturating_sub(**since) >= patience).collect();
        old.sort_by_key(|(item, _)| &item.id);
        old.into_iter().map(|(item, _)| item.clone()).collect()
    }
}

/// Looks through the queue, and begins a lease for what was left.
pub(super) async fn sweep(inner: Arc<Inner>, mut lookout: Lookout) -> Lookout {
    let Some(left) = list(&inner).await else { return lookout };
    for item in lookout.look(clock::now(), left, inner.config.rescue_after) {
        let ids = [("environment_id", inner.config.environment_id.as_str()), ("work_id", item.id.as_str())];
        let params = json!({"expected_last_heartbeat": "NO_HEARTBEAT", "desired_ttl_seconds": LEASE_SECONDS}).to_string();
        let Ok(request) = inner.client.prepare_with(&WORK_HEARTBEAT, &ids, Some(&params)) else { continue };
        if ask(&inner, request, Step::Heartbeat).await.is_some() {
            inner.counts.add(Count::Rescued);
            log::record(
                Level::Warn,
                LOG,
                "an item that its worker had left goes back to the queue",
                || json!({"work_id": item.id}),
            );
        }
    }
    lookout
}

async fn list(inner: &Inner) -> Option<Vec<Left>> {
    let params = json!({"environment_id": inner.config.environment_id, "limit": PAGE}).to_string();
    let mut request = inner.client.prepare(&WORK_LIST, Some(&params)).ok()?;
    let mut left = Vec::new();
    for _ in 0..MOST_PAGES {
        let page = ask(inner, request.clone(), Step::Poll).await?;
        let next = read(&page, &mut left)?;
        let Some(cursor) = next.filter(|cursor| !cursor.is_empty()) else { break };
        request.set_query("page", cursor);
    }
    Some(left)
}

async fn ask(inner: &Inner, mut request: Request, step: Step) -> Option<String> {
    request.timeout = TIMEOUT;
    request.max_retries = 0;
    match inner.client.call_over(&inner.line, request).await.result {
        Ok(json) => Some(json),
        // A heartbeat that is refused: somebody is at it.
        Err(error) if error.http_status() == Some(412) => None,
        Err(error) => {
            inner.counts.failure(step, error.status());
            None
        }
    }
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
        assert_eq!(lookout.look(s(121), vec![], s(60)), []);
        assert!(lookout.0.is_empty());
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
