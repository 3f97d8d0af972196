//! The events of a session: what lists show, and what clients may send.

use serde_json::{Value, json};

use crate::{
    session_client::{Session, result, types},
    support::{Emulator, Scratch, until},
};

fn ids(events: &Value) -> Vec<String> {
    events.as_array().unwrap().iter().map(|event| event["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_message_begins_a_turn_and_an_agent_without_a_script_ends_it() {
    let emulator = Emulator::start();
    let session = Session::new(&emulator);
    assert_eq!(session.list("").ok().body, json!({"data": [], "next_page": null}));
    let sent = session.say("hello").ok();
    let [event] = &sent["data"].as_array().unwrap()[..] else { panic!("{}", sent.text()) };
    let id = event["id"].as_str().unwrap();
    assert!(id.starts_with("sevt_01") && id.len() == 29, "{id}");
    assert_eq!((&event["type"], &event["processed_at"]), (&json!("user.message"), &json!(null)));

    let events = session.events();
    assert_eq!(types(&events), ["user.message", "session.status_running", "session.status_idle"]);
    assert_eq!((&events[0]["id"], &events[0]["content"]), (&event["id"], &event["content"]));
    assert_eq!(events[2]["stop_reason"], json!({"type": "end_turn"}));
    let times: Vec<&str> = events.iter().map(|event| event["processed_at"].as_str().unwrap()).collect();
    assert!(times.is_sorted() && times[0] != times[1], "{times:?}");
    assert_eq!(emulator.get(&session.path).ok()["status"], "idle");
}

#[test]
fn a_list_is_paged_in_both_orders_and_filtered() {
    let emulator = Emulator::start();
    let session = Session::with_steps(&emulator, json!([{"text": "a", "count": 5}, {"thinking": true}]));
    let all = session.events();
    assert_eq!(all.len(), 8);
    for (order, expected) in [("asc", all.clone()), ("desc", all.iter().rev().cloned().collect())] {
        let (mut seen, mut page) = (Vec::new(), String::new());
        loop {
            let answer = session.list(&format!("?order={order}&limit=3{page}")).ok();
            seen.extend(answer["data"].as_array().unwrap().clone());
            match answer["next_page"].as_str() {
                Some(next) => page = format!("&page={}", next.replace('=', "%3D")),
                None => break,
            }
        }
        assert_eq!(seen, expected, "{order}");
        let other = if order == "asc" { "desc" } else { "asc" };
        session.list(&format!("?order={other}{page}")).refused(400, "invalid_request_error", "");
    }
    let found = |query: &str| ids(&session.list(query).ok()["data"]);
    let kinds = "?types%5B%5D=agent.thinking&types[]=session.status_idle";
    assert_eq!(types(session.list(kinds).ok()["data"].as_array().unwrap()), ["agent.thinking", "session.status_idle"]);
    let at = all[3]["processed_at"].as_str().unwrap();
    let every = ids(&json!(all));
    for (comparison, range) in [("gt", 4..8), ("gte", 3..8), ("lt", 0..3), ("lte", 0..4)] {
        assert_eq!(found(&format!("?created_at%5B{comparison}%5D={at}")), every[range], "{comparison}");
    }
    assert_eq!(found(&format!("?created_at[gt]={at}&created_at[lte]={at}")), [] as [&str; 0]);
    for wrong in ["?order=up", "?limit=0", "?limit=1001", "?page=x", "?created_at[gt]=yesterday"] {
        session.list(wrong).refused(400, "invalid_request_error", "");
    }
}

#[test]
fn what_is_sent_is_taken_as_a_whole_or_not_at_all() {
    let emulator = Emulator::start();
    let session = Session::with_steps(&emulator, json!([{"tool": "bash"}, {"wait": "results"}]));
    let before = session.events();
    let call = &session.calls()[0];
    let message = json!({"type": "user.message", "content": [{"type": "text", "text": "a"}]});
    for wrong in [
        json!([message, {"type": "user.message", "content": [{"type": "text", "text": ""}]}]),
        json!([message, {"type": "user.unheard_of"}]),
        json!([message, {"type": "agent.message", "content": []}]),
        json!([result(call), result(call)]),
        json!([message, {"type": "user.tool_result", "tool_use_id": "sevt_nothing"}]),
        json!([]),
        json!({}),
    ] {
        session.send(wrong.clone()).refused(400, "invalid_request_error", "");
        assert_eq!(session.events(), before, "{wrong}");
    }
}

#[test]
fn only_an_open_call_takes_a_result_and_only_of_its_kind() {
    let emulator = Emulator::start();
    let steps = json!([{"tool": "bash"}, {"custom_tool": "weather"}, {"tool": "read", "permission": "ask"}, {"wait": "results"}]);
    let session = Session::with_steps(&emulator, steps);
    let calls = session.calls();
    let wrong_kind = |call: &Value, kind: &str, field: &str| session.send(json!([{"type": kind, field: call["id"]}]));
    wrong_kind(&calls[0], "user.custom_tool_result", "custom_tool_use_id").refused(400, "invalid_request_error", "");
    wrong_kind(&calls[1], "user.tool_result", "tool_use_id").refused(400, "invalid_request_error", "");
    session.answer(&calls[2]).refused(400, "invalid_request_error", "");
    session.confirm(&calls[0], "allow").refused(400, "invalid_request_error", "");
    session.confirm(&calls[2], "allow").ok();
    session.confirm(&calls[2], "deny").refused(400, "invalid_request_error", "");
    for call in &calls {
        session.answer(call).ok();
        session.answer(call).refused(400, "invalid_request_error", "");
    }
    assert_eq!(session.each("ending"), ["bash answered", "weather answered", "read answered"]);
    assert_eq!(session.each("answered"), ["bash early", "weather early", "read early"]);
    let other = Session::with_steps(&emulator, json!([{"tool": "bash"}]));
    other.send(json!([result(&calls[0])])).refused(400, "invalid_request_error", "");
}

#[test]
fn a_result_of_the_toolset_is_for_self_hosted_environments() {
    let emulator = Emulator::start();
    let cloud = emulator.post("/v1/environments", json!({"name": "cloud"})).ok().string("id");
    let made = emulator.post("/v1/sessions", json!({"agent": "a", "environment_id": cloud})).ok();
    let session = Session::of(&emulator, &made.string("id"));
    session.script(json!([{"tool": "bash"}, {"custom_tool": "weather"}, {"wait": "results"}]));
    let calls = session.calls();
    session.answer(&calls[0]).refused(400, "invalid_request_error", "");
    session.answer(&calls[1]).ok();
}

#[test]
fn a_message_that_comes_during_a_turn_waits_for_the_next_one() {
    let emulator = Emulator::start();
    let session =
        Session::with_steps(&emulator, json!([{"tool": "bash"}, {"wait": "results"}, {"idle": "end_turn"}, {"text": "b"}]));
    let id = session.say("and then?").ok()["data"][0]["id"].clone();
    let queued = session.events().pop().unwrap();
    assert_eq!((&queued["id"], &queued["processed_at"]), (&id, &json!(null)));
    session.answer(&session.calls()[0]).ok();
    let events = session.events();
    let after: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        after,
        [
            "session.status_running",
            "agent.tool_use",
            "session.status_idle",
            "user.tool_result",
            "session.status_running",
            "session.status_idle",
            "user.message",
            "session.status_running",
            "agent.message",
            "session.status_idle",
        ]
    );
    assert_eq!(events[6]["id"], id);
    assert!(events[6]["processed_at"].is_string());
}

#[test]
fn a_message_to_a_session_whose_item_is_stopped_queues_another() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let made = emulator.post("/v1/sessions", json!({"agent": "a", "environment_id": queue.environment})).ok();
    let session = Session::of(&emulator, &made.string("id"));
    let first = queue.claim().unwrap();
    queue.ack(&first).ok();
    session.say("one").ok();
    assert_eq!(queue.claim(), None, "it is served");
    queue.stop(&first, json!({"force": true})).ok();
    session.interrupt();
    assert_eq!(queue.claim(), None, "nothing to serve");
    session.say("two").ok();
    let second = queue.poll("").ok();
    assert_ne!(second["id"], first.as_str());
    assert_eq!(second["data"], json!({"id": session.id, "type": "session"}));
    let (token, worker) = (queue.with_token_of(&second).worker, queue.worker.clone());
    for client in [&token, &worker] {
        client.get(&format!("{}/events", session.path)).ok();
    }
    queue.stop(second["id"].as_str().unwrap(), json!({"force": true})).ok();
    session.script(json!([{"tool": "bash"}]));
    assert!(queue.claim().is_some(), "a call needs a worker");
}

