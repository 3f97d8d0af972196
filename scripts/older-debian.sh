#!/usr/bin/env bash
# older-debian.sh FOLDER: an older Debian with Python and musl, for each processor that there are wheels for: FOLDER/amd64 and FOLDER/arm64. Its
# packages come from where this Debian has its own from, and are unpacked, not installed: programs are run in it by `chroot`, and by qemu. What is
# there already stays.
set -euo pipefail
folder=$1
release=bullseye

fetch() {
    apt-get -qq -o APT::Architecture="$processor" -o APT::Architectures="$processor" -o APT::Sandbox::User=root \
        -o APT::Update::Error-Mode=any -o Dir::State="$work/$processor" -o Dir::State::status="$work/status" \
        -o Dir::Cache="$work/$processor/cache" -o Dir::Etc::SourceList="$work/sources.list" -o Dir::Etc::SourceParts=- "$@"
}

cd "$(dirname "$0")/.."
scripts/need.sh apt-get dpkg-deb
chroot / true # which takes root
work=$(mktemp --directory)
trap 'rm -rf "$work"' EXIT
mirror=$(apt-get indextargets --format '$(SITE) $(CODENAME)' 'Created-By: Packages' 'Origin: Debian' | awk '$2 !~ /-/ && !seen++ { print $1 }')
[ -n "$mirror" ] || { echo "an older Debian is fetched on Debian alone"; exit 1; }
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $release main" >"$work/sources.list"
: >"$work/status" # nothing is installed: every package that Python needs is fetched
for processor in amd64 arm64; do
    [ -e "$folder/$processor" ] && continue
    echo "== fetching Debian's $release for $processor"
    mkdir -p "$work/$processor/lists/partial" "$work/$processor/cache/archives/partial"
    fetch update
    fetch install --yes --download-only --no-install-recommends python3 musl
    for package in "$work/$processor"/cache/archives/*.deb; do
        dpkg-deb --extract "$package" "$work/$processor/root"
    done
    mkdir -p "$folder"
    mv "$work/$processor/root" "$folder/$processor"
done
