//! Polling and acknowledging.

use crate::support::*;
use antenv::{Error, Status};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::{Duration, Instant};

#[test]
fn an_item_is_claimed_kept_and_stopped() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, item) = next(&worker);
    assert_eq!((item["id"].as_str(), item["state"].as_str()), (Some(id.as_str()), Some("queued")));
    assert!(item["secret"].is_string());
    assert_eq!(env.state(&id), "active");
    let state = text(&lease.state().unwrap());
    assert_eq!((&state["state"], &state["ttl_seconds"], &state["beats"]), (&json!("held"), &json!(300), &json!(1)));
    assert_eq!(finish(&lease).unwrap()["state"], "stopped");
    assert_eq!(env.steps(), ["work.ack", "work.heartbeat", "work.stop"]);
    assert_eq!(env.requests("work.stop")[0]["body"], json!({"force": true}));
    worker.stop().unwrap();
    assert!(worker.next(Some(TIMEOUT)).unwrap().is_none());
    let stats = stats(&worker);
    assert_eq!((&stats["claimed"], &stats["finished"], &stats["leases_held"]), (&json!(1), &json!(1), &json!(0)));
}

#[test]
fn every_form_of_an_empty_poll_is_empty() {
    let env = WorkerEnv::new(300);
    env.faults(json!([
        {"operation": "work.poll", "body": null},
        {"operation": "work.poll", "status": 204},
        {"operation": "work.poll", "body": ""},
        {"operation": "work.poll", "body": {}},
        {"operation": "work.poll", "body": {"id": "", "data": {}}},
    ]));
    let worker = env.worker(json!({"block_ms": 0, "idle_after_ms": 3_600_000}));
    let id = env.enqueue();
    let (lease, item) = next(&worker);
    assert_eq!(item["id"], id.as_str());
    assert!(env.requests("work.poll").len() >= 6);
    assert_eq!(env.requests("work.ack").len(), 1);
    assert_eq!(stats(&worker)["failures"]["poll"], json!({}));
    finish(&lease).unwrap();
}

#[test]
fn a_poll_asks_for_what_the_configuration_says() {
    let env = WorkerEnv::open();
    let query_of = |config: Value| {
        env.control("DELETE", "requests", Value::Null);
        let worker = env.worker(config);
        let _ = worker.next(Some(Duration::from_millis(1)));
        until("a poll", || !env.requests("work.poll").is_empty());
        let request = env.requests("work.poll")[0].clone();
        (request["query"].clone(), request["headers"]["anthropic-worker-id"].as_str().unwrap().to_owned())
    };
    let (query, id) = query_of(json!({}));
    assert_eq!(query, json!([["block_ms", "999"]]));
    let (other, other_id) = query_of(json!({"block_ms": 250, "reclaim_older_than_ms": 700}));
    assert_eq!(other, json!([["block_ms", "250"], ["reclaim_older_than_ms", "700"]]));
    assert_ne!(id, other_id);
    assert_eq!(query_of(json!({"block_ms": 0, "worker_id": "mine"})), (json!([]), "mine".to_owned()));
    assert_eq!(query_of(json!({"drain": true})).0, json!([]));
}

#[test]
fn a_drained_queue_ends_the_worker() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({"drain": true}));
    assert!(worker.next(Some(TIMEOUT)).unwrap().is_none());
    assert_eq!(env.requests("work.poll").len(), 1);
    assert_eq!(stats(&worker)["state"], "drained");

    let ids: HashSet<String> = (0..5).map(|_| env.enqueue()).collect();
    let worker = env.worker(json!({"drain": true, "concurrency": 3}));
    let mut served = HashSet::new();
    while let Some((lease, item)) = worker.next(Some(TIMEOUT)).unwrap() {
        served.insert(text(&item)["id"].as_str().unwrap().to_owned());
        finish(&lease).unwrap();
    }
    assert_eq!(served, ids);
}

#[test]
fn a_permanently_refused_poll_ends_the_worker() {
    for (status, expected) in
        [(401, Status::Authentication), (403, Status::PermissionDenied), (404, Status::NotFound), (400, Status::BadRequest)]
    {
        let env = WorkerEnv::new(300);
        env.faults(json!({"operation": "work.poll", "status": status}));
        let worker = env.worker(json!({}));
        for _ in 0..2 {
            let error = worker.next(Some(TIMEOUT)).err().unwrap();
            assert_eq!((error.status(), error.http_status()), (expected, Some(status)));
        }
        assert_eq!(env.requests("work.poll").len(), 1);
        assert_eq!(stats(&worker)["state"], "failed");
    }
}

