//! HTTP/2, and what goes wrong with streams and connections, with prior knowledge and over TLS.

use std::{future::poll_fn, time::Duration};

use h2::{Reason, RecvStream, client::SendRequest};
use hyper::{Request, body::Bytes};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::JoinHandle,
    time::{sleep, timeout},
};

use crate::{
    support::{BETA, Connection, Emulator, TIMEOUT, VERSION, until},
    tls,
};

/// One HTTP/2 connection.
struct Peer {
    requests: SendRequest<Bytes>,
    authority: String,
    scheme: &'static str,
    /// Ends with the connection.
    connection: JoinHandle<Result<(), h2::Error>>,
}

/// The response to a request: its status and body.
type Answered = JoinHandle<Result<(u16, Value), h2::Error>>;

impl Peer {
    async fn connect(emulator: &Emulator) -> Peer {
        let stream = TcpStream::connect(emulator.address()).await.unwrap();
        match &emulator.ca_file {
            Some(_) => {
                let stream = tls::handshake(emulator, "localhost", &["h2"], stream).await.unwrap();
                Peer::over(emulator, "https", stream).await
            }
            None => Peer::over(emulator, "http", stream).await,
        }
    }

    async fn over(emulator: &Emulator, scheme: &'static str, io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> Peer {
        let (requests, connection) = h2::client::handshake(io).await.unwrap();
        Peer { requests, authority: emulator.address().to_owned(), scheme, connection: tokio::spawn(connection) }
    }

    /// Sends a request; it is on its way when this returns.
    async fn begin(&mut self, method: &str, target: &str, body: Value) -> JoinHandle<Result<(u16, RecvStream), h2::Error>> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}://{}{target}", self.scheme, self.authority))
            .header(VERSION.0, VERSION.1)
            .header(BETA.0, BETA.1)
            .header("authorization", "Bearer k");
        poll_fn(|context| self.requests.poll_ready(context)).await.unwrap();
        let (answer, mut stream) = self.requests.send_request(request.body(()).unwrap(), body.is_null()).unwrap();
        if !body.is_null() {
            stream.send_data(body.to_string().into(), true).unwrap();
        }
        tokio::spawn(async move {
            let answer = answer.await?;
            Ok((answer.status().as_u16(), answer.into_body()))
        })
    }

    /// The same, and reads what comes.
    async fn send(&mut self, method: &str, target: &str, body: Value) -> Answered {
        let begun = self.begin(method, target, body).await;
        // Dropping the task that waits gives the request up.
        tokio::spawn(async move {
            let mut begun = AbortOnDrop(begun);
            let (status, body) = (&mut begun.0).await.unwrap()?;
            let (bytes, end) = read(body).await;
            end.map(|()| (status, serde_json::from_slice(&bytes).unwrap_or(Value::Null)))
        })
    }

    async fn call(&mut self, method: &str, target: &str, body: Value) -> Result<(u16, Value), h2::Error> {
        let answered = self.send(method, target, body).await;
        finished(answered).await
    }

    async fn create(&mut self) -> Result<(u16, Value), h2::Error> {
        self.call("POST", "/v1/environments", json!({"name": "n"})).await
    }

    /// How many environments there are.
    async fn environments(&mut self) -> usize {
        let (status, list) = self.call("GET", "/v1/environments?limit=100", Value::Null).await.unwrap();
        assert_eq!(status, 200, "{list}");
        list["data"].as_array().unwrap().len()
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What comes of a body, and how it ends.
async fn read(mut body: RecvStream) -> (Vec<u8>, Result<(), h2::Error>) {
    let mut bytes = Vec::new();
    while let Some(data) = body.data().await {
        match data {
            Ok(data) => {
                let _ = body.flow_control().release_capacity(data.len());
                bytes.extend_from_slice(&data);
            }
            Err(error) => return (bytes, Err(error)),
        }
    }
    (bytes, Ok(()))
}

async fn finished<T>(task: JoinHandle<T>) -> T {
    timeout(TIMEOUT, task).await.expect("it never ends").unwrap()
}

/// Does something with emulators that speak HTTP/2 with prior knowledge and over TLS.
fn both<F: AsyncFn(Emulator)>(options: &[&str], test: F) {
    // A thread for the connections: the test's own waits for conditions, and blocks.
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    for more in [&[][..], &["--tls"]] {
        runtime.block_on(test(Emulator::start_with(&[options, more].concat())));
    }
}

#[test]
fn requests_of_one_connection_are_served_side_by_side() {
    both(&[], async |emulator| {
        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!({"operation": "environments.list", "latency_ms": 600_000}));
        let held = peer.send("GET", "/v1/environments", Value::Null).await;
        until("it is held", || emulator.requests().len() == 1);
        let (status, made) = peer.create().await.unwrap();
        assert_eq!((status, &made["name"]), (200, &json!("n")));
        assert!(!held.is_finished());
        let log = emulator.requests();
        assert_eq!(log[0]["connection"], log[1]["connection"]);
        assert_eq!(log[1]["body"], json!({"name": "n"}));
        assert_eq!(log[1]["http"], "2");
        assert_eq!(emulator.get("/_emulator/connections").ok()["requests_open"], 1);
    });
}

