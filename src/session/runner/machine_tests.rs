//! Which calls run, what voids them, and when the session is over.

use super::*;
use crate::session::event::{Permission, ToolUse};

pub(super) const fn s(seconds: u64) -> ClockTime {
    Duration::from_secs(seconds)
}

pub(super) const MAX_IDLE: Duration = s(60);
pub(super) const WINDOW: Duration = s(300);

/// A machine, and the time. What it answers is written down, one word after the other.
pub(super) struct Bench {
    pub(super) machine: RunnerMachine,
    pub(super) now: ClockTime,
}

pub(super) fn event(id: &str, at: i64, kind: EventKind) -> Event {
    Event { id: id.to_owned(), processed_at: Some(EventTime::at(at)), kind }
}

/// A call whose words are its id, and after it `ask`, `deny`, `foreign` or the name of a thread.
pub(super) fn call(words: &str) -> Event {
    let mut words = words.split(' ');
    let id = words.next().unwrap_or_default().to_owned();
    let (mut permission, mut name, mut thread) = (Permission::Allow, "bash", "");
    for word in words {
        match word {
            "ask" => permission = Permission::Ask,
            "deny" => permission = Permission::Deny,
            "foreign" => name = "app",
            other => thread = other,
        }
    }
    let (name, thread, processed_at) = (name.to_owned(), thread.to_owned(), Some(EventTime::at(10)));
    let call = ToolUse { id: id.clone(), name, is_custom: false, processed_at, thread, permission, json: String::new() };
    event(&id, 10, EventKind::ToolUse(call))
}

pub(super) fn answer(id: &str) -> Event {
    event(&format!("answer {id}"), 20, EventKind::Result(id.to_owned()))
}

pub(super) fn verdict(id: &str, is_allowed: bool) -> Event {
    event(&format!("verdict {id}"), 20, EventKind::Confirmation { call: id.to_owned(), is_allowed })
}

pub(super) fn ended(thread: &str) -> Event {
    event(&format!("ended {thread}"), 20, EventKind::ThreadTerminated(thread.to_owned()))
}

pub(super) fn interrupt(at: i64) -> Event {
    event(&format!("interrupt {at}"), at, EventKind::Interrupt { is_session_wide: true })
}

pub(super) fn turn_end() -> Event {
    event("idle", 30, EventKind::Idle { ends_turn: true })
}

pub(super) fn other(id: &str) -> Event {
    event(id, 30, EventKind::Other)
}

impl Bench {
    pub(super) fn new(concurrency: usize) -> Bench {
        let tools = ["bash".to_owned()].into();
        let (toolset, max_idle) = ([].into(), Some(MAX_IDLE));
        let config = RunnerConfig { tools, toolset, concurrency, max_idle, tool_timeout: Some(s(120)) };
        let mut bench = Bench { machine: RunnerMachine::new(s(0), config), now: s(0) };
        assert_eq!(bench.tick(), "retrieve");
        assert_eq!(bench.apply(RunnerEvent::Retrieved { is_terminated: false }), "open");
        bench
    }

    /// One whose stream is open, and whose history is this.
    pub(super) fn with_history(events: Vec<Event>) -> (Bench, String) {
        let mut bench = Bench::new(1);
        assert_eq!(bench.apply(RunnerEvent::Opened), "history");
        let said = bench.apply(RunnerEvent::HistoryRead(events));
        (bench, said)
    }

    pub(super) fn live(concurrency: usize) -> Bench {
        let mut bench = Bench::new(concurrency);
        assert_eq!(bench.apply(RunnerEvent::Opened), "history");
        assert_eq!(bench.apply(RunnerEvent::HistoryRead(vec![])), "");
        bench
    }

    pub(super) fn apply(&mut self, event: RunnerEvent) -> String {
        let actions = self.machine.next(self.now, event, 0.0);
        let mut said = Vec::new();
        said.extend(actions.void.iter().map(|(id, reason)| format!("void {id} {}", reason.name())));
        said.extend(actions.outcomes.iter().map(|(id, outcome)| match outcome {
            Outcome::Void(reason) => format!("outcome {id} {}", reason.name()),
            other => format!("outcome {id} {other:?}").to_lowercase(),
        }));
        said.extend(actions.run.iter().map(|call| format!("run {}", call.id)));
        said.extend(actions.timed_out.iter().map(|call| format!("timed out {}", call.id)));
        said.extend(actions.send.iter().map(|call| format!("send {}", call.id)));
        said.extend((0..actions.denied).map(|_| "denied".to_owned()));
        let flags = [(actions.retrieve, "retrieve"), (actions.open, "open"), (actions.read_history, "history")];
        said.extend(flags.iter().filter(|(is_set, _)| *is_set).map(|(_, name)| (*name).to_owned()));
        said.extend(actions.end.map(|end| format!("end {}", end.name())));
        said.join(", ")
    }

