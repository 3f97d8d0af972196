//! Stopping workers, and what is left behind.

use crate::support::*;
use antenv::Status;
use antenv::completion::Queue;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

#[test]
fn a_worker_is_stopped_promptly_while_a_poll_waits() {
    until("an end before the poll's own", || {
        let env = WorkerEnv::new(300);
        let worker = env.worker(json!({}));
        let took = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| worker.next(None).unwrap().is_none());
            until("a poll that waits", || env.control("GET", "connections", Value::Null)["polls_waiting"] == 1);
            let begun = Instant::now();
            worker.stop().unwrap();
            assert!(waiting.join().unwrap());
            begun.elapsed()
        });
        assert!(env.steps().is_empty());
        assert_eq!(stats(&worker)["state"], "stopped");
        took < Duration::from_millis(500)
    });
}

#[test]
fn leases_go_on_after_the_worker_is_stopped_until_they_are_finished() {
    let env = WorkerEnv::new(SHORT);
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    worker.stop().unwrap();
    assert!(worker.next(None).unwrap().is_none());
    let before = env.requests("work.heartbeat").len();
    until("more heartbeats", || env.requests("work.heartbeat").len() >= before + 3);
    finish(&lease).unwrap();
    assert_eq!(env.state(&id), "stopped");
}

#[test]
fn when_the_grace_is_over_the_holder_is_notified_and_the_item_stopped() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({"grace_ms": 100}));
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    worker.stop().unwrap();
    let begun = Instant::now();
    assert_eq!(gone(&lease), ("stop_requested".to_owned(), "shutdown".to_owned()));
    assert!(begun.elapsed() >= Duration::from_millis(50));
    until("the stop", || env.state(&id) == "stopped");
    assert!(finish(&lease).is_ok(), "it is stopped already");
}

#[test]
fn a_worker_that_cannot_stop_its_items_ends_all_the_same() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({"grace_ms": 0}));
    env.enqueue();
    let (lease, _) = next(&worker);
    env.faults(json!({"operation": "work.stop", "latency_ms": 60_000, "count": 100}));
    worker.stop().unwrap();
    let begun = Instant::now();
    until("the end of the lease", || stats(&worker)["leases_held"] == 0);
    assert!(begun.elapsed() < BEFORE_WHAT_HANGS);
    drop(lease);
}

#[test]
fn a_worker_is_over_five_seconds_after_its_grace_whatever_hangs() {
    let hangs = |operation: &str| json!({"operation": operation, "latency_ms": 60_000, "count": 100});
    each(["work.ack", "work.heartbeat", "work.stop", "work.list", "a health check", "a finish"], |what| {
        let env = WorkerEnv::new(300);
        let worker = env.worker(json!({"grace_ms": 0, "rescue_after_ms": 10}));
        env.faults(hangs(if what.starts_with("a ") { "work.stop" } else { what }));
        std::thread::scope(|scope| {
            if what == "a finish" {
                env.enqueue();
                let (lease, _) = next(&worker);
                scope.spawn(move || assert_eq!(finish(&lease).unwrap_err().status(), Status::Timeout));
                until("the stop", || !env.requests("work.stop").is_empty());
            } else if what == "a health check" {
                env.enqueue_with(json!({"data": {"type": "healthcheck"}}));
            } else {
                env.enqueue();
            }
            let begun = scope.spawn(|| worker.next(None).map(|next| next.is_none()));
            match what {
                "work.stop" => assert!(!begun.join().unwrap().unwrap()),
                _ => until("the request that hangs", || env.requests(what).len() + env.requests("work.stop").len() > 0),
            }
            worker.stop().unwrap();
            let stopped = Instant::now();
            until("the end", || stats(&worker)["leases_held"] == 0 && worker.next(Some(Duration::ZERO)).is_ok());
            assert!(stopped.elapsed() < BEFORE_WHAT_HANGS, "{what}: {:?}", stopped.elapsed());
        });
    });
}

#[test]
fn waiters_are_woken_when_the_worker_is_closed_whatever_is_in_flight() {
    // Late, and never.
    let cases = [("work.ack", 400), ("work.heartbeat", 400), ("work.ack", 60_000), ("work.heartbeat", 60_000)];
    each(cases, |(operation, latency)| {
        let env = WorkerEnv::new(300);
        env.faults(json!({"operation": operation, "latency_ms": latency, "count": 100}));
        let worker = env.worker(json!({}));
        std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..4).map(|_| scope.spawn(|| worker.next(None).unwrap().is_none())).collect();
            env.enqueue();
            until("the request that is late", || !env.requests(operation).is_empty());
            worker.close();
            let closed = Instant::now();
            assert!(waiting.into_iter().all(|thread| thread.join().unwrap()));
            assert!(closed.elapsed() < BEFORE_WHAT_HANGS, "{operation} {latency}");
        });
    });
}

