//! The events of a session, as far as serving it depends on them. Pure.
//!
//! What is unknown is passed over: other types, and events that lack what their type needs. A permission or a verdict that is unknown
//! counts against the call.

use super::time::EventTime;
use serde::Deserialize;
use serde_json::value::RawValue;
use std::borrow::Cow;

/// An event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// Its identifier; empty if it has none.
    pub id: String,
    /// When the session processed it. `None`: it is still queued.
    pub processed_at: Option<EventTime>,
    /// What it means.
    pub kind: EventKind,
}

/// What an event means for serving the session.
#[derive(Debug, Clone, PartialEq)]
pub enum EventKind {
    /// The agent calls a tool.
    ToolUse(ToolUse),
    /// The call with this id has a result.
    Result(String),
    /// The call with this id is allowed, or not.
    Confirmation {
        /// The call.
        call: String,
        /// Whether it may run.
        is_allowed: bool,
    },
    /// A user interrupts: the whole session, or only one of its threads.
    Interrupt {
        /// Whether all threads are interrupted.
        is_session_wide: bool,
    },
    /// The session is idle: its turn has ended, or it waits for results and confirmations.
    Idle {
        /// Whether the turn has ended.
        ends_turn: bool,
    },
    /// A thread has ended: it takes no more results.
    ThreadTerminated(String),
    /// The session is terminated.
    Terminated,
    /// The session is deleted.
    Deleted,
    /// Any other event.
    Other,
}

/// A call of a tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolUse {
    /// The call's id, which its result names.
    pub id: String,
    /// The tool's name.
    pub name: String,
    /// Whether the tool is a custom one, whose results are events of another type.
    pub is_custom: bool,
    /// When the session processed it.
    pub processed_at: Option<EventTime>,
    /// The thread that calls; empty: the session's own.
    pub thread: String,
    /// Whether it may run.
    pub permission: Permission,
    /// The event, verbatim.
    pub json: String,
}

/// Whether a call may run, before a user has confirmed or denied it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Permission {
    /// It may.
    Allow,
    /// A user decides.
    Ask,
    /// It may not.
    Deny,
}

#[derive(Deserialize)]
struct Head<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    processed_at: Option<Cow<'a, str>>,
}

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    name: Cow<'a, str>,
    #[serde(default)]
    session_thread_id: Option<String>,
    #[serde(borrow, default)]
    evaluated_permission: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Target<'a> {
    #[serde(alias = "custom_tool_use_id")]
    tool_use_id: String,
    #[serde(borrow, default)]
    result: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Thread {
    session_thread_id: Option<String>,
}

#[derive(Deserialize)]
struct Idle<'a> {
    #[serde(borrow, default)]
    stop_reason: Option<StopReason<'a>>,
}

#[derive(Deserialize)]
struct StopReason<'a> {
    #[serde(borrow)]
    r#type: Cow<'a, str>,
}

