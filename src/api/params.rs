//! The parameters of operations, and the checks of their values before a request is built. Pure.

use crate::error::{Error, Result, Status};
use crate::json::{Object, Value};

/// The options that every call takes besides its parameters.
pub const OPTIONS: &[&str] =
    &["timeout_ms", "attempt_timeout_ms", "max_retries", "extra_headers", "extra_query", "extra_body", "with_response"];

/// The options that opening a stream takes besides.
pub const STREAM_OPTIONS: &[&str] = &["idle_timeout_ms", "max_event_bytes"];
/// The options that a download takes besides.
pub const DOWNLOAD_OPTIONS: &[&str] = &["max_bytes"];

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
    /// Any string or `null`, which differs from an absent value also where the parameter is required.
    NullableText,
    /// `true` or `false`.
    Bool,
    /// A whole number within the bounds, both included.
    Integer(i64, i64),
    /// An object, passed through verbatim.
    Object,
    /// A string that is not empty, or an object.
    TextOrObject,
    /// An array of objects, passed through verbatim.
    Objects,
    /// An array of strings, none of them empty. A header joins them with commas, a query repeats the name with brackets
    /// (`types[]=a&types[]=b`), and a body has the array.
    Strings,
}

impl ParamType {
    /// Any whole number of 64 bits.
    pub const ANY_INTEGER: ParamType = ParamType::Integer(i64::MIN, i64::MAX);
}

/// One parameter of an operation.
#[derive(Debug, Clone, Copy)]
pub struct Parameter {
    /// The name on the wire, without the brackets of an array in the query.
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

/// Makes a parameter that may be absent.
pub const fn optional(name: &'static str, location: ParamLocation, param_type: ParamType, doc: &'static str) -> Parameter {
    Parameter { name, location, param_type, required: false, doc }
}

/// Makes a parameter without which a call is rejected.
pub const fn required(name: &'static str, location: ParamLocation, param_type: ParamType, doc: &'static str) -> Parameter {
    Parameter { name, location, param_type, required: true, doc }
}

impl Parameter {
    /// Checks the value of a query parameter and returns its pairs of name and text, more than one for an array.
    pub fn query_pairs(&self, value: &Value) -> Result<Vec<(String, String)>> {
        let text = match self.param_type {
            ParamType::Bool => value.bool()?.to_string(),
            ParamType::Integer(min, max) => value.integer(min, max)?.to_string(),
            ParamType::Strings => {
                let name = format!("{}[]", self.name);
                return Ok(value.strings()?.into_iter().map(|text| (name.clone(), text)).collect());
            }
            _ => value.string()?,
        };
        Ok(vec![(self.name.to_owned(), text)])
    }

    /// Returns whether `null` counts as a value, which is sent.
    pub fn is_nullable(&self) -> bool {
        self.location == ParamLocation::Body && (!self.required || self.param_type == ParamType::NullableText)
    }

    /// Checks the value of a body member. `null` passes: it clears a field.
    pub fn check_member(&self, value: &Value) -> Result<()> {
        match self.param_type {
            _ if value.is_null() => Ok(()),
            ParamType::Object => value.check_object(),
            ParamType::Objects => value.check_objects(),
            ParamType::TextOrObject if value.check_object().is_ok() => Ok(()),
            ParamType::TextOrObject => {
                value.non_empty_string().map(drop).map_err(|_| value.error("must be a string that is not empty, or an object"))
            }
            ParamType::Strings => value.strings().map(drop),
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
