//! The parameters of operations, and the checks of their values before a request is built. Pure.

use crate::error::{Error, Result, Status};
use crate::json::{Object, Value};

/// The options that every call takes besides its parameters.
pub const OPTIONS: &[&str] =
    &["timeout_ms", "attempt_timeout_ms", "max_retries", "extra_headers", "extra_query", "extra_body", "with_response"];

/// Where a parameter travels in the HTTP request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamLocation {
    /// A segment of the path, percent-encoded.
    Path,
    /// The query string; `null` means absent.
    Query,
    /// The named request header; `null` means absent.
    Header(&'static str),
    /// A member of the JSON body; `null` is sent as `null`.
    Body,
}

/// The type of a parameter's JSON value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParamType {
    /// An identifier: a string that is valid as one path segment.
    Id,
    /// Any string.
    Text,
    /// A string with at least one character.
    NonEmptyText,
    /// `true` or `false`.
    Bool,
    /// A whole number within the bounds, both included.
    Integer(i64, i64),
    /// An object, passed through verbatim.
    Object,
    /// An array of strings, joined with commas.
    Strings,
}

/// One parameter of an operation.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The name on the wire.
    pub name: &'static str,
    /// Where it travels.
    pub location: ParamLocation,
    /// The type of its value.
    pub param_type: ParamType,
    /// Whether a call without it is rejected.
    pub required: bool,
    /// One line of documentation.
    pub doc: &'static str,
}

impl Parameter {
    /// Checks the value of a query parameter and returns it as text.
    pub fn query_text(&self, value: &Value) -> Result<String> {
        match self.param_type {
            ParamType::Bool => Ok(value.bool()?.to_string()),
            ParamType::Integer(min, max) => Ok(value.integer(min, max)?.to_string()),
            _ => value.string(),
        }
    }

    /// Checks the value of a body member. `null` passes: it clears a field.
    pub fn check_member(&self, value: &Value) -> Result<()> {
        match self.param_type {
            _ if value.is_null() => Ok(()),
            ParamType::Object => value.check_object(),
            ParamType::Bool => value.bool().map(drop),
            ParamType::NonEmptyText => value.non_empty_string().map(drop),
            _ => value.string().map(drop),
        }
    }
}

/// Reads a call's `params_json`; `None` is an object without members.
pub fn parse(params: Option<&str>) -> Result<Object<'_>> {
    match params {
        Some(text) => Object::parse(text, "params_json", Status::InvalidArgument),
        None => Ok(Object::empty(Status::InvalidArgument)),
    }
}

/// Rejects an identifier that would change the meaning of the path it becomes a part of.
pub fn check_id(name: &str, id: &str) -> Result<()> {
    if id.is_empty() {
        return Err(Error::argument(name, "must not be empty"));
    }
    if id.starts_with(';') || is_dot_segment(id) {
        return Err(Error::argument(name, "must not be a dot segment or begin with `;`"));
    }
    Ok(())
}

/// Returns whether a path segment is `.` or `..`, with or without path parameters after a `;`.
fn is_dot_segment(segment: &str) -> bool {
    let name = segment.split(';').next().unwrap_or_default();
    name == "." || name == ".."
}

/// Rejects a path that could lead to another host, a parent folder, or a query.
pub fn check_path(path: &str) -> Result<()> {
    let error = |problem: &str| Err(Error::argument("path", problem));
    if !path.starts_with('/') {
        return error("must begin with `/`, such as /v1/sessions");
    }
    if path.contains(['?', '#', '\\', ' ']) || path.chars().any(char::is_control) {
        return error("must not contain `?`, `#`, `\\`, spaces or control characters (give `query` in params_json)");
    }
    let has_dots =
        path.split('/').map(|segment| segment.replace("%2e", ".").replace("%2E", ".")).any(|segment| is_dot_segment(&segment));
    if has_dots { error("must not have dot segments") } else { Ok(()) }
}
