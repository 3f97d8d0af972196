"""Builds the library, the command and the emulator with cargo and puts them into the package, side by side.

An sdist carries the Rust sources in a folder of its own, `rust`, so that it builds without the repository.

The wheel is for every Python 3 on one platform: the library is loaded with ctypes and knows nothing of Python.

ANTENV_BUILT names a folder where the three have been built already: they are packed as they are.
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
from setuptools.command.sdist import sdist

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parent.parent
IN_SDIST = HERE / "rust"
LICENCES = ("LICENSE", "LICENSE-APACHE", "LICENSE-MIT", "packaging/NOTICES")
# What is needed of the repository.
SOURCES = (
    *("Cargo.toml", "Cargo.lock", "build.rs", "cbindgen.toml", "README.md", *LICENCES),
    *("src", "include", "scripts/operations.rs", "cli/Cargo.toml", "cli/src", "emulator/Cargo.toml", "emulator/src"),
)
WORKSPACE = IN_SDIST if IN_SDIST.exists() else REPOSITORY
MANIFEST = WORKSPACE / "Cargo.toml"
PROGRAM_SUFFIX = ".exe" if sys.platform == "win32" else ""
LIBRARY = {"darwin": "libantenv.dylib", "win32": "antenv.dll"}.get(sys.platform, "libantenv.so")
COMMAND = f"antenv{PROGRAM_SUFFIX}"
EMULATOR = f"antenv-emulator{PROGRAM_SUFFIX}"
if not MANIFEST.exists():
    raise SystemExit("the Rust sources are not here: build antenv from its repository, or from an sdist")


def cargo(*arguments: str) -> str:
    try:
        command = [os.environ.get("CARGO", "cargo"), *arguments]
        return subprocess.run(command, cwd=WORKSPACE, check=True, stdout=subprocess.PIPE, text=True).stdout
    except FileNotFoundError:
        raise SystemExit("building antenv takes a Rust toolchain, and there is no cargo on the PATH") from None


def build_library() -> Path:
    """Builds the library as `make build` does: a plain `cargo build` leaves out link-time optimisation."""
    built = ("-p", "antenv", "--lib", "--crate-type", "cdylib,staticlib", "--message-format", "json-render-diagnostics")
    return artifact(LIBRARY, cargo("rustc", "--release", "--locked", *built))


def build_command() -> Path:
    """Builds the command as `make build` does."""
    built = ("-p", "antenv-cli", "--message-format", "json-render-diagnostics")
    return artifact(COMMAND, cargo("build", "--profile", "command", "--locked", *built))


def build_emulator() -> Path:
    """Builds the emulator as `make build` does."""
    built = ("--workspace", "--bins", "--message-format", "json-render-diagnostics")
    return artifact(EMULATOR, cargo("build", "--profile", "quick", "--locked", *built))


def built_already(folder: Path) -> list[Path]:
    """Finds the library, the command and the emulator in a folder."""
    paths = [folder / name for name in (LIBRARY, COMMAND, EMULATOR)]
    missing = [path.name for path in paths if not path.is_file()]
    if missing:
        raise SystemExit(f"ANTENV_BUILT names {folder}, where these are missing: {', '.join(missing)}")
    return paths


def strip(program: Path) -> None:
    """Takes the symbols out of a program, which are most of it."""
    command = os.environ.get("STRIP", "strip")
    try:
        subprocess.run([command, str(program)], check=True)
    except FileNotFoundError:
        raise SystemExit(f"building antenv takes `{command}`: install binutils, or name another in STRIP") from None


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
        built = os.environ.get("ANTENV_BUILT")
        # Before anything is copied, so that what is missing is said first.
        paths = built_already(Path(built)) if built else [build_library(), build_command(), build_emulator()]
        for path in paths:
            shutil.copy2(path, folder / path.name)
        (folder / "licences").mkdir(exist_ok=True)
        for name in LICENCES:
            shutil.copy2(WORKSPACE / name, folder / "licences")
        if not built and sys.platform != "win32":  # where symbols are in files of their own
            strip(folder / EMULATOR)

    def get_outputs(self, include_bytecode: bool = True) -> list[str]:
        names = (LIBRARY, COMMAND, EMULATOR, *(f"licences/{os.path.basename(name)}" for name in LICENCES))
        built = [os.path.join(self.build_lib, "antenv", name) for name in names]
        return [*super().get_outputs(include_bytecode), *built]


class SdistWithSources(sdist):
    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        super().make_release_tree(base_dir, files)
        for name in SOURCES:
            source, copy = WORKSPACE / name, Path(base_dir) / IN_SDIST.name / name
            copy.parent.mkdir(parents=True, exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy)
            else:
                shutil.copy2(source, copy)


class WheelForAnyPython(bdist_wheel):
    def get_tag(self) -> tuple[str, str, str]:
        return "py3", "none", super().get_tag()[2]


class WithLibrary(Distribution):
    def has_ext_modules(self) -> bool:
        return True  # the wheel belongs to a platform


setup(
    version=re.search(r'^version = "(.*)"', MANIFEST.read_text(), re.MULTILINE)[1],
    cmdclass={"build_py": BuildWithLibrary, "bdist_wheel": WheelForAnyPython, "sdist": SdistWithSources},
    distclass=WithLibrary,
)
