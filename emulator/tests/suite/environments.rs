use serde_json::{Value, json};

use crate::support::{Emulator, held_polls, keys};

const PACKAGES: &str = r#"{"apt":[],"cargo":[],"gem":[],"go":[],"npm":[],"pip":[],"type":"packages"}"#;

#[test]
fn a_new_environment_has_every_field_in_the_documented_order() {
    let emulator = Emulator::start();
    let made = emulator.post("/v1/environments", json!({"name": "python-data-analysis"})).ok();
    let order = ["id", "archived_at", "config", "created_at", "description", "metadata", "name", "type", "updated_at", "scope"];
    assert_eq!(keys(made.text()), order);
    let id = made.string("id");
    assert!(id.starts_with("env_01") && id.len() == 28, "{id}");
    assert_eq!(made["archived_at"], Value::Null);
    assert_eq!(made["description"], Value::Null);
    assert_eq!(made["metadata"], json!({}));
    assert_eq!(made["name"], "python-data-analysis");
    assert_eq!(made["type"], "environment");
    assert_eq!(made["scope"], "organization");
    assert_eq!(made["created_at"], made["updated_at"]);
    let expected = format!(r#"{{"networking":{{"type":"unrestricted"}},"packages":{PACKAGES},"type":"cloud"}}"#);
    assert_eq!(made["config"].to_string(), expected);
    assert_eq!(emulator.get(&format!("/v1/environments/{id}")).ok().bytes, made.bytes);
}

#[test]
fn what_is_given_comes_back_and_what_is_absent_takes_its_default() {
    let emulator = Emulator::start();
    let cases = [
        (json!({"name": "n", "config": null, "description": null, "scope": null, "metadata": null}), "description", json!(null)),
        (json!({"name": "n", "description": ""}), "description", json!("")),
        (json!({"name": "n", "description": "d"}), "description", json!("d")),
        (json!({"name": "n", "scope": null}), "scope", json!("organization")),
        (json!({"name": "n", "scope": "account"}), "scope", json!("account")),
        (json!({"name": "n", "metadata": {"b": "1", "a": ""}}), "metadata", json!({"b": "1", "a": ""})),
        (json!({"name": "n", "config": {"type": "self_hosted"}}), "config", json!({"type": "self_hosted"})),
        (json!({"name": "n", "unknown": 1}), "unknown", json!(null)),
    ];
    for (body, key, expected) in cases {
        let made = emulator.post("/v1/environments", body.clone()).ok();
        assert_eq!(made[key], expected, "{body}");
    }
}

#[test]
fn a_body_that_makes_no_sense_is_refused() {
    let emulator = Emulator::start();
    let bodies = [
        "",
        "{}",
        "[]",
        "null",
        "\"x\"",
        "{",
        "{\"name\":\"x\"} x",
        "\u{feff}{}",
        r#"{"name":""}"#,
        r#"{"name":null}"#,
        r#"{"name":1}"#,
        r#"{"name":"\ud800"}"#,
        r#"{"name":"x","description":1}"#,
        r#"{"name":"x","scope":"planet"}"#,
        r#"{"name":"x","metadata":[]}"#,
        r#"{"name":"x","metadata":{"a":1}}"#,
        r#"{"name":"x","metadata":{"a":null}}"#,
        r#"{"name":"x","config":[]}"#,
        r#"{"name":"x","config":{}}"#,
        r#"{"name":"x","config":{"type":"moon"}}"#,
        r#"{"name":"x","config":{"type":"cloud","networking":{"type":"open"}}}"#,
        r#"{"name":"x","config":{"type":"cloud","packages":{"pip":"numpy"}}}"#,
        r#"{"name":"x","config":{"type":"cloud","packages":{"pip":[1]}}}"#,
        r#"{"name":"x","config":{"type":"cloud","packages":{"pip":["a"]},"networking":{"type":"limited"}}}"#,
    ];
    for body in bodies {
        emulator.call("POST", "/v1/environments", Some(body.as_bytes())).refused(400, "invalid_request_error", "");
    }
    let deep = [b"{\"name\":".as_slice(), &b"[".repeat(100_000)].concat();
    emulator.call("POST", "/v1/environments", Some(&deep)).refused(400, "invalid_request_error", "");
    emulator.call("POST", "/v1/environments", Some(b"{\"name\":\"\xff\"}")).refused(400, "invalid_request_error", "");
    assert_eq!(emulator.get("/v1/environments").ok()["data"], json!([]));
}

#[test]
fn numbers_key_order_and_any_character_survive_a_round_trip() {
    let emulator = Emulator::start();
    let config = format!(
        r#"{{"type":"cloud","z":[1.50,1E+2,-0,0.1e-7,12345678901234567890123],"a":{{"y":null,"x":true}},"networking":{{"type":"unrestricted","n":1.0}},"packages":{PACKAGES}}}"#
    );
    let metadata = r#"{"ключ":"значение","b":"\u0000\u001f\n\"\\🚀","a":"\u007f\u2028"}"#;
    let body = format!(r#"{{"name":"環境 🚀 \u0000 \n \"q\" \\","config":{config},"metadata":{metadata}}}"#);
    let made = emulator.call("POST", "/v1/environments", Some(body.as_bytes())).ok();
    assert_eq!(made["name"], "環境 🚀 \0 \n \"q\" \\");
    assert!(made.text().contains(&config), "{}", made.text());
    assert_eq!(made["metadata"], serde_json::from_str::<Value>(metadata).unwrap());
    assert!(made.text().contains(metadata), "{}", made.text());

    let deep = format!("{}{}", "[".repeat(50_000), "]".repeat(50_000));
    let body = format!(r#"{{"name":"deep","config":{{"type":"self_hosted","future":{deep},"half":"\ud800"}}}}"#);
    let made_deep = emulator.call("POST", "/v1/environments", Some(body.as_bytes())).ok();
    assert!(made_deep.text().contains(&deep) && made_deep.text().contains(r#""half":"\ud800""#));
    assert_eq!(emulator.get("/_emulator/requests").status, 200);

    let id = made.string("id");
    emulator.post(&format!("/v1/environments/{id}"), json!({"metadata": {"c": "3"}})).ok();
    let after = emulator.get(&format!("/v1/environments/{id}")).ok();
    assert!(after.text().contains(&config), "{}", after.text());
    let metadata = metadata.replace('}', r#","c":"3"}"#);
    assert!(after.text().contains(&metadata), "{}", after.text());
}

#[test]
fn an_update_changes_what_it_names_and_nothing_else() {
    let emulator = Emulator::start();
    let config = json!({
        "type": "cloud",
        "networking": {"type": "limited", "allowed_hosts": ["h"], "allow_mcp_servers": true, "allow_package_managers": true},
        "packages": {"apt": [], "cargo": [], "gem": [], "go": [], "npm": ["b"], "pip": ["a"], "type": "packages"},
    });
    let body = json!({"name": "n", "description": "d", "metadata": {"a": "1", "b": "2"}, "config": config});
    let before = emulator.post("/v1/environments", body).ok();
    let path = format!("/v1/environments/{}", before.string("id"));

    let mut expected = before.body.clone();
    // Each step: the patch, then pointers into the object and what is there afterwards.
    let steps = [
        (json!({}), vec![]),
        (json!({"name": "m"}), vec![("/name", json!("m"))]),
        (json!({"description": null}), vec![("/description", json!(null))]),
        (json!({"description": ""}), vec![("/description", json!(""))]),
        (json!({"scope": "account"}), vec![("/scope", json!("account"))]),
        (json!({"scope": null}), vec![("/scope", json!("organization"))]),
        (json!({"metadata": {"a": null, "c": "3"}}), vec![("/metadata", json!({"b": "2", "c": "3"}))]),
        (json!({"metadata": {"b": "", "nothing": null}}), vec![("/metadata", json!({"c": "3"}))]),
        (json!({"metadata": {}}), vec![]),
        (json!({"metadata": null}), vec![("/metadata", json!({}))]),
        (json!({"config": {"type": "cloud"}}), vec![]),
        (json!({"config": {"type": "cloud", "packages": {"pip": null}}}), vec![("/config/packages/pip", json!([]))]),
        (json!({"config": {"type": "cloud", "packages": {"go": ["g"]}}}), vec![("/config/packages/go", json!(["g"]))]),
        (
            json!({"config": {"networking": {"allow_mcp_servers": null}}}),
            vec![("/config/networking/allow_mcp_servers", json!(false))],
        ),
        (json!({"config": {"type": "cloud", "networking": null}}), vec![("/config/networking", json!({"type": "unrestricted"}))]),
        (json!({"config": null}), vec![("/config/packages", serde_json::from_str(PACKAGES).unwrap())]),
    ];
    for (patch, changes) in steps {
        let after = emulator.post(&path, patch.clone()).ok();
        for (pointer, value) in changes {
            *expected.pointer_mut(pointer).unwrap() = value;
        }
        let moved = after["updated_at"].as_str() > expected["updated_at"].as_str();
        assert!(moved, "updated_at moves: {patch}");
        expected["updated_at"] = after["updated_at"].clone();
        assert_eq!(after.body, expected, "{patch}");
        assert_eq!(emulator.get(&path).ok().body, expected, "{patch}");
    }
}

#[test]
fn packages_need_a_network_that_lets_their_managers_through() {
    let emulator = Emulator::start();
    let limited = |allowed: Value| json!({"type": "limited", "allow_package_managers": allowed});
    let create = |networking: Value, packages: Value| {
        let config = json!({"type": "cloud", "networking": networking, "packages": packages});
        emulator.post("/v1/environments", json!({"name": "n", "config": config}))
    };
    for closed in [json!({"type": "limited"}), limited(json!(false)), limited(json!(null))] {
        create(closed.clone(), json!({"npm": ["a"]})).refused(400, "invalid_request_error", "");
        create(closed.clone(), json!({"npm": [], "pip": null})).ok();
        create(closed, json!(null)).ok();
    }
    create(json!({"type": "unrestricted"}), json!({"npm": ["a"]})).ok();

    let open = create(limited(json!(true)), json!({"npm": ["a"]})).ok();
    let path = format!("/v1/environments/{}", open.string("id"));
    let update = |config: Value| emulator.post(&path, json!({"config": config}));
    for networking in [json!({"allow_package_managers": false}), json!({"allow_package_managers": null})] {
        update(json!({"networking": networking})).refused(400, "invalid_request_error", "");
    }
    assert_eq!(emulator.get(&path).ok().bytes, open.bytes);
    update(json!({"networking": {"allow_package_managers": false}, "packages": {"npm": null}})).ok();
    update(json!({"packages": {"go": ["g"]}})).refused(400, "invalid_request_error", "");
    update(json!({"networking": null, "packages": {"go": ["g"]}})).ok();
    update(json!({"networking": {"type": "limited"}})).refused(400, "invalid_request_error", "");
}

#[test]
fn an_update_that_cannot_be_changes_nothing() {
    let emulator = Emulator::start();
    let made = emulator.post("/v1/environments", json!({"name": "n"})).ok();
    let path = format!("/v1/environments/{}", made.string("id"));
    for patch in [
        json!({"name": null}),
        json!({"name": ""}),
        json!({"name": 1}),
        json!({"description": 1}),
        json!({"scope": "x"}),
        json!({"metadata": []}),
        json!({"metadata": {"a": 1}}),
        json!({"config": 1}),
        json!({"config": {"type": "moon"}}),
        json!({"name": "m", "config": {"packages": {"pip": 1}}}),
    ] {
        emulator.post(&path, patch).refused(400, "invalid_request_error", "");
    }
    let change = json!({"name": "m", "config": {"type": "self_hosted"}});
    emulator.post(&path, change).refused(400, "invalid_request_error", "invalid_config_type_change");
    assert_eq!(emulator.get(&path).ok().bytes, made.bytes);
}

#[test]
fn an_archived_environment_can_be_read_but_not_changed() {
    let emulator = Emulator::start();
    let id = emulator.hosted();
    let path = format!("/v1/environments/{id}");
    let archived = emulator.poke(&format!("{path}/archive")).ok();
    assert!(archived["archived_at"].is_string());
    assert!(archived["updated_at"].as_str() > archived["created_at"].as_str());
    assert_eq!(emulator.poke(&format!("{path}/archive")).ok().bytes, archived.bytes, "archiving twice changes nothing");
    assert_eq!(emulator.get(&path).ok().bytes, archived.bytes);

    emulator.post(&path, json!({"name": "m"})).refused(400, "invalid_request_error", "environment_archived");
    let session = json!({"agent": "a", "environment_id": id});
    emulator.post("/v1/sessions", session).refused(400, "invalid_request_error", "environment_archived");
    let work = emulator.post("/_emulator/work", json!({"environment_id": id}));
    work.refused(400, "invalid_request_error", "environment_archived");

    assert_eq!(emulator.get("/v1/environments").ok()["data"], json!([]));
    assert_eq!(emulator.get("/v1/environments?include_archived=false").ok()["data"], json!([]));
    assert_eq!(emulator.get("/v1/environments?include_archived=true").ok()["data"], json!([archived.body]));
    emulator.get("/v1/environments?include_archived=maybe").refused(400, "invalid_request_error", "");
}

#[test]
fn a_deleted_environment_is_gone_for_every_operation() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let work = queue.enqueue();
    let path = format!("/v1/environments/{}", queue.environment);
    let deleted = emulator.delete(&path).ok();
    assert_eq!(deleted.text(), format!(r#"{{"id":"{}","type":"environment_deleted"}}"#, queue.environment));

    let item = format!("{path}/work/{work}");
    let gone = [
        (&*emulator, "GET", path.clone()),
        (&emulator, "POST", path.clone()),
        (&emulator, "DELETE", path.clone()),
        (&emulator, "POST", format!("{path}/archive")),
        (&queue.worker, "GET", format!("{path}/work")),
        (&queue.worker, "GET", format!("{path}/work/poll")),
        (&queue.worker, "GET", format!("{path}/work/stats")),
        (&emulator, "GET", item.clone()),
        (&emulator, "POST", item.clone()),
        (&queue.worker, "POST", format!("{item}/ack")),
        (&queue.worker, "POST", format!("{item}/heartbeat")),
        (&queue.worker, "POST", format!("{item}/stop")),
    ];
    for (client, method, target) in gone {
        client.call(method, &target, None).refused(404, "not_found_error", "environment_not_found");
    }
    assert_eq!(emulator.get("/v1/environments?include_archived=true").ok()["data"], json!([]));
}

#[test]
fn a_poll_that_waits_learns_that_its_environment_is_deleted() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let (answers, _) = held_polls(&queue, 1, "?block_ms=999", || {
        emulator.delete(&format!("/v1/environments/{}", queue.environment)).ok();
    });
    answers[0].refused(404, "not_found_error", "environment_not_found");
}
