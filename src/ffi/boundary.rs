//! The boundary between C and the core: no panic crosses it, and pointers are trusted only as far as the conventions promise.

use super::process;
use crate::error::{Error, Result, Status};
use crate::runtime::THREAD_NAME;
use crate::runtime::fork::ForkSafeMutex;
use std::any::Any;
use std::cell::Cell;
use std::ffi::{CStr, CString, c_char};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{
    AtomicBool,
    Ordering::{AcqRel, Acquire},
};
use std::time::Duration;

thread_local! {
    static IN_CALL: Cell<bool> = const { Cell::new(false) };
}

/// Runs a function that returns JSON: its result, or its error, goes to `out_json`.
pub fn return_json(out_json: *mut *mut c_char, call: impl FnOnce() -> Result<String>) -> Status {
    return_optional_json(out_json, || call().map(Some))
}

/// Runs a function that returns JSON or nothing (more): then `ANTENV_DONE`, and NULL.
pub fn return_optional_json(out_json: *mut *mut c_char, call: impl FnOnce() -> Result<Option<String>>) -> Status {
    if out_json.is_null() {
        return Status::InvalidArgument;
    }
    write(out_json, ptr::null_mut());
    match catch_panic(call) {
        Ok(Some(json)) => return_string(out_json, json, Status::Ok),
        Ok(None) => Status::Done,
        Err(error) => return_string(out_json, error.to_json(), error.status()),
    }
}

/// Runs a function that returns a handle and JSON. A wait that ends without an item returns no error object.
pub fn return_handle_and_json<H>(
    out: *mut *mut H,
    out_json: *mut *mut c_char,
    call: impl FnOnce() -> Result<Option<(*mut H, String)>>,
) -> Status {
    set(out, ptr::null_mut());
    if out_json.is_null() {
        return Status::InvalidArgument;
    }
    write(out_json, ptr::null_mut());
    let given = || if out.is_null() { Err(Error::argument("out_lease", "is NULL")) } else { call() };
    match catch_panic(given) {
        Ok(Some((handle, json))) => {
            write(out, handle);
            return_string(out_json, json, Status::Ok)
        }
        Ok(None) => Status::Done,
        Err(error) if matches!(error.status(), Status::Timeout | Status::Interrupted) => error.status(),
        Err(error) => return_string(out_json, error.to_json(), error.status()),
    }
}

/// Runs a function that returns a handle and JSON, or no more handles and JSON that says why: then `ANTENV_DONE`. A wait that ends
/// without either returns no error object.
pub fn return_handle_or_end<H>(
    out: *mut *mut H,
    out_json: *mut *mut c_char,
    call: impl FnOnce() -> Result<(Option<*mut H>, String)>,
) -> Status {
    set(out, ptr::null_mut());
    if out_json.is_null() {
        return Status::InvalidArgument;
    }
    write(out_json, ptr::null_mut());
    let given = || if out.is_null() { Err(Error::argument("out_call", "is NULL")) } else { call() };
    match catch_panic(given) {
        Ok((Some(handle), json)) => {
            write(out, handle);
            return_string(out_json, json, Status::Ok)
        }
        Ok((None, json)) => return_string(out_json, json, Status::Done),
        Err(error) if matches!(error.status(), Status::Timeout | Status::Interrupted) => error.status(),
        Err(error) => return_string(out_json, error.to_json(), error.status()),
    }
}

/// Runs a function that returns a handle and JSON, or an error object, whatever its status.
pub fn return_handle_with_json<H>(
    out: *mut *mut H,
    out_json: *mut *mut c_char,
    call: impl FnOnce() -> Result<(*mut H, String)>,
) -> Status {
    set(out, ptr::null_mut());
    return_json(out_json, || {
        if out.is_null() {
            return Err(Error::argument("out_lease", "is NULL"));
        }
        let (handle, json) = call()?;
        write(out, handle);
        Ok(json)
    })
}

/// Runs a function that returns a handle; its error goes to `out_error`, which may be NULL.
pub fn return_handle<H>(out: *mut *mut H, out_error: *mut *mut c_char, call: impl FnOnce() -> Result<*mut H>) -> Status {
    return_optional_handle(out, out_error, |wanted| if wanted { call() } else { Err(Error::argument("out", "is NULL")) })
}

/// Runs a function that returns a handle only if it is wanted, which is its argument: not when `out` is NULL.
pub fn return_optional_handle<H>(
    out: *mut *mut H,
    out_error: *mut *mut c_char,
    call: impl FnOnce(bool) -> Result<*mut H>,
) -> Status {
    set(out, ptr::null_mut());
    return_unit(out_error, || {
        let handle = call(!out.is_null())?;
        set(out, handle);
        Ok(())
    })
}

/// Runs a function that returns nothing but an error, which goes to `out_error`; that may be NULL.
pub fn return_unit(out_error: *mut *mut c_char, call: impl FnOnce() -> Result<()>) -> Status {
    set(out_error, ptr::null_mut());
    match catch_panic(call) {
        Ok(()) => Status::Ok,
        Err(error) if out_error.is_null() => error.status(),
        Err(error) => return_string(out_error, error.to_json(), error.status()),
    }
}

