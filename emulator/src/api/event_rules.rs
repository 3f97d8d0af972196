//! What clients may send to a session, and in which form. Pure.

use serde_json::value::RawValue;

use crate::model::{
    call::Kind,
    json::{self, Object},
};

/// An event of a client that is well-formed.
#[derive(Debug)]
pub struct ClientEvent {
    /// What it is.
    pub kind: ClientKind,
    /// As it is stored.
    pub object: Object,
}

/// What a client's event is about.
#[derive(Debug, PartialEq, Eq)]
pub enum ClientKind {
    /// `user.message` or `user.define_outcome`: a turn.
    Turn,
    /// `system.message`.
    System,
    /// `user.interrupt`, of one thread or all.
    Interrupt(Option<String>),
    /// `user.tool_confirmation`: the call, and whether it is allowed.
    Confirmation(String, bool),
    /// The result of a call.
    Result(Kind, String),
}

/// Reads the events of a request, in order.
pub fn read(events: Option<&RawValue>) -> Result<Vec<ClientEvent>, String> {
    let events: Option<Vec<Box<RawValue>>> = events.and_then(|events| serde_json::from_str(events.get()).ok());
    let Some(events) = events.filter(|events| !events.is_empty()) else {
        return Err("events: is required and must be an array that is not empty".to_owned());
    };
    let named = |number: usize| move |reason: String| format!("events[{number}]{reason}");
    let read = events.iter().enumerate().map(|(number, event)| read_one(event).map_err(named(number)));
    let read: Vec<ClientEvent> = read.collect::<Result<_, _>>()?;
    for (number, event) in read.iter().enumerate() {
        let accompanies = number > 0 && matches!(read[number - 1].kind, ClientKind::Turn | ClientKind::Result(..));
        if event.kind == ClientKind::System && !(accompanies && number + 1 == read.len()) {
            return Err(named(number)(": a system.message must be the last event, and follow a message or a result".to_owned()));
        }
    }
    Ok(read)
}

/// Reads the events that a session begins with: turns only.
pub fn read_initial(events: Option<&RawValue>) -> Result<Vec<Object>, String> {
    let read = read(events).map_err(|reason| format!("initial_{reason}"))?;
    match read.iter().position(|event| event.kind != ClientKind::Turn) {
        Some(number) => Err(format!("initial_events[{number}].type: must be user.message or user.define_outcome")),
        None => Ok(read.into_iter().map(|event| event.object).collect()),
    }
}

fn read_one(event: &RawValue) -> Result<ClientEvent, String> {
    let Some(mut object) = Object::from_raw(event) else {
        return Err(": must be an object".to_owned());
    };
    let kind = match object.string("type").as_deref() {
        Some("user.message") => content(&object, &["text", "image", "document", "redacted"], true).map(|()| ClientKind::Turn)?,
        Some("user.define_outcome") => {
            required(&object, "description")?;
            match object.get("rubric").and_then(Object::from_raw) {
                Some(_) => ClientKind::Turn,
                None => return Err(".rubric: is required and must be an object".to_owned()),
            }
        }
        Some("system.message") => content(&object, &["text"], true).map(|()| ClientKind::System)?,
        Some("user.interrupt") => ClientKind::Interrupt(optional(&object, "session_thread_id")?),
        Some("user.tool_confirmation") => confirmation(&object)?,
        Some("user.tool_result") => result(&object, Kind::Toolset)?,
        Some("user.custom_tool_result") => result(&object, Kind::Custom)?,
        Some(other) => return Err(format!(".type: {other:?} is no event that clients send")),
        None => return Err(".type: is required and must be a string".to_owned()),
    };
    // These are the service's.
    object.remove("id");
    object.remove("processed_at");
    Ok(ClientEvent { kind, object })
}

fn confirmation(object: &Object) -> Result<ClientKind, String> {
    let call = required(object, "tool_use_id")?;
    let message = optional(object, "deny_message")?;
    match (object.string("result").as_deref(), message) {
        (Some("allow"), None) => Ok(ClientKind::Confirmation(call, true)),
        (Some("deny"), _) => Ok(ClientKind::Confirmation(call, false)),
        (Some("allow"), Some(_)) => Err(".deny_message: is allowed only when result is \"deny\"".to_owned()),
        _ => Err(".result: must be \"allow\" or \"deny\"".to_owned()),
    }
}

