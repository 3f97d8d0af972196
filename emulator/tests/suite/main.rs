//! The emulator as its users meet it: the real program as a process, over real sockets.

mod auth;
mod browser_guard;
mod control;
mod environments;
mod events;
mod faults;
mod history;
mod http2;
mod memories;
mod pages;
mod poll;
mod process;
mod requests;
mod scripts;
mod session_client;
mod sessions;
mod skills;
mod streams;
mod support;
mod tls;
mod wire;
mod work;
