"""The wheels for other Linux systems: what is in them, and that it works where they are for."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from support.build import BUILT, LIBRARY, ROOT, TARGET
from support.copies import copy_repository
from support.python_program import PROGRAM
from support.wheels import MUSL_PYTHON, QEMU, WHEELS, in_older_debian, newest_python, packed

pytestmark = pytest.mark.deep
VERSION = re.findall(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[0]
PROGRAMS = ("antenv/antenv", "antenv/antenv-emulator")
# What a program's header calls the processor.
MACHINES = {"amd64": 62, "arm64": 183}


@pytest.mark.parametrize("platform", WHEELS)
def test_a_wheel_has_the_files_of_the_one_for_this_machine(platform: str) -> None:
    wheel = packed()[platform]
    older_name = "manylinux2014_{}.".format(platform.removeprefix("manylinux_2_17_"))
    tags = f"{older_name if platform.startswith('manylinux') else ''}{platform}"
    assert wheel.name == f"antenv-{VERSION}-py3-none-{tags}.whl"
    (native,) = (TARGET / "wheel").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(native) as expected:
        names = {name for name in archive.namelist() if not name.endswith("/")}
        assert names == set(expected.namelist())
        metadata = archive.read(f"antenv-{VERSION}.dist-info/WHEEL").decode()
        assert set(re.findall(r"^Tag: (.*)$", metadata, re.MULTILINE)) == {f"py3-none-{tag}" for tag in tags.split(".")}
        for name in PROGRAMS:
            assert (archive.getinfo(name).external_attr >> 16) & 0o111 == 0o111
        for name in (*PROGRAMS, "antenv/libantenv.so"):
            with archive.open(name) as file:
                header = file.read(20)
            assert (header[:5], header[18]) == (b"\x7fELF\x02", MACHINES[WHEELS[platform]])
        for name in names:
            if name.endswith((".py", "/py.typed")) or "/licences/" in name:
                assert archive.read(name) == expected.read(name), name


def test_what_needs_a_newer_c_library_becomes_no_wheel_for_older_systems(tmp_path: Path) -> None:
    """Such as this machine's own build."""
    copy, built = tmp_path / "repository", tmp_path / "built" / "x86_64-unknown-linux-gnu" / "debug"
    copy_repository(copy)  # pip writes next to what it builds
    built.mkdir(parents=True)
    for path in (LIBRARY / "libantenv.so", BUILT / "command" / "antenv", BUILT / "quick" / "antenv-emulator"):
        (built / path.name).symlink_to(path)
    arguments = ["--built", str(tmp_path / "built"), str(tmp_path / "wheels"), "x86_64-unknown-linux-gnu.2.17"]
    command = [sys.executable, str(copy / "scripts" / "wheels.py"), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "is no wheel for manylinux_2_17_x86_64: it needs more" in done.stderr
    assert not (tmp_path / "wheels").exists()


@pytest.mark.parametrize("platform", WHEELS)
def test_in_an_older_debian_the_command_calls_the_emulator(platform: str) -> None:
    with in_older_debian(packed()[platform], WHEELS[platform]) as unpacked:
        command = unpacked.command("antenv-emulator", "--port", "0", "--auth", "any", "--until-stdin-closes")
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as emulator:
            assert emulator.stdout
            variables = {"ANTHROPIC_BASE_URL": emulator.stdout.readline().strip(), "ANTHROPIC_API_KEY": "any"}
            command = unpacked.command("antenv", "call", "environments.list")
            said = subprocess.run(command, check=True, env=os.environ | variables, stdout=subprocess.PIPE).stdout
            emulator.communicate()
    assert json.loads(said)["data"] == [], said


# It starts the emulator before there is a thread: QEMU forks no process that has threads.
STARTING_EMULATORS = f"""
import os, platform, sys, tempfile
is_musl = sys.implementation._multiarch.endswith("-musl")
found = sys.version_info[:2], "musl" if is_musl else platform.libc_ver()
assert found == (((3, 13), "musl") if sys.argv.pop(1) == "musl" else ((3, 9), ("glibc", "2.31"))), found
import antenv, antenv._native
assert antenv._native.PATH == sys.argv.pop(1) + "/antenv/libantenv.so", antenv._native.PATH
from antenv.testing import Emulator
emulator = Emulator("--auth", "any")
sys.argv.append(emulator.url)
with Emulator("--tls", "--tls-ca", os.path.join(tempfile.mkdtemp(dir=os.environ["PYTHONPATH"]), "ca.pem")) as tls:
    with tls.client() as client:
        client.environments.create(name="over TLS")
{PROGRAM}
emulator.stop()
"""


# With the one for musl on this machine's processor, the Python tests are run.
@pytest.mark.parametrize("platform", [platform for platform in WHEELS if platform != "musllinux_1_2_x86_64"])
def test_in_an_older_debian_a_python_program_works(platform: str, tmp_path: Path) -> None:
    with in_older_debian(packed()[platform], WHEELS[platform]) as unpacked:
        variables = {"PATH": os.environ["PATH"], "PYTHONPATH": unpacked.folder}
        by_qemu = unpacked.runner[0] == QEMU[0]
        if by_qemu:
            # This machine starts no program for another processor: a script does.
            script = tmp_path / "emulator"
            script.write_text(f'#!/bin/sh\nexec {" ".join(unpacked.command("antenv-emulator"))} "$@"\n')
            script.chmod(0o755)
            variables["ANTENV_EMULATOR"] = str(script)
        if platform.startswith("musl"):  # Debian has no Python for it
            assert by_qemu
            command = [QEMU[0], str(MUSL_PYTHON / "aarch64" / "bin" / "python3")]
        else:
            command = unpacked.command("/usr/bin/python3")
            variables["PYTHONHOME"] = "/usr"
        command += ["-W", "error", "-c", STARTING_EMULATORS, platform[:4], unpacked.folder]
        done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=600, check=False)
    # On a machine that is busy, the log may say what was late.
    assert (done.returncode, done.stdout) == (0, "as it should be\n"), done.stderr


