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
from collections.abc import Callable
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
#: How many files are searched.
FILES = 100_000
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


def seconds(way: Callable[[], object]) -> float:
    """Returns how long a way takes."""
    begun = time.perf_counter()
    way()
    return time.perf_counter() - begun


def run(command: str | Path, rg: str, files: int, rounds: int) -> None:
    """Measures both, and prints a line for each pattern: medians, and the median of the rounds' ratios."""
    with tempfile.TemporaryDirectory() as top:
        make_tree(Path(top), files)
        with Toolset(Path(top), executable=str(command), patience=3600) as toolset:
            print(f"\ngrep over {files} files, medians of {rounds}", flush=True)
            for name, pattern in PATTERNS.items():
                peer = [rg, "--no-config", "-n", "--no-heading", "-e", pattern, "--", "."]

                def ripgrep(peer: list[str] = peer) -> list[str]:
                    done = subprocess.run(peer, cwd=top, capture_output=True, text=True, check=False)
                    return sorted(line.removeprefix("./") for line in done.stdout.splitlines())

                def grep(pattern: str = pattern) -> list[str]:
                    text = toolset.call("grep", pattern=pattern)
                    return [] if text == "no matches" else text.splitlines()

                assert grep() == ripgrep()  # also fills the system's caches
                pairs = [(seconds(grep), seconds(ripgrep)) for _ in range(rounds)]
                mine, other = (statistics.median(each) * 1e3 for each in zip(*pairs, strict=True))
                ratio = statistics.median(our / their for our, their in pairs)
                print(f"{name:16} toolset {mine:.0f} ms, ripgrep {other:.0f} ms, ratio {ratio:.2f}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=FILES)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--rg", default="rg", help="ripgrep")
    parser.add_argument("--command", default=COMMAND, help="the command antenv; best of the profile `command`")
    options = parser.parse_args()
    run(options.command, options.rg, options.files, options.rounds)


if __name__ == "__main__":
    main()
