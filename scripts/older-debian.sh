#!/usr/bin/env bash
# older-debian.sh FOLDER: an older Debian with Python and musl, for each processor that there are wheels for: FOLDER/amd64 and FOLDER/arm64.
# Programs are run in it by `chroot`, and by qemu. What is there already stays.
set -euo pipefail
folder=$1
cd "$(dirname "$0")/.."
chroot / true # which takes root
. scripts/debian.sh
for processor in amd64 arm64; do
    [ -e "$folder/$processor" ] && continue
    echo "== fetching Debian's bullseye for $processor"
    unpack bullseye "$processor" "$work/root" python3 musl
    mkdir -p "$folder"
    mv "$work/root" "$folder/$processor"
done
