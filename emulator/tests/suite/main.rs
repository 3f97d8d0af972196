//! The emulator as its users meet it: the real program as a process, over real sockets.

mod access;
mod control;
mod environments;
mod faults;
mod history;
mod http2;
mod pages;
mod poll;
mod process;
mod requests;
mod sessions;
mod support;
mod tls;
mod web;
mod wire;
mod work;
