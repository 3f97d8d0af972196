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
    turn: ForkSafeMutex<Option<ProcessLocal<Arc<Mutex<()>>>>>,
}

struct State {
    items: VecDeque<String>,
    next: NextPage,
    /// Cursors met so far: one that comes again would never end.
    seen: HashSet<String>,
}

/// Where the next page is.
enum NextPage {
    /// To be asked for; `None`: the first one.
    Wanted(Option<String>),
    /// On its way. The cursor stands by, should it have to be asked for again.
    OnItsWay(Option<String>, ProcessLocal<Arrival>),
    /// There is none.
    End,
}

type Arrival = oneshot::Receiver<Result<RawOutcome>>;

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
        let state = State { items: VecDeque::new(), next: NextPage::Wanted(None), seen: HashSet::new() };
        Ok(Pager { client: client.clone(), request, state: ForkSafeMutex::new(state), turn: ForkSafeMutex::default() })
    }

    /// The next item as the server sent it, `None` at the end; blocks while a page is on its way. After an error the same page is
    /// asked for again by the next call: nothing is skipped.
    pub fn next(&self) -> Result<Option<String>> {
        if let Some(item) = self.state.lock().items.pop_front() {
            return Ok(Some(item));
        }
        let turn = self.turn();
        let _turn = turn.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let mut state = self.state.lock();
            if let Some(item) = state.items.pop_front() {
                return Ok(Some(item));
            }
            let (cursor, arrival) = match std::mem::replace(&mut state.next, NextPage::End) {
                NextPage::End => return Ok(None),
                NextPage::Wanted(cursor) => (cursor, None),
                NextPage::OnItsWay(cursor, arrival) => (cursor, arrival.into_inner()),
            };
            // Until the page is there, it is still to be had: by the next call after an error, and by a forked child.
            state.next = NextPage::Wanted(cursor.clone());
            drop(state);
            let arrival = arrival.map_or_else(|| self.ask_for(cursor), Ok)?;
            let page = runtime::wait(arrival)?.into_result(&self.client)?;
            if let Some(cursor) = self.take_page(&page)? {
                let arrival = self.ask_for(Some(cursor.clone()))?;
                self.state.lock().next = NextPage::OnItsWay(Some(cursor), ProcessLocal::new(arrival));
            }
        }
    }

    fn turn(&self) -> Arc<Mutex<()>> {
        let mut turn = self.turn.lock();
        if let Some(known) = turn.as_ref().and_then(ProcessLocal::get) {
            return known.clone();
        }
        turn.insert(ProcessLocal::new(Arc::default())).get().cloned().unwrap_or_default()
    }

    /// Sends for a page without waiting for it.
    fn ask_for(&self, cursor: Option<String>) -> Result<Arrival> {
        let mut request = self.request.clone();
        if let Some(cursor) = cursor {
            request.set_query("page", cursor);
        }
        self.client.start_awaited(request)
    }

    /// Takes a page's items in. Gives the cursor of the one behind it.
    fn take_page(&self, page: &str) -> Result<Option<String>> {
        let broken = |problem: String| Error::new(Status::Response, problem);
        let page: Page = serde_json::from_str(page).map_err(|e| broken(format!("the server's answer is not a page: {e}")))?;
        let cursor = page.next_page.filter(|cursor| !cursor.is_empty());
        let items: VecDeque<String> = page.data.iter().map(|item| json::copy(item.get())).collect::<Result<_>>()?;
        let mut state = self.state.lock();
        if let Some(cursor) = &cursor
            && !state.seen.insert(cursor.clone())
        {
            return Err(broken("the server's pages go round in a circle: it sent the same `next_page` twice".to_owned()));
        }
        state.items.extend(items);
        state.next = cursor.clone().map_or(NextPage::End, |cursor| NextPage::Wanted(Some(cursor)));
        Ok(cursor)
    }
}
