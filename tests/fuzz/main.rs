//! Feeds the library mutated input: parameters, configurations, JSON texts and pointers into them, responses of servers (HTTP/1.1 and
//! HTTP/2) and of proxies.
//!
//! Whatever comes, nothing panics, every call ends, what it gives is JSON, and no error calls itself a fault of the library.
//! `ANTENV_FUZZ_SECONDS` says for how long each test runs (1), `ANTENV_FUZZ_SEED` with what it begins; a failure prints both its seed and
//! the input.

mod mutation;
mod peer;

use antenv::{Client, Error, Status};
use mutation::{Mutator, show};
use peer::{Manner, Peer};
use serde::de::IgnoredAny;
use serde_json::json;
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// Bounds every call; one that takes longer than `HANGS` hangs.
const TIMEOUT_MS: u64 = 2_000;
const HANGS: Duration = Duration::from_secs(60);

/// What a thread has panicked with: the library's own catch it, and the call may look like any other failure.
static PANIC: Mutex<Option<String>> = Mutex::new(None);

#[test]
fn parameters() {
    let server = Peer::start(Manner::Parts(&[]));
    let client = client(json!({"base_url": server.url("http")}));
    let operations: Vec<&str> = antenv::api::operations::OPERATIONS.iter().map(|operation| operation.name).collect();
    fuzz("parameters", PARAMS, |mutator, input| {
        server.answer_with(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}".to_vec());
        let params = String::from_utf8_lossy(input);
        if mutator.one_in(8) {
            let path = mutator.mutate(b"/v1/environments/env_1?limit=1");
            let method = mutator.pick(&["GET", "POST", "DELETE", "PATCH", "get", "", "CONNECT", "G T"]);
            client.request(method, &String::from_utf8_lossy(&path), Some(&params))
        } else {
            client.call(mutator.pick(&operations), Some(&params))
        }
    });
}

