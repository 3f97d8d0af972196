//! Completion queues: many calls in flight from one thread.

use super::boundary;
use super::client::{CLIENTS, antenv_client};
use super::handle::Table;
use crate::api::operations::{self, ResponseKind};
use crate::client::Client;
use crate::completion::{Completion, Queue, Ticket};
use crate::error::{Result, Status};
use std::ffi::{c_char, c_int};
use std::ptr;
use std::sync::Arc;

/// A completion queue: calls are submitted to it without waiting, and their results collected from it.
pub struct antenv_queue {
    _opaque: (),
}

/// A ticket for a submitted call, which can cancel it.
pub struct antenv_ticket {
    _opaque: (),
}

/// The result of a submitted call.
#[repr(C)]
pub struct antenv_completion {
    /// The tag that was given with the call.
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
        antenv_completion { tag, status, json: boundary::string_into_raw(json) }
    }
}

/// ---- Completion queues: many calls from one thread -------------------------------------------------------------------------
/// ----
/// Creates a completion queue. Any number of calls may be in flight through it; they take no threads.
///
/// @param out Receives the queue; free it with antenv_queue_free.
/// @param out_error Receives the error object.
///
/// Errors: ANTENV_INVALID_ARGUMENT, ANTENV_INTERNAL (no file descriptor is left). Does not block.
///
/// ```c
///     antenv_submit(client, queue, "environments.list", NULL, 42, NULL, &error);
///     while (antenv_queue_next(queue, -1, &done) == ANTENV_INTERRUPTED) {}
///     printf("%llu: %s\n", (unsigned long long)done.tag, done.json);
///     antenv_string_free(done.json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_queue_new(out: *mut *mut antenv_queue, out_error: *mut *mut c_char) -> Status {
    boundary::return_handle(out, out_error, || QUEUES.insert(Queue::new()?))
}

/// Returns the file descriptor to watch with poll, epoll, kqueue, asyncio or libuv: it is readable exactly while a completion
/// waits in the queue. Do not read, write or close it: antenv_queue_next does what is needed, and antenv_queue_free closes it.
/// On Windows it is a socket, for WSAPoll, select, WSAEventSelect or libuv's uv_poll_init_socket, opened by the first call.
/// Returns -1 when the handle is not valid, and on Windows when no socket can be had. In a forked child the queue has another
/// descriptor: ask again. Does not block.
///
/// @param queue The queue.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_queue_fd(queue: *mut antenv_queue) -> c_int {
    boundary::catch_panic(|| QUEUES.get(queue)?.fd()).unwrap_or(-1)
}

/// Begins a call of any operation without waiting for it: exactly one completion with `tag` will arrive in the queue.
///
/// @param client The client; it may be freed while the call is in flight.
/// @param queue The queue that receives the completion.
/// @param operation The operation's name, as for antenv_call.
/// @param params_json Its parameters, as for antenv_call. Invalid ones are rejected right here: nothing is sent and no completion
///   arrives.
/// @param tag Comes back with the completion.
/// @param out_ticket Receives a ticket that can cancel the call, to be freed with antenv_ticket_free; may be NULL.
/// @param out_error Receives the error object.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED (the queue was freed, or the library is being shut down),
/// ANTENV_INTERNAL. Does not block. Over HTTP/1.1 each call in flight has a connection of its own, which takes a file descriptor.
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
    submit(client, queue, out_ticket, out_error, |client, queue, ticket| {
        let operation = operations::find(boundary::text("operation", operation)?, ResponseKind::Json)?;
        let request = client.prepare(operation, boundary::optional_text("params_json", params_json)?)?;
        queue.submit(client, request, tag, ticket)
    })
}

/// Begins a request to any other endpoint without waiting for it: exactly one completion with `tag` will arrive in the queue.
///
/// @param client The client; it may be freed while the request is in flight.
/// @param queue The queue that receives the completion.
/// @param method The method, as for antenv_request.
/// @param path The path, as for antenv_request.
/// @param params_json The parameters, as for antenv_request.
/// @param tag Comes back with the completion.
/// @param out_ticket Receives a ticket that can cancel the request, to be freed with antenv_ticket_free; may be NULL.
/// @param out_error Receives the error object.
///
/// Errors: as for antenv_submit. Does not block.
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
    submit(client, queue, out_ticket, out_error, |client, queue, ticket| {
        let (method, path) = (boundary::text("method", method)?, boundary::text("path", path)?);
        let request = client.prepare_request(method, path, boundary::optional_text("params_json", params_json)?)?;
        queue.submit(client, request, tag, ticket)
    })
}

