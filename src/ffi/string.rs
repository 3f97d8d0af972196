//! Strings that the library hands out, and the values inside them.

use super::boundary;
use crate::error::Status;
use crate::json::pointer;
use std::ffi::c_char;

/// ---- Strings and values ----------------------------------------------------------------------------------------------------
/// ----
/// Frees a string that the library returned (`out_json`, `out_error`, the `json` of a completion). Does not block.
///
/// @param text The string; NULL is fine. Free each string once, with this function and no other.
#[unsafe(no_mangle)]
pub extern "C" fn antenv_string_free(text: *mut c_char) {
    boundary::string_from_raw(text);
}

/// Reads one value out of a JSON text, such as a result or an error object, for programs without a JSON library.
///
/// @param json The text.
/// @param pointer Which value, as a JSON pointer (RFC 6901): "/data/0/id" is the member `id` of the first element of the member
///   `data`, "" the whole text. In a name, `~` is written `~0` and `/` is written `~1`. Of members with the same name the last one
///   counts.
/// @param out Receives the value, or the error object. A string comes as its text, without quotes and escapes; any other value as
///   JSON (`null` as "null").
///
/// Returns ANTENV_OK; ANTENV_DONE, and NULL in `out`, when there is no value at that place; ANTENV_INVALID_ARGUMENT when the text
/// is not valid JSON, the pointer is not a pointer, or the string cannot be a C string (it has U+0000 or half of a surrogate
/// pair). Does not block. Every call reads the whole text.
///
/// ```c
///     char *id;
///     if (antenv_json_get(json, "/id", &id) == ANTENV_OK) puts(id);
///     antenv_string_free(id);
/// ```
#[unsafe(no_mangle)]
pub extern "C" fn antenv_json_get(json: *const c_char, pointer: *const c_char, out: *mut *mut c_char) -> Status {
    boundary::return_optional_json(out, || pointer::get(boundary::text("json", json)?, boundary::text("pointer", pointer)?))
}
