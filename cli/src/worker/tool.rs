//! Answers the calls of custom tools by a command.
//!
//! ```text
//!          ┌ the command ends ────────────────────────────► reply with its output ─► posted
//! start ──►┤
//!          └ the call is void: interrupted, answered, ... ─► kill the command ─► (no reply)
//! ```

use super::command::{self, Item, Output, Prepared};
use super::host::Host;
use super::log;
use super::processes::signal_group;
use antenv::Status;
use antenv::error::Result as ApiResult;
use antenv::session::ToolCall;
use antenv::telemetry::log::Level;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::json;
use std::ffi::OsString;
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::spawn_local;
use tokio::time::sleep;

/// How often it is looked whether a call is void.
const VOID_CHECK: Duration = Duration::from_millis(100);

/// What a command has to know of a call.
#[derive(Deserialize, Default)]
pub struct Event {
    /// The identifier of the event.
    #[serde(default)]
    pub id: String,
    /// The tool's name.
    #[serde(default)]
    pub name: String,
}

/// A command that answers calls, for an item.
pub struct OnTool {
    pub host: Rc<Host>,
    pub command: Rc<[OsString]>,
    pub item: Item,
    pub workdir: Option<PathBuf>,
}

impl OnTool {
    /// Runs the command for a call, and replies with its output. It is killed, with its process group, when the call becomes void.
    pub async fn answer(self: Rc<OnTool>, call: ToolCall) {
        let event: Event = serde_json::from_str(call.json()).unwrap_or_default();
        let log = |level, what: &str| log::record(level, Some(&self.item.id), &format!("{}: {what}", event.name));
        let command = Prepared::for_call(&self.command, &self.item, self.workdir.as_deref(), &event);
        let Some(running) = self.host.start(&self.item.id, &command, void(&call)).await else {
            // The session may wait for it: it goes on until its end all the same.
            return reply(&call, "the tool cannot be run", true, log).await;
        };
        let mut ended = self.host.processes.add(running.leader);
        let feeding = spawn_local(command::feed(running.input, call.json().to_owned()));
        let mut output = Output::new(running.output);
        let (status, reason) = tokio::select! {
            biased;
            status = &mut ended => (status.ok(), None),
            why = void(&call) => (None, Some(why)),
            never = output.read() => match never {},
        };
        feeding.abort();
        if let Some(why) = reason {
            signal_group(running.leader, Signal::KILL);
            let _ = ended.await;
            return log(Level::Warn, &format!("killed, the call is void: {why}"));
        }
        let (text, is_ok) = (output.finish(), status.and_then(|status| status.exit_status()) == Some(0));
        let how = command::describe(status);
        log(Level::Info, &how);
        reply(&call, if text.is_empty() && !is_ok { &how } else { &text }, !is_ok, log).await;
    }
}

/// Waits until a call needs no reply any more, and returns why.
async fn void(call: &ToolCall) -> String {
    #[derive(Deserialize)]
    struct Void {
        reason: String,
    }
    loop {
        match call.wait(Some(Duration::ZERO)) {
            Ok(json) => return serde_json::from_str(&json).map_or(json, |void: Void| void.reason),
            Err(error) if matches!(error.status(), Status::Timeout | Status::Interrupted) => sleep(VOID_CHECK).await,
            // It has been replied to.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Replies with a text, and waits until the session has it or does not need it any more.
async fn reply(call: &ToolCall, text: &str, is_error: bool, log: impl Fn(Level, &str)) {
    let result = json!({"content": text, "is_error": is_error}).to_string();
    let (sender, receiver) = oneshot::channel::<ApiResult<String>>();
    let submit = |result| call.submit_reply(&result, move |outcome| drop(sender.send(outcome)));
    let outcome = match call.prepare_reply(&result).and_then(submit) {
        // Without an outcome the library has shut down.
        Ok(()) => receiver.await.unwrap_or_else(|_| Ok(String::new())),
        Err(error) => Err(error),
    };
    if let Err(error) = outcome {
        log(Level::Warn, &format!("not posted: {}: {error}", error.status().name()));
    }
}
