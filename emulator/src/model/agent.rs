//! The agent of a session: it plays the session's script as far as it can. Without a script it ends each turn at once.

use std::{collections::BTreeSet, time::Duration};

use rusqlite::{Connection, OptionalExtension, params};
use serde_json::{Value, json, value::RawValue};

use crate::{
    http::response::ApiError,
    model::{
        call::{self, Call, DENIED, Kind},
        clock, ids,
        json::{self, Object},
        script::{Answer, Confirm, Progress, Step, ToolCall, Verdict, Wait},
        session::{Attempt, SessionTransaction},
        store,
    },
};

/// The toolset whose policies decide about calls without a permission of their own.
const TOOLSET: &str = "agent_toolset_20260401";

/// A session's script.
#[derive(Default)]
pub struct Script {
    pub steps: Vec<Box<RawValue>>,
    pub progress: Progress,
}

impl Script {
    /// Reads a session's script.
    pub fn load(connection: &Connection, session_id: &str) -> rusqlite::Result<Option<Script>> {
        let row: Option<(String, String)> = connection
            .prepare_cached("SELECT steps, progress FROM scripts WHERE session_id = ?1")?
            .query_row([session_id], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        row.map(|(steps, progress)| {
            Ok(Script {
                steps: serde_json::from_str(&steps).map_err(store::corrupt)?,
                progress: serde_json::from_str(&progress).map_err(store::corrupt)?,
            })
        })
        .transpose()
    }

    /// Stores a session's script.
    pub fn save(&self, connection: &Connection, session_id: &str) -> rusqlite::Result<usize> {
        connection
            .prepare_cached("INSERT OR REPLACE INTO scripts (session_id, steps, progress) VALUES (?1, ?2, ?3)")?
            .execute(params![session_id, json::text(&self.steps), json::text(&self.progress)])
    }

    /// Stores how far it has come.
    fn save_progress(&self, connection: &Connection, session_id: &str) -> rusqlite::Result<usize> {
        connection
            .prepare_cached("UPDATE scripts SET progress = ?2 WHERE session_id = ?1")?
            .execute(params![session_id, json::text(&self.progress)])
    }

    /// Checks steps: each by itself, and that labels and threads are there before they are used.
    pub fn check(&self) -> Result<(), String> {
        let (mut labels, mut threads) = (BTreeSet::new(), BTreeSet::new());
        for (number, step) in self.steps.iter().enumerate() {
            let wrong = |reason: String| format!("steps[{number}]: {reason}");
            let known = |names: &BTreeSet<String>, kind: &str, name: &str| match names.contains(name) {
                true => Ok(()),
                false => Err(wrong(format!("there is no {kind} {name:?} before it"))),
            };
            match Step::parse(step).map_err(wrong)? {
                Step::Call(_, tool) => {
                    tool.thread.iter().try_for_each(|thread| known(&threads, "thread", thread))?;
                    labels.insert(tool.label.unwrap_or(tool.tool));
                }
                Step::StartThread(thread) => drop(threads.insert(thread)),
                Step::EndThread(thread) | Step::Interrupt(Some(thread)) => known(&threads, "thread", &thread)?,
                Step::Confirm(Confirm { confirm: label, .. }) | Step::Answer(Answer { answer: label, .. }) => {
                    known(&labels, "call", &label)?;
                }
                _ => {}
            }
        }
        Ok(())
    }
}

/// Runs the steps of a session's script until the agent has to wait.
pub fn play(tx: &mut SessionTransaction) -> Result<(), ApiError> {
    let mut script = Script::load(tx.transaction, &tx.session.id)?.unwrap_or_default();
    while !tx.session.is("terminated") && advance(tx, &mut script)? {}
    script.save_progress(tx.transaction, &tx.session.id)?;
    Ok(())
}

/// Begins a turn, runs one step or ends the turn; returns whether there is more to do.
fn advance(tx: &mut SessionTransaction, script: &mut Script) -> Result<bool, ApiError> {
    if !script.progress.in_turn {
        script.progress.in_turn = tx.process_queued()?;
        return Ok(script.progress.in_turn);
    }
    let Some(step) = script.steps.get(script.progress.step) else {
        return end_turn(tx, &mut script.progress, &json!({"type": "end_turn"})).map(|()| true);
    };
    // Checked when it was posted.
    let step = Step::parse(step).map_err(ApiError::invalid)?;
    let is_done = run_step(tx, &mut script.progress, step)?;
    script.progress.step += usize::from(is_done);
    Ok(is_done)
}

fn end_turn(
    tx: &mut SessionTransaction,
    progress: &mut Progress,
    reason: &(impl serde::Serialize + ?Sized),
) -> Result<(), ApiError> {
    tx.run()?;
    progress.in_turn = false;
    progress.announced.clear();
    tx.emit("session.status_idle", json!({"stop_reason": reason})).map(drop)
}

/// Runs a step; returns whether it is done.
fn run_step(tx: &mut SessionTransaction, progress: &mut Progress, step: Step) -> Result<bool, ApiError> {
    match step {
        Step::Wait(Wait::Stream) => return Ok(tx.streams > 0),
        Step::Wait(Wait::Results) => return wait(tx, progress, |open| open.is_empty()),
        Step::Wait(Wait::Confirmations) => return wait(tx, progress, |open| !open.iter().any(Call::is_held)),
        Step::Pause(millis) => return Ok(pause(tx, progress, millis)),
        Step::Idle(reason) => end_turn(tx, progress, &reason)?,
        Step::Terminate => tx.terminate()?,
        Step::Text(text) => {
            tx.run()?;
            for _ in 0..text.count {
                tx.emit("agent.message", json!({"content": [{"type": "text", "text": text.text}]}))?;
            }
        }
        Step::Thinking => {
            tx.run()?;
            tx.emit("agent.thinking", json!({}))?;
        }
        Step::Call(kind, tool) => make_call(tx, progress, kind, tool)?,
        Step::StartThread(name) => {
            tx.run()?;
            let id = ids::thread();
            let fields = json!({"agent_name": name, "session_thread_id": id});
            tx.emit("session.thread_created", fields.clone())?;
            tx.emit("session.thread_status_running", fields)?;
            progress.threads.insert(name, id);
        }
        Step::EndThread(name) => {
            let id = progress.threads.get(&name).cloned().unwrap_or_default();
            tx.emit("session.thread_status_terminated", json!({"agent_name": name, "session_thread_id": id}))?;
            tx.end_calls(Some(&id), "thread_terminated")?;
            progress.ended_threads.push(id);
        }
        Step::Interrupt(thread) => {
            let id = thread.and_then(|name| progress.threads.get(&name).cloned());
            let fields = id.as_ref().map_or(json!({}), |id| json!({"session_thread_id": id}));
            tx.emit("user.interrupt", fields)?;
            tx.end_calls(id.as_deref(), "interrupted")?;
        }
        Step::Confirm(given) => confirm(tx, given)?,
        Step::Answer(given) => answer(tx, given)?,
        Step::Emit(event) => drop(tx.add(&event)?),
    }
    Ok(true)
}

/// Checks whether the calls that the agent waits for have ended. The session is idle meanwhile, and names them again each time that some have ended.
fn wait(tx: &mut SessionTransaction, progress: &mut Progress, is_over: impl Fn(&[Call]) -> bool) -> Result<bool, ApiError> {
    let open = call::list(tx.transaction, &tx.session.id, true)?;
    if is_over(&open) {
        if !progress.announced.is_empty() {
            progress.announced.clear();
            tx.run()?;
        }
        return Ok(true);
    }
    let event_ids: Vec<String> = open.into_iter().map(|call| call.id).collect();
    if event_ids != progress.announced {
        tx.run()?;
        tx.emit("session.status_idle", json!({"stop_reason": {"type": "requires_action", "event_ids": event_ids}}))?;
        progress.announced = event_ids;
    }
    Ok(false)
}

/// Returns whether a pause is over. Pauses are real time, like all waiting here.
fn pause(tx: &mut SessionTransaction, progress: &mut Progress, millis: u64) -> bool {
    let now = clock::system_now();
    let end = *progress.resumes_at.get_or_insert(now + millis as i64 * 1000);
    if now >= end {
        progress.resumes_at = None;
        return true;
    }
    tx.pause = Some(Duration::from_micros((end - now) as u64));
    false
}

fn make_call(tx: &mut SessionTransaction, progress: &Progress, kind: Kind, tool: ToolCall) -> Result<(), ApiError> {
    tx.run()?;
    let thread_id = tool.thread.and_then(|name| progress.threads.get(&name).cloned());
    let (permission, evaluation) = match (tool.permission, kind) {
        (Some(given), _) => (given.clone(), evaluation(&given)),
        (None, Kind::Custom) => ("allow".to_owned(), Value::Null),
        (None, Kind::Toolset) => policy(&tx.session.object, &tool.tool),
    };
    let mut event = Object::default();
    event.set("type", kind.use_event());
    event.set("name", &tool.tool);
    match &tool.input {
        Some(input) => event.set("input", input),
        None => event.set("input", &json!({})),
    }
    // The service evaluates the toolset's calls only; of others it is said just when a script wants it.
    if kind == Kind::Toolset || permission != "allow" {
        event.set("evaluated_permission", &permission);
    }
    if kind == Kind::Toolset && !evaluation.is_null() {
        event.set("evaluation", &evaluation);
    }
    if let Some(thread_id) = &thread_id {
        event.set("session_thread_id", thread_id);
    }
    let id = tx.add(&event)?;
    let ending = if permission == "deny" {
        Some(DENIED.to_owned())
    } else if thread_id.as_ref().is_some_and(|id| progress.ended_threads.contains(id)) {
        Some("thread_terminated".to_owned())
    } else {
        None
    };
    let label = tool.label.unwrap_or_else(|| tool.tool.clone());
    let call = Call { id, label, name: tool.tool, kind, thread_id, permission, verdict: None, ending };
    call::insert(tx.transaction, &tx.session.id, &call)?;
    if call.permission == "deny" {
        tx.deny(&call, "The call was refused by the permission policy.")?;
    }
    tx.ensure_work_item()
}

/// Returns the evaluation that leads to such a permission.
fn evaluation(permission: &str) -> Value {
    match permission {
        "allow" => json!({"type": "always_allow"}),
        "ask" => json!({"type": "always_ask"}),
        "deny" => json!({"type": "auto", "evaluated_permission": {"type": "deny", "reason_code": "high_risk"}}),
        _ => Value::Null,
    }
}

/// Returns the permission that the session's agent gives a tool of the toolset, and the evaluation. Without a toolset, everything is allowed.
fn policy(session: &Object, name: &str) -> (String, Value) {
    let agent: Value = session.get("agent").and_then(|agent| serde_json::from_str(agent.get()).ok()).unwrap_or_default();
    let toolset = agent["tools"].as_array().into_iter().flatten().find(|tool| tool["type"] == TOOLSET);
    let configs = toolset.and_then(|toolset| toolset["configs"].as_array()).into_iter().flatten();
    let own = configs.into_iter().find(|config| config["name"] == name || config["type"] == name);
    let setting = |key: &str| {
        let given = |config: &Value| config.get(key).filter(|value| !value.is_null()).cloned();
        own.and_then(given).or_else(|| toolset.and_then(|toolset| given(&toolset["default_config"])))
    };
    if setting("enabled") == Some(Value::Bool(false)) {
        return ("deny".to_owned(), Value::Null);
    }
    match setting("permission_policy").unwrap_or_default()["type"].as_str() {
        Some("always_ask") => ("ask".to_owned(), json!({"type": "always_ask"})),
        Some("auto") => ("allow".to_owned(), json!({"type": "auto", "evaluated_permission": {"type": "allow"}})),
        _ => ("allow".to_owned(), json!({"type": "always_allow"})),
    }
}

/// Sends the user's confirmation that the script describes. One that comes too late changes nothing.
fn confirm(tx: &mut SessionTransaction, given: Confirm) -> Result<(), ApiError> {
    let Some(mut call) = call::labelled(tx.transaction, &tx.session.id, &given.confirm)? else {
        return Ok(());
    };
    let allows = given.result == Verdict::Allow;
    if call.confirm(allows).is_err() {
        return Ok(());
    }
    let mut event = Object::default();
    event.set("type", "user.tool_confirmation");
    event.set("tool_use_id", &call.id);
    event.set("result", if allows { "allow" } else { "deny" });
    if let Some(message) = &given.deny_message {
        event.set("deny_message", message);
    }
    tx.confirm(&call, &event)
}

/// Sends another client's result that the script describes.
fn answer(tx: &mut SessionTransaction, given: Answer) -> Result<(), ApiError> {
    let Some(mut call) = call::labelled(tx.transaction, &tx.session.id, &given.answer)? else {
        return Ok(());
    };
    let mut event = Object::default();
    event.set("type", call.kind.result_event());
    event.set(call.kind.id_field(), &call.id);
    event.set("is_error", &given.is_error);
    match &given.content {
        Some(content) => event.set("content", content),
        None => event.set("content", &json!([{"type": "text", "text": "answered by the script"}])),
    }
    let refusal = call.answer(call.kind).err();
    tx.record_attempt(&call.id, &Attempt { credential: "script", delivery: None, event: &event }, refusal.as_deref())?;
    if refusal.is_none() {
        tx.answer(&call, &event)?;
    }
    Ok(())
}
