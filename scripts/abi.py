#!/usr/bin/env python3
"""abi.py record | check [HEADER]: writes down the binary interface, or compares it with what was written down.

The interface is what the header says: a stub is compiled from it, with debug information, for libabigail to read. (The
shipped library has none; that it exports just the header's functions is a test of its own.) The stub is C++, where the
constants belong to the type of what functions return. docs/abi-policy.md says what may change.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORDED = ROOT / "abi" / "libantenv.so.0.abi"


def describe(header: Path, folder: Path) -> Path:
    """The interface of a header, as abidw writes it."""
    text = re.sub(r"/\*.*?\*/", "", header.read_text(), flags=re.DOTALL)
    functions = re.findall(r"^(?:\w[\w ]*[ *]+)antenv_\w+\([^)]*\)(?=;)", text, re.MULTILINE)
    bodies = [f'extern "C" {one} {{ {"" if one.startswith("void ") else "return {};"} }}' for one in functions]
    stub, library, description = folder / "stub.cpp", folder / "libantenv.so.0", folder / "now.abi"
    stub.write_text("\n".join([f'#include "{header}"', *bodies]))
    soname = "-Wl,-soname,libantenv.so.0"
    # Compiled by its bare name in its folder: the description repeats it, and must not differ between machines.
    command = ["c++", "-w", "-g", "-shared", "-fPIC", soname, "-o", library.name, stub.name]
    subprocess.run(command, check=True, cwd=folder)
    with description.open("w") as out:
        command = ["abidw", "--no-corpus-path", "--no-comp-dir-path", "--no-show-locs", str(library)]
        subprocess.run(command, check=True, stdout=out)
    return description


def main() -> int:
    what, header = sys.argv[1], Path(sys.argv[2] if len(sys.argv) > 2 else ROOT / "include" / "antenv.h").resolve()
    with tempfile.TemporaryDirectory() as folder:
        now = describe(header, Path(folder))
        if what == "record":
            shutil.copy(now, RECORDED)
            return 0
        # New functions and new constants are no break; abidiff takes the latter for harmless by itself.
        return subprocess.run(["abidiff", "--no-added-syms", str(RECORDED), str(now)], check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
