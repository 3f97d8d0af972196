//! HTTPS: what is negotiated, what has to be trusted, and where that is found.

use std::{io, path::Path, sync::Arc};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, RootCertStore,
        crypto::ring,
        pki_types::{CertificateDer, ServerName, pem::PemObject},
    },
};

use crate::support::{Emulator, Scratch, until};

/// Speaks TLS with an emulator, which must have a certificate for this name that its authority signed.
pub async fn handshake(emulator: &Emulator, name: &str, alpn: &[&str], stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let file = emulator.ca_file.as_deref().unwrap();
    handshake_trusting(file, name, alpn, stream).await
}

async fn handshake_trusting(file: &Path, name: &str, alpn: &[&str], stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(file).unwrap()).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let name = ServerName::try_from(name.to_owned()).unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn connect(emulator: &Emulator) -> TcpStream {
    TcpStream::connect(emulator.address()).await.unwrap()
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

#[test]
fn the_second_line_is_the_file_to_trust_which_is_gone_in_the_end() {
    // In memory, where the system has such files: then it is gone whatever happens.
    let kill = cfg!(target_os = "linux").then_some("-KILL");
    for end in ["-TERM", "-INT", "input closed"].into_iter().chain(kill) {
        let mut emulator = Emulator::start_with(&["--tls", "--until-stdin-closes"]);
        assert!(emulator.url.starts_with("https://127.0.0.1:"), "{}", emulator.url);
        let file = emulator.ca_file.clone().unwrap();
        let pem = std::fs::read_to_string(&file).unwrap();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----") && !pem.contains("PRIVATE"), "{pem}");
        match end {
            "input closed" => drop(emulator.take_stdin()),
            signal => emulator.signal(signal),
        }
        assert_eq!(emulator.wait().code(), (end != "-KILL").then_some(0), "{end}");
        assert_eq!(emulator.rest_of_stdout(), "");
        assert!(!file.exists() && emulator.temporary_files().is_empty(), "{end}");
    }
}

#[test]
fn a_file_that_was_named_stays_and_is_overwritten() {
    let scratch = Scratch::new("ca");
    let file = scratch.0.join("ca.pem");
    std::fs::write(&file, "of another day, and longer than what comes now\n".repeat(100)).unwrap();
    let mut emulator = Emulator::start_with(&["--tls", "--tls-ca", file.to_str().unwrap()]);
    assert_eq!(emulator.ca_file.as_deref(), Some(&*file));
    block_on(async { handshake(&emulator, "localhost", &["h2"], connect(&emulator).await).await.unwrap() });
    emulator.signal("-TERM");
    emulator.wait();
    assert!(std::fs::read_to_string(&file).unwrap().ends_with("-----END CERTIFICATE-----\n"));
}

#[test]
fn the_protocol_is_negotiated() {
    let emulator = Emulator::start_with(&["--tls"]);
    let cases: [(&[&str], Option<&str>); 4] =
        [(&["h2", "http/1.1"], Some("h2")), (&["http/1.1", "h2"], Some("h2")), (&["http/1.1"], Some("http/1.1")), (&[], None)];
    for (offered, agreed) in cases {
        block_on(async {
            let mut stream = handshake(&emulator, "localhost", offered, connect(&emulator).await).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), agreed.map(str::as_bytes));
            if agreed != Some("h2") {
                let request = "GET /_emulator/health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
                stream.write_all(request.as_bytes()).await.unwrap();
                let mut answer = String::new();
                stream.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
            }
        });
    }
}

#[test]
fn the_certificate_is_for_this_machine_and_no_other() {
    let emulator = Emulator::start_with(&["--tls"]);
    let other = Emulator::start_with(&["--tls"]);
    block_on(async {
        for name in ["localhost", "127.0.0.1", "::1"] {
            handshake(&emulator, name, &[], connect(&emulator).await).await.unwrap();
        }
        for name in ["example.com", "127.0.0.2"] {
            handshake(&emulator, name, &[], connect(&emulator).await).await.unwrap_err();
        }
        let theirs = other.ca_file.as_deref().unwrap();
        handshake_trusting(theirs, "localhost", &[], connect(&emulator).await).await.unwrap_err();
    });
}

#[test]
fn faults_write_their_bytes_over_tls_too() {
    let emulator = Emulator::start_with(&["--tls"]);
    let request = "GET /v1/environments HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer k\r\n\
                   anthropic-version: x\r\nanthropic-beta: managed-agents-2026-04-01\r\n\r\n";
    let cases = [
        (json!({"drop": true}), "", ""),
        (json!({"goaway": true}), "", ""),
        (json!({"reset_stream": "CANCEL"}), "", ""),
        (json!({"body": [1, 2, 3], "cut": 3}), "HTTP/1.1 200 OK\r\n", "\r\n\r\n[1,"),
        (json!({"close_after": true}), "HTTP/1.1 200 OK\r\n", "}"),
        (json!({"goaway": true, "when": "after"}), "HTTP/1.1 200 OK\r\n", "}"),
    ];
    for (fault, begins, ends) in cases {
        emulator.fault(fault.clone());
        block_on(async {
            let mut stream = handshake(&emulator, "localhost", &[], connect(&emulator).await).await.unwrap();
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with(begins) && answer.ends_with(ends), "{fault}: {answer}");
            assert_eq!(answer.is_empty(), begins.is_empty(), "{fault}: {answer}");
            let is_told = answer.contains("connection: close\r\n");
            assert_eq!(is_told, fault["when"] == "after", "{fault}: {answer}");
        });
    }
}

#[test]
fn a_client_that_closes_its_side_takes_no_item_with_it() {
    let emulator = Emulator::start_with(&["--tls", "--auth", "any"]);
    block_on(async {
        let mut stream = handshake(&emulator, "localhost", &[], connect(&emulator).await).await.unwrap();
        let create = r#"{"name":"n","config":{"type":"self_hosted"}}"#;
        let headers = "host: localhost\r\nauthorization: Bearer k\r\nanthropic-version: x\r\n\
                       anthropic-beta: managed-agents-2026-04-01\r\n";
        let length = create.len();
        let request = format!("POST /v1/environments HTTP/1.1\r\n{headers}content-length: {length}\r\n\r\n{create}");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = vec![0; 4096];
        let read = stream.read(&mut answer).await.unwrap();
        let answer = String::from_utf8_lossy(&answer[..read]).into_owned();
        let environment = answer.split(r#""id":""#).nth(1).unwrap().split('"').next().unwrap();
        emulator.fault(json!({"operation": "work.poll", "latency_ms": 300}));
        let poll = format!("GET /v1/environments/{environment}/work/poll HTTP/1.1\r\n{headers}\r\n");
        stream.write_all(poll.as_bytes()).await.unwrap();
        until("the poll is there", || emulator.requests().len() == 2);
        stream.shutdown().await.unwrap();
        emulator.post("/_emulator/work", json!({"environment_id": environment})).ok();
        until("the poll is over", || emulator.requests()[1]["done"] == true);
        let history = emulator.history("");
        assert_eq!(history.iter().map(|event| &event["event"]).collect::<Vec<_>>(), [&json!("queued")]);
    });
}

#[test]
fn control_is_there_without_tls_and_the_api_is_not() {
    let emulator = Emulator::start_with(&["--tls"]);
    emulator.get("/_emulator/health").ok();
    let refusal = emulator.get("/v1/environments");
    refusal.refused(400, "invalid_request_error", "");
    assert!(refusal.text().contains(&emulator.url), "{}", refusal.text());
    assert_eq!(emulator.requests().len(), 0);
}
