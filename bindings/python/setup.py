"""Builds the library and the command with cargo and puts them into the package, side by side.

The wheel is for every Python 3 on one platform: the library is loaded with ctypes and knows nothing of Python.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

REPOSITORY = Path(__file__).resolve().parent.parent.parent
MANIFEST = REPOSITORY / "Cargo.toml"
COMMAND = "antenv.exe" if sys.platform == "win32" else "antenv"
NAME = {"darwin": "libantenv.dylib", "win32": "antenv.dll"}.get(sys.platform, "libantenv.so")
if not MANIFEST.exists():
    raise SystemExit(
        "antenv is built from its repository, of which this folder is a part: the Rust sources are not here"
    )


def cargo(*arguments: str) -> str:
    try:
        command = [os.environ.get("CARGO", "cargo"), *arguments]
        return subprocess.run(command, cwd=REPOSITORY, check=True, stdout=subprocess.PIPE, text=True).stdout
    except FileNotFoundError:
        raise SystemExit("building antenv takes a Rust toolchain, and there is no cargo on the PATH") from None


def build_library() -> Path:
    """Builds the library as `make build` does: a plain `cargo build` leaves out link-time optimisation."""
    built = ("-p", "antenv", "--lib", "--crate-type", "cdylib,staticlib", "--message-format", "json-render-diagnostics")
    return artifact(NAME, cargo("rustc", "--release", "--locked", *built))


def build_command() -> Path:
    """Builds the command as `make build` does."""
    built = ("-p", "antenv-cli", "--message-format", "json-render-diagnostics")
    return artifact(COMMAND, cargo("build", "--profile", "command", "--locked", *built))


def artifact(name: str, messages: str) -> Path:
    """Returns the file of this name that cargo reports to have built."""
    # Its place depends on CARGO_TARGET_DIR, CARGO_BUILD_TARGET and cargo's configuration.
    reports = map(json.loads, messages.splitlines())
    files = (Path(file) for report in reports for file in report.get("filenames", ()))
    return next(file for file in files if file.name == name)


class BuildWithLibrary(build_py):
    def run(self) -> None:
        shutil.rmtree(self.build_lib, ignore_errors=True)  # the wheel would include what an earlier build left there
        super().run()
        folder = Path("src" if self.editable_mode else self.build_lib) / "antenv"
        shutil.copy2(build_library(), folder / NAME)
        shutil.copy2(build_command(), folder / COMMAND)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        built = [os.path.join(self.build_lib, "antenv", name) for name in (NAME, COMMAND)]
        return [*super().get_outputs(include_bytecode), *built]


class WheelForAnyPython(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class WithLibrary(Distribution):
    def has_ext_modules(self) -> bool:
        return True  # the wheel belongs to a platform


setup(
    version=re.search(r'^version = "(.*)"', MANIFEST.read_text(), re.MULTILINE)[1],
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": WheelForAnyPython},
    distclass=WithLibrary,
)
