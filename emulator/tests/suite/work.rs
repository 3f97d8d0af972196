use serde_json::{Value, json};

use crate::support::{Emulator, Queue, expecting, keys};

/// Everything that a worker or an operator can do to an item, as a function from the queue and the item to a status.
fn act(queue: &Queue, id: &str, action: &str) -> u16 {
    match action {
        "ack" => queue.ack(id),
        "beat" => queue.beat(id, ""),
        "stop" => queue.stop(id, json!({})),
        "force" => queue.stop(id, json!({"force": true})),
        _ => unreachable!(),
    }
    .status
}

#[test]
fn every_action_in_every_state_leads_where_the_lifecycle_says() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    #[rustfmt::skip]
    let table = [
        ("queued",   "ack",   200, "starting"), ("queued",   "beat", 412, "queued"),
        ("queued",   "stop",  200, "stopped"),  ("queued",   "force", 200, "stopped"),
        ("starting", "ack",   200, "starting"), ("starting", "beat", 200, "active"),
        ("starting", "stop",  200, "stopping"), ("starting", "force", 200, "stopped"),
        ("active",   "ack",   409, "active"),   ("active",   "beat", 200, "active"),
        ("active",   "stop",  200, "stopping"), ("active",   "force", 200, "stopped"),
        ("stopping", "ack",   409, "stopping"), ("stopping", "beat", 200, "stopping"),
        ("stopping", "stop",  200, "stopping"), ("stopping", "force", 200, "stopped"),
        ("stopped",  "ack",   409, "stopped"),  ("stopped",  "beat", 200, "stopped"),
        ("stopped",  "stop",  409, "stopped"),  ("stopped",  "force", 409, "stopped"),
    ];
    for (from, action, status, to) in table {
        let id = queue.item_in(from);
        assert_eq!((act(&queue, &id, action), queue.state(&id).as_str()), (status, to), "{action} of a {from} item");
    }
}

#[test]
fn an_item_shows_each_step_of_its_life() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.enqueue();
    let order = [
        "id",
        "acknowledged_at",
        "created_at",
        "data",
        "environment_id",
        "latest_heartbeat_at",
        "metadata",
        "secret",
        "started_at",
        "state",
        "stop_requested_at",
        "stopped_at",
        "type",
    ];
    let item = queue.item(&id);
    assert_eq!(keys(item.text()), order);
    assert!(id.starts_with("work_01") && id.len() == 29, "{id}");
    assert_eq!((&item["type"], &item["environment_id"]), (&json!("work"), &json!(queue.environment)));
    assert_eq!(item["data"]["type"], "session");
    assert!(item["data"]["id"].as_str().unwrap().starts_with("session_"));

    let set = |item: &Value| -> Vec<&'static str> {
        let times = ["acknowledged_at", "latest_heartbeat_at", "started_at", "stop_requested_at", "stopped_at"];
        times.into_iter().filter(|key| item[key].is_string()).collect()
    };
    assert_eq!(set(&item.body), [""; 0]);
    assert_eq!(set(&queue.ack(&id).ok().body), ["acknowledged_at"]);
    let beat = queue.beat(&id, "").ok();
    assert_eq!(set(&queue.item(&id).body), ["acknowledged_at", "latest_heartbeat_at", "started_at"]);
    assert_eq!(queue.item(&id)["latest_heartbeat_at"], beat["last_heartbeat"]);
    let stopping = queue.stop(&id, json!({})).ok();
    assert_eq!(set(&stopping.body), ["acknowledged_at", "latest_heartbeat_at", "started_at", "stop_requested_at"]);
    let again = queue.stop(&id, json!({"force": false})).ok();
    assert_eq!(again.bytes, stopping.bytes, "stopping a stopping item changes nothing");
    let stopped = queue.stop(&id, json!({"force": true})).ok();
    assert_eq!(set(&stopped.body).last(), Some(&"stopped_at"));
    assert_eq!(stopped["stop_requested_at"], stopping["stop_requested_at"]);
    queue.stop(&id, json!({})).refused(409, "conflict_error", "");
}

#[test]
fn outside_of_a_poll_the_secret_is_null() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.enqueue();
    let updated = emulator.post(&format!("{}/{id}", queue.path), json!({"metadata": {}}));
    let listed = queue.worker.get(&queue.path).ok()["data"][0].clone();
    let (acknowledged, stopped) = (queue.ack(&id), queue.stop(&id, json!({})));
    for item in [updated.ok().body, listed, acknowledged.ok().body, stopped.ok().body, queue.item(&id).body] {
        assert_eq!(item.get("secret"), Some(&Value::Null), "{item}");
    }
}

