"""Measures the library alongside its peers: same machine, same server, same headers, in turn, medians over the rounds.

threads: GETs from many threads, each waiting for its own, alongside libcurl's easy interface.

flight: many GETs in flight from one thread, through the completion queue, alongside libcurl's multi interface, reqwest
by itself, and hyper-util's pooled client, which reqwest is made of.

cpp: what the C++ header adds. python: alongside the official client, waiting, 64 calls under asyncio, importing the
package and making a first call. go: alongside the official client and net/http. php: alongside PHP's own curl, one call
after the other, 64 in flight, loading the classes and making a first call.

All of these meet a server that sends the same answer each time (benches/peers): it is faster than they are, so that it
does not hide how they differ. They meet it over HTTPS, where each speaks what it does by default (HTTP/2, but for the
official Python client), over HTTPS with a server that knows HTTP/1.1 alone, and over plain HTTP.

streams: a session's events, 1 KB each, over one stream: a hundred thousand as fast as they are read, and then some that
come one by one, from the server's write to the program that has the event. Alongside hyper, which splits the body at
blank lines, the official clients, and what these are made of.

worker: claiming work, alongside the official poller, against the emulator (serving.py).

sessions: serving sessions whose agents call a tool that does nothing, alongside the official Python worker
(sessions.py).

toolset: grep of the toolset alongside ripgrep, over a hundred thousand files (toolset.py).

The server has one core, the client another, so that neither takes the other's time. What counts are the ratios between
neighbours in one run: absolute figures drift with the machine.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import serving
import sessions
import toolset

from support.build import BUILT, ROOT, TARGET

LIBRARY = BUILT / "release"
BENCHES = ROOT / "benches"
PEERS = TARGET / "peers" / BUILT.relative_to(TARGET) / "release"
FIGURES = {
    **{"rps": "requests/s", "cpu_us": "CPU µs/request", "p50_us": "p50 µs", "p99_us": "p99 µs", "rss_kb": "RSS KB"},
    **{"first_ms": "ms to first answer", "first_kb": "KB to first answer"},
    **{"events_s": "events/s", "cpu_event_us": "CPU µs/event"},
    **{"late_p50_us": "write to event: p50 µs", "late_p99_us": "write to event: p99 µs"},
}
#: How many events are read as fast as they come, and one by one.
EVENTS = ["100000", "1000"]
WAYS = ("HTTPS", "HTTPS with HTTP/1.1", "plain HTTP")
Command = list[str | Path]


def compile_c(source: str, peer: str) -> Command:
    program = TARGET / "benches" / f"{source}-{peer}"
    program.parent.mkdir(parents=True, exist_ok=True)
    ours = [f"-L{LIBRARY}", "-lantenv", f"-Wl,-rpath,{LIBRARY}"]
    libraries = {"antenv": ours, "antenv.hpp": ours, "libcurl": ["-DUSE_CURL", "-lcurl"]}
    language = ["c++", "-x", "c++", "-std=c++17"] if peer == "antenv.hpp" else ["cc", "-std=c11"]
    command = [*language, "-O2", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}"]
    command += [str(BENCHES / f"{source}.c"), "-o", str(program), *libraries[peer], "-pthread"]
    subprocess.run(command, check=True)
    return [program]


def build_peers() -> dict[str, Command]:
    manifest = str(BENCHES / "peers" / "Cargo.toml")
    command = [os.environ.get("CARGO", "cargo"), "build", "--release", "--locked", "--manifest-path", manifest]
    subprocess.run([*command, "--target-dir", str(TARGET / "peers")], check=True)
    return {"reqwest": [PEERS / "reqwest"], "hyper-util": [PEERS / "pooled"], "hyper": [PEERS / "stream"]}


def compile_go() -> Path:
    """Builds the program, which finds the library through the copy that the Makefile installs below target."""
    program = TARGET / "benches" / "go"
    prefix = TARGET / "prefix" / "lib"
    os.environ |= {"PKG_CONFIG_PATH": str(prefix / "pkgconfig"), "LD_LIBRARY_PATH": str(prefix)}
    subprocess.run(["go", "build", "-o", str(program), "."], check=True, cwd=BENCHES / "go")
    return program


def in_go() -> dict[str, Command]:
    program = compile_go()
    return {peer: [program, peer] for peer in ("antenv", "official", "net/http")}


def in_python(how: str) -> dict[str, Command]:
    return {peer: [sys.executable, BENCHES / "get.py", peer, how] for peer in ("antenv", "official")}


def in_php(how: str) -> dict[str, Command]:
    os.environ["ANTENV_LIBRARY"] = str(LIBRARY / "libantenv.so")
    return {peer: ["php", BENCHES / "get.php", peer, how] for peer in ("antenv", "curl")}


@contextmanager
def canned_server() -> Iterator[dict[str, str]]:
    """The server's URLs. SSL_CERT_FILE, which every peer looks at, names its CA."""
    os.environ["SSL_CERT_FILE"] = authority = str(PEERS / "ca.pem")
    with subprocess.Popen([str(PEERS / "server"), authority], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield {way: process.stdout.readline().strip() for way in WAYS}
        finally:
            process.terminate()


def serve_sessions(server_cores: list[int], client_cores: list[int], rounds: int) -> None:
    """Measures workers with one session each, and those that need no thread for each with many."""
    in_c, in_go = compile_c("session", "antenv"), compile_go()
    in_python: Command = [sys.executable, BENCHES / "session.py"]
    programs: dict[str, Command] = {
        "C": [*in_c, "next"],
        "C, queue": [*in_c, "queue"],
        "Python, threads": [*in_python, "threads"],
        "Python, asyncio": [*in_python, "asyncio"],
        "Go": [in_go, "session"],
        "official": [*in_python, "official"],
    }
    os.sched_setaffinity(0, client_cores)
    many = {"C, queue", "Python, asyncio", "Go", "official"}
    sessions.run(PEERS / "sessions", programs, many, server_cores, rounds)


def measure(command: Command) -> dict[str, float]:
    figures: dict[str, float] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each measurement lasts")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 16], help="numbers of calling threads")
    parser.add_argument("--in-flight", type=int, nargs="*", default=[1, 16, 64, 256], help="numbers of calls in flight")
    parser.add_argument(
        "--only",
        choices=["threads", "flight", "cpp", "python", "go", "php", "streams", "worker", "sessions", "toolset"],
        help="one of the measurements",
    )
    parser.add_argument("--over", choices=WAYS, nargs="*", default=WAYS, help="how the server is reached")
    parser.add_argument("--unpinned", action="store_true", help="let the system place server and client")
    options = parser.parse_args()
    cores = sorted(os.sched_getaffinity(0))
    server_cores, client_cores = (cores, cores) if options.unpinned else (cores[-1:], cores[:1])

    def wanted(part: str) -> bool:
        return options.only in (None, part)

    if wanted("toolset"):
        toolset.run(BUILT / "command" / "antenv", "rg", toolset.FILES, options.rounds)
    if wanted("worker"):
        serving.run(compile_c, max(1, options.rounds // 3))
    peers = build_peers()
    if wanted("sessions"):
        serve_sessions(server_cores, client_cores, max(1, options.rounds // 5))
    # What is compared, how many calls or threads there are, and what that is called.
    comparisons: list[tuple[dict[str, Command], list[int], str]] = []
    if wanted("threads"):
        programs = {"antenv": compile_c("get", "antenv"), "libcurl": compile_c("get", "libcurl")}
        comparisons.append((programs, options.threads, "calling threads"))
    if wanted("flight"):
        programs = {"antenv": compile_c("flight", "antenv"), "libcurl multi": compile_c("flight", "libcurl")}
        programs |= {peer: peers[peer] for peer in ("reqwest", "hyper-util")}
        comparisons.append((programs, options.in_flight, "in flight from one thread"))
    if wanted("cpp"):
        programs = {"antenv.hpp": compile_c("flight", "antenv.hpp"), "antenv.h": compile_c("flight", "antenv")}
        comparisons.append((programs, [1, 64], "from C++ and C, in flight"))
    if wanted("python"):
        comparisons.append((in_python("sync"), [1], "from Python, threads"))
        comparisons.append((in_python("async"), [64], "from Python, asyncio, in flight"))
        comparisons.append((in_python("first"), [1], "from Python, import and first call"))
    if wanted("go"):
        comparisons.append((in_go(), [1, 64, 1000], "from Go, goroutines"))
    if wanted("php"):
        comparisons.append((in_php("calls"), [1], "from PHP"))
        comparisons.append((in_php("flight"), [64], "from PHP, in flight"))
        comparisons.append((in_php("first"), [1], "from PHP, loading and first call"))
    streams: list[tuple[dict[str, Command], str]] = []
    if wanted("streams"):
        program = compile_c("stream", "antenv")
        streams.append(({"antenv": [*program, "next"], "hyper": peers["hyper"]}, "from C"))
        streams.append(({"antenv": [*program, "queue"], "hyper": peers["hyper"]}, "from C through a queue"))
        reader: Command = [sys.executable, BENCHES / "stream.py"]
        streams.append(({peer: [*reader, peer] for peer in ("antenv", "official", "httpx")}, "from Python"))
        go = compile_go()
        streams.append(({peer: [go, "stream", peer] for peer in ("antenv", "official", "net/http")}, "from Go"))
    os.sched_setaffinity(0, server_cores)  # the server inherits this
    with canned_server() as urls:
        os.sched_setaffinity(0, client_cores)

        def compare(programs: dict[str, Command], arguments: list[str], title: str, many: int) -> None:
            rounds: dict[str, list[dict[str, float]]] = {peer: [] for peer in programs}
            for _ in range(many):
                for peer, program in programs.items():
                    rounds[peer].append(measure([*program, *arguments]))
            report(f"{title}, medians of {many}", rounds)

        for programs, loads, title in comparisons:
            for way, load in itertools.product(options.over, loads):
                arguments = [urls[way], "env_bench", str(load), str(options.seconds)]
                compare(programs, arguments, f"GET an environment over {way}, {title}: {load}", options.rounds)
        for programs, title in streams:
            for way in options.over:
                # The official clients take ten seconds and more.
                many = max(1, options.rounds // 2)
                compare(programs, [urls[way], *EVENTS], f"a stream of events over {way}, {title}", many)


def report(title: str, rounds: dict[str, list[dict[str, float]]]) -> None:
    """Prints the figures of each, then antenv's divided by the others': round by round, and the median of that."""
    ours, *peers = rounds
    print(f"\n{title}\n{'':24}" + "".join(f"{peer:>15}" for peer in rounds))
    measured = {figure: name for figure, name in FIGURES.items() if figure in rounds[ours][0]}
    for figure, name in measured.items():
        medians = [statistics.median(one[figure] for one in rounds[peer]) for peer in rounds]
        print(f"{name:24}" + "".join(f"{median:15.1f}" for median in medians))
    for figure, name in measured.items():
        pairs = [zip(rounds[ours], rounds[peer], strict=True) for peer in peers]
        ratios = [statistics.median(our[figure] / their[figure] for our, their in pair) for pair in pairs]
        print(f"{f'{name}: ratio':24}{'':15}" + "".join(f"{ratio:15.3f}" for ratio in ratios), flush=True)


if __name__ == "__main__":
    main()
