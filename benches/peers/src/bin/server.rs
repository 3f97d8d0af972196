//! Answers every GET with the same environment, as fast as one thread can: what is measured against it is the client.
//!
//! Prints its URL. Knows no pipelining, no bodies, no other methods.

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use std::io::{ErrorKind, Read, Result, Write};

const ENVIRONMENT: &str = concat!(
    r#"{"id":"env_bench","archived_at":null,"config":{"type":"cloud","networking":{"type":"limited","#,
    r#""allowed_hosts":["api.example.com","registry.example.com"],"allow_mcp_servers":true,"allow_package_managers":true},"#,
    r#""packages":{"apt":["ffmpeg","poppler-utils"],"cargo":[],"gem":[],"go":[],"npm":["typescript@5.9.3"],"#,
    r#""pip":["numpy==2.3.4","pandas==2.3.3"],"type":"packages"}},"created_at":"2026-11-01T12:00:00.000000Z","#,
    r#""description":"What each call of it gets","metadata":{"team":"platform"},"name":"bench","type":"environment","#,
    r#""updated_at":"2026-11-01T12:00:00.000000Z","scope":"organization"}"#
);

const LISTENER: Token = Token(usize::MAX);

struct Connection {
    stream: TcpStream,
    /// What has come of a request; almost always all of it at once.
    request: Vec<u8>,
}

fn main() -> Result<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nrequest-id: req_011CUUfvRjyfyT5bNs3DMKcp\r\ncontent-length: {}\r\n\
         date: Sun, 01 Nov 2026 12:00:00 GMT\r\n\r\n{ENVIRONMENT}",
        ENVIRONMENT.len()
    );
    let (_, most_files) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, most_files, most_files)?;
    let mut listener = TcpListener::bind(([127, 0, 0, 1], 0).into())?;
    println!("http://{}", listener.local_addr()?);
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    let mut connections: Vec<Option<Connection>> = Vec::new();
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((mut stream, _)) = listener.accept() {
                    stream.set_nodelay(true)?;
                    let place = connections.iter().position(Option::is_none).unwrap_or_else(|| {
                        connections.push(None);
                        connections.len() - 1
                    });
                    poll.registry().register(&mut stream, Token(place), Interest::READABLE)?;
                    connections[place] = Some(Connection { stream, request: Vec::new() });
                }
            } else if let Some(connection) = &mut connections[event.token().0]
                && connection.serve(answer.as_bytes()).is_err()
            {
                connections[event.token().0] = None;
            }
        }
    }
}

impl Connection {
    /// Reads what is there and answers if that makes a request. An error ends the connection.
    fn serve(&mut self, answer: &[u8]) -> Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let count = match self.stream.read(&mut buffer) {
                Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.request.extend_from_slice(&buffer[..count]);
            if self.request.ends_with(b"\r\n\r\n") {
                self.request.clear();
                // No client leaves so much unread that this would not fit the socket's buffer.
                self.stream.write_all(answer)?;
            }
            // Less than asked for was all there is; what comes later is a new event.
            if count < buffer.len() {
                return Ok(());
            }
        }
    }
}
