//! Streams and downloads.

use super::boundary;
use super::client::{CLIENTS, antenv_client};
use super::handle::Table;
use super::queue::{QUEUES, antenv_queue, antenv_ticket, submit};
use crate::download;
use crate::error::Status;
use crate::stream::Stream;
use std::ffi::c_char;

/// A stream: the events of a session, as they happen.
pub struct antenv_stream {
    _opaque: (),
}

/// The live streams.
static STREAMS: Table<Stream> = Table::new(7, "stream");

/// ---- Streams and downloads -------------------------------------------------------------------------------------------------
/// ----
/// Opens a stream of events. It is read only as fast as its events are taken; beyond that the server has to wait.
///
/// @param client The client; it may be freed before the stream.
/// @param operation "sessions.events.stream".
/// @param params_json The operation's parameters. The options of a call apply to the opening, which is retried like a call:
///   `timeout_ms` bounds it, not the stream's life. Besides:
///
///   idle_timeout_ms  How long the server may be silent, its pings count: 1 to 2147483647. Default: 600000.
///   max_event_bytes  Size limit of one event: 1 or more. Default: 16777216 (16 MiB).
///
/// @param out Receives the stream; free it with antenv_stream_free.
/// @param out_error Receives the error object.
///
/// Errors: the common call errors; ANTENV_RESPONSE when the response is no stream, such as the page of a gateway. Blocks until the
/// server has responded, for at most `timeout_ms`. Over HTTP/1.1 each open stream
/// has a connection of its own, which takes a file descriptor. A stream that has ended is not opened again.
///
/// ```c
///     antenv_stream_open(client, "sessions.events.stream", "{\"session_id\":\"sesn_...\"}", &stream, &error);
///     while (antenv_stream_next(stream, -1, &json) == ANTENV_OK) { puts(json); antenv_string_free(json); }
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_stream_open(
    client: *mut antenv_client,
    operation: *const c_char,
    params_json: *const c_char,
    out: *mut *mut antenv_stream,
    out_error: *mut *mut c_char,
) -> Status {
    boundary::return_handle(out, out_error, || {
        let client = CLIENTS.get(client)?;
        let operation = boundary::text("operation", operation)?;
        STREAMS.insert(Stream::open(&client, operation, boundary::optional_text("params_json", params_json)?)?)
    })
}

/// Opens a stream without waiting for it, attached to a queue. Its first completion reports that it is open: `{"http_status",
/// "request_id","headers","attempts"}`; or the error, and then it is the last. The others are those of antenv_stream_attach.
///
/// @param client The client; it may be freed before the stream.
/// @param queue The queue that receives the completions.
/// @param operation The operation, as for antenv_stream_open.
/// @param params_json Its parameters, as for antenv_stream_open. Invalid ones are rejected right here: nothing is sent and no
///   completion arrives.
/// @param tag Comes back with each completion.
/// @param out Receives the stream; freeing it with antenv_stream_free also cancels the opening.
/// @param out_error Receives the error object.
///
/// Errors: as for antenv_submit. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_stream_submit(
    client: *mut antenv_client,
    queue: *mut antenv_queue,
    operation: *const c_char,
    params_json: *const c_char,
    tag: u64,
    out: *mut *mut antenv_stream,
    out_error: *mut *mut c_char,
) -> Status {
    boundary::return_handle(out, out_error, || {
        let (client, queue) = (CLIENTS.get(client)?, QUEUES.get(queue)?);
        let operation = boundary::text("operation", operation)?;
        let params_json = boundary::optional_text("params_json", params_json)?;
        STREAMS.insert(Stream::submit(&client, &queue, operation, params_json, tag)?)
    })
}

/// Returns the next event of a stream.
///
/// @param stream The stream. Threads may share it: each event goes to one of them.
/// @param timeout_ms How long to wait: -1 forever, 0 not at all.
/// @param out_json Receives the event's data, verbatim: one JSON object with a `type`. NULL at the end; else the error object.
///
/// Returns ANTENV_OK; ANTENV_DONE when the server has ended the stream; ANTENV_TIMEOUT with `parameter` "timeout_ms" when no event
/// came in time: the stream is still open; ANTENV_INTERRUPTED when a signal handler ran in this thread (call again to go on
/// waiting); ANTENV_CLOSED when the stream was freed meanwhile, or created before fork(); ANTENV_INVALID_ARGUMENT when a queue is
/// attached; or the error that ended the stream: ANTENV_CONNECTION (it was cut off; a part of an event is never returned),
/// ANTENV_TIMEOUT with `parameter` "idle_timeout_ms" (the server was silent), ANTENV_RESPONSE (an event is larger than
/// `max_event_bytes`), ANTENV_CANCELLED (the library was shut down), ANTENV_HTTP_STATUS (the API reported an error within the
/// stream: `type` and `message` are its, `http_status` is that of the stream). Every further call returns the same end. Blocks
/// for at most `timeout_ms`.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_stream_next(stream: *mut antenv_stream, timeout_ms: i64, out_json: *mut *mut c_char) -> Status {
    boundary::return_optional_json(out_json, || {
        let timeout = boundary::timeout("timeout_ms", timeout_ms)?;
        STREAMS.get(stream)?.next(timeout)
    })
}

