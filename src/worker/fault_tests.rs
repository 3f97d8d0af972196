//! Panics in the library itself: each is counted, and everything else continues.

use super::Worker;
use super::fault_injection::FaultPoint;
use super::metrics::RequestKind;
use crate::client::Client;
use antenv_emulator::{Config, Emulator};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(super) const TIMEOUT: Duration = Duration::from_secs(30);

pub(super) struct Fixture {
    pub(super) owner: Client,
    pub(super) environment: Value,
    pub(super) key: Value,
    _emulator: Emulator,
}

impl Fixture {
    pub(super) fn new(lease_ttl: u32) -> Fixture {
        let emulator = Emulator::start(Config { port: 0, lease_ttl, ..Default::default() }).unwrap();
        let owner = Client::new(Some(&json!({"api_key": "k", "base_url": emulator.url()}).to_string())).unwrap();
        let mut fixture = Fixture { owner, environment: Value::Null, key: Value::Null, _emulator: emulator };
        let made = fixture.post("/v1/environments", json!({"name": "n", "config": {"type": "self_hosted"}}));
        fixture.environment = made["id"].clone();
        let issued = fixture.post("/_emulator/environment_keys", json!({"environment_id": made["id"]}));
        fixture.key = issued["environment_key"].clone();
        fixture
    }

    pub(super) fn post(&self, path: &str, body: Value) -> Value {
        serde_json::from_str(&self.owner.request("POST", path, Some(&json!({"body": body}).to_string())).unwrap()).unwrap()
    }

    pub(super) fn enqueue(&self) -> Value {
        self.post("/_emulator/work", json!({"environment_id": self.environment}))["id"].clone()
    }

    pub(super) fn state(&self, id: &Value) -> String {
        let ids = json!({"environment_id": self.environment, "work_id": id}).to_string();
        let item: Value = serde_json::from_str(&self.owner.call("work.retrieve", Some(&ids)).unwrap()).unwrap();
        item["state"].as_str().unwrap().to_owned()
    }

    pub(super) fn worker(&self, mut config: Value) -> Worker {
        (config["environment_id"], config["environment_key"]) = (self.environment.clone(), self.key.clone());
        Worker::new(&self.owner, Some(&config.to_string())).unwrap()
    }
}

fn order_panics(worker: &Worker, points: &[FaultPoint]) {
    worker.shared().unwrap().faults.order(points);
}

pub(super) fn count(worker: &Worker, what: &str) -> u64 {
    let stats: Value = serde_json::from_str(&worker.stats().unwrap()).unwrap();
    stats[what].as_u64().unwrap()
}

pub(super) fn wait_until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn serve(worker: &Worker) -> String {
    let (lease, item) = worker.next(Some(TIMEOUT)).unwrap().unwrap();
    lease.finish_and_wait(lease.prepare_finish(None).unwrap()).unwrap();
    item
}

#[test]
fn a_worker_continues_to_poll_whatever_panics() {
    for point in [FaultPoint::Request(RequestKind::Poll), FaultPoint::PollTask, FaultPoint::Supervisor] {
        let fixture = Fixture::new(300);
        // Without a scan for orphans nothing else would wake the supervisor.
        let worker = fixture.worker(json!({"rescue_after_ms": 0}));
        order_panics(&worker, &[point]);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| serve(&worker));
            wait_until("the panic", || count(&worker, "faults") == 1);
            fixture.enqueue();
            waiting.join().unwrap();
        });
    }
}

#[test]
fn an_item_is_claimed_kept_and_finished_whatever_request_panics() {
    let fixture = Fixture::new(2);
    let worker = fixture.worker(json!({}));
    let id = fixture.enqueue();
    order_panics(&worker, &[RequestKind::Ack, RequestKind::Heartbeat, RequestKind::Stop].map(FaultPoint::Request));
    let (lease, _) = worker.next(Some(TIMEOUT)).unwrap().unwrap();
    order_panics(&worker, &[FaultPoint::Request(RequestKind::Heartbeat)]);
    wait_until("the heartbeat that panics", || count(&worker, "faults") == 3);
    let state: Value = serde_json::from_str(&lease.state().unwrap()).unwrap();
    assert_eq!(state["state"], "held");
    lease.finish_and_wait(lease.prepare_finish(None).unwrap()).unwrap();
    assert_eq!((fixture.state(&id).as_str(), count(&worker, "faults"), count(&worker, "finished")), ("stopped", 4, 1));
}

#[test]
fn leases_outlive_a_panic_of_the_supervisor() {
    let fixture = Fixture::new(300);
    let worker = fixture.worker(json!({}));
    fixture.enqueue();
    let (lease, _) = worker.next(Some(TIMEOUT)).unwrap().unwrap();
    order_panics(&worker, &[FaultPoint::Supervisor]);
    let _ = worker.next(Some(Duration::ZERO));
    wait_until("the panic", || count(&worker, "faults") == 1);
    lease.finish_and_wait(lease.prepare_finish(None).unwrap()).unwrap();
    fixture.enqueue();
    serve(&worker);
}

#[test]
fn an_item_whose_task_panics_returns_to_the_work_queue_and_no_other_item_suffers() {
    let fixture = Fixture::new(300);
    let faulty = fixture.enqueue();
    let worker = fixture.worker(json!({}));
    order_panics(&worker, &[FaultPoint::LeaseTask]);
    fixture.enqueue();
    assert!(!serve(&worker).contains(faulty.as_str().unwrap()));
    // It gets the one heartbeat that starts a lease, which expires.
    wait_until("the lease that brings it back", || fixture.state(&faulty) == "active");
    fixture.post("/_emulator/clock", json!({"advance_ms": 31_000}));
    assert!(serve(&worker).contains(faulty.as_str().unwrap()));
    assert_eq!((count(&worker, "faults"), count(&worker, "finished")), (1, 2));
}

#[test]
fn items_are_rescued_after_scans_that_panicked() {
    let fixture = Fixture::new(300);
    let id = fixture.enqueue();
    let key = json!({"environment_key": fixture.key}).to_string();
    let other_worker = fixture.owner.derive(Some(&key)).unwrap();
    let ids = json!({"environment_id": fixture.environment, "work_id": id}).to_string();
    other_worker.call("work.poll", Some(&json!({"environment_id": fixture.environment}).to_string())).unwrap();
    other_worker.call("work.ack", Some(&ids)).unwrap();
    let worker = fixture.worker(json!({"rescue_after_ms": 100}));
    order_panics(&worker, &[FaultPoint::Request(RequestKind::Rescue); 2]);
    let _ = worker.next(Some(Duration::ZERO));
    wait_until("the rescue", || count(&worker, "rescued") == 1);
    let stats: Value = serde_json::from_str(&worker.stats().unwrap()).unwrap();
    assert_eq!((&stats["faults"], &stats["failures"]["rescue"]), (&json!(2), &json!({"internal": 2})));
    assert_eq!((&stats["failures"]["poll"], &stats["failures"]["heartbeat"]), (&json!({}), &json!({})));
}

#[test]
fn a_scan_that_takes_longer_than_its_interval_does_not_keep_the_worker_busy() {
    let fixture = Fixture::new(300);
    fixture.post("/_emulator/faults", json!({"operation": "work.list", "latency_ms": 5_000, "count": 10}));
    let worker = fixture.worker(json!({"rescue_after_ms": 1}));
    let rounds = || worker.shared().unwrap().faults.passes(FaultPoint::Supervisor);
    let _ = worker.next(Some(Duration::from_millis(1_500)));
    let after = rounds();
    assert!(after < 1_000, "{after} rounds");
}
