//! Keeping a lease.

use crate::support::*;
use antenv::Status;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

fn expectations(env: &WorkerEnv) -> Vec<String> {
    let of = |request: &Value| {
        let query = request["query"].as_array().unwrap();
        let pair = query.iter().find(|pair| pair[0] == "expected_last_heartbeat").unwrap();
        pair[1].as_str().unwrap().to_owned()
    };
    env.requests("work.heartbeat").iter().map(of).collect()
}

fn beats(env: &WorkerEnv) -> usize {
    env.requests("work.heartbeat").len()
}

#[test]
fn each_heartbeat_states_the_one_before_verbatim() {
    let env = WorkerEnv::new(SHORT);
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    // Whatever the host does: this thread only looks.
    until("three heartbeats", || beats(&env) >= 3);
    assert_eq!(env.state(&id), "active");
    let stated = expectations(&env);
    assert_eq!(stated[0], "NO_HEARTBEAT");
    assert!(stated[1].ends_with("+00:00") && stated[2] > stated[1], "{stated:?}");
    let target = env.requests("work.heartbeat")[1]["target"].to_string();
    assert!(target.contains("%2B00%3A00"), "{target}");
    finish(&lease).unwrap();
}

#[test]
fn a_lease_outlives_many_of_its_lifetimes() {
    let env = WorkerEnv::new(SHORT);
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    until("six heartbeats, one each half of its lifetime", || beats(&env) >= 6);
    assert_eq!((env.state(&id), text(&lease.state().unwrap())["state"].clone()), ("active".to_owned(), json!("held")));
    finish(&lease).unwrap();
    assert_eq!(env.state(&id), "stopped");
}

#[test]
fn the_time_to_live_that_is_wanted_is_asked_for() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({"desired_ttl_seconds": 77}));
    env.enqueue();
    let (lease, _) = next(&worker);
    assert_eq!(text(&lease.state().unwrap())["ttl_seconds"], 77);
    finish(&lease).unwrap();
}

#[test]
fn the_holder_learns_when_the_item_is_to_be_stopped() {
    for force in [false, true] {
        let env = WorkerEnv::new(SHORT);
        let worker = env.worker(json!({}));
        let id = env.enqueue();
        let (lease, _) = next(&worker);
        env.stop(&id, force);
        assert_eq!(gone(&lease), ("stop_requested".to_owned(), "asked".to_owned()));
        let before = beats(&env);
        let outcome = finish(&lease).unwrap();
        assert_eq!(env.state(&id), "stopped");
        assert_eq!(outcome.is_null(), force, "409: it had stopped already, which is not an error");
        assert_eq!(beats(&env), before, "there is no lease to extend");
        assert_eq!(stats(&worker)["stop_requested"], 1);
    }
    let env = WorkerEnv::new(SHORT);
    let worker = env.worker(json!({}));
    env.enqueue();
    let (lease, _) = next(&worker);
    let body =
        json!({"type": "work_heartbeat", "last_heartbeat": "t", "lease_extended": false, "state": "active", "ttl_seconds": 1});
    env.faults(json!({"operation": "work.heartbeat", "body": body}));
    assert_eq!(gone(&lease), ("stop_requested".to_owned(), "not_extended".to_owned()));
    finish(&lease).unwrap();
    assert_eq!(env.requests("work.stop")[0]["body"], json!({"force": true}));
}

#[test]
fn a_lease_that_another_worker_holds_is_lost_and_nothing_is_stopped() {
    let env = WorkerEnv::new(SHORT);
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    env.advance(SHORT + 1);
    let other = env.worker(json!({}));
    let (others, item) = next(&other);
    assert_eq!(item["id"], id.as_str());
    assert_eq!(gone(&lease), ("lost".to_owned(), "taken".to_owned()));
    let error = finish(&lease).unwrap_err();
    assert_eq!(error.status(), Status::LeaseLost);
    assert!(env.requests("work.stop").is_empty());
    assert_eq!(text(&others.state().unwrap())["state"], "held");
    finish(&others).unwrap();
    assert_eq!((stats(&worker)["lost"].clone(), stats(&worker)["finished"].clone()), (json!(1), json!(0)));
    // It goes on.
    env.enqueue();
    finish(&next(&worker).0).unwrap();
}

