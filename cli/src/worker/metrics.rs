//! `/metrics` for Prometheus. As much HTTP as that takes: one request a connection.

use super::log;
use crate::output::Failure;
use antenv::Worker;
use std::collections::VecDeque;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener};
use std::rc::Rc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::{AbortHandle, spawn_local};
use tokio::time::sleep;

/// How many connections there are at a time. When one more comes, the oldest has to go.
const MAX_CONNECTIONS: usize = 16;
/// The maximum size of a request's head.
const MAX_REQUEST: usize = 8 << 10;
/// The pause after a connection could not be accepted: there is no room for it, which passes.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// Listens at HOST:PORT, or at :PORT of every interface.
pub fn listen(address: &str) -> Result<TcpListener, Failure> {
    let listening = match address.strip_prefix(':').map(str::parse::<u16>) {
        // Of both families, where there are both.
        Some(Ok(port)) => TcpListener::bind((Ipv6Addr::UNSPECIFIED, port)).or_else(|error| match error.kind() {
            io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => Err(error),
            _ => TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)),
        }),
        _ => TcpListener::bind(address),
    };
    let listener = listening.map_err(|error| Failure::io(address, error))?;
    listener.set_nonblocking(true).map_err(|error| Failure::io(address, error))?;
    Ok(listener)
}

/// Returns where the metrics are.
pub fn url(listener: &TcpListener) -> String {
    listener.local_addr().map_or_else(|error| error.to_string(), |address: SocketAddr| format!("http://{address}/metrics"))
}

/// Serves the worker's metrics until it is dropped.
pub async fn serve(listener: TcpListener, worker: Rc<Worker>) {
    let listener = match tokio::net::TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return log::info(None, &format!("no metrics: {error}")),
    };
    let mut connections: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            sleep(ACCEPT_PAUSE).await;
            continue;
        };
        connections.retain(|connection| !connection.is_finished());
        if connections.len() >= MAX_CONNECTIONS {
            connections.pop_front().inspect(AbortHandle::abort);
        }
        let worker = worker.clone();
        let answer = async move {
            // The visitor may have gone.
            let _ = answer(stream, &worker).await;
        };
        connections.push_back(spawn_local(answer).abort_handle());
    }
}

/// Answers one request.
async fn answer(mut stream: TcpStream, worker: &Worker) -> io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|end| end == b"\r\n\r\n") && request.len() < MAX_REQUEST {
        let mut part = [0; 1024];
        let count = stream.read(&mut part).await?;
        if count == 0 {
            return Ok(());
        }
        request.extend_from_slice(&part[..count]);
    }
    let (status, text) = match request.starts_with(b"GET /metrics ") {
        true => worker.metrics().map_or_else(|_| ("503 Service Unavailable", String::new()), |text| ("200 OK", text)),
        false => ("404 Not Found", String::new()),
    };
    let head = format!("HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\ncontent-length: {}\r\n", text.len());
    stream.write_all(format!("{head}connection: close\r\n\r\n{text}").as_bytes()).await
}
