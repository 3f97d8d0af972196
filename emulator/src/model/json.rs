//! JSON that passes through: an object keeps its values as the text they arrived in, and its keys in their order. What the
//! emulator does not have to understand is never parsed into something else, so numbers come back as they were spelled.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::value::{RawValue, to_raw_value};

/// An object, one level deep.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Object(IndexMap<String, Box<RawValue>>);

impl Object {
    /// Reads an object.
    pub fn parse(json: &[u8]) -> serde_json::Result<Object> {
        serde_json::from_slice(json)
    }

    /// The object that a value is, if it is one.
    pub fn from_raw(value: &RawValue) -> Option<Object> {
        serde_json::from_str(value.get()).ok()
    }

    /// A value as it arrived.
    pub fn get(&self, key: &str) -> Option<&RawValue> {
        self.0.get(key).map(|value| &**value)
    }

    /// A value that is a string.
    pub fn string(&self, key: &str) -> Option<String> {
        self.get(key).and_then(string)
    }

    /// Sets a value; a key that is there keeps its place.
    pub fn set(&mut self, key: &str, value: &(impl Serialize + ?Sized)) {
        // Fails only for maps whose keys are no strings, which nothing here has.
        if let Ok(value) = to_raw_value(value) {
            self.0.insert(key.to_owned(), value);
        }
    }

    /// Sets a value unless there is one.
    pub fn default_to(&mut self, key: &str, value: &(impl Serialize + ?Sized)) {
        if !self.0.contains_key(key) {
            self.set(key, value);
        }
    }

    /// Removes a key; the others keep their order.
    pub fn remove(&mut self, key: &str) {
        self.0.shift_remove(key);
    }

    /// Keys and values, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &RawValue)> {
        self.0.iter().map(|(key, value)| (key.as_str(), &**value))
    }

    /// How many keys there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }
}

/// The JSON text of anything.
pub fn text(value: &(impl Serialize + ?Sized)) -> String {
    // As in `set`, nothing here can fail.
    serde_json::to_string(value).unwrap_or_default()
}

/// Whether a value is `null`.
pub fn is_null(value: &RawValue) -> bool {
    value.get() == "null"
}

/// A string.
pub fn string(value: &RawValue) -> Option<String> {
    serde_json::from_str(value.get()).ok()
}

/// `true` or `false`.
pub fn boolean(value: &RawValue) -> Option<bool> {
    serde_json::from_str(value.get()).ok()
}

/// An integer.
pub fn integer(value: &RawValue) -> Option<i64> {
    serde_json::from_str(value.get()).ok()
}

/// Whether a value is an array of strings.
pub fn is_strings(value: &RawValue) -> bool {
    serde_json::from_str::<Vec<String>>(value.get()).is_ok()
}

/// Whether a value is an array without anything in it.
pub fn is_empty_list(value: &RawValue) -> bool {
    serde_json::from_str::<[(); 0]>(value.get()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_comes_out_as_it_went_in() {
        let json = r#"{"b":1E+2,"a":[ -0, 1.50 ],"c":{"z":0.1e-7,"y":12345678901234567890123},"b2":"\u00e9\ud800"}"#;
        let mut object = Object::parse(json.as_bytes()).unwrap();
        assert_eq!(text(&object), json);
        object.set("a", "x");
        object.remove("c");
        object.default_to("b", &0);
        assert_eq!(text(&object), r#"{"b":1E+2,"a":"x","b2":"\u00e9\ud800"}"#);
        assert_eq!(object.string("b2"), None, "half a surrogate pair is no string");
    }
}
