//! Requests as operations and parameters make them.

use super::*;
use crate::api::operations::{
    ENVIRONMENTS_CREATE, ENVIRONMENTS_LIST, ENVIRONMENTS_RETRIEVE, MEMORY_STORES_MEMORIES_CREATE, MEMORY_STORES_MEMORIES_LIST,
    OPERATIONS, SESSIONS_CREATE, SESSIONS_EVENTS_LIST, SESSIONS_EVENTS_SEND, SESSIONS_EVENTS_STREAM, SKILLS_VERSIONS_DOWNLOAD,
    SKILLS_VERSIONS_RETRIEVE, WORK_ACK, WORK_HEARTBEAT, WORK_POLL, WORK_UPDATE,
};
use percent_encoding::percent_decode_str;

fn defaults(config: &str) -> CallDefaults {
    config::read(config, &|name| (name == "ANTHROPIC_API_KEY").then(|| "key".to_owned())).unwrap().1
}

fn url(request: &Request, base: &str) -> String {
    request.url(&base.parse().unwrap()).unwrap().to_string()
}

fn build(operation: &'static Operation, params: &str) -> Result<Request> {
    super::operation(operation, &[], Some(params), &defaults("{}"))
}

fn refusal(operation: &'static Operation, params: &str) -> String {
    build(operation, params).map(|request| format!("{request:?}")).unwrap_err().to_string()
}

fn body(request: &Request) -> &str {
    request.body.as_deref().map_or("", |body| std::str::from_utf8(body).unwrap())
}

