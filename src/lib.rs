//! The Environments API as one native library: a Rust core and a C ABI over it.
//!
//! | to learn about | read |
//! |---|---|
//! | which operations and parameters there are | [`operation`], the table |
//! | how the JSON that callers give is read | [`json`] |
//! | how a call becomes an HTTP request | [`request`] |
//! | how a response becomes JSON or an error | [`response`], [`error`] |
//! | what is retried, and when | [`retry`] |
//! | configuration and credentials | [`config`], [`credential`] |
//! | attempts and deadlines | [`client`] |
//! | connections, TLS, names; which proxy leads there | [`transport`], [`proxy`] |
//! | the one thread behind it all | [`runtime`] |
//! | walking through pages | [`pager`] |
//! | many calls from one thread, cancelling | [`queue`], [`event`] |
//! | claiming work and holding its lease | [`worker`] |
//! | surviving `fork()` | [`fork`] |
//! | what is counted and logged | [`stats`], [`log`] |
//! | the C functions | `ffi`, one file per noun |
//!
//! Arrows point one way: `ffi -> worker -> {queue, pager} -> client -> everything else`; the core knows nothing of C.
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

pub mod client;
pub mod config;
pub mod credential;
pub mod error;
pub mod event;
#[allow(unsafe_code)]
mod ffi;
pub mod fork;
pub mod json;
pub mod log;
pub mod operation;
pub mod pager;
pub mod proxy;
pub mod queue;
pub mod request;
pub mod response;
pub mod retry;
pub mod runtime;
pub mod stats;
pub mod transport;
pub mod worker;

pub use client::Client;
pub use error::{Error, Status};
pub use pager::Pager;
pub use worker::{Lease, Worker};
