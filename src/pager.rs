//! Pages turned into items: one at a time, the next page already on its way while the last one is being used.

use crate::client::{Client, Exchanged, find};
use crate::error::{Error, Result, Status};
use crate::operation::{OPERATIONS, Operation};
use crate::request::Request;
use crate::runtime;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::collections::{HashSet, VecDeque};
use std::sync::{Mutex, PoisonError};
use tokio::sync::oneshot;

/// Walks through all the items of a list operation. Threads may share one: each item goes to one of them.
pub struct Pager {
    client: Client,
    /// The call for the first page, and but for its cursor for every other.
    request: Request,
    state: Mutex<State>,
}

struct State {
    items: VecDeque<String>,
    next: Next,
    /// Cursors met so far: one that comes again would never end.
    seen: HashSet<String>,
}

/// Where the next page is.
enum Next {
    /// To be asked for; `None`: the first one.
    Wanted(Option<String>),
    /// On its way. The cursor stands by, should it have to be asked for again.
    OnItsWay(Option<String>, oneshot::Receiver<Exchanged>),
    /// There is none.
    End,
}

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
        let state = State { items: VecDeque::new(), next: Next::Wanted(None), seen: HashSet::new() };
        Ok(Pager { client: client.clone(), request, state: Mutex::new(state) })
    }

    /// The next item as the server sent it, `None` at the end; blocks while a page is on its way. After an error the same page is
    /// asked for again by the next call: nothing is skipped.
    pub fn next(&self) -> Result<Option<String>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if let Some(item) = state.items.pop_front() {
                return Ok(Some(item));
            }
            match std::mem::replace(&mut state.next, Next::End) {
                Next::End => return Ok(None),
                Next::Wanted(cursor) => {
                    state.next = Next::Wanted(cursor.clone());
                    state.next = self.ask_for(cursor)?;
                }
                Next::OnItsWay(cursor, page) => {
                    let page = runtime::wait(page).and_then(|page| self.client.judge(page));
                    match page.and_then(|page| self.take_page(&mut state, &page)) {
                        Ok(next) => state.next = next,
                        Err(error) => {
                            state.next = Next::Wanted(cursor);
                            return Err(error);
                        }
                    }
                }
            }
        }
    }

    /// Sends for a page without waiting for it.
    fn ask_for(&self, cursor: Option<String>) -> Result<Next> {
        let mut request = self.request.clone();
        if let Some(cursor) = &cursor {
            request.set_query("page", cursor.clone());
        }
        Ok(Next::OnItsWay(cursor, runtime::spawn(self.client.exchange(request))?))
    }

    /// Takes a page's items in and sends for the one behind it.
    fn take_page(&self, state: &mut State, page: &str) -> Result<Next> {
        let broken = |problem: String| Error::new(Status::Response, problem);
        let page: Page = serde_json::from_str(page).map_err(|e| broken(format!("the server's answer is not a page: {e}")))?;
        let cursor = page.next_page.filter(|cursor| !cursor.is_empty());
        if let Some(cursor) = &cursor
            && !state.seen.insert(cursor.clone())
        {
            return Err(broken("the server's pages go round in a circle: it sent the same `next_page` twice".to_owned()));
        }
        state.items.extend(page.data.iter().map(|item| item.get().to_owned()));
        cursor.map_or(Ok(Next::End), |cursor| self.ask_for(Some(cursor)))
    }
}
