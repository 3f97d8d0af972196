//! What goes wrong with an event stream while it is open.

use hyper::body::Bytes;
use serde::{Deserialize, Serialize};

/// How a stream ends, or falls silent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Then {
    /// Half of the next frame is sent; then the connection (over HTTP/2: the stream) ends.
    Cut,
    /// The stream ends as it should.
    End,
    /// Nothing more is sent, not even pings.
    Silence,
    /// `event: error` is sent; then the stream ends.
    Error,
}

/// A fault of a stream, as the member `stream` of a fault.
#[derive(Clone, Copy, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct StreamFault {
    /// After so many events; pings do not count.
    #[serde(default)]
    pub after: u64,
    /// What happens then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub then: Option<Then>,
    /// The body is sent in pieces of 1 to so many bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pieces: Option<usize>,
    /// After so many bytes the connection (over HTTP/2: the stream) ends: a fault's own `cut`.
    #[serde(skip)]
    pub cut: Option<usize>,
}

impl StreamFault {
    /// Checks the fault; the error says what is wrong with it.
    pub fn check(&self) -> Result<(), String> {
        match self {
            StreamFault { pieces: Some(0), .. } => Err("stream.pieces: must be at least 1".to_owned()),
            StreamFault { then: None, after: 1.., .. } => Err("stream.after: needs stream.then".to_owned()),
            StreamFault { then: None, pieces: None, .. } => Err("stream: needs then or pieces".to_owned()),
            _ => Ok(()),
        }
    }

    /// Returns what happens once so many events have been sent.
    pub fn due(&self, sent: u64) -> Option<Then> {
        self.then.filter(|_| sent >= self.after)
    }

    /// Splits bytes as the fault wants it.
    pub fn split(&self, mut bytes: Bytes) -> Vec<Bytes> {
        let Some(most) = self.pieces else {
            return vec![bytes];
        };
        let mut pieces = Vec::new();
        while !bytes.is_empty() {
            pieces.push(bytes.split_to(fastrand::usize(1..=most).min(bytes.len())));
        }
        pieces
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pieces_are_never_larger_than_asked_for_and_lose_nothing() {
        let whole = Bytes::from_static(b"event: ping\ndata: {\"type\":\"ping\"}\n\n");
        for most in [1, 2, 7, 1000] {
            let pieces = StreamFault { pieces: Some(most), ..StreamFault::default() }.split(whole.clone());
            assert!(pieces.iter().all(|piece| (1..=most).contains(&piece.len())));
            assert_eq!(pieces.concat(), whole);
        }
        assert_eq!(StreamFault::default().split(whole.clone()), [whole]);
    }

    #[test]
    fn a_fault_happens_after_its_events() {
        let fault = StreamFault { after: 2, then: Some(Then::End), ..StreamFault::default() };
        assert_eq!((fault.due(1), fault.due(2), fault.due(3)), (None, Some(Then::End), Some(Then::End)));
    }
}
