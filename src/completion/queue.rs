//! The completion queue: calls are submitted without waiting, and their outcomes are collected later.
//!
//! ```text
//!           submit                                          next
//! caller  ---------> in flight (a future on the runtime) ---------> the caller's thread, which also parses the response
//!                       ^                             |
//!                       '-- cancel: a request to      '-- done: first in, first out
//!                           the runtime's thread
//! ```
//!
//! Every accepted call ends in exactly one completion. The queue's descriptor is readable exactly while a completion waits. It is set
//! right after the list is unlocked, so that a woken thread finds it unlocked, and cleared while the list is locked. Log records use
//! the same queue, after the completions and bounded in number.

use super::ticket::Ticket;
use crate::client::{Client, RawOutcome};
use crate::error::{Error, Result, Status};
use crate::http::request::Request;
use crate::runtime::fork::{self, ForkSafeMutex, ProcessLocal};
use crate::runtime::wakeup::{WaitOutcome, WakeupFd};
use crate::runtime::{self, Cancel};
use crate::telemetry::log::{self, Level, Sink};
use serde_json::json;
use slab::Slab;
use std::cell::RefCell;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// The maximum number of waiting log records. Beyond it the oldest are dropped.
pub const MAX_RECORDS: usize = 1024;

/// A completion queue. Threads may share it: some may submit to it while others drain it.
pub struct Queue {
    state: ForkSafeMutex<State>,
}

struct State {
    /// The process that the state belongs to. A forked child starts with an empty queue.
    epoch: u32,
    /// Set, or about to be set, while something waits. `None`: the queue is closed.
    wakeup: Option<Arc<WakeupFd>>,
    in_flight: ProcessLocal<Slab<Arc<Cancel>>>,
    done: VecDeque<PendingCompletion>,
    /// Log records with their tags.
    records: VecDeque<(u64, String)>,
    /// The number of records that were dropped before those.
    records_lost: u64,
}

/// A completion that has not been collected.
struct PendingCompletion {
    tag: u64,
    outcome: Outcome,
}

// Nearly all are calls, and a box would cost each of them an allocation.
#[allow(clippy::large_enum_variant)]
enum Outcome {
    /// A call, whose response is not parsed yet.
    Call(Client, Result<RawOutcome>),
    /// A notification of a worker, or the result of a download.
    Notification(Result<String>),
    /// An event of a stream.
    Event(Event),
}

/// Returns an event when it is collected. If it is dropped before, the event will not be collected.
pub type Event = Box<dyn FnOnce() -> Result<String> + Send>;

impl PendingCompletion {
    fn into_completion(self) -> Completion {
        let result = match self.outcome {
            Outcome::Notification(result) => result,
            Outcome::Event(event) => event(),
            // A panic here must lose neither this completion nor those that are taken with it.
            Outcome::Call(client, outcome) => {
                catch_unwind(AssertUnwindSafe(|| outcome?.into_result(&client))).unwrap_or_else(|_| Err(runtime::fault()))
            }
        };
        Completion { tag: self.tag, result }
    }
}

/// A completion, as the queue hands it out.
#[derive(Debug)]
pub struct Completion {
    /// The tag of the call, the worker, the stream, or the subscription to the log.
    pub tag: u64,
    /// The call's result, a worker's notification, an event of a stream, or a log record.
    pub result: Result<String>,
}

impl State {
    fn new() -> Result<State> {
        Ok(State {
            epoch: fork::epoch(),
            wakeup: Some(Arc::new(WakeupFd::new()?)),
            in_flight: ProcessLocal::new(Slab::new()),
            done: VecDeque::new(),
            records: VecDeque::new(),
            records_lost: 0,
        })
    }

    fn is_empty(&self) -> bool {
        self.done.is_empty() && self.records.is_empty()
    }
}

fn closed() -> Error {
    Error::new(Status::Closed, "the queue was freed")
}

impl Queue {
    /// Makes an empty queue.
    pub fn new() -> Result<Queue> {
        Ok(Queue { state: ForkSafeMutex::new(State::new()?) })
    }

    /// Locks the state; returns it with its wake-up descriptor.
    fn open(&self) -> Result<(fork::ForkSafeGuard<'_, State>, Arc<WakeupFd>)> {
        let mut state = self.state.lock();
        if state.epoch != fork::epoch() && state.wakeup.is_some() {
            // The calls, completions and descriptor belong to the parent.
            *state = State::new()?;
        }
        let wakeup = state.wakeup.clone().ok_or_else(closed)?;
        Ok((state, wakeup))
    }

    /// Returns the file descriptor that is readable while something waits.
    pub fn fd(&self) -> Result<i32> {
        Ok(self.open()?.1.number())
    }

