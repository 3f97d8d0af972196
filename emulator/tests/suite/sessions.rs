use serde_json::json;

use crate::support::Emulator;

#[test]
fn a_session_of_a_self_hosted_environment_queues_its_work() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let body = json!({
        "agent": {"type": "agent", "id": "agent_1", "version": 2}, "environment_id": queue.environment,
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

#[test]
fn a_session_is_running_while_a_worker_has_it_in_hand() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    for (state, status) in
        [("queued", "idle"), ("starting", "running"), ("active", "running"), ("stopping", "running"), ("stopped", "idle")]
    {
        let work = queue.item_in(state);
        let session = queue.item(&work)["data"]["id"].as_str().unwrap().to_owned();
        assert_eq!(emulator.get(&format!("/v1/sessions/{session}")).ok()["status"], status, "{state}");
    }
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
    let body = json!({"environment_id": emulator.hosted(), "id": "mine", "type": "mine", "status": "mine", "created_at": "mine", "archived_at": "mine", "metadata": null, "title": null});
    let made = emulator.post("/v1/sessions", body).ok();
    assert!(!made.text().contains("mine"), "{}", made.text());
    assert_eq!((&made["metadata"], &made["title"]), (&json!({}), &json!(null)));
}
