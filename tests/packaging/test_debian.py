"""The Debian packages: what is in them; installing, upgrading and purging them in a copy of this machine's system."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.build import BUILT, LIBRARY, ROOT
from support.emulator import Emulator

pytestmark = pytest.mark.deep

VERSION = re.findall(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[0]
OLDER = "0.0.9"
PACKAGES = ["antenv-tools", "libantenv-dev", "libantenv0"]
BUILD = {
    "VERSION": VERSION,
    "RELEASE": str(LIBRARY),
    "EMULATOR": str(BUILT / "quick" / "antenv-emulator"),
    "COMMAND": str(BUILT / "command" / "antenv"),
    # Their size does not matter here; how long it takes to compress them does.
    "DPKG_DEB_COMPRESSOR_TYPE": "gzip",
    "DPKG_DEB_COMPRESSOR_LEVEL": "1",
}


def build(folder: Path, umask: int = 0o022, **variables: str) -> dict[str, Path]:
    """Makes the packages; returns the file of each."""
    command = [str(ROOT / "scripts" / "deb.py"), str(folder)]
    environment = os.environ | BUILD | variables
    done = subprocess.run(command, env=environment, umask=umask, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    packages = {file.name.split("_")[0]: file for file in sorted(folder.iterdir())}
    assert list(packages) == PACKAGES
    return packages


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return build(tmp_path_factory.mktemp("deb") / "packages")


def output(*command: str | Path) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_lintian_finds_nothing(packages: dict[str, Path]) -> None:
    command = ["lintian", "--allow-root", "--fail-on", "error,warning", *map(str, packages.values())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    found = re.findall(r"^[EWO]: .*", done.stdout, re.MULTILINE)
    assert (done.returncode, found) == (0, []), done.stdout + done.stderr


def test_each_file_is_in_the_package_that_it_belongs_to(packages: dict[str, Path]) -> None:
    files = {name: output("dpkg-deb", "--contents", path) for name, path in packages.items()}
    (triplet,) = set(re.findall(r"/usr/lib/([\w-]+)/libantenv", files["libantenv0"]))
    assert triplet == output("dpkg-architecture", "-qDEB_HOST_MULTIARCH").strip()
    expected = {
        "libantenv0": [
            *(
                f"lib/{triplet}/libantenv.so.0 ",
                f"lib/{triplet}/libantenv.so.{VERSION}",
                "share/doc/libantenv0/NOTICES.gz",
            ),
        ],
        "libantenv-dev": [
            *(f"lib/{triplet}/{name}" for name in ("libantenv.so ", "libantenv.a", "pkgconfig/antenv.pc")),
            f"lib/{triplet}/cmake/antenv/antenvConfig.cmake",
            *(f"include/{path.relative_to(ROOT / 'include')}" for path in (ROOT / "include").rglob("*.h*")),
            *("share/man/man3/antenv.3.gz", "share/doc/libantenv-dev/c-api.md", "share/antenv/go/go.mod"),
        ],
        "antenv-tools": [
            *(
                "bin/antenv\n",
                "bin/antenv-emulator",
                "share/man/man1/antenv.1.gz",
                "share/man/man1/antenv-emulator.1.gz",
            ),
            *("share/bash-completion/completions/antenv", "share/zsh/vendor-completions/_antenv"),
            *("share/fish/vendor_completions.d/antenv.fish", "share/doc/antenv-tools/examples/antenv-worker.service"),
        ],
    }
    for name, paths in expected.items():
        for path in paths:
            assert [package for package, text in files.items() if f"/usr/{path}" in text] == [name], path
    assert "-rw-r--r-- root/root" in files["libantenv0"]
    field = {name: output("dpkg-deb", "--field", path, "Depends") for name, path in packages.items()}
    assert f"libantenv0 (= {VERSION})" in field["libantenv-dev"]
    assert all("libc6 (>= " in field[name] for name in ("libantenv0", "antenv-tools"))


def test_a_second_build_gives_the_same_bytes(packages: dict[str, Path], tmp_path: Path) -> None:
    again = build(tmp_path / "elsewhere", umask=0o077, TZ="Asia/Kathmandu", LC_ALL="C.UTF-8", HOME=str(tmp_path))
    for name, path in packages.items():
        assert path.read_bytes() == again[name].read_bytes(), name


# Runs a script in a copy of the system: what it writes there is in memory, and gone with it. Only the folders that are
# named are the machine's own.
IN_A_COPY = """
set -e
mount -t tmpfs none "$1"
mkdir "$1/written" "$1/work" "$1/root"
mount -t overlay overlay -o "lowerdir=/,upperdir=$1/written,workdir=$1/work" "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t proc proc "$1/root/proc"
for folder in "${@:3}"; do mkdir -p "$1/root$folder"; mount --bind "$folder" "$1/root$folder"; done
exec chroot "$1/root" bash -ex "$2"
"""

# Installs older packages, upgrades and purges them; in between, builds and runs programs as on any system.
SCRIPT = """
cd {folder}
fails() {{ if "$@"; then exit 1; fi; }}
files() {{ find /usr /etc /opt /var/lib/dpkg/info -not -name '*.pyc' -not -name __pycache__ | sort; }}
files >before
dpkg --install {older} >&2
[ "$(pkg-config --modversion antenv)" = {older_version} ]
cc {examples}/c/quickstart.c $(pkg-config --cflags --libs antenv) -o by-pkg-config
./by-pkg-config

