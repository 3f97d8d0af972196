"""`make install`, into a scratch folder, and a program built from what it put there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from emulator import ROOT, Emulator


def test_a_program_builds_from_an_installed_copy(emulator: Emulator, tmp_path: Path) -> None:
    make = ["make", "--no-print-directory", "-C", str(ROOT), "install", "PREFIX=/opt/antenv", f"DESTDIR={tmp_path}"]
    subprocess.run(make, check=True, capture_output=True)
    prefix = tmp_path / "opt" / "antenv"
    libraries = {path.name for path in (prefix / "lib").iterdir()}
    assert {"libantenv.so", "libantenv.so.0", "libantenv.a", "pkgconfig"} <= libraries
    environment = os.environ | {"PKG_CONFIG_PATH": str(prefix / "lib" / "pkgconfig")}
    flags = subprocess.run(
        ["pkg-config", "--cflags", "--libs", "antenv"], check=True, capture_output=True, text=True, env=environment
    ).stdout.split()
    program = tmp_path / "quickstart"
    source = ROOT / "examples" / "c" / "quickstart.c"
    subprocess.run(["cc", str(source), *flags, "-o", str(program)], check=True)
    variables = {"LD_LIBRARY_PATH": str(prefix / "lib"), "ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "any"}
    done = subprocess.run([str(program)], check=True, capture_output=True, text=True, env=variables)
    assert '"name":"quick start"' in done.stdout