# Clients, workers and sessions, blocking and awaited; processes that fork; what the driver in Python does.
SELECTION = [
    *(
        f"tests/python/test_python_{name}.py"
        for name in ("client", "asyncio", "process", "streams", "serve", "serve_asyncio", "tools")
    ),
    "tests/bindings/test_operations.py",
]
PYTHONS = {
    "manylinux_2_17_x86_64": newest_python(),
    "musllinux_1_2_x86_64": MUSL_PYTHON / "x86_64" / "bin" / "python3",
}


@pytest.mark.long
@pytest.mark.parametrize("platform", PYTHONS)
def test_the_python_tests_pass_with_a_wheel(platform: str, tmp_path: Path) -> None:
    interpreter, site = str(PYTHONS[platform]), tmp_path / "site-packages"
    pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target", str(site)]
    subprocess.run([*pip, "-r", "tests/python/requirements.txt"], cwd=ROOT, check=True)
    subprocess.run([*pip, "--no-deps", "--no-index", packed()[platform]], check=True)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    variables = clean | {"PYTHONPATH": str(site), "ANTENV_EMULATOR": str(site / "antenv" / "antenv-emulator")}
    command = [interpreter, "-c", "import antenv._native; print(antenv._native.PATH)"]
    said = subprocess.run(command, env=variables, check=True, capture_output=True, text=True).stdout
    assert said.strip() == str(site / "antenv" / "libantenv.so")
    pytest_ = [interpreter, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not deep", "-n", "2"]
    command = [*pytest_, "-k", "not C++ and not Go and not PHP", f"--basetemp={tmp_path / 'base'}", *SELECTION]
    done = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr
    passed = re.search(r"(\d+) passed", done.stdout)
    assert passed and int(passed[1]) > 100, done.stdout[-1000:]
