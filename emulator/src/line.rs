//! One TCP connection, seen from a handler. HTTP libraries never send half a reply; a faulty network does. So the socket is
//! shared: hyper speaks HTTP on it, and a handler may look whether the peer is still there, or take the line over, write
//! bytes of its own and end it.

use std::{
    io::{self, IoSlice},
    mem::MaybeUninit,
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll, ready},
    time::Duration,
};

use socket2::SockRef;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
    sync::Notify,
};

/// How a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// An orderly FIN.
    Close,
    /// A RST.
    Reset,
}

/// A connection as handlers see it.
#[derive(Debug)]
pub struct Line {
    /// The number of the connection, counted from 1.
    pub number: u64,
    stream: TcpStream,
    ended: Notify,
    taken: AtomicBool,
}

/// The service's error after a handler took the line over: there is nobody left to answer.
#[derive(Debug)]
pub struct TakenOver;

impl std::fmt::Display for TakenOver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the connection was ended on purpose")
    }
}

impl std::error::Error for TakenOver {}

impl Line {
    /// Wraps an accepted connection.
    pub fn new(number: u64, stream: TcpStream) -> Arc<Line> {
        Arc::new(Line { number, stream, ended: Notify::new(), taken: AtomicBool::new(false) })
    }

    /// Whether the peer has closed its side. Asks the kernel, so it knows before hyper has read anything.
    pub fn peer_is_gone(&self) -> bool {
        match SockRef::from(&self.stream).peek(&mut [MaybeUninit::uninit()]) {
            Ok(bytes) => bytes == 0,
            Err(error) => error.kind() != io::ErrorKind::WouldBlock,
        }
    }

    /// Writes the bytes as they are and ends the connection, past hyper.
    pub async fn take_over(&self, bytes: &[u8], ending: Ending) -> TakenOver {
        // Whatever goes wrong while writing, the connection ends.
        let _ = self.write_all(bytes).await;
        if ending == Ending::Reset {
            let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
        }
        self.taken.store(true, Ordering::SeqCst);
        self.ended.notify_one();
        TakenOver
    }

    /// Returns once a handler took the line over: the connection is to be dropped.
    pub async fn taken_over(&self) {
        while !self.taken.load(Ordering::SeqCst) {
            self.ended.notified().await;
        }
    }

    async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            self.stream.writable().await?;
            match self.stream.try_write(bytes) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(written) => bytes = &bytes[written..],
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// The byte stream that hyper reads and writes.
#[derive(Debug)]
pub struct LineIo(pub Arc<Line>);

impl AsyncRead for LineIo {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let stream = &self.0.stream;
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

impl AsyncWrite for LineIo {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(self: Pin<&mut Self>, context: &mut Context<'_>, slices: &[IoSlice<'_>]) -> Poll<io::Result<usize>> {
        let stream = &self.0.stream;
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
        Poll::Ready(SockRef::from(&self.0.stream).shutdown(std::net::Shutdown::Write))
    }
}
