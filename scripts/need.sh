#!/usr/bin/env bash
# Makes sure that commands are there: installs them where that is possible (Debian, as root), else says in one line what is missing.
set -euo pipefail

package_of() {
    case $1 in
        cc) echo gcc libc6-dev ;;
        c++) echo g++ ;;
        clang) echo clang ;;
        python3 | venv) echo python3 python3-venv ;;
        node) echo nodejs ;;
        php) echo php-cli ;;
        phpcs) echo php-codesniffer ;;
        curl-config) echo libcurl4-openssl-dev ;;
        abidw) echo abigail-tools ;;
        man) echo man-db ;;
        rg) echo ripgrep ;;
        dh) echo debhelper ;;
        nlohmann) echo nlohmann-json3-dev ;;
        mono) echo mono-runtime ;;
        mcs) echo mono-mcs ;;
        platypus) echo libffi-platypus-perl ;;
        qemu-aarch64) echo qemu-user ;;
        x86_64-w64-mingw32-gcc) echo gcc-mingw-w64-x86-64-win32 ;;
        arm-libc) echo libc6-arm64-cross ;;
        x86-libc) echo libc6-i386 ;;
        musl) echo musl ;;
        std-source) echo rustc-web cargo-web rust-web-src libstd-rust-web-dev ;;
        cargo | go) echo "" ;; # Debian's are too old
        *) echo "$1" ;;
    esac
}

present() {
    case $1 in
        php-curl) php -m | grep -x curl >/dev/null ;; # an extension
        php-fpm) compgen -G '/usr/sbin/php-fpm*' >/dev/null || command -v php-fpm >/dev/null ;; # it has its version in its name
        venv) python3 -c 'import ensurepip, venv' 2>/dev/null ;; # a module, which Debian packages apart
        nlohmann) c++ -E -include nlohmann/json.hpp -x c++ /dev/null >/dev/null 2>&1 ;; # a header
        platypus) perl -MFFI::Platypus -e 1 2>/dev/null ;; # a module of Perl's
        arm-libc) [ -e /usr/aarch64-linux-gnu/lib/ld-linux-aarch64.so.1 ] ;; # of another processor
        x86-libc) [ -e /lib/ld-linux.so.2 ] ;; # of 32 bits
        musl) [ -e /lib/ld-musl-x86_64.so.1 ] ;; # alongside glibc
        std-source) [ -x /usr/bin/cargo ] && [ -d /usr/lib/rustlib/src/rust/library ] ;; # alongside rustup's compiler, which has none
        *) command -v "$1" >/dev/null ;;
    esac
}

missing=() packages=() by_hand=()
for command in "$@"; do
    present "$command" && continue
    missing+=("$command")
    package=$(package_of "$command")
    if [ -n "$package" ]; then packages+=($package); else by_hand+=("$command"); fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ ${#by_hand[@]} -gt 0 ] || [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "missing: ${missing[*]} (Rust comes from https://rustup.rs, Go from https://go.dev, the rest from your system's packages: ${packages[*]:-none})" >&2
    exit 1
fi
echo "== installing ${packages[*]}"
export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
trap 'rm -f "$log"' EXIT
if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${packages[@]}"; } >"$log" 2>&1; then
    tail -5 "$log" >&2
    echo "could not install ${packages[*]}; missing: ${missing[*]}" >&2
    exit 1
fi
