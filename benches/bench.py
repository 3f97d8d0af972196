"""Measures the library beside its peers: same machine, same server, same headers, in turn, medians over the rounds.

The server has one core, the client another, so that neither takes the other's time. What counts are the ratios between
neighbours in one run: absolute figures drift with the machine.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from emulator import ROOT, TARGET, Emulator

LIBRARY = TARGET / "release"
PEERS = ("antenv", "libcurl")
FIGURES = {"rps": "requests/s", "cpu_us": "CPU µs/request", "p50_us": "p50 µs", "p99_us": "p99 µs", "rss_kb": "RSS KB"}


def compile_get(peer: str) -> Path:
    program = TARGET / "benches" / f"get-{peer}"
    program.parent.mkdir(parents=True, exist_ok=True)
    libraries = {"antenv": [f"-L{LIBRARY}", "-lantenv", f"-Wl,-rpath,{LIBRARY}"], "libcurl": ["-DUSE_CURL", "-lcurl"]}
    command = ["cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror", f"-I{ROOT / 'include'}"]
    command += [str(ROOT / "benches" / "get.c"), "-o", str(program), *libraries[peer], "-pthread"]
    subprocess.run(command, check=True)
    return program


def measure(program: Path, url: str, identifier: str, threads: int, seconds: float) -> dict[str, float]:
    command = [str(program), url, identifier, str(threads), str(seconds)]
    figures: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return figures


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7, help="how often each is measured")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long each measurement lasts")
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 16], help="numbers of calling threads")
    parser.add_argument("--unpinned", action="store_true", help="let the system place server and client")
    options = parser.parse_args()
    programs = {peer: compile_get(peer) for peer in PEERS}
    cores = sorted(os.sched_getaffinity(0))
    if not options.unpinned:
        os.sched_setaffinity(0, {cores[-1]})  # the server inherits this
    with Emulator("--auth", "any", "--request-log", "0") as emulator:
        os.sched_setaffinity(0, cores if options.unpinned else {cores[0]})
        identifier = emulator.create_environment("bench")
        for threads in options.threads:
            rounds: dict[str, list[dict[str, float]]] = {peer: [] for peer in PEERS}
            for _ in range(options.rounds):
                for peer, figures in rounds.items():
                    figures.append(measure(programs[peer], emulator.url, identifier, threads, options.seconds))
            report(threads, rounds)


def report(threads: int, rounds: dict[str, list[dict[str, float]]]) -> None:
    plural = "s" if threads > 1 else ""
    print(f"\nGET an environment, {threads} calling thread{plural}, medians of {len(rounds['antenv'])}")
    print(f"{'':16}" + "".join(f"{peer:>12}" for peer in (*PEERS, "ratio")))
    for figure, title in FIGURES.items():
        ours, theirs = ([one[figure] for one in rounds[peer]] for peer in PEERS)
        ratio = statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
        print(f"{title:16}{statistics.median(ours):12.1f}{statistics.median(theirs):12.1f}{ratio:12.2f}")


if __name__ == "__main__":
    main()
