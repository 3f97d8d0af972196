//! Leases that change hands, with the emulator as the server.

use super::fault_tests::{Fixture, TIMEOUT, count, wait_until};
use super::{Lease, adopt};
use crate::error::{Error, Status};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// The configuration of an adoption, from what a release returned.
fn adoption(released: &Value) -> Value {
    let mut config = released.clone();
    let object = config.as_object_mut().unwrap();
    let environment = object.remove("environment").unwrap();
    let last_heartbeat = object.remove("last_heartbeat").unwrap();
    object.insert("expected_last_heartbeat".into(), last_heartbeat);
    object.insert("environment_key".into(), environment["ANTHROPIC_ENVIRONMENT_KEY"].clone());
    config
}

fn adopt_with(fixture: &Fixture, config: &Value) -> Result<(Arc<Lease>, Value), Error> {
    let (lease, item) = adopt(&fixture.owner, Some(&config.to_string()))?;
    Ok((lease, serde_json::from_str(&item).unwrap()))
}

fn state(lease: &Lease) -> Value {
    serde_json::from_str(&lease.state().unwrap()).unwrap()
}

fn release(lease: &Lease) -> Value {
    serde_json::from_str(&lease.release().unwrap()).unwrap()
}

fn finish(lease: &Lease) -> Result<String, Error> {
    lease.finish_and_wait(lease.prepare_finish(None).unwrap())
}

#[test]
fn a_held_lease_goes_from_holder_to_holder_and_is_stopped_by_the_last() {
    let fixture = Fixture::new(300);
    let id = fixture.enqueue();
    let worker = fixture.worker(json!({}));
    let (lease, item) = worker.next(Some(TIMEOUT)).unwrap().unwrap();
    let item: Value = serde_json::from_str(&item).unwrap();
    let mut released = release(&lease);
    let variables = [
        ("ANTHROPIC_WORK_ID", &id),
        ("ANTHROPIC_ENVIRONMENT_ID", &fixture.environment),
        ("ANTHROPIC_SESSION_ID", &item["data"]["id"]),
        ("ANTHROPIC_ENVIRONMENT_KEY", &fixture.key),
        ("ANTHROPIC_WORK_SECRET", &item["secret"]),
        ("ANTHROPIC_WORK_LAST_HEARTBEAT", &released["last_heartbeat"]),
    ];
    assert_eq!(released["environment"], variables.iter().map(|(name, value)| (*name, (*value).clone())).collect::<Value>());
    assert_eq!((&released["work_id"], &released["session_id"]), (&id, &item["data"]["id"]));
    assert_eq!(lease.wait(Some(Duration::ZERO)).unwrap_err().status(), Status::Done);
    assert_eq!(lease.release().unwrap_err().status(), Status::Closed);
    wait_until("its slot is free", || count(&worker, "leases_held") == 0);
    assert_eq!((count(&worker, "released"), count(&worker, "abandoned")), (1, 0));
    for _ in 0..5 {
        let (lease, adopted) = adopt_with(&fixture, &adoption(&released)).unwrap();
        assert_eq!(
            adopted,
            json!({"id": id, "type": "work", "environment_id": fixture.environment, "secret": item["secret"],
                                   "data": {"type": "session", "id": item["data"]["id"]}})
        );
        assert_eq!((&state(&lease)["state"], &state(&lease)["beats"]), (&json!("held"), &json!(1)));
        // Whoever comes late finds it taken, and stops nothing.
        let late = adopt_with(&fixture, &adoption(&released)).err().unwrap();
        assert_eq!(late.status(), Status::LeaseLost);
        released = release(&lease);
    }
    let (lease, _) = adopt_with(&fixture, &adoption(&released)).unwrap();
    assert_eq!(fixture.state(&id), "active");
    finish(&lease).unwrap();
    assert_eq!(fixture.state(&id), "stopped");
    let stopped = adopt_with(&fixture, &adoption(&released)).err().unwrap();
    assert_eq!(stopped.status(), Status::LeaseLost);
}

#[test]
fn a_worker_that_only_claims_sends_no_heartbeat_and_the_adopter_begins_the_lease() {
    let fixture = Fixture::new(300);
    let id = fixture.enqueue();
    let worker = fixture.worker(json!({"heartbeat": false}));
    let (lease, _) = worker.next(Some(TIMEOUT)).unwrap().unwrap();
    let claimed =
        json!({"state": "claimed", "reason": null, "work_id": id, "ttl_seconds": null, "last_heartbeat": null, "beats": 0});
    assert_eq!(state(&lease), claimed);
    assert_eq!(lease.wait(Some(Duration::ZERO)).unwrap_err().status(), Status::Timeout);
    let released = release(&lease);
    assert_eq!(
        (&released["last_heartbeat"], &released["environment"]["ANTHROPIC_WORK_LAST_HEARTBEAT"]),
        (&Value::Null, &Value::Null)
    );
    assert_eq!(fixture.state(&id), "starting");
    let (lease, _) = adopt_with(&fixture, &adoption(&released)).unwrap();
    assert_eq!(fixture.state(&id), "active");
    finish(&lease).unwrap();
    assert_eq!((fixture.state(&id).as_str(), count(&worker, "claimed"), count(&worker, "rescued")), ("stopped", 1, 0));
}