#[test]
fn large_bodies_pass_in_both_directions() {
    both(&[], async |emulator| {
        let mut peer = Peer::connect(&emulator).await;
        let name = "x".repeat(5 << 20);
        let (status, made) = peer.call("POST", "/v1/environments", json!({"name": name})).await.unwrap();
        assert_eq!((status, made["name"].as_str().map(str::len)), (200, Some(name.len())));
        let too_large = peer.call("POST", "/v1/environments", json!({"name": "x".repeat(9 << 20)})).await.unwrap();
        assert_eq!(too_large.0, 413);
    });
}

#[test]
fn a_request_that_is_given_up_is_done_without_an_answer() {
    both(&[], async |emulator| {
        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!({"latency_ms": 600_000}));
        let held = peer.send("POST", "/v1/environments", json!({"name": "n"})).await;
        until("it is held", || emulator.requests().len() == 1);
        held.abort();
        let _ = held.await;
        until("it is over", || emulator.requests()[0]["done"] == true);
        assert_eq!(emulator.requests()[0]["status"], Value::Null);
        assert_eq!(peer.environments().await, 0);
    });
}

#[test]
fn canned_replies_keep_to_what_http_2_allows() {
    both(&[], async |emulator| {
        let mut peer = Peer::connect(&emulator).await;
        let headers = json!({"connection": "close", "keep-alive": "x", "upgrade": "h2c", "retry-after": 1});
        emulator
            .fault(json!([{"status": 503, "headers": headers}, {"status": 204}, {"status": 304}, {"status": 999, "body": [1]}]));
        for (status, body) in [(204, Value::Null), (304, Value::Null), (999, json!([1]))] {
            if status == 204 {
                assert_eq!(peer.create().await.unwrap().0, 503);
            }
            assert_eq!(peer.create().await.unwrap(), (status, body));
        }
        assert_eq!(peer.create().await.unwrap().0, 200);
    });
}

#[test]
fn a_refused_stream_is_not_processed_and_its_connection_goes_on() {
    both(&[], async |emulator| {
        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!({"reset_stream": "REFUSED_STREAM"}));
        let error = peer.create().await.unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error}");
        assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM));
        assert_eq!(peer.environments().await, 0);
    });
}

#[test]
fn a_stream_may_be_reset_after_its_request_was_processed() {
    both(&[], async |emulator| {
        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!({"reset_stream": "INTERNAL_ERROR", "when": "after"}));
        let error = peer.create().await.unwrap_err();
        assert!(error.is_reset() && error.is_remote(), "{error}");
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR));
        assert_eq!(peer.environments().await, 1);
    });
}

