//! Scripted agents: what their steps do, and the report on how they were answered.

use serde_json::{Value, json};

use crate::{
    session_client::{Session, types},
    support::{Emulator, until},
};

#[test]
fn each_step_leaves_its_events() {
    let emulator = Emulator::start();
    let steps = json!([
        {"thinking": true},
        {"text": "two of them", "count": 2},
        {"start_thread": "helper"},
        {"tool": "bash", "input": {"command": "ls", "n": 1.50}, "thread": "helper"},
        {"custom_tool": "weather", "label": "w"},
        {"answer": "w", "content": [{"type": "text", "text": "sunny"}], "is_error": true},
        {"end_thread": "helper"},
        {"interrupt": true},
        {"tool": "read", "permission": "ask"},
        {"confirm": "read", "result": "deny", "deny_message": "no"},
        {"emit": {"type": "unheard.of", "x": [1]}},
        {"emit": {"type": "user.interrupt", "id": "sevt_mine", "processed_at": null}},
        {"idle": {"type": "refusal", "more": 1}},
    ]);
    let session = Session::with_steps(&emulator, steps);
    let events = session.events();
    assert_eq!(
        types(&events),
        [
            "session.status_running",
            "agent.thinking",
            "agent.message",
            "agent.message",
            "session.thread_created",
            "session.thread_status_running",
            "agent.tool_use",
            "agent.custom_tool_use",
            "user.custom_tool_result",
            "session.thread_status_terminated",
            "user.interrupt",
            "agent.tool_use",
            "user.tool_confirmation",
            "agent.tool_result",
            "unheard.of",
            "user.interrupt",
            "session.status_idle",
        ]
    );
    let thread = events[4]["session_thread_id"].as_str().unwrap();
    assert!(thread.starts_with("sthr_01"), "{thread}");
    let bash = &events[6];
    assert_eq!((&bash["name"], &bash["input"]), (&json!("bash"), &json!({"command": "ls", "n": 1.5})));
    assert_eq!((&bash["evaluated_permission"], &bash["session_thread_id"]), (&json!("allow"), &json!(thread)));
    assert_eq!(bash["evaluation"], json!({"type": "always_allow"}));
    assert_eq!((&events[7]["input"], &events[7]["evaluated_permission"]), (&json!({}), &Value::Null));
    assert_eq!((&events[8]["custom_tool_use_id"], &events[8]["is_error"]), (&events[7]["id"], &json!(true)));
    assert_eq!((&events[9]["session_thread_id"], &events[9]["agent_name"]), (&json!(thread), &json!("helper")));
    assert_eq!((&events[12]["tool_use_id"], &events[12]["deny_message"]), (&events[11]["id"], &json!("no")));
    assert_eq!(
        (&events[13]["tool_use_id"], &events[13]["content"][0]["text"], &events[13]["is_error"]),
        (&events[11]["id"], &json!("no"), &json!(true))
    );
    assert_eq!((&events[14]["x"], events[14]["processed_at"].is_string()), (&json!([1]), true));
    assert_eq!((&events[15]["id"], &events[15]["processed_at"]), (&json!("sevt_mine"), &Value::Null));
    assert_eq!(events[16]["stop_reason"], json!({"type": "refusal", "more": 1}));
    assert_eq!(session.each("ending"), ["bash thread_terminated", "w answered", "read denied"]);
    assert_eq!(session.report()["done"], true);
}

#[test]
fn a_session_that_waits_names_what_it_waits_for_again_until_nothing_is_left() {
    let emulator = Emulator::start();
    let steps = json!([{"tool": "bash"}, {"tool": "read", "permission": "ask"}, {"custom_tool": "weather"}, {"wait": "results"}, {"text": "done"}]);
    let session = Session::with_steps(&emulator, steps);
    let calls = session.calls();
    let id = |number: usize| calls[number]["id"].clone();
    let idle =
        || session.events().into_iter().rfind(|event| event["type"] == "session.status_idle").unwrap()["stop_reason"].clone();
    let requires = |ids: Value| json!({"type": "requires_action", "event_ids": ids});
    assert_eq!(idle(), requires(json!([id(0), id(1), id(2)])));
    assert_eq!(emulator.get(&session.path).ok()["status"], "idle");
    session.confirm(&calls[1], "allow").ok();
    session.answer(&calls[2]).ok();
    assert_eq!(idle(), requires(json!([id(0), id(1)])));
    session.answer(&calls[1]).ok();
    assert_eq!(idle(), requires(json!([id(0)])));
    let report = session.report();
    assert_eq!((&report["step"], &report["steps"], &report["done"]), (&json!(3), &json!(5), &json!(false)));
    session.answer(&calls[0]).ok();
    assert_eq!(idle(), json!({"type": "end_turn"}));
    let last = session.types();
    assert_eq!(last[last.len() - 3..], ["session.status_running", "agent.message", "session.status_idle"]);
}

