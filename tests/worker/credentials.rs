//! Keys, tokens and headers, and that none of them shows.

use crate::support::*;
use antenv::completion::Queue;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

fn bearers(env: &WorkerEnv, operation: &str) -> Vec<String> {
    let of = |request: &Value| request["headers"]["authorization"].as_str().unwrap().trim_start_matches("Bearer ").to_owned();
    env.requests(operation).iter().map(of).collect()
}

#[test]
fn an_items_own_token_is_used_for_the_item_and_the_environments_key_for_the_queue() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({}));
    env.enqueue();
    let (lease, item) = next(&worker);
    let client = lease.client().unwrap();
    client.request("GET", &format!("/v1/sessions/{}", item["data"]["id"].as_str().unwrap()), None).unwrap();
    for (operation, params) in [
        ("sessions.events.list", json!({"session_id": "sesn_1"})),
        ("sessions.events.send", json!({"session_id": "sesn_1", "events": []})),
        ("skills.versions.retrieve", json!({"skill_id": "skill_1", "version": "latest"})),
        ("memory_stores.memories.list", json!({"memory_store_id": "memstore_1"})),
    ] {
        // Whether these exist does not matter here.
        let _ = client.call(operation, Some(&params.to_string()));
    }
    finish(&lease).unwrap();
    let served: Vec<_> = env
        .requests("")
        .into_iter()
        .filter(|request| {
            ["/v1/sessions/", "/v1/skills/", "/v1/memory_stores/"]
                .iter()
                .any(|path| request["path"].as_str().unwrap().starts_with(path))
        })
        .collect();
    assert_eq!(served.len(), 5);
    for request in served {
        assert!(request["headers"]["authorization"].as_str().unwrap().starts_with("Bearer sk-ant-req-"), "{request}");
    }
    for operation in ["work.poll", "work.ack"] {
        assert!(bearers(&env, operation).iter().all(|bearer| *bearer == env.key), "{operation}");
    }
    for operation in ["work.heartbeat", "work.stop", "sessions.retrieve"] {
        assert!(bearers(&env, operation)[0].starts_with("sk-ant-req-"), "{operation}");
    }
}

#[test]
fn a_secret_that_holds_no_token_is_no_hindrance() {
    for secret in [json!("no base64!"), json!(null), json!(""), json!(7), json!("e30")] {
        let env = WorkerEnv::new(300);
        let id = env.enqueue();
        let mut item = env.item(&id);
        item["secret"] = secret.clone();
        env.faults(json!({"operation": "work.poll", "body": item}));
        let worker = env.worker(json!({}));
        finish(&next(&worker).0).unwrap();
        assert_eq!(bearers(&env, "work.heartbeat").join(","), env.key, "{secret}");
        assert_eq!(env.state(&id), "stopped");
    }
}

#[test]
fn headers_of_the_client_are_on_every_request_and_its_credentials_on_none() {
    let env = WorkerEnv::open();
    let headers = json!({"x-api-key": "the parent's", "x-team": "blue"});
    let parent = env.client(json!({"api_key": "parents-key", "default_headers": headers, "betas": ["of-the-client"]}));
    let worker = env.worker_of(&parent, json!({})).unwrap();
    env.enqueue();
    let (lease, _) = next(&worker);
    finish(&lease).unwrap();
    let mut seen = 0;
    for request in env.requests("").iter().filter(|request| request["headers"]["x-team"] == "blue") {
        assert!(request["headers"].get("x-api-key").is_none(), "{request}");
        assert!(!request["headers"]["authorization"].to_string().contains("parents-key"));
        let beta = request["headers"]["anthropic-beta"].as_str().unwrap();
        for part in ["of-the-client", "managed-agents-2026-04-01"] {
            assert!(beta.contains(part), "{beta}");
        }
        seen += 1;
    }
    assert!(seen >= 4, "poll, acknowledgement, heartbeat, stop");
}

#[test]
fn the_key_of_a_client_will_do() {
    let env = WorkerEnv::new(300);
    let client = env.client(json!({"environment_key": env.key}));
    let worker = antenv::Worker::new(&client, Some(&json!({"environment_id": env.environment}).to_string())).unwrap();
    env.enqueue();
    finish(&next(&worker).0).unwrap();
}

#[test]
fn neither_secret_nor_token_nor_key_is_ever_logged() {
    let env = WorkerEnv::new(SHORT);
    let queue = Arc::new(Queue::new().unwrap());
    queue.subscribe("trace", 0).unwrap();
    let worker = env.worker(json!({}));
    env.enqueue();
    let (lease, item) = next(&worker);
    let secret = item["secret"].as_str().unwrap().to_owned();
    let token = bearers(&env, "work.heartbeat")[0].clone();
    // A server that repeats what it was sent, at every step that can fail.
    let echo = json!({"type": "error", "error": {"type": "t", "message": format!("{token} {} {secret}", env.key)}});
    let key = json!({"type": "error", "error": {"type": "t", "message": format!("what is {}?", env.key)}});
    env.faults(json!([
        {"operation": "work.heartbeat", "status": 500, "body": echo},
        {"operation": "work.stop", "status": 500, "body": echo},
        {"operation": "work.poll", "status": 500, "body": key},
    ]));
    until("the failed heartbeat", || stats(&worker)["failures"]["heartbeat"] != json!({}));
    finish(&lease).unwrap();
    let other = env.enqueue_with(json!({}));
    let (mut item, ack) = (env.item(&other), json!({"error": {"message": secret}}));
    item["secret"] = secret.clone().into();
    env.faults(json!([{"operation": "work.poll", "body": item}, {"operation": "work.ack", "status": 500, "body": ack}]));
    let _ = worker.next(Some(Duration::from_millis(1)));
    until("the failed acknowledgement", || stats(&worker)["failures"]["ack"] != json!({}));
    env.faults(json!({"operation": "work.poll", "status": 401, "body": key}));
    let error = loop {
        match worker.next(Some(Duration::from_millis(200))) {
            Err(error) if error.http_status() == Some(401) => break error,
            Ok(Some((lease, _))) => lease.abandon(),
            _ => {}
        }
    };
    let mut said = error.to_json();
    while let Ok(records) = queue.next(64, Some(Duration::from_millis(200))) {
        for record in records {
            said.push_str(&record.result.unwrap());
        }
    }
    queue.close();
    for words in ["a request failed", "a poll failed", "claimed an item", "lease ended"] {
        assert!(said.contains(words), "{words}: {said}");
    }
    assert!(!said.contains(&token) && !said.contains(&env.key) && !said.contains(&secret), "{said}");
    said.push_str(&worker.stats().unwrap());
    said.push_str(&worker.metrics().unwrap());
    assert!(!said.contains(&token) && !said.contains(&env.key) && !said.contains(&secret), "{said}");
}
