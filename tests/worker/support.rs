//! An emulator with an environment in it, and what tests ask of both.

use antenv::{Client, Error, Lease, Status, Worker};
use antenv_emulator::{Auth, Config, Emulator, Tls};
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Only a failing test waits for that long.
pub const TIMEOUT: Duration = Duration::from_secs(60);

/// A lease in seconds that is extended after half of it, and survives this process being stopped for nearly as long.
pub const SHORT: u32 = 10;

/// Requests that hang are held for a minute: what ends before half of that has not waited for them.
pub const BEFORE_WHAT_HANGS: Duration = Duration::from_secs(30);

/// An emulator with a self-hosted environment.
pub struct WorkerEnv {
    emulator: Emulator,
    /// With an API key.
    pub owner: Client,
    /// The environment.
    pub environment: String,
    /// Its key.
    pub key: String,
}

impl WorkerEnv {
    /// One that checks credentials; leases last for so many seconds.
    pub fn new(lease_ttl: u32) -> WorkerEnv {
        WorkerEnv::with(Config { port: 0, lease_ttl, ..Config::default() })
    }

    /// One that does not check credentials.
    pub fn open() -> WorkerEnv {
        WorkerEnv::with(Config { port: 0, auth: Auth::Any, ..Config::default() })
    }

    /// Over HTTPS with HTTP/2 when the environment says so: the Makefile runs these tests both ways.
    fn with(config: Config) -> WorkerEnv {
        let tls = std::env::var_os("ANTENV_TEST_TLS").map(|_| Tls::default());
        let emulator = Emulator::start(Config { tls, ..config }).unwrap();
        let owner = client(&emulator, json!({"api_key": "an-api-key"}));
        let made = owner.call("environments.create", Some(r#"{"name":"hosts","config":{"type":"self_hosted"}}"#)).unwrap();
        let environment = text(&made)["id"].as_str().unwrap().to_owned();
        let mut env = WorkerEnv { emulator, owner, environment, key: String::new() };
        let issued = env.control("POST", "environment_keys", json!({"environment_id": env.environment}));
        env.key = issued["environment_key"].as_str().unwrap().to_owned();
        env
    }

    /// Calls a control endpoint.
    pub fn control(&self, method: &str, path: &str, body: Value) -> Value {
        let params = if body.is_null() { json!({}) } else { json!({"body": body}) };
        text(&self.owner.request(method, &format!("/_emulator/{path}"), Some(&params.to_string())).unwrap())
    }

    /// Asks for faults.
    pub fn faults(&self, faults: Value) {
        self.control("POST", "faults", faults);
    }

    /// Queues an item; gives its identifier.
    pub fn enqueue(&self) -> String {
        self.enqueue_with(json!({}))
    }

    /// Queues an item that is described further.
    pub fn enqueue_with(&self, mut item: Value) -> String {
        item["environment_id"] = self.environment.clone().into();
        self.control("POST", "work", item)["id"].as_str().unwrap().to_owned()
    }

    /// The requests so far that belong to an operation; `""`: to any.
    pub fn requests(&self, operation: &str) -> Vec<Value> {
        let all = self.control("GET", "requests", Value::Null);
        let all = all["data"].as_array().unwrap().iter();
        all.filter(|request| operation.is_empty() || request["operation"] == operation).cloned().collect()
    }

    /// The operations on work in the order they were asked for, polls left out.
    pub fn steps(&self) -> Vec<String> {
        let operations = self.requests("").into_iter().filter_map(|request| request["operation"].as_str().map(str::to_owned));
        operations.filter(|name| name.starts_with("work.") && !["work.poll", "work.retrieve"].contains(&name.as_str())).collect()
    }

    /// An item as its owner sees it.
    pub fn item(&self, id: &str) -> Value {
        let params = json!({"environment_id": self.environment, "work_id": id});
        text(&self.owner.call("work.retrieve", Some(&params.to_string())).unwrap())
    }

    /// An item's state.
    pub fn state(&self, id: &str) -> String {
        self.item(id)["state"].as_str().unwrap().to_owned()
    }

    /// Asks for an item to be stopped.
    pub fn stop(&self, id: &str, force: bool) {
        let params = json!({"environment_id": self.environment, "work_id": id, "force": force});
        self.owner.call("work.stop", Some(&params.to_string())).unwrap();
    }

    /// Moves the emulator's clock.
    pub fn advance(&self, seconds: u32) {
        self.control("POST", "clock", json!({"advance_ms": u64::from(seconds) * 1000}));
    }

    /// A worker of the environment.
    pub fn worker(&self, config: Value) -> Worker {
        self.worker_of(&self.owner, config).unwrap()
    }

    /// A worker that a client is given to.
    pub fn worker_of(&self, client: &Client, mut config: Value) -> Result<Worker, Error> {
        for (name, value) in [("environment_id", &self.environment), ("environment_key", &self.key)] {
            if config.get(name).is_none() {
                config[name] = value.clone().into();
            }
        }
        Worker::new(client, Some(&config.to_string()))
    }

    /// A client of the emulator.
    pub fn client(&self, config: Value) -> Client {
        client(&self.emulator, config)
    }
}

fn client(emulator: &Emulator, mut config: Value) -> Client {
    config["base_url"] = emulator.url().into();
    if let Some(file) = emulator.ca_file() {
        config["ca_file"] = file.to_str().unwrap().into();
    }
    Client::new(Some(&config.to_string())).unwrap()
}

/// JSON as a value.
pub fn text(json: &str) -> Value {
    serde_json::from_str(json).unwrap()
}

/// The next item of a worker, which must come.
pub fn next(worker: &Worker) -> (Arc<Lease>, Value) {
    let (lease, item) = worker.next(Some(TIMEOUT)).unwrap().expect("the worker says that there is nothing more");
    (lease, text(&item))
}

/// Finishes a lease and returns the result.
pub fn finish(lease: &Lease) -> Result<Value, Error> {
    lease.finish_and_wait(lease.prepare_finish(None)?).map(|json| text(&json))
}

/// How it stands with a lease once it is no longer simply held: state and reason.
pub fn gone(lease: &Lease) -> (String, String) {
    let state = text(&lease.wait(Some(TIMEOUT)).unwrap());
    (state["state"].as_str().unwrap().to_owned(), state["reason"].as_str().unwrap().to_owned())
}

/// Nothing comes now.
pub fn nothing(worker: &Worker, timeout: Duration) {
    assert_eq!(worker.next(Some(timeout)).err().map(|error| error.status()), Some(Status::Timeout));
}

/// Waits for a condition.
pub fn until(what: &str, condition: impl Fn() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "it did not come about: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Does something for each of some cases, all at once: most of the time they wait.
pub fn each<T: Send>(cases: impl IntoIterator<Item = T>, test: impl Fn(T) + Sync) {
    std::thread::scope(|scope| {
        for case in cases {
            scope.spawn(|| test(case));
        }
    });
}

/// A worker's counts.
pub fn stats(worker: &Worker) -> Value {
    text(&worker.stats().unwrap())
}
