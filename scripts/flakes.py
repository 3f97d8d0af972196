"""Finds tests that fail now and then: runs a command many times with every processor busy; lists what failed how often.

python scripts/flakes.py [--times N] [--output FOLDER] COMMAND...

The command is pytest or `cargo test`, whose reports are recognised, or any other. The output of each run is kept in the
folder. The exit status is 0 if every run succeeded.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.spinning import spinning

# Lines that name a test which failed: of pytest's short summary, and of Rust's test harness.
FAILED = re.compile(
    r"^(?:(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - .*)?|test (\S+) (?:- .* )?\.\.\. FAILED)$", re.MULTILINE
)


def failures(output: str) -> set[str]:
    """Returns the names of the tests that failed, as a run reported them."""
    return {pytest or rust for pytest, rust in FAILED.findall(output)}


def run(command: list[str], times: int, folder: Path) -> Counter[str]:
    """Runs the command so many times; returns how often each test failed."""
    folder.mkdir(parents=True, exist_ok=True)
    failed: Counter[str] = Counter()
    for number in range(1, times + 1):
        log, begun = folder / f"run-{number}.log", time.monotonic()
        with log.open("w") as output:
            code = subprocess.run(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False
            ).returncode
        names = failures(log.read_text(errors="replace"))
        if code and not names:
            names = {f"the run itself, exit status {code}"}
        failed.update(names)
        outcome = ", ".join(sorted(names)) or "ok"
        print(f"run {number} of {times}, {time.monotonic() - begun:.0f} s: {outcome}", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=20, metavar="N", help="how many runs (20)")
    parser.add_argument(
        "--output", type=Path, default=Path("target/flakes"), metavar="FOLDER", help="where the output of the runs goes"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = parser.parse_args()
    if not options.command or options.times < 1:
        parser.error("give a command, and at least one run")
    with spinning(os.sched_getaffinity(0)):
        failed = run(options.command, options.times, options.output)
    for name, count in failed.most_common():
        print(f"{count:4} of {options.times}  {name}")
    print(
        f"== {len(failed)} of the tests failed at least once; the output is in {options.output}"
        if failed
        else "== no test failed"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
