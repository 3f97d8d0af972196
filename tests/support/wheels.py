"""The wheels for other Linux systems, and where they are tried: an older Debian, and several Pythons."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.build import ROOT, TARGET, once_in_a_run

#: Each wheel's platform, and what Debian calls the processor.
WHEELS = {
    "manylinux_2_17_x86_64": "amd64",
    "manylinux_2_17_aarch64": "arm64",
    "musllinux_1_2_x86_64": "amd64",
    "musllinux_1_2_aarch64": "arm64",
}
#: Where `make older-debian` puts it.
OLDER_DEBIAN = TARGET / "older-debian"
#: Where `make musl-python` puts one for each processor.
MUSL_PYTHON = TARGET / "musl-python"
# Named, since this machine's loader has a list of libraries that the other one would take for its own.
QEMU = ("qemu-aarch64", "-E", "LD_LIBRARY_PATH=/lib/aarch64-linux-gnu:/usr/lib/aarch64-linux-gnu")


def packed() -> dict[str, Path]:
    """Packs wheels of what `make platforms` built; returns the one for each platform."""
    folder = TARGET / "platforms" / "wheels"
    with once_in_a_run(ROOT / "bindings" / "python", folder / "packed") as note:
        if note:
            for old in folder.glob("*.whl"):
                old.unlink()
            script, built = str(ROOT / "scripts" / "wheels.py"), str(TARGET / "platforms")
            subprocess.run([sys.executable, script, "--built", built, str(folder)], check=True)
            note.touch()
    wheels = {wheel.stem.rpartition(".")[2].rpartition("-")[2]: wheel for wheel in folder.glob("*.whl")}
    assert wheels.keys() == WHEELS.keys()
    return wheels


def newest_python() -> Path:
    """Returns the newest Python on this machine, pyenv's included."""
    pyenv = Path(os.environ.get("PYENV_ROOT", "~/.pyenv")).expanduser()
    folders = [Path(folder) for folder in os.get_exec_path() if folder != str(pyenv / "shims")]
    found = {sys.version_info.minor: Path(sys.executable)}
    for path in (path for folder in [*folders, *pyenv.glob("versions/*/bin")] for path in folder.glob("python3.*")):
        if version := re.fullmatch(r"python3\.(\d+)", path.name):
            found.setdefault(int(version[1]), path)
    return found[max(found)]


@dataclass(frozen=True)
class InOlderDebian:
    """What is in a wheel, where programs of an older Debian find it."""

    root: Path
    #: The folder, as they name it, and what runs them.
    folder: str
    runner: tuple[str, ...]

    def command(self, program: str, *arguments: str) -> list[str]:
        """Returns the command that runs a program of the wheel's, or one of Debian's, by its whole path."""
        path = program if program.startswith("/") else f"{self.folder}/antenv/{program}"
        by_qemu = program.startswith("/") and self.runner[0] == QEMU[0]
        return [*self.runner, f"{self.root}{path}" if by_qemu else path, *arguments]


@contextmanager
def in_older_debian(wheel: Path, processor: str) -> Iterator[InOlderDebian]:
    """Unpacks a wheel until the `with` block is left."""
    root = OLDER_DEBIAN / processor
    here = processor == "amd64"
    with tempfile.TemporaryDirectory(dir=root if here else None) as name:
        subprocess.run([sys.executable, "-m", "zipfile", "-e", wheel, name], check=True)
        for program in ("antenv", "antenv-emulator"):
            Path(name, "antenv", program).chmod(0o755)
        folder = f"/{Path(name).name}" if here else name
        yield InOlderDebian(root, folder, ("chroot", str(root)) if here else (*QEMU, "-L", str(root)))