fn result(object: &Object, kind: Kind) -> Result<ClientKind, String> {
    let call = required(object, kind.id_field())?;
    content(object, &["text", "image", "document", "search_result"], false)?;
    match object.get("is_error") {
        Some(given) if !json::is_null(given) && json::boolean(given).is_none() => {
            Err(".is_error: must be true or false".to_owned())
        }
        _ => Ok(ClientKind::Result(kind, call)),
    }
}

/// Checks the content blocks of an event.
fn content(object: &Object, allowed: &[&str], is_required: bool) -> Result<(), String> {
    let given = object.get("content").filter(|content| !json::is_null(content));
    let Some(given) = given else {
        return if is_required { Err(".content: is required".to_owned()) } else { Ok(()) };
    };
    let Ok(blocks) = serde_json::from_str::<Vec<Object>>(given.get()) else {
        return Err(".content: must be an array of blocks".to_owned());
    };
    if blocks.is_empty() && is_required {
        return Err(".content: must not be empty".to_owned());
    }
    blocks
        .iter()
        .enumerate()
        .try_for_each(|(number, block)| check_block(block, allowed).map_err(|reason| format!(".content[{number}]{reason}")))
}

fn check_block(block: &Object, allowed: &[&str]) -> Result<(), String> {
    let kind = block.string("type").unwrap_or_default();
    if !allowed.contains(&kind.as_str()) {
        return Err(format!(".type: must be one of {}", allowed.join(", ")));
    }
    match kind.as_str() {
        "text" => filled(block, "text"),
        "image" => source(block, &["base64", "url", "file"]),
        "document" => source(block, &["base64", "text", "url", "file"]),
        "search_result" => {
            filled(block, "source")?;
            filled(block, "title")?;
            content(block, &["text"], true)
        }
        _ => Ok(()),
    }
}

/// Checks where an image or a document comes from.
fn source(block: &Object, allowed: &[&str]) -> Result<(), String> {
    let Some(source) = block.get("source").and_then(Object::from_raw) else {
        return Err(".source: is required and must be an object".to_owned());
    };
    let kind = source.string("type").unwrap_or_default();
    if !allowed.contains(&kind.as_str()) {
        return Err(format!(".source.type: must be one of {}", allowed.join(", ")));
    }
    let fields: &[&str] = match kind.as_str() {
        "url" => &["url"],
        "file" => &["file_id"],
        _ => &["media_type", "data"],
    };
    fields.iter().try_for_each(|field| filled(&source, field).map_err(|reason| format!(".source{reason}")))
}

fn filled(object: &Object, key: &str) -> Result<(), String> {
    match object.string(key) {
        Some(text) if !text.is_empty() => Ok(()),
        Some(_) => Err(format!(".{key}: must not be empty")),
        None => Err(format!(".{key}: is required and must be a string")),
    }
}

fn required(object: &Object, key: &str) -> Result<String, String> {
    filled(object, key)?;
    Ok(object.string(key).unwrap_or_default())
}

