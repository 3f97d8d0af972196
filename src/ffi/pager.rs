//! Pagers.

use super::boundary;
use super::client::{CLIENTS, antenv_client};
use super::handle::Table;
use crate::error::Status;
use crate::pager::Pager;
use std::ffi::c_char;

/// A pager: returns the items of a list, one at a time, over all its pages.
pub struct antenv_pager {
    _opaque: (),
}

/// The live pagers.
static PAGERS: Table<Pager> = Table::new(2, "pager");

/// ---- Pages -----------------------------------------------------------------------------------------------------------------
/// ----
/// Creates a pager over a list operation. Nothing is sent yet.
///
/// @param client The client; it may be freed before the pager.
/// @param operation "environments.list", "work.list", "sessions.events.list" or "memory_stores.memories.list".
/// @param params_json NULL or the operation's parameters, identifiers too. Options of a call apply to each page; `limit` is
///   the size of a page, `page` where to begin.
/// @param out Receives the pager; free it with antenv_pager_free.
/// @param out_error Receives the error object.
///
/// Errors: ANTENV_INVALID_HANDLE, ANTENV_INVALID_ARGUMENT. Does not block.
///
/// ```c
///     antenv_pager_new(client, "environments.list", "{\"limit\":100}", &pager, &error);
///     while (antenv_pager_next(pager, &json) == ANTENV_OK) { puts(json); antenv_string_free(json); }
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_pager_new(
    client: *mut antenv_client,
    operation: *const c_char,
    params_json: *const c_char,
    out: *mut *mut antenv_pager,
    out_error: *mut *mut c_char,
) -> Status {
    boundary::return_handle(out, out_error, || {
        let client = CLIENTS.get(client)?;
        let operation = boundary::text("operation", operation)?;
        PAGERS.insert(Pager::new(&client, operation, boundary::optional_text("params_json", params_json)?)?)
    })
}

/// Returns the next item. While the items of a page are returned, the next page is being fetched.
///
/// @param pager The pager. Threads may share it: each item goes to one of them.
/// @param out_json Receives the item, verbatim; NULL at the end.
///
/// Returns ANTENV_OK; ANTENV_DONE after the last item; or an error: the common call errors. After an error, the next call requests
/// the same page again: no item is skipped or repeated. Blocks while a page is being fetched.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_pager_next(pager: *mut antenv_pager, out_json: *mut *mut c_char) -> Status {
    boundary::return_optional_json(out_json, || PAGERS.get(pager)?.next())
}

/// Frees a pager, and drops a page that is being fetched.
///
/// @param pager The pager; freeing it twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_pager_free(pager: *mut antenv_pager) -> Status {
    boundary::return_status(|| PAGERS.remove(pager).map(drop))
}
