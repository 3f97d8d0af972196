//! Strings that the library hands out, and the values inside them.

use super::boundary;
use crate::error::Status;
use crate::json::pointer;
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
    boundary::string_from_raw(text);
}

/// Reads one value out of a JSON text, such as a result or an error object: for programs without a JSON library.
///
/// `json`: the text.
///
/// `pointer`: which value, as a JSON pointer (RFC 6901): "/data/0/id" is the member `id` of the first element of the member `data`, ""
/// the whole text. In a name `~` is written `~0`, and `/` is written `~1`. Of members with the same name the last counts.
///
/// `out`: receives the value, or the error object; free it with antenv_string_free. A string comes as its text, without quotes and
/// escapes; anything else as the JSON that it is (`null` comes as "null").
///
/// Returns ANTENV_OK; ANTENV_DONE, and NULL in `out`, when there is no value at that place; ANTENV_INVALID_ARGUMENT when the text is
/// not valid JSON, the pointer not a pointer, or the string one that C cannot hold (with U+0000 or half of a surrogate pair). Does
/// not block. It reads the whole text each time.
///
/// ```c
/// char *id;
/// if (antenv_json_get(json, "/id", &id) == ANTENV_OK) puts(id);
/// antenv_string_free(id);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_json_get(json: *const c_char, pointer: *const c_char, out: *mut *mut c_char) -> Status {
    boundary::return_optional_json(out, || pointer::get(boundary::text("json", json)?, boundary::text("pointer", pointer)?))
}