#[test]
fn goaway_says_that_its_request_was_not_processed_and_lets_earlier_ones_end() {
    both(&[], async |emulator| {
        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!([{"latency_ms": 500}, {"goaway": true}]));
        let earlier = peer.send("POST", "/v1/environments", json!({"name": "earlier"})).await;
        until("it is held", || emulator.requests().len() == 1);
        let error = peer.create().await.unwrap_err();
        assert!(error.is_go_away() && error.is_remote(), "{error}");
        assert_eq!(error.reason(), Some(Reason::NO_ERROR));
        assert_eq!(finished(earlier).await.unwrap().0, 200);
        finished(peer.connection).await.unwrap();
        assert_eq!(Peer::connect(&emulator).await.environments().await, 1);
    });
}

#[test]
fn the_first_request_of_a_connection_may_meet_goaway_and_its_end() {
    both(&[], async |emulator| {
        emulator.fault(json!({"goaway": true, "drop": true}));
        let mut peer = Peer::connect(&emulator).await;
        let error = peer.create().await.unwrap_err();
        assert!(error.is_go_away() && error.is_remote(), "{error}");
        let _ = finished(peer.connection).await;
        assert_eq!(Peer::connect(&emulator).await.environments().await, 0);
    });
}

#[test]
fn a_request_before_goaways_last_stream_is_refused_by_itself() {
    both(&[], async |emulator| {
        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!([{"latency_ms": 500, "goaway": true}]));
        let held = peer.send("POST", "/v1/environments", json!({"name": "n"})).await;
        until("it is held", || emulator.requests().len() == 1);
        assert_eq!(peer.create().await.unwrap().0, 200, "a later stream is served");
        let error = finished(held).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::REFUSED_STREAM), "{error}");
        finished(peer.connection).await.unwrap();
        assert_eq!(Peer::connect(&emulator).await.environments().await, 1);
    });
}

#[test]
fn goaway_may_follow_a_request_that_was_processed() {
    both(&[], async |emulator| {
        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!({"goaway": true, "when": "after"}));
        assert_eq!(peer.create().await.unwrap().0, 200);
        finished(peer.connection).await.unwrap();

        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!({"goaway": true, "when": "after", "drop": true}));
        let error = peer.create().await.unwrap_err();
        assert!(!error.is_reset(), "{error}");
        let _ = finished(peer.connection).await;
        assert_eq!(Peer::connect(&emulator).await.environments().await, 2);
    });
}

#[test]
fn a_line_may_end_without_an_answer() {
    for fault in ["drop", "reset", "garbage"] {
        both(&[], async |emulator| {
            let mut peer = Peer::connect(&emulator).await;
            emulator.fault(json!({fault: true}));
            let error = peer.create().await.unwrap_err();
            let is_nonsense = error.is_go_away() && error.is_library();
            assert_eq!(is_nonsense, fault == "garbage", "{fault}: {error}");
            let _ = finished(peer.connection).await;
            assert_eq!(Peer::connect(&emulator).await.environments().await, 0, "{fault}");
        });
    }
}

#[test]
fn a_line_may_end_after_an_answer_or_within_one() {
    both(&[], async |emulator| {
        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!({"close_after": true}));
        assert_eq!(peer.create().await.unwrap().0, 200);
        let _ = finished(peer.connection).await;

        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!({"cut": 5, "body": "123456789"}));
        let (status, body) = finished(peer.begin("GET", "/v1/environments", Value::Null).await).await.unwrap();
        assert_eq!(status, 200);
        let (got, end) = timeout(TIMEOUT, read(body)).await.unwrap();
        assert_eq!(got, b"12345");
        assert!(!end.unwrap_err().is_reset(), "the connection ends, not the stream");

        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!({"headers": {"content-length": 3}, "body": "123456789"}));
        peer.call("GET", "/v1/environments", Value::Null).await.unwrap_err();
        assert_eq!(Peer::connect(&emulator).await.environments().await, 1);
    });
}