    pub(super) fn tick(&mut self) -> String {
        self.apply(RunnerEvent::Tick)
    }

    pub(super) fn see(&mut self, event: Event) -> String {
        self.apply(RunnerEvent::Live(event))
    }

    pub(super) fn reply(&mut self, call: &str) -> String {
        self.apply(RunnerEvent::Replied { call: call.to_owned(), window: WINDOW })
    }

    pub(super) fn sent(&mut self, call: &str, result: SendResult) -> String {
        self.apply(RunnerEvent::Sent { call: call.to_owned(), result })
    }

    /// Breaks the connection, and opens it again.
    pub(super) fn reconnect(&mut self) {
        assert_eq!(self.apply(RunnerEvent::LinkFailed(LinkFailure::Passing)), "");
        self.now += s(10);
        assert_eq!(self.tick(), "open");
        assert_eq!(self.apply(RunnerEvent::Opened), "history");
    }

    /// Lets time pass, and returns what happens then.
    pub(super) fn after(&mut self, seconds: u64) -> String {
        self.now += s(seconds);
        self.tick()
    }
}

#[test]
fn the_stream_is_opened_before_the_history_is_read_and_a_terminated_session_gets_none() {
    let mut bench = Bench::new(1);
    assert_eq!(bench.see(call("a")), "", "events have to wait for the history");
    let config = bench.machine.config.clone();
    let mut bench = Bench { machine: RunnerMachine::new(s(0), config), now: s(0) };
    assert_eq!(bench.tick(), "retrieve");
    assert_eq!(bench.apply(RunnerEvent::Retrieved { is_terminated: true }), "end terminated");
    assert_eq!(bench.apply(RunnerEvent::Opened), "end terminated");
}

#[test]
fn reconnecting_waits_longer_each_time_until_a_stream_was_healthy() {
    let mut bench = Bench::new(1);
    for pause in [500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000] {
        let actions = bench.machine.next(bench.now, RunnerEvent::LinkFailed(LinkFailure::Passing), 0.0);
        assert_eq!(actions.wake_at, Some(bench.now + Duration::from_millis(pause)));
        bench.now += Duration::from_millis(pause);
        assert_eq!(bench.tick(), "open");
    }
    for (lived, pause) in [(4, 10_000), (5, 500)] {
        bench.apply(RunnerEvent::Opened);
        bench.apply(RunnerEvent::HistoryRead(vec![]));
        bench.now += s(lived);
        let actions = bench.machine.next(bench.now, RunnerEvent::LinkFailed(LinkFailure::Passing), 0.0);
        assert_eq!(actions.wake_at, Some(bench.now + Duration::from_millis(pause)), "{lived}");
        bench.now += Duration::from_millis(pause);
        assert_eq!(bench.tick(), "open");
    }
    let actions = bench.machine.next(bench.now, RunnerEvent::LinkFailed(LinkFailure::Passing), 1.0);
    assert_eq!(actions.wake_at, Some(bench.now + Duration::from_millis(750)), "with jitter");
}

#[test]
fn a_permanent_refusal_ends_the_session_at_once() {
    for (failure, end) in [(LinkFailure::NotFound, "end not_found"), (LinkFailure::Refused, "end refused")] {
        assert_eq!(Bench::new(1).apply(RunnerEvent::LinkFailed(failure)), end);
        let (mut bench, _) = Bench::with_history(vec![call("a")]);
        assert_eq!(bench.apply(RunnerEvent::LinkFailed(failure)), format!("void a session_ended, {end}"));
    }
}

#[test]
fn calls_of_the_history_run_in_order_unless_they_are_answered() {
    let events = vec![call("a"), call("b"), answer("a"), call("c"), turn_end()];
    let (mut bench, said) = Bench::with_history(events);
    assert_eq!(said, "run b");
    assert_eq!(bench.see(call("b")), "", "what comes both ways is one call");
    assert_eq!(bench.see(call("a")), "");
    assert_eq!(bench.reply("b"), "send b");
    assert_eq!(bench.sent("b", SendResult::Done), "outcome b posted, run c");
}

