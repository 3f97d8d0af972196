//! Whoever the library speaks to: a server or a proxy on loopback that answers with the bytes it was given, and closes the connection.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// Only what the library leaves open by mistake is waited for that long.
const READ_TIMEOUT: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(50);

/// How a peer speaks.
#[derive(Clone, Copy)]
pub enum Manner {
    /// It waits for bytes before each part of its answer. The parts but the last are so long.
    Parts(&'static [usize]),
    /// It waits for an HTTP/2 request that has no body.
    Http2,
}

/// A peer.
pub struct Peer {
    port: u16,
    answer: Arc<Mutex<Vec<u8>>>,
}

impl Peer {
    /// Starts one; it lives as long as the process.
    pub fn start(manner: Manner) -> Peer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let answer = Arc::new(Mutex::new(Vec::new()));
        let shared = answer.clone();
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let answer: Vec<u8> = shared.lock().unwrap().clone();
                // Each in a thread: the library may leave one open while it opens another.
                thread::spawn(move || serve(connection, manner, &answer));
            }
        });
        Peer { port, answer }
    }

    /// What it is reached by.
    pub fn url(&self, scheme: &str) -> String {
        format!("{scheme}://127.0.0.1:{}", self.port)
    }

    /// What connections are answered with from now on.
    pub fn answer_with(&self, answer: Vec<u8>) {
        *self.answer.lock().unwrap() = answer;
    }
}

/// Errors here are the other side's doing, which is what it may do.
fn serve(mut connection: TcpStream, manner: Manner, answer: &[u8]) -> Option<()> {
    connection.set_read_timeout(Some(READ_TIMEOUT)).ok()?;
    connection.set_nodelay(true).ok()?;
    let mut buffer = [0; 65536];
    let mut read = connection.read(&mut buffer).ok()?;
    let mut rest = answer;
    match manner {
        Manner::Parts(lengths) => {
            for length in lengths {
                let (part, after) = rest.split_at(rest.len().min(*length));
                connection.write_all(part).ok()?;
                // The other side may have nothing to say, and wait for more.
                connection.set_read_timeout(Some(PAUSE)).ok()?;
                let _ = connection.read(&mut buffer);
                rest = after;
            }
        }
        Manner::Http2 => {
            // The frames of a request come with the preface, or right after it; HEADERS are the first of kind 1.
            while !buffer[..read].windows(6).any(|bytes| bytes[0] == 1 && bytes[1] & 1 == 1 && bytes[2..] == [0, 0, 0, 1]) {
                let more = connection.read(&mut buffer[read..]).ok()?;
                if more == 0 {
                    break;
                }
                read += more;
            }
        }
    }
    connection.write_all(rest).ok()?;
    connection.set_read_timeout(Some(READ_TIMEOUT)).ok()?;
    connection.shutdown(Shutdown::Write).ok()?;
    // What is still on its way is taken in, so that the answer is not lost to a reset.
    while connection.read(&mut buffer).ok()? > 0 {}
    Some(())
}
