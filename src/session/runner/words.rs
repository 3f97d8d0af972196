//! What the state machine of a session is told, and what it answers: events, results of requests, actions.

use crate::runtime::clock::ClockTime;
use crate::session::event::{Event, ToolUse};
use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

/// What the machine needs to know of the configuration.
#[derive(Debug, Clone)]
pub struct RunnerConfig {
    /// The names of the tools that the host serves.
    pub tools: HashSet<String>,
    /// The names of the tools that the toolset serves, unless the host does.
    pub toolset: HashSet<&'static str>,
    /// The most calls that run at once.
    pub concurrency: usize,
    /// How long the session may be idle after the end of a turn; `None`: without limit.
    pub max_idle: Option<Duration>,
    /// How long a call may run; `None`: without limit.
    pub tool_timeout: Option<Duration>,
}

/// Who runs a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ServedBy {
    /// The host.
    Host,
    /// The helper of the session.
    Toolset,
}

impl RunnerConfig {
    /// Returns who runs a call. `None`: it is left to other clients. A custom tool is never the toolset's, whatever its name.
    pub fn served_by(&self, call: &ToolUse) -> Option<ServedBy> {
        if self.tools.contains(&call.name) {
            return Some(ServedBy::Host);
        }
        let is_ours = !call.is_custom && self.toolset.contains(call.name.as_str());
        is_ours.then_some(ServedBy::Toolset)
    }
}

/// An event in the life of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum RunnerEvent {
    /// Time has passed.
    Tick,
    /// The session was retrieved.
    Retrieved {
        /// Whether it is terminated or archived.
        is_terminated: bool,
    },
    /// The stream is open.
    Opened,
    /// The session could not be retrieved, or the stream not opened, or the stream has ended. Also a refusal of the history.
    LinkFailed(LinkFailure),
    /// The whole history was read: its events, oldest first.
    HistoryRead(Vec<Event>),
    /// A page of the history could not be read: the events before it.
    HistoryFailed(Vec<Event>),
    /// An event of the stream.
    Live(Event),
    /// The host has taken a call: its time runs. The event may come late.
    Taken {
        /// The call.
        call: String,
        /// When.
        at: ClockTime,
    },
    /// The host has replied to a call.
    Replied {
        /// The call.
        call: String,
        /// How long to try to send the result.
        window: Duration,
    },
    /// The host lets a call go, without a reply.
    LetGo {
        /// The call.
        call: String,
    },
    /// An attempt to send a result has ended.
    Sent {
        /// The call.
        call: String,
        /// How.
        result: SendResult,
    },
    /// The lease has ended, or the host ends the session.
    LeaseEnded(End),
}

/// Why there is no connection to the session.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkFailure {
    /// It may work next time.
    Passing,
    /// There is no such session.
    NotFound,
    /// Refused permanently, for another reason.
    Refused,
}

/// How an attempt to send a result ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SendResult {
    /// The session has the result.
    Done,
    /// Refused permanently: the call takes no result, or not this one.
    Refused,
    /// A failure that may pass.
    Failed {
        /// Whether the session may have the result all the same.
        may_have_arrived: bool,
        /// The wait that the server asked for.
        retry_after: Option<Duration>,
    },
}

/// What the driver has to do. The order of the fields is the order in which it has to.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Actions {
    /// Calls that are void, whether the host has taken them or not: they need no reply.
    pub void: Vec<(String, VoidReason)>,
    /// Replies of the host that have an outcome.
    pub outcomes: Vec<(String, Outcome)>,
    /// Calls to hand to who serves them.
    pub run: Vec<Arc<ToolUse>>,
    /// Calls whose time is up: to be answered with an error in place of the host's result, which [`send`](Actions::send) then sends.
    pub timed_out: Vec<Arc<ToolUse>>,
    /// Calls whose result has to be sent.
    pub send: Vec<Arc<ToolUse>>,
    /// Calls that are settled: their results are not needed any more.
    pub settled: Vec<String>,
    /// How many calls were denied.
    pub denied: u64,
    /// Retrieve the session.
    pub retrieve: bool,
    /// Open the stream.
    pub open: bool,
    /// Read the history. Events of the stream must wait meanwhile.
    pub read_history: bool,
    /// Send a [`RunnerEvent::Tick`] at this time, unless something happens before.
    pub wake_at: Option<ClockTime>,
    /// The session is over.
    pub end: Option<End>,
}

/// Why a call needs no reply any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VoidReason {
    /// A user has interrupted the session.
    Interrupted,
    /// The call's thread has ended.
    ThreadTerminated,
    /// Another client has answered it.
    Answered,
    /// Its time was up; it was answered with an error.
    TimedOut,
    /// The session is over.
    SessionEnded,
}

impl VoidReason {
    /// Returns its name in results.
    pub fn name(self) -> &'static str {
        match self {
            VoidReason::Interrupted => "interrupted",
            VoidReason::ThreadTerminated => "thread_terminated",
            VoidReason::Answered => "answered",
            VoidReason::TimedOut => "timed_out",
            VoidReason::SessionEnded => "session_ended",
        }
    }
}

/// What became of a reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The session has the result.
    Posted,
    /// The call needed no reply any more.
    Void(VoidReason),
    /// The server did not take it, and no attempt succeeded in time. It is kept, and sent again after the next reading of the history.
    Parked,
}

/// Why a session is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It was idle for long enough.
    Idle,
    /// It is terminated.
    Terminated,
    /// It is deleted.
    Deleted,
    /// There is no such session.
    NotFound,
    /// The server refuses to show it.
    Refused,
    /// The item has to be stopped.
    StopRequested,
    /// The lease is lost.
    LeaseLost,
    /// The lease was finished, abandoned or released.
    LeaseEnded,
    /// The library is being shut down.
    Shutdown,
    /// The host has freed the session.
    Closed,
}

impl End {
    /// Returns its name in results.
    pub fn name(self) -> &'static str {
        match self {
            End::Idle => "idle",
            End::Terminated => "terminated",
            End::Deleted => "deleted",
            End::NotFound => "not_found",
            End::Refused => "refused",
            End::StopRequested => "stop_requested",
            End::LeaseLost => "lease_lost",
            End::LeaseEnded => "lease_ended",
            End::Shutdown => "shutdown",
            End::Closed => "closed",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::event::EventKind;

    #[test]
    fn the_host_comes_before_the_toolset_which_serves_no_custom_tool() {
        let tools = ["echo".to_owned(), "bash".to_owned()].into();
        let toolset = ["bash", "read"].into();
        let config = RunnerConfig { tools, toolset, concurrency: 1, max_idle: None, tool_timeout: None };
        for (kind, name, expected) in [
            ("agent.tool_use", "echo", Some(ServedBy::Host)),
            ("agent.custom_tool_use", "echo", Some(ServedBy::Host)),
            ("agent.tool_use", "bash", Some(ServedBy::Host)),
            ("agent.tool_use", "read", Some(ServedBy::Toolset)),
            ("agent.custom_tool_use", "read", None),
            ("agent.tool_use", "write", None),
        ] {
            let event = Event::parse(&format!(r#"{{"type":"{kind}","id":"c","name":"{name}"}}"#)).map(|event| event.kind);
            let Some(EventKind::ToolUse(call)) = event else { panic!("{event:?}") };
            assert_eq!(config.served_by(&call), expected, "{kind} {name}");
        }
    }
}
