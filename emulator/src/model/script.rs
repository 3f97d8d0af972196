//! What an agent is to do, as posted to `/_emulator/scripts`: a list of steps, each an object with one action. Pure.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize, de::DeserializeOwned};
use serde_json::value::RawValue;

use crate::model::{
    call::Kind,
    json::{self, Object},
};

/// One step.
#[derive(Debug)]
pub enum Step {
    /// The agent says something.
    Text(Text),
    /// The agent thinks.
    Thinking,
    /// The agent calls a tool, and goes on.
    Call(Kind, ToolCall),
    /// The agent waits.
    Wait(Wait),
    /// Nothing happens for so many milliseconds.
    Pause(u64),
    /// A sub-agent's thread begins.
    StartThread(String),
    /// A sub-agent's thread ends, and its calls with it.
    EndThread(String),
    /// The user interrupts the session, or one thread.
    Interrupt(Option<String>),
    /// The user confirms or denies a call.
    Confirm(Confirm),
    /// Another client answers a call.
    Answer(Answer),
    /// The turn ends for this reason; the rest belongs to the next turn.
    Idle(Object),
    /// The session ends.
    Terminate,
    /// An event as it is given.
    Emit(Object),
}

/// What an agent waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wait {
    /// That every call has ended.
    Results,
    /// That no call is held.
    Confirmations,
    /// That a stream of the session is open.
    Stream,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Text {
    pub text: String,
    /// How many such messages.
    #[serde(default = "once")]
    pub count: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolCall {
    #[serde(alias = "custom_tool")]
    pub tool: String,
    pub input: Option<Box<RawValue>>,
    /// Without it, what the session's agent says about the tool.
    pub permission: Option<String>,
    pub thread: Option<String>,
    pub label: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirm {
    pub confirm: String,
    pub result: Verdict,
    pub deny_message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Allow,
    Deny,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    pub answer: String,
    pub content: Option<Box<RawValue>>,
    #[serde(default)]
    pub is_error: bool,
}

/// How far a session's agent has come.
#[derive(Debug, Default, Deserialize, Serialize)]
pub struct Progress {
    /// The number of steps that are done.
    pub step: usize,
    /// Whether a turn is under way.
    pub in_turn: bool,
    /// The calls that the last `requires_action` named, while it holds.
    pub announced: Vec<String>,
    /// When the pause under way ends, in microseconds of the machine's clock.
    pub resumes_at: Option<i64>,
    /// The ids of sub-agents' threads, by name.
    pub threads: BTreeMap<String, String>,
    /// The ids of those that have ended.
    pub ended_threads: Vec<String>,
}

const ACTIONS: [&str; 14] = [
    "text",
    "thinking",
    "tool",
    "custom_tool",
    "wait",
    "pause_ms",
    "start_thread",
    "end_thread",
    "interrupt",
    "confirm",
    "answer",
    "idle",
    "terminate",
    "emit",
];

/// The longest pause; a longer one is more likely a mistake of units.
const MAX_PAUSE_MS: u64 = 3_600_000;

/// The most messages of one step.
const MAX_COUNT: u64 = 1_000_000;

impl Step {
    /// Reads a step; the error says what is wrong with it.
    pub fn parse(json: &RawValue) -> Result<Step, String> {
        let Some(object) = Object::from_raw(json) else {
            return Err("a step must be an object".to_owned());
        };
        let mut given = object.iter().filter(|(key, _)| ACTIONS.contains(key));
        let (action, value) = match (given.next(), given.next()) {
            (Some(one), None) => one,
            _ => return Err(format!("a step has exactly one of {}", ACTIONS.join(", "))),
        };
        let is_alone = object.len() == 1;
        let step = match action {
            "text" => Step::Text(fields(json)?),
            "tool" => Step::Call(Kind::Toolset, fields(json)?),
            "custom_tool" => Step::Call(Kind::Custom, fields(json)?),
            "confirm" => Step::Confirm(fields(json)?),
            "answer" => Step::Answer(fields(json)?),
            _ if !is_alone => return Err(format!("{action}: has no other members")),
            "thinking" => truth(action, value).map(|()| Step::Thinking)?,
            "terminate" => truth(action, value).map(|()| Step::Terminate)?,
            "wait" => Step::Wait(fields(value)?),
            "pause_ms" => Step::Pause(fields(value)?),
            "start_thread" => Step::StartThread(fields(value)?),
            "end_thread" => Step::EndThread(fields(value)?),
            "interrupt" => match json::boolean(value) {
                Some(true) => Step::Interrupt(None),
                _ => Step::Interrupt(Some(fields(value)?)),
            },
            "idle" => Step::Idle(reason(value)?),
            _ => Step::Emit(typed(action, value)?),
        };
        step.check()?;
        Ok(step)
    }

    fn check(&self) -> Result<(), String> {
        match self {
            Step::Pause(millis) if *millis > MAX_PAUSE_MS => Err(format!("pause_ms: must be from 0 to {MAX_PAUSE_MS}")),
            Step::Text(text) if !(1..=MAX_COUNT).contains(&text.count) => Err(format!("count: must be from 1 to {MAX_COUNT}")),
            Step::Text(text) if text.text.is_empty() => Err("text: must not be empty".to_owned()),
            Step::Call(_, call) if call.input.as_deref().is_some_and(|input| Object::from_raw(input).is_none()) => {
                Err("input: must be an object".to_owned())
            }
            Step::Confirm(confirm) if confirm.deny_message.is_some() && confirm.result == Verdict::Allow => {
                Err("deny_message: only a denial has one".to_owned())
            }
            _ => Ok(()),
        }
    }
}

fn fields<T: DeserializeOwned>(json: &RawValue) -> Result<T, String> {
    serde_json::from_str(json.get()).map_err(|error| error.to_string())
}

fn truth(action: &str, value: &RawValue) -> Result<(), String> {
    match json::boolean(value) {
        Some(true) => Ok(()),
        _ => Err(format!("{action}: must be true")),
    }
}

/// A stop reason: its type, or the whole object.
fn reason(value: &RawValue) -> Result<Object, String> {
    let Some(kind) = json::string(value) else {
        return typed("idle", value);
    };
    let mut reason = Object::default();
    reason.set("type", &kind);
    Ok(reason)
}

/// An object with a type.
fn typed(action: &str, value: &RawValue) -> Result<Object, String> {
    match Object::from_raw(value) {
        Some(object) if object.string("type").is_some() => Ok(object),
        _ => Err(format!("{action}: must be an object with a type")),
    }
}

fn once() -> u64 {
    1
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(json: &str) -> Result<Step, String> {
        Step::parse(&RawValue::from_string(json.to_owned()).unwrap())
    }

    #[test]
    fn each_action_is_read() {
        for valid in [
            r#"{"text": "a"}"#,
            r#"{"text": "a", "count": 1000000}"#,
            r#"{"thinking": true}"#,
            r#"{"tool": "bash"}"#,
            r#"{"tool": "bash", "input": {}, "permission": "odd", "thread": "t", "label": "l"}"#,
            r#"{"custom_tool": "weather", "input": {"a": 1}}"#,
            r#"{"wait": "results"}"#,
            r#"{"wait": "confirmations"}"#,
            r#"{"wait": "stream"}"#,
            r#"{"pause_ms": 3600000}"#,
            r#"{"start_thread": "t"}"#,
            r#"{"end_thread": "t"}"#,
            r#"{"interrupt": true}"#,
            r#"{"interrupt": "t"}"#,
            r#"{"confirm": "l", "result": "deny", "deny_message": "no"}"#,
            r#"{"answer": "l", "content": [], "is_error": true}"#,
            r#"{"idle": "end_turn"}"#,
            r#"{"idle": {"type": "refusal"}}"#,
            r#"{"terminate": true}"#,
            r#"{"emit": {"type": "unheard.of"}}"#,
        ] {
            step(valid).unwrap();
        }
    }

    #[test]
    fn what_is_no_step_is_refused_with_a_reason() {
        for (bad, named) in [
            ("1", "must be an object"),
            ("{}", "exactly one"),
            (r#"{"text": "a", "thinking": true}"#, "exactly one"),
            (r#"{"text": ""}"#, "text:"),
            (r#"{"text": "a", "count": 0}"#, "count:"),
            (r#"{"text": "a", "more": 0}"#, "more"),
            (r#"{"thinking": false}"#, "thinking:"),
            (r#"{"tool": 1}"#, "string"),
            (r#"{"tool": "bash", "input": []}"#, "input:"),
            (r#"{"wait": "forever"}"#, "forever"),
            (r#"{"wait": "results", "more": 1}"#, "no other"),
            (r#"{"pause_ms": 3600001}"#, "pause_ms:"),
            (r#"{"interrupt": false}"#, "string"),
            (r#"{"confirm": "l"}"#, "result"),
            (r#"{"confirm": "l", "result": "allow", "deny_message": "no"}"#, "deny_message:"),
            (r#"{"idle": {}}"#, "idle:"),
            (r#"{"emit": {"id": "x"}}"#, "emit:"),
        ] {
            let refusal = step(bad).unwrap_err();
            assert!(refusal.contains(named), "{bad}: {refusal}");
        }
    }
}
