//! Workers against the emulator, over real sockets. `claiming` is about polls and acknowledgements, `holding` about leases,
//! `ending` about stopping and what is left behind, `credentials` about keys, tokens and headers.

mod support;

mod claiming;
mod credentials;
mod ending;
mod holding;
