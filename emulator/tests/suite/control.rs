use serde_json::{Value, json};

use crate::support::{Emulator, held_polls, until};

#[test]
fn health_says_the_version() {
    let emulator = Emulator::start();
    assert_eq!(emulator.get("/_emulator/health").ok().body, json!({"ok": true, "version": env!("CARGO_PKG_VERSION")}));
}

#[test]
fn control_needs_no_headers_at_all() {
    let emulator = Emulator::start();
    emulator.connect().call("GET", "/_emulator/health", &[], None).unwrap().ok();
    emulator.connect().call("POST", "/_emulator/reset", &[], None).unwrap().ok();
}

#[test]
fn a_request_about_connections_does_one_thing_that_makes_sense() {
    let emulator = Emulator::start();
    for body in [
        json!({}),
        json!({"silent": false}),
        json!({"silent": 1}),
        json!({"max_streams": -1}),
        json!({"max_streams": 4_294_967_296_u64}),
        json!({"max_streams": "1"}),
        json!({"silent": true, "max_streams": 1}),
    ] {
        assert_eq!(emulator.post("/_emulator/connections", body.clone()).status, 400, "{body}");
    }
    let connections = emulator.get("/_emulator/connections").ok();
    assert_eq!((&connections["silent"], &connections["max_streams"]), (&json!(0), &json!(100)));
}

#[test]
fn work_can_be_queued_directly() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let environment = &queue.environment;
    let post = |body| emulator.post("/_emulator/work", body);

    let one = post(json!({"environment_id": environment})).ok();
    assert!(one["secret"].is_string());
    let session = one["data"]["id"].as_str().unwrap();
    emulator.get(&format!("/v1/sessions/{session}")).ok();

    let given =
        json!({"environment_id": environment, "data": {"type": "healthcheck", "id": "h1", "x": 1}, "metadata": {"a": "1"}});
    let given = post(given).ok();
    assert_eq!(given["data"], json!({"type": "healthcheck", "id": "h1", "x": 1}));
    assert_eq!(given["metadata"], json!({"a": "1"}));

    let many = post(json!({"environment_id": environment, "count": 3})).ok();
    assert_eq!(many["data"].as_array().unwrap().len(), 3);
    assert_eq!(post(json!({"environment_id": environment, "count": 1})).ok()["data"].as_array().unwrap().len(), 1);
    assert_eq!(queue.stats()["depth"], 6);
    assert_eq!(queue.claim(), Some(one.string("id")));
    assert_eq!(queue.claim(), Some(given.string("id")));

    for body in [
        json!({}),
        json!([]),
        json!({"environment_id": 1}),
        json!({"environment_id": environment, "count": 0}),
        json!({"environment_id": environment, "count": 100_001}),
        json!({"environment_id": environment, "count": "x"}),
        json!({"environment_id": environment, "data": 1}),
        json!({"environment_id": environment, "data": {"id": 1}}),
        json!({"environment_id": environment, "metadata": {"a": 1}}),
    ] {
        assert_eq!(post(body.clone()).status, 400, "{body}");
    }
    post(json!({"environment_id": "env_nothing"})).refused(404, "not_found_error", "environment_not_found");
    assert_eq!(emulator.call("POST", "/_emulator/work", Some(b"{")).status, 400);
    assert_eq!(emulator.call("POST", "/_emulator/work", None).status, 400);
}

#[test]
fn environment_keys_are_issued_for_environments_that_exist() {
    let emulator = Emulator::start();
    let environment = emulator.hosted();
    let issue = || emulator.post("/_emulator/environment_keys", json!({"environment_id": environment})).ok();
    let (first, second) = (issue(), issue());
    assert_eq!(first["environment_id"], json!(environment));
    assert!(first.string("environment_key").starts_with("sk-ant-oat01-"));
    assert_ne!(first.string("environment_key"), second.string("environment_key"));
    for key in [first, second] {
        let worker = emulator.with(&key.string("environment_key"));
        worker.get(&format!("/v1/environments/{environment}/work")).ok();
    }
    let nothing = emulator.post("/_emulator/environment_keys", json!({"environment_id": "env_nothing"}));
    nothing.refused(404, "not_found_error", "environment_not_found");
    assert_eq!(emulator.post("/_emulator/environment_keys", json!({})).status, 400);
}

