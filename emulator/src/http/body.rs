//! A body that is written while it is made: piece by piece, as far as the client reads.

use std::{
    fmt,
    task::{Context, Poll},
};

use hyper::body::Bytes;
use tokio::sync::mpsc;

/// What comes next in a body.
#[derive(Debug)]
pub enum Piece {
    /// These bytes.
    Bytes(Bytes),
    /// The end of the connection (over HTTP/2: of the stream), without the end of the body.
    Cut,
}

/// The reading end of a body in the making. Its end is the body's; dropping it ends what makes it.
#[derive(Debug)]
pub struct Pieces(mpsc::Receiver<Piece>);

impl Pieces {
    /// Returns both ends of a body: no more than one piece waits between them.
    pub fn channel() -> (mpsc::Sender<Piece>, Pieces) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, Pieces(receiver))
    }

    /// Returns the next piece, or nothing at the body's end.
    pub async fn next(&mut self) -> Option<Piece> {
        self.0.recv().await
    }

    /// The same for a poll.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.0.poll_recv(context)
    }
}

/// What makes a body once its response is sent.
pub trait Source: Send {
    /// Begins to make it.
    fn start(self: Box<Self>) -> Pieces;

    /// Changes it as a fault says.
    fn spoil(&mut self, fault: crate::control::stream_fault::StreamFault);
}

/// A source in a response.
pub struct Streamed(pub Box<dyn Source>);

impl fmt::Debug for Streamed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Streamed")
    }
}
