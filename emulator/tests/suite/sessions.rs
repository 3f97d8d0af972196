use serde_json::{Value, json};

use crate::{session_client::Session, support::Emulator};

#[test]
fn a_session_of_a_self_hosted_environment_queues_its_work() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let body = json!({
        "environment_id": queue.environment, "budget": {"type": "limit"}, "vault_ids": ["v"],
        "title": "t", "metadata": {"a": "1"}, "resources": [{"type": "file"}], "future": [1, null],
    });
    let made = emulator.post("/v1/sessions", body.clone()).ok();
    let id = made.string("id");
    assert!(id.starts_with("session_01") && id.len() == 32, "{id}");
    for (key, expected) in [("type", "session"), ("status", "idle"), ("environment_id", &queue.environment)] {
        assert_eq!(made[key], expected);
    }
    for (key, expected) in body.as_object().unwrap() {
        assert_eq!(&made[key.as_str()], expected, "{key} is kept");
    }
    assert_eq!(made["archived_at"], json!(null));
    assert_eq!(made["created_at"], made["updated_at"]);
    assert_eq!(emulator.get(&format!("/v1/sessions/{id}")).ok().body, made.body);

    let work = queue.poll("").ok();
    assert_eq!(work["data"], json!({"id": id, "type": "session"}));
    assert_eq!(queue.claim(), None, "one item a session");
}

/// An agent about which nothing but its id is known.
fn agent(id: &str) -> Value {
    json!({
        "type": "agent", "id": id, "name": id, "description": null, "system": null, "model": {"id": "claude-opus-5-5"},
        "tools": [], "skills": [], "mcp_servers": [], "multiagent": null, "version": 1,
        "execution_identity": {"type": "service_account"},
    })
}

#[test]
fn a_session_has_every_field_that_the_official_clients_promise() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let body = json!({"agent": "agent_1", "environment_id": queue.environment});
    let made = emulator.post("/v1/sessions", body).ok();
    let expected = json!({
        "id": made["id"], "type": "session", "status": "idle", "environment_id": queue.environment, "agent": agent("agent_1"),
        "title": null, "metadata": {}, "resources": [], "vault_ids": [], "budget": null, "deployment_id": null,
        "outcome_evaluations": [], "stats": {}, "usage": {},
        "created_at": made["created_at"], "updated_at": made["created_at"], "archived_at": null,
    });
    assert_eq!(made.body, expected);

    let id = queue.enqueue();
    let id = queue.item(&id)["data"]["id"].as_str().unwrap().to_owned();
    let queued = emulator.get(&format!("/v1/sessions/{id}")).ok();
    let name = queued["agent"]["id"].as_str().unwrap();
    assert!(name.starts_with("agent_01") && name.len() == 30, "{name}");
    assert_eq!(queued["agent"], agent(name));
    let keys = |session: &Value| session.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(&queued.body), keys(&expected));
}

#[test]
fn an_agent_is_expanded_from_its_id_or_a_reference() {
    let emulator = Emulator::start();
    let environment = emulator.hosted();
    let create = |agent: &Value| emulator.post("/v1/sessions", json!({"agent": agent, "environment_id": environment}));
    let cases = [
        (json!({"type": "agent", "id": "a"}), json!({})),
        (json!({"type": "agent", "id": "a", "version": null}), json!({})),
        (json!({"type": "agent", "id": "a", "version": 7}), json!({"version": 7})),
        (json!({"id": "a", "future": {"x": 1}}), json!({"future": {"x": 1}})),
        (
            json!({"type": "agent_with_overrides", "id": "a", "model": "m", "system": "s", "tools": [{"type": "custom"}]}),
            json!({"model": {"id": "m"}, "system": "s", "tools": [{"type": "custom"}]}),
        ),
        (
            json!({"type": "agent_with_overrides", "id": "a", "model": {"id": "m", "speed": "fast"}, "system": null}),
            json!({"model": {"id": "m", "speed": "fast"}}),
        ),
    ];
    for (given, changes) in cases {
        let mut expected = agent("a");
        expected.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        let made = create(&given).ok();
        assert_eq!(made["agent"], expected, "{given}");
        assert_eq!(emulator.get(&format!("/v1/sessions/{}", made.string("id"))).ok().bytes, made.bytes);
    }
    assert!(create(&json!(null)).ok()["agent"]["id"].is_string());
    for wrong in [
        json!(1),
        json!(["a"]),
        json!({}),
        json!({"type": "agent", "id": 1}),
        json!({"id": "a", "version": "2"}),
        json!({"id": "a", "version": 0}),
        json!({"id": "a", "version": 1.5}),
    ] {
        create(&wrong).refused(400, "invalid_request_error", "");
    }
}