#[test]
fn nothing_of_a_history_that_is_not_whole_runs() {
    let mut bench = Bench::new(1);
    bench.apply(RunnerEvent::Opened);
    assert_eq!(bench.apply(RunnerEvent::HistoryFailed(vec![call("a"), ended("t"), interrupt(5)])), "");
    assert_eq!(bench.see(call("b")), "", "it may be answered on a page that could not be read");
    assert_eq!(bench.see(call("c t")), "");
    assert_eq!(bench.after(1), "history", "it is read again");
    assert_eq!(bench.apply(RunnerEvent::HistoryRead(vec![call("a"), answer("a"), call("b"), call("c t")])), "run b");
    assert_eq!(bench.reply("b"), "send b");
    assert_eq!(bench.sent("b", SendResult::Done), "outcome b posted", "the thread has ended");
}

#[test]
fn a_verdict_of_a_history_that_is_not_whole_releases_no_call() {
    let (mut bench, _) = Bench::with_history(vec![call("a ask")]);
    bench.reconnect();
    assert_eq!(bench.apply(RunnerEvent::HistoryFailed(vec![call("a ask"), verdict("a", true)])), "");
    assert_eq!(bench.see(other("x")), "");
    bench.after(1);
    assert_eq!(bench.apply(RunnerEvent::HistoryRead(vec![call("a ask"), verdict("a", true), answer("a")])), "");
}

#[test]
fn calls_wait_for_the_history_after_a_reconnection() {
    let mut bench = Bench::live(1);
    bench.see(call("a"));
    assert_eq!(bench.see(call("b")), "");
    bench.reply("a");
    assert_eq!(bench.apply(RunnerEvent::LinkFailed(LinkFailure::Passing)), "");
    assert_eq!(bench.sent("a", SendResult::Done), "outcome a posted", "another client may have answered b");
    bench.after(1);
    bench.apply(RunnerEvent::Opened);
    assert_eq!(bench.apply(RunnerEvent::HistoryRead(vec![call("a"), call("b"), answer("a"), answer("b")])), "");
}

/// The table of permissions and verdicts, with the verdict before and after the call, and in the history.
#[test]
fn the_gate_lets_calls_run_as_permissions_and_verdicts_say() {
    for (words, allowed, expected) in [
        ("a", None, "run a"),
        ("a", Some(true), "run a"),
        ("a", Some(false), "denied"),
        ("a ask", None, ""),
        ("a ask", Some(true), "run a"),
        ("a ask", Some(false), "denied"),
        ("a deny", None, "denied"),
        ("a deny", Some(true), "denied"),
        ("a foreign", None, ""),
        ("a foreign ask", Some(true), ""),
        ("a foreign ask", Some(false), "denied"),
    ] {
        let allowed_event = allowed.map(|allowed| verdict("a", allowed));
        let events: Vec<_> = [call(words)].into_iter().chain(allowed_event.clone()).collect();
        let (mut bench, said) = Bench::with_history(events.clone());
        assert_eq!(said, expected, "{words} {allowed:?} in the history");
        assert_eq!(bench.reconnect_and_read(events.clone()), "", "{words} {allowed:?} once more");
        let mut bench = Bench::live(1);
        let said: Vec<String> = events.iter().rev().map(|event| bench.see(event.clone())).collect();
        assert_eq!(said.concat(), expected, "{words} {allowed:?} with the verdict first");
        if words.contains("ask") {
            let mut bench = Bench::live(1);
            let said: Vec<String> = events.into_iter().map(|event| bench.see(event)).collect();
            assert_eq!(said.concat(), expected, "{words} {allowed:?} live");
        }
    }
}

impl Bench {
    fn reconnect_and_read(&mut self, events: Vec<Event>) -> String {
        self.reconnect();
        self.apply(RunnerEvent::HistoryRead(events))
    }
}

#[test]
fn an_answer_by_another_client_lets_a_call_go() {
    let (mut bench, said) = Bench::with_history(vec![call("a"), call("b ask"), call("c")]);
    assert_eq!(said, "run a");
    assert_eq!(bench.see(answer("b")), "");
    assert_eq!(bench.see(verdict("b", true)), "", "a verdict comes too late");
    assert_eq!(bench.see(answer("a")), "void a answered, run c");
    assert_eq!(bench.reply("a"), "");
    bench.reconnect();
    assert_eq!(bench.apply(RunnerEvent::HistoryRead(vec![answer("c")])), "void c answered");
}