/// Begins something that ends in a completion, with the ticket that cancels it.
pub fn submit(
    client: *mut antenv_client,
    queue: *mut antenv_queue,
    out_ticket: *mut *mut antenv_ticket,
    out_error: *mut *mut c_char,
    begin: impl FnOnce(&Client, &Arc<Queue>, &Ticket) -> Result<()>,
) -> Status {
    boundary::return_optional_handle(out_ticket, out_error, |wanted| {
        let (client, queue) = (CLIENTS.get(client)?, QUEUES.get(queue)?);
        // The ticket comes first: after the call has begun, nothing may fail.
        let ticket = Ticket::default();
        let handle = if wanted { TICKETS.insert(ticket.clone())? } else { ptr::null_mut() };
        begin(&client, &queue, &ticket).inspect_err(|_| drop(TICKETS.remove(handle)))?;
        Ok(handle)
    })
}

/// Takes the next completion, waiting for one if there is none.
///
/// @param queue The queue. Threads may share it: each completion goes to one of them.
/// @param timeout_ms How long to wait.
/// @param out Receives the completion; free its `json` with antenv_string_free. All zero when there is none.
///
/// Returns ANTENV_OK when there is one, whatever its own status; ANTENV_TIMEOUT; ANTENV_INTERRUPTED when a signal handler ran in
/// this thread (call again to go on waiting); ANTENV_CLOSED when the queue was freed meanwhile; ANTENV_INVALID_HANDLE;
/// ANTENV_INVALID_ARGUMENT. Blocks for at most `timeout_ms`.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_queue_next(queue: *mut antenv_queue, timeout_ms: i64, out: *mut antenv_completion) -> Status {
    antenv_queue_next_many(queue, timeout_ms, out, 1, &mut 0)
}

/// Takes all completions that are there, up to `capacity`, waiting until there is at least one.
///
/// @param queue The queue. Threads may share it: each completion goes to one of them.
/// @param timeout_ms How long to wait for the first.
/// @param out An array of `capacity` completions. The first is cleared on entry, the others are written only when filled.
/// @param capacity The size of the array: 1 or more.
/// @param count Receives how many were filled: 0 unless ANTENV_OK is returned.
///
/// Returns what antenv_queue_next returns. Blocks for at most `timeout_ms`.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_queue_next_many(
    queue: *mut antenv_queue,
    timeout_ms: i64,
    out: *mut antenv_completion,
    capacity: usize,
    count: *mut usize,
) -> Status {
    boundary::return_array(out, antenv_completion::NONE, capacity, count, || {
        let timeout = boundary::timeout("timeout_ms", timeout_ms)?;
        let collected = QUEUES.get(queue)?.next(capacity, timeout)?;
        Ok(collected.into_iter().map(antenv_completion::new).collect())
    })
}

/// Frees a queue: cancels what is in flight through it, drops the completions that wait in it, and wakes threads that wait for one
/// with ANTENV_CLOSED.
///
/// @param queue The queue; freeing it twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_queue_free(queue: *mut antenv_queue) -> Status {
    boundary::return_status(|| QUEUES.remove(queue).map(|queue| queue.close()))
}

/// Cancels a call. Its completion arrives at once with ANTENV_CANCELLED; or with the result, if that had arrived already. A
/// cancellation is sticky: cancelling twice, or after the call has ended, changes nothing.
///
/// @param ticket The ticket.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_ticket_cancel(ticket: *mut antenv_ticket) -> Status {
    boundary::return_status(|| TICKETS.get(ticket).map(|ticket| ticket.cancel()))
}

/// Frees a ticket. The call goes on, and its completion arrives.
///
/// @param ticket The ticket; freeing it twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_ticket_free(ticket: *mut antenv_ticket) -> Status {
    boundary::return_status(|| TICKETS.remove(ticket).map(drop))
}
