//! Reading the JSON that callers give: one flat object, its members checked by name and passed on as they were written.
//!
//! Only the outermost level is taken apart. What is inside a member stays raw text, so that unknown fields, the spelling of
//! numbers and the order of keys survive, and so that depth costs nothing. [`mod@pointer`] reads one value out of a result.

pub mod pointer;

use crate::error::{Error, Result, Status};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Copies text whose size comes from outside. Returns an error if there is not enough memory.
pub fn copy(text: &str) -> Result<String> {
    concatenate(&[text])
}

/// Concatenates texts whose size comes from outside. Returns an error if there is not enough memory.
pub fn concatenate(texts: &[&str]) -> Result<String> {
    let length = texts.iter().map(|text| text.len()).sum::<usize>();
    let mut whole = String::new();
    // One more byte for the terminator that C needs.
    whole
        .try_reserve_exact(length + 1)
        .map_err(|_| Error::new(Status::Response, format!("there is not enough memory for a response of {length} bytes")))?;
    texts.iter().for_each(|text| whole.push_str(text));
    Ok(whole)
}

/// A JSON object whose members are removed one by one.
pub struct Object<'a> {
    status: Status,
    members: Vec<(Cow<'a, str>, &'a str)>,
}

/// A member's value, with its name for the error message.
pub struct Value<'a> {
    status: Status,
    name: Cow<'a, str>,
    raw: &'a str,
}

impl<'a> Object<'a> {
    /// Parses `text`. Errors have the given `status`, here and for the members, and name the parameter `name`.
    pub fn parse(text: &'a str, name: &str, status: Status) -> Result<Object<'a>> {
        let error = |problem: fmt::Arguments| Error::about(status, name, problem);
        let Members(members) = serde_json::from_str(text).map_err(|e| match e.classify() {
            // serde's message for a document of another type repeats its text, which may be a secret.
            serde_json::error::Category::Data => error(format_args!("must be a JSON object")),
            _ => error(format_args!("is not valid JSON: {e}")),
        })?;
        let mut names: Vec<&str> = members.iter().map(|(member, _)| member.as_ref()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::about(status, twice[0], "is given twice"));
        }
        Ok(Object { status, members })
    }

    /// Makes an object without members.
    pub fn empty(status: Status) -> Object<'a> {
        Object { status, members: Vec::new() }
    }

    /// Removes and returns a member. `null` counts as absent.
    pub fn take(&mut self, name: &str) -> Option<Value<'a>> {
        self.take_or_null(name).filter(|value| !value.is_null())
    }

    /// Removes and returns a member, even if it is `null`.
    pub fn take_or_null(&mut self, name: &str) -> Option<Value<'a>> {
        let at = self.members.iter().position(|(member, _)| member == name)?;
        let (name, raw) = self.members.swap_remove(at);
        Some(Value { status: self.status, name, raw })
    }

    /// Rejects a member whose name is not in `known`: a misspelt name must not be silently ignored.
    pub fn check_names(&self, known: impl Iterator<Item = &'static str> + Clone) -> Result<()> {
        let unknown = self.members.iter().map(|(name, _)| name).filter(|name| !known.clone().any(|known| known == **name)).min();
        let Some(unknown) = unknown else { return Ok(()) };
        let known: Vec<_> = known.collect();
        Err(Error::about(self.status, unknown, format_args!("is not known here; known are: {}", known.join(", "))))
    }

    /// Returns the remaining members, ordered by name.
    pub fn into_values(mut self) -> impl Iterator<Item = Value<'a>> {
        let status = self.status;
        self.members.sort();
        self.members.into_iter().map(move |(name, raw)| Value { status, name, raw })
    }
}

