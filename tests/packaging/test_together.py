"""`make test`: the script that runs the suites at the same time."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from support.build import ROOT


def together(*commands: str) -> tuple[int, str]:
    """Runs commands with the script; returns its exit status and what it says, without times."""
    command = [sys.executable, str(ROOT / "scripts" / "together.py"), *commands]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120, check=False)
    return done.returncode, re.sub(r"^== +\d+ s, ", "== ", done.stdout.decode(), flags=re.MULTILINE)


def test_commands_run_at_the_same_time_and_their_output_is_not_mixed(tmp_path: Path) -> None:
    # Either command ends only when the other one has begun, and the first when the second has said everything.
    first = f"sh -c 'echo one; until [ -e {tmp_path}/second ]; do sleep 0.01; done; echo two'"
    second = f"sh -c 'echo three; echo four >&2; touch {tmp_path}/second'"
    said = f"== {first}\none\ntwo\n== {second}\nthree\nfour\n== ok: {first}\n== ok: {second}\n"
    assert together(first, second) == (0, said)


def test_one_that_fails_fails_them_all_and_the_others_run_to_their_end() -> None:
    status, said = together("sh -c 'echo one; exit 3'", "echo two")
    assert status == 1 and "one\n" in said and "two\n" in said
    assert said.endswith("== failed, exit status 3: sh -c 'echo one; exit 3'\n== ok: echo two\n")
