use serde_json::{Value, json};

use crate::support::{BETA, Client, Emulator, Queue, VERSION, decode};

/// Enqueues an item; its id, its session and its sessions token.
fn item(queue: &Queue) -> (String, String, String) {
    let item = queue.api.post("/_emulator/work", json!({"environment_id": queue.environment})).ok();
    let secret = decode(&item.string("secret"));
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    (item.string("id"), text(&item["data"]["id"]), text(&secret["sessions_token"]))
}

#[test]
fn every_operation_accepts_the_credentials_it_should_and_no_other() {
    // The credentials, in the order of the letters below; Y: accepted, F: 403, U: 401.
    //   an API key, a key of the environment, of another one, one never issued,
    //   the item's sessions token, that of another item, one never issued
    #[rustfmt::skip]
    let table = [
        ("environments.create",   "POST",   "/v1/environments",              "YFFUFFU"),
        ("environments.list",     "GET",    "/v1/environments",              "YFFUFFU"),
        ("environments.retrieve", "GET",    "/v1/environments/ENV",          "YFFUFFU"),
        ("environments.update",   "POST",   "/v1/environments/ENV",          "YFFUFFU"),
        ("environments.archive",  "POST",   "/v1/environments/ENV/archive",  "YFFUFFU"),
        ("environments.delete",   "DELETE", "/v1/environments/ENV",          "YFFUFFU"),
        ("work.list",             "GET",    "/v1/environments/ENV/work",       "FYFUFFU"),
        ("work.poll",             "GET",    "/v1/environments/ENV/work/poll",  "FYFUFFU"),
        ("work.stats",            "GET",    "/v1/environments/ENV/work/stats", "YYFUFFU"),
        ("work.retrieve",         "GET",    "/v1/environments/ENV/work/WORK",  "YFFUFFU"),
        ("work.update",           "POST",   "/v1/environments/ENV/work/WORK",  "YFFUFFU"),
        ("work.ack",              "POST",   "/v1/environments/ENV/work/WORK/ack",       "FYFUYFU"),
        ("work.heartbeat",        "POST",   "/v1/environments/ENV/work/WORK/heartbeat", "FYFUYFU"),
        ("work.stop",             "POST",   "/v1/environments/ENV/work/WORK/stop",      "YYFUYFU"),
        ("sessions.create",       "POST",   "/v1/sessions",                  "YFFUFFU"),
        ("sessions.retrieve",     "GET",    "/v1/sessions/SESSION",          "YYFUYFU"),
    ];
    let emulator = Emulator::start();
    let other = emulator.queue();
    for (operation, method, path, row) in table {
        for (column, expected) in row.chars().enumerate() {
            // Everything fresh, for many of these change or destroy what they are given.
            let queue = emulator.queue();
            let (work, session, token) = item(&queue);
            let (_, _, other_token) = item(&queue);
            if operation == "work.heartbeat" {
                queue.ack(&work).ok();
            }
            let credential = match column {
                0 => "any-key".to_owned(),
                1 => queue.worker.credential.clone(),
                2 => other.worker.credential.clone(),
                3 => "sk-ant-oat01-never-issued".to_owned(),
                4 => token,
                5 => other_token,
                _ => "sk-ant-req-never-issued".to_owned(),
            };
            let path = path.replace("ENV", &queue.environment).replace("WORK", &work).replace("SESSION", &session);
            let body = json!({"name": "n", "metadata": {}, "environment_id": queue.environment}).to_string();
            let body = (method == "POST").then_some(body.as_bytes());
            let answer = emulator.with(&credential).call(method, &path, body);
            let what = format!("{operation} with credential {column}: {}", answer.text());
            match expected {
                'Y' => assert_eq!(answer.status, 200, "{what}"),
                'F' => assert_eq!((answer.status, &answer["error"]["type"]), (403, &json!("permission_error")), "{what}"),
                _ => assert_eq!((answer.status, &answer["error"]["type"]), (401, &json!("authentication_error")), "{what}"),
            }
        }
    }
}

