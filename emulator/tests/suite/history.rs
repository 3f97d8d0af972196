//! What `GET /_emulator/history` shows.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use serde_json::{Value, json};

use crate::support::{Emulator, Queue, expecting, keys};

/// Event, worker and delivery of each entry.
fn brief(history: &[Value]) -> Vec<(&str, Option<&str>, Option<i64>)> {
    history
        .iter()
        .map(|entry| (entry["event"].as_str().unwrap(), entry["worker_id"].as_str(), entry["delivery"].as_i64()))
        .collect()
}

fn events(history: &[Value]) -> Vec<&str> {
    history.iter().map(|entry| entry["event"].as_str().unwrap()).collect()
}

#[test]
fn the_history_shows_which_worker_held_an_item_when() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.enqueue();
    let a = queue.with_token_of(&queue.poll_as("a"));
    a.ack(&id).ok();
    let beat = a.beat(&id, "?expected_last_heartbeat=NO_HEARTBEAT").ok().string("last_heartbeat");
    let last = a.beat(&id, &expecting(&beat)).ok().string("last_heartbeat");
    assert_eq!(a.beat(&id, &expecting(&beat)).status, 412);
    emulator.advance(300_001);
    assert_eq!(a.beat(&id, &expecting(&last)).status, 412);
    let second = queue.with_token_of(&queue.poll_as("a"));
    emulator.advance(5_001);
    let b = queue.with_token_of(&queue.poll_as("b"));
    second.ack(&id).ok();
    b.beat(&id, "").ok();
    queue.beat(&id, "").ok();
    b.stop(&id, json!({})).ok();
    b.beat(&id, "").ok();
    b.stop(&id, json!({"force": true})).ok();

    let history = emulator.history("");
    let (a, second, b, no_worker) = ((Some("a"), Some(1)), (Some("a"), Some(2)), (Some("b"), Some(3)), (None, None));
    let expected = [
        ("queued", no_worker),
        ("claimed", a),
        ("acknowledged", a),
        ("started", a),
        ("heartbeat", a),
        ("heartbeat_refused", a),
        ("requeued", no_worker),
        ("heartbeat_refused", a),
        ("claimed", second),
        ("claimed", b),
        ("acknowledged", second),
        ("started", b),
        ("heartbeat", no_worker),
        ("stop_requested", b),
        ("stopped", b),
    ];
    assert_eq!(brief(&history), expected.map(|(event, (worker, delivery))| (event, worker, delivery)));
    for entry in &history {
        assert_eq!((&entry["work_id"], &entry["environment_id"]), (&json!(id), &json!(queue.environment)));
    }
    let times: Vec<&str> = history.iter().map(|entry| entry["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
    assert!(times.iter().all(|at| at.len() == 27 && at.ends_with('Z')), "{times:?}");
    assert_eq!(times[3].trim_end_matches('Z'), beat.trim_end_matches("+00:00"), "the first heartbeat is the start");
}

#[test]
fn an_entry_has_all_its_fields() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    queue.item_in("queued");
    let text = emulator.get("/_emulator/history").ok().body["data"][0].to_string();
    let mut names = keys(&text);
    names.sort();
    assert_eq!(names, ["at", "delivery", "environment_id", "event", "force", "work_id", "worker_id"]);
}

#[test]
fn an_event_is_there_only_when_something_changed() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.item_in("starting");
    let twice = |deed: &dyn Fn()| {
        deed();
        deed();
    };
    twice(&|| drop(queue.ack(&id).ok()));
    twice(&|| queue.beat(&id, "?desired_ttl_seconds=x").refused(400, "invalid_request_error", ""));
    queue.beat(&id, "").ok();
    twice(&|| queue.ack(&id).refused(409, "conflict_error", ""));
    twice(&|| drop(emulator.post(&format!("{}/{id}", queue.path), json!({"metadata": {"a": "1"}})).ok()));
    twice(&|| drop(queue.stop(&id, json!({})).ok()));
    twice(&|| drop(queue.beat(&id, "?expected_last_heartbeat=x").ok()));
    twice(&|| drop(queue.stop(&id, json!({"force": true}))));
    twice(&|| drop(queue.ack(&id)));
    twice(&|| assert_eq!(queue.ack("work_nothing").status, 404));
    twice(&|| assert_eq!(queue.claim(), None));
    assert_eq!(events(&emulator.history("")), ["queued", "acknowledged", "started", "stop_requested", "stopped"]);
}

#[test]
fn an_item_ends_by_force_by_a_stop_or_by_its_lease() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    for state in ["queued", "starting", "active", "stopping"] {
        for force in [false, true] {
            let id = queue.item_in(state);
            queue.stop(&id, json!({"force": force})).ok();
            emulator.advance(300_001);
            queue.stats();
            let history = emulator.history(&format!("?work_id={id}"));
            let last = history.last().unwrap();
            let expected = match (state, force) {
                ("queued", _) | (_, true) => (json!("stopped"), json!(force)),
                ("starting", false) => (json!("stop_requested"), Value::Null),
                _ => (json!("expired"), Value::Null),
            };
            assert_eq!((last["event"].clone(), last["force"].clone()), expected, "{state} {force}");
            let ends = history.iter().filter(|entry| ["stopped", "expired"].contains(&entry["event"].as_str().unwrap()));
            assert!(ends.count() <= 1, "{history:?}");
        }
    }
}