#[test]
fn a_client_learns_how_many_streams_it_may_open() {
    both(&["--max-streams", "7"], async |emulator| {
        async fn allowed(emulator: &Emulator) -> usize {
            let mut peer = Peer::connect(emulator).await;
            // The settings are there before the first answer.
            peer.environments().await;
            peer.requests.current_max_send_streams()
        }
        assert_eq!(allowed(&emulator).await, 7);
        let said = emulator.post("/_emulator/connections", json!({"max_streams": 3})).ok();
        assert_eq!(said["max_streams"], 3);
        assert_eq!(allowed(&emulator).await, 3);
        emulator.poke("/_emulator/reset").ok();
        assert_eq!(allowed(&emulator).await, 7);
    });
}

/// Checks that nothing comes any more, not even the answer to a ping, and no end.
async fn is_silent(peer: &mut Peer) {
    let call = peer.send("GET", "/v1/environments", Value::Null).await;
    // Nothing is asserted about how soon something comes; here, nothing ever does.
    sleep(Duration::from_millis(300)).await;
    assert!(!call.is_finished() && !peer.connection.is_finished());
}

#[test]
fn open_connections_fall_silent_and_new_ones_work() {
    both(&[], async |emulator| {
        let mut old = Peer::connect(&emulator).await;
        old.environments().await;
        let mut plain = Connection::open(emulator.address());
        plain.call("GET", "/_emulator/health", &[], None).unwrap().ok();
        // Not even a request has come over this one.
        let fresh = Connection::open(emulator.address());
        until("all are there", || emulator.get("/_emulator/connections").ok()["open"] == 4);

        emulator.post("/_emulator/connections", json!({"silent": true})).ok();
        until("they are silent", || emulator.get("/_emulator/connections").ok()["silent"] == 3);
        is_silent(&mut old).await;
        plain.send("GET", "/_emulator/health", &[], None).unwrap();
        plain.is_silent();
        assert_eq!(Peer::connect(&emulator).await.environments().await, 0);
        assert_eq!(emulator.get("/_emulator/connections").ok()["silent"], 3);

        drop((plain, fresh));
        until("two are given up", || emulator.get("/_emulator/connections").ok()["silent"] == 1);
        old.connection.abort();
        let _ = old.connection.await;
        until("all are given up", || emulator.get("/_emulator/connections").ok()["silent"] == 0);
    });
}

#[test]
fn one_request_may_silence_its_own_connection() {
    for (when, processed) in [("before", 0), ("after", 1)] {
        both(&[], async |emulator| {
            let mut peer = Peer::connect(&emulator).await;
            let mut other = Peer::connect(&emulator).await;
            emulator.fault(json!({"operation": "environments.create", "silent": true, "when": when}));
            let call = peer.send("POST", "/v1/environments", json!({"name": "n"})).await;
            until("it is silent", || emulator.get("/_emulator/connections").ok()["silent"] == 1);
            is_silent(&mut peer).await;
            assert!(!call.is_finished());
            assert_eq!(other.environments().await, processed, "{when}");
        });
    }
}

#[test]
fn its_end_closes_silent_connections_and_lets_streams_finish() {
    both(&[], async |mut emulator| {
        let mut silent = Peer::connect(&emulator).await;
        silent.environments().await;
        emulator.post("/_emulator/connections", json!({"silent": true})).ok();
        let mut peer = Peer::connect(&emulator).await;
        emulator.fault(json!({"latency_ms": 300}));
        let held = peer.send("POST", "/v1/environments", json!({"name": "n"})).await;
        until("it is held", || emulator.requests().len() == 2);
        emulator.signal("-TERM");
        assert_eq!(finished(held).await.unwrap().0, 200);
        let _ = finished(silent.connection).await;
        assert_eq!(emulator.wait().code(), Some(0));
    });
}
