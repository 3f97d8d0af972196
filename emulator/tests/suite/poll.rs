use std::{
    collections::HashSet,
    sync::Mutex,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};

use crate::support::{Emulator, LONG_BEFORE_ITS_END, Queue, TIMEOUT, decode, held_polls, hold_poll, until};

/// Does something while one poll waits.
fn held(queue: &Queue, query: &str, deed: impl FnOnce()) -> (Value, Duration) {
    let (mut answers, after) = held_polls(queue, 1, query, deed);
    (answers.remove(0).ok().body, after)
}

/// Does something while one poll waits, until it wakes the poll before its time. Returns the last poll's answer.
fn woken_by(queue: &Queue, mut deed: impl FnMut()) -> Value {
    let mut answer = Value::Null;
    until("the poll is woken before its time", || {
        let (item, after) = held(queue, "?block_ms=999", &mut deed);
        queue.ack(item["id"].as_str().expect("an item")).ok();
        answer = item;
        after < LONG_BEFORE_ITS_END
    });
    answer
}

#[test]
fn nothing_to_do_is_null_at_once_or_after_the_time_asked_for() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    for (query, at_least) in [("", 0), ("?block_ms=1", 1), ("?block_ms=300", 300), ("?reclaim_older_than_ms=1", 0)] {
        let start = Instant::now();
        let nothing = queue.poll(query).ok();
        assert_eq!(nothing.text(), "null");
        assert!(start.elapsed() >= Duration::from_millis(at_least), "{query} took {:?}", start.elapsed());
        assert_eq!(nothing.header("content-type"), Some("application/json"));
    }
}

#[test]
fn parameters_out_of_range_are_refused() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    for query in [
        "block_ms=0",
        "block_ms=1000",
        "block_ms=-1",
        "block_ms=x",
        "block_ms=",
        "block_ms=1.5",
        "reclaim_older_than_ms=-1",
        "reclaim_older_than_ms=x",
        "reclaim_older_than_ms=",
    ] {
        queue.poll(&format!("?{query}")).refused(400, "invalid_request_error", "");
    }
    queue.poll(&format!("?reclaim_older_than_ms={}", i64::MAX)).ok();
    queue.poll("?beta=true&unknown=x").ok();
}

#[test]
fn a_cloud_environment_has_no_queue() {
    let emulator = Emulator::start();
    let cloud = emulator.post("/v1/environments", json!({"name": "cloud"})).ok().string("id");
    let worker = emulator.worker(&cloud);
    worker.get(&format!("/v1/environments/{cloud}/work/poll")).refused(400, "invalid_request_error", "");
    emulator.post("/_emulator/work", json!({"environment_id": cloud})).refused(400, "invalid_request_error", "");
}

#[test]
fn items_are_handed_out_oldest_first_with_their_secret() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let items: Vec<String> = (0..5).map(|_| queue.enqueue()).collect();
    for expected in &items {
        let item = queue.poll("").ok();
        assert_eq!(item["id"], json!(expected));
        assert_eq!(item["state"], "queued", "claimed, but not acknowledged");
        let mut without = item.body.clone();
        without["secret"] = Value::Null;
        assert_eq!(without, queue.item(expected).body, "only the poll shows the secret");

        let secret = item["secret"].as_str().unwrap();
        assert!(!secret.contains(['=', '+', '/']), "URL-safe, without padding");
        let secret = decode(secret);
        assert!(secret["sessions_token"].as_str().unwrap().starts_with("sk-ant-req-"));
        assert_eq!(secret["api_base_url"], json!(emulator.url));
    }
    assert_eq!(queue.claim(), None);
}

#[test]
fn a_claim_that_is_not_acknowledged_is_handed_out_again() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let (first, second) = (queue.enqueue(), queue.enqueue());
    let secret = queue.poll("").ok().string("secret");
    emulator.advance(4_000);
    assert_eq!(queue.claim(), Some(second.clone()));
    assert_eq!(queue.claim(), None, "the claim is four seconds old");
    assert_eq!(queue.poll("?reclaim_older_than_ms=3000").ok()["id"], json!(first), "too old for this worker");
    emulator.advance(5_001);
    let again = queue.poll("").ok();
    assert_eq!(again["id"], json!(first), "the oldest first");
    assert_ne!(again.string("secret"), secret);
    queue.ack(&first).ok();
    emulator.advance(60_000);
    assert_eq!(queue.claim(), Some(second));
    assert_eq!(queue.claim(), None, "an acknowledged item is not handed out");
}

#[test]
fn a_waiting_poll_wakes_when_work_arrives() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    assert_eq!(woken_by(&queue, || drop(queue.enqueue()))["state"], "queued");

    let session = json!({"agent": "a", "environment_id": queue.environment});
    let item = woken_by(&queue, || drop(emulator.post("/v1/sessions", session.clone()).ok()));
    assert_eq!(item["data"]["type"], "session");
}

