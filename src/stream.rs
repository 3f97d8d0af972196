//! An open stream of events. A task on the runtime receives and decodes it; the host's threads, or a completion queue, take the events.
//!
//! ```text
//!          open                         next, or a completion
//! host  ---------> opening ----> events ----------------------> the host
//!                     |            |                               |
//!                     |            '<-- wait until half is taken --'
//!                     '-----> end: every further `next` reports it
//! ```
//!
//! The task reads on only while less than `MAX_UNREAD` waits to be taken. Then the connection's own buffer fills, and the server has to
//! wait.

mod reader;

pub use reader::EventReader;

use crate::api::operations::{self, ResponseKind};
use crate::client::Client;
use crate::completion::{Event, Queue};
use crate::error::{Error, Result, Status};
use crate::http::request::Request;
use crate::runtime::fork::{ForkSafeMutex, ProcessLocal, used_after_fork};
use crate::runtime::waiters::{Waiters, wait_for};
use crate::runtime::{self, Cancel, Runtime};
use reader::weight;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::Duration;
use tokio::sync::{Notify, oneshot};

/// How much may wait to be taken, in bytes, before the task stops reading.
const MAX_UNREAD: usize = reader::MAX_BATCH;

/// An open stream, usable from any thread. Dropping it closes it. All its functions fail with `CLOSED` in a forked child.
pub struct Stream(ProcessLocal<Arc<Shared>>);

/// What the task and the host's threads share.
struct Shared {
    state: ForkSafeMutex<State>,
    /// How much waits to be taken: in `state`, and in the attached queue.
    unread: AtomicUsize,
    /// Wakes the task when half of that was taken.
    taken: Notify,
    /// Ends the task.
    cancel: Arc<Cancel>,
}

#[derive(Default)]
struct State {
    events: VecDeque<String>,
    /// How the stream ended: `Ok` when the server ended it.
    end: Option<Result<()>>,
    /// Whether the host closed it.
    is_closed: bool,
    /// Receives the outcome of opening, for the thread that waits for it.
    opened: Option<oneshot::Sender<Result<()>>>,
    waiters: Waiters,
    attached: Option<Attached>,
}

/// A queue that gets the events as completions.
#[derive(Clone)]
struct Attached {
    queue: Arc<Queue>,
    tag: u64,
    /// Whether it gets a completion when the stream is open, too.
    announces: bool,
}

impl Stream {
    /// Opens a stream. `params_json` holds the operation's parameters and the options of a call, which apply to the opening, besides
    /// `idle_timeout_ms` and `max_event_bytes`. Blocks until the server has responded. Errors: the common call errors.
    pub fn open(client: &Client, operation: &str, params_json: Option<&str>) -> Result<Stream> {
        let (sender, receiver) = oneshot::channel();
        let stream = Stream::start(client, operation, params_json, State { opened: Some(sender), ..State::default() })?;
        runtime::wait(receiver)?;
        Ok(stream)
    }

    /// Does the same without blocking. A completion with this tag reports that the stream is open, with the response's status, headers and
    /// request id, or the error; then each event is a completion, as after [`attach`](Stream::attach).
    pub fn submit(client: &Client, queue: &Arc<Queue>, operation: &str, params_json: Option<&str>, tag: u64) -> Result<Stream> {
        queue.fd()?;
        let attached = Some(Attached { queue: queue.clone(), tag, announces: true });
        Stream::start(client, operation, params_json, State { attached, ..State::default() })
    }

    fn start(client: &Client, operation: &str, params_json: Option<&str>, state: State) -> Result<Stream> {
        let request = prepare(client, operation, params_json)?;
        let pool = client.pool_handle()?;
        let opening = client.open(&pool, request)?;
        let cancel = Arc::<Cancel>::default();
        let shared = Arc::new(Shared {
            state: ForkSafeMutex::new(state),
            unread: AtomicUsize::new(0),
            taken: Notify::new(),
            cancel: cancel.clone(),
        });
        let (of_task, at_end, runtime) = (shared.clone(), shared.clone(), pool.runtime().clone());
        let task = async move {
            // Boxed, so that what opening took is freed.
            let reader = EventReader::new(Box::pin(opening).await?)?;
            of_task.on_opened(&reader);
            read(&of_task, reader, &runtime).await
        };
        pool.runtime().spawn(task, Some(cancel), move |outcome| at_end.on_end(outcome.flatten()));
        Ok(Stream(ProcessLocal::new(shared)))
    }

