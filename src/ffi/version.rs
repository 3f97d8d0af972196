//! Version and status names.

use crate::error::Status;
use std::ffi::{CStr, c_char};

/// Raised only when a program built against an earlier header must be rebuilt.
const ABI_VERSION: u32 = 1;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"unknown",
};

/// ---- Version and status ----------------------------------------------------------------------------------------------------
/// ----
/// Returns the library's version, such as "0.1.0": a static string, which is not freed. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_version() -> *const c_char {
    VERSION.as_ptr()
}

/// Returns the version of the binary interface: 1. It is raised only when a program that was built against an earlier header must
/// be rebuilt; new functions do not raise it. A program that loads the library at run time compares it with the version it was
/// built for. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_abi_version() -> u32 {
    ABI_VERSION
}

/// Returns the name of a status, such as "not_found" for ANTENV_NOT_FOUND: the same text as `status` in the error object. It is a
/// static string, which is not freed. Does not block.
///
/// @param status Any number; one that this version does not know gives "unknown".
#[unsafe(no_mangle)]
pub extern "C" fn antenv_status_name(status: i32) -> *const c_char {
    Status::from_code(status).map_or(c"unknown", Status::c_name).as_ptr()
}
