//! Both versions of HTTP over a byte stream, and what each makes of an outcome. HTTP/1.1 is hyper's. For HTTP/2 it is its lower
//! half, h2, because hyper neither reports a stream's number nor sends GOAWAY on request.

pub mod body;
pub mod connection;
pub mod count;
pub mod frames;
pub mod http1;
pub mod http2;
pub mod query;
pub mod response;
pub mod server;
pub mod tls;

/// What a client says first that speaks HTTP/2 with prior knowledge.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
