//! The Environments API as one native library: a Rust core and a C ABI over it.
//!
//! | to learn about | read |
//! |---|---|
//! | which operations and parameters there are | [`api::operations`], the table |
//! | how parameters are checked | [`api::params`] |
//! | how the JSON that callers give is read | [`json`] |
//! | how a call becomes an HTTP request | [`http::request`] |
//! | how a response becomes JSON or an error | [`http::response`], [`error`] |
//! | what is sent again, and when | [`http::retry`], [`backoff`] |
//! | connections, TLS, names | [`http::transport`] |
//! | which proxy leads to a host | [`http::proxy`] |
//! | configuration | [`config`] |
//! | credentials, and how they stay secret | [`credentials`] |
//! | attempts and deadlines | [`client`] |
//! | pages | [`pager`] |
//! | streams of events, and how they are decoded | [`stream`], [`http::sse`] |
//! | downloads to a file | [`download`] |
//! | many calls from one thread, cancelling | [`completion`] |
//! | claiming work and holding its lease | [`worker`] |
//! | serving a session: the calls of its agent's tools | [`session`] |
//! | the one thread behind it all, its clock | [`runtime`] |
//! | surviving `fork()` | [`runtime::fork`] |
//! | what a thread or an event loop waits on | [`runtime::wakeup`] |
//! | logs and statistics | [`telemetry`] |
//! | the C functions | `ffi`, one file per noun |
//!
//! Arrows point one way: `ffi -> session -> worker -> {pager, stream, download, completion} -> client -> {http, api, config, credentials} -> {error, json, backoff,
//! runtime, telemetry}`; the core knows nothing of C. `docs/architecture.md` draws the life of a call and of a work item.
//!
//! From Rust:
//!
//! ```no_run
//! let client = antenv::Client::new(None)?; // ANTHROPIC_API_KEY
//! let environment = client.call("environments.create", Some(r#"{"name":"tests","config":{"type":"self_hosted"}}"#))?;
//! # Ok::<(), antenv::Error>(())
//! ```

#![deny(unsafe_code)]
#![warn(missing_docs)]

pub mod api;
pub mod backoff;
pub mod client;
pub mod completion;
pub mod config;
pub mod credentials;
pub mod download;
pub mod error;
#[allow(unsafe_code)]
mod ffi;
pub mod http;
pub mod json;
pub mod pager;
pub mod runtime;
pub mod session;
pub mod stream;
pub mod telemetry;
pub mod worker;

pub use client::Client;
pub use error::{Error, Status};
pub use pager::Pager;
pub use session::Session;
pub use stream::Stream;
pub use worker::{Lease, Worker};
