#!/usr/bin/env bash
# Compiles the C examples, and one in C++, and runs them against an emulator on a free port, which it starts and stops. In the end the
# command serves a session.
set -euo pipefail
cd "$(dirname "$0")/.."

mkdir -p "$TARGET/examples"
for example in quickstart environment work many cancel stream; do
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

for example in quickstart environment; do
    echo
    echo "== $example"
    "$TARGET/examples/$example"
done

# Makes a session whose agent calls tools, in an environment of its own, and names both to the programs.
make_session() {
    read -r ANTHROPIC_ENVIRONMENT_ID ANTHROPIC_ENVIRONMENT_KEY session < <(python3 -m scripts.served_session "$ANTHROPIC_BASE_URL")
    export ANTHROPIC_ENVIRONMENT_ID ANTHROPIC_ENVIRONMENT_KEY
}

echo
echo "== work, the item of a session"
make_session
"$TARGET/examples/work"
echo
echo "== many, with a thousand calls; how often each line came"
"$TARGET/examples/many" $(printf "$ANTHROPIC_ENVIRONMENT_ID %.0s" {1..1000}) | sort | uniq -c
echo
echo "== cancel, with Ctrl-C after a second"
timeout --signal=INT --preserve-status 1 "$TARGET/examples/cancel" || echo "   exit status $?"
for stream in stream stream-cpp; do
    echo
    echo "== $stream, of a session whose agent plays a script"
    "$TARGET/examples/$stream" "$(python3 scripts/scripted_session.py "$ANTHROPIC_BASE_URL")"
done

echo
echo "== antenv worker run serves a session; antenv sessions tail shows what happens in it"
make_session
workdir=$(mktemp -d)
trap 'kill $emulator 2>/dev/null || :; rm -rf "$workdir"' EXIT
"$COMMAND" sessions tail "$session" --lines all --until-idle | python3 scripts/show_events.py &
shown=$!
"$COMMAND" worker run --drain --max-idle 0.5 \
    --workdir-root "$workdir" --tools weather --on-tool sh -c 'echo "12 degrees"'
wait "$shown"

echo
echo "== stopping the emulator"
kill "$emulator"
while kill -0 "$emulator" 2>/dev/null; do sleep 0.05; done
trap - EXIT
rm -rf "$workdir"
echo "== demo: all done"
