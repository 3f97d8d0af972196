//! Version and status names.

use crate::error::Status;
use std::ffi::{CStr, c_char};

/// Raised only when a program built against an earlier header must be rebuilt.
const ABI_VERSION: u32 = 1;

const VERSION: &CStr = match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
    Ok(version) => version,
    Err(_) => c"unknown",
};

/// ---- Version and status -------------------------------------------------------------------------------------------------
///
/// The library's version, such as "0.1.0".
///
/// Returns a static string: do not free it. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_version() -> *const c_char {
    VERSION.as_ptr()
}

/// The version of the binary interface: 1. It is raised only when a program that was built against an earlier header must be
/// rebuilt; new functions do not raise it. A program that loads the library at run time compares it with the one it was made for.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_abi_version() -> u32 {
    ABI_VERSION
}

/// The name of a status, such as "not_found" for ANTENV_NOT_FOUND: the same text as `status` in the error object.
///
/// `status`: any number; one that this version does not know gives "unknown".
///
/// Returns a static string: do not free it. Does not block.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_status_name(status: i32) -> *const c_char {
    Status::from_code(status).map_or(c"unknown", Status::c_name).as_ptr()
}
