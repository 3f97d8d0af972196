"""Finds a Java that can call native functions."""

from __future__ import annotations

import os
import re
from pathlib import Path

#: The first release with java.lang.foreign.
OLDEST = 22


def find_java() -> Path | None:
    """Returns the command `java` of the JDK in JAVA_HOME, or of one in /usr/lib/jvm; None if all are too old."""
    homes = [Path(os.environ["JAVA_HOME"])] if os.environ.get("JAVA_HOME") else []
    for home in [*homes, *sorted(Path("/usr/lib/jvm").glob("*"))]:
        release = home / "release"
        version = re.search(r'^JAVA_VERSION="(\d+)', release.read_text(), re.MULTILINE) if release.exists() else None
        # A Java without a compiler cannot run a source file.
        if version and int(version[1]) >= OLDEST and (home / "bin" / "javac").exists():
            return home / "bin" / "java"
    return None
