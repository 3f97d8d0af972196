"""The sdist of the Python package: it builds where there is no repository."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from support.build import BUILT, ROOT, TARGET
from support.copies import copy_repository

pytestmark = pytest.mark.deep

VERSION = re.findall(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[0]


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An sdist, made in a copy of the repository: setuptools writes next to its sources."""
    repository, output = tmp_path_factory.mktemp("repository"), tmp_path_factory.mktemp("sdist")
    copy_repository(repository)
    command = [sys.executable, "-m", "build", "--sdist", "--outdir", str(output), "bindings/python"]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return output / f"antenv-{VERSION}.tar.gz"


def what_the_compiler_read() -> set[str]:
    """Returns the files of the repository that the library, the command and the emulator were built from."""
    read: set[str] = set()
    for built in ("release/libantenv.d", "command/antenv.d", "quick/antenv-emulator.d"):
        for line in (BUILT / built).read_text().splitlines():
            read |= set(shlex.split(line.split(": ", 1)[1]))
    repository = os.path.commonpath(read)
    return {os.path.relpath(path, repository) for path in read}


def test_it_has_every_file_that_the_compiler_reads(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = set(archive.getnames())
    read = what_the_compiler_read()
    assert {"build.rs", "src/lib.rs", "cli/src/main.rs", "emulator/src/main.rs"} <= read
    assert {f"antenv-{VERSION}/rust/{name}" for name in read} <= names
    sources = {
        f"antenv-{VERSION}/src/antenv/{path.name}" for path in (ROOT / "bindings/python/src/antenv").glob("*.py")
    }
    assert sources <= names and f"antenv-{VERSION}/src/antenv/py.typed" in names
    # Neither what was built nor the repository's tests.
    assert not any(name.endswith((".so", ".whl", "/target", "/tests", "/libantenv.a")) for name in names)
    assert sdist.stat().st_size < 3_000_000


def test_cargo_finds_the_workspace_and_every_dependency_in_it(sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    rust = tmp_path / f"antenv-{VERSION}" / "rust"
    command = ["cargo", "metadata", "--offline", "--locked", "--format-version", "1"]
    done = subprocess.run(command, cwd=rust, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    metadata = json.loads(done.stdout)
    assert metadata["workspace_root"] == str(rust)
    own = [package for package in metadata["packages"] if package["id"] in metadata["workspace_members"]]
    assert sorted(package["name"] for package in own) == ["antenv", "antenv-cli", "antenv-emulator"]
    targets = [target["src_path"] for package in own for target in package["targets"]]
    assert all(Path(path).is_relative_to(rust) and Path(path).exists() for path in targets)


OWN_TEST = """
import antenv
from antenv.testing import Emulator
with Emulator() as emulator, emulator.client() as client:
    created = client.environments.create(name="tests")
    assert [environment.id for environment in client.environments.list()] == [created.id]
print(antenv.__version__)
"""


# Whatever it is asked for, it builds everything, unoptimised: for each profile, it would build the dependencies anew.
QUICK_CARGO = """#!/bin/sh
exec cargo build --workspace --lib --bins --locked --message-format json-render-diagnostics
"""
UNOPTIMISED = {"CARGO_PROFILE_DEV_DEBUG": "0", "CARGO_PROFILE_DEV_INCREMENTAL": "false"}


def test_pip_builds_it_and_the_package_works(sdist: Path, tmp_path: Path) -> None:
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    cargo = tmp_path / "cargo"
    cargo.write_text(QUICK_CARGO)
    cargo.chmod(0o755)
    # What is built is kept, for the next run.
    environment = os.environ | UNOPTIMISED | {"CARGO": str(cargo), "CARGO_TARGET_DIR": str(TARGET / "other")}
    command = [*pip, "-w", str(tmp_path), str(sdist)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (wheel,) = tmp_path.glob("*.whl")
    assert {"antenv/antenv", "antenv/antenv-emulator"} <= set(zipfile.ZipFile(wheel).namelist())
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", str(wheel)]
    bare = {"PATH": "/usr/bin:/bin"}
    subprocess.run([python, *install], check=True, env=bare)
    said = subprocess.run([python, "-c", OWN_TEST], check=True, capture_output=True, text=True, env=bare, cwd=tmp_path)
    assert said.stdout == f"{VERSION}\n"
