//! The C ABI: one file per noun of the header, over three small files that make the boundary safe.
//!
//! | file | holds |
//! |---|---|
//! | `boundary` | catches panics, checks and fills out-parameters, reads strings |
//! | `handle` | the tables behind the opaque handles: a handle is looked up, never dereferenced |
//! | the others | the functions, each four lines: guard, decode, call, encode |
//!
//! The header is generated from these files, in this order.

// The comments of functions are written for the C header, where brackets and addresses are plain text.
#![allow(rustdoc::broken_intra_doc_links, rustdoc::bare_urls)]
#![allow(non_camel_case_types)]

mod boundary;
mod handle;

mod version;

mod string;

mod client;

mod environments;

mod work;

mod call;

mod pager;

mod queue;

mod stream;

mod worker;

mod lease;

mod session;

mod log;

mod process;