#[test]
fn an_item_goes_on_when_its_worker_fails() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({"concurrency": 2}));
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    env.faults(json!({"operation": "work.poll", "status": 401}));
    assert_eq!(worker.next(Some(TIMEOUT)).err().unwrap().status(), Status::Authentication);
    assert_eq!(text(&lease.state().unwrap())["state"], "held");
    finish(&lease).unwrap();
    assert_eq!(env.state(&id), "stopped");
}

#[test]
fn polls_that_fail_are_made_again() {
    let env = WorkerEnv::new(300);
    env.faults(json!([
        {"operation": "work.poll", "status": 408},
        {"operation": "work.poll", "status": 503, "headers": {"retry-after-ms": "1"}},
    ]));
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, item) = next(&worker);
    assert_eq!(item["id"], id.as_str());
    assert_eq!(stats(&worker)["failures"]["poll"], json!({"request_timeout": 1, "server_error": 1}));
    assert_eq!(stats(&worker)["last_poll_failure"], json!(null));
    finish(&lease).unwrap();
    for fault in [
        json!({"status": 409}),
        json!({"status": 429}),
        json!({"garbage": true}),
        json!({"body": "<html>"}),
        json!({"body": [1]}),
    ] {
        let mut fault = fault;
        fault["operation"] = "work.poll".into();
        env.faults(fault.clone());
        let worker = env.worker(json!({}));
        env.enqueue();
        finish(&next(&worker).0).unwrap_or_else(|error| panic!("{fault}: {error}"));
    }
}

#[test]
fn a_server_that_asks_for_a_day_is_asked_again_within_a_minute() {
    let env = WorkerEnv::new(300);
    env.faults(json!({"operation": "work.poll", "status": 429, "headers": {"retry-after": "86400"}}));
    let worker = env.worker(json!({}));
    nothing(&worker, Duration::from_millis(100));
    until("the poll", || stats(&worker)["last_poll_failure"] != json!(null));
    assert_eq!(stats(&worker)["failures"]["poll"], json!({"rate_limited": 1}));
    let error = worker.next(Some(Duration::ZERO)).map(drop).unwrap_err();
    assert!(error.to_string().contains("; the last poll failed: work.poll: 429 rate_limited"), "{error}");
    // The pause itself is bounded by the pure machine's test; here, that the worker can be stopped within it.
    worker.stop().unwrap();
    assert!(worker.next(Some(TIMEOUT)).unwrap().is_none());
}

#[test]
fn an_item_that_arrives_at_a_waiting_worker_starts_within_milliseconds() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({}));
    until("a start far before the pause of a second is over", || {
        let (sender, receiver) = std::sync::mpsc::channel();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (lease, _) = next(&worker);
                sender.send(Instant::now()).unwrap();
                finish(&lease).unwrap();
            });
            until("a poll that waits", || env.control("GET", "connections", Value::Null)["polls_waiting"] == 1);
            let queued = Instant::now();
            env.enqueue();
            receiver.recv().unwrap() - queued < Duration::from_millis(500)
        })
    });
}

#[test]
fn nothing_is_claimed_without_demand() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({"concurrency": 4}));
    let ids: Vec<_> = (0..3).map(|_| env.enqueue()).collect();
    let (lease, item) = next(&worker);
    assert_eq!(item["id"], ids[0].as_str());
    until("nothing in flight", || env.control("GET", "connections", Value::Null)["polls_waiting"] == 0);
    assert_eq!(env.requests("work.ack").len(), 1);
    let (other, _) = next(&worker);
    assert_eq!(stats(&worker)["leases_held"], 2);
    finish(&lease).unwrap();
    finish(&other).unwrap();
    assert_eq!(env.state(&ids[2]), "queued");
}

#[test]
fn no_more_is_held_than_allowed_and_all_at_once_up_to_that() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({"concurrency": 4}));
    (0..40).for_each(|_| drop(env.enqueue()));
    let (held, most, served) = (Mutex::new(0), Mutex::new(0), Mutex::new(HashSet::new()));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                while served.lock().unwrap().len() < 40 {
                    let Ok(Some((lease, item))) = worker.next(Some(Duration::from_millis(100))) else { continue };
                    let now = {
                        let mut held = held.lock().unwrap();
                        *held += 1;
                        *held
                    };
                    {
                        let mut most = most.lock().unwrap();
                        *most = now.max(*most);
                    }
                    // Long enough for a fifth to come if one may; the first ones are held until there are four.
                    std::thread::sleep(Duration::from_millis(5));
                    until("four items held at a time", || *most.lock().unwrap() >= 4);
                    *held.lock().unwrap() -= 1;
                    finish(&lease).unwrap();
                    assert!(served.lock().unwrap().insert(text(&item)["id"].as_str().unwrap().to_owned()), "an item came twice");
                }
            });
        }
    });
    assert_eq!(*most.lock().unwrap(), 4);
    assert_eq!(stats(&worker)["finished"], 40);
}