/// Attaches a stream to a queue: each event, from those that wait already, becomes a completion with ANTENV_OK and the event's
/// data. The last completion reports the end: ANTENV_DONE, or the error that antenv_stream_next would return. Only a bounded
/// number of completions wait at a time; the server has to wait while they are not collected. Meanwhile antenv_stream_next
/// fails with ANTENV_INVALID_ARGUMENT. Freeing the queue detaches it, and drops the completions that wait in it. A stream that
/// has ended may be attached, too: a completion reports its end again.
///
/// @param stream The stream.
/// @param queue The queue that receives the completions.
/// @param tag Comes back with each completion.
///
/// Returns ANTENV_OK; ANTENV_INVALID_ARGUMENT when a queue is attached already; ANTENV_CLOSED when the stream or the queue was
/// freed meanwhile, or the stream was created before fork(); ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_stream_attach(stream: *mut antenv_stream, queue: *mut antenv_queue, tag: u64) -> Status {
    boundary::return_status(|| {
        let (stream, queue) = (STREAMS.get(stream)?, QUEUES.get(queue)?);
        stream.attach(&queue, tag)
    })
}

/// Frees a stream: ends its request, and wakes threads that wait for an event with ANTENV_CLOSED. Completions that wait in a queue
/// stay; no more arrive, not one for the end either.
///
/// @param stream The stream; freeing it twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_stream_free(stream: *mut antenv_stream) -> Status {
    boundary::return_status(|| STREAMS.remove(stream).map(|stream| stream.close()))
}

/// Downloads the response of an operation to a file. It is written to a temporary file beside `path`, which is removed on failure;
/// a file at `path` is replaced only by a whole one. Nothing is kept in memory.
///
/// @param client The client.
/// @param operation "skills.versions.download".
/// @param params_json The operation's parameters and the options of a call. A download that fails is retried from its beginning.
///   `timeout_ms` bounds the whole, `attempt_timeout_ms` how long the server may be silent. Besides:
///
///   max_bytes  Size limit: 1 or more. Default: the client's `max_response_bytes`.
///
/// @param path Where to put the file, in UTF-8. Its folder must exist.
/// @param out_json Receives `{"path","bytes","content_type"}`, with null for a content type that the server did not send; else the
///   error object.
///
/// Errors: the common call errors; ANTENV_RESPONSE also when the response is larger than `max_bytes` or was cut short;
/// ANTENV_INVALID_ARGUMENT about `path` when the file cannot be written. Blocks until the file is in its place.
///
/// ```c
///     const char *params = "{\"skill_id\":\"skill_...\",\"version\":\"...\"}";
///     antenv_download(client, "skills.versions.download", params, "skill.zip", &json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_download(
    client: *mut antenv_client,
    operation: *const c_char,
    params_json: *const c_char,
    path: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    boundary::return_json(out_json, || {
        let client = CLIENTS.get(client)?;
        let (operation, path) = (boundary::text("operation", operation)?, boundary::text("path", path)?);
        download::download(&client, operation, boundary::optional_text("params_json", params_json)?, path)
    })
}

/// Begins a download as antenv_download does, without waiting for it: exactly one completion with `tag` will arrive in the queue. Any
/// number of downloads may be in flight; one thread of the library writes all their files.
///
/// @param client The client; it may be freed while the download is in flight.
/// @param queue The queue that receives the completion. Its status and `json` are what antenv_download returns.
/// @param operation The operation, as for antenv_download.
/// @param params_json Its parameters, as for antenv_download. Invalid ones are rejected right here: nothing is sent and no
///   completion arrives.
/// @param path Where to put the file, as for antenv_download. A path where no file can be created is rejected right here, too.
/// @param tag Comes back with the completion.
/// @param out_ticket Receives a ticket that can cancel the download, to be freed with antenv_ticket_free; may be NULL.
/// @param out_error Receives the error object.
///
/// Errors: as for antenv_submit; ANTENV_INVALID_ARGUMENT about `path`. Does not block; it creates the temporary file. When a
/// download that was cancelled has its completion, the temporary file is gone and `path` is as it was, unless the status is
/// ANTENV_OK. Freeing the queue cancels the download, too; its temporary file is removed a moment later.
///
/// ```c
///     antenv_download_submit(client, queue, "skills.versions.download", params, "skill.zip", 7, &ticket, &error);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_download_submit(
    client: *mut antenv_client,
    queue: *mut antenv_queue,
    operation: *const c_char,
    params_json: *const c_char,
    path: *const c_char,
    tag: u64,
    out_ticket: *mut *mut antenv_ticket,
    out_error: *mut *mut c_char,
) -> Status {
    submit(client, queue, out_ticket, out_error, |client, queue, ticket| {
        let (operation, path) = (boundary::text("operation", operation)?, boundary::text("path", path)?);
        let params_json = boundary::optional_text("params_json", params_json)?;
        download::submit(client, queue, operation, params_json, path, tag, ticket)
    })
}