#[test]
fn the_clock_moves_every_timestamp() {
    let emulator = Emulator::start();
    let set = |body| emulator.post("/_emulator/clock", body);
    let moved = set(json!({"now": "2030-01-02T03:04:05Z"})).ok();
    assert!(moved.string("now").starts_with("2030-01-02T03:04:05"), "{}", moved.text());
    let queue = emulator.queue();
    let id = queue.item_in("stopping");
    let item = queue.item(&id);
    for key in ["created_at", "acknowledged_at", "started_at", "latest_heartbeat_at", "stop_requested_at"] {
        assert!(item.string(key).starts_with("2030-01-02T03:0"), "{key}: {}", item.text());
    }
    set(json!({"advance_ms": 86_400_000})).ok();
    assert!(emulator.get("/_emulator/clock").ok().string("now").starts_with("2030-01-03T03:0"));
    set(json!({"advance_ms": -86_400_000})).ok();
    assert!(emulator.get("/_emulator/clock").ok().string("now").starts_with("2030-01-02T03:0"));
    set(json!({"now": "2029-12-31T23:00:00-02:00"})).ok();
    assert!(emulator.get("/_emulator/clock").ok().string("now").starts_with("2030-01-01T01:00"));
    assert_eq!(set(json!({"reset": true})).ok()["offset_ms"], 0);

    for body in [
        json!({}),
        json!({"now": "yesterday"}),
        json!({"now": 1}),
        json!({"advance_ms": "1"}),
        json!({"advance_ms": 1.5}),
        json!({"advance_ms": i64::MAX}),
        json!({"advance_ms": i64::MIN}),
        json!({"reset": false}),
        json!({"reset": true, "advance_ms": 1}),
        json!({"now": "9999-01-01T00:00:00Z"}),
        json!([]),
    ] {
        assert_eq!(set(body.clone()).status, 400, "{body}");
    }
    assert_eq!(emulator.get("/_emulator/clock").ok()["offset_ms"], 0);
}

#[test]
fn connections_and_waiting_polls_are_counted() {
    let emulator = Emulator::start();
    let counts = || emulator.get("/_emulator/connections").ok().body;
    until("earlier connections are closed", || counts()["open"] == 1);
    let total = counts()["total"].as_u64().unwrap();
    let idle: Vec<_> = (0..3).map(|_| emulator.connect()).collect();
    until("the three are there", || counts()["open"] == 4);
    assert!(counts()["total"].as_u64().unwrap() >= total + 3);
    assert_eq!(counts()["polls_waiting"], 0);
    drop(idle);
    until("the three are gone", || counts()["open"] == 1);
}

#[test]
fn a_reset_forgets_everything() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.enqueue();
    emulator.advance(1_000_000);
    emulator.fault(json!({"operation": "work.ack", "status": 500}));
    queue.claim();
    let (answers, _) = held_polls(&queue, 1, "?block_ms=999", || {
        emulator.post("/_emulator/reset", json!({})).ok();
    });
    answers[0].refused(404, "not_found_error", "environment_not_found");
    assert_eq!(emulator.get("/v1/environments?include_archived=true").ok()["data"], json!([]));
    queue.worker.get(&queue.path).refused(401, "authentication_error", "");
    emulator.get(&format!("{}/{id}", queue.path)).refused(404, "not_found_error", "environment_not_found");
    assert_eq!(emulator.get("/_emulator/faults").ok()["data"], json!([]));
    assert_eq!(emulator.get("/_emulator/clock").ok()["offset_ms"], 0);
    assert_eq!(emulator.requests().len(), 3, "only what came after");
    assert_eq!(emulator.history(""), [] as [Value; 0]);
}
