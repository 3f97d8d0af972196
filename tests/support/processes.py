"""Processes that a program under test has started or that are left to it."""

from __future__ import annotations

import ctypes
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
#: A shell script that leaves a process in a session of its own. It waits for the file `go`; `orphan` has its number.
ORPHAN = """
setsid sh -c 'echo $$ >orphan.new; mv orphan.new orphan; while ! [ -e go ]; do sleep 0.01; done' &
while ! [ -e orphan ]; do sleep 0.01; done
"""


def become_subreaper() -> None:
    """Makes the calling process the one that orphans below it are left to, as they are to the first of a container."""
    if ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl")


def parent_of(process: int) -> int | None:
    """Returns a process's parent; None if there is no such process, not even a zombie."""
    try:
        return int(Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