#[test]
fn a_waiting_poll_wakes_when_a_claim_or_a_lease_falls_due() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let id = queue.enqueue();
    queue.claim().unwrap();
    let start = Instant::now();
    let item = queue.poll("?block_ms=999&reclaim_older_than_ms=300").ok();
    assert_eq!(item["id"], json!(id), "after {:?}", start.elapsed());

    queue.ack(&id).ok();
    queue.beat(&id, "?desired_ttl_seconds=1").ok();
    emulator.advance(500);
    assert_eq!(queue.poll("?block_ms=999").ok()["id"], json!(id), "the lease ends within the wait");
}

#[test]
fn a_waiting_poll_wakes_when_the_shortest_lease_ends() {
    let emulator = Emulator::start_with(&["--lease-ttl", "1"]);
    until("a poll is woken by the end of a lease, before its time", || {
        let queue = emulator.queue();
        let id = queue.item_in("active");
        let lease_began = queue.item(&id).string("latest_heartbeat_at");
        // Nothing but polls looks at the queue; each waits to the end of its time or of the lease.
        until("the lease has ended", || queue.poll("?block_ms=999").ok()["id"] == json!(id));
        let history = emulator.history(&format!("?work_id={id}"));
        let at = |event: &str| {
            let found = history.iter().find(|entry| entry["event"] == event).unwrap();
            found["at"].as_str().unwrap().parse::<jiff::Timestamp>().unwrap()
        };
        let held = Duration::try_from(at("requeued").duration_since(lease_began.parse().unwrap())).unwrap();
        assert!(held > Duration::from_secs(1), "{held:?}");
        assert_eq!(at("requeued"), at("claimed"));
        held < Duration::from_secs(1) + LONG_BEFORE_ITS_END
    });
}

#[test]
fn a_waiting_poll_wakes_when_the_clock_is_moved() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    until("a move of the clock wakes the poll before its time", || {
        let id = queue.item_in("active");
        let (item, after) = held(&queue, "?block_ms=999", || emulator.advance(301_000));
        assert_eq!(item["id"], json!(id));
        queue.ack(&id).ok();
        after < LONG_BEFORE_ITS_END
    });
}

#[test]
fn other_environments_wake_no_poll() {
    let emulator = Emulator::start();
    let (queue, other) = (emulator.queue(), emulator.queue());
    let (item, _) = held(&queue, "?block_ms=400", || drop(other.enqueue()));
    assert_eq!(item, Value::Null);
}

#[test]
fn each_of_many_items_goes_to_exactly_one_of_many_pollers() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let claimed = Mutex::new(Vec::new());
    let count = || claimed.lock().unwrap().len();
    let start = Instant::now();
    thread::scope(|scope| {
        for _ in 0..16 {
            scope.spawn(|| {
                while count() < 100 {
                    assert!(start.elapsed() < TIMEOUT, "only {} items arrived", count());
                    if let Some(id) = queue.poll("?block_ms=200").ok()["id"].as_str() {
                        claimed.lock().unwrap().push(id.to_owned());
                        queue.ack(id).ok();
                    }
                }
            });
        }
        scope.spawn(|| {
            for _ in 0..50 {
                queue.enqueue();
            }
            queue.enqueue_many(50);
        });
    });
    let claimed = claimed.into_inner().unwrap();
    let distinct: HashSet<&String> = claimed.iter().collect();
    assert_eq!((claimed.len(), distinct.len()), (100, 100));
}

#[test]
fn as_many_pollers_wake_as_items_arrive() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    let (answers, _) = held_polls(&queue, 8, "?block_ms=999", || queue.enqueue_many(5));
    assert_eq!(answers.iter().filter(|answer| answer["id"].is_string()).count(), 5);
}

#[test]
fn a_poller_that_has_gone_takes_nothing_with_it() {
    let emulator = Emulator::start();
    let queue = emulator.queue();
    for _ in 0..20 {
        hold_poll(&queue).close();
        // At once, before the emulator has had time to notice by itself.
        let id = queue.enqueue();
        assert_eq!(queue.claim(), Some(id.clone()));
        queue.ack(&id).ok();
        until("the poll is over", || emulator.polls_waiting() == 0);
    }
}

#[test]
fn a_waiting_poll_holds_up_no_other_request() {
    let emulator = Emulator::start_with(&["--threads", "1"]);
    let queue = emulator.queue();
    until("twenty requests are answered while a poll waits", || {
        let mut still_waits = false;
        held(&queue, "?block_ms=999", || {
            for _ in 0..20 {
                queue.stats();
            }
            still_waits = emulator.polls_waiting() == 1;
        });
        still_waits
    });
}
