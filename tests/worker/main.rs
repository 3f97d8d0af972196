//! Workers against the emulator, over real sockets.

mod support;

mod claiming;
