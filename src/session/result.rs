//! What a tool returned, turned into the event that answers its call. Pure.
//!
//! The API refuses what it does not know, so whatever a tool returned is made acceptable: unknown blocks become text that holds their JSON,
//! an empty text becomes `(no output)`, and half a surrogate pair the replacement character.

use super::event::ToolUse;
use crate::error::{Result, Status};
use crate::json::Object;
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// The text of an empty result.
const NO_OUTPUT: &str = "(no output)";

/// The result of a call.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ToolResult {
    /// A JSON array of blocks.
    content: String,
    is_error: bool,
}

impl ToolResult {
    /// Reads `{"content": text or blocks, "is_error": bool}`, both optional. Errors: `INVALID_ARGUMENT`.
    pub fn parse(json: &str) -> Result<ToolResult> {
        let json = whole_surrogates(json);
        let mut object = Object::parse(&json, "result_json", Status::InvalidArgument)?;
        object.check_names(["content", "is_error"].into_iter())?;
        let is_error = object.take("is_error").map(|value| value.bool()).transpose()?.unwrap_or(false);
        let Some(content) = object.take("content") else { return Ok(ToolResult { is_error, ..ToolResult::text("", false) }) };
        if content.raw().starts_with('"') {
            return Ok(ToolResult::text(&content.string()?, is_error));
        }
        let blocks: Vec<&RawValue> =
            serde_json::from_str(content.raw()).map_err(|_| content.error("must be a string or an array of blocks"))?;
        let blocks: Vec<String> = blocks.into_iter().map(|block| acceptable(block.get())).collect();
        match blocks.is_empty() {
            true => Ok(ToolResult::text("", is_error)),
            false => Ok(ToolResult { content: format!("[{}]", blocks.join(",")), is_error }),
        }
    }

    /// Makes a result that is a text.
    pub fn text(text: &str, is_error: bool) -> ToolResult {
        ToolResult { content: format!("[{}]", text_block(text)), is_error }
    }