fn optional(object: &Object, key: &str) -> Result<Option<String>, String> {
    match object.get(key).filter(|value| !json::is_null(value)) {
        None => Ok(None),
        Some(given) => json::string(given).map(Some).ok_or_else(|| format!(".{key}: must be a string")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(json: &str) -> Result<Vec<ClientEvent>, String> {
        read(Some(&RawValue::from_string(json.to_owned()).unwrap()))
    }

    #[test]
    fn what_clients_send_is_read() {
        let text = r#"[{"type": "text", "text": "a"}]"#;
        let message = format!(r#"{{"type": "user.message", "content": {text}, "id": "mine", "processed_at": "mine"}}"#);
        let source = r#"{"type": "base64", "media_type": "image/png", "data": "AA=="}"#;
        let cases = [
            (message.clone(), ClientKind::Turn),
            (r#"{"type": "user.define_outcome", "description": "d", "rubric": {}}"#.to_owned(), ClientKind::Turn),
            (r#"{"type": "user.interrupt", "session_thread_id": null}"#.to_owned(), ClientKind::Interrupt(None)),
            (
                r#"{"type": "user.tool_confirmation", "tool_use_id": "c", "result": "deny", "deny_message": "no"}"#.to_owned(),
                ClientKind::Confirmation("c".to_owned(), false),
            ),
            (
                format!(
                    r#"{{"type": "user.tool_result", "tool_use_id": "c", "is_error": null, "content":
                        [{{"type": "image", "source": {source}}}, {{"type": "document", "source": {source}}},
                         {{"type": "search_result", "source": "s", "title": "t", "content": {text}}}]}}"#
                ),
                ClientKind::Result(Kind::Toolset, "c".to_owned()),
            ),
            (
                r#"{"type": "user.custom_tool_result", "custom_tool_use_id": "c"}"#.to_owned(),
                ClientKind::Result(Kind::Custom, "c".to_owned()),
            ),
        ];
        for (json, kind) in cases {
            let read = events(&format!("[{json}]")).unwrap();
            assert_eq!(read[0].kind, kind, "{json}");
            assert!(!json::text(&read[0].object).contains("mine"));
        }
        let system = format!(r#"{{"type": "system.message", "content": {text}}}"#);
        assert_eq!(events(&format!("[{message}, {system}]")).unwrap().len(), 2);
        for wrong in [format!("[{system}]"), format!("[{message}, {system}, {message}]")] {
            assert!(events(&wrong).unwrap_err().contains("system.message must be"), "{wrong}");
        }
    }

    #[test]
    fn what_the_service_refuses_is_refused_by_name() {
        let result = |content: &str| format!(r#"[{{"type": "user.tool_result", "tool_use_id": "c", "content": {content}}}]"#);
        for (json, named) in [
            ("1".to_owned(), "events:"),
            ("[]".to_owned(), "events:"),
            ("[1]".to_owned(), "events[0]:"),
            (r#"[{"type": 1}]"#.to_owned(), "events[0].type:"),
            (r#"[{"type": "agent.message", "content": []}]"#.to_owned(), "events[0].type:"),
            (r#"[{"type": "user.message"}]"#.to_owned(), "events[0].content:"),
            (r#"[{"type": "user.message", "content": []}]"#.to_owned(), "events[0].content:"),
            (r#"[{"type": "user.message", "content": [{"type": "search_result"}]}]"#.to_owned(), "events[0].content[0].type:"),
            (r#"[{"type": "user.tool_result"}]"#.to_owned(), "events[0].tool_use_id:"),
            (r#"[{"type": "user.tool_result", "tool_use_id": "c", "is_error": 1}]"#.to_owned(), "events[0].is_error:"),
            (r#"[{"type": "user.custom_tool_result", "tool_use_id": "c"}]"#.to_owned(), "events[0].custom_tool_use_id:"),
            (r#"[{"type": "user.tool_confirmation", "tool_use_id": "c", "result": "ok"}]"#.to_owned(), "events[0].result:"),
            (
                r#"[{"type": "user.tool_confirmation", "tool_use_id": "c", "result": "allow", "deny_message": ""}]"#.to_owned(),
                "events[0].deny_message:",
            ),
            (result("1"), "events[0].content:"),
            (result(r#"[{"type": "text", "text": ""}]"#), "events[0].content[0].text: must not be empty"),
            (result(r#"[{"type": "text", "text": "a"}, {"type": "text"}]"#), "events[0].content[1].text:"),
            (result(r#"[{"type": "video"}]"#), "events[0].content[0].type:"),
            (result(r#"[{"type": "image"}]"#), "events[0].content[0].source:"),
            (result(r#"[{"type": "image", "source": {"type": "text"}}]"#), "events[0].content[0].source.type:"),
            (result(r#"[{"type": "document", "source": {"type": "url"}}]"#), "events[0].content[0].source.url:"),
            (
                result(r#"[{"type": "search_result", "source": "s", "title": "t", "content": [{"type": "text", "text": ""}]}]"#),
                "events[0].content[0].content[0].text:",
            ),
            (r#"[{"type": "user.interrupt", "session_thread_id": 1}]"#.to_owned(), "events[0].session_thread_id:"),
            (r#"[{"type": "user.define_outcome", "description": "d"}]"#.to_owned(), "events[0].rubric:"),
        ] {
            let refusal = events(&json).unwrap_err();
            assert!(refusal.starts_with(named), "{json}: {refusal}");
        }
    }
}
