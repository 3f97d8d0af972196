#!/usr/bin/env bash
# musl-python.sh FOLDER: a Python for musl, for each processor that there are wheels for: FOLDER/x86_64 and FOLDER/aarch64. There is none to
# install here; this is Alpine's, out of a Python package, with the libraries that it needs. What is there already stays.
set -euo pipefail
folder=$(realpath --canonicalize-missing "$1")
cd "$(dirname "$0")/.."
. scripts/debian.sh
# What the libraries of Debian's that are taken here call of glibc.
cat >"$work/glibc.c" <<'C'
#include <stdarg.h>
#include <stdio.h>
int __vsnprintf_chk(char *to, size_t size, int flag, size_t known, const char *format, va_list values) {
    return (void)flag, (void)known, vsnprintf(to, size, format, values);
}
int __snprintf_chk(char *to, size_t size, int flag, size_t known, const char *format, ...) {
    va_list values;
    va_start(values, format);
    int length = __vsnprintf_chk(to, size, flag, known, format, values);
    va_end(values);
    return length;
}
ssize_t __getdelim(char **line, size_t *size, int end, FILE *file) { return getdelim(line, size, end, file); }
C
for processor in x86_64:amd64 aarch64:arm64; do
    machine=${processor%:*}
    [ -e "$folder/$machine" ] && continue
    echo "== fetching a Python for musl on $machine"
    mkdir -p "$work/$machine"
    python3 -m pip download --quiet --disable-pip-version-check --no-deps --only-binary :all: --implementation cp --python-version 3.13 \
        --platform "musllinux_1_2_$machine" --dest "$work/$machine" -r packaging/musl-python.txt
    for wheel in "$work/$machine"/*.whl; do
        python3 -m zipfile -e "$wheel" "$work/$machine"
    done
    unpack trixie "${processor#*:}" "$work/$machine/debian" musl libffi8 zlib1g
    mkdir "$work/$machine/python"
    tar -C "$work/$machine/python" -xf "$work/$machine"/ai/backend/krunner/alpine/*.tar.xz
    lib=$work/$machine/python/lib
    cp "$work/$machine"/debian/usr/lib/*-linux-musl/libc.so "$lib/libc.musl-$machine.so.1"
    python3 -m ziglang cc -target "$machine-linux-musl" -shared -o "$lib/libglibc.so" "$work/glibc.c"
    for library in libffi.so.8 libz.so.1; do
        cp "$work/$machine"/debian/usr/lib/*-linux-gnu/$library "$lib"
        patchelf --add-needed libglibc.so "$lib/$library"
    done
    # Their names are made for that package alone.
    crypto=("$work/$machine"/psycopg2_binary.libs/libcrypto-*)
    cp "${crypto[0]}" "$lib/libcrypto.so.3"
    cp "$work/$machine"/psycopg2_binary.libs/libssl-* "$lib/libssl.so.3"
    patchelf --replace-needed "$(basename "${crypto[0]}")" libcrypto.so.3 "$lib/libssl.so.3"
    patchelf --set-interpreter "$folder/$machine/lib/libc.musl-$machine.so.1" "$work/$machine/python/bin/python3.13"
    mkdir -p "$folder"
    mv "$work/$machine/python" "$folder/$machine"
done
