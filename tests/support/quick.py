"""A build of everything for tests that look at what is built, not at how fast it is."""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.build import TARGET

# Less than Cargo.toml asks for, also of single packages: how long it takes to build is what counts here.
OPTIONS = {"LTO": "off", "CODEGEN_UNITS": "64", "DEBUG": "false"}
UNOPTIMISED = {
    f"CARGO_PROFILE_{profile}_{key}": value
    for profile in ("RELEASE", "COMMAND", "QUICK")
    for key, value in OPTIONS.items()
} | {"RUSTFLAGS": "-C opt-level=0"}


@contextmanager
def quick_build() -> Iterator[tuple[dict[str, str], Path]]:
    """Gives the environment variables for cargo, make and pip, and the folder where they then build.

    They build for a named target, which is this machine's own: cargo has another folder for it all the same. What is
    built is kept, for it takes minutes; one test at a time has it.
    """
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    (host,) = re.findall(r"^host: (.*)", version, re.MULTILINE)
    target = TARGET / "other"
    target.mkdir(parents=True, exist_ok=True)
    environment = os.environ | UNOPTIMISED | {"CARGO_BUILD_TARGET": host, "CARGO_TARGET_DIR": str(target)}
    environment.pop("MAKEFLAGS", None)
    with (target / "in-use").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield environment, target / host
