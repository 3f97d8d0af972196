//! Sessions: serving the calls of an agent's tools.

use super::boundary;
use super::handle::Table;
use super::lease::{antenv_lease, get};
use super::process::library_file;
use super::queue::{QUEUES, antenv_queue};
use crate::error::Status;
use crate::session::tools::command::set_library_file;
use crate::session::{Next, Session, ToolCall};
use std::ffi::c_char;

/// A session that is being served.
pub struct antenv_session {
    _opaque: (),
}

/// A call of one of the program's tools.
pub struct antenv_tool_call {
    _opaque: (),
}

/// The sessions that are being served.
static SESSIONS: Table<Session> = Table::new(8, "session");
/// The calls that the host has.
static TOOL_CALLS: Table<ToolCall> = Table::new(9, "call");

/// ---- Session: serve an agent's calls ---------------------------------------------------------------------------------------
///
/// A session reads the events of a work item's session, hands the program the calls of its tools, and posts the results. It
/// reconnects when the stream breaks, and runs no call twice: a result is kept until the session has it. docs/sessions.md says
/// what happens when something fails.
/// ----
/// Begins to serve the session of an item.
///
/// @param lease The lease on the item. It stays the program's: when the session is over, end the session with antenv_session_free
///   and the lease with antenv_lease_finish.
/// @param config_json A JSON object. `null` means absent, and an unknown key is an error:
///
///   tools            The names of the tools that the program serves. Calls of other tools are left to other clients. Required
///                    without `toolset`.
///   concurrency      How many calls run at once: 1 to 1000. Only calls of different threads of the session do. Default: 1.
///   max_idle_ms      How long the session may be idle after the end of a turn before it is over: 0 (without limit) to 86400000.
///                    Default: 60000.
///   tool_timeout_ms  How long a call may take from antenv_session_next to its reply: 0 (without limit) to 86400000. Then it is
///                    answered with an error. Default: 120000.
///   toolset          true, or {"bash": default true, "network": default false, "env": [names of environment variables]}: the
///                    library serves the agent's own tools (bash, read, write, edit, glob, grep) in a confined process, but for
///                    those in `tools`. Their calls are not handed out. Default: false. Linux only.
///   workdir          The directory that the toolset works in; it must exist. Required with `toolset`, `skills` and `memory`.
///   sandbox          "auto" confines as far as the system can, "required" ends the session if it cannot, "off" confines only the
///                    tools that use files. Default: "auto".
///   toolset_path     The command `antenv`. Default: ANTENV_CLI, the one installed with the library, or the one on PATH.
///
///   skills           Whether the skills of the agent are unpacked to `skills/` in `workdir`, and removed at the end. One that
///                    fails is logged and counted. Default: true with `toolset`. Linux only, like `memory`.
///   memory           true keeps a directory for each memory store of the session in step with it: at the store's mount path,
///                    else `memory/` in `workdir`. "read_only" writes nothing to stores. false passes them over. A store that
///                    cannot be served ends the session with an error. Default: true with `toolset`.
///
/// @param out Receives the session; free it with antenv_session_free.
/// @param out_error Receives the error object.
///
/// Errors: ANTENV_CONFIG (`parameter` names the key); ANTENV_INVALID_ARGUMENT about `lease` when the worker only claims;
/// ANTENV_CLOSED in a forked child and while the library is being shut down; ANTENV_INVALID_HANDLE. Does not block: what the
/// server refuses, and a toolset that cannot start (ANTENV_CONFIG), is returned by antenv_session_next.
///
/// ```c
///     antenv_session_new(lease, "{\"tools\":[\"weather\"]}", &session, &error);
///     while (antenv_session_next(session, -1, &call, &json) == ANTENV_OK) serve(call, json);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_session_new(
    lease: *mut antenv_lease,
    config_json: *const c_char,
    out: *mut *mut antenv_session,
    out_error: *mut *mut c_char,
) -> Status {
    boundary::return_handle(out, out_error, || {
        set_library_file(library_file);
        SESSIONS.insert(Session::new(&get(lease)?, boundary::optional_text("config_json", config_json)?)?)
    })
}