#[test]
fn an_acknowledgement_may_be_repeated_until_the_first_heartbeat() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.enqueue();
    let first = queue.ack(&id).ok();
    assert_eq!(first["state"], "starting");
    assert_eq!(queue.ack(&id).ok().bytes, first.bytes);
    queue.beat(&id, "").ok();
    queue.ack(&id).refused(409, "conflict_error", "");
}

#[test]
fn stop_takes_any_body_that_says_whether_to_force() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let cases = [
        (None, "stopping"),
        (Some("{}"), "stopping"),
        (Some(r#"{"force":null}"#), "stopping"),
        (Some(r#"{"force":false}"#), "stopping"),
        (Some(r#"{"force":true}"#), "stopped"),
    ];
    for (body, state) in cases {
        let id = queue.item_in("active");
        let stopped = queue.worker.call("POST", &format!("{}/{id}/stop", queue.path), body.map(str::as_bytes)).ok();
        assert_eq!(stopped["state"], state, "{body:?}");
    }
    let id = queue.item_in("active");
    for body in [json!({"force": 1}), json!({"force": "true"}), json!([])] {
        queue.stop(&id, body).refused(400, "invalid_request_error", "");
    }
    assert_eq!(queue.state(&id), "active");
}

#[test]
fn a_heartbeat_must_echo_the_one_before() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.item_in("starting");
    let wrong = expecting("2026-03-15T10:00:00.123456+00:00");
    lost(&queue, &id, &wrong, json!({"state": "starting", "last_heartbeat": null, "lease_extended": false, "ttl_seconds": 300}));

    let first = queue.beat(&id, "?expected_last_heartbeat=NO_HEARTBEAT").ok();
    let last = first.string("last_heartbeat");
    assert_eq!(keys(first.text()), ["last_heartbeat", "lease_extended", "state", "ttl_seconds", "type"]);
    assert_eq!(
        first.body,
        json!({"last_heartbeat": last, "lease_extended": true, "state": "active", "ttl_seconds": 300, "type": "work_heartbeat"})
    );
    assert!(last.ends_with("+00:00") && last.len() == 32, "{last}");

    let current = json!({"state": "active", "last_heartbeat": last, "lease_extended": false, "ttl_seconds": 300});
    lost(&queue, &id, "?expected_last_heartbeat=NO_HEARTBEAT", current.clone());
    lost(&queue, &id, "?expected_last_heartbeat=", current.clone());
    lost(&queue, &id, &wrong, current.clone());
    lost(&queue, &id, &expecting(&last.replace("+00:00", "Z")), current.clone());
    lost(&queue, &id, &format!("?expected_last_heartbeat={last}"), current);

    let second = queue.beat(&id, &expecting(&last)).ok();
    assert!(second.string("last_heartbeat") > last);
    queue.beat(&id, "").ok();
}

#[track_caller]
fn lost(queue: &Queue, id: &str, query: &str, state: Value) {
    let refusal = queue.beat(id, query);
    refusal.refused(412, "invalid_request_error", "heartbeat_precondition_failed");
    assert_eq!(refusal["error"]["details"]["current_state"], state, "{query}");
}

#[test]
fn heartbeats_never_repeat_even_when_the_clock_goes_back() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.item_in("active");
    let mut last = String::new();
    for round in 0..50 {
        if round == 25 {
            emulator.advance(-10_000);
        }
        let beat = queue.beat(&id, "").ok().string("last_heartbeat");
        assert!(beat > last, "{beat} after {last}");
        last = beat;
    }
}

#[test]
fn no_worker_holds_a_queued_item() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.enqueue();
    for query in ["", "?expected_last_heartbeat=NO_HEARTBEAT"] {
        lost(&queue, &id, query, json!({"state": "queued", "last_heartbeat": null, "lease_extended": false, "ttl_seconds": 300}));
    }
}

#[test]
fn a_worker_learns_of_the_stop_whatever_it_expects() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    for state in ["stopping", "stopped"] {
        let id = queue.item_in(state);
        let last = queue.item(&id)["latest_heartbeat_at"].clone();
        for query in ["", "?expected_last_heartbeat=NO_HEARTBEAT", "?expected_last_heartbeat=x"] {
            let beat = queue.beat(&id, query).ok();
            assert_eq!(
                beat.body,
                json!({"last_heartbeat": last, "lease_extended": false, "state": state, "ttl_seconds": 300, "type": "work_heartbeat"})
            );
        }
    }
    let never_beaten = queue.item_in("starting");
    queue.stop(&never_beaten, json!({})).ok();
    assert!(queue.beat(&never_beaten, "").ok()["last_heartbeat"].is_string());
}

#[test]
fn the_time_to_live_is_the_default_or_what_the_worker_asks_for() {
    let emulator = Emulator::start_with(&["--lease-ttl", "77"]);
    let queue = emulator.queue();
    let id = queue.item_in("starting");
    for (query, ttl) in [
        ("", 77),
        ("?desired_ttl_seconds=0", 77),
        ("?desired_ttl_seconds=1", 1),
        ("?desired_ttl_seconds=3600", 3600),
        ("?unknown=1", 77),
    ] {
        assert_eq!(queue.beat(&id, query).ok()["ttl_seconds"], ttl, "{query}");
    }
    for query in ["-1", "3601", "x", "", "1.5"] {
        queue.beat(&id, &format!("?desired_ttl_seconds={query}")).refused(400, "invalid_request_error", "");
    }
}

#[test]
fn an_expired_lease_puts_the_item_back_into_the_queue() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.enqueue();
    let first = queue.poll("").ok();
    queue.ack(&id).ok();
    let beat = queue.beat(&id, "?desired_ttl_seconds=10").ok().string("last_heartbeat");
    emulator.advance(9_000);
    assert_eq!(queue.state(&id), "active");
    emulator.advance(1_001);
    let item = queue.item(&id);
    assert_eq!(item["state"], "queued");
    for time in ["acknowledged_at", "latest_heartbeat_at", "started_at"] {
        assert_eq!(item[time], Value::Null);
    }
    assert_eq!(queue.stats()["depth"], 1);

    let state = json!({"state": "queued", "last_heartbeat": null, "lease_extended": false, "ttl_seconds": 300});
    lost(&queue, &id, &expecting(&beat), state);
    let second = queue.poll("").ok();
    assert_eq!(second["id"], json!(id));
    assert_ne!(second["secret"], first["secret"], "each delivery has its own token");
}