#[test]
fn a_permanently_refused_heartbeat_is_reported_to_the_holder_and_the_item_is_stopped() {
    each([401, 403, 404], |status| {
        let env = WorkerEnv::new(SHORT);
        let worker = env.worker(json!({}));
        let id = env.enqueue();
        let (lease, _) = next(&worker);
        env.faults(json!({"operation": "work.heartbeat", "status": status}));
        assert_eq!(gone(&lease), ("stop_requested".to_owned(), "rejected".to_owned()));
        assert_eq!(beats(&env), 2, "one attempt");
        finish(&lease).unwrap();
        assert_eq!(env.state(&id), "stopped");
    });
}

#[test]
fn a_holder_that_takes_too_long_to_stop_learns_that_the_lease_is_lost() {
    let env = WorkerEnv::new(SHORT);
    let worker = env.worker(json!({"idle_min_ms": 0}));
    let queue = std::sync::Arc::new(antenv::completion::Queue::new().unwrap());
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    lease.attach(&queue, 1).unwrap();
    lease.attach_lost(&queue, 2).unwrap();
    env.faults(json!({"operation": "work.heartbeat", "status": 403}));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| text(&lease.wait_lost(Some(TIMEOUT)).unwrap()));
        assert_eq!(gone(&lease), ("stop_requested".to_owned(), "rejected".to_owned()));
        assert_eq!(gone(&lease).0, "stop_requested", "a second call returns immediately");
        let early = lease.wait_lost(Some(Duration::ZERO)).err().map(|error| error.status());
        assert!(early == Some(Status::Timeout) || text(&lease.state().unwrap())["state"] == "lost");
        assert_eq!(waiting.join().unwrap()["reason"], "expired");
    });
    assert_eq!(gone(&lease), ("lost".to_owned(), "expired".to_owned()));
    for (tag, state) in [(1, "stop_requested"), (2, "lost")] {
        let completion = queue.next(1, Some(TIMEOUT)).unwrap().remove(0);
        assert_eq!((completion.tag, &text(&completion.result.unwrap())["state"]), (tag, &json!(state)));
    }
    // Another has it by the time that the first one finishes.
    let (theirs, item) = next(&env.worker(json!({})));
    assert_eq!(item["id"], id.as_str());
    assert_eq!(finish(&lease).unwrap_err().status(), Status::LeaseLost);
    assert!(env.requests("work.stop").is_empty());
    assert_eq!(text(&theirs.state().unwrap())["state"], "held");
    assert!(queue.next(1, Some(Duration::ZERO)).is_err(), "once each");
    queue.close();
}

#[test]
fn a_holder_that_stops_in_time_learns_of_no_loss() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({}));
    let queue = std::sync::Arc::new(antenv::completion::Queue::new().unwrap());
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    lease.attach_lost(&queue, 2).unwrap();
    finish(&lease).unwrap();
    assert_eq!(lease.wait_lost(Some(TIMEOUT)).unwrap_err().status(), Status::Done);
    let completion = queue.next(1, Some(TIMEOUT)).unwrap().remove(0);
    assert_eq!((completion.tag, completion.result.unwrap_err().status()), (2, Status::Done));
    assert_eq!(env.state(&id), "stopped");
    queue.close();
}

#[test]
fn a_lease_is_lost_in_time_when_no_heartbeat_gets_through() {
    let slow_down = json!({"status": 429, "headers": {"retry-after": "600"}});
    let faults =
        [json!({"status": 503}), json!({"status": 409}), json!({"latency_ms": 60_000}), json!({"drop": true}), slow_down];
    each(faults, |mut fault| {
        fault["operation"] = "work.heartbeat".into();
        fault["count"] = 1000.into();
        until(&format!("the loss before the lease runs out, {fault}"), || {
            let env = WorkerEnv::new(2);
            let worker = env.worker(json!({}));
            env.enqueue();
            let (lease, _) = next(&worker);
            let begun = Instant::now();
            env.faults(fault.clone());
            assert_eq!(gone(&lease), ("lost".to_owned(), "expired".to_owned()), "{fault}");
            let in_time = begun.elapsed() < Duration::from_secs(2);
            assert_eq!(finish(&lease).unwrap_err().status(), Status::LeaseLost);
            assert!(env.requests("work.stop").is_empty());
            in_time && beats(&env) >= 3
        });
    });
}

