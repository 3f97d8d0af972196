//! Frames of our own between those that h2 writes.

use std::{
    io::{self, IoSlice},
    mem,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

const HEAD: usize = 9;
const GOAWAY: u8 = 7;
const NO_ERROR: u32 = 0;

/// A GOAWAY with nothing wrong: streams after the last one were not processed.
pub fn goaway(last_stream: u32) -> Vec<u8> {
    [&[0, 0, 8, GOAWAY, 0, 0, 0, 0, 0], last_stream.to_be_bytes().as_slice(), &NO_ERROR.to_be_bytes()].concat()
}

/// The frames that are still to be written.
#[derive(Clone, Default)]
pub struct Inserted(Arc<Mutex<Vec<u8>>>);

impl Inserted {
    /// Adds a whole frame. It is written when the connection is next polled, or as soon as the frame under way is complete.
    pub fn push(&self, frame: &[u8]) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(frame);
    }

    fn take(&self) -> Vec<u8> {
        mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// A byte stream that knows where frames end.
pub struct Frames<IO> {
    io: IO,
    inserted: Inserted,
    /// What is left of the inserted frames that are being written.
    unwritten: Vec<u8>,
    boundary: Boundary,
}

impl<IO: AsyncWrite + Unpin> Frames<IO> {
    /// Inserts into this stream.
    pub fn new(io: IO, inserted: Inserted) -> Frames<IO> {
        Frames { io, inserted, unwritten: Vec::new(), boundary: Boundary::default() }
    }

    fn poll_insert(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.boundary.is_here() {
            self.unwritten.extend(self.inserted.take());
        }
        while !self.unwritten.is_empty() {
            match ready!(Pin::new(&mut self.io).poll_write(context, &self.unwritten))? {
                0 => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                written => drop(self.unwritten.drain(..written)),
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Frames<IO> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Frames<IO> {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.poll_write_vectored(context, &[IoSlice::new(bytes)])
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        ready!(self.poll_insert(context))?;
        let written = ready!(Pin::new(&mut self.io).poll_write_vectored(context, slices))?;
        let mut left = written;
        for slice in slices {
            let part = left.min(slice.len());
            self.boundary.pass(&slice[..part]);
            left -= part;
        }
        Poll::Ready(Ok(written))
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_insert(context))?;
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

/// Counts the bytes of frames as they pass.
#[derive(Default)]
struct Boundary {
    head: Vec<u8>,
    payload_left: usize,
}

impl Boundary {
    fn is_here(&self) -> bool {
        self.head.is_empty() && self.payload_left == 0
    }

    fn pass(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            if self.payload_left > 0 {
                let part = self.payload_left.min(bytes.len());
                self.payload_left -= part;
                bytes = &bytes[part..];
                continue;
            }
            let part = (HEAD - self.head.len()).min(bytes.len());
            self.head.extend_from_slice(&bytes[..part]);
            bytes = &bytes[part..];
            if self.head.len() == HEAD {
                self.payload_left = usize::from(self.head[0]) << 16 | usize::from(self.head[1]) << 8 | usize::from(self.head[2]);
                self.head.clear();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_boundary_is_where_a_frame_ends_however_its_bytes_are_cut() {
        let frames = [goaway(1), vec![0, 0, 0, 4, 1, 0, 0, 0, 0], [&[0, 1, 4][..], &[0; 6 + 260]].concat()].concat();
        let ends = [0, 17, 26, 26 + 9 + 260];
        for step in 1..=frames.len() {
            let mut boundary = Boundary::default();
            for (number, part) in frames.chunks(step).enumerate() {
                assert_eq!(boundary.is_here(), ends.contains(&(number * step)), "step {step}, part {number}");
                boundary.pass(part);
            }
            assert!(boundary.is_here());
        }
    }
}