#[test]
fn a_lapsed_lease_can_be_answered_as_stopped_until_its_item_is_handed_out_again() {
    let emulator = Emulator::start_with(&["--lapsed-lease", "stopped"]);
    let queue = emulator.queue();
    let lapse = || {
        let id = queue.item_in("active");
        let beat = queue.item(&id).string("latest_heartbeat_at").replace('Z', "+00:00");
        emulator.advance(300_001);
        (id, expecting(&beat), beat)
    };
    let (id, holder, beat) = lapse();
    let answer = queue.beat(&id, &holder).ok();
    let expected = json!({
        "type": "work_heartbeat", "state": "stopped", "lease_extended": false, "last_heartbeat": beat, "ttl_seconds": 300,
    });
    assert_eq!(answer.body, expected);
    for other in ["?expected_last_heartbeat=NO_HEARTBEAT", "", &expecting("2020-01-01T00:00:00+00:00")] {
        queue.beat(&id, other).refused(412, "invalid_request_error", "heartbeat_precondition_failed");
    }
    assert_eq!((queue.state(&id).as_str(), queue.claim()), ("queued", Some(id.clone())));
    queue.beat(&id, &holder).refused(412, "invalid_request_error", "heartbeat_precondition_failed");

    let lapsed = |body: serde_json::Value| emulator.post("/_emulator/leases", body);
    assert_eq!(lapsed(json!({"lapsed": "refused"})).ok().body, json!({"lapsed": "refused"}));
    let (id, holder, _) = lapse();
    queue.beat(&id, &holder).refused(412, "invalid_request_error", "heartbeat_precondition_failed");
    emulator.post("/_emulator/reset", json!({})).ok();
    assert_eq!(emulator.get("/_emulator/leases").ok().body, json!({"lapsed": "stopped"}), "as it was started");
    for wrong in [json!({}), json!({"lapsed": "other"}), json!({"lapsed": true})] {
        lapsed(wrong).refused(400, "invalid_request_error", "");
    }
}

#[test]
fn leases_of_any_length_end_in_time() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let with_ttl = |seconds: i64| {
        let id = queue.item_in("starting");
        queue.beat(&id, &format!("?desired_ttl_seconds={seconds}")).ok();
        id
    };
    let (shortest, longest) = (with_ttl(1), with_ttl(3600));
    emulator.advance(1_001);
    assert_eq!(queue.state(&shortest), "queued");
    emulator.advance(3_580_000);
    assert_eq!(queue.state(&longest), "active");
    emulator.advance(20_000);
    assert_eq!(queue.state(&longest), "queued");
}

#[test]
fn a_lease_that_is_renewed_does_not_expire() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.item_in("active");
    let mut last = queue.beat(&id, "").ok().string("last_heartbeat");
    for _ in 0..5 {
        emulator.advance(299_000);
        last = queue.beat(&id, &expecting(&last)).ok().string("last_heartbeat");
    }
    assert_eq!(queue.state(&id), "active");
}

