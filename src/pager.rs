//! Pages turned into items: one at a time, the next page already on its way while the last one is being used.

use crate::api::operations::{OPERATIONS, Operation};
use crate::client::{Client, RawOutcome, find};
use crate::error::{Error, Result, Status};
use crate::http::request::Request;
use crate::json;
use crate::runtime;
use crate::runtime::fork::{ForkSafeMutex, ProcessLocal};
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::oneshot;

/// Walks through all the items of a list operation. Threads may share one: each item goes to one of them.
pub struct Pager {
    client: Client,
    /// The call for the first page, and but for its cursor for every other.
    request: Request,
    state: ForkSafeMutex<State>,
    /// Held by the thread that fetches a page. Others wait for it, in this process; in a forked child it is made anew.
    fetch_lock: ForkSafeMutex<Option<ProcessLocal<Arc<Mutex<()>>>>>,
}

struct State {
    items: VecDeque<String>,
    next: NextPage,
    /// Cursors met so far: one that comes again would never end.
    seen_cursors: HashSet<String>,
}

/// Where the next page is.
enum NextPage {
    /// To be asked for; `None`: the first one.
    NotRequested(Option<String>),
    /// On its way. The cursor stands by, should it have to be asked for again.
    InFlight(Option<String>, ProcessLocal<PendingPage>),
    /// There is none.
    End,
}

type PendingPage = oneshot::Receiver<Result<RawOutcome>>;

#[derive(Deserialize)]
struct Page<'a> {
    #[serde(borrow, default)]
    data: Vec<&'a RawValue>,
    #[serde(default)]
    next_page: Option<String>,
}

impl Pager {
    /// Makes a pager over a list operation; its parameters are checked, nothing is sent yet.
    pub fn new(client: &Client, operation: &str, params_json: Option<&str>) -> Result<Pager> {
        let operation = find(operation)?;
        if !operation.paged {
            let paged: Vec<_> =
                OPERATIONS.iter().filter(|operation: &&&Operation| operation.paged).map(|operation| operation.name).collect();
            return Err(Error::argument("operation", format_args!("has no pages; those that have are: {}", paged.join(", "))));
        }
        let request = client.prepare(operation, params_json)?;
        if request.with_response {
            return Err(Error::argument("with_response", "does not go with a pager, which hands out items"));
        }
        let state = State { items: VecDeque::new(), next: NextPage::NotRequested(None), seen_cursors: HashSet::new() };
        Ok(Pager { client: client.clone(), request, state: ForkSafeMutex::new(state), fetch_lock: ForkSafeMutex::default() })
    }

    /// The next item as the server sent it, `None` at the end; blocks while a page is on its way. After an error the same page is
    /// asked for again by the next call: nothing is skipped.
    pub fn next(&self) -> Result<Option<String>> {
        if let Some(item) = self.state.lock().items.pop_front() {
            return Ok(Some(item));
        }
        let fetch_lock = self.fetch_lock();
        let _guard = fetch_lock.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut state = self.state.lock();
            if let Some(item) = state.items.pop_front() {
                return Ok(Some(item));
            }
            let (cursor, pending) = match std::mem::replace(&mut state.next, NextPage::End) {
                NextPage::End => return Ok(None),
                NextPage::NotRequested(cursor) => (cursor, None),
                NextPage::InFlight(cursor, pending) => (cursor, pending.into_inner()),
            };
            // Until the page is there, it is still to be had: by the next call after an error, and by a forked child.
            state.next = NextPage::NotRequested(cursor.clone());
            drop(state);
            let pending = pending.map_or_else(|| self.request_page(cursor), Ok)?;
            let page = runtime::wait(pending)?.into_result(&self.client)?;
            if let Some(cursor) = self.store_page(&page)? {
                let pending = self.request_page(Some(cursor.clone()))?;
                self.state.lock().next = NextPage::InFlight(Some(cursor), ProcessLocal::new(pending));
            }
        }
    }

    fn fetch_lock(&self) -> Arc<Mutex<()>> {
        let mut fetch_lock = self.fetch_lock.lock();
        if let Some(known) = fetch_lock.as_ref().and_then(ProcessLocal::get) {
            return known.clone();
        }
        fetch_lock.insert(ProcessLocal::new(Arc::default())).get().cloned().unwrap_or_default()
    }

    /// Sends for a page without waiting for it.
    fn request_page(&self, cursor: Option<String>) -> Result<PendingPage> {
        let mut request = self.request.clone();
        if let Some(cursor) = cursor {
            request.set_query("page", cursor);
        }
        self.client.start_awaited(request)
    }

    /// Takes a page's items in. Gives the cursor of the one behind it.
    fn store_page(&self, page: &str) -> Result<Option<String>> {
        let broken = |problem: String| Error::new(Status::Response, problem);
        let page: Page = serde_json::from_str(page).map_err(|e| broken(format!("the server's answer is not a page: {e}")))?;
        let cursor = page.next_page.filter(|cursor| !cursor.is_empty());
        let items: VecDeque<String> = page.data.iter().map(|item| json::copy(item.get())).collect::<Result<_>>()?;
        let mut state = self.state.lock();
        if let Some(cursor) = &cursor
            && !state.seen_cursors.insert(cursor.clone())
        {
            return Err(broken("the server's pages go round in a circle: it sent the same `next_page` twice".to_owned()));
        }
        state.items.extend(items);
        state.next = cursor.clone().map_or(NextPage::End, |cursor| NextPage::NotRequested(Some(cursor)));
        Ok(cursor)
    }
}
