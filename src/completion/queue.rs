//! The completion queue: calls are submitted without waiting, and their outcomes collected when they are there.
//!
//! ```text
//!           submit                                          next
//! caller  ---------> in flight (a future on the runtime) ---------> the caller's thread, which also reads the answer
//!                       |  ^                          |
//!                       |  '-- cancel: a wish, seen   '-- done: first in, first out
//!                       '----- by the runtime's thread
//! ```
//!
//! Every call that was accepted ends in exactly one completion. The queue's descriptor is readable exactly while one waits. It is
//! set right after the list is unlocked (who is woken finds it unlocked), and cleared while it is locked. Log records travel the
//! same way, behind the completions and bounded in number.

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

/// How many log records wait at most. Past that the oldest are lost.
pub const MAX_RECORDS: usize = 1024;

/// A queue. Threads may share it: submit to it and drain it at once.
pub struct Queue {
    state: ForkSafeMutex<State>,
}

struct State {
    /// The process that this is the state of. A forked child begins with an empty queue.
    epoch: u32,
    /// Set while something waits, or about to be; `None`: the queue is closed.
    event: Option<Arc<WakeupFd>>,
    in_flight: ProcessLocal<Slab<Arc<Cancel>>>,
    done: VecDeque<PendingCompletion>,
    /// Log records with their tags.
    records: VecDeque<(u64, String)>,
    /// How many records were dropped before those.
    records_lost: u64,
}

/// Something that ended.
struct PendingCompletion {
    tag: u64,
    outcome: Outcome,
}

// Calls are the rule, and a box would be an allocation for each.
#[allow(clippy::large_enum_variant)]
enum Outcome {
    /// A call, its answer still to be read.
    Call(Client, Result<RawOutcome>),
    /// What a worker has to tell.
    News(Result<String>),
}

impl PendingCompletion {
    fn into_completion(self) -> Completion {
        let result = match self.outcome {
            Outcome::News(news) => news,
            // A fault here must cost neither this completion nor those that are taken with it.
            Outcome::Call(client, outcome) => {
                catch_unwind(AssertUnwindSafe(|| outcome?.into_result(&client))).unwrap_or_else(|_| Err(runtime::fault()))
            }
        };
        Completion { tag: self.tag, result }
    }
}

/// What a queue hands out.
#[derive(Debug)]
pub struct Completion {
    /// The tag that was given with the call, or with the subscription to the log.
    pub tag: u64,
    /// The call's result, or a log record.
    pub result: Result<String>,
}

/// A call in flight, to be cancelled. It may outlive the call.
#[derive(Debug, Clone)]
pub struct Ticket {
    epoch: u32,
    cancel: Arc<Cancel>,
}

impl Default for Ticket {
    /// A ticket for one call that is yet to begin.
    fn default() -> Ticket {
        Ticket { epoch: fork::epoch(), cancel: Arc::default() }
    }
}

impl Ticket {
    /// Wishes that the call end. Its completion comes in any case: the result, if that was quicker, else `CANCELLED`.
    pub fn cancel(&self) {
        // In a forked child the call does not exist; it is its parent's.
        if self.epoch == fork::epoch() {
            self.cancel.cancel();
        }
    }
}

