//! HTTP: requests, responses, retries and connections.

mod body;
pub mod proxy;
pub mod request;
pub mod response;
pub mod retry;
pub mod sse;
pub mod transport;