#[test]
fn an_agent_can_wait_for_confirmations_alone() {
    let emulator = Emulator::start();
    let steps = json!([{"tool": "bash"}, {"tool": "read", "permission": "ask"}, {"wait": "confirmations"}, {"text": "go"}, {"wait": "results"}]);
    let session = Session::with_steps(&emulator, steps);
    let calls = session.calls();
    session.answer(&calls[0]).ok();
    assert_eq!(session.report()["step"], 2);
    session.confirm(&calls[1], "allow").ok();
    assert_eq!(session.report()["step"], 4);
    session.answer(&calls[1]).ok();
    assert_eq!(session.report()["done"], true);
}

#[test]
fn the_report_says_how_each_call_was_answered() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    emulator.post("/_emulator/scripts", json!({
        "environment_id": queue.environment,
        "steps": [
            {"tool": "bash", "label": "once"}, {"tool": "bash", "label": "twice"}, {"tool": "bash", "label": "late"},
            {"tool": "bash", "label": "early", "permission": "ask"}, {"tool": "bash", "label": "never", "permission": "deny"},
            {"wait": "results"},
        ],
    })).ok();
    queue.enqueue();
    let item = queue.poll_as("the worker");
    let worker = queue.with_token_of(&item).worker;
    let session = Session::of(&worker, item["data"]["id"].as_str().unwrap());
    let calls = session.calls();
    session.answer(&calls[0]).ok();
    session.answer(&calls[1]).ok();
    session.answer(&calls[1]).refused(400, "invalid_request_error", "");
    session.answer(&calls[3]).refused(400, "invalid_request_error", "");
    session.interrupt();
    session.answer(&calls[2]).refused(400, "invalid_request_error", "");
    assert_eq!(session.each("answered"), ["once once", "twice twice", "late late", "early late", "never never"]);
    assert_eq!(session.each("ending")[2..], ["late interrupted", "early interrupted", "never denied"]);
    let call = &session.calls()[1];
    let attempts = call["attempts"].as_array().unwrap();
    assert_eq!(attempts.len(), 2);
    for (attempt, accepted) in attempts.iter().zip([true, false]) {
        assert_eq!((&attempt["accepted"], attempt["refusal"].is_null()), (&json!(accepted), accepted));
        assert_eq!(attempt["content"], json!([{"type": "text", "text": "result of twice"}]));
        assert_eq!((&attempt["worker_id"], &attempt["delivery"]), (&json!("the worker"), &json!(1)));
        assert_eq!((&attempt["work_id"], &attempt["credential"]), (&item["id"], &json!("sessions_token")));
        assert_eq!((&attempt["type"], &attempt["is_error"]), (&json!("user.tool_result"), &json!(false)));
    }
    assert_eq!(session.report()["done"], true, "nothing is left to wait for");
    assert_eq!(emulator.get("/_emulator/scripts").ok()["data"], json!([session.report()]));
}

#[test]
fn without_a_permission_the_policies_of_the_sessions_agent_decide() {
    let emulator = Emulator::start();
    let toolset = json!({
        "type": "agent_toolset_20260401",
        "default_config": {"enabled": true, "permission_policy": {"type": "always_ask"}},
        "configs": [
            {"name": "read", "permission_policy": {"type": "always_allow"}}, {"name": "write", "enabled": false},
            {"type": "glob", "permission_policy": {"type": "auto"}},
        ],
    });
    let agent = json!({"type": "agent_with_overrides", "id": "a", "tools": [{"type": "custom", "name": "bash"}, toolset]});
    let session = Session::with_agent(&emulator, &agent);
    let tools = ["bash", "read", "write", "glob"].map(|tool| json!({"tool": tool}));
    session.script(json!(tools));
    assert_eq!(session.each("permission"), ["bash ask", "read allow", "write deny", "glob allow"]);
    let events = session.list("?types[]=agent.tool_use").ok();
    let evaluations: Vec<&Value> = events["data"].as_array().unwrap().iter().map(|event| &event["evaluation"]["type"]).collect();
    assert_eq!(evaluations, [&json!("always_ask"), &json!("always_allow"), &json!(null), &json!("auto")]);
}

#[test]
fn an_interrupt_or_the_end_of_a_thread_ends_just_its_calls() {
    let emulator = Emulator::start();
    let steps = json!([
        {"start_thread": "a"}, {"start_thread": "b"}, {"tool": "bash", "label": "of a", "thread": "a"},
        {"tool": "bash", "label": "of b", "thread": "b"}, {"tool": "bash", "label": "own"}, {"interrupt": "a"}, {"end_thread": "b"},
        {"tool": "bash", "label": "dead", "thread": "b"}, {"wait": "results"}, {"terminate": true}, {"text": "never said"},
    ]);
    let session = Session::with_steps(&emulator, steps);
    assert_eq!(session.each("ending"), ["of a interrupted", "of b thread_terminated", "own null", "dead thread_terminated"]);
    session.answer(&session.calls()[2]).ok();
    assert_eq!(session.types().last().unwrap(), "session.status_terminated");
    assert_eq!(emulator.get(&session.path).ok()["status"], "terminated");
    assert_eq!(session.report()["done"], true);
}