impl<'a> Value<'a> {
    /// Returns the member's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the raw JSON text.
    pub fn raw(&self) -> &'a str {
        self.raw
    }

    /// Returns whether the value is `null`.
    pub fn is_null(&self) -> bool {
        self.raw == "null"
    }

    /// Makes an error about this member.
    pub fn error(&self, problem: impl fmt::Display) -> Error {
        Error::about(self.status, &self.name, problem)
    }

    fn read<T: Deserialize<'a>>(&self, expected: impl fmt::Display) -> Result<T> {
        serde_json::from_str(self.raw).map_err(|_| self.error(format_args!("must be {expected}")))
    }

    /// Reads a string.
    pub fn string(&self) -> Result<String> {
        self.read("a string")
    }

    /// Reads a string with at least one character.
    pub fn non_empty_string(&self) -> Result<String> {
        let text: String = self.read("a string that is not empty")?;
        if text.is_empty() { Err(self.error("must not be empty")) } else { Ok(text) }
    }

    /// Reads `true` or `false`.
    pub fn bool(&self) -> Result<bool> {
        self.read("true or false")
    }

    /// Reads a whole number from `min` to `max`, both included.
    pub fn integer(&self, min: i64, max: i64) -> Result<i64> {
        let expected = match (min, max) {
            (i64::MIN, i64::MAX) => "a whole number".to_owned(),
            (min, i64::MAX) => format!("a whole number of {min} or more"),
            (min, max) => format!("a whole number from {min} to {max}"),
        };
        let number: i64 = self.read(&expected)?;
        if (min..=max).contains(&number) { Ok(number) } else { Err(self.error(format_args!("must be {expected}"))) }
    }

    /// Reads an array of strings, none of them empty.
    pub fn strings(&self) -> Result<Vec<String>> {
        const EXPECTED: &str = "an array of strings that are not empty";
        let strings: Vec<String> = self.read(EXPECTED)?;
        if strings.iter().any(String::is_empty) {
            return Err(self.error(format_args!("must be {EXPECTED}")));
        }
        Ok(strings)
    }

    /// Reads an object.
    pub fn object(&self) -> Result<Object<'a>> {
        self.check_object()?;
        Object::parse(self.raw, &self.name, self.status)
    }

    /// Checks that the value is an object, without parsing it.
    pub fn check_object(&self) -> Result<()> {
        if self.raw.starts_with('{') { Ok(()) } else { Err(self.error("must be an object")) }
    }
}

/// The members of an object, with raw values.
struct Members<'a>(Vec<(Cow<'a, str>, &'a str)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MembersVisitor;

        impl<'de> Visitor<'de> for MembersVisitor {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
                f.write_str("a JSON object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some((Name(name), value)) = map.next_entry::<Name<'de>, &'de RawValue>()? {
                    members.push((name, value.get()));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(MembersVisitor)
    }
}

/// A member's name, borrowed unless it contains escapes.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(text: &str) -> String {
        Object::parse(text, "params_json", Status::InvalidArgument).err().map(|e| e.to_string()).unwrap_or_default()
    }

    #[test]
    fn what_is_not_an_object_is_refused_without_repeating_it() {
        assert_eq!(problem("\"sk-ant-secret\""), "`params_json` must be a JSON object");
        assert_eq!(problem("[1]"), "`params_json` must be a JSON object");
        assert!(problem("").starts_with("`params_json` is not valid JSON"));
        assert!(problem("{\"a\":1} x").starts_with("`params_json` is not valid JSON"));
        assert!(problem("{\"a\":\"\n\"}").starts_with("`params_json` is not valid JSON"));
        assert_eq!(problem(r#"{"a":1,"b":2,"\u0061":3}"#), "`a` is given twice");
    }

    #[test]
    fn depth_and_size_are_no_matter() {
        let deep = format!("{{\"config\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        let mut object = Object::parse(&deep, "params_json", Status::InvalidArgument).unwrap();
        assert_eq!(object.take("config").unwrap().raw().len(), 400_000);
        assert!(!problem(&"[".repeat(200_000)).is_empty());
        assert!(!problem(&format!("{{\"a\":{}", "[".repeat(200_000))).is_empty());
    }

    #[test]
    fn values_are_checked_by_type_and_range() {
        let mut object =
            Object::parse(r#"{"s":"x","i":1.0,"n":1000,"o":[],"l":["a",""],"u":1}"#, "p", Status::InvalidArgument).unwrap();
        assert_eq!(object.take("s").unwrap().bool().unwrap_err().to_string(), "`s` must be true or false");
        assert_eq!(object.take("i").unwrap().integer(i64::MIN, i64::MAX).unwrap_err().to_string(), "`i` must be a whole number");
        assert_eq!(
            object.take("n").unwrap().integer(1, 999).unwrap_err().to_string(),
            "`n` must be a whole number from 1 to 999"
        );
        assert_eq!(object.take("o").unwrap().check_object().unwrap_err().to_string(), "`o` must be an object");
        assert!(object.take("l").unwrap().strings().is_err());
        assert_eq!(object.check_names(["a", "b"].into_iter()).unwrap_err().to_string(), "`u` is not known here; known are: a, b");
        assert!(object.check_names(["a", "u"].into_iter()).is_ok());
    }
}