/// Waits for the next call of one of the program's tools that may run.
///
/// @param session The session. Threads may share it: each call goes to one of them. With `concurrency` 1 no other call comes
///   before the last one was answered or let go.
/// @param timeout_ms How long to wait.
/// @param out_call Receives the call; answer it with antenv_tool_call_reply, or let it go with antenv_tool_call_free. NULL unless
///   ANTENV_OK is returned.
/// @param out_json Receives the event of the call, verbatim: `id`, `name`, `input`, `type` ("agent.tool_use" or
///   "agent.custom_tool_use"), ...; with ANTENV_DONE {"reason": why the session is over}; else the error object. NULL on
///   ANTENV_TIMEOUT and ANTENV_INTERRUPTED. The reasons:
///
///   idle            The turn ended `max_idle_ms` ago. The next message makes another item.
///   terminated      The session is terminated or archived.
///   deleted         The session was deleted.
///   not_found       There is no such session.
///   stop_requested  The item is to be stopped.
///   lease_lost      The lease is lost: another worker may have the item. antenv_lease_finish sends nothing.
///   lease_ended     The lease was finished, abandoned or released meanwhile.
///
/// Returns ANTENV_OK; ANTENV_DONE when the session is over; ANTENV_TIMEOUT when no call came in time; ANTENV_INTERRUPTED when a
/// signal handler ran in this thread (call again to go on waiting); ANTENV_CANCELLED when the library was shut down; ANTENV_CLOSED
/// when the session was freed meanwhile, or created before fork(); ANTENV_INVALID_HANDLE; ANTENV_INVALID_ARGUMENT; or what the
/// server refuses permanently (ANTENV_AUTHENTICATION, ANTENV_PERMISSION_DENIED, ...). Once the session is over, every further call
/// returns the same. Blocks for at most `timeout_ms`.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_session_next(
    session: *mut antenv_session,
    timeout_ms: i64,
    out_call: *mut *mut antenv_tool_call,
    out_json: *mut *mut c_char,
) -> Status {
    boundary::return_handle_or_end(out_call, out_json, || {
        match SESSIONS.get(session)?.next(boundary::timeout("timeout_ms", timeout_ms)?)? {
            Next::Call(call) => {
                let json = call.json().to_owned();
                Ok((Some(TOOL_CALLS.insert(call)?), json))
            }
            Next::End(json) => Ok((None, json)),
        }
    })
}

/// Delivers calls through a completion queue, so an event loop needs no extra thread: each call that is ready makes one completion
/// with `tag`, and antenv_session_next with a timeout of 0 then takes it. A call that became void meanwhile is not there any more:
/// ANTENV_TIMEOUT.
///
/// @param session The session.
/// @param queue The queue that receives the completions, in place of an earlier one. NULL detaches it.
/// @param tag Comes back with each completion. With ANTENV_OK, `json` is {"id":"...","name":"..."}. The last completion has
///   ANTENV_DONE, or the error for which the session ended; antenv_session_next then returns the reason.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_session_attach(session: *mut antenv_session, queue: *mut antenv_queue, tag: u64) -> Status {
    boundary::return_status(|| {
        let queue = (!queue.is_null()).then(|| QUEUES.get(queue)).transpose()?;
        SESSIONS.get(session)?.attach(queue.as_ref(), tag)
    })
}

/// Returns what happened in a session so far.
///
/// @param session The session.
/// @param out_json Receives the counts:
///
///   session_id                   of the item
///   state                        "connecting", "live", "ended"
///   end                          why it is over, as antenv_session_next returns it, "refused", "failed", "shutdown"; null before
///   open_calls                   calls that the program has, or may take
///   calls                        calls that were handed out
///   posted                       results that the session has taken
///   void                         calls that became void while the program had them
///   timed_out, let_go            calls that took too long; calls that were let go
///   denied                       calls that a user or the session's configuration has denied
///   sends, send_failures         attempts to post results; those among them that failed
///   streams                      streams that were opened
///   histories, history_failures  readings of the history; those that failed
///   toolset_calls                calls that the toolset was given
///   toolset_starts               how often its process was started: more than once if it died
///   confinement                  what confines it (docs/security.md); null before its start, and without a toolset
///   skills_installed, skills_failed  skills of the agent that were unpacked; those that could not be
///   memory                       an object: `syncs`, `failed_syncs`, and how many memories were `pulled`, `uploaded`, `deleted`,
///                                `overwritten` (changes of files that the store's changes replaced), `rejected` by the server and
///                                `refused` (their paths can be no files)
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED in a forked child. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_session_stats(session: *mut antenv_session, out_json: *mut *mut c_char) -> Status {
    boundary::return_json(out_json, || SESSIONS.get(session)?.stats())
}

/// Ends serving a session, and frees the handle: its calls become void, results that are not posted are dropped, and threads that
/// wait in antenv_session_next return ANTENV_CLOSED. The process of a toolset ends with all its children; antenv_lease_finish
/// waits for that. The item is neither stopped nor released: that is the lease's.
///
/// @param session The session; freeing it twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_session_free(session: *mut antenv_session) -> Status {
    boundary::return_status(|| SESSIONS.remove(session).map(|session| session.close()))
}