#[test]
fn a_claimed_item_is_finished_given_back_or_left_in_time() {
    let fixture = Fixture::new(300);
    let worker = fixture.worker(json!({"heartbeat": false}));
    let claim = || (fixture.enqueue(), worker.next(Some(TIMEOUT)).unwrap().unwrap().0);
    let (id, lease) = claim();
    finish(&lease).unwrap();
    assert_eq!(fixture.state(&id), "stopped");
    // The heartbeat that begins a lease, which expires.
    let (id, lease) = claim();
    lease.abandon();
    wait_until("the lease that brings it back", || fixture.state(&id) == "active");
    assert_eq!(count(&worker, "abandoned"), 1);
    fixture.post("/_emulator/clock", json!({"advance_ms": 31_000}));
    let (lease, item) = worker.next(Some(TIMEOUT)).unwrap().unwrap();
    assert!(item.contains(id.as_str().unwrap()));
    finish(&lease).unwrap();
    // Not handed over in time: workers may rescue it.
    let hasty = fixture.worker(json!({"heartbeat": false, "rescue_after_ms": 400}));
    let id = fixture.enqueue();
    let (lease, _) = hasty.next(Some(TIMEOUT)).unwrap().unwrap();
    let lost: Value = serde_json::from_str(&lease.wait(Some(TIMEOUT)).unwrap()).unwrap();
    assert_eq!((&lost["state"], &lost["reason"]), (&json!("lost"), &json!("expired")));
    assert_eq!(lease.release().unwrap_err().status(), Status::LeaseLost);
    let _ = hasty.next(Some(Duration::ZERO));
    wait_until("the rescue", || fixture.state(&id) == "active");
}

#[test]
fn an_adoption_that_is_refused_or_unanswered_reports_why_and_stops_nothing() {
    let fixture = Fixture::new(300);
    let id = fixture.enqueue();
    let worker = fixture.worker(json!({}));
    let (lease, _) = worker.next(Some(TIMEOUT)).unwrap().unwrap();
    let released = adoption(&release(&lease));
    let mut wrong = released.clone();
    wrong["work_id"] = "work_other".into();
    assert_eq!(adopt_with(&fixture, &wrong).err().unwrap().status(), Status::NotFound);
    let mut stale = released.clone();
    stale["expected_last_heartbeat"] = Value::Null;
    assert_eq!(adopt_with(&fixture, &stale).err().unwrap().status(), Status::LeaseLost);
    // A failure that passes is not noticed.
    fixture.post("/_emulator/faults", json!({"operation": "work.heartbeat", "status": 503, "count": 3}));
    let (lease, _) = adopt_with(&fixture, &released).unwrap();
    let again = release(&lease);
    // The response is lost: the heartbeat was recorded, but by whom cannot be known.
    fixture.post("/_emulator/faults", json!({"operation": "work.heartbeat", "drop": true, "count": 1}));
    assert_eq!(fixture.state(&id), "active");
    let _ = adopt_with(&fixture, &adoption(&again));
    assert_eq!(fixture.state(&id), "active", "nothing is stopped");
}

#[test]
fn an_item_that_is_to_be_stopped_is_stopped_by_the_adopter_unless_another_has_it() {
    let fixture = Fixture::new(300);
    let worker = fixture.worker(json!({"concurrency": 2}));
    let stop = |id: &Value| {
        let ids = json!({"environment_id": fixture.environment, "work_id": id, "force": false}).to_string();
        fixture.owner.call("work.stop", Some(&ids)).unwrap();
        assert_eq!(fixture.state(id), "stopping");
    };
    let id = fixture.enqueue();
    let (lease, _) = worker.next(Some(TIMEOUT)).unwrap().unwrap();
    let released = release(&lease);
    stop(&id);
    assert_eq!(adopt_with(&fixture, &adoption(&released)).err().unwrap().status(), Status::LeaseLost);
    assert_eq!(fixture.state(&id), "stopped");
    let id = fixture.enqueue();
    let (lease, _) = worker.next(Some(TIMEOUT)).unwrap().unwrap();
    let released = release(&lease);
    let (lease, _) = adopt_with(&fixture, &adoption(&released)).unwrap();
    stop(&id);
    assert_eq!(adopt_with(&fixture, &adoption(&released)).err().unwrap().status(), Status::LeaseLost);
    assert_eq!(fixture.state(&id), "stopping", "it is for its holder to stop it");
    finish(&lease).unwrap();
}