impl State {
    fn new() -> Result<State> {
        Ok(State {
            epoch: fork::epoch(),
            event: Some(Arc::new(WakeupFd::new()?)),
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
    /// An empty queue.
    pub fn new() -> Result<Queue> {
        Ok(Queue { state: ForkSafeMutex::new(State::new()?) })
    }

    /// The state, and the event that it goes with.
    fn open(&self) -> Result<(fork::ForkSafeGuard<'_, State>, Arc<WakeupFd>)> {
        let mut state = self.state.lock();
        if state.epoch != fork::epoch() && state.event.is_some() {
            // The parent's calls, completions and descriptor stay the parent's.
            *state = State::new()?;
        }
        let event = state.event.clone().ok_or_else(closed)?;
        Ok((state, event))
    }

    /// The number of the descriptor that is readable while something waits.
    pub fn fd(&self) -> Result<i32> {
        Ok(self.open()?.1.number())
    }

    /// Begins a call whose completion will come with this tag, and which `ticket` cancels. An error: the call was not begun, and no
    /// completion comes.
    pub fn submit(self: &Arc<Queue>, client: &Client, request: Request, tag: u64, ticket: &Ticket) -> Result<()> {
        let cancel = &ticket.cancel;
        let key = self.open()?.0.in_flight.get_mut().ok_or_else(closed)?.insert(cancel.clone());
        let (queue, owner) = (self.clone(), client.clone());
        let done = move |outcome| {
            let completion = PendingCompletion { tag, outcome: Outcome::Call(owner, outcome) };
            Ended { queue, key, completion }.gather();
        };
        client.start(request, cancel.clone(), done).inspect_err(|_| self.forget(key))
    }

    /// Takes calls in that have ended.
    fn complete(&self, ended: impl Iterator<Item = Ended>) {
        // Closed meanwhile: nobody will ask for them.
        let Ok(open) = self.open() else { return ended.for_each(drop) };
        put(open, |state| {
            for Ended { key, completion, .. } in ended {
                state.in_flight.get_mut().and_then(|in_flight| in_flight.try_remove(key));
                state.done.push_back(completion);
            }
        });
    }

    /// Adds a completion that no call belongs to. False: the queue is closed.
    pub fn tell(&self, tag: u64, news: Result<String>) -> bool {
        let Ok(open) = self.open() else { return false };
        put(open, |state| state.done.push_back(PendingCompletion { tag, outcome: Outcome::News(news) }));
        true
    }

    fn forget(&self, key: usize) {
        if let Ok((mut state, _event)) = self.open() {
            state.in_flight.get_mut().and_then(|in_flight| in_flight.try_remove(key));
        }
    }

    /// Waits until something is there, up to `patience` (`None`: however long that takes), and hands out up to `most` of it.
    ///
    /// Errors: `TIMEOUT`, `INTERRUPTED` when a signal handler ran in this thread, `CLOSED`.
    pub fn next(&self, most: usize, patience: Option<Duration>) -> Result<Vec<Completion>> {
        let until = patience.and_then(|patience| Instant::now().checked_add(patience));
        loop {
            let (mut state, event) = self.open()?;
            let was_empty = state.is_empty();
            let (done, records) = take(&mut state, most);
            if !was_empty && state.is_empty() {
                event.clear();
            }
            drop(state);
            if !done.is_empty() || !records.is_empty() {
                let done = done.into_iter().map(PendingCompletion::into_completion);
                let records = records.into_iter().map(|(tag, record)| Completion { tag, result: Ok(record) });
                return Ok(done.chain(records).collect());
            }
            let timeout = || Error::new(Status::Timeout, "nothing came in time");
            if patience.is_some_and(|patience| patience.is_zero()) {
                return Err(timeout());
            }
            match event.wait(until) {
                WaitOutcome::Signaled => {}
                WaitOutcome::TimedOut => return Err(timeout()),
                WaitOutcome::Interrupted => {
                    return Err(Error::new(Status::Interrupted, "a signal handler ran in the waiting thread"));
                }
            }
        }
    }

    /// Sends the log records that pass `filter` to this queue, with this tag, in place of what it got before; `off` ends that.
    pub fn subscribe(self: &Arc<Queue>, filter: &str, tag: u64) -> Result<()> {
        self.open()?;
        log::subscribe(filter, Arc::new(LogSink { queue: Arc::downgrade(self), tag }))
    }

    /// Ends the queue: cancels what is in flight, drops what waits, and wakes who waits.
    pub fn close(self: &Arc<Queue>) {
        log::unsubscribe(&LogSink { queue: Arc::downgrade(self), tag: 0 });
        let Ok((mut state, event)) = self.open() else { return };
        let was_empty = state.is_empty();
        state.event = None;
        let in_flight = state.in_flight.get_mut().map(std::mem::take);
        let waiting = (std::mem::take(&mut state.done), std::mem::take(&mut state.records));
        drop(state);
        if was_empty {
            event.set();
        }
        for cancel in in_flight.into_iter().flatten() {
            cancel.1.cancel();
        }
        drop(waiting);
    }

    fn take_record(&self, tag: u64, record: String) -> bool {
        let Ok(open) = self.open() else { return false };
        put(open, |state| {
            if state.records.len() == MAX_RECORDS {
                state.records.pop_front();
                state.records_lost += 1;
            }
            state.records.push_back((tag, record));
        });
        true
    }
}

/// Adds to what waits, and sets the event if nothing did.
fn put((mut state, event): (fork::ForkSafeGuard<'_, State>, Arc<WakeupFd>), add: impl FnOnce(&mut State)) {
    let was_empty = state.is_empty();
    add(&mut state);
    let is_first = was_empty && !state.is_empty();
    drop(state);
    if is_first {
        event.set();
    }
}

/// A call that ended, on its way to its queue.
struct Ended {
    queue: Arc<Queue>,
    key: usize,
    completion: PendingCompletion,
}

thread_local! {
    /// Calls that ended in the present round of the runtime.
    static ENDED: RefCell<Vec<Ended>> = const { RefCell::new(Vec::new()) };
}

impl Ended {
    /// Sends the call to its queue, together with the others that end in this round of the runtime: what the round's other tasks
    /// have to do takes microseconds, while waking the threads that wait for each call alone would cost more than the call.
    fn gather(self) {
        // A call alone in its queue has none to wait for.
        if self.queue.open().is_ok_and(|(state, _)| state.in_flight.get().is_some_and(|in_flight| in_flight.len() == 1)) {
            let queue = self.queue.clone();
            return queue.complete(std::iter::once(self));
        }
        let is_first = ENDED.with_borrow_mut(|ended| {
            ended.push(self);
            ended.len() == 1
        });
        if is_first {
            // The task comes behind those that are ready now. It delivers also when it is dropped, at the end of the runtime.
            let deliver = Deliver;
            if let Ok(runtime) = tokio::runtime::Handle::try_current() {
                runtime.spawn(async move { drop(deliver) });
            }
        }
    }
}

struct Deliver;

impl Drop for Deliver {
    fn drop(&mut self) {
        let mut ended = ENDED.take().into_iter().peekable();
        while let Some(first) = ended.peek() {
            let queue = first.queue.clone();
            queue.complete(std::iter::from_fn(|| ended.next_if(|next| Arc::ptr_eq(&next.queue, &queue))));
        }
    }
}

/// Takes up to `most` of what waits: completions first, which a flood of records must not hold up.
fn take(state: &mut State, most: usize) -> (VecDeque<PendingCompletion>, Vec<(u64, String)>) {
    let done = if state.done.len() <= most { std::mem::take(&mut state.done) } else { state.done.drain(..most).collect() };
    let mut room = most - done.len();
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

/// The queue as the log sees it: one that is gone takes no more records.
struct LogSink {
    queue: Weak<Queue>,
    tag: u64,
}

impl Sink for LogSink {
    fn take(&self, record: String) -> bool {
        self.queue.upgrade().is_some_and(|queue| queue.take_record(self.tag, record))
    }

    fn identity(&self) -> usize {
        self.queue.as_ptr().addr()
    }
}