#[test]
fn what_has_no_lease_does_not_expire_and_what_is_stopping_ends() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let table =
        [("queued", "queued"), ("starting", "starting"), ("active", "queued"), ("stopping", "stopped"), ("stopped", "stopped")];
    let items = table.map(|(from, to)| (queue.item_in(from), from, to));
    emulator.advance(24 * 3_600_000);
    for (id, from, to) in items {
        assert_eq!(queue.state(&id), to, "a {from} item a day later");
    }
}

#[test]
fn metadata_is_merged_within_its_limits() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.enqueue();
    let path = format!("{}/{id}", queue.path);
    let patch = |metadata: Value| emulator.post(&path, json!({"metadata": metadata}));
    assert_eq!(patch(json!({"a": "1", "b": ""})).ok()["metadata"], json!({"a": "1", "b": ""}));
    assert_eq!(patch(json!({"a": null, "c": "3", "nothing": null})).ok()["metadata"], json!({"b": "", "c": "3"}));
    assert_eq!(patch(json!({})).ok()["metadata"], json!({"b": "", "c": "3"}));
    assert_eq!(patch(json!({"b": null, "c": null})).ok()["metadata"], json!({}));

    let pairs =
        |count: usize| -> Value { (0..count).map(|n| (format!("k{n}"), json!("v"))).collect::<serde_json::Map<_, _>>().into() };
    patch(pairs(16)).ok();
    patch(json!({"k0": null, "new": "v"})).ok();
    for (what, metadata) in [
        ("a seventeenth pair", json!({"one more": "v"})),
        ("an empty key", json!({"k1": null, "": "v"})),
        ("a long key", json!({"k1": null, ("k".repeat(65)): "v"})),
        ("a long value", json!({"k1": "é".repeat(513)})),
        ("a number", json!({"k1": 1})),
        ("an object", json!({"k1": {}})),
    ] {
        let before = queue.item(&id).bytes;
        let refusal = patch(metadata);
        refusal.refused(400, "invalid_request_error", "invalid_metadata");
        assert_eq!(queue.item(&id).bytes, before, "{what}");
    }
    patch(json!({"k1": null, ("é".repeat(64)): "é".repeat(512)})).ok();

    for body in [json!({}), json!({"metadata": null}), json!({"metadata": []}), json!({"metadata": "x"})] {
        emulator.post(&path, body).refused(400, "invalid_request_error", "");
    }
}

#[test]
fn an_item_is_found_only_in_its_own_environment() {
    let emulator = Emulator::start();
    let (queue, other) = (emulator.queue(), emulator.queue());
    let id = queue.enqueue();
    for (client, method, rest) in [
        (&other.api, "GET", ""),
        (&other.api, "POST", ""),
        (&other.worker, "POST", "/ack"),
        (&other.worker, "POST", "/heartbeat"),
        (&other.worker, "POST", "/stop"),
    ] {
        client.call(method, &format!("{}/{id}{rest}", other.path), None).refused(404, "not_found_error", "");
        client.call(method, &format!("{}/work_nothing{rest}", other.path), None).refused(404, "not_found_error", "");
    }
    assert_eq!(other.worker.get(&other.path).ok()["data"], json!([]));
    assert_eq!(queue.state(&id), "queued");
}

#[test]
fn stats_count_waiting_items_claimed_items_and_polling_workers() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let empty = json!({"depth": 0, "oldest_queued_at": null, "pending": 0, "type": "work_queue_stats", "workers_polling": 0});
    let stats = queue.stats();
    assert_eq!(stats.body, empty);
    assert_eq!(stats.text(), r#"{"depth":0,"oldest_queued_at":null,"pending":0,"type":"work_queue_stats","workers_polling":0}"#);

    let first = queue.enqueue();
    queue.enqueue_many(2);
    let counts = |queue: &Queue| {
        let stats = queue.stats();
        (stats["depth"].as_u64().unwrap(), stats["pending"].as_u64().unwrap(), stats["oldest_queued_at"].is_string())
    };
    assert_eq!(counts(&queue), (3, 0, true));
    assert_eq!(queue.claim(), Some(first.clone()));
    assert_eq!(counts(&queue), (2, 1, true));
    assert_eq!(queue.stats()["oldest_queued_at"], queue.item(&first)["created_at"]);
    queue.ack(&first).ok();
    assert_eq!(counts(&queue), (2, 0, true));

    for worker in ["a", "b", "a"] {
        queue.poll_as(worker);
    }
    assert_eq!(queue.stats()["workers_polling"], 2);
    emulator.advance(20_000);
    queue.poll_as("b");
    emulator.advance(20_000);
    assert_eq!(queue.stats()["workers_polling"], 1);
    assert_eq!(emulator.queue().stats()["workers_polling"], 0);
}
