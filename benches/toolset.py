"""Measures grep of the toolset alongside ripgrep: the same files, the same patterns, in turn, medians over the rounds.

The helper runs already, confined as it is by default; ripgrep is a process of its own each time, as an agent's worker
would start it. Both write `path:line:text`, and both find the same lines.
"""

from __future__ import annotations

import argparse
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.command import COMMAND
from support.toolset import Toolset

WORDS = [
    "let",
    "mut",
    "value",
    "=",
    "self.next(index)?;",
    "//",
    "of",
    "the",
    "list,",
    "return",
    "Err(problem)",
    "match",
]
PATTERNS = {"rare": "needle_[0-9]+", "none": "nowhere to be found", "common prefix": r"\bvalue_needle\b|needle_0+1"}


def make_tree(top: Path, files: int) -> None:
    """Writes small source files, a hundred in a folder; every thousandth has a line to be found."""
    chance = random.Random(7)
    for number in range(files):
        if number % 100 == 0:
            folder = top / f"{number // 10000:03}" / f"{number // 100:05}"
            folder.mkdir(parents=True)
        lines = [" ".join(chance.choices(WORDS, k=8)) for _ in range(chance.randrange(5, 60))]
        if number % 1000 == 0:
            lines[2] = f"needle_{number}"
        (folder / f"{number:06}.rs").write_text("\n".join(lines) + "\n")


def seconds(rounds: int, *ways: object) -> list[float]:
    """Runs the ways in turn; returns the median time of each."""
    times: list[list[float]] = [[] for _ in ways]
    for _ in range(rounds):
        for way, taken in zip(ways, times, strict=True):
            assert callable(way)
            begun = time.perf_counter()
            way()
            taken.append(time.perf_counter() - begun)
    return [statistics.median(each) for each in times]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rg", default="rg", help="ripgrep")
    parser.add_argument("--command", default=COMMAND, help="the command antenv; best of the profile `command`")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as top:
        make_tree(Path(top), options.files)
        with Toolset(Path(top), executable=options.command, patience=3600) as toolset:
            for name, pattern in PATTERNS.items():
                rg = [options.rg, "--no-config", "-n", "--no-heading", "-e", pattern, "--", "."]

                def peer(command: list[str] = rg) -> list[str]:
                    done = subprocess.run(command, cwd=top, capture_output=True, text=True, check=False)
                    return sorted(line.removeprefix("./") for line in done.stdout.splitlines())

                def ours(pattern: str = pattern) -> list[str]:
                    text = toolset.call("grep", pattern=pattern)
                    return [] if text == "no matches" else text.splitlines()

                assert ours() == peer()
                mine, other = seconds(options.rounds, ours, peer)
                print(f"{name}: toolset {mine * 1e3:.0f} ms, ripgrep {other * 1e3:.0f} ms, ratio {mine / other:.2f}")


if __name__ == "__main__":
    main()