    /// Starts a call whose completion will have this tag, and which `ticket` cancels. On an error the call was not started, and no
    /// completion arrives.
    pub fn submit(self: &Arc<Queue>, client: &Client, request: Request, tag: u64, ticket: &Ticket) -> Result<()> {
        let owner = client.clone();
        let start = |cancel, submitted: Submitted| {
            client.start(request, None, cancel, move |outcome| submitted.complete(Outcome::Call(owner, outcome)))
        };
        self.submit_with(tag, ticket, start)
    }

    /// Starts something else that ends in one completion with this tag, and which `ticket` cancels. `start` fails if it was not started.
    pub fn submit_with(
        self: &Arc<Queue>,
        tag: u64,
        ticket: &Ticket,
        start: impl FnOnce(Arc<Cancel>, Submitted) -> Result<()>,
    ) -> Result<()> {
        let cancel = &ticket.cancel;
        let key = self.open()?.0.in_flight.get_mut().ok_or_else(closed)?.insert(cancel.clone());
        start(cancel.clone(), Submitted { queue: self.clone(), key, tag }).inspect_err(|_| self.remove_in_flight(key))
    }

    /// Adds the completions of calls that have ended.
    fn complete(&self, finished: impl Iterator<Item = FinishedCall>) {
        // The queue was closed, so their completions are dropped.
        let Ok(open) = self.open() else { return finished.for_each(drop) };
        push(open, |state| {
            for FinishedCall { key, completion, .. } in finished {
                state.in_flight.get_mut().and_then(|in_flight| in_flight.try_remove(key));
                state.done.push_back(completion);
            }
        });
    }

    /// Adds a completion without a call. Returns false if the queue is closed.
    pub fn post(&self, tag: u64, result: Result<String>) -> bool {
        self.post_all(tag, [Outcome::Notification(result)])
    }

    /// Adds a completion for each event. Returns false if the queue is closed.
    pub fn post_events(&self, tag: u64, events: impl IntoIterator<Item = Event>) -> bool {
        self.post_all(tag, events.into_iter().map(Outcome::Event))
    }

    fn post_all(&self, tag: u64, outcomes: impl IntoIterator<Item = Outcome>) -> bool {
        let Ok(open) = self.open() else { return false };
        push(open, |state| state.done.extend(outcomes.into_iter().map(|outcome| PendingCompletion { tag, outcome })));
        true
    }

    fn remove_in_flight(&self, key: usize) {
        if let Ok((mut state, _)) = self.open() {
            state.in_flight.get_mut().and_then(|in_flight| in_flight.try_remove(key));
        }
    }

    /// Waits up to `timeout` (`None`: without limit) for completions and returns up to `max` of them, at least one.
    ///
    /// Errors: `TIMEOUT`, `INTERRUPTED` if a signal handler ran in this thread, `CLOSED`.
    pub fn next(&self, max: usize, timeout: Option<Duration>) -> Result<Vec<Completion>> {
        let deadline = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        loop {
            let (mut state, wakeup) = self.open()?;
            let was_empty = state.is_empty();
            let (done, records) = take_up_to(&mut state, max);
            if !was_empty && state.is_empty() {
                wakeup.clear();
            }
            drop(state);
            if !done.is_empty() || !records.is_empty() {
                let done = done.into_iter().map(PendingCompletion::into_completion);
                let records = records.into_iter().map(|(tag, record)| Completion { tag, result: Ok(record) });
                return Ok(done.chain(records).collect());
            }
            let timed_out = || Error::new(Status::Timeout, "nothing arrived in time");
            if timeout.is_some_and(|timeout| timeout.is_zero()) {
                return Err(timed_out());
            }
            match wakeup.wait(deadline) {
                WaitOutcome::Signaled => {}
                WaitOutcome::TimedOut => return Err(timed_out()),
                WaitOutcome::Interrupted => {
                    return Err(Error::new(Status::Interrupted, "a signal handler ran in the waiting thread"));
                }
            }
        }
    }

    /// Sends the log records that pass `filter` to this queue with this tag. Replaces an earlier subscription; `off` ends it.
    pub fn subscribe(self: &Arc<Queue>, filter: &str, tag: u64) -> Result<()> {
        self.open()?;
        log::subscribe(filter, Arc::new(LogSink { queue: Arc::downgrade(self), tag }))
    }

    /// Closes the queue: cancels the calls in flight, drops what waits, and wakes the waiting threads.
    pub fn close(self: &Arc<Queue>) {
        log::unsubscribe(&LogSink { queue: Arc::downgrade(self), tag: 0 });
        let Ok((mut state, wakeup)) = self.open() else { return };
        let was_empty = state.is_empty();
        state.wakeup = None;
        let in_flight = state.in_flight.get_mut().map(std::mem::take);
        let waiting = (std::mem::take(&mut state.done), std::mem::take(&mut state.records));
        drop(state);
        if was_empty {
            wakeup.set();
        }
        for cancel in in_flight.into_iter().flatten() {
            cancel.1.cancel();
        }
        drop(waiting);
    }

