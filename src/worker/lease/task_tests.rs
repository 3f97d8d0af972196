use super::machine::STOP_TIMEOUT;
use super::*;
use crate::worker::Worker;
use std::io::{Read, Write};
use std::net::TcpListener;

#[test]
fn the_response_to_a_heartbeat_is_read_leniently_but_not_blindly() {
    let good = |last: &str, extended, state: &str, ttl| {
        Some(HeartbeatResult::Accepted {
            last_heartbeat: last.into(),
            extended,
            state: state.into(),
            ttl: Duration::from_secs(ttl),
        })
    };
    for (json, outcome) in [
        (
            r#"{"type":"work_heartbeat","last_heartbeat":"t","lease_extended":true,"state":"active","ttl_seconds":300}"#,
            good("t", true, "active", 300),
        ),
        (r#"{"last_heartbeat":"","lease_extended":false,"state":"novel","more":[1]}"#, good("", false, "novel", 0)),
        (r#"{"last_heartbeat":"t","ttl_seconds":-5}"#, good("t", true, "", 0)),
        (r#"{"lease_extended":true}"#, None),
        (r#"{"last_heartbeat":7}"#, None),
        (r#"{"last_heartbeat":"t","ttl_seconds":"300"}"#, None),
        ("null", None),
        ("\"text\"", None),
    ] {
        assert_eq!(read_heartbeat(json), outcome, "{json}");
    }
}

#[test]
fn the_current_state_of_a_refusal_is_read() {
    for (details, current) in [
        (
            r#"{"error_code":"c","current_state":{"state":"active","last_heartbeat":"t"}}"#,
            Some(("active".into(), Some("t".into()))),
        ),
        (r#"{"current_state":{"state":"queued","last_heartbeat":null}}"#, Some(("queued".into(), None))),
        (r#"{"current_state":{}}"#, Some((String::new(), None))),
        (r#"{"current_state":null}"#, None),
        ("[]", None),
    ] {
        assert_eq!(read_current(details), current, "{details}");
    }
}

#[test]
fn a_stop_that_the_server_postpones_beyond_its_deadline_is_given_up() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let config = json!({"api_key": "k", "base_url": format!("http://{}", listener.local_addr().unwrap())});
    let client = Client::new(Some(&config.to_string())).unwrap();
    let worker = Worker::new(&client, Some(r#"{"environment_id":"env_1","environment_key":"k"}"#)).unwrap();
    let server = std::thread::spawn(move || {
        let mut connection = listener.accept().unwrap().0;
        let mut request = Vec::new();
        while !request.ends_with(b"}") {
            let mut byte = [0];
            connection.read_exact(&mut byte).unwrap();
            request.push(byte[0]);
        }
        connection.write_all(b"HTTP/1.1 503 Busy\r\nretry-after: 86400\r\ncontent-length: 0\r\n\r\n").unwrap();
    });
    let stop = async { tokio::time::timeout(STOP_TIMEOUT / 2, stop_unheld(worker.shared().unwrap(), &client, "work_1")).await };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(stop).expect("it is given up at once");
    server.join().unwrap();
}