#[test]
fn a_refusal_names_what_would_be_accepted() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let (work, _, token) = item(&queue);
    let message =
        |client: &Client, method: &str, path: &str| client.call(method, path, None).body["error"]["message"].to_string();
    let refused = message(&queue.api, "GET", &queue.path);
    assert!(refused.contains("work.list accepts an environment key, not an API key"), "{refused}");
    let refused = message(&queue.worker, "GET", &format!("{}/{work}", queue.path));
    assert!(refused.contains("work.retrieve accepts an API key, not an environment key"), "{refused}");
    let refused = message(&emulator.with(&token), "GET", &format!("{}/poll", queue.path));
    assert!(refused.contains("accepts an environment key, not the work item's sessions token"), "{refused}");
}

#[test]
fn every_token_of_an_item_stays_valid_so_that_a_lost_lease_is_a_412() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.enqueue();
    let token =
        |answer: crate::support::Answer| decode(&answer.ok().string("secret"))["sessions_token"].as_str().unwrap().to_owned();
    let first = emulator.with(&token(queue.poll("")));
    let heartbeat = format!("{}/{id}/heartbeat", queue.path);
    first.poke(&format!("{}/{id}/ack", queue.path)).ok();
    first.poke(&heartbeat).ok();
    emulator.advance(301_000);
    let second = emulator.with(&token(queue.poll("")));
    assert_ne!(first.credential, second.credential);
    second.poke(&format!("{}/{id}/ack", queue.path)).ok();
    second.poke(&format!("{heartbeat}?expected_last_heartbeat=NO_HEARTBEAT")).ok();
    let late = first.poke(&format!("{heartbeat}?expected_last_heartbeat=2026-01-01T00:00:00.000000%2B00:00"));
    late.refused(412, "invalid_request_error", "heartbeat_precondition_failed");
}

#[test]
fn a_credential_is_read_from_either_header() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let key = queue.worker.credential.as_str();
    let bearer = format!("Bearer {key}");
    let lower = format!("bearer {key}");
    let cases: [(&[(&str, &str)], u16); 12] = [
        (&[("authorization", &bearer)], 200),
        (&[("authorization", &lower)], 200),
        (&[("x-api-key", key)], 200),
        (&[("X-Api-Key", key)], 200),
        (&[("authorization", ""), ("x-api-key", key)], 200),
        (&[("authorization", "Bearer "), ("x-api-key", key)], 200),
        (&[("authorization", &bearer), ("x-api-key", "something else")], 200),
        (&[], 401),
        (&[("authorization", "Bearer ")], 401),
        (&[("authorization", "Bearer")], 401),
        (&[("authorization", "Basic eDp5")], 401),
        (&[("x-api-key", "")], 401),
    ];
    for (given, status) in cases {
        let headers = [&[VERSION, BETA], given].concat();
        let answer = emulator.connect().call("GET", &queue.path, &headers, None).unwrap();
        assert_eq!(answer.status, status, "{given:?}");
        if status == 401 {
            answer.refused(401, "authentication_error", "");
        }
    }
}

#[test]
fn with_any_auth_every_credential_that_is_not_empty_does() {
    let emulator = Emulator::start_with(&["--auth", "any"]);
    let queue = emulator.queue();
    let (id, session, _) = item(&queue);
    for credential in ["key", "sk-ant-oat01-never-issued", "sk-ant-req-never-issued"] {
        let client = emulator.with(credential);
        client.get(&queue.path).ok();
        client.get(&format!("{}/{id}", queue.path)).ok();
        client.get(&format!("/v1/environments/{}", queue.environment)).ok();
        client.get(&format!("/v1/sessions/{session}")).ok();
        client.poke(&format!("{}/{id}/ack", queue.path)).ok();
    }
    emulator.with("").get("/v1/environments").refused(401, "authentication_error", "");
}
