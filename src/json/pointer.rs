//! Reading one value out of a JSON text by its pointer (RFC 6901), for programs without a JSON library.
//!
//! The text is checked as a whole, then followed level by level. Nothing is built from it, and depth costs no stack.

use super::copy;
use crate::error::{Error, Result};
use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use std::borrow::Cow;
use std::fmt;

/// Returns the value at `pointer` in `json`: a string without its quotes and escapes, any other value as it is written. `None`:
/// there is no value at that place. Of members with the same name the last counts.
///
/// An error: `json` is not valid JSON, `pointer` is not a pointer, or the string holds what C's strings cannot, which is U+0000 or
/// half of a surrogate pair.
pub fn get(json: &str, pointer: &str) -> Result<Option<String>> {
    let error = |problem: &dyn fmt::Display| Error::argument("json", problem);
    let whole: &RawValue = serde_json::from_str(json).map_err(|e| error(&format_args!("is not valid JSON: {e}")))?;
    let mut value = whole.get();
    for token in tokens(pointer)? {
        let child = match value.as_bytes()[0] {
            b'{' => serde_json::Deserializer::from_str(value).deserialize_map(Member(&token)),
            b'[' => match index(&token) {
                Some(index) => serde_json::Deserializer::from_str(value).deserialize_seq(Element(index)),
                None => return Ok(None),
            },
            _ => return Ok(None),
        };
        match child.map_err(|e| error(&format_args!("cannot be read: {e}")))? {
            Some(child) => value = child,
            None => return Ok(None),
        }
    }
    match value.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
        Some(text) => unescape(text).map(Some),
        None => copy(value).map(Some),
    }
}

/// Splits a pointer into the names and indices that it is made of.
fn tokens(pointer: &str) -> Result<Vec<Cow<'_, str>>> {
    let error = |problem| Err(Error::argument("pointer", problem));
    if pointer.is_empty() {
        return Ok(Vec::new());
    }
    let Some(path) = pointer.strip_prefix('/') else { return error("must be empty or begin with `/`") };
    if pointer.split('~').skip(1).any(|rest| !rest.starts_with(['0', '1'])) {
        return error("has a `~` that neither 0 nor 1 follows (`~` is written `~0`, and `/` is written `~1`)");
    }
    let token = |token: &'_ str| token.replace("~1", "/").replace("~0", "~");
    Ok(path.split('/').map(|text| if text.contains('~') { token(text).into() } else { text.into() }).collect())
}

/// Reads a token as an index into an array: digits without a leading zero.
fn index(token: &str) -> Option<usize> {
    let is_index = token == "0" || (!token.starts_with('0') && token.bytes().all(|byte| byte.is_ascii_digit()));
    token.parse().ok().filter(|_| is_index)
}

/// Decodes what stands between the quotes of a valid JSON string.
fn unescape(mut rest: &str) -> Result<String> {
    let mut text = copy(rest)?; // which is never shorter than what is decoded: this takes all the memory that there is need of
    text.clear();
    while let Some(at) = rest.find('\\') {
        text.push_str(&rest[..at]);
        let escape = &rest[at + 1..];
        let (character, length) = match escape.as_bytes()[0] {
            b'b' => (Some('\u{8}'), 1),
            b'f' => (Some('\u{c}'), 1),
            b'n' => (Some('\n'), 1),
            b'r' => (Some('\r'), 1),
            b't' => (Some('\t'), 1),
            b'u' => unicode(escape),
            other => (Some(char::from(other)), 1),
        };
        let character = character.filter(|character| *character != '\0').ok_or_else(|| {
            Error::argument("json", "holds at this place a string with U+0000 or half of a surrogate pair, which C cannot hold")
        })?;
        text.push(character);
        rest = &escape[length..];
    }
    text.push_str(rest);
    Ok(text)
}

/// Decodes `uXXXX`, or `uXXXX\uXXXX` for a surrogate pair: the character, if it is one, and how many bytes it takes.
fn unicode(escape: &str) -> (Option<char>, usize) {
    let unit = |at: usize| u16::from_str_radix(escape.get(at..at + 4)?, 16).ok();
    let first = unit(1);
    let second = if escape.get(5..7) == Some("\\u") { unit(7) } else { None };
    let character = char::decode_utf16(first.into_iter().chain(second)).next().and_then(|decoded| decoded.ok());
    (character, if character.is_some_and(|character| character > '\u{ffff}') { 11 } else { 5 })
}

/// Finds a member of an object.
struct Member<'n>(&'n str);

impl<'de> Visitor<'de> for Member<'_> {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(is_it) = map.next_key_seed(IsName(self.0))? {
            if is_it {
                found = Some(map.next_value::<&RawValue>()?.get());
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

/// Compares a member's name. As bytes: a name may hold half of a surrogate pair, which is no error while another is looked for.
struct IsName<'n>(&'n str);

impl<'de> DeserializeSeed<'de> for IsName<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_bytes(self)
    }
}

impl Visitor<'_> for IsName<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_bytes<E: serde::de::Error>(self, name: &[u8]) -> Result<bool, E> {
        Ok(name == self.0.as_bytes())
    }

    fn visit_str<E: serde::de::Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}

