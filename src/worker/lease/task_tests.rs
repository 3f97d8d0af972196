use super::machine::STOP_TIMEOUT;
use super::*;
use crate::worker::Worker;
use std::io::{Read, Write};
use std::net::TcpListener;

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