#[test]
fn configurations() {
    fuzz("configurations", CONFIGS, |mutator, input| {
        let text = String::from_utf8_lossy(input);
        let made = Client::new(Some(&text))?;
        let derivation = mutator.mutate(br#"{"auth_token":"t","default_headers":{"x-a":null},"betas":[],"timeout_ms":5}"#);
        made.derive(Some(&String::from_utf8_lossy(&derivation))).map(|derived| derived.stats())
    });
}

#[test]
fn pointers_into_json() {
    fuzz("pointers", JSON, |mutator, input| {
        let text = String::from_utf8_lossy(input);
        let chosen = mutator.pick(POINTERS);
        let pointer = if mutator.one_in(2) { mutator.mutate(chosen) } else { chosen.to_vec() };
        let pointer = &*String::from_utf8_lossy(&pointer);
        let found = antenv::json::pointer::get(&text, pointer)?;
        // What another reader takes for JSON as well, it finds the same in.
        if let Ok(whole) = serde_json::from_str::<serde_json::Value>(&text) {
            let agrees = match (&found, whole.pointer(pointer)) {
                (Some(found), Some(serde_json::Value::String(text))) => found == text,
                (Some(found), Some(value)) => serde_json::from_str::<serde_json::Value>(found).ok().as_ref() == Some(value),
                (found, value) => found.is_none() && value.is_none(),
            };
            assert!(agrees, "{pointer:?} in {text:?} gives {found:?}");
        }
        Ok("null".to_owned())
    });
}

#[test]
fn responses() {
    let server = Peer::start(Manner::Parts(&[]));
    let client = client(json!({"base_url": server.url("http"), "http2": "never", "max_response_bytes": 100_000}));
    fuzz("responses", RESPONSES, |mutator, input| {
        server.answer_with(input.to_vec());
        let params = json!({"environment_id": "env_1", "with_response": mutator.one_in(2)}).to_string();
        client.call(mutator.pick(&["environments.retrieve", "work.poll", "work.list"]), Some(&params))
    });
}

#[test]
fn http2_responses() {
    let server = Peer::start(Manner::Http2);
    let client =
        client(json!({"base_url": server.url("http"), "http2": "always", "max_response_bytes": 100_000, "timeout_ms": 300}));
    let frames: Vec<Vec<u8>> = [
        &[frame(1, 4, 1, b"\x88"), frame(0, 1, 1, b"{\"id\":\"env_1\"}")][..],
        &[frame(1, 4, 1, b"\x88\x5f\x10application/json"), frame(0, 0, 1, b"{"), frame(0, 1, 1, b"}")],
        &[frame(6, 0, 0, b"12345678"), frame(1, 5, 1, b"\x8d")],
        &[frame(7, 0, 0, &[0, 0, 0, 1, 0, 0, 0, 0]), frame(1, 4, 1, b"\x88"), frame(0, 1, 1, b"{}")],
        &[frame(3, 0, 1, &[0, 0, 0, 7])],
        &[frame(4, 0, 0, &[0, 3, 0, 0, 0, 1]), frame(8, 0, 0, &[0, 0, 1, 0]), frame(9, 4, 1, b"\x88")],
    ]
    .iter()
    .map(|parts| parts.concat())
    .collect();
    let seeds: Vec<&[u8]> = frames.iter().map(Vec::as_slice).collect();
    fuzz("HTTP/2 responses", &seeds, |_, input| {
        server.answer_with([frame(4, 0, 0, b""), frame(4, 1, 0, b""), input.to_vec()].concat());
        client.call("environments.retrieve", Some(r#"{"environment_id":"env_1"}"#))
    });
}

#[test]
fn proxies_answers_to_connect() {
    let proxy = Peer::start(Manner::Parts(&[]));
    let client = client(json!({"base_url": "https://api.test", "proxy": proxy.url("http")}));
    fuzz("answers to CONNECT", TUNNELS, |_, input| {
        proxy.answer_with(input.to_vec());
        client.call("environments.list", None)
    });
}

#[test]
fn socks_proxies_answers() {
    let proxy = Peer::start(Manner::Parts(&[2, 10]));
    let clients = ["socks5h", "socks5"].map(|scheme| client(json!({"base_url": "http://127.1.2.3", "proxy": proxy.url(scheme)})));
    fuzz("SOCKS answers", SOCKS, |mutator, input| {
        proxy.answer_with(input.to_vec());
        clients[usize::from(mutator.one_in(2))].call("environments.list", None)
    });
}

/// Runs a target on mutated seeds for the given time, and checks what it gives.
fn fuzz(name: &str, seeds: &[&[u8]], mut target: impl FnMut(&mut Mutator, &[u8]) -> Result<String, Error>) {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            PANIC.lock().unwrap().get_or_insert_with(|| panic.to_string());
            report(panic);
        }));
    });
    // One at a time: they share the library's thread, and a panic there must be put to the input that was its cause.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    let number = |variable: &str| std::env::var(variable).ok().map(|text| text.parse::<u64>().expect(variable));
    let seconds = number("ANTENV_FUZZ_SECONDS").unwrap_or(1);
    let seed = number("ANTENV_FUZZ_SEED").unwrap_or_else(|| fastrand::u64(..));
    println!("{name}: ANTENV_FUZZ_SEED={seed}, {seconds} s");
    let mut mutator = Mutator::new(seed);
    let (end, mut runs, mut successes) = (Instant::now() + Duration::from_secs(seconds), 0, 0);
    while Instant::now() < end {
        let chosen = mutator.pick(seeds);
        let input = mutator.mutate(chosen);
        let begun = Instant::now();
        let outcome = target(&mut mutator, &input);
        let context = || format!("{name}: ANTENV_FUZZ_SEED={seed}, run {runs}, input {}", show(&input));
        assert!(begun.elapsed() < HANGS, "hangs: {}", context());
        let panic = PANIC.lock().unwrap().take();
        assert!(panic.is_none(), "a thread has panicked, {panic:?}: {}", context());
        let text = match &outcome {
            Ok(text) => text.clone(),
            Err(error) => error.to_json(),
        };
        assert!(serde_json::from_str::<IgnoredAny>(&text).is_ok(), "gives no JSON but {text:?}: {}", context());
        if let Err(error) = &outcome {
            assert_ne!(error.status(), Status::Internal, "{text}: {}", context());
        }
        runs += 1;
        successes += u64::from(outcome.is_ok());
    }
    println!("{name}: {runs} runs, {successes} successes");
}

/// A client that retries nothing and gives up soon.
fn client(mut config: serde_json::Value) -> Client {
    config["api_key"] = "an-api-key".into();
    config["max_retries"] = 0.into();
    config["timeout_ms"] = config.get("timeout_ms").cloned().unwrap_or(TIMEOUT_MS.into());
    config["connect_timeout_ms"] = (TIMEOUT_MS / 2).into();
    Client::new(Some(&config.to_string())).unwrap()
}

/// An HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