#[test]
fn the_token_that_an_item_was_queued_with_is_delivery_0() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let item = emulator.post("/_emulator/work", json!({"environment_id": queue.environment})).ok();
    let id = item.string("id");
    queue.with_token_of(&item).ack(&id).ok();
    assert_eq!(brief(&emulator.history("")), [("queued", None, None), ("acknowledged", None, Some(0))]);
}

#[test]
fn workers_are_known_by_their_tokens_whatever_is_accepted() {
    let emulator = Emulator::start_with(&["--auth", "any"]);
    let queue = emulator.queue();
    let (first, second) = (queue.enqueue(), queue.enqueue());
    let a = queue.with_token_of(&queue.poll_as("a"));
    a.ack(&first).ok();
    a.ack(&second).ok();
    let stranger = Queue { worker: emulator.with("sk-ant-req-never-issued"), ..queue.clone() };
    stranger.beat(&first, "").ok();
    let of = |id: &str| emulator.history(&format!("?work_id={id}"));
    let a = (Some("a"), Some(1));
    assert_eq!(
        brief(&of(&first)),
        [("queued", None, None), ("claimed", a.0, a.1), ("acknowledged", a.0, a.1), ("started", None, None)]
    );
    assert_eq!(brief(&of(&second)), [("queued", None, None), ("acknowledged", None, None)], "the token of another item");
}

#[test]
fn sessions_that_are_created_queue_their_work() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    emulator.post("/v1/sessions", json!({"agent": "a", "environment_id": queue.environment})).ok();
    assert_eq!(events(&emulator.history("")), ["queued"]);
}

#[test]
fn the_history_of_one_item_or_environment_can_be_asked_for() {
    let emulator = Emulator::start();
    let (queue, other) = (emulator.queue(), emulator.queue());
    let (first, foreign, second) = (queue.item_in("active"), other.item_in("starting"), queue.item_in("stopped"));
    let count = |query: &str| emulator.history(query).len();
    assert_eq!(count(""), 3 + 2 + 4);
    for (id, events) in [(&first, 3), (&foreign, 2), (&second, 4)] {
        let history = emulator.history(&format!("?work_id={id}"));
        assert_eq!(history.len(), events);
        assert!(history.iter().all(|entry| entry["work_id"] == json!(id)));
    }
    assert_eq!(count(&format!("?environment_id={}", queue.environment)), 7);
    assert_eq!(count(&format!("?environment_id={}&work_id={second}", queue.environment)), 4);
    assert_eq!(count(&format!("?environment_id={}&work_id={foreign}", queue.environment)), 0);
    assert_eq!(count("?work_id=work_nothing"), 0);
    assert_eq!(count("?environment_id="), 0);

    let all = emulator.history(&format!("?environment_id={}", queue.environment));
    emulator.delete(&format!("/v1/environments/{}", other.environment)).ok();
    assert_eq!(emulator.history(""), all, "it goes with its environment");
}

#[test]
fn the_history_can_be_forgotten() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.item_in("starting");
    assert_eq!(emulator.delete("/_emulator/history").ok()["cleared"], 2);
    assert_eq!(emulator.delete("/_emulator/history").ok()["cleared"], 0);
    queue.beat(&id, "").ok();
    assert_eq!(events(&emulator.history("")), ["started"], "what was before stays as it was");
    let refusal = emulator.post("/_emulator/history", json!({}));
    assert_eq!((refusal.status, refusal.header("allow")), (405, Some("GET, DELETE")));
}

#[test]
fn among_many_workers_nothing_is_missing_and_time_goes_forward() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    queue.enqueue_many(40);
    let (left, refused) = (AtomicUsize::new(40), AtomicUsize::new(0));
    thread::scope(|scope| {
        for worker in 0..8 {
            let (queue, left, refused) = (&queue, &left, &refused);
            scope.spawn(move || {
                while left.load(Ordering::SeqCst) > 0 {
                    let item = queue.poll_as(&format!("worker {worker}"));
                    let Some(id) = item["id"].as_str() else {
                        continue;
                    };
                    let own = queue.with_token_of(&item);
                    own.ack(id).ok();
                    own.beat(id, "").ok();
                    for query in ["", "?expected_last_heartbeat=NO_HEARTBEAT", ""] {
                        refused.fetch_add(usize::from(own.beat(id, query).status == 412), Ordering::SeqCst);
                    }
                    own.stop(id, json!({"force": true})).ok();
                    left.fetch_sub(1, Ordering::SeqCst);
                }
            });
        }
    });
    assert_eq!(refused.into_inner(), 40);
    let history = emulator.history("");
    let times: Vec<&str> = history.iter().map(|entry| entry["at"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "the order is that of the times");
    let mut items: HashMap<&str, Vec<Value>> = HashMap::new();
    for entry in &history {
        items.entry(entry["work_id"].as_str().unwrap()).or_default().push(entry.clone());
    }
    assert_eq!(items.len(), 40);
    for history in items.values() {
        let order = ["queued", "claimed", "acknowledged", "started", "heartbeat", "heartbeat_refused", "heartbeat", "stopped"];
        assert_eq!(events(history), order);
        assert!(history[1..].iter().all(|entry| entry["worker_id"] == history[1]["worker_id"] && entry["delivery"] == 1));
    }
}