    /// Returns the parameters of the request that sends it as the answer to a call.
    pub fn params(&self, call: &ToolUse) -> String {
        let (kind, key) = match call.is_custom {
            true => ("user.custom_tool_result", "custom_tool_use_id"),
            false => ("user.tool_result", "tool_use_id"),
        };
        let (id, ToolResult { content, is_error }) = (json!(call.id), self);
        format!(r#"{{"events":[{{"type":"{kind}","{key}":{id},"is_error":{is_error},"content":{content}}}]}}"#)
    }
}

fn text_block(text: &str) -> String {
    json!({"type": "text", "text": if text.is_empty() { NO_OUTPUT } else { text }}).to_string()
}

#[derive(Deserialize)]
struct Block<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    text: Option<&'a RawValue>,
    #[serde(borrow, default)]
    source: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Source<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

/// Returns a block that the API accepts.
fn acceptable(block: &str) -> String {
    let Ok(known) = serde_json::from_str::<Block>(block) else { return text_block(block) };
    let source = known.source.and_then(|source| serde_json::from_str::<Source>(source.get()).ok());
    let source = source.as_ref().map(|source| source.r#type.as_ref());
    let is_accepted = match known.r#type.as_ref() {
        "text" => match known.text.map(RawValue::get) {
            Some("\"\"") => return text_block(""),
            text => text.is_some_and(|text| text.starts_with('"')),
        },
        "image" => matches!(source, Some("base64" | "url" | "file")),
        "document" => matches!(source, Some("base64" | "text" | "url" | "file")),
        "search_result" => true,
        _ => false,
    };
    if is_accepted { block.to_owned() } else { text_block(block) }
}

/// Replaces the escapes of surrogates that have no other half, which no UTF-8 can hold.
pub(super) fn whole_surrogates(json: &str) -> Cow<'_, str> {
    let bytes = json.as_bytes();
    let unit = |at: usize| -> Option<u16> {
        let digits = bytes.get(at..at + 6)?.strip_prefix(b"\\u")?;
        u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
    };
    let (mut whole, mut copied, mut at) = (String::new(), 0, 0);
    while let Some(found) = memchr::memchr(b'\\', &bytes[at..]) {
        at += found;
        at += match (unit(at), unit(at + 6)) {
            (Some(0xd800..0xdc00), Some(0xdc00..0xe000)) => 12,
            (Some(0xd800..0xe000), _) => {
                whole.push_str(&json[copied..at]);
                whole.push_str("\\ufffd");
                copied = at + 6;
                6
            }
            _ => 2,
        };
        at = at.min(bytes.len());
    }
    if copied == 0 { json.into() } else { (whole + &json[copied..]).into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::event::{Event, EventKind};

    fn content(json: &str) -> String {
        ToolResult::parse(json).unwrap().content
    }

    #[test]
    fn what_a_tool_returned_becomes_acceptable_blocks() {
        const EMPTY: &str = r#"[{"text":"(no output)","type":"text"}]"#;
        for (json, expected) in [
            ("{}", EMPTY),
            (r#"{"content":null}"#, EMPTY),
            (r#"{"content":""}"#, EMPTY),
            (r#"{"content":[]}"#, EMPTY),
            (r#"{"content":[{"type":"text","text":""}]}"#, EMPTY),
            (r#"{"content":"a\nb"}"#, r#"[{"text":"a\nb","type":"text"}]"#),
            (r#"{"content":[{"type":"text","text":"a","novel":1.0}]}"#, r#"[{"type":"text","text":"a","novel":1.0}]"#),
            (r#"{"content":[{"type":"text","text":7}]}"#, r#"[{"text":"{\"type\":\"text\",\"text\":7}","type":"text"}]"#),
            (r#"{"content":[7,"x"]}"#, r#"[{"text":"7","type":"text"},{"text":"\"x\"","type":"text"}]"#),
            (
                r#"{"content":[{"type":"image","source":{"type":"url","url":"u"}}]}"#,
                r#"[{"type":"image","source":{"type":"url","url":"u"}}]"#,
            ),
            (r#"{"content":[{"type":"image"}]}"#, r#"[{"text":"{\"type\":\"image\"}","type":"text"}]"#),
            (r#"{"content":[{"type":"audio"}]}"#, r#"[{"text":"{\"type\":\"audio\"}","type":"text"}]"#),
            (r#"{"content":[{"type":"search_result"}]}"#, r#"[{"type":"search_result"}]"#),
        ] {
            assert_eq!(content(json), expected, "{json}");
        }
    }

    #[test]
    fn half_a_surrogate_pair_becomes_the_replacement_character() {
        for (json, expected) in [
            (r#"{"content":"a\ud800b"}"#, "a\u{fffd}b"),
            (r#"{"content":"\udc00\ud83d\ude00\ud83d"}"#, "\u{fffd}\u{1f600}\u{fffd}"),
            (r#"{"content":"\\ud800 \\\ud800"}"#, "\\\\ud800 \\\\\u{fffd}"),
            (r#"{"content":"\ud800\ud83d\ude00"}"#, "\u{fffd}\u{1f600}"),
        ] {
            assert_eq!(content(json), format!(r#"[{{"text":"{expected}","type":"text"}}]"#), "{json}");
        }
        assert_eq!(content(r#"{"content":[{"\ud800":1}]}"#), r#"[{"text":"{\"\\ufffd\":1}","type":"text"}]"#, "also in keys");
    }

    #[test]
    fn an_invalid_result_is_named() {
        for (json, parameter) in [
            ("[]", "result_json"),
            ("{", "result_json"),
            (r#"{"content":7}"#, "content"),
            (r#"{"is_error":"yes"}"#, "is_error"),
            (r#"{"text":"a"}"#, "text"),
        ] {
            let error = ToolResult::parse(json).unwrap_err();
            assert_eq!((error.status(), error.parameter()), (Status::InvalidArgument, Some(parameter)), "{json}");
        }
    }

    #[test]
    fn each_kind_of_call_has_its_own_kind_of_answer() {
        for (kind, expected) in [
            (
                "agent.tool_use",
                r#"{"events":[{"type":"user.tool_result","tool_use_id":"c\"1","is_error":true,"content":[{"text":"no","type":"text"}]}]}"#,
            ),
            (
                "agent.custom_tool_use",
                r#"{"events":[{"type":"user.custom_tool_result","custom_tool_use_id":"c\"1","is_error":true,"content":[{"text":"no","type":"text"}]}]}"#,
            ),
        ] {
            let event = Event::parse(&format!(r#"{{"type":"{kind}","id":"c\"1","name":"n"}}"#)).unwrap();
            let EventKind::ToolUse(call) = event.kind else { panic!("{kind}") };
            assert_eq!(ToolResult::text("no", true).params(&call), expected);
        }
    }
}
