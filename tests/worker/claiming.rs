//! Polling and acknowledging.

use crate::support::*;
use serde_json::json;

#[test]
fn an_item_is_claimed_kept_and_stopped() {
    let house = House::new(300);
    let worker = house.worker(json!({}));
    let id = house.enqueue();
    let (lease, item) = next(&worker);
    assert_eq!((item["id"].as_str(), item["state"].as_str()), (Some(id.as_str()), Some("queued")));
    assert!(item["secret"].is_string());
    assert_eq!(house.state(&id), "active");
    let state = text(&lease.state().unwrap());
    assert_eq!((&state["state"], &state["ttl_seconds"], &state["beats"]), (&json!("held"), &json!(300), &json!(1)));
    assert_eq!(finish(&lease).unwrap()["state"], "stopped");
    assert_eq!(house.steps(), ["work.ack", "work.heartbeat", "work.stop"]);
    assert_eq!(house.requests("work.stop")[0]["body"], json!({"force": true}));
    worker.stop().unwrap();
    assert!(worker.next(Some(PATIENCE)).unwrap().is_none());
    let stats = stats(&worker);
    assert_eq!((&stats["claimed"], &stats["finished"], &stats["leases_held"]), (&json!(1), &json!(1), &json!(0)));
}