#[test]
fn an_item_that_is_not_picked_up_goes_back() {
    let env = WorkerEnv::new(SHORT);
    let queue = Arc::new(Queue::new().unwrap());
    let worker = env.worker(json!({"concurrency": 2}));
    worker.attach(Some(&queue), 1).unwrap();
    let ids = [env.enqueue(), env.enqueue()];
    until("both", || stats(&worker)["leases_held"] == 2);
    drop(worker);
    env.advance(SHORT + 1);
    let other = env.worker(json!({}));
    for _ in &ids {
        finish(&next(&other).0).unwrap();
    }
    assert!(ids.iter().all(|id| env.state(id) == "stopped"));
    queue.close();
}

#[test]
fn what_was_claimed_before_the_stop_is_still_handed_out() {
    let env = WorkerEnv::new(300);
    let queue = Arc::new(Queue::new().unwrap());
    let worker = env.worker(json!({"concurrency": 2}));
    worker.attach(Some(&queue), 1).unwrap();
    env.enqueue();
    env.enqueue();
    until("both", || stats(&worker)["leases_held"] == 2);
    worker.stop().unwrap();
    for _ in 0..2 {
        finish(&next(&worker).0).unwrap();
    }
    assert!(worker.next(None).unwrap().is_none());
    queue.close();
}

#[test]
fn a_queue_delivers_items_changes_finishes_and_the_end() {
    let env = WorkerEnv::new(SHORT);
    let queue = Arc::new(Queue::new().unwrap());
    let come = || {
        let mut came = queue.next(1, Some(TIMEOUT)).unwrap();
        let came = came.remove(0);
        (came.tag, came.result)
    };
    let worker = env.worker(json!({"concurrency": 2}));
    worker.attach(Some(&queue), 7).unwrap();
    let id = env.enqueue();
    let (tag, news) = come();
    assert_eq!((tag, text(&news.unwrap())), (7, json!({"work_id": id})));
    let (lease, _) = worker.next(Some(Duration::ZERO)).unwrap().unwrap();
    lease.attach(&queue, 8).unwrap();
    env.stop(&id, false);
    let (tag, news) = come();
    assert_eq!((tag, text(&news.unwrap())["reason"].clone()), (8, json!("asked")));
    lease.attach(&queue, 9).unwrap();
    assert_eq!(come().0, 9, "at once");
    let notified = queue.clone();
    lease.finish(lease.prepare_finish(None).unwrap(), move |outcome| assert!(notified.post(10, outcome)));
    let (tag, outcome) = come();
    assert_eq!((tag, text(&outcome.unwrap())["state"].clone()), (10, json!("stopped")));

    let id = env.enqueue();
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
    assert_eq!(come().0, 12, "a late subscriber is notified, too");
    queue.close();
    assert_eq!(worker.attach(Some(&queue), 1).unwrap_err().status(), Status::Closed);
}

#[test]
fn a_worker_that_is_detached_claims_what_is_asked_for() {
    let env = WorkerEnv::new(300);
    let queue = Arc::new(Queue::new().unwrap());
    let worker = env.worker(json!({"concurrency": 4}));
    worker.attach(Some(&queue), 1).unwrap();
    worker.attach(None, 0).unwrap();
    (0..3).for_each(|_| drop(env.enqueue()));
    // A poll that was in flight may still bring one.
    finish(&next(&worker).0).unwrap();
    until("nothing in flight", || env.control("GET", "connections", Value::Null)["polls_waiting"] == 0);
    assert!(stats(&worker)["claimed"].as_u64().unwrap() <= 2);
    queue.close();
}

#[test]
fn waiters_of_a_lease_learn_how_it_ended() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({"concurrency": 2}));
    for ends in [|lease: &antenv::Lease| drop(finish(lease).unwrap()), |lease: &antenv::Lease| lease.abandon()] {
        env.enqueue();
        let (lease, _) = next(&worker);
        assert_eq!(stats(&worker)["leases_held"], 1);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| lease.wait(Some(TIMEOUT)).unwrap_err().status());
            ends(&lease);
            assert_eq!(waiting.join().unwrap(), Status::Done);
        });
        until("the end", || stats(&worker)["leases_held"] == 0);
    }
}

#[test]
fn a_worker_whose_queue_is_freed_serves_other_callers() {
    let env = WorkerEnv::new(300);
    let queue = Arc::new(Queue::new().unwrap());
    let worker = env.worker(json!({}));
    worker.attach(Some(&queue), 1).unwrap();
    queue.close();
    env.enqueue();
    finish(&next(&worker).0).unwrap();
    env.enqueue();
    finish(&next(&worker).0).unwrap();
}
