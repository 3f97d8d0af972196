"""Writes packaging/NOTICES: the licences of the crates that are compiled into library, command and emulator.

python3 scripts/notices.py [--check]

Their licences ask for a copy of their text wherever they are passed on in compiled form. Of crates that leave the
choice, the MIT licence is taken. With --check, nothing is written, and a file that is not current is an error.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FILE = ROOT / "packaging" / "NOTICES"
LICENCE = re.compile(r"(licen[sc]e|copying|notice|copyright)", re.IGNORECASE)
COPYRIGHT = re.compile(r"^\s*(?:copyright|\(c\)|©).*\d.*$|^\s*copyright \(c\) .*$", re.IGNORECASE | re.MULTILINE)
HEAD = """\
antenv is made of the crates below, besides its own code. Each is followed by the copyright lines of its licence, and
each group by the text of that licence. Rust's standard library is a part of it, too: Copyright (c) The Rust Project
Contributors, under the MIT licence or the Apache License 2.0, at your choice.
"""


def crates() -> list[dict[str, Any]]:
    """Returns the packages of others that are compiled in, on Linux; not those that only build or test."""
    command = [
        "cargo",
        "metadata",
        "--format-version",
        "1",
        "--locked",
        "--filter-platform",
        "x86_64-unknown-linux-gnu",
    ]
    data = json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)
    nodes = {node["id"]: node for node in data["resolve"]["nodes"]}
    compiled_in, left = set(), list(data["workspace_members"])
    while left:
        package = left.pop()
        if package not in compiled_in:
            compiled_in.add(package)
            normal = [one for one in nodes[package]["deps"] if any(kind["kind"] is None for kind in one["dep_kinds"])]
            left += [one["pkg"] for one in normal]
    packages = [package for package in data["packages"] if package["id"] in compiled_in and package["source"]]
    return sorted(packages, key=lambda package: (package["name"], package["version"]))


def licences(package: dict[str, Any]) -> list[str]:
    """Returns the texts of a package's licences."""
    folder = Path(package["manifest_path"]).parent
    files = sorted(file for file in folder.iterdir() if file.is_file() and LICENCE.match(file.name))
    if any("mit" in file.name.lower() for file in files):
        files = [file for file in files if "apache" not in file.name.lower()]
    return [file.read_text(errors="replace") for file in files] or [f"{package['license']}\n"]


def notices() -> str:
    """Returns the whole file."""
    groups: dict[str, tuple[str, list[str]]] = defaultdict(lambda: ("", []))
    for package in crates():
        for text in licences(package):
            holders = [" ".join(line.split()) for line in COPYRIGHT.findall(text)]
            body = re.sub(r"\n{3,}", "\n\n", COPYRIGHT.sub("", text.replace("\r\n", "\n"))).strip()
            lines = [
                f"{package['name']} {package['version']} ({package['license']})",
                *(f"    {one}" for one in holders),
            ]
            key = re.sub(r"[^a-z0-9]+", " ", body.lower())
            groups[key] = (groups[key][0] or body, groups[key][1] + lines)
    parts = [HEAD]
    for body, lines in sorted(groups.values(), key=lambda group: (-len(group[1]), group[0])):
        parts += ["=" * 78, "\n".join(lines), "-" * 78, body]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    text = notices()
    if "--check" not in sys.argv:
        FILE.write_text(text)
    elif not FILE.exists() or FILE.read_text() != text:
        sys.exit("packaging/NOTICES is not current: run `make notices`")


if __name__ == "__main__":
    main()
