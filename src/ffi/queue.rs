//! Completion queues: many calls in flight from one thread.

use super::client::{CLIENTS, antenv_client};
use super::guard;
use super::handle::Table;
use crate::client;
use crate::completion::{Completion, Queue, Ticket};
use crate::error::{Result, Status};
use crate::http::request::Request;
use std::ffi::{c_char, c_int};
use std::ptr;

/// A completion queue: calls are submitted to it without waiting, and their outcomes collected from it.
pub struct antenv_queue {
    _opaque: (),
}

/// A call that was submitted, for cancelling it.
pub struct antenv_ticket {
    _opaque: (),
}

/// The outcome of a call that was submitted.
#[repr(C)]
pub struct antenv_completion {
    /// The tag given with the call.
    tag: u64,
    /// ANTENV_OK, or why the call failed.
    status: Status,
    /// The result on ANTENV_OK, else the error object; free it with antenv_string_free.
    json: *mut c_char,
}

/// The live queues.
pub static QUEUES: Table<Queue> = Table::new(3, "queue");
static TICKETS: Table<Ticket> = Table::new(4, "ticket");

impl antenv_completion {
    const NONE: antenv_completion = antenv_completion { tag: 0, status: Status::Ok, json: ptr::null_mut() };

    fn new(collected: Completion) -> antenv_completion {
        let Completion { tag, result } = collected;
        let (status, json) = match result {
            Ok(json) => (Status::Ok, json),
            Err(error) => (error.status(), error.to_json()),
        };
        antenv_completion { tag, status, json: guard::give(json) }
    }
}

/// ---- Many calls from one thread -------------------------------------------------------------------------------------------
///
/// Makes a completion queue. Any number of calls may be in flight through it; they take no threads.
///
/// `out`: receives the queue; free it with antenv_queue_free. NULL on failure.
///
/// `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
///
/// Errors: ANTENV_INVALID_ARGUMENT, ANTENV_INTERNAL (no file descriptor left). Does not block.
///
/// ```c
///     antenv_submit(client, queue, "environments.list", NULL, 42, NULL, &error);
///     while (antenv_queue_next(queue, -1, &done) == ANTENV_INTERRUPTED) {}
///     printf("%llu: %s\n", (unsigned long long)done.tag, done.json);
///     antenv_string_free(done.json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_queue_new(out: *mut *mut antenv_queue, out_error: *mut *mut c_char) -> Status {
    guard::handle(out, out_error, || QUEUES.insert(Queue::new()?))
}

/// The file descriptor to watch with poll, epoll, kqueue, asyncio or libuv: readable exactly while a completion waits in the queue.
/// Do not read, write or close it: antenv_queue_next does what is needed, and it closes with the queue.
///
/// `queue`: the queue.
///
/// Returns the descriptor, or -1 when the handle is not valid (and on systems without such descriptors). In a forked child the queue
/// has another one: ask again. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_queue_fd(queue: *mut antenv_queue) -> c_int {
    guard::caught(|| QUEUES.get(queue)?.fd()).unwrap_or(-1)
}

/// Begins a call of any operation, without waiting for it: exactly one completion with `tag` will come to the queue.
///
/// `client`: the client; it may be freed while the call is in flight.
///
/// `queue`: where the completion goes.
///
/// `operation`, `params_json`: as for antenv_call. They are checked here: what is not acceptable is refused, nothing is sent and no
/// completion comes.
///
/// `tag`: any number; it comes back with the completion.
///
/// `out_ticket`: receives a ticket for cancelling the call, to be freed with antenv_ticket_free; NULL when none is wanted.
///
/// `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED (the queue was freed, or the library is being shut down),
/// ANTENV_INTERNAL. Does not block. Each call in flight over HTTP/1.1 has a connection of its own, which takes a file descriptor.
///
/// ```c
///     antenv_submit(client, queue, "work.poll", "{\"environment_id\":\"env_...\",\"block_ms\":999}", 7, &ticket, &error);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_submit(
    client: *mut antenv_client,
    queue: *mut antenv_queue,
    operation: *const c_char,
    params_json: *const c_char,
    tag: u64,
    out_ticket: *mut *mut antenv_ticket,
    out_error: *mut *mut c_char,
) -> Status {
    submit(client, queue, tag, out_ticket, out_error, |client| {
        let operation = client::find(guard::text("operation", operation)?)?;
        client.prepare(operation, guard::optional_text("params_json", params_json)?)
    })
}