dpkg --install {newer} >&2
dpkg --verify {names}
[ "$(dpkg-query --show --showformat '${{Version}} ' {names})" = "{version} {version} {version} " ]
[ "$(pkg-config --variable=pcfiledir antenv)" = "$(dirname "$(dpkg --listfiles libantenv-dev | grep /antenv.pc)")" ]
fails ls /usr/lib/*/libantenv.so.{older_version}
./by-pkg-config
c++ -std=c++17 {examples}/cpp/quickstart.cpp $(pkg-config --cflags --libs antenv) -o by-pkg-config
./by-pkg-config
cmake -S {cmake} -B build -DEXAMPLES={examples} >&2
cmake --build build >&2
for program in build/c_antenv build/cpp_antenv build/c_static build/cpp_fully_static; do $program; done
mkdir debian && echo 'Source: program' >debian/control
dpkg-shlibdeps -O by-pkg-config
cd /
[ "$(command -v antenv)" = /usr/bin/antenv ]
antenv --version
antenv-emulator --version
antenv call environments.list
man --where 3 antenv >&2
cd {folder}

dpkg --purge {names} >&2
fails dpkg --status libantenv0
files >after
diff before after
echo nothing is left
"""


def test_they_are_installed_upgraded_and_purged(packages: dict[str, Path], emulator: Emulator, tmp_path: Path) -> None:
    older = build(tmp_path / "older", VERSION=OLDER)
    (tmp_path / "root").mkdir()
    (tmp_path / "script").write_text(
        SCRIPT.format(
            folder=tmp_path,
            older=" ".join(map(str, older.values())),
            newer=" ".join(map(str, packages.values())),
            names=" ".join(PACKAGES),
            older_version=OLDER,
            version=VERSION,
            examples=ROOT / "examples",
            cmake=ROOT / "tests" / "packaging" / "cmake",
        )
    )
    environment = {
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
        "ANTHROPIC_BASE_URL": emulator.url,
        "ANTHROPIC_API_KEY": "any",
        "DEBIAN_FRONTEND": "noninteractive",
    }
    command = ["unshare", "--mount", "bash", "-c", IN_A_COPY, "bash", str(tmp_path / "root"), str(tmp_path / "script")]
    command += map(str, (ROOT, tmp_path.parent))
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(re.findall("^created: ", done.stdout, re.MULTILINE)) == 7 and done.stdout.endswith("nothing is left\n")
    assert f"libantenv0 (>= {VERSION})" in done.stdout and f"antenv {VERSION}" in done.stdout
