#!/usr/bin/env bash
# Compiles the C examples, and one in C++, and runs them against an emulator on a free port, which it starts and stops. In the end the
# command serves a session.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p "$TARGET/examples"
for example in quickstart tour cancel many stream; do
    echo "== cc examples/c/$example.c -lantenv -pthread"
    cc -std=c11 -Wall -Wextra -Iinclude "examples/c/$example.c" -o "$TARGET/examples/$example" \
        -L"$RELEASE" -lantenv -Wl,-rpath,"$RELEASE" -pthread
done
echo "== c++ examples/cpp/stream.cpp -lantenv -pthread"
c++ -std=c++17 -Wall -Wextra -Iinclude examples/cpp/stream.cpp -o "$TARGET/examples/stream-cpp" \
    -L"$RELEASE" -lantenv -Wl,-rpath,"$RELEASE" -pthread

echo "== starting the emulator"
exec {urls}< <(exec "$EMULATOR" --port 0)
emulator=$!
trap 'kill $emulator 2>/dev/null || :' EXIT
read -r -u "$urls" ANTHROPIC_BASE_URL
export ANTHROPIC_BASE_URL ANTHROPIC_API_KEY=any-key-will-do
unset ANTHROPIC_AUTH_TOKEN ANTHROPIC_CUSTOM_HEADERS ANTHROPIC_ENVIRONMENT_KEY
echo "   $ANTHROPIC_BASE_URL"

echo
echo "== quickstart"
"$TARGET/examples/quickstart"
echo
echo "== tour"
"$TARGET/examples/tour"
echo
echo "== cancel"
"$TARGET/examples/cancel"
echo
echo "== many"
"$TARGET/examples/many" 1000
for stream in stream stream-cpp; do
    echo
    echo "== $stream, of a session whose agent plays a script"
    "$TARGET/examples/$stream" "$(python3 scripts/scripted_session.py "$ANTHROPIC_BASE_URL")"
done

echo
echo "== antenv worker run serves a session; antenv sessions tail shows what happens in it"
read -r environment key session < <(python3 -m scripts.served_session "$ANTHROPIC_BASE_URL")
workdir=$(mktemp -d)
trap 'kill $emulator 2>/dev/null || :; rm -rf "$workdir"' EXIT
"$COMMAND" sessions tail "$session" --lines all --until-idle > >(python3 scripts/show_events.py) &
tail=$!
ANTHROPIC_ENVIRONMENT_ID=$environment ANTHROPIC_ENVIRONMENT_KEY=$key "$COMMAND" worker run --drain --max-idle 0.5 \
    --workdir-root "$workdir" --tools weather --on-tool sh -c 'echo "12 degrees"'
wait "$tail"

echo
echo "== stopping the emulator"
kill "$emulator"
while kill -0 "$emulator" 2>/dev/null; do sleep 0.05; done
trap - EXIT
rm -rf "$workdir"
echo "== demo: all done"
