//! Stopping workers, and what is left behind.

use crate::support::*;
use antenv::Status;
use antenv::completion::Queue;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn a_worker_is_stopped_promptly_while_a_poll_waits() {
    let house = House::new(300);
    let worker = house.worker(json!({}));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| worker.next(None).unwrap().is_none());
        until("a poll that waits", || house.control("GET", "connections", Value::Null)["polls_waiting"] == 1);
        let begun = Instant::now();
        worker.stop().unwrap();
        assert!(waiting.join().unwrap());
        assert!(begun.elapsed() < Duration::from_millis(500));
    });
    assert!(house.steps().is_empty());
    assert_eq!(stats(&worker)["state"], "stopped");
}

#[test]
fn leases_go_on_after_the_worker_is_stopped_until_they_are_finished() {
    let house = House::new(1);
    let worker = house.worker(json!({}));
    let id = house.enqueue();
    let (lease, _) = next(&worker);
    worker.stop().unwrap();
    assert!(worker.next(None).unwrap().is_none());
    let before = house.requests("work.heartbeat").len();
    until("more heartbeats", || house.requests("work.heartbeat").len() >= before + 3);
    finish(&lease).unwrap();
    assert_eq!(house.state(&id), "stopped");
}

#[test]
fn when_the_grace_is_over_the_holder_is_told_and_the_item_stopped() {
    let house = House::new(300);
    let worker = house.worker(json!({"grace_ms": 100}));
    let id = house.enqueue();
    let (lease, _) = next(&worker);
    worker.stop().unwrap();
    let begun = Instant::now();
    assert_eq!(gone(&lease), ("stop_requested".to_owned(), "shutdown".to_owned()));
    assert!((Duration::from_millis(50)..Duration::from_secs(5)).contains(&begun.elapsed()));
    until("the stop", || house.state(&id) == "stopped");
    assert!(finish(&lease).is_ok(), "it is stopped already");
}

#[test]
fn a_worker_that_cannot_stop_its_items_ends_all_the_same() {
    let house = House::new(300);
    let worker = house.worker(json!({"grace_ms": 0}));
    house.enqueue();
    let (lease, _) = next(&worker);
    house.faults(json!({"operation": "work.stop", "latency_ms": 60_000, "count": 100}));
    worker.stop().unwrap();
    let begun = Instant::now();
    until("the end of the lease", || stats(&worker)["leases_held"] == 0);
    assert!(begun.elapsed() < Duration::from_secs(8));
    drop(lease);
}

#[test]
fn a_worker_is_over_five_seconds_after_its_grace_whatever_hangs() {
    let hangs = |operation: &str| json!({"operation": operation, "latency_ms": 60_000, "count": 100});
    each(["work.ack", "work.heartbeat", "work.stop", "work.list", "a health check", "a finish"], |what| {
        let house = House::new(300);
        let worker = house.worker(json!({"grace_ms": 0, "rescue_after_ms": 10}));
        house.faults(hangs(if what.starts_with("a ") { "work.stop" } else { what }));
        std::thread::scope(|scope| {
            if what == "a finish" {
                house.enqueue();
                let (lease, _) = next(&worker);
                scope.spawn(move || assert_eq!(finish(&lease).unwrap_err().status(), Status::Timeout));
                until("the stop", || !house.requests("work.stop").is_empty());
            } else if what == "a health check" {
                house.enqueue_with(json!({"data": {"type": "healthcheck"}}));
            } else {
                house.enqueue();
            }
            let begun = scope.spawn(|| worker.next(None).map(|next| next.is_none()));
            match what {
                "work.stop" => assert!(!begun.join().unwrap().unwrap()),
                _ => until("the request that hangs", || house.requests(what).len() + house.requests("work.stop").len() > 0),
            }
            worker.stop().unwrap();
            let stopped = Instant::now();
            until("the end", || stats(&worker)["leases_held"] == 0 && worker.next(Some(Duration::ZERO)).is_ok());
            // Five seconds, and what a busy machine takes.
            assert!(stopped.elapsed() < Duration::from_secs(9), "{what}: {:?}", stopped.elapsed());
        });
    });
}

#[test]
fn whoever_waits_is_woken_when_the_worker_is_closed_whatever_is_under_way() {
    // Late, and never.
    let cases = [("work.ack", 400), ("work.heartbeat", 400), ("work.ack", 60_000), ("work.heartbeat", 60_000)];
    each(cases, |(operation, latency)| {
        let house = House::new(300);
        house.faults(json!({"operation": operation, "latency_ms": latency, "count": 100}));
        let worker = house.worker(json!({}));
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| worker.next(None).unwrap().is_none())).collect();
            house.enqueue();
            until("the request that is late", || !house.requests(operation).is_empty());
            worker.close();
            let closed = Instant::now();
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap()));
            assert!(closed.elapsed() < Duration::from_secs(8), "{operation} {latency}");
        });
    });
}