#[test]
fn a_heartbeat_that_was_recorded_but_not_answered_does_not_lose_the_lease() {
    let faults =
        [json!({"drop": true}), json!({"status": 502}), json!({"reset": true}), json!({"cut": 3}), json!({"body": "<html>"})];
    each(faults, |mut fault| {
        fault["operation"] = "work.heartbeat".into();
        fault["when"] = "after".into();
        // The first heartbeat, and a later one.
        let env = WorkerEnv::new(SHORT);
        env.faults(fault.clone());
        let worker = env.worker(json!({}));
        let id = env.enqueue();
        let (lease, _) = next(&worker);
        env.faults(fault.clone());
        let before = beats(&env);
        until(&format!("more heartbeats after {fault}"), || beats(&env) >= before + 4);
        assert_eq!(text(&lease.state().unwrap())["state"], "held", "{fault}");
        finish(&lease).unwrap();
        assert_eq!(env.state(&id), "stopped");
    });
}

#[test]
fn the_first_heartbeat_is_tried_until_it_is_accepted() {
    let env = WorkerEnv::new(300);
    env.faults(json!([
        {"operation": "work.heartbeat", "status": 503},
        {"operation": "work.heartbeat", "drop": true},
        {"operation": "work.heartbeat", "status": 409},
        {"operation": "work.heartbeat", "body": "not a heartbeat"},
    ]));
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, item) = next(&worker);
    assert_eq!(item["id"], id.as_str());
    assert!(expectations(&env).iter().all(|stated| stated == "NO_HEARTBEAT"));
    finish(&lease).unwrap();
}

#[test]
fn an_item_whose_first_heartbeat_is_refused_is_not_handed_out() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({}));
    let state =
        json!({"state": "active", "last_heartbeat": "2026-01-01T00:00:00+00:00", "lease_extended": false, "ttl_seconds": 300});
    let taken = json!({"type": "error", "error": {"type": "invalid_request_error", "message": "m",
        "details": {"error_code": "heartbeat_precondition_failed", "current_state": state}}});
    env.faults(
        json!([{"operation": "work.heartbeat", "status": 412, "body": taken}, {"operation": "work.heartbeat", "status": 403}]),
    );
    let (others, rejected, good) = (env.enqueue(), env.enqueue(), env.enqueue());
    let (lease, item) = next(&worker);
    assert_eq!(item["id"], good.as_str());
    finish(&lease).unwrap();
    for id in [&others, &rejected] {
        assert_eq!(env.state(id), "starting", "nothing is done to it: it belongs to another worker, or to the work queue");
    }
    assert!(env.requests("work.stop").iter().all(|request| request["path"].to_string().contains(&good)));
    let stats = stats(&worker);
    assert_eq!((&stats["claimed"], &stats["refused"]), (&json!(1), &json!(1)));
}

#[test]
fn a_stop_is_tried_again_while_the_lease_is_kept() {
    let env = WorkerEnv::new(SHORT);
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    env.faults(json!({"operation": "work.stop", "status": 500, "count": 3}));
    finish(&lease).unwrap();
    assert_eq!((env.state(&id), env.requests("work.stop").len()), ("stopped".to_owned(), 4));

    let id = env.enqueue();
    let (lease, _) = next(&worker);
    env.faults(json!({"operation": "work.stop", "status": 403}));
    assert_eq!(finish(&lease).unwrap_err().status(), Status::PermissionDenied);
    // It runs out, and comes again.
    env.advance(SHORT + 1);
    let (lease, item) = next(&worker);
    assert_eq!(item["id"], id.as_str());
    finish(&lease).unwrap();
}

