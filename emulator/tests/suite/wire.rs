use std::collections::HashSet;

use serde_json::json;

use crate::support::{BETA, Emulator, VERSION, until};

const KEY: (&str, &str) = ("authorization", "Bearer k");

#[test]
fn every_request_must_carry_the_version_and_the_beta() {
    let emulator = Emulator::start();
    let cases: [(&[(&str, &str)], u16); 12] = [
        (&[VERSION, BETA], 200),
        (&[("anthropic-version", "anything"), BETA], 200),
        (&[("Anthropic-Version", "x"), ("ANTHROPIC-BETA", BETA.1)], 200),
        (&[VERSION, ("anthropic-beta", "a-2024-01-01,managed-agents-2026-04-01")], 200),
        (&[VERSION, ("anthropic-beta", " a ,  managed-agents-2026-04-01 , b")], 200),
        (&[VERSION, ("anthropic-beta", "a"), BETA], 200),
        (&[VERSION, ("anthropic-beta", "managed-agents-2026-04-01,managed-agents-2026-04-01")], 200),
        (&[BETA], 400),
        (&[VERSION], 400),
        (&[VERSION, ("anthropic-beta", "")], 400),
        (&[VERSION, ("anthropic-beta", "managed-agents-2026-04-011")], 400),
        (&[VERSION, ("anthropic-beta", "managed-agents-2026-04-01 a")], 400),
    ];
    for (given, status) in cases {
        let headers = [given, &[KEY]].concat();
        let answer = emulator.connect().call("GET", "/v1/environments", &headers, None).unwrap();
        assert_eq!(answer.status, status, "{given:?}");
        if status == 400 {
            answer.refused(400, "invalid_request_error", "");
            let missing = if given.contains(&VERSION) { "anthropic-beta" } else { "anthropic-version" };
            assert!(answer["error"]["message"].as_str().unwrap().starts_with(missing), "{}", answer.text());
        }
    }
}

#[test]
fn every_reply_has_an_id_of_its_own_and_is_json() {
    let emulator = Emulator::start();
    let mut ids = HashSet::new();
    for target in ["/v1/environments", "/v1/environments/env_x", "/v1/nothing", "/_emulator/health", "/_emulator/nothing"] {
        for _ in 0..3 {
            let answer = emulator.get(target);
            let id = answer.header("request-id").unwrap().to_owned();
            assert!(id.starts_with("req_01") && id.len() == 28, "{id}");
            assert!(ids.insert(id), "{target}");
            assert_eq!(answer.header("content-type"), Some("application/json"));
        }
    }
}

#[test]
fn what_is_not_there_is_404_and_a_wrong_method_405() {
    let emulator = Emulator::start();
    for target in [
        "/",
        "/v1",
        "/v1/environments/",
        "/v1/environment",
        "/v2/environments",
        "/prefix/v1/environments",
        "/v1/environments/e/work/w/x",
        "/v1/environments//work",
        "/v1/sessions/s/events",
        "/_emulator",
        "/_emulator/",
        "/_emulator/x",
    ] {
        emulator.get(target).refused(404, "not_found_error", "");
    }
    for (method, target, allowed) in [
        ("PUT", "/v1/environments", "POST, GET"),
        ("DELETE", "/v1/environments", "POST, GET"),
        ("PATCH", "/v1/environments/e", "GET, POST, DELETE"),
        ("GET", "/v1/environments/e/archive", "POST"),
        ("POST", "/v1/environments/e/work/poll", "GET"),
        ("DELETE", "/v1/environments/e/work/stats", "GET"),
        ("GET", "/v1/environments/e/work/w/ack", "POST"),
        ("GET", "/v1/sessions", "POST"),
        ("DELETE", "/_emulator/health", "GET"),
        ("PUT", "/_emulator/faults", "GET, POST, DELETE"),
    ] {
        let answer = emulator.call(method, target, None);
        answer.refused(405, "invalid_request_error", "");
        assert_eq!(answer.header("allow"), Some(allowed), "{method} {target}");
    }
}

#[test]
fn ids_are_decoded_before_they_are_looked_up() {
    let emulator = Emulator::start();
    let id = emulator.hosted();
    let encoded: String = id.bytes().map(|byte| format!("%{byte:02x}")).collect();
    assert_eq!(emulator.get(&format!("/v1/environments/{encoded}")).ok()["id"], json!(id));
    assert_eq!(emulator.get(&format!("/v1/environments/{id}?beta=true")).ok()["id"], json!(id));
    for strange in ["a%2Fb", "%00", "%ff", "%", "..", "%2e%2e", ";x", "a%20b", "%F0%9F%9A%80", "'", "a+b"] {
        let answer = emulator.get(&format!("/v1/environments/{strange}"));
        answer.refused(404, "not_found_error", "environment_not_found");
    }
}

#[test]
fn a_body_that_is_too_large_is_413_and_the_next_request_is_served() {
    let emulator = Emulator::start();
    let body = format!(r#"{{"name":"{}"}}"#, "x".repeat(8 << 20));
    let answer = emulator.call("POST", "/v1/environments", Some(body.as_bytes()));
    answer.refused(413, "invalid_request_error", "");
    emulator.get("/v1/environments").ok();
    let large = "y".repeat(7 << 20);
    let made = emulator.post("/v1/environments", json!({"name": large})).ok();
    assert_eq!(made["name"], json!(large));
}

#[test]
fn one_connection_serves_many_requests_even_pipelined() {
    let emulator = Emulator::start();
    let mut connection = emulator.connect();
    let headers = [VERSION, BETA, KEY];
    for _ in 0..3 {
        connection.call("GET", "/v1/environments", &headers, None).unwrap().ok();
    }
    for _ in 0..5 {
        connection.send("POST", "/v1/environments", &headers, Some(br#"{"name":"n"}"#)).unwrap();
    }
    for _ in 0..5 {
        connection.receive().unwrap().ok();
    }
    assert_eq!(emulator.get("/v1/environments").ok()["data"].as_array().unwrap().len(), 5);
}

#[test]
fn what_is_not_http_harms_no_other_connection() {
    let emulator = Emulator::start();
    let inputs: [&[u8]; 8] = [
        b"\0\0\0\0\0\0\0\0\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /v1/environments HTTP/9.9\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"POST /v1/environments HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
        b"POST /v1/environments HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/environments HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n{",
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nnonsense",
    ];
    for input in inputs {
        let mut connection = emulator.connect();
        connection.write(input).unwrap();
        connection.finish_writing();
        let _ = connection.rest();
        emulator.get("/_emulator/health").ok();
    }
    until("all are closed", || emulator.get("/_emulator/connections").ok()["open"] == 1);
}

#[test]
fn an_upgrade_to_http_2_is_declined() {
    let emulator = Emulator::start();
    let upgrade = [VERSION, BETA, KEY, ("connection", "upgrade, http2-settings"), ("upgrade", "h2c"), ("http2-settings", "")];
    emulator.connect().call("GET", "/v1/environments", &upgrade, None).unwrap().ok();
}

#[test]
fn http_2_without_negotiation_is_understood() {
    let emulator = Emulator::start();
    let mut connection = emulator.connect();
    // The preface and an empty SETTINGS frame; the server answers with its own.
    connection.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").unwrap();
    connection.finish_writing();
    let answer = connection.rest().unwrap();
    assert_eq!(answer.get(3), Some(&4), "a SETTINGS frame: {answer:?}");
}