#[test]
fn an_item_that_nobody_comes_for_goes_back() {
    let house = House::new(1);
    let queue = Arc::new(Queue::new().unwrap());
    let worker = house.worker(json!({"concurrency": 2}));
    worker.attach(Some(&queue), 1).unwrap();
    let ids = [house.enqueue(), house.enqueue()];
    until("both", || stats(&worker)["leases_held"] == 2);
    drop(worker);
    let other = house.worker(json!({}));
    for _ in &ids {
        finish(&next(&other).0).unwrap();
    }
    assert!(ids.iter().all(|id| house.state(id) == "stopped"));
    queue.close();
}

#[test]
fn what_was_claimed_before_the_stop_is_still_handed_out() {
    let house = House::new(300);
    let queue = Arc::new(Queue::new().unwrap());
    let worker = house.worker(json!({"concurrency": 2}));
    worker.attach(Some(&queue), 1).unwrap();
    house.enqueue();
    house.enqueue();
    until("both", || stats(&worker)["leases_held"] == 2);
    worker.stop().unwrap();
    for _ in 0..2 {
        finish(&next(&worker).0).unwrap();
    }
    assert!(worker.next(None).unwrap().is_none());
    queue.close();
}

#[test]
fn a_queue_tells_of_items_changes_finishes_and_the_end() {
    let house = House::new(1);
    let queue = Arc::new(Queue::new().unwrap());
    let come = || {
        let mut came = queue.next(1, Some(PATIENCE)).unwrap();
        let came = came.remove(0);
        (came.tag, came.result)
    };
    let worker = house.worker(json!({"concurrency": 2}));
    worker.attach(Some(&queue), 7).unwrap();
    let id = house.enqueue();
    let (tag, news) = come();
    assert_eq!((tag, text(&news.unwrap())), (7, json!({"work_id": id})));
    let (lease, _) = worker.next(Some(Duration::ZERO)).unwrap().unwrap();
    lease.attach(&queue, 8).unwrap();
    house.stop(&id, false);
    let (tag, news) = come();
    assert_eq!((tag, text(&news.unwrap())["reason"].clone()), (8, json!("asked")));
    lease.attach(&queue, 9).unwrap();
    assert_eq!(come().0, 9, "at once");
    let told = queue.clone();
    lease.finish(lease.prepare_finish(None).unwrap(), move |outcome| assert!(told.tell(10, outcome)));
    let (tag, outcome) = come();
    assert_eq!((tag, text(&outcome.unwrap())["state"].clone()), (10, json!("stopped")));

    let id = house.enqueue();
    assert_eq!(text(&come().1.unwrap()), json!({"work_id": id}));
    let (lease, _) = worker.next(Some(Duration::ZERO)).unwrap().unwrap();
    lease.attach(&queue, 11).unwrap();
    finish(&lease).unwrap();
    let (tag, news) = come();
    assert_eq!((tag, news.unwrap_err().status()), (11, Status::Done));

    worker.stop().unwrap();
    let (tag, end) = come();
    assert_eq!((tag, end.unwrap_err().status()), (7, Status::Done));
    worker.attach(Some(&queue), 12).unwrap();
    assert_eq!(come().0, 12, "whoever comes late is told, too");
    queue.close();
    assert_eq!(worker.attach(Some(&queue), 1).unwrap_err().status(), Status::Closed);
}

#[test]
fn a_worker_that_is_detached_claims_what_is_asked_for() {
    let house = House::new(300);
    let queue = Arc::new(Queue::new().unwrap());
    let worker = house.worker(json!({"concurrency": 4}));
    worker.attach(Some(&queue), 1).unwrap();
    worker.attach(None, 0).unwrap();
    (0..3).for_each(|_| drop(house.enqueue()));
    // A poll that was under way may still bring one.
    finish(&next(&worker).0).unwrap();
    until("nothing in flight", || house.control("GET", "connections", Value::Null)["polls_waiting"] == 0);
    assert!(stats(&worker)["claimed"].as_u64().unwrap() <= 2);
    queue.close();
}

#[test]
fn who_waits_for_a_lease_is_told_how_it_ended() {
    let house = House::new(300);
    let worker = house.worker(json!({"concurrency": 2}));
    for ends in [|lease: &antenv::Lease| drop(finish(lease).unwrap()), |lease: &antenv::Lease| lease.abandon()] {
        house.enqueue();
        let (lease, _) = next(&worker);
        assert_eq!(stats(&worker)["leases_held"], 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lease.wait(Some(PATIENCE)).unwrap_err().status());
            ends(&lease);
            assert_eq!(waiting.join().unwrap(), Status::Done);
        });
        until("the end", || stats(&worker)["leases_held"] == 0);
    }
}

#[test]
fn a_worker_whose_queue_is_freed_serves_who_asks() {
    let house = House::new(300);
    let queue = Arc::new(Queue::new().unwrap());
    let worker = house.worker(json!({}));
    worker.attach(Some(&queue), 1).unwrap();
    queue.close();
    house.enqueue();
    finish(&next(&worker).0).unwrap();
    house.enqueue();
    finish(&next(&worker).0).unwrap();
}
