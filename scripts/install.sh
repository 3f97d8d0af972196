#!/usr/bin/env bash
# install.sh install | uninstall: what `make install` puts where, and takes away again.
#
# From the environment: VERSION, RELEASE (where the libraries were built), EMULATOR, COMMAND; PREFIX, LIBDIR, INCLUDEDIR, BINDIR, MANDIR, DOCDIR as
# the installed files will see them; DESTDIR, which goes before each when it is written; STRIP, if another program than
# `strip` is to strip the emulator.
set -euo pipefail
cd "$(dirname "$0")/.."

abi=0                                                             # the number in the shared library's name: docs/abi-policy.md
# What rustc names for static linking (a test compares), but for the unwinder: the compiler that links adds that by itself, -lgcc_s or, with
# -static, -lgcc_eh.
private="-lutil -lrt -lpthread -lm -ldl -lc"

# Mode, source, destination. A source that ends in .in is filled in; completion:SHELL is what the command writes for that shell.
files() {
    cat <<ROWS
755 $RELEASE/libantenv.so $LIBDIR/libantenv.so.$VERSION
644 $RELEASE/libantenv.a $LIBDIR/libantenv.a
644 include/antenv.h $INCLUDEDIR/antenv.h
644 include/antenv.hpp $INCLUDEDIR/antenv.hpp
644 packaging/antenv.pc.in $LIBDIR/pkgconfig/antenv.pc
644 packaging/antenv-static.pc.in $LIBDIR/pkgconfig/antenv-static.pc
644 packaging/antenvConfig.cmake.in $LIBDIR/cmake/antenv/antenvConfig.cmake
644 packaging/antenvConfigVersion.cmake.in $LIBDIR/cmake/antenv/antenvConfigVersion.cmake
755 $COMMAND $BINDIR/antenv
644 completion:bash $PREFIX/share/bash-completion/completions/antenv
644 completion:zsh $PREFIX/share/zsh/site-functions/_antenv
644 completion:fish $PREFIX/share/fish/vendor_completions.d/antenv.fish
755 $EMULATOR $BINDIR/antenv-emulator
644 packaging/antenv.3 $MANDIR/man3/antenv.3
644 packaging/antenv.1 $MANDIR/man1/antenv.1
644 packaging/antenv-emulator.1 $MANDIR/man1/antenv-emulator.1
ROWS
    for part in include/antenv/*.hpp; do
        echo "644 $part $INCLUDEDIR/antenv/$(basename "$part")"
    done
    for part in bindings/go/go.mod bindings/go/*.go bindings/go/antenvtest/*.go; do
        [[ $part == *_test.go ]] || echo "644 $part $PREFIX/share/antenv/${part#bindings/}"
    done
    for page in README.md CHANGELOG.md LICENSE LICENSE-APACHE LICENSE-MIT packaging/NOTICES docs/*.md; do
        echo "644 $page $DOCDIR/$(basename "$page")"
    done
}

# Link, and what it points to.
links() {
    echo "$LIBDIR/libantenv.so.$abi libantenv.so.$VERSION"
    echo "$LIBDIR/libantenv.so libantenv.so.$abi"
}

# Paths in installed files are relative, so that a tree may be moved.
from() {
    realpath -m --relative-to="$1" "$2"
}

fill() {
    sed -e "s|@VERSION@|$VERSION|g; s|@ABI@|$abi|g; s|@PRIVATE@|$private|g" \
        -e "s|@PREFIX_FROM_PC@|$(from "$LIBDIR/pkgconfig" "$PREFIX")|; s|@INCLUDE@|$(from "$PREFIX" "$INCLUDEDIR")|" \
        -e "s|@INCLUDE_FROM_CMAKE@|$(from "$LIBDIR/cmake/antenv" "$INCLUDEDIR")|" "$1"
}

# A command that was built for another machine cannot be run here, and so does not complete itself there.
write_completion() {
    "$COMMAND" completions "$1" || echo "# antenv was built for another machine: run \`antenv completions $1\` there."
}

case $1 in
    install)
        files | while read -r mode source destination; do
            install -d "$(dirname "$DESTDIR$destination")"
            case $source in
                completion:*) write_completion "${source#*:}" | install -m "$mode" /dev/stdin "$DESTDIR$destination" ;;
                *.in) fill "$source" | install -m "$mode" /dev/stdin "$DESTDIR$destination" ;;
                "$EMULATOR") install -s ${STRIP:+--strip-program="$STRIP"} -m "$mode" "$source" "$DESTDIR$destination" ;; # built with symbols for its tests
                *) install -m "$mode" "$source" "$DESTDIR$destination" ;;
            esac
        done
        links | while read -r link target; do ln -sf "$target" "$DESTDIR$link"; done
        ;;
    uninstall)
        { files | cut -d' ' -f3; links | cut -d' ' -f1; } | while read -r path; do rm -f "$DESTDIR$path"; done
        go=$PREFIX/share/antenv/go
        for folder in "$LIBDIR/cmake/antenv" "$INCLUDEDIR/antenv" "$DOCDIR" "$go/antenvtest" "$go" "${go%/*}"; do
            [ ! -d "$DESTDIR$folder" ] || rmdir --ignore-fail-on-non-empty "$DESTDIR$folder"
        done
        ;;
esac
