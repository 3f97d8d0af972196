//! The JSON body of a request.

use crate::error::{Result, Status};
use crate::json::{Object, Value};
use bytes::Bytes;
use std::collections::HashMap;

/// A JSON body, built of raw members or given as a whole.
pub struct Body<'a> {
    members: Vec<(String, &'a str)>,
    whole: Option<&'a str>,
    is_present: bool,
}

impl<'a> Body<'a> {
    /// Makes a body without members. Unless it is `required`, it is only sent if something is added to it.
    pub fn new(required: bool) -> Body<'a> {
        Body { members: Vec::new(), whole: None, is_present: required }
    }

    /// Adds a member. The body must not have one of this name yet.
    pub fn add(&mut self, value: &Value<'a>) {
        self.is_present = true;
        self.members.push((value.name().to_owned(), value.raw()));
    }

    /// Sets the body as a whole.
    pub fn set_whole(&mut self, value: &Value<'a>) {
        self.is_present = true;
        self.whole = Some(value.raw());
    }

    /// Merges the members of an object into the body. A body that was given as a whole must be an object.
    pub fn merge(&mut self, extra: &Value<'a>) -> Result<()> {
        self.is_present = true;
        if let Some(whole) = self.whole.take() {
            Object::parse(whole, "body", Status::InvalidArgument)?.into_values().for_each(|member| self.add(&member));
        }
        let places: HashMap<String, usize> = self.members.iter().enumerate().map(|(at, (name, _))| (name.clone(), at)).collect();
        for member in extra.object()?.into_values() {
            match places.get(member.name()) {
                Some(&at) => self.members[at].1 = member.raw(),
                None => self.add(&member),
            }
        }
        Ok(())
    }

    /// Returns the body's text, if there is a body.
    pub fn into_bytes(self) -> Option<Bytes> {
        if let Some(whole) = self.whole {
            return Some(Bytes::from(whole.to_owned()));
        }
        if !self.is_present {
            return None;
        }
        let mut text = String::from("{");
        for (at, (name, raw)) in self.members.iter().enumerate() {
            if at > 0 {
                text.push(',');
            }
            text.push_str(&serde_json::Value::from(name.as_str()).to_string());
            text.push(':');
            text.push_str(raw);
        }
        text.push('}');
        Some(Bytes::from(text))
    }
}
