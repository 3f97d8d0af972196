#!/usr/bin/env bash
# go-module.sh PATH: gives the Go module another path, such as the one from which `go get` takes that of a fork. go.mod states the path;
# whatever imports or mentions it follows.
set -euo pipefail
cd "$(dirname "$0")/.."
new=${1:-}
if ! [[ $new =~ ^[a-z0-9.-]+\.[a-z0-9-]+(/[A-Za-z0-9._~-]+)+$ ]]; then
    echo "MODULE is to be the path of a module, such as github.com/you/antenv/bindings/go, not \"$new\"" >&2
    exit 1
fi
old=$(sed -n 's/^module //p' bindings/go/go.mod)
mapfile -d '' files < <(grep -rlZF --include='*.go' --include=go.mod --include='*.md' --exclude-dir=.git --exclude-dir=target "$old" .)
sed -i "s|${old//./\\.}|$new|g" "${files[@]}"
for file in "${files[@]}"; do
    case $file in *.go) gofmt -w "$file" ;; esac # imports are in the order of their paths
done
