//! Pages as a sequence of items. The next page is requested while the items of the last one are being used.

use crate::api::operations::{self, OPERATIONS, Operation, ResponseKind};
use crate::client::{Client, RawOutcome};
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

/// Iterates over all items of a list operation. Threads may share a pager: each item goes to one of them.
pub struct Pager {
    client: Client,
    /// The call for the first page. The calls for the others differ only in their cursor.
    request: Request,
    state: ForkSafeMutex<State>,
    /// Held by the thread that fetches a page; other threads wait for it. A forked child gets a new one.
    fetch_lock: ForkSafeMutex<Option<ProcessLocal<Arc<Mutex<()>>>>>,
}

struct State {
    items: VecDeque<String>,
    next: NextPage,
    /// The cursors so far. A repeated one would make the iteration endless.
    seen_cursors: HashSet<String>,
}

/// Where the next page is.
enum NextPage {
    /// Not requested yet. The cursor is `None` for the first page.
    NotRequested(Option<String>),
    /// In flight. The cursor is kept in case the page has to be requested again.
    InFlight(Option<String>, ProcessLocal<PendingPage>),
    /// There is no next page.
    End,
}

type PendingPage = oneshot::Receiver<Result<RawOutcome>>;

/// A page of a list.
#[derive(Deserialize)]
pub(crate) struct Page<'a> {
    /// Its items, verbatim.
    #[serde(borrow, default)]
    pub(crate) data: Vec<&'a RawValue>,
    /// The cursor of the next page.
    #[serde(default)]
    next_page: Option<String>,
}

impl Page<'_> {
    /// Reads a page.
    pub(crate) fn parse(json: &str) -> Result<Page<'_>> {
        let not_a_page = |e| Error::new(Status::Response, format!("the server's response is not a page: {e}"));
        serde_json::from_str(json).map_err(not_a_page)
    }

    /// Returns the cursor of the next page, and remembers it in `seen`. Fails on one that was there before: the pages would never end.
    pub(crate) fn next(&self, seen: &mut HashSet<String>) -> Result<Option<String>> {
        let cursor = self.next_page.clone().filter(|cursor| !cursor.is_empty());
        if let Some(cursor) = &cursor
            && !seen.insert(cursor.clone())
        {
            let problem = "the server's pages form a circle: it sent the same `next_page` twice";
            return Err(Error::new(Status::Response, problem));
        }
        Ok(cursor)
    }
}

impl Pager {
    /// Makes a pager over a list operation. Checks the parameters; sends nothing yet.
    pub fn new(client: &Client, operation: &str, params_json: Option<&str>) -> Result<Pager> {
        let operation = operations::find(operation, ResponseKind::Json)?;
        if !operation.paged {
            let paged: Vec<_> =
                OPERATIONS.iter().filter(|operation: &&&Operation| operation.paged).map(|operation| operation.name).collect();
            return Err(Error::argument("operation", format_args!("is not paged; paged operations are: {}", paged.join(", "))));
        }
        let request = client.prepare(operation, params_json)?;
        if request.with_response {
            return Err(Error::argument("with_response", "cannot be used with a pager, which returns items"));
        }
        let state = State { items: VecDeque::new(), next: NextPage::NotRequested(None), seen_cursors: HashSet::new() };
        Ok(Pager { client: client.clone(), request, state: ForkSafeMutex::new(state), fetch_lock: ForkSafeMutex::default() })
    }

    /// Returns the next item verbatim, `None` at the end. Blocks while a page is in flight. After an error the next call requests the
    /// same page again, so no item is skipped.
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
            // Until the page has arrived, the next call after an error, or a forked child, must be able to request it.
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
        if let Some(existing) = fetch_lock.as_ref().and_then(ProcessLocal::get) {
            return existing.clone();
        }
        fetch_lock.insert(ProcessLocal::new(Arc::default())).get().cloned().unwrap_or_default()
    }

    /// Requests a page without waiting for it.
    fn request_page(&self, cursor: Option<String>) -> Result<PendingPage> {
        let mut request = self.request.clone();
        if let Some(cursor) = cursor {
            request.set_query("page", cursor);
        }
        self.client.start_awaited(request)
    }

    /// Stores a page's items and returns the cursor of the next page.
    fn store_page(&self, page: &str) -> Result<Option<String>> {
        let page = Page::parse(page)?;
        let items: VecDeque<String> = page.data.iter().map(|item| json::copy(item.get())).collect::<Result<_>>()?;
        let mut state = self.state.lock();
        let cursor = page.next(&mut state.seen_cursors)?;
        state.items.extend(items);
        state.next = cursor.clone().map_or(NextPage::End, |cursor| NextPage::NotRequested(Some(cursor)));
        Ok(cursor)
    }
}
