"""Writes what follows from the operation table: see `make generate`.

The table comes on standard input, as JSON, from the program that is built from `scripts/operations.rs`.

python3 -m scripts.generate          writes the files
python3 -m scripts.generate --check  fails if one of them is not what would be written
"""

from __future__ import annotations

import json
import sys

from . import cpp, docs, go, php, python
from .table import Table
from .text import Files


def main() -> int:
    table = Table.of(json.load(sys.stdin))
    files = Files(check="--check" in sys.argv)
    for part in (python, go, cpp, php, docs):
        part.write(table, files)
    return int(files.stale)


if __name__ == "__main__":
    sys.exit(main())