#[test]
fn events_are_for_those_whose_session_it_is() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let session = Session::with_steps(&emulator, json!([]));
    queue.enqueue();
    let foreign_token = queue.with_token_of(&queue.poll("").ok()).worker;
    let message = json!({"events": [{"type": "user.message", "content": [{"type": "text", "text": "a"}]}]});
    for (client, status, kind) in [
        (&queue.worker, 403, "permission_error"),
        (&foreign_token, 403, "permission_error"),
        (&emulator.with("sk-ant-req-unknown"), 401, "authentication_error"),
    ] {
        client.get(&format!("{}/events", session.path)).refused(status, kind, "");
        client.post(&format!("{}/events", session.path), message.clone()).refused(status, kind, "");
        client.get(&format!("{}/events/stream", session.path)).refused(status, kind, "");
    }
    for path in ["events", "events/stream"] {
        emulator.get(&format!("/v1/sessions/session_nothing/{path}")).refused(404, "not_found_error", "");
    }
    emulator.post("/v1/sessions/session_nothing/events", message).refused(404, "not_found_error", "");
}

#[test]
fn events_and_the_agent_survive_a_restart() {
    let scratch = Scratch::new("events");
    let file = scratch.0.join("data.db");
    let options = ["--data", file.to_str().unwrap()];
    let mut emulator = Emulator::start_with(&options);
    let steps = json!([{"tool": "bash"}, {"wait": "results"}, {"pause_ms": 1000}, {"text": "done"}]);
    let session = Session::with_steps(&emulator, steps);
    let waiting = Session::new(&emulator);
    let before = session.events();
    emulator.signal("-KILL");
    emulator.wait();

    let mut emulator = Emulator::start_with(&options);
    let session = Session::of(&emulator, &session.id);
    assert_eq!(session.events(), before);
    let mut stream = session.stream("");
    session.answer(&session.calls()[0]).ok();
    assert_eq!(types(&stream.until("session.status_running")), ["user.tool_result", "session.status_running"]);
    emulator.signal("-KILL");
    emulator.wait();

    let emulator = Emulator::start_with(&options);
    let session = Session::of(&emulator, &session.id);
    until("the agent goes on after its pause", || session.report()["done"] == true);
    assert_eq!(session.types()[5..], ["agent.message", "session.status_idle"]);
    assert_eq!(Session::of(&emulator, &waiting.id).types(), [] as [&str; 0]);
}
