#!/bin/sh
# zig.sh SUBCOMMAND ARGUMENTS...: cargo for other platforms. Debian's cargo builds the standard library from its sources, and zig, which
# comes with the C libraries of all of them, compiles C and links. musl's is shared, as in Alpine. A target, as an argument or in
# CARGO_BUILD_TARGET, may end in the oldest glibc to run on, which is for zig alone.
export CARGO=/usr/bin/cargo RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1
export CARGO_TARGET_X86_64_UNKNOWN_LINUX_MUSL_RUSTFLAGS=-Ctarget-feature=-crt-static
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_MUSL_RUSTFLAGS=-Ctarget-feature=-crt-static
target=${CARGO_BUILD_TARGET:-}
unset CARGO_BUILD_TARGET
# By it, pip hides from a build what is installed, and zig is a Python package.
unset PYTHONPATH
exec cargo-zigbuild "$@" ${target:+--target "$target"} -Zbuild-std=std,panic_unwind
