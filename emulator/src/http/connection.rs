//! One TCP connection, seen from a handler. HTTP libraries never send half a response and never fall silent; a faulty network does.
//! So the socket is shared: HTTP (and TLS) is spoken on it, and a handler may check whether the peer is still there, or request an
//! end that HTTP does not have.

use std::{
    io::{self, IoSlice},
    mem::{self, MaybeUninit},
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

/// The length of the record by which a client ends TLS 1.3 before it closes its side: an alert of two bytes, encrypted. No other
/// record of HTTP is as short.
const CLOSING_RECORD: usize = 24;

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// An orderly FIN.
    Close,
    /// A RST.
    Reset,
    /// None that the peer would notice: whatever it sends is swallowed, until it closes its side.
    Silence,
}

/// A connection as handlers see it.
#[derive(Debug)]
pub struct Connection {
    /// The number of the connection, counted from 1.
    pub number: u64,
    stream: TcpStream,
    is_tls: AtomicBool,
    wanted: Mutex<Option<(Vec<u8>, Ending)>>,
    asked: Notify,
}

impl Connection {
    /// Wraps an accepted connection.
    pub fn new(number: u64, stream: TcpStream) -> Arc<Connection> {
        Arc::new(Connection { number, stream, is_tls: AtomicBool::new(false), wanted: Mutex::default(), asked: Notify::new() })
    }

    /// Returns whether the peer has closed its side. It asks the kernel, so nothing has to be read first.
    pub fn peer_is_gone(&self) -> bool {
        match SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit(); CLOSING_RECORD + 1]) {
            Ok(length) => length == 0 || self.is_tls() && length == CLOSING_RECORD,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Returns whether TLS is spoken on this connection.
    pub fn is_tls(&self) -> bool {
        self.is_tls.load(Ordering::Relaxed)
    }

    /// Records that TLS is spoken on this connection.
    pub fn set_tls(&self) {
        self.is_tls.store(true, Ordering::Relaxed);
    }

    /// Requests the connection's end, after these bytes. It comes when the caller's future is next pending, and drops that future.
    pub fn end(&self, bytes: Vec<u8>, ending: Ending) {
        *self.wanted.lock().unwrap_or_else(PoisonError::into_inner) = Some((bytes, ending));
        self.asked.notify_one();
    }

    /// Returns once a handler has requested the connection's end.
    pub async fn end_wanted(&self) -> (Vec<u8>, Ending) {
        loop {
            self.asked.notified().await;
            if let Some(wanted) = self.wanted.lock().unwrap_or_else(PoisonError::into_inner).take() {
                return wanted;
            }
        }
    }

    /// Makes the kernel send RST instead of FIN.
    pub fn end_with_reset(&self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// Reads and forgets until the peer closes its side.
    pub async fn discard_input(&self) {
        let mut bytes = vec![0; 64 << 10];
        while self.stream.readable().await.is_ok() {
            match self.stream.try_read(&mut bytes) {
                Ok(0) => return,
                Err(error) if error.kind() != io::ErrorKind::WouldBlock => return,
                _ => {}
            }
        }
    }
}

/// The byte stream of a connection.
#[derive(Debug)]
pub struct ConnectionIo {
    connection: Arc<Connection>,
    /// What was read to find out what the peer speaks, and is to be read again.
    first: Vec<u8>,
}

impl ConnectionIo {
    /// The whole stream.
    pub fn new(connection: Arc<Connection>) -> ConnectionIo {
        ConnectionIo { connection, first: Vec::new() }
    }

    /// Reads the beginning, until it is clear whether the peer begins with these bytes, and puts it back.
    pub async fn begins_with(&mut self, expected: &[u8]) -> io::Result<bool> {
        let mut first = mem::take(&mut self.first);
        while first.len() < expected.len() && expected.starts_with(&first) {
            if self.read_buf(&mut first).await? == 0 {
                break;
            }
        }
        self.first = first;
        Ok(self.first.starts_with(expected))
    }
}

impl AsyncRead for ConnectionIo {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if !self.first.is_empty() {
            let length = self.first.len().min(buffer.remaining());
            buffer.put_slice(&self.first[..length]);
            self.first.drain(..length);
            return Poll::Ready(Ok(()));
        }
        let stream = &self.connection.stream;
        loop {
            ready!(stream.poll_read_ready(context))?;
            match stream.try_read_buf(buffer) {
                Ok(_) => return Poll::Ready(Ok(())),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Poll::Ready(Err(error)),
            }
        }
    }
}

impl AsyncWrite for ConnectionIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let stream = &self.connection.stream;
        loop {
            ready!(stream.poll_write_ready(context))?;
            match stream.try_write_vectored(slices) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(done),
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(SockRef::from(&self.connection.stream).shutdown(std::net::Shutdown::Write))
    }
}
