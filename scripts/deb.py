#!/usr/bin/env python3
"""Makes Debian packages of what `make build` built: deb.py FOLDER.

packaging/debian says what goes into which. The version, the changelog and the copyright are added here, from where the
project states them, and debhelper does the rest. From the environment: what scripts/install.sh takes about the build
(VERSION, RELEASE, EMULATOR, COMMAND); DEBFULLNAME and DEBEMAIL, who makes the packages; SOURCE_DATE_EPOCH, the time of
what is in them, by default that of the last commit.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import textwrap
from email.utils import formatdate
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WIDTH = 78
PACKAGES = ("libantenv0", "libantenv-dev", "antenv-tools")
EXAMPLES = ("antenv-worker.service", "worker-run.conf")


def changelog(text: str, version: str, maintainer: str, time: int) -> str:
    """Returns the entries of the newest section of CHANGELOG.md as an entry of a Debian changelog."""
    section = re.split(r"^## .*$", text, flags=re.MULTILINE)[1]
    entries = [" ".join(entry.split()) for entry in re.split(r"^- ", section, flags=re.MULTILINE)[1:]]
    # Of Markdown, code and links.
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", entry).replace("`", "") for entry in entries]
    wrapper = textwrap.TextWrapper(WIDTH, initial_indent="  * ", subsequent_indent="    ", break_on_hyphens=False)
    body = "\n".join(map(wrapper.fill, plain))
    return f"antenv ({version}) unstable; urgency=medium\n\n{body}\n\n -- {maintainer}  {formatdate(time)}\n"


def copyright_file(mit: str) -> str:
    """Returns debian/copyright: the licence that is short as it is, and where Debian has the other."""
    (holder,) = re.findall(r"^Copyright \(c\) (.*)$", mit, re.MULTILINE)
    body = mit.split(holder, 1)[1].strip()
    paragraphs = "\n".join(f" {line}" if line.strip() else " ." for line in body.splitlines())
    return f"""\
Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: antenv

Files: *
Copyright: {holder}
License: Expat or Apache-2.0

License: Expat
{paragraphs}

License: Apache-2.0
 On Debian systems, the Apache License, Version 2.0, is in the file
 /usr/share/common-licenses/Apache-2.0.
"""


def time_of_the_source() -> int:
    """Returns the time that the files in the packages have, which is the same for each build."""
    given = os.environ.get("SOURCE_DATE_EPOCH")
    command = ["git", "log", "-1", "--format=%ct"]
    return int(given or subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    folder, version = Path(sys.argv[1]).resolve(), os.environ["VERSION"]
    author = os.environ.get("DEBFULLNAME", "The antenv authors")
    maintainer = f"{author} <{os.environ.get('DEBEMAIL', 'packages@antenv.invalid')}>"
    time = time_of_the_source()

    build = folder / "build"
    shutil.rmtree(folder, ignore_errors=True)
    debian = shutil.copytree(ROOT / "packaging" / "debian", build / "debian")
    for file in (debian / "control", debian / "libantenv0.symbols"):
        file.write_text(file.read_text().replace("@MAINTAINER@", maintainer).replace("@VERSION@", version))
    written = changelog((ROOT / "CHANGELOG.md").read_text(), version, maintainer, time)
    (debian / "changelog").write_text(written)
    (debian / "copyright").write_text(copyright_file((ROOT / "LICENSE-MIT").read_text()))
    shutil.copy(ROOT / "packaging" / "NOTICES", debian)
    for name in PACKAGES:
        (debian / f"{name}.docs").write_text("debian/NOTICES\n")
    for example in EXAMPLES:
        text = (ROOT / "examples" / "deploy" / example).read_text()
        (debian / example).write_text(text.replace("/usr/local/bin/antenv ", "/usr/bin/antenv "))

    environment = os.environ | {"SOURCE": str(ROOT), "SOURCE_DATE_EPOCH": str(time)}
    # Not those of a `make` around this, nor its options.
    for variable in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        environment.pop(variable, None)
    subprocess.run(["debian/rules", "binary"], cwd=build, env=environment, check=True)
    shutil.rmtree(build)
    for package in sorted(folder.glob("*.deb")):
        print(package)


if __name__ == "__main__":
    main()