#[test]
fn the_value_of_a_body_member_is_passed_on_verbatim() {
    let request =
        build(&ENVIRONMENTS_CREATE, r#"{ "config" : {"b":1.00e2, "a" : [ 18446744073709551616 ]} , "name":"\u0000x" }"#).unwrap();
    assert_eq!(body(&request), r#"{"name":"\u0000x","config":{"b":1.00e2, "a" : [ 18446744073709551616 ]}}"#);
}

#[test]
fn absent_null_and_empty_values_differ() {
    assert_eq!(body(&build(&ENVIRONMENTS_CREATE, r#"{"name":"n"}"#).unwrap()), r#"{"name":"n"}"#);
    let given = r#"{"name":"n","config":null,"description":"","metadata":{}}"#;
    assert_eq!(body(&build(&ENVIRONMENTS_CREATE, given).unwrap()), given);
    let list = build(&ENVIRONMENTS_LIST, r#"{"page":null,"limit":null,"betas":null,"timeout_ms":null}"#).unwrap();
    assert_eq!(url(&list, "http://h"), "http://h/v1/environments");
}

#[test]
fn an_array_in_the_query_repeats_its_name_with_brackets() {
    let query = |operation, params: &str| {
        let url: Url = url(&build(operation, params).unwrap(), "http://h").parse().unwrap();
        url.query_pairs().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
    };
    let given = r#"{"session_id":"s","types":["a,b","c&d"],"created_at[gt]":"2026-03-15T10:00:00Z","limit":null}"#;
    assert_eq!(query(&SESSIONS_EVENTS_LIST, given), "created_at[gt]=2026-03-15T10:00:00Z types[]=a,b types[]=c&d");
    assert_eq!(query(&SESSIONS_EVENTS_LIST, r#"{"session_id":"s","types":[]}"#), "");
    assert_eq!(query(&SESSIONS_EVENTS_STREAM, r#"{"session_id":"s","event_deltas":["a"]}"#), "event_deltas[]=a");
}

#[test]
fn a_string_or_an_object_and_lists_pass_verbatim_into_the_body() {
    for (operation, params) in [
        (&SESSIONS_CREATE, r#"{"agent":"agent_1","environment_id":"e","resources":[],"title":null,"vault_ids":["v"]}"#),
        (&SESSIONS_CREATE, r#"{"agent":{"id": 1.0},"environment_id":"e"}"#),
        (&SESSIONS_EVENTS_SEND, r#"{"events":[{"type":"x","n":1e2}, {}]}"#),
        (&MEMORY_STORES_MEMORIES_CREATE, r#"{"content":null,"path":"/a"}"#),
    ] {
        let ids = [("session_id", "s"), ("memory_store_id", "m")];
        let ids: Vec<_> = ids.into_iter().filter(|(name, _)| operation.path.contains(name)).collect();
        assert_eq!(body(&super::operation(operation, &ids, Some(params), &defaults("{}")).unwrap()), params);
    }
}

#[test]
fn each_operation_gets_its_own_beta_and_accept_header() {
    let headers = |operation, config: &str, params: &str| {
        let request = super::operation(operation, &[], Some(params), &defaults(config)).unwrap();
        let text = |name: HeaderName| request.headers.get(name).map_or("", |value| value.to_str().unwrap()).to_owned();
        assert!(request.headers.get_all(BETA_HEADER).iter().count() <= 1);
        (text(BETA_HEADER), text(ACCEPT))
    };
    let skill = r#"{"skill_id":"s","version":"v"}"#;
    for (operation, config, params, beta, accept) in [
        (&MEMORY_STORES_MEMORIES_LIST, "{}", r#"{"memory_store_id":"m"}"#, "agent-memory-2026-07-22", "application/json"),
        (
            &MEMORY_STORES_MEMORIES_LIST,
            r#"{"betas":["a"],"default_headers":{"accept":"x/y"}}"#,
            r#"{"memory_store_id":"m","betas":["b"]}"#,
            "a,b,agent-memory-2026-07-22",
            "x/y",
        ),
        (&SESSIONS_EVENTS_STREAM, "{}", r#"{"session_id":"s"}"#, "managed-agents-2026-04-01", "application/json"),
        (&SKILLS_VERSIONS_RETRIEVE, "{}", skill, "", "application/json"),
        (&SKILLS_VERSIONS_RETRIEVE, r#"{"betas":["a"]}"#, skill, "a", "application/json"),
        (&SKILLS_VERSIONS_DOWNLOAD, r#"{"default_headers":{"accept":"x/y"}}"#, skill, "", "application/binary"),
        (
            &SKILLS_VERSIONS_DOWNLOAD,
            "{}",
            r#"{"skill_id":"s","version":"v","extra_headers":{"accept":"a/b","anthropic-beta":"c"}}"#,
            "c",
            "a/b",
        ),
    ] {
        assert_eq!(headers(operation, config, params), (beta.to_owned(), accept.to_owned()), "{} {config}", operation.name);
    }
}

/// The recorded requests of the official client, also of streams and downloads. The drivers of all languages send the others for real.
#[test]
fn each_request_is_the_one_that_the_official_client_makes() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conformance/requests.json");
    let cases: Vec<serde_json::Value> = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let decoded = |path: &str| path.split('/').map(|part| percent_decode_str(part).collect::<Vec<u8>>()).collect::<Vec<_>>();
    for case in cases {
        let (name, expected) = (&case["name"], &case["expect"]);
        let operation = OPERATIONS.iter().find(|operation| case["operation"] == operation.name).unwrap();
        let request = super::operation(operation, &[], Some(&case["params"].to_string()), &defaults(r#"{"api_key":"test-key"}"#));
        if expected["rejected"] == true {
            let error = request.unwrap_err();
            assert!(case["params"].get(error.parameter().unwrap()).is_some(), "{name}");
            continue;
        }
        let request = request.unwrap();
        let url: Url = url(&request, "http://h").parse().unwrap();
        let query: Vec<_> = url.query_pairs().map(|(name, value)| serde_json::json!([name, value])).collect();
        assert_eq!(expected["method"], request.method.as_str(), "{name}");
        assert_eq!(decoded(url.path()), decoded(expected["path"].as_str().unwrap()), "{name}");
        assert_eq!(expected["query"], serde_json::Value::from(query), "{name}");
        let sent = request.body.as_deref().map_or(serde_json::Value::Null, |body| serde_json::from_slice(body).unwrap());
        assert_eq!(expected["body"], sent, "{name}");
        for header in ["accept", "authorization", "anthropic-version", "anthropic-beta", "anthropic-workspace-id"] {
            // The official client repeats the required beta if the caller gives it, too.
            let once = |text: &str| {
                let mut parts: Vec<_> = text.split(',').map(str::to_owned).collect();
                parts.dedup();
                parts
            };
            let sent = request.headers.get(header).map(|value| once(value.to_str().unwrap()));
            assert_eq!(sent, expected["headers"][header].as_str().map(once), "{name}: {header}");
        }
    }
}

#[test]
fn invalid_input_is_rejected_by_name() {
    for (operation, params, message) in [
        (&ENVIRONMENTS_CREATE, "{}", "`name` is required"),
        (&ENVIRONMENTS_CREATE, r#"{"name":null}"#, "`name` is required"),
        (&ENVIRONMENTS_CREATE, r#"{"name":""}"#, "`name` must not be empty"),
        (&ENVIRONMENTS_CREATE, r#"{"name":1}"#, "`name` must be a string that is not empty"),
        (&ENVIRONMENTS_CREATE, r#"{"name":"n","config":[]}"#, "`config` must be an object"),
        (
            &ENVIRONMENTS_CREATE,
            r#"{"name":"n","betas":["a\nb"]}"#,
            "`betas` has control characters, which are not valid in an HTTP header",
        ),
        (&ENVIRONMENTS_LIST, r#"{"limit":1.5}"#, "`limit` must be a whole number"),
        (&ENVIRONMENTS_LIST, r#"{"include_archived":"yes"}"#, "`include_archived` must be true or false"),
        (&ENVIRONMENTS_LIST, r#"{"timeout_ms":0}"#, "`timeout_ms` must be a whole number from 1 to 2147483647"),
        (&ENVIRONMENTS_LIST, r#"{"max_retries":-1}"#, "`max_retries` must be a whole number from 0 to 100"),
        (&ENVIRONMENTS_LIST, r#"{"extra_body":{}}"#, "`extra_body` cannot be used with GET, which has no body"),
        (&ENVIRONMENTS_LIST, r#"{"extra_headers":{"a b":"c"}}"#, "`a b` is not a valid header name"),
        (&ENVIRONMENTS_LIST, r#"{"extra_headers":{"Content-Length":"5"}}"#, "`Content-Length` is set by the library only"),
        (
            &ENVIRONMENTS_LIST,
            r#"{"extra_headers":{"x":"a\r\nb: c"}}"#,
            "`x` has control characters, which are not valid in an HTTP header",
        ),
        (&ENVIRONMENTS_LIST, r#"{"extra_query":{"x":{}}}"#, "`x` must be a string, a number, a boolean, or an array of them"),
        (&SESSIONS_CREATE, r#"{"environment_id":"e"}"#, "`agent` is required"),
        (&SESSIONS_CREATE, r#"{"agent":1,"environment_id":"e"}"#, "`agent` must be a string that is not empty, or an object"),
        (&SESSIONS_CREATE, r#"{"agent":"","environment_id":"e"}"#, "`agent` must be a string that is not empty, or an object"),
        (
            &SESSIONS_CREATE,
            r#"{"agent":"a","environment_id":"e","vault_ids":"v"}"#,
            "`vault_ids` must be an array of strings that are not empty",
        ),
        (&SESSIONS_EVENTS_SEND, r#"{"session_id":"s","events":{}}"#, "`events` must be an array of objects"),
        (&SESSIONS_EVENTS_SEND, r#"{"session_id":"s","events":[{},1]}"#, "`events` must be an array of objects"),
        (&SESSIONS_EVENTS_SEND, r#"{"session_id":"s","events":null}"#, "`events` is required"),
        (
            &SESSIONS_EVENTS_LIST,
            r#"{"session_id":"s","types":["a",""]}"#,
            "`types` must be an array of strings that are not empty",
        ),
        (&SESSIONS_EVENTS_LIST, r#"{"session_id":"s","created_at[gt]":5}"#, "`created_at[gt]` must be a string"),
        (&MEMORY_STORES_MEMORIES_CREATE, r#"{"memory_store_id":"m","path":"/a"}"#, "`content` is required"),
        (&MEMORY_STORES_MEMORIES_LIST, r#"{"memory_store_id":"m","limit":101}"#, "`limit` must be a whole number from 1 to 100"),
        (&WORK_UPDATE, r#"{"environment_id":"e","work_id":"w","metadata":null}"#, "`metadata` is required"),
        (&WORK_POLL, r#"{"environment_id":"e","block_ms":0}"#, "`block_ms` must be a whole number from 1 to 999"),
        (&WORK_POLL, r#"{"environment_id":"e","block_ms":1000}"#, "`block_ms` must be a whole number from 1 to 999"),
        (
            &WORK_POLL,
            r#"{"environment_id":"e","anthropic_worker_id":"a\u0000"}"#,
            "`anthropic_worker_id` has control characters, which are not valid in an HTTP header",
        ),
    ] {
        assert_eq!(refusal(operation, params), message, "{params}");
    }
    for id in ["", ".", "..", ";x", ".;x", "..;x"] {
        let params = format!(r#"{{"environment_id":"{id}"}}"#);
        assert!(refusal(&ENVIRONMENTS_RETRIEVE, &params).starts_with("`environment_id` must not be"), "{id:?}");
    }
    assert_eq!(
        refusal(&ENVIRONMENTS_RETRIEVE, r#"{"environment_id":"e","limt":1}"#),
        "`limt` is not known here; known are: environment_id, betas, workspace_id, timeout_ms, attempt_timeout_ms, \
         max_retries, extra_headers, extra_query, extra_body, with_response"
    );
}

#[test]
fn an_identifier_given_as_an_argument_must_not_be_given_again() {
    let error =
        super::operation(&WORK_ACK, &[("environment_id", "e"), ("work_id", "w")], Some(r#"{"work_id":"w"}"#), &defaults("{}"));
    assert_eq!(error.unwrap_err().parameter(), Some("work_id"));
    let request =
        super::operation(&WORK_ACK, &[("environment_id", "a/b"), ("work_id", "{environment_id}")], None, &defaults("{}"));
    assert_eq!(url(&request.unwrap(), "http://h/p"), "http://h/p/v1/environments/a%2Fb/work/%7Benvironment_id%7D/ack");
}

#[test]
fn extra_parts_are_merged() {
    let request = build(
        &WORK_HEARTBEAT,
        r#"{"environment_id":"e","work_id":"w","desired_ttl_seconds":5,"extra_query":{"desired_ttl_seconds":7,"t":["a",true],"n":null},
            "extra_body":{"x":null},"extra_headers":{"Accept":null,"x-empty":"","anthropic-beta":"extra, managed-agents-2026-04-01"}}"#,
    )
    .unwrap();
    let url: url::Url = url(&request, "http://h").parse().unwrap();
    assert_eq!(url.query(), Some("desired_ttl_seconds=7&t%5B%5D=a&t%5B%5D=true"));
    assert_eq!(body(&request), r#"{"x":null}"#);
    assert_eq!(request.headers.get("accept"), None);
    assert_eq!(request.headers.get("x-empty").unwrap(), "");
    assert_eq!(request.headers.get(BETA_HEADER).unwrap(), "extra,managed-agents-2026-04-01");
    let merged = build(&ENVIRONMENTS_CREATE, r#"{"name":"a","extra_body":{"name":"b","new\"":[1]}}"#).unwrap();
    assert_eq!(body(&merged), r#"{"name":"b","new\"":[1]}"#);
}

#[test]
fn an_attempt_is_bounded_and_a_poll_may_also_wait_at_the_server() {
    let bound = |config: &str, operation: &'static Operation, params: &str| {
        super::operation(operation, &[], Some(params), &defaults(config)).unwrap().attempt_timeout.as_millis()
    };
    let poll = r#"{"environment_id":"e","block_ms":999}"#;
    for (config, of_list, of_poll) in [("{}", 60_000, 10_999), (r#"{"attempt_timeout_ms":5000}"#, 5_000, 5_999)] {
        assert_eq!((bound(config, &ENVIRONMENTS_LIST, "{}"), bound(config, &WORK_POLL, poll)), (of_list, of_poll));
        assert_eq!(bound(config, &WORK_POLL, r#"{"environment_id":"e","block_ms":999,"attempt_timeout_ms":7}"#), 7);
    }
}

#[test]
fn betas_are_joined_once_each() {
    let beta = |config: &str, params: &str| {
        let request = super::operation(&ENVIRONMENTS_LIST, &[], Some(params), &defaults(config)).unwrap();
        request.headers.get(BETA_HEADER).unwrap().to_str().unwrap().to_owned()
    };
    assert_eq!(beta("{}", "{}"), "managed-agents-2026-04-01");
    assert_eq!(beta(r#"{"betas":["a","b"]}"#, r#"{"betas":["b","c"]}"#), "a,b,c,managed-agents-2026-04-01");
    assert_eq!(beta(r#"{"default_headers":{"Anthropic-Beta":"a, b"}}"#, "{}"), "a,b,managed-agents-2026-04-01");
    assert_eq!(beta(r#"{"betas":["managed-agents-2026-04-01"]}"#, "{}"), "managed-agents-2026-04-01");
    assert_eq!(beta(r#"{"betas":["a"]}"#, r#"{"extra_headers":{"Anthropic-Beta":null}}"#), "a,managed-agents-2026-04-01");
    assert_eq!(beta(r#"{"default_headers":{"anthropic-beta":null}}"#, "{}"), "managed-agents-2026-04-01");
}

#[test]
fn a_free_request_stays_on_the_host_and_on_its_path() {
    let free = |method: &str, path: &str, params: &str| free_form(method, path, Some(params), &defaults("{}"));
    for path in ["", "v1", "/a/../b", "/a/%2e%2E/b", "/.;x", "/a?b", "/a#b", "/a\\b", "/a b", "/a\nb", "http://evil/"] {
        assert_eq!(free("GET", path, "{}").unwrap_err().parameter(), Some("path"), "{path:?}");
    }
    assert_eq!(free("FETCH", "/", "{}").unwrap_err().parameter(), Some("method"));
    assert_eq!(free("GET", "/", r#"{"body":{}}"#).unwrap_err().parameter(), Some("body"));
    let request = free("post", "//evil.example/x", r#"{"body":[1],"query":{"a":"b c"},"headers":{"x":"y"}}"#).unwrap();
    assert_eq!(url(&request, "http://h"), "http://h//evil.example/x?a=b%20c");
    assert_eq!((request.method.as_str(), body(&request)), ("POST", "[1]"));
    let merged = free("POST", "/x", r#"{"body":{"a":1},"extra_body":{"b":2}}"#).unwrap();
    assert_eq!(body(&merged), r#"{"a":1,"b":2}"#);
    assert_eq!(free("POST", "/x", r#"{"body":[],"extra_body":{"b":2}}"#).unwrap_err().parameter(), Some("body"));
}

#[test]
fn debug_output_shows_no_credential() {
    let request =
        build(&ENVIRONMENTS_LIST, r#"{"extra_headers":{"x-api-key":"hidden-one","authorization":"hidden-two"}}"#).unwrap();
    let shown =
        format!("{request:?} {:?}", defaults(r#"{"api_key":"hidden-three","default_headers":{"x-api-key":"hidden-four"}}"#));
    assert!(!shown.contains("hidden"), "{shown}");
}