/// Runs a function that returns nothing but a status.
pub fn return_status(call: impl FnOnce() -> Result<()>) -> Status {
    catch_panic(call).map_or_else(|error| error.status(), |()| Status::Ok)
}

/// Runs a function that fills an array: the number of filled entries goes to `count`. The first entry is cleared before.
pub fn return_array<T>(
    out: *mut T,
    none: T,
    capacity: usize,
    count: *mut usize,
    call: impl FnOnce() -> Result<Vec<T>>,
) -> Status {
    set(count, 0);
    if out.is_null() || capacity == 0 || count.is_null() {
        return Status::InvalidArgument;
    }
    write(out, none);
    match catch_panic(call) {
        Ok(items) => {
            write(count, items.len());
            for (index, item) in items.into_iter().take(capacity).enumerate() {
                write(out.wrapping_add(index), item);
            }
            Status::Ok
        }
        Err(error) => error.status(),
    }
}

/// Runs `call`, and turns a panic inside into an error.
pub fn catch_panic<T>(call: impl FnOnce() -> Result<T>) -> Result<T> {
    process::survive_forks();
    keep_panics_silent();
    let outer = IN_CALL.replace(true);
    let outcome = catch_unwind(AssertUnwindSafe(call));
    IN_CALL.set(outer);
    outcome.unwrap_or_else(|panic| {
        Err(Error::new(Status::Internal, format!("a fault in the library (please report it): {}", panic_text(panic.as_ref()))))
    })
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("unknown")
}

/// Silences the standard message of panics that become errors: the library never prints. The hook is that of the library's own copy
/// of the Rust runtime; a host written in Rust has another. Where they share one, the host's panics go to its own hook as before.
fn keep_panics_silent() {
    static DONE: AtomicBool = AtomicBool::new(false);
    static FIRST: ForkSafeMutex<()> = ForkSafeMutex::new(());
    if DONE.load(Acquire) {
        return;
    }
    let _first = FIRST.lock();
    if !DONE.swap(true, AcqRel) {
        let host = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            let ours = IN_CALL.get() || std::thread::current().name() == Some(THREAD_NAME);
            if !ours {
                host(panic);
            }
        }));
    }
}

/// Returns a string through an out-parameter; the caller frees it with `antenv_string_free`.
fn return_string(out: *mut *mut c_char, text: String, status: Status) -> Status {
    let text = string_into_raw(text);
    write(out, text);
    if text.is_null() { Status::Internal } else { status }
}

/// Converts a string into one that the caller frees with `antenv_string_free`.
pub fn string_into_raw(text: String) -> *mut c_char {
    // JSON holds no NUL: it would have been an invalid control character.
    CString::new(text).map_or(ptr::null_mut(), CString::into_raw)
}

/// Sets an out-parameter that may be NULL.
fn set<T>(out: *mut T, value: T) {
    if !out.is_null() {
        write(out, value);
    }
}

/// Reads a time to wait, in milliseconds; -1: forever.
pub fn timeout(name: &str, milliseconds: i64) -> Result<Option<Duration>> {
    match milliseconds {
        -1 => Ok(None),
        0.. => Ok(Some(Duration::from_millis(milliseconds.unsigned_abs()))),
        _ => Err(Error::argument(name, "must be -1 (forever) or not negative")),
    }
}

/// Frees a string that `string_into_raw` made; NULL is fine.
pub fn string_from_raw(text: *mut c_char) {
    if !text.is_null() {
        // SAFETY: the caller promises that it came from this library and is freed once; `string_into_raw` made it.
        drop(unsafe { CString::from_raw(text) });
    }
}

/// Writes to an out-parameter that is not NULL.
fn write<T>(out: *mut T, value: T) {
    // SAFETY: the caller promises that an out-parameter that is not NULL points to a writable variable of its type; it may be
    // uninitialised, so nothing is read or dropped.
    unsafe { out.write(value) }
}

/// Reads a required string.
pub fn text<'a>(name: &str, text: *const c_char) -> Result<&'a str> {
    optional_text(name, text)?.ok_or_else(|| Error::argument(name, "is NULL"))
}

/// Reads a string that may be NULL.
pub fn optional_text<'a>(name: &str, text: *const c_char) -> Result<Option<&'a str>> {
    if text.is_null() {
        return Ok(None);
    }
    // SAFETY: the caller promises that a string that is not NULL ends with NUL and stays as it is until the function returns; no
    // reference outlives the function.
    let text = unsafe { CStr::from_ptr(text) };
    text.to_str().map(Some).map_err(|e| Error::argument(name, format_args!("is not valid UTF-8: {e}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_object() {
        let mut out = ptr::null_mut();
        let status = return_json(&mut out, || panic!("out of {}", "luck"));
        assert_eq!(status, Status::Internal);
        let text = text("out", out).unwrap();
        assert!(text.contains("out of luck"), "{text}");
        string_from_raw(out);
    }

    #[test]
    fn an_out_parameter_is_cleared_before_anything_else() {
        let mut out = ptr::dangling_mut();
        assert_eq!(return_optional_json(&mut out, || Ok(None)), Status::Done);
        assert!(out.is_null());
        assert_eq!(return_json(ptr::null_mut(), || panic!("not reached")), Status::InvalidArgument);
    }
}