/// Begins a request to any other endpoint, without waiting for it: exactly one completion with `tag` will come to the queue.
///
/// `method`, `path`, `params_json`: as for antenv_request.
///
/// The others, errors and blocking: as for antenv_submit.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_submit_request(
    client: *mut antenv_client,
    queue: *mut antenv_queue,
    method: *const c_char,
    path: *const c_char,
    params_json: *const c_char,
    tag: u64,
    out_ticket: *mut *mut antenv_ticket,
    out_error: *mut *mut c_char,
) -> Status {
    submit(client, queue, tag, out_ticket, out_error, |client| {
        let (method, path) = (guard::text("method", method)?, guard::text("path", path)?);
        client.prepare_request(method, path, guard::optional_text("params_json", params_json)?)
    })
}

fn submit(
    client: *mut antenv_client,
    queue: *mut antenv_queue,
    tag: u64,
    out_ticket: *mut *mut antenv_ticket,
    out_error: *mut *mut c_char,
    prepare: impl FnOnce(&client::Client) -> Result<Request>,
) -> Status {
    guard::optional_handle(out_ticket, out_error, |wanted| {
        let (client, queue) = (CLIENTS.get(client)?, QUEUES.get(queue)?);
        let request = prepare(&client)?;
        // The ticket comes first: once the call has begun, nothing may fail.
        let ticket = Ticket::default();
        let handle = if wanted { TICKETS.insert(ticket.clone())? } else { ptr::null_mut() };
        queue.submit(&client, request, tag, &ticket).inspect_err(|_| drop(TICKETS.remove(handle)))?;
        Ok(handle)
    })
}

/// Takes the next completion, waiting for one if there is none.
///
/// `queue`: the queue. Threads may share it: each completion goes to one of them.
///
/// `timeout_ms`: how long to wait: 0 not at all, -1 for ever.
///
/// `out`: receives the completion; free its `json` with antenv_string_free. All zero when there is none.
///
/// Returns ANTENV_OK when there is one, whatever its own status; ANTENV_TIMEOUT; ANTENV_INTERRUPTED when a signal handler ran in this
/// thread (call again to go on waiting); ANTENV_CLOSED when the queue was freed meanwhile; ANTENV_INVALID_HANDLE;
/// ANTENV_INVALID_ARGUMENT. Blocks, `timeout_ms` at most.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_queue_next(queue: *mut antenv_queue, timeout_ms: i64, out: *mut antenv_completion) -> Status {
    antenv_queue_next_many(queue, timeout_ms, out, 1, &mut 0)
}

/// Takes as many completions as there are, up to `capacity`, waiting until there is at least one.
///
/// `out`: an array of `capacity` completions, 1 or more. The first is cleared at once, the others only written when filled.
///
/// `count`: receives how many were filled in: 0 unless ANTENV_OK is returned.
///
/// The others, what is returned, and blocking: as for antenv_queue_next.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_queue_next_many(
    queue: *mut antenv_queue,
    timeout_ms: i64,
    out: *mut antenv_completion,
    capacity: usize,
    count: *mut usize,
) -> Status {
    guard::list(out, antenv_completion::NONE, capacity, count, || {
        let timeout = guard::timeout("timeout_ms", timeout_ms)?;
        let collected = QUEUES.get(queue)?.next(capacity, timeout)?;
        Ok(collected.into_iter().map(antenv_completion::new).collect())
    })
}

/// Frees a queue: cancels what is in flight through it, drops the completions that wait, and wakes those who wait for one with
/// ANTENV_CLOSED.
///
/// `queue`: the queue. Freeing one twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_queue_free(queue: *mut antenv_queue) -> Status {
    guard::status(|| QUEUES.remove(queue).map(|queue| queue.close()))
}

/// Cancels a call: its request is dropped, and its completion comes at once with ANTENV_CANCELLED; or with the result, if that had
/// arrived already. Cancelling twice, or when the call has ended, changes nothing.
///
/// `ticket`: the ticket.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block. Any thread may cancel, also before the call was begun in earnest.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_ticket_cancel(ticket: *mut antenv_ticket) -> Status {
    guard::status(|| TICKETS.get(ticket).map(|ticket| ticket.cancel()))
}

/// Frees a ticket. The call goes on, and its completion comes.
///
/// `ticket`: the ticket. Freeing one twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_ticket_free(ticket: *mut antenv_ticket) -> Status {
    guard::status(|| TICKETS.remove(ticket).map(drop))
}
