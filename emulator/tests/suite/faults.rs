use std::{
    io,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{BETA, Connection, Emulator, VERSION, hold_poll, until};

const HEADERS: [(&str, &str); 3] = [VERSION, BETA, ("authorization", "Bearer k")];

fn create(connection: &mut Connection) -> io::Result<crate::support::Answer> {
    connection.call("POST", "/v1/environments", &HEADERS, Some(br#"{"name":"n"}"#))
}

/// Sends a request that makes an environment, and returns all that comes until the connection ends.
fn raw_create(emulator: &Emulator) -> io::Result<Vec<u8>> {
    let mut connection = emulator.connect();
    connection.send("POST", "/v1/environments", &HEADERS, Some(br#"{"name":"n"}"#)).unwrap();
    connection.rest()
}

fn environments(emulator: &Emulator) -> usize {
    emulator.get("/v1/environments?limit=100").ok()["data"].as_array().unwrap().len()
}

#[test]
fn a_canned_reply_is_sent_as_it_was_asked_for() {
    let emulator = Emulator::start();
    // The fault, then the status, the content type and the body that arrive.
    let json = Some("application/json");
    let cases = [
        (json!({"status": 503, "body": {"a": [1, null]}}), 503, json, r#"{"a":[1,null]}"#),
        (json!({"body": null}), 200, json, "null"),
        (json!({"body": "<html>", "headers": {"content-type": "text/html"}}), 200, Some("text/html"), "<html>"),
        (json!({"body": "not json"}), 200, json, "not json"),
        (json!({"status": 500, "body": ""}), 500, json, ""),
        (json!({"status": 200, "body": "", "headers": {"content-type": null}}), 200, None, ""),
        (json!({"status": 204}), 204, None, ""),
        (json!({"status": 204, "body": {"a": 1}}), 204, None, ""),
        (json!({"status": 304}), 304, None, ""),
        (json!({"status": 302, "headers": {"location": "/x"}}), 302, json, ""),
        (json!({"status": 999, "body": [1]}), 999, json, "[1]"),
    ];
    for (fault, status, content_type, body) in cases {
        emulator.fault(fault.clone());
        let mut connection = emulator.connect();
        let answer = connection.call("GET", "/v1/environments", &HEADERS, None).unwrap();
        assert_eq!((answer.status, answer.header("content-type"), answer.text()), (status, content_type, body), "{fault}");
        assert!(answer.header("request-id").unwrap().starts_with("req_"), "{fault}");
        if let Some(location) = fault["headers"]["location"].as_str() {
            assert_eq!(answer.header("location"), Some(location));
        }
        connection.call("GET", "/v1/environments", &HEADERS, None).unwrap().ok();
    }
}

#[test]
fn a_canned_json_body_is_sent_byte_for_byte() {
    let emulator = Emulator::start();
    let body = r#"{"b":1.50E2, "a":[-0,12345678901234567890123]}"#;
    let fault = format!(r#"[{{"status":400,"body":{body}}}]"#);
    emulator.call("POST", "/_emulator/faults", Some(fault.as_bytes())).ok();
    assert_eq!(emulator.get("/v1/environments").text(), body);
}

#[test]
fn an_error_status_alone_has_a_standard_body() {
    let emulator = Emulator::start();
    for (status, kind) in [
        (400, "invalid_request_error"),
        (401, "authentication_error"),
        (402, "billing_error"),
        (403, "permission_error"),
        (404, "not_found_error"),
        (408, "invalid_request_error"),
        (409, "conflict_error"),
        (412, "invalid_request_error"),
        (413, "invalid_request_error"),
        (429, "rate_limit_error"),
        (500, "api_error"),
        (503, "api_error"),
        (504, "timeout_error"),
        (529, "overloaded_error"),
    ] {
        emulator.fault(json!({"status": status}));
        emulator.get("/v1/environments").refused(status, kind, "");
    }
}

#[test]
fn the_request_id_of_a_canned_reply_can_be_chosen() {
    let emulator = Emulator::start();
    emulator.fault(json!([
        {"status": 500, "body": {"request_id": "req_mine"}},
        {"status": 500, "body": {"request_id": "req_mine"}, "headers": {"request-id": "req_header", "retry-after": 7}},
        {"headers": {"x-should-retry": "true", "request-id": null}},
    ]));
    assert_eq!(emulator.get("/v1/environments").header("request-id"), Some("req_mine"));
    let second = emulator.get("/v1/environments");
    assert_eq!((second.header("request-id"), second.header("retry-after")), (Some("req_header"), Some("7")));
    let third = emulator.get("/v1/environments").ok();
    assert_eq!((third.header("request-id"), third.header("x-should-retry")), (None, Some("true")));
}

#[test]
fn faults_are_taken_in_order_each_as_often_as_it_says() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    emulator.fault(json!({"operation": "work.poll", "status": 501, "count": 2}));
    emulator.fault(
        json!([{"operation": "work.poll", "status": 502}, {"status": 503}, {"operation": "environments.list", "status": 504}]),
    );
    let left = emulator.get("/_emulator/faults").ok();
    assert_eq!(left["data"].as_array().unwrap().len(), 4);
    assert_eq!(left["data"][0], json!({"operation": "work.poll", "count": 2, "when": "before", "status": 501}));

    assert_eq!(queue.poll("").status, 501);
    assert_eq!(emulator.get("/_emulator/faults").ok()["data"][0]["count"], 1);
    assert_eq!(emulator.get("/v1/nothing").status, 503, "* takes unknown routes too");
    assert_eq!(emulator.get("/v1/nothing").status, 404);
    let statuses: Vec<u16> = (0..3).map(|_| queue.poll("").status).collect();
    assert_eq!(statuses, [501, 502, 200]);
    assert_eq!(emulator.get("/v1/environments").status, 504);
    assert_eq!(emulator.get("/_emulator/faults").ok()["data"], json!([]));
}

#[test]
fn faults_can_be_taken_back() {
    let emulator = Emulator::start();
    emulator.fault(json!([{"status": 500, "count": 100}, {"status": 501}]));
    assert_eq!(emulator.delete("/_emulator/faults").ok()["cleared"], 2);
    emulator.get("/v1/environments").ok();
}

#[test]
fn a_fault_that_makes_no_sense_is_refused_with_all_that_came_with_it() {
    let emulator = Emulator::start();
    for fault in [
        json!({}),
        json!({"when": "after"}),
        json!({"count": 0, "status": 500}),
        json!({"count": -1, "status": 500}),
        json!({"status": 99}),
        json!({"status": 100}),
        json!({"status": 1000}),
        json!({"status": "500"}),
        json!({"operation": "work.dance", "status": 500}),
        json!({"operation": null, "status": 500}),
        json!({"when": "sometimes", "status": 500}),
        json!({"stauts": 500}),
        json!({"drop": true, "reset": true}),
        json!({"goaway": true, "reset": true}),
        json!({"silent": true, "drop": true}),
        json!({"reset_stream": "CANCELLED"}),
        json!({"reset_stream": 7}),
        json!({"goaway": false}),
        json!({"cut": -1}),
        json!({"latency_ms": -1}),
        json!({"latency_ms": 3_600_001}),
        json!({"latency_ms": [2, 1]}),
        json!({"latency_ms": [0, 0]}),
        json!({"probability": 0.5}),
        json!({"probability": 0, "status": 500}),
        json!({"probability": 1.5, "status": 500}),
        json!({"detached": false}),
        json!({"detached": 1}),
        json!({"headers": {"a b": "c"}, "status": 500}),
        json!({"headers": {"a": "b\r\nc"}}),
        json!({"headers": {"a": []}}),
        json!({"headers": []}),
        json!("x"),
        json!(null),
    ] {
        assert_eq!(emulator.post("/_emulator/faults", fault.clone()).status, 400, "{fault}");
        assert_eq!(emulator.post("/_emulator/faults", json!([{"status": 500}, fault])).status, 400);
    }
    assert_eq!(emulator.get("/_emulator/faults").ok()["data"], json!([]));
}

#[test]
fn latency_alone_delays_the_real_reply() {
    let emulator = Emulator::start();
    for when in ["before", "after"] {
        emulator.fault(json!({"latency_ms": 150, "when": when}));
        let start = Instant::now();
        create(&mut emulator.connect()).unwrap().ok();
        assert!(start.elapsed() >= Duration::from_millis(150), "{when}");
    }
    assert_eq!(environments(&emulator), 2);
    emulator.fault(json!({"latency_ms": 100, "status": 500}));
    let start = Instant::now();
    assert_eq!(create(&mut emulator.connect()).unwrap().status, 500);
    assert!(start.elapsed() >= Duration::from_millis(100));
}

#[test]
fn a_held_request_waits_until_it_is_released() {
    let emulator = Emulator::start();
    let held = |query: &str| emulator.get(&format!("/_emulator/holds{query}")).ok()["held"].as_u64().unwrap();
    let release = |query: &str| emulator.call("DELETE", &format!("/_emulator/holds{query}"), None).ok()["released"].clone();
    let create = || {
        let mut connection = emulator.connect();
        connection.send("POST", "/v1/environments", &HEADERS, Some(br#"{"name":"n"}"#)).unwrap();
        connection
    };
    let operation = "environments.create";
    emulator.fault(json!([
        {"operation": operation, "hold": true},
        {"operation": operation, "hold": true, "when": "after", "status": 503},
        {"operation": operation, "hold": true},
        {"operation": operation, "hold": true},
    ]));
    let mut before = create();
    until("one is held", || held("") == 1);
    let mut after = create();
    until("two are held", || held("?operation=environments.create") == 2);
    assert_eq!((environments(&emulator), held("?operation=work.ack")), (1, 0));
    assert_eq!(release("?operation=work.ack"), 0);
    assert_eq!(release("?operation=environments.create"), 2);
    before.receive().unwrap().ok();
    assert_eq!(after.receive().unwrap().status, 503);

    let gone = create();
    until("one more is held", || held("") == 1);
    drop(gone);
    until("it is not held once its client has disconnected", || held("") == 0);
    let mut last = create();
    until("the last one is held", || held("") == 1);
    emulator.post("/_emulator/reset", json!({})).ok();
    last.receive().unwrap().ok();
    assert_eq!(environments(&emulator), 1, "a reset forgets, and then releases");
}

#[test]
fn latency_may_be_a_range() {
    let emulator = Emulator::start();
    emulator.fault(json!({"latency_ms": [50, 150], "count": 3}));
    assert_eq!(emulator.get("/_emulator/faults").ok()["data"][0]["latency_ms"], json!([50, 150]));
    for _ in 0..3 {
        let start = Instant::now();
        create(&mut emulator.connect()).unwrap().ok();
        assert!(start.elapsed() >= Duration::from_millis(50));
    }
    assert_eq!(environments(&emulator), 3);
}

#[test]
fn a_fault_may_be_left_to_chance() {
    let emulator = Emulator::start();
    emulator.fault(json!([{"status": 501, "probability": 0.5, "count": 40}, {"status": 502, "count": 1000}]));
    assert_eq!(emulator.get("/_emulator/faults").ok()["data"][0]["probability"], 0.5);
    let mut met = [0, 0];
    // Only those that meet it are counted, so that it is used up some time.
    until("all have happened", || {
        met[usize::from(emulator.get("/v1/environments").status - 501)] += 1;
        met[0] == 40
    });
    assert!(met[1] > 0, "forty of forty, by a chance of one in two");
    assert_eq!(emulator.get("/_emulator/faults").ok()["data"][0]["status"], 502);
}

#[test]
fn when_decides_whether_the_request_is_processed() {
    let emulator = Emulator::start();
    let cases = [
        (json!({"status": 500}), 0),
        (json!({"status": 500, "when": "after"}), 1),
        (json!({"body": {}}), 0),
        (json!({"body": {}, "when": "after"}), 1),
        (json!({"drop": true}), 0),
        (json!({"drop": true, "when": "after"}), 1),
        (json!({"reset": true}), 0),
        (json!({"reset": true, "when": "after"}), 1),
        (json!({"garbage": true}), 0),
        (json!({"garbage": true, "when": "after"}), 1),
        (json!({"cut": 5}), 1),
        (json!({"cut": 5, "status": 200, "body": "abcdefgh"}), 0),
        (json!({"close_after": true}), 1),
        (json!({"close_after": true, "status": 500}), 0),
        (json!({"headers": {"a": "b"}}), 1),
        (json!({"latency_ms": 1}), 1),
    ];
    for (fault, made) in cases {
        emulator.post("/_emulator/reset", json!({})).ok();
        emulator.fault(fault.clone());
        let _ = create(&mut emulator.connect());
        assert_eq!(environments(&emulator), made, "{fault}");
        assert_eq!(emulator.requests()[0]["operation"], "environments.create", "{fault}");
    }
}

#[test]
fn a_dropped_request_gets_an_end_without_a_byte() {
    let emulator = Emulator::start();
    for when in ["before", "after"] {
        emulator.fault(json!({"drop": true, "when": when}));
        assert_eq!(raw_create(&emulator).unwrap(), b"");
        assert_eq!(last(&emulator), (Value::Null, json!(true)));
    }
}

#[test]
fn a_reset_request_gets_a_reset() {
    let emulator = Emulator::start();
    emulator.fault(json!({"reset": true}));
    assert_eq!(raw_create(&emulator).unwrap_err().kind(), io::ErrorKind::ConnectionReset);
    assert_eq!(last(&emulator), (Value::Null, json!(true)));
}

#[test]
fn a_cut_reply_promises_more_than_it_holds() {
    let emulator = Emulator::start();
    for (fault, body) in [
        (json!({"cut": 5, "body": "0123456789"}), "01234"),
        (json!({"cut": 0, "body": "0123456789"}), ""),
        (json!({"cut": 99, "body": "0123456789"}), "0123456789"),
        (json!({"cut": 9}), r#"{"id":"en"#),
    ] {
        emulator.fault(fault.clone());
        let reply = String::from_utf8(raw_create(&emulator).unwrap()).unwrap();
        let (head, rest) = reply.split_once("\r\n\r\n").unwrap();
        assert_eq!(rest, body, "{fault}");
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nrequest-id: req_"), "{head}");
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        assert!(length == "10" || length.parse::<usize>().unwrap() > 200, "{head}");
        assert_eq!(last(&emulator), (json!(200), json!(true)));
    }
}

#[test]
fn garbage_is_not_http() {
    let emulator = Emulator::start();
    emulator.fault(json!({"garbage": true}));
    let bytes = raw_create(&emulator).unwrap();
    assert!(!bytes.is_empty() && !bytes.starts_with(b"HTTP"), "{bytes:?}");
}

#[test]
fn a_connection_can_close_behind_a_valid_response() {
    let emulator = Emulator::start();
    for fault in [json!({"close_after": true}), json!({"close_after": true, "status": 500, "body": {}})] {
        let mut connection = emulator.connect();
        create(&mut connection).unwrap().ok();
        emulator.fault(fault.clone());
        let answer = create(&mut connection).unwrap();
        assert_eq!(answer.status, fault["status"].as_u64().unwrap_or(200) as u16);
        assert_eq!(answer.header("connection"), None);
        assert_eq!(connection.rest().unwrap(), b"", "the end follows at once");
    }
}

#[test]
fn framing_may_lie() {
    let emulator = Emulator::start();
    emulator.fault(json!({"body": "abc", "headers": {"content-length": "100"}}));
    let reply = String::from_utf8(raw_create(&emulator).unwrap()).unwrap();
    assert!(reply.contains("content-length: 100\r\n") && reply.ends_with("\r\n\r\nabc"), "{reply}");
    assert_eq!(reply.matches("content-length").count(), 1);
    emulator.get("/v1/environments").ok();
}

#[test]
fn a_large_reply_can_be_asked_for() {
    let emulator = Emulator::start();
    let body = "x".repeat(20 << 20);
    emulator.fault(json!([{"body": body}, {"body": body, "cut": 19 << 20}]));
    assert_eq!(emulator.get("/v1/environments").ok().bytes.len(), 20 << 20);
    let reply = raw_create(&emulator).unwrap();
    assert!(((19 << 20)..(19 << 20) + 500).contains(&reply.len()));
}

#[test]
fn a_lost_poll_reply_leaves_the_item_claimed() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.enqueue();
    emulator.fault(json!({"operation": "work.poll", "drop": true, "when": "after"}));
    assert!(queue.worker.try_call("GET", &format!("{}/poll", queue.path), None).is_err());
    assert_eq!((queue.claim(), queue.stats()["pending"].as_u64()), (None, Some(1)));
    emulator.advance(5_001);
    assert_eq!(queue.claim(), Some(id));
}

#[test]
fn control_requests_meet_no_faults_and_are_not_recorded() {
    let emulator = Emulator::start();
    emulator.fault(json!({"status": 500}));
    emulator.get("/_emulator/health").ok();
    assert_eq!(emulator.requests(), [] as [Value; 0]);
    assert_eq!(emulator.get("/v1/environments").status, 500);
}

#[test]
fn a_client_that_goes_away_during_a_latency_frees_its_connection() {
    let emulator = Emulator::start();
    emulator.fault(json!({"latency_ms": 60_000}));
    let mut connection = emulator.connect();
    connection.send("GET", "/v1/environments", &HEADERS, None).unwrap();
    until("the request is there", || emulator.requests().len() == 1);
    assert_eq!(last(&emulator), (Value::Null, json!(false)));
    drop(connection);
    until("it is over", || last(&emulator) == (Value::Null, json!(true)));
}

/// Sends a request that makes an environment, and goes away while the emulator waits to process it.
fn create_and_go_away(emulator: &Emulator) {
    let mut connection = emulator.connect();
    connection.send("POST", "/v1/environments", &HEADERS, Some(br#"{"name":"n"}"#)).unwrap();
    until("the request is there", || emulator.requests().len() == 1);
    drop(connection);
}

#[test]
fn a_client_that_goes_away_during_a_latency_takes_its_request_with_it() {
    let emulator = Emulator::start();
    emulator.fault(json!({"latency_ms": 1000}));
    create_and_go_away(&emulator);
    until("it is over", || last(&emulator) == (Value::Null, json!(true)));
    // The next one waits as long, from a later moment on.
    emulator.fault(json!({"latency_ms": 1000, "status": 500}));
    assert_eq!(emulator.get("/v1/environments").status, 500);
    assert_eq!(environments(&emulator), 0);
}

#[test]
fn a_detached_request_is_processed_late_whether_or_not_its_client_is_there() {
    let emulator = Emulator::start();
    emulator.fault(json!({"operation": "environments.create", "latency_ms": [1000, 1100], "detached": true, "count": 2}));
    assert_eq!(emulator.get("/_emulator/faults").ok()["data"][0]["detached"], true);
    create_and_go_away(&emulator);
    until("the request is over", || last(&emulator) == (Value::Null, json!(true)));
    assert_eq!(environments(&emulator), 1);
    create(&mut emulator.connect()).unwrap().ok();
    assert_eq!(environments(&emulator), 2);
}

#[test]
fn a_detached_request_may_lose_its_reply_as_well() {
    let emulator = Emulator::start();
    emulator.fault(json!({"detached": true, "when": "after", "drop": true}));
    assert_eq!(raw_create(&emulator).unwrap(), b"");
    assert_eq!(environments(&emulator), 1);
}

#[test]
fn a_detached_poll_claims_for_a_client_that_has_gone() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    emulator.fault(json!({"operation": "work.poll", "detached": true, "count": 1000}));
    // Again on a machine so slow that the poll is over before the item arrives.
    until("an item goes to a poll whose client has gone", || {
        drop(hold_poll(&queue));
        let id = queue.enqueue();
        until("the poll is over", || emulator.polls_waiting() == 0);
        let history = emulator.history(&format!("?work_id={id}"));
        let claimed = history.last().unwrap()["event"] == "claimed";
        assert_eq!(queue.claim().is_none(), claimed);
        claimed
    });
}

/// Status and done of the last request.
fn last(emulator: &Emulator) -> (Value, Value) {
    let last = emulator.requests().pop().unwrap();
    (last["status"].clone(), last["done"].clone())
}