#[test]
fn a_permanently_refused_acknowledgement_leaves_the_item_to_the_work_queue() {
    let env = WorkerEnv::new(300);
    env.faults(json!({"operation": "work.ack", "status": 404}));
    let worker = env.worker(json!({"reclaim_older_than_ms": 200}));
    let (refused, good) = (env.enqueue(), env.enqueue());
    for _ in 0..2 {
        finish(&next(&worker).0).unwrap();
    }
    assert!([refused, good].iter().all(|id| env.state(id) == "stopped"), "it came again");
    let stats = stats(&worker);
    assert_eq!((&stats["refused"], &stats["finished"]), (&json!(1), &json!(2)));
}

#[test]
fn a_worker_whose_items_are_all_refused_ends_and_leaves_the_queue_as_it_was() {
    let cases = [
        // What it demands is not available: the first item shows it.
        (json!({"desired_ttl_seconds": 7200}), Value::Null, 1, Some("desired_ttl_seconds"), 400),
        (json!({}), json!({"operation": "work.ack", "status": 403}), 3, None, 403),
        (json!({}), json!({"operation": "work.heartbeat", "status": 404}), 3, None, 404),
    ];
    each(cases, |(config, mut fault, most, parameter, http_status)| {
        let env = WorkerEnv::new(300);
        let queued: Vec<_> = (0..100).map(|_| env.enqueue()).collect();
        if !fault.is_null() {
            fault["count"] = 100_000.into();
            env.faults(fault);
        }
        let mut config = config;
        config["concurrency"] = 100.into();
        let worker = env.worker(config);
        let errors: Vec<Error> = std::thread::scope(|scope| {
            let waiting: Vec<_> = (0..100).map(|_| scope.spawn(|| worker.next(None).err().unwrap())).collect();
            waiting.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert!(errors.iter().all(|error| error.http_status() == Some(http_status) && error.parameter() == parameter));
        let stats = stats(&worker);
        assert_eq!((&stats["state"], &stats["finished"], &stats["claimed"]), (&json!("failed"), &json!(0), &json!(0)));
        assert!((1..=3).contains(&stats["refused"].as_u64().unwrap()) && stats["refused"].as_u64().unwrap() >= most.min(1));
        assert!(env.requests("work.stop").is_empty());
        let touched: HashSet<_> = env.requests("work.ack").iter().map(|request| request["path"].to_string()).collect();
        assert!(touched.len() <= 5, "{touched:?}");
        assert!(queued.iter().all(|id| env.state(id) != "stopped"));
    });
}

#[test]
fn an_item_that_is_claimed_makes_up_for_those_that_were_refused() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({"reclaim_older_than_ms": 60_000}));
    for _ in 0..3 {
        env.faults(json!({"operation": "work.ack", "status": 403, "count": 2}));
        (0..3).for_each(|_| drop(env.enqueue()));
        finish(&next(&worker).0).unwrap();
    }
    assert_eq!(stats(&worker)["refused"], 6);
}

#[test]
fn a_page_of_a_gateway_ends_nothing() {
    let pages = [
        json!({"status": 404, "body": "404 page not found\n", "headers": {"content-type": "text/plain"}}),
        json!({"status": 403, "body": "<html>Forbidden</html>", "headers": {"content-type": "text/html"}}),
        json!({"status": 401, "body": {"error": {"type": "unauthorized", "message": "log in"}}}),
        json!({"status": 400, "body": ""}),
        json!({"status": 409, "body": "conflict"}),
        json!({"status": 412, "body": {"message": "no"}}),
    ];
    each(pages, |page| {
        let env = WorkerEnv::new(SHORT);
        let worker = env.worker(json!({}));
        env.enqueue();
        finish(&next(&worker).0).unwrap();
        for operation in ["work.poll", "work.ack", "work.heartbeat", "work.stop"] {
            let mut fault = page.clone();
            fault["operation"] = operation.into();
            env.faults(fault);
        }
        let id = env.enqueue();
        let (lease, item) = next(&worker);
        assert_eq!(item["id"], id.as_str(), "{page}");
        let mut fault = page.clone();
        fault["operation"] = "work.heartbeat".into();
        env.faults(fault);
        let before = env.requests("work.heartbeat").len();
        until("heartbeats after the page", || env.requests("work.heartbeat").len() >= before + 3);
        assert_eq!(text(&lease.state().unwrap())["state"], "held", "{page}");
        finish(&lease).unwrap();
        assert_eq!(env.state(&id), "stopped", "{page}");
        let stats = stats(&worker);
        assert_eq!((&stats["gateway"], &stats["refused"], &stats["state"]), (&json!(5), &json!(0), &json!("running")), "{page}");
    });
}