impl Event {
    /// Reads an event. `None`: it is not one.
    pub fn parse(json: &str) -> Option<Event> {
        let head: Head = serde_json::from_str(json).ok()?;
        let id = head.id.as_deref().unwrap_or_default().to_owned();
        let processed_at = head.processed_at.as_deref().and_then(EventTime::parse);
        let kind = match head.r#type.as_ref() {
            "agent.tool_use" | "agent.custom_tool_use" => {
                let is_custom = head.r#type == "agent.custom_tool_use";
                tool_use(&id, is_custom, processed_at, json).map(EventKind::ToolUse)
            }
            "user.tool_result" | "user.custom_tool_result" => {
                read(json).map(|target: Target| EventKind::Result(target.tool_use_id))
            }
            "user.tool_confirmation" => read(json).map(|target: Target| EventKind::Confirmation {
                call: target.tool_use_id,
                is_allowed: target.result.is_some_and(|result| result.get() == "\"allow\""),
            }),
            "user.interrupt" => {
                read(json).map(|thread: Thread| EventKind::Interrupt { is_session_wide: thread.session_thread_id.is_none() })
            }
            "session.status_idle" => {
                let reason = read(json).and_then(|idle: Idle| idle.stop_reason);
                Some(EventKind::Idle { ends_turn: reason.is_none_or(|reason| reason.r#type != "requires_action") })
            }
            "session.thread_status_terminated" => {
                read(json).and_then(|thread: Thread| thread.session_thread_id).map(EventKind::ThreadTerminated)
            }
            "session.status_terminated" => Some(EventKind::Terminated),
            "session.deleted" => Some(EventKind::Deleted),
            _ => None,
        };
        Some(Event { id, processed_at, kind: kind.unwrap_or(EventKind::Other) })
    }

    /// Returns whether the event is queued: it comes once more, when the session has processed it.
    pub fn is_queued(&self) -> bool {
        self.processed_at.is_none()
    }
}

fn read<'a, T: Deserialize<'a>>(json: &'a str) -> Option<T> {
    serde_json::from_str(json).ok()
}

fn tool_use(id: &str, is_custom: bool, processed_at: Option<EventTime>, json: &str) -> Option<ToolUse> {
    let call: Call = read(json).filter(|_| !id.is_empty())?;
    let permission = match call.evaluated_permission.map(RawValue::get) {
        None | Some("null" | "\"allow\"") => Permission::Allow,
        Some("\"deny\"") => Permission::Deny,
        Some(_) => Permission::Ask,
    };
    let thread = call.session_thread_id.unwrap_or_default();
    Some(ToolUse {
        id: id.to_owned(),
        name: call.name.into_owned(),
        is_custom,
        processed_at,
        thread,
        permission,
        json: json.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(json: &str) -> EventKind {
        Event::parse(json).unwrap().kind
    }

    #[test]
    fn what_serving_depends_on_is_read() {
        let json = r#"{"type":"agent.custom_tool_use","id":"e1","name":"we\u0061ther","input":{"a":"\ud800"},"session_thread_id":"t",
                       "processed_at":"1970-01-01T00:00:07Z","evaluated_permission":"ask"}"#;
        let event = Event::parse(json).unwrap();
        let EventKind::ToolUse(call) = event.kind else { panic!("{event:?}") };
        assert_eq!((call.id.as_str(), call.name.as_str(), call.is_custom, call.thread.as_str()), ("e1", "weather", true, "t"));
        assert_eq!((call.permission, call.processed_at, call.json.as_str()), (Permission::Ask, Some(EventTime::at(7)), json));
        for (json, expected) in [
            (r#"{"type":"user.tool_result","tool_use_id":"c"}"#, EventKind::Result("c".into())),
            (r#"{"type":"user.custom_tool_result","custom_tool_use_id":"c"}"#, EventKind::Result("c".into())),
            (
                r#"{"type":"user.tool_confirmation","tool_use_id":"c","result":"allow"}"#,
                EventKind::Confirmation { call: "c".into(), is_allowed: true },
            ),
            (
                r#"{"type":"user.tool_confirmation","tool_use_id":"c","result":"perhaps"}"#,
                EventKind::Confirmation { call: "c".into(), is_allowed: false },
            ),
            (
                r#"{"type":"user.tool_confirmation","tool_use_id":"c","result":{"type":"allow"}}"#,
                EventKind::Confirmation { call: "c".into(), is_allowed: false },
            ),
            (r#"{"type":"user.interrupt"}"#, EventKind::Interrupt { is_session_wide: true }),
            (r#"{"type":"user.interrupt","session_thread_id":null}"#, EventKind::Interrupt { is_session_wide: true }),
            (r#"{"type":"user.interrupt","session_thread_id":"t"}"#, EventKind::Interrupt { is_session_wide: false }),
            (r#"{"type":"session.status_idle","stop_reason":{"type":"requires_action"}}"#, EventKind::Idle { ends_turn: false }),
            (r#"{"type":"session.status_idle","stop_reason":{"type":"end_turn"}}"#, EventKind::Idle { ends_turn: true }),
            (r#"{"type":"session.status_idle","stop_reason":{"type":"novel"}}"#, EventKind::Idle { ends_turn: true }),
            (r#"{"type":"session.status_idle"}"#, EventKind::Idle { ends_turn: true }),
            (r#"{"type":"session.thread_status_terminated","session_thread_id":"t"}"#, EventKind::ThreadTerminated("t".into())),
            (r#"{"type":"session.status_terminated"}"#, EventKind::Terminated),
            (r#"{"type":"session.deleted"}"#, EventKind::Deleted),
        ] {
            assert_eq!(kind(json), expected, "{json}");
        }
    }

    #[test]
    fn a_permission_that_is_unknown_is_no_permission() {
        for (permission, expected) in [
            ("", Permission::Allow),
            (r#","evaluated_permission":null"#, Permission::Allow),
            (r#","evaluated_permission":"allow""#, Permission::Allow),
            (r#","evaluated_permission":"deny""#, Permission::Deny),
            (r#","evaluated_permission":"ask""#, Permission::Ask),
            (r#","evaluated_permission":"Allow""#, Permission::Ask),
            (r#","evaluated_permission":{"type":"allow"}"#, Permission::Ask),
        ] {
            let json = format!(r#"{{"type":"agent.tool_use","id":"c","name":"n"{permission}}}"#);
            let EventKind::ToolUse(call) = kind(&json) else { panic!("{json}") };
            assert_eq!(call.permission, expected, "{permission}");
        }
    }

    #[test]
    fn what_is_unknown_or_incomplete_is_passed_over() {
        for json in [
            r#"{"type":"agent.tool_use","id":"c"}"#,
            r#"{"type":"agent.tool_use","name":"n"}"#,
            r#"{"type":"agent.tool_use","id":"c","name":7}"#,
            r#"{"type":"user.tool_result"}"#,
            r#"{"type":"session.thread_status_terminated"}"#,
            r#"{"type":"agent.novel","name":7,"result":[],"stop_reason":1}"#,
        ] {
            assert_eq!(kind(json), EventKind::Other, "{json}");
        }
        for json in ["", "[]", "{}", r#"{"id":"c"}"#, r#"{"type":7}"#, "null"] {
            assert_eq!(Event::parse(json), None, "{json}");
        }
        assert!(Event::parse(r#"{"type":"user.interrupt","processed_at":null}"#).unwrap().is_queued());
    }
}
