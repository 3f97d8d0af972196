"""Decides how names resolve in a program, and whether threads can be made; counts look-ups (resolver.c)."""

from __future__ import annotations

import subprocess
from pathlib import Path

from support.build import ROOT, TARGET, once_in_a_run


class Resolver:
    """Orders for one program, in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._names: dict[str, tuple[int, tuple[str, ...]]] = {}
        source, library = ROOT / "tests" / "support" / "resolver.c", TARGET / "c-tests" / "resolver.so"
        with once_in_a_run(source, library) as fresh:
            if fresh:
                command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", str(source), "-ldl"]
                subprocess.run([*command, "-o", str(fresh)], check=True)
        #: The environment variables that a program takes its orders with.
        self.variables = {"LD_PRELOAD": str(library), "ANTENV_TEST_RESOLVER": str(folder)}

    def name(self, name: str, *addresses: str, delay_ms: int = 0) -> None:
        """Gives a name its addresses, in that order; without any, a look-up fails for now. `delay_ms` -1: it hangs."""
        self._names[name] = (delay_ms, addresses)
        lines = (" ".join([known, str(delay), *found]) for known, (delay, found) in self._names.items())
        # Renamed into place: a look-up sees the old list or the new one.
        fresh = self._folder / "names.new"
        fresh.write_text("".join(f"{line}\n" for line in lines))
        fresh.rename(self._folder / "names")

    def threads(self, can_be_made: bool) -> None:
        """Decides whether the program can make threads."""
        marker = self._folder / "no-threads"
        if can_be_made:
            marker.unlink(missing_ok=True)
        else:
            marker.touch()

    def lookups(self, name: str) -> int:
        """How often a name was looked up."""
        return self._lines("lookups").count(name)

    def socket_options(self) -> list[tuple[int, int, int]]:
        """The socket options that were set: level, name, value."""
        return [(int(level), int(name), int(value)) for level, name, value in map(str.split, self._lines("options"))]

    def _lines(self, file: str) -> list[str]:
        path = self._folder / file
        return path.read_text().splitlines() if path.exists() else []
