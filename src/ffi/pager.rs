//! Pagers.

use super::boundary;
use super::client::{CLIENTS, antenv_client};
use super::handle::Table;
use crate::error::Status;
use crate::pager::Pager;
use std::ffi::c_char;

/// A pager: the items of a list, one at a time, over all its pages.
pub struct antenv_pager {
    _opaque: (),
}

/// The live pagers.
static PAGERS: Table<Pager> = Table::new(2, "pager");

/// ---- Pages ----------------------------------------------------------------------------------------------------------------
///
/// Makes a pager over a list operation. Nothing is sent yet.
///
/// `client`: the client; it may be freed before the pager.
///
/// `operation`: "environments.list" or "work.list".
///
/// `params_json`: the operation's parameters, `environment_id` too, and the options of a call, which hold for each page; `limit` is
/// the size of a page, `page` where to begin. NULL: none.
///
/// `out`: receives the pager; free it with antenv_pager_free. NULL on failure.
///
/// `out_error`: receives the error object on failure, to be freed with antenv_string_free; NULL when it is not wanted.
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

/// The next item. While a page's items are handed out, the next page is already on its way.
///
/// `pager`: the pager. Threads may share it: each item goes to one of them.
///
/// `out_json`: the item as the server sent it, or the error object; free it with antenv_string_free. NULL at the end.
///
/// Returns ANTENV_OK, ANTENV_DONE after the last item, or an error. After an error, another call asks for the same page again:
/// no item is skipped or repeated. Blocks while a page is on its way, `timeout_ms` at most.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_pager_next(pager: *mut antenv_pager, out_json: *mut *mut c_char) -> Status {
    boundary::return_optional_json(out_json, || PAGERS.get(pager)?.next())
}

/// Frees a pager. A page on its way is dropped.
///
/// `pager`: the pager. Freeing one twice, or NULL, is harmless.
///
/// Errors: ANTENV_INVALID_HANDLE. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_pager_free(pager: *mut antenv_pager) -> Status {
    boundary::return_status(|| PAGERS.remove(pager).map(drop))
}
