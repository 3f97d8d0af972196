//! Strings that the library hands out.

use super::guard;
use std::ffi::c_char;

/// ---- Strings -------------------------------------------------------------------------------------------------------------
///
/// Frees a string that this library handed out (`out_json`, `out_error`).
///
/// `text`: the string; NULL is fine. Free each string once, with this function and no other.
///
/// Does not block. Any thread may free it.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_string_free(text: *mut c_char) {
    guard::take_back(text);
}