#[test]
fn a_stop_that_hangs_is_bounded_by_the_caller() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({}));
    env.enqueue();
    let (lease, _) = next(&worker);
    env.faults(json!({"operation": "work.stop", "latency_ms": 60_000, "count": 100}));
    let begun = Instant::now();
    let outcome = lease.finish_and_wait(lease.prepare_finish(Some(r#"{"timeout_ms":300}"#)).unwrap());
    assert_eq!(outcome.unwrap_err().status(), Status::Timeout);
    assert!(begun.elapsed() < BEFORE_WHAT_HANGS);
}

#[test]
fn finishing_takes_the_parameters_of_a_stop() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    for (wrong, parameter) in
        [(r#"{"force":1}"#, "force"), (r#"{"odd":1}"#, "odd"), ("[]", "params_json"), (r#"{"work_id":"w"}"#, "work_id")]
    {
        assert_eq!(lease.prepare_finish(Some(wrong)).err().unwrap().parameter(), Some(parameter));
    }
    assert_eq!(text(&lease.state().unwrap())["state"], "held", "and nothing has changed");
    let gently = lease.prepare_finish(Some(r#"{"force":false,"extra_headers":{"x-test":"1"}}"#)).unwrap();
    lease.finish_and_wait(gently).unwrap();
    assert_eq!(env.state(&id), "stopping");
    let request = &env.requests("work.stop")[0];
    assert_eq!((&request["body"], &request["headers"]["x-test"]), (&json!({"force": false}), &json!("1")));
}

#[test]
fn heartbeats_that_are_due_at_once_leave_the_host_its_descriptors() {
    let env = WorkerEnv::new(20);
    let worker = env.worker(json!({"concurrency": 300}));
    env.control("POST", "work", json!({"environment_id": env.environment, "count": 300}));
    let leases: Vec<_> = (0..300).map(|_| next(&worker).0).collect();
    env.faults(json!({"operation": "work.heartbeat", "latency_ms": 2_500, "count": 300}));
    let most = std::cell::Cell::new(0);
    until("the second heartbeat of each", || {
        let in_flight = env.requests("work.heartbeat").iter().filter(|request| request["done"] == false).count();
        most.set(in_flight.max(most.get()));
        leases.iter().all(|lease| text(&lease.state().unwrap())["beats"].as_u64().unwrap() >= 2)
    });
    assert!(most.get() <= 128, "{} heartbeats were in flight at once", most.get());
    assert!(leases.iter().all(|lease| text(&lease.state().unwrap())["state"] == "held"));
}

#[test]
fn an_abandoned_item_comes_again() {
    let env = WorkerEnv::new(SHORT);
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    lease.abandon();
    env.advance(SHORT + 1);
    let (lease, item) = next(&worker);
    assert_eq!(item["id"], id.as_str());
    assert!(env.requests("work.stop").is_empty());
    finish(&lease).unwrap();
    assert_eq!(stats(&worker)["abandoned"], 1);
}

#[test]
fn a_result_is_wrapped_also_when_the_item_had_stopped_already() {
    let env = WorkerEnv::new(300);
    let worker = env.worker(json!({}));
    let id = env.enqueue();
    let (lease, _) = next(&worker);
    env.stop(&id, true);
    let wrapped = text(&lease.finish_and_wait(lease.prepare_finish(Some(r#"{"with_response":true}"#)).unwrap()).unwrap());
    assert_eq!((&wrapped["data"], &wrapped["http_status"]), (&Value::Null, &json!(409)));
    assert_eq!(stats(&worker)["finished"], 1, "counted before a waiter is notified");
}

#[test]
fn an_item_that_its_worker_left_goes_back_to_the_queue() {
    let env = WorkerEnv::new(300);
    let id = env.enqueue();
    // Another worker acknowledges it and dies.
    let other = env.client(json!({"environment_key": env.key}));
    let ids = json!({"environment_id": env.environment, "work_id": id}).to_string();
    other.call("work.poll", Some(&json!({"environment_id": env.environment}).to_string())).unwrap();
    other.call("work.ack", Some(&ids)).unwrap();
    // More than one look takes in.
    let many = json!({"environment_id": env.environment, "count": 1500, "data": {"type": "session", "id": "s"}});
    env.control("POST", "work", many);
    let worker = env.worker(json!({"rescue_after_ms": 100, "concurrency": 200}));
    let mut held = Vec::new();
    let _ = worker.next(Some(Duration::from_millis(1)));
    until("the rescue", || stats(&worker)["rescued"] == 1);
    assert_eq!(env.state(&id), "active");
    env.advance(31);
    loop {
        let (lease, item) = next(&worker);
        held.push(lease);
        if item["id"] == id.as_str() {
            assert!(item["secret"].is_string(), "with a token");
            break;
        }
    }
    assert!(held.iter().all(|lease| text(&lease.state().unwrap())["beats"].as_u64().unwrap() >= 1));
}