/// Finds an element of an array.
struct Element(usize);

impl<'de> Visitor<'de> for Element {
    type Value = Option<&'de str>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("a JSON array")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        for _ in 0..self.0 {
            if elements.next_element::<IgnoredAny>()?.is_none() {
                return Ok(None);
            }
        }
        let found = elements.next_element::<&RawValue>()?.map(RawValue::get);
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(json: &str, pointer: &str) -> Option<String> {
        get(json, pointer).unwrap()
    }

    fn problem(json: &str, pointer: &str) -> String {
        get(json, pointer).unwrap_err().to_string()
    }

    #[test]
    fn every_pointer_of_the_rfc_finds_its_value() {
        let json = r#"{"foo":["bar","baz"],"":0,"a/b":1,"c%d":2,"e^f":3,"g|h":4,"i\\j":5,"k\"l":6," ":7,"m~n":8}"#;
        let pairs = [
            ("", json),
            ("/foo", r#"["bar","baz"]"#),
            ("/foo/0", "bar"),
            ("/", "0"),
            ("/a~1b", "1"),
            ("/c%d", "2"),
            ("/e^f", "3"),
            ("/g|h", "4"),
            ("/i\\j", "5"),
            ("/k\"l", "6"),
            ("/ ", "7"),
            ("/m~0n", "8"),
        ];
        for (pointer, value) in pairs {
            assert_eq!(at(json, pointer).as_deref(), Some(value), "{pointer}");
        }
        assert_eq!(at(r#"{"~1":"x"}"#, "/~01").as_deref(), Some("x"));
    }

    #[test]
    fn strings_are_decoded_and_other_values_stay_as_they_are_written() {
        let json = r#" { "a" : [ 1.50e+3 , {"b" : null } ,true,"\"\\\/\b\f\n\r\t\u00e9\u20AC\ud83d\ude00é" , "" ] } "#;
        assert_eq!(at(json, "").as_deref(), Some(json.trim()));
        assert_eq!(at(json, "/a/0").as_deref(), Some("1.50e+3"));
        assert_eq!(at(json, "/a/1").as_deref(), Some(r#"{"b" : null }"#));
        assert_eq!(at(json, "/a/1/b").as_deref(), Some("null"));
        assert_eq!(at(json, "/a/2").as_deref(), Some("true"));
        assert_eq!(at(json, "/a/3").as_deref(), Some("\"\\/\u{8}\u{c}\n\r\té€😀é"));
        assert_eq!(at(json, "/a/4").as_deref(), Some(""));
        assert_eq!(at(r#""x""#, "").as_deref(), Some("x"));
        assert_eq!(at(r#"{"a":1,"\u0061":2}"#, "/a").as_deref(), Some("2"));
    }

    #[test]
    fn what_is_not_there_is_no_error() {
        for pointer in ["/b", "/a/3", "/a/-", "/a/00", "/a/+1", "/a/", "/a/0/0", "/a/1/x", "/s/0", "/a/99999999999999999999"] {
            assert_eq!(at(r#"{"a":[1,{}],"s":"text"}"#, pointer), None, "{pointer}");
        }
    }

    #[test]
    fn what_is_not_json_or_not_a_pointer_is_refused() {
        for json in ["", " ", "{", "[1,]", "{} x", "{\"a\nb\":1}", "{\"a\":\"\\x\"}", "{\"a\":\"\\u12g4\"}", "nul", "01"] {
            assert!(problem(json, "/a").starts_with("`json` is not valid JSON: "), "{json}");
        }
        assert_eq!(problem("{}", "a"), "`pointer` must be empty or begin with `/`");
        for pointer in ["/~", "/~2", "/a~/b", "/~~"] {
            assert!(problem("{}", pointer).starts_with("`pointer` has a `~`"), "{pointer}");
        }
    }

    #[test]
    fn what_c_cannot_hold_is_refused_where_it_is_asked_for() {
        let json = r#"{"\ud800":1,"a":["x\u0000y","\ud800","\udc00\ud800","\ud83dx",{"\ud800":"\u0000"}],"b":"fine"}"#;
        assert_eq!(at(json, "/b").as_deref(), Some("fine"));
        assert_eq!(at(json, "/a/4").as_deref(), Some(r#"{"\ud800":"\u0000"}"#));
        for pointer in ["/a/0", "/a/1", "/a/2", "/a/3"] {
            assert!(problem(json, pointer).contains("which C cannot hold"), "{pointer}");
        }
    }

    #[test]
    fn depth_and_size_are_no_matter() {
        let deep = format!("{{\"a\":{}{}}}", "[".repeat(200_000), "]".repeat(200_000));
        assert_eq!(at(&deep, "/a/0/0").unwrap().len(), 399_996);
        assert!(problem(&"[".repeat(200_000), "/0").starts_with("`json` is not valid JSON"));
        let long = format!("[\"{}\"]", "\\u0061".repeat(100_000));
        assert_eq!(at(&long, "/0").unwrap(), "a".repeat(100_000));
    }
}
