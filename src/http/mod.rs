//! HTTP: from an operation to a request, from a response to JSON or an error, what is sent again, and the connections below.

pub mod proxy;
pub mod request;
pub mod response;
pub mod retry;
pub mod transport;
