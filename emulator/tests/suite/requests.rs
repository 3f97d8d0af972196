//! The request log.

use serde_json::{Value, json};

use crate::support::{BETA, Emulator, VERSION, held_polls, hold_poll, keys, until};

#[test]
fn a_request_is_recorded_as_it_was_received() {
    let emulator = Emulator::start();
    let headers = [VERSION, ("Anthropic-Beta", "a"), BETA, ("authorization", "Bearer k"), ("X-Empty", "")];
    let mut connection = emulator.connect();
    connection.call("GET", "/v1/environments/a%2Fb%20c?x=%2B+1&x=&y", &headers, None).unwrap();
    connection.call("POST", "/v1/environments?beta=true", &headers, Some(br#"{"name":"n","x":1.50E1}"#)).unwrap().ok();
    connection.call("POST", "/v1/unknown", &headers, Some(b"not \xff json")).unwrap();

    let requests = emulator.requests();
    assert_eq!(requests.len(), 3);
    let first = requests[0].as_object().unwrap();
    let order =
        ["operation", "method", "http", "target", "path", "query", "headers", "body", "status", "done", "connection", "at"];
    let text = emulator.get("/_emulator/requests").ok();
    let first_text = text.text().split_once("[{").unwrap().1.split_once("},{").unwrap().0;
    assert_eq!(keys(&format!("{{{first_text}}}")), order);
    assert_eq!(first["operation"], "environments.retrieve");
    assert_eq!(first["method"], "GET");
    assert_eq!(first["target"], "/v1/environments/a%2Fb%20c?x=%2B+1&x=&y");
    assert_eq!(first["path"], "/v1/environments/a%2Fb%20c");
    assert_eq!(first["query"], json!([["x", "+ 1"], ["x", ""], ["y", ""]]));
    assert_eq!(first["headers"]["anthropic-beta"], format!("a, {}", BETA.1));
    assert_eq!(first["headers"]["x-empty"], "");
    assert_eq!(first["headers"]["authorization"], "Bearer k");
    assert_eq!(first["body"], Value::Null);
    assert_eq!((&first["status"], &first["done"]), (&json!(404), &json!(true)));
    let at = first["at"].as_str().unwrap();
    assert!(at.len() == 24 && at.ends_with('Z'), "{at}");

    assert_eq!(requests[1]["operation"], "environments.create");
    assert!(text.text().contains(r#""body":{"name":"n","x":1.50E1}"#), "bytes survive: {}", text.text());
    assert_eq!(requests[1]["connection"], first["connection"]);
    assert_eq!((&requests[2]["operation"], &requests[2]["body"]), (&Value::Null, &json!("not \u{fffd} json")));
    emulator.get("/v1/environments");
    assert_ne!(emulator.requests()[3]["connection"], first["connection"]);
}

#[test]
fn requests_can_be_picked_by_operation_and_forgotten() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    queue.claim();
    queue.claim();
    let count = |query: &str| emulator.get(&format!("/_emulator/requests{query}")).ok()["data"].as_array().unwrap().len();
    assert_eq!((count("?operation=work.poll"), count("?operation=work.ack"), count("")), (2, 0, 3));
    assert_eq!(emulator.delete("/_emulator/requests").ok()["cleared"], 3);
    assert_eq!(count(""), 0);
}

#[test]
fn the_log_keeps_only_so_many() {
    let emulator = Emulator::start_with(&["--request-log", "2"]);
    for id in ["a", "b", "c"] {
        emulator.get(&format!("/v1/environments/{id}"));
    }
    let targets: Vec<Value> = emulator.requests().iter().map(|request| request["target"].clone()).collect();
    assert_eq!(targets, ["/v1/environments/b", "/v1/environments/c"]);

    let silent = Emulator::start_with(&["--request-log", "0"]);
    silent.get("/v1/environments").ok();
    assert_eq!(silent.requests(), [] as [Value; 0]);
}

#[test]
fn a_request_that_waits_is_listed_as_not_done() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let state = || {
        let last = emulator.requests().pop().unwrap();
        (last["status"].as_u64(), last["done"].as_bool().unwrap())
    };
    held_polls(&queue, 1, "?block_ms=999", || {
        assert_eq!(state(), (None, false));
        queue.enqueue();
    });
    assert_eq!(state(), (Some(200), true));

    drop(hold_poll(&queue));
    until("the emulator notices that the client has gone", || state() == (None, true));
}