const PARAMS: &[&[u8]] = &[
    b"{}",
    br#"{"name":"n","description":null,"config":{"type":"self_hosted","x":[1,2.50e3,{}]},"metadata":{"a":"b","c":null}}"#,
    br#"{"environment_id":"env_1","work_id":"work_1","block_ms":999,"reclaim_older_than_ms":0,"anthropic_worker_id":"w"}"#,
    br#"{"environment_id":"env_1","work_id":"work_1","expected_last_heartbeat":"NO_HEARTBEAT","desired_ttl_seconds":30}"#,
    br#"{"limit":10,"page":"p","include_archived":true,"betas":["one","two"],"workspace_id":"w"}"#,
    br#"{"extra_headers":{"x-a":"b","x-c":null},"extra_query":{"a":"b","c":[1,true]},"extra_body":{"d":{}}}"#,
    br#"{"environment_id":"env_1","timeout_ms":1000,"attempt_timeout_ms":500,"max_retries":0,"with_response":true}"#,
    br#"{"query":{"a":"b"},"body":{"c":"\ud83d\ude80\u0000"},"headers":{"x-d":"e"}}"#,
];

const JSON: &[&[u8]] = &[
    br#"{"a":[{"b":"c\u00e9\ud83d\ude00\n"},[1,2.50e3,-0],null,true],"":{"x/y":"z","m~n":[]},"a\u0062":""}"#,
    br#" [ "a" , { "a" : { "a" : [ [ "\ud800" ] ] , "a" : 2 } } ] "#,
    br#"{"status":"not_found","code":104,"message":"m","details":{"error_code":"e"},"request_id":null,"body":"<p>"}"#,
];

const POINTERS: &[&[u8]] =
    &[b"", b"/", b"/a", b"/a/0/b", b"/a/1/1", b"/ab", b"//x~1y", b"//m~0n", b"/1/a/a/0/0", b"/details/error_code"];

const CONFIGS: &[&[u8]] = &[
    br#"{"api_key":"k","environment_key":"e","base_url":"http://127.0.0.1:1/prefix/","timeout_ms":1000}"#,
    br#"{"auth_token":"t","base_url":"https://[::1]:1","http2":"never","connect_timeout_ms":5,"max_retries":0}"#,
    br#"{"api_key":"k","default_headers":{"X-A":"b","x-c":null},"betas":["one"],"workspace_id":"w","anthropic_version":"v"}"#,
    br#"{"api_key":"k","proxy":"http://user:p%40ss@127.0.0.1:3128","roots":"system","max_response_bytes":1000}"#,
    br#"{"api_key":"k","proxy":"socks5h://127.0.0.1:1080","allow_insecure_http":true,"base_url":"http://a.test"}"#,
    br#"{"api_key":"k","auth_header":"x-api-key","attempt_timeout_ms":100,"roots":"only_ca_file","ca_file":"/nowhere"}"#,
    br#"{"api_key":"k","client_cert_file":"/nowhere","client_key_file":"/nowhere","http2":"always"}"#,
];

const RESPONSES: &[&[u8]] = &[
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 14\r\nrequest-id: req_1\r\n\r\n{\"id\":\"env_1\"}",
    b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n7\r\n{\"id\":1\r\n1;x=y\r\n}\r\n0\r\nx-trailer: t\r\n\r\n",
    b"HTTP/1.0 200 OK\r\n\r\nnull",
    b"HTTP/1.1 204 No Content\r\n\r\n",
    b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nnull",
    b"HTTP/1.1 404 Not Found\r\ncontent-length: 83\r\nconnection: close\r\n\r\n{\"type\":\"error\",\"error\":{\"type\":\"not_found_error\",\"message\":\"m\"},\"request_id\":\"r\"}",
    b"HTTP/1.1 429 Too Many\r\nretry-after: 1\r\nretry-after-ms: 2.5\r\nx-should-retry: true\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 502 Bad Gateway\r\ncontent-length: 13\r\n\r\n<p>\xff\xfe no</p>\n",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: h2c\r\nconnection: upgrade\r\n\r\n",
    b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 4\r\n\r\n\x1f\x8b\x08\x00",
];

const TUNNELS: &[&[u8]] = &[
    b"HTTP/1.1 200 Connection established\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nvia: 1.1 x\r\n\r\n\x16\x03\x03\x00\x02\x02\x28",
    b"HTTP/1.1 200 OK\r\n\r\n\x15\x03\x03\x00\x02\x02\x28",
    b"HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic realm=\"x\"\r\ncontent-length: 2\r\n\r\nno",
    b"HTTP/1.0 503 Busy\r\n\r\n<html>busy</html>",
    b"HTTP/1.1 299 Other\r\n\r\n",
];

const SOCKS: &[&[u8]] = &[
    b"\x05\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}",
    b"\x05\x02\x01\x00\x05\x00\x00\x01\x7f\x00\x00\x01\x00\x50",
    b"\x05\x00\x05\x05\x00\x03\x04host\x00\x50",
    b"\x05\x00\x05\x00\x00\x04\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x01\x00\x50",
    b"\x05\xff",
];