    fn push_record(&self, tag: u64, record: String) -> bool {
        let Ok(open) = self.open() else { return false };
        push(open, |state| {
            if state.records.len() == MAX_RECORDS {
                state.records.pop_front();
                state.records_lost += 1;
            }
            state.records.push_back((tag, record));
        });
        true
    }
}

/// Adds to the waiting completions, and sets the wake-up descriptor if there were none.
fn push((mut state, wakeup): (fork::ForkSafeGuard<'_, State>, Arc<WakeupFd>), add: impl FnOnce(&mut State)) {
    let was_empty = state.is_empty();
    add(&mut state);
    let is_first = was_empty && !state.is_empty();
    drop(state);
    if is_first {
        wakeup.set();
    }
}

/// A submitted call, whose queue gets its completion.
pub struct Submitted {
    queue: Arc<Queue>,
    key: usize,
    tag: u64,
}

impl Submitted {
    /// Ends the call with a result. Runs on the runtime's thread.
    pub fn end(self, result: Result<String>) {
        self.complete(Outcome::Notification(result));
    }

    fn complete(self, outcome: Outcome) {
        let completion = PendingCompletion { tag: self.tag, outcome };
        FinishedCall { queue: self.queue, key: self.key, completion }.deliver_batched();
    }
}

/// A call that has ended, before it is in its queue.
struct FinishedCall {
    queue: Arc<Queue>,
    key: usize,
    completion: PendingCompletion,
}

thread_local! {
    /// The calls that ended in the current round of the runtime.
    static FINISHED: RefCell<Vec<FinishedCall>> = const { RefCell::new(Vec::new()) };
}

impl FinishedCall {
    /// Delivers the call to its queue together with the others that end in this round of the runtime. The round's other tasks take
    /// microseconds, while waking a thread for each call alone would cost more than the call.
    fn deliver_batched(self) {
        // A call that is alone in its queue has no others to wait for.
        if self.queue.open().is_ok_and(|(state, _)| state.in_flight.get().is_some_and(|in_flight| in_flight.len() == 1)) {
            let queue = self.queue.clone();
            return queue.complete(std::iter::once(self));
        }
        let is_first = FINISHED.with_borrow_mut(|finished| {
            finished.push(self);
            finished.len() == 1
        });
        if is_first {
            // The task runs after those that are ready now. It delivers even if it is dropped, at the end of the runtime.
            let deliver = DeliverOnDrop;
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { drop(deliver) });
            }
        }
    }
}

/// Delivers the finished calls when it is dropped.
struct DeliverOnDrop;

impl Drop for DeliverOnDrop {
    fn drop(&mut self) {
        let mut finished = FINISHED.take().into_iter().peekable();
        while let Some(first) = finished.peek() {
            let queue = first.queue.clone();
            queue.complete(std::iter::from_fn(|| finished.next_if(|next| Arc::ptr_eq(&next.queue, &queue))));
        }
    }
}

/// Takes up to `max` of what waits: completions first, so that a flood of records does not delay them.
fn take_up_to(state: &mut State, max: usize) -> (VecDeque<PendingCompletion>, Vec<(u64, String)>) {
    let done = if state.done.len() <= max { std::mem::take(&mut state.done) } else { state.done.drain(..max).collect() };
    let mut room = max - done.len();
    let mut records = Vec::new();
    if room > 0
        && state.records_lost > 0
        && let Some((tag, _)) = state.records.front()
    {
        let fields = json!({"lost": std::mem::take(&mut state.records_lost)});
        records.push((*tag, log::write(Level::Warn, "antenv::log", "records were lost: the queue was read too slowly", fields)));
        room -= 1;
    }
    let count = room.min(state.records.len());
    records.extend(state.records.drain(..count));
    (done, records)
}

/// The queue as a sink of log records. A queue that was freed accepts no more.
struct LogSink {
    queue: Weak<Queue>,
    tag: u64,
}

impl Sink for LogSink {
    fn take(&self, record: String) -> bool {
        self.queue.upgrade().is_some_and(|queue| queue.push_record(self.tag, record))
    }

    fn identity(&self) -> usize {
        self.queue.as_ptr().addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_that_cannot_start_leaves_nothing_in_flight() {
        let client = Client::new(Some(r#"{"api_key":"k","base_url":"http://127.0.0.1:1"}"#)).unwrap();
        let queue = Arc::new(Queue::new().unwrap());
        let request = client.prepare_request("GET", &format!("/{}", "x".repeat(1 << 16)), None).unwrap();
        let error = queue.submit(&client, request, 1, &Ticket::default()).unwrap_err();
        assert_eq!(error.status(), Status::InvalidArgument);
        assert!(queue.open().unwrap().0.in_flight.get_mut().unwrap().is_empty());
        assert_eq!(queue.next(1, Some(Duration::ZERO)).unwrap_err().status(), Status::Timeout);
    }
}
