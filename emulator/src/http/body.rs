//! A body that is sent while it is produced: piece by piece, no faster than the client reads.

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

/// The receiving end of a body. It ends with the body; dropping it stops the source.
#[derive(Debug)]
pub struct BodyReceiver(mpsc::Receiver<Piece>);

impl BodyReceiver {
    /// Returns both ends of a body: no more than one piece waits between them.
    pub fn channel() -> (mpsc::Sender<Piece>, BodyReceiver) {
        let (sender, receiver) = mpsc::channel(1);
        (sender, BodyReceiver(receiver))
    }

    /// Returns the next piece, or nothing at the body's end.
    pub async fn next(&mut self) -> Option<Piece> {
        self.0.recv().await
    }

    /// Polls for the next piece.
    pub fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Piece>> {
        self.0.poll_recv(context)
    }
}

/// A producer of a body, started once the head of its response is sent.
pub trait Source: Send {
    /// Starts to produce the body.
    fn start(self: Box<Self>) -> BodyReceiver;

    /// Makes the body fail as a fault says.
    fn set_fault(&mut self, fault: crate::control::stream_fault::StreamFault);
}

/// A source in a response.
pub struct StreamBody(pub Box<dyn Source>);

impl fmt::Debug for StreamBody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("StreamBody")
    }
}