#[test]
fn an_event_that_ends_the_session_ends_its_calls_as_well() {
    let emulator = Emulator::start();
    let session =
        Session::with_steps(&emulator, json!([{"tool": "bash"}, {"emit": {"type": "session.deleted"}}, {"text": "never said"}]));
    session.answer(&session.calls()[0]).refused(400, "invalid_request_error", "");
    let call = session.calls().remove(0);
    assert_eq!((&call["ending"], &call["answered"]), (&json!("session_terminated"), &json!("late")));
    assert_eq!(session.types().last().unwrap(), "session.deleted");
}

#[test]
fn a_script_can_wait_for_a_message_and_for_a_stream() {
    let emulator = Emulator::start();
    let session = Session::new(&emulator);
    let steps = json!([{"wait": "stream"}, {"pause_ms": 30}, {"text": "seen"}]);
    emulator.post("/_emulator/scripts", json!({"session_id": session.id, "start": "message", "steps": steps})).ok();
    assert_eq!(session.types(), [] as [&str; 0]);
    session.say("begin").ok();
    assert_eq!(session.report()["step"], 0);
    let mut stream = session.stream("");
    let live = types(&stream.until("session.status_idle"));
    assert_eq!(live, ["session.status_running", "agent.message", "session.status_idle"]);
    session.script(json!([{"text": "more"}]));
    assert_eq!(types(&stream.until("session.status_idle")), live);
}

#[test]
fn a_script_can_be_left_for_the_next_sessions_of_an_environment() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let leave = |steps: Value, more: Value| {
        let mut body = json!({"environment_id": queue.environment, "steps": steps});
        body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        emulator.post("/_emulator/scripts", body).ok()
    };
    leave(json!([{"text": "a"}]), json!({"count": 2}));
    leave(json!([{"text": "b"}]), json!({"start": "message"}));
    let create = || emulator.post("/v1/sessions", json!({"environment_id": queue.environment})).ok().string("id");
    let said = |session: &Session| {
        let said = session.list("?types[]=agent.message").ok();
        said["data"].as_array().unwrap().iter().map(|event| event["content"][0]["text"].clone()).collect::<Vec<_>>()
    };
    let first = Session::of(&emulator, &create());
    queue.enqueue();
    queue.claim();
    let second = Session::of(&emulator, queue.poll("").ok()["data"]["id"].as_str().unwrap());
    let third = Session::of(&emulator, &create());
    let fourth = Session::of(&emulator, &create());
    assert_eq!((said(&first), said(&second)), (vec![json!("a")], vec![json!("a")]));
    third.say("go").ok();
    fourth.say("go").ok();
    assert_eq!((said(&third), said(&fourth)), (vec![json!("b")], vec![]));
    until("all are done", || {
        emulator.get("/_emulator/scripts").ok()["data"].as_array().unwrap().iter().all(|one| one["done"] == true)
    });
}

#[test]
fn a_script_that_makes_no_sense_is_refused_as_a_whole() {
    let emulator = Emulator::start();
    let session = Session::new(&emulator);
    let post = |body: Value| emulator.post("/_emulator/scripts", body);
    for steps in [
        json!([{"text": "a"}, {}]),
        json!([{"text": "a"}, {"confirm": "bash", "result": "allow"}]),
        json!([{"text": "a"}, {"answer": "bash"}]),
        json!([{"text": "a"}, {"tool": "bash", "thread": "nobody"}]),
        json!([{"text": "a"}, {"end_thread": "nobody"}]),
        json!({}),
        json!(null),
    ] {
        post(json!({"session_id": session.id, "steps": steps})).refused(400, "invalid_request_error", "");
        post(json!({"environment_id": session.environment, "steps": steps})).refused(400, "invalid_request_error", "");
    }
    assert_eq!(session.types(), [] as [&str; 0]);
    for body in [
        json!({"steps": []}),
        json!({"session_id": session.id, "environment_id": session.environment, "steps": []}),
        json!({"environment_id": session.environment, "steps": [], "count": 0}),
        json!({"session_id": session.id, "steps": [], "start": "later"}),
    ] {
        post(body).refused(400, "invalid_request_error", "");
    }
    post(json!({"session_id": "session_nothing", "steps": []})).refused(404, "not_found_error", "");
    post(json!({"environment_id": "env_nothing", "steps": []})).refused(404, "not_found_error", "environment_not_found");
}