    fn shared(&self) -> Result<&Arc<Shared>> {
        self.0.get().ok_or_else(|| used_after_fork("stream"))
    }

    /// Returns the next event's data verbatim, `None` when the server has ended the stream. Blocks for at most `timeout`; `None` waits
    /// without a limit. Several threads may wait at once: each event goes to one of them. Errors: `TIMEOUT` about `timeout_ms`, after
    /// which the stream is still open; `INTERRUPTED` (a signal handler ran in this thread); `CLOSED`, if the stream was freed or belongs
    /// to the parent; `INVALID_ARGUMENT`, if a queue gets the events; or the error that ended the stream.
    pub fn next(&self, timeout: Option<Duration>) -> Result<Option<String>> {
        let shared = self.shared()?;
        let found = wait_for(&shared.state, |state| &mut state.waiters, timeout, |state| state.take());
        let event = found.map_err(|error| match (error.status(), timeout) {
            (Status::Timeout, Some(timeout)) => {
                let problem = format_args!("is over: no event came within {} ms; the stream is still open", timeout.as_millis());
                Error::about(Status::Timeout, "timeout_ms", problem)
            }
            _ => error,
        })??;
        if let Some(event) = &event {
            shared.on_taken(weight(event));
        }
        Ok(event)
    }

    /// Posts each event from now on to the queue, as a completion with this tag. The last completion reports the end: `DONE`, or the error
    /// that ended the stream. Does not block. When the queue is freed, the events are for [`next`](Stream::next) again. Errors:
    /// `CLOSED`, of the stream or of the queue; `INVALID_ARGUMENT`, if a queue is attached already.
    pub fn attach(&self, queue: &Arc<Queue>, tag: u64) -> Result<()> {
        let shared = self.shared()?;
        queue.fd()?;
        let mut state = shared.state.lock();
        if state.is_closed {
            return Err(closed());
        }
        if state.attached().is_some() {
            return Err(Error::argument("queue", "cannot be attached: the stream has a queue already"));
        }
        state.attached = Some(Attached { queue: queue.clone(), tag, announces: false });
        let (events, waiters) = (std::mem::take(&mut state.events), state.waiters.take_all());
        shared.post(&mut state, events);
        shared.post_end(&mut state);
        drop(state);
        drop(waiters);
        Ok(())
    }

    /// Closes the stream: ends its request, drops the events that were not taken, and wakes the waiting threads. Does not block.
    pub fn close(&self) {
        let Some(shared) = self.0.get() else { return };
        let mut state = shared.state.lock();
        state.is_closed = true;
        let dropped = (state.attached.take(), std::mem::take(&mut state.events), state.waiters.take_all());
        drop(state);
        drop(dropped);
        shared.cancel.cancel();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.close();
    }
}

impl State {
    /// Returns the attached queue, unless it was freed.
    fn attached(&mut self) -> Option<&Attached> {
        self.attached.take_if(|attached| attached.queue.fd().is_err());
        self.attached.as_ref()
    }

    /// Takes what `next` returns; `None`: it has to wait.
    fn take(&mut self) -> Option<Result<Option<String>>> {
        if self.is_closed {
            return Some(Err(closed()));
        }
        if self.attached().is_some() {
            return Some(Err(Error::argument("stream", "is attached to a queue, which gets its events")));
        }
        match (self.events.pop_front(), &self.end) {
            (Some(event), _) => Some(Ok(Some(event))),
            (None, Some(end)) => Some(end.clone().map(|()| None)),
            (None, None) => None,
        }
    }
}