#[test]
fn a_page_of_a_gateway_at_the_first_poll_ends_the_worker() {
    let env = WorkerEnv::new(300);
    env.faults(json!({"operation": "work.poll", "status": 404, "body": "404 page not found"}));
    let worker = env.worker(json!({}));
    assert_eq!(worker.next(Some(TIMEOUT)).err().unwrap().status(), Status::NotFound);
}

#[test]
fn an_acknowledgement_that_fails_is_made_again_for_the_same_item() {
    let env = WorkerEnv::new(300);
    env.faults(json!([
        {"operation": "work.ack", "status": 503},
        {"operation": "work.ack", "status": 429},
        {"operation": "work.ack", "status": 409},
        {"operation": "work.ack", "when": "after", "drop": true},
    ]));
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, item) = next(&worker);
    assert_eq!(item["id"], id.as_str());
    let paths: HashSet<_> = env.requests("work.ack").iter().map(|request| request["path"].to_string()).collect();
    assert_eq!((paths.len(), env.requests("work.ack").len(), env.requests("work.poll").len()), (1, 5, 1));
    finish(&lease).unwrap();
}

#[test]
fn an_item_that_cannot_be_acknowledged_is_left_to_the_queue() {
    let env = WorkerEnv::new(300);
    // The window is the time after which the queue may hand the item to another.
    env.faults(json!({"operation": "work.ack", "status": 429, "count": 3, "headers": {"retry-after": "60"}}));
    let worker = env.worker(json!({"reclaim_older_than_ms": 200}));
    let id = env.enqueue();
    let (lease, item) = next(&worker);
    assert_eq!(item["id"], id.as_str());
    assert_eq!(env.state(&id), "active");
    finish(&lease).unwrap();
}

#[test]
fn an_acknowledgement_that_hangs_is_cut_and_what_it_may_have_done_is_found_out() {
    let env = WorkerEnv::new(300);
    let hangs = json!({"operation": "work.ack", "when": "after", "latency_ms": 60_000});
    env.faults(hangs);
    let worker = env.worker(json!({"reclaim_older_than_ms": 300}));
    let id = env.enqueue();
    let begun = Instant::now();
    let (lease, item) = next(&worker);
    assert_eq!(item["id"], id.as_str());
    // By then another worker that was handed it would have begun.
    assert!(begun.elapsed() > Duration::from_secs(9));
    assert_eq!((env.requests("work.ack").len(), env.requests("work.poll").len()), (2, 1));
    finish(&lease).unwrap();
}

#[test]
fn a_health_check_is_looked_after_by_the_worker_itself() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({}));
    let check = env.enqueue_with(json!({"data": {"type": "healthcheck"}}));
    let other = env.enqueue_with(json!({"data": {"type": "a type of the future"}}));
    let id = env.enqueue();
    let (lease, item) = next(&worker);
    assert_eq!(item["id"], id.as_str());
    finish(&lease).unwrap();
    for id in [&check, &other] {
        until("the stop", || env.state(id) == "stopped");
    }
    assert_eq!(env.requests("work.heartbeat").len(), 1, "no heartbeat for those");
    assert_eq!(stats(&worker)["health_checks"], 2);
}

#[test]
fn the_stop_of_a_health_check_is_tried_again() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({}));
    env.faults(json!([
        {"operation": "work.stop", "status": 500},
        {"operation": "work.stop", "status": 503, "headers": {"retry-after": "1"}},
    ]));
    let check = env.enqueue_with(json!({"data": {"type": "healthcheck"}}));
    nothing(&worker, Duration::from_millis(100));
    until("the stop", || env.state(&check) == "stopped");
    assert_eq!(env.requests("work.stop").len(), 3);
}

#[test]
fn a_configuration_that_is_not_acceptable_is_refused_at_once() {
    let env = WorkerEnv::new(300);
    for (config, parameter) in [
        (json!({"environment_id": "a/../b;"}), ""),
        (json!({"environment_id": ".."}), "environment_id"),
        (json!({"environment_id": "env_1\0"}), "environment_id"),
        (json!({"environment_key": "a\nb"}), "environment_key"),
        (json!({"worker_id": "a\nb"}), "worker_id"),
    ] {
        let outcome = env.worker_of(&env.owner, config);
        match parameter {
            "" => drop(outcome.unwrap()),
            _ => assert_eq!(outcome.err().unwrap().parameter(), Some(parameter)),
        }
    }
    assert!(env.requests("work.poll").is_empty());
}