#[test]
fn an_interrupt_voids_the_calls_up_to_its_time() {
    for (at, expected) in [(9, ""), (10, "void a interrupted"), (99, "void a interrupted")] {
        let mut bench = Bench::live(1);
        assert_eq!(bench.see(call("a")), "run a");
        assert_eq!(bench.see(call("b ask")), "");
        assert_eq!(bench.see(interrupt(at)), expected, "{at}");
        assert_eq!(bench.see(verdict("b", true)), "", "{at}");
        let (_, said) = Bench::with_history(vec![interrupt(at), call("a")]);
        assert_eq!(said, if expected.is_empty() { "run a" } else { "" }, "listed before its calls, {at}");
    }
    let mut bench = Bench::live(1);
    bench.see(call("a"));
    let queued = Event { processed_at: None, ..interrupt(99) };
    assert_eq!(bench.see(queued), "", "one that is queued has no effect yet");
    let of_a_thread = event("i", 99, EventKind::Interrupt { is_session_wide: false });
    assert_eq!(bench.see(of_a_thread), "", "one of a thread is the server's business");
    assert_eq!(bench.see(interrupt(99)), "void a interrupted", "now it was processed");
    assert_eq!(bench.see(interrupt(50)), "");
    assert_eq!(bench.see(Event { processed_at: Some(EventTime::at(100)), ..late("b", 100) }), "run b", "a later call runs");
}

fn late(id: &str, at: i64) -> Event {
    let mut event = call(id);
    if let EventKind::ToolUse(call) = &mut event.kind {
        call.processed_at = Some(EventTime::at(at));
    }
    event
}

#[test]
fn the_end_of_a_thread_voids_its_calls_also_those_that_come_later() {
    let mut bench = Bench::live(2);
    assert_eq!(bench.see(call("a t")), "run a");
    assert_eq!(bench.see(call("b")), "run b");
    assert_eq!(bench.see(call("c t ask")), "");
    assert_eq!(bench.see(ended("t")), "void a thread_terminated");
    assert_eq!(bench.see(call("d t")), "");
    assert_eq!(bench.reply("b"), "send b");
}

#[test]
fn one_call_runs_at_a_time_in_a_thread_and_no_more_than_allowed() {
    let mut bench = Bench::live(2);
    assert_eq!(bench.see(call("a")), "run a");
    assert_eq!(bench.see(call("b")), "", "of the same thread");
    assert_eq!(bench.see(call("c t")), "run c");
    assert_eq!(bench.see(call("d u")), "", "there are two already");
    assert_eq!(bench.reply("a"), "send a");
    assert_eq!(bench.sent("a", SendResult::Done), "outcome a posted, run b");
    assert_eq!(bench.reply("c"), "send c");
    assert_eq!(bench.sent("c", SendResult::Done), "outcome c posted, run d");
}

#[test]
fn a_call_whose_time_is_up_is_answered_with_an_error() {
    let mut bench = Bench::live(1);
    bench.see(call("a"));
    assert_eq!(bench.after(500), "", "its time runs once the host has taken it");
    bench.apply(RunnerEvent::Taken { call: "a".into(), at: bench.now });
    assert_eq!(bench.after(119), "");
    bench.apply(RunnerEvent::Taken { call: "a".into(), at: bench.now });
    assert_eq!(bench.after(1), "void a timed_out, timed out a, send a");
    assert_eq!(bench.reply("a"), "", "too late");
    assert_eq!(bench.sent("a", SendResult::Done), "");
}

#[test]
fn the_time_of_a_call_runs_from_its_taking_also_when_the_machine_learns_of_that_late() {
    let mut bench = Bench::live(1);
    let offered = bench.now;
    bench.see(call("a"));
    assert_eq!(bench.machine.next_wake(), Some(offered + s(120)), "the earliest time at which it may be up");
    bench.after(10);
    let taken = bench.now;
    bench.now = offered + s(120);
    assert_eq!(bench.apply(RunnerEvent::Taken { call: "a".into(), at: taken }), "");
    assert_eq!(bench.machine.next_wake(), Some(taken + s(120)));
    assert_eq!(bench.after(10), "void a timed_out, timed out a, send a");
}

#[test]
fn a_call_that_is_let_go_is_left_to_others() {
    let mut bench = Bench::live(1);
    bench.see(call("a"));
    bench.see(call("b"));
    assert_eq!(bench.apply(RunnerEvent::LetGo { call: "a".into() }), "run b");
    assert_eq!(bench.reconnect_and_read(vec![call("a"), call("b")]), "", "it is not handed out again");
}