impl Shared {
    fn on_opened(&self, reader: &EventReader) {
        let mut state = self.state.lock();
        let opened = state.opened.take();
        if let Some(Attached { queue, tag, announces: true }) = state.attached().cloned() {
            queue.post(tag, Ok(reader.head()));
        }
        drop(state);
        opened.map(|opened| opened.send(Ok(())));
    }

    /// Adds events, after waiting for room.
    async fn add(self: &Arc<Shared>, events: Vec<String>) {
        while self.unread.load(SeqCst) >= MAX_UNREAD {
            self.taken.notified().await;
        }
        self.unread.fetch_add(events.iter().map(|event| weight(event)).sum(), SeqCst);
        let mut state = self.state.lock();
        if state.is_closed {
            return;
        }
        let count = events.len();
        let waiters = if state.attached().is_some() {
            self.post(&mut state, events);
            Vec::new()
        } else {
            state.events.extend(events);
            state.waiters.take(count)
        };
        drop(state);
        drop(waiters);
    }

    /// Posts events to the attached queue. The state stays locked meanwhile, so that the events keep their order.
    fn post(self: &Arc<Shared>, state: &mut State, events: impl IntoIterator<Item = String>) {
        let Some(Attached { queue, tag, .. }) = &state.attached else { return };
        let events = events.into_iter().map(|event| -> Event {
            let unread = Unread { stream: ProcessLocal::new(self.clone()), weight: weight(&event) };
            Box::new(move || {
                drop(unread);
                Ok(event)
            })
        });
        queue.post_events(*tag, events);
    }

    /// Posts the end to the attached queue, and detaches it.
    fn post_end(&self, state: &mut State) {
        if let Some(end) = &state.end
            && let Some(Attached { queue, tag, .. }) = state.attached.take()
        {
            let end = end.clone().and_then(|()| Err(Error::new(Status::Done, "the server has ended the stream")));
            queue.post(tag, end);
        }
    }

    /// Counts an event as taken, and lets the task read on when half of what it read was taken.
    fn on_taken(&self, weight: usize) {
        let before = self.unread.fetch_sub(weight, SeqCst);
        if before > MAX_UNREAD / 2 && before - weight <= MAX_UNREAD / 2 {
            self.taken.notify_one();
        }
    }

    fn on_end(&self, end: Result<()>) {
        let mut state = self.state.lock();
        let opened = state.opened.take().zip(end.clone().err());
        state.end = Some(end);
        self.post_end(&mut state);
        let waiters = state.waiters.take_all();
        drop(state);
        drop(waiters);
        opened.map(|(opened, error)| opened.send(Err(error)));
    }
}

/// An event in a queue. Counts it as taken when it is dropped, with the queue or by the thread that collects it.
struct Unread {
    stream: ProcessLocal<Arc<Shared>>,
    weight: usize,
}

impl Drop for Unread {
    fn drop(&mut self) {
        if let Some(stream) = self.stream.get() {
            stream.on_taken(self.weight);
        }
    }
}

fn closed() -> Error {
    Error::new(Status::Closed, "the stream was freed")
}

/// Builds the request that opens a stream.
fn prepare(client: &Client, operation: &str, params_json: Option<&str>) -> Result<Request> {
    let request = client.prepare(operations::find(operation, ResponseKind::Stream)?, params_json)?;
    if request.with_response {
        return Err(Error::argument("with_response", "cannot be used with a stream, which returns events"));
    }
    Ok(request)
}

/// Receives the stream until it ends, or the runtime does.
async fn read(shared: &Arc<Shared>, reader: EventReader, runtime: &Runtime) -> Result<()> {
    tokio::select! {
        biased;
        () = runtime.closes() => Err(Error::new(Status::Cancelled, "the stream was closed: the library was shut down")),
        end = receive(shared, reader) => end,
    }
}

async fn receive(shared: &Arc<Shared>, mut reader: EventReader) -> Result<()> {
    while let Some(events) = reader.next().await? {
        shared.add(events).await;
    }
    Ok(())
}