#[test]
fn a_session_is_idle_until_its_agent_runs_whatever_its_work_item_does() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    for state in ["queued", "starting", "active", "stopping", "stopped"] {
        let work = queue.item_in(state);
        let session = queue.item(&work)["data"]["id"].as_str().unwrap().to_owned();
        assert_eq!(emulator.get(&format!("/v1/sessions/{session}")).ok()["status"], "idle", "{state}");
    }
    let session = Session::with_steps(&emulator, json!([{"text": "a"}, {"pause_ms": 3_600_000}]));
    let before = emulator.get(&session.path).ok();
    assert_eq!(before["status"], "running");
    assert_ne!(before["updated_at"], before["created_at"]);
}

#[test]
fn an_archived_session_is_terminated_and_takes_no_more_events() {
    let emulator = Emulator::start();
    let session = Session::with_steps(&emulator, json!([{"tool": "bash"}, {"wait": "results"}]));
    let archive = || emulator.poke(&format!("{}/archive", session.path));
    let archived = archive().ok();
    assert_eq!(archived["status"], "terminated");
    assert!(archived["archived_at"].is_string());
    assert_eq!(emulator.get(&session.path).ok().body, archived.body);
    assert_eq!(archive().ok().body, archived.body, "once more changes nothing");
    assert_eq!(session.types().last().unwrap(), "session.status_terminated");
    session.say("hello").refused(400, "invalid_request_error", "");
    let call = session.calls().remove(0);
    session.answer(&call).refused(400, "invalid_request_error", "");
    let call = session.calls().remove(0);
    assert_eq!((&call["ending"], &call["answered"]), (&json!("session_terminated"), &json!("late")));
    emulator.poke("/v1/sessions/session_nothing/archive").refused(404, "not_found_error", "");
}

#[test]
fn a_session_begins_with_the_events_that_it_is_created_with() {
    let emulator = Emulator::start();
    let environment = emulator.hosted();
    let create = |events: Value| emulator.post("/v1/sessions", json!({"environment_id": environment, "initial_events": events}));
    let message = json!({"type": "user.message", "content": [{"type": "text", "text": "a"}]});
    let made = create(json!([message, message])).ok();
    assert_eq!((&made["status"], &made["initial_events"]), (&json!("idle"), &json!(null)));
    let session = Session::of(&emulator, &made.string("id"));
    assert_eq!(session.types(), ["user.message", "user.message", "session.status_running", "session.status_idle"]);
    assert_eq!(Session::of(&emulator, &create(json!([])).ok().string("id")).types(), [] as [&str; 0]);
    create(json!([{"type": "user.interrupt"}])).refused(400, "invalid_request_error", "");
    create(json!([{"type": "user.message"}])).refused(400, "invalid_request_error", "");
}

#[test]
fn a_session_of_a_cloud_environment_queues_nothing() {
    let emulator = Emulator::start();
    let cloud = emulator.post("/v1/environments", json!({"name": "cloud"})).ok().string("id");
    let made = emulator.post("/v1/sessions", json!({"agent": "a", "environment_id": cloud})).ok();
    assert_eq!(emulator.get(&format!("/v1/sessions/{}", made.string("id"))).ok().body, made.body);
    let stats = emulator.get(&format!("/v1/environments/{cloud}/work/stats")).ok();
    assert_eq!((&stats["depth"], &stats["pending"]), (&json!(0), &json!(0)));
}

#[test]
fn a_session_needs_an_environment_that_exists() {
    let emulator = Emulator::start();
    let environment = emulator.hosted();
    for body in [
        json!({}),
        json!({"environment_id": null}),
        json!({"environment_id": 1}),
        json!([]),
        json!({"environment_id": environment, "metadata": {"a": 1}}),
    ] {
        emulator.post("/v1/sessions", body).refused(400, "invalid_request_error", "");
    }
    let body = json!({"environment_id": "env_nothing"});
    emulator.post("/v1/sessions", body).refused(404, "not_found_error", "environment_not_found");
    emulator.get("/v1/sessions/session_nothing").refused(404, "not_found_error", "");
}

#[test]
fn a_client_cannot_decide_what_the_service_decides() {
    let emulator = Emulator::start();
    let body = json!({"environment_id": emulator.hosted(), "id": "mine", "type": "mine", "status": "mine", "created_at": "mine", "archived_at": "mine", "stats": "mine", "usage": "mine", "outcome_evaluations": "mine", "metadata": null, "title": null});
    let made = emulator.post("/v1/sessions", body).ok();
    assert!(!made.text().contains("mine"), "{}", made.text());
    assert_eq!((&made["metadata"], &made["title"]), (&json!({}), &json!(null)));
}