/// Posts the result of a call (POST /v1/sessions/{session_id}/events, Send Events), and frees the call. Failures that may pass are
/// retried for as long as the lease lasts.
///
/// @param call The call. It is freed, unless ANTENV_INVALID_ARGUMENT or ANTENV_INVALID_HANDLE (or ANTENV_CLOSED, in a forked
///   child) is returned.
/// @param result_json {"content": a text, or an array of blocks (`text`, `image`, `document`, `search_result`), "is_error":
///   whether the tool failed (default false)}. What the API would refuse is made acceptable: an empty text becomes
///   "(no output)", and any other block a text with its JSON.
/// @param out_json Receives {"posted":true}; else the error object.
///
/// Errors: ANTENV_CANCELLED when the call needs no reply any more (nothing was posted; `message` says why); the common
/// call errors when the server refuses the result, or did not take it in time: then the result is kept, and posted later if the
/// session still waits for it; ANTENV_CLOSED when another thread replies. Blocks until the session has the result, for about as
/// long as the lease lasts.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_tool_call_reply(
    call: *mut antenv_tool_call,
    result_json: *const c_char,
    out_json: *mut *mut c_char,
) -> Status {
    boundary::return_json(out_json, || {
        let replied = TOOL_CALLS.get(call)?;
        let result = replied.prepare_reply(boundary::text("result_json", result_json)?)?;
        // Only one thread removes it from the table, and replies.
        TOOL_CALLS.remove(call)?;
        replied.reply(&result)
    })
}

/// Replies as antenv_tool_call_reply does, without waiting: a completion with `tag` reports the result.
///
/// @param call The call. It is freed when ANTENV_OK is returned.
/// @param result_json As for antenv_tool_call_reply.
/// @param queue The queue that receives the completion. Its status and `json` are what antenv_tool_call_reply returns.
/// @param tag Comes back with the completion.
/// @param out_error Receives the error object.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT, ANTENV_CLOSED. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_tool_call_submit_reply(
    call: *mut antenv_tool_call,
    result_json: *const c_char,
    queue: *mut antenv_queue,
    tag: u64,
    out_error: *mut *mut c_char,
) -> Status {
    boundary::return_unit(out_error, || {
        let (queue, replied) = (QUEUES.get(queue)?, TOOL_CALLS.get(call)?);
        let result = replied.prepare_reply(boundary::text("result_json", result_json)?)?;
        TOOL_CALLS.remove(call)?;
        replied.submit_reply(&result, move |outcome| {
            queue.post(tag, outcome);
        })
    })
}

/// Waits until a call needs no reply any more, so that a tool that takes long can end early. An event loop calls
/// antenv_tool_call_attach instead.
///
/// @param call The call.
/// @param timeout_ms How long to wait; 0 asks only.
/// @param out_json Receives {"reason":"interrupted"|"thread_terminated"|"answered"|"timed_out"|"session_ended"}; else the error
///   object. "answered": by another client. "timed_out": `tool_timeout_ms` is over.
///
/// Returns ANTENV_OK; ANTENV_TIMEOUT while the call needs a reply; ANTENV_DONE when another thread has replied or let it go;
/// ANTENV_INTERRUPTED when a signal handler ran in this thread; ANTENV_CLOSED in a forked child; ANTENV_INVALID_HANDLE;
/// ANTENV_INVALID_ARGUMENT. Blocks for at most `timeout_ms`.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_tool_call_wait(call: *mut antenv_tool_call, timeout_ms: i64, out_json: *mut *mut c_char) -> Status {
    boundary::return_json(out_json, || TOOL_CALLS.get(call)?.wait(boundary::timeout("timeout_ms", timeout_ms)?))
}

/// Reports through a completion queue that a call needs no reply any more, so that an event loop needs no thread for each call.
/// Exactly one completion arrives, at once if that is so already.
///
/// @param call The call.
/// @param queue The queue that receives the completion.
/// @param tag Comes back with the completion: with ANTENV_OK and {"reason":...}, as from antenv_tool_call_wait, or with
///   ANTENV_DONE when the call was replied to or let go.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_CLOSED. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_tool_call_attach(call: *mut antenv_tool_call, queue: *mut antenv_queue, tag: u64) -> Status {
    boundary::return_status(|| TOOL_CALLS.get(call)?.attach(&QUEUES.get(queue)?, tag))
}

/// Frees a call without a reply. One that still needs a reply is let go: it is left to other clients, and not handed out again.
///
/// @param call The call; freeing it twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_tool_call_free(call: *mut antenv_tool_call) -> Status {
    boundary::return_status(|| TOOL_CALLS.remove(call).map(|call| call.let_go()))
}