#[test]
fn the_session_ends_when_it_says_so_live_or_in_the_history() {
    for (kind, end) in [(EventKind::Terminated, "end terminated"), (EventKind::Deleted, "end deleted")] {
        let mut bench = Bench::live(1);
        bench.see(call("a"));
        assert_eq!(bench.see(event("e", 30, kind.clone())), format!("void a session_ended, {end}"));
        let (_, said) = Bench::with_history(vec![call("a"), event("e", 30, kind.clone())]);
        assert_eq!(said, end);
        let mut bench = Bench::new(1);
        bench.apply(RunnerEvent::Opened);
        assert_eq!(bench.apply(RunnerEvent::HistoryFailed(vec![event("e", 30, kind)])), end);
    }
}

#[test]
fn the_end_of_a_turn_starts_the_countdown_and_activity_stops_it() {
    for (event, is_neutral) in [
        (other("x"), false),
        (call("a foreign"), false),
        (answer("a"), false),
        (event("i", 30, EventKind::Idle { ends_turn: false }), false),
        (verdict("a", true), true),
        (interrupt(5), true),
        (ended("t"), true),
    ] {
        let mut bench = Bench::live(1);
        assert_eq!(bench.see(turn_end()), "");
        assert_eq!(bench.after(59), "");
        assert_eq!(bench.see(event.clone()), "");
        assert_eq!(bench.after(1), if is_neutral { "end idle" } else { "" }, "{event:?}");
        assert_eq!(bench.after(600), if is_neutral { "end idle" } else { "" }, "{event:?}");
    }
}

#[test]
fn calls_put_the_countdown_off_and_then_the_whole_of_it_begins() {
    for words in ["a", "a ask"] {
        let mut bench = Bench::live(1);
        bench.see(call(words));
        bench.see(turn_end());
        assert_eq!(bench.after(1000), "", "{words}");
        if words == "a ask" {
            assert_eq!(bench.see(verdict("a", true)), "run a");
        }
        bench.reply("a");
        bench.sent("a", SendResult::Done);
        assert_eq!(bench.after(59), "", "{words}");
        assert_eq!(bench.after(1), "end idle", "{words}");
    }
    let mut bench = Bench::live(1);
    bench.see(call("a ask"));
    bench.see(turn_end());
    bench.see(verdict("a", false));
    assert_eq!(bench.after(60), "end idle", "also for a call that is denied");
    let mut bench = Bench::live(1);
    bench.see(call("a foreign ask"));
    bench.see(turn_end());
    bench.see(verdict("a", true));
    assert_eq!(bench.after(600), "", "its owner must still answer");
}

#[test]
fn the_history_decides_anew_about_the_countdown() {
    for (events, is_counting) in [
        (vec![], false),
        (vec![turn_end()], true),
        (vec![turn_end(), verdict("x", true), interrupt(5), other("x")], false),
        (vec![turn_end(), verdict("x", true), interrupt(5)], true),
        (vec![call("a foreign"), turn_end()], false),
        (vec![call("a foreign"), answer("a"), turn_end()], true),
        (vec![call("a ask"), turn_end()], false),
    ] {
        let (mut bench, _) = Bench::with_history(events.clone());
        assert_eq!(bench.after(60), if is_counting { "end idle" } else { "" }, "{events:?}");
    }
    // It goes on over reconnections if nothing has happened.
    let (mut bench, _) = Bench::with_history(vec![turn_end()]);
    assert_eq!(bench.after(40), "");
    assert_eq!(bench.reconnect_and_read(vec![turn_end()]), "");
    assert_eq!(bench.after(10), "end idle");
}

#[test]
fn while_the_history_is_unknown_the_end_of_a_thread_does_not_start_the_countdown() {
    for (is_stale, expected) in [(false, "end idle"), (true, "")] {
        let mut bench = Bench::live(1);
        bench.see(call("a t"));
        bench.see(turn_end());
        if is_stale {
            bench.reconnect();
            bench.apply(RunnerEvent::HistoryFailed(vec![ended("t")]));
        } else {
            bench.see(ended("t"));
        }
        bench.now += s(60);
        let actions = bench.machine.next(bench.now, RunnerEvent::Tick, 0.0);
        assert_eq!(actions.end.map_or(String::new(), |end| format!("end {}", end.name())), expected, "{is_stale}");
    }
}

#[test]
fn the_end_of_the_lease_voids_everything() {
    for end in [End::LeaseLost, End::StopRequested, End::LeaseEnded, End::Shutdown, End::Closed] {
        let mut bench = Bench::live(2);
        bench.see(call("a"));
        bench.see(call("b t"));
        bench.reply("b");
        let said = bench.apply(RunnerEvent::LeaseEnded(end));
        assert_eq!(said, format!("void a session_ended, outcome b session_ended, end {}", end.name()));
        assert_eq!(bench.sent("b", SendResult::Done), format!("end {}", end.name()));
    }
}
