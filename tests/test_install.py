"""`make install`, into scratch folders, and programs of outside projects built from what it put there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import tomllib

from emulator import ROOT, Emulator

EXAMPLES = ROOT / "examples"
VERSION = re.findall(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[0]


def make(target: str, *variables: str) -> None:
    subprocess.run(
        ["make", "--no-print-directory", "-C", str(ROOT), target, *variables], check=True, capture_output=True
    )


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir() or path.is_symlink()}


@pytest.fixture(scope="session")
def prefix(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prefix that was filled under another name and then moved: nothing in it may know where it was."""
    stage = tmp_path_factory.mktemp("stage")
    make("install", "PREFIX=/opt/antenv", f"DESTDIR={stage}")
    moved = tmp_path_factory.mktemp("moved") / "somewhere else"
    shutil.copytree(stage / "opt" / "antenv", moved, symlinks=True)
    shutil.rmtree(stage)
    return moved


def pkg_config(prefix: Path, *arguments: str, folder: str = "lib") -> list[str]:
    environment = os.environ | {"PKG_CONFIG_PATH": str(prefix / folder / "pkgconfig")}
    done = subprocess.run(["pkg-config", *arguments], check=True, capture_output=True, text=True, env=environment)
    return [flag.replace("\\ ", " ") for flag in re.split(r"(?<!\\)\s+", done.stdout.strip())]


def run(command: list[str | Path], emulator: Emulator, libraries: Path | None) -> str:
    """Runs a quick start against an emulator; only with `libraries` can it find a shared library."""
    variables = {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "any", "PATH": os.environ["PATH"]}
    variables |= {"LD_LIBRARY_PATH": str(libraries)} if libraries else {}
    return subprocess.run(command, check=True, capture_output=True, text=True, env=variables).stdout


def test_everything_is_installed(prefix: Path) -> None:
    files = files_below(prefix)
    libraries = {"libantenv.so", "libantenv.so.0", f"libantenv.so.{VERSION}", "libantenv.a"}
    packages = {"pkgconfig/antenv.pc", "pkgconfig/antenv-static.pc", "cmake/antenv/antenvConfig.cmake"}
    assert {f"lib/{name}" for name in libraries | packages} <= files
    assert {"include/antenv.h", "include/antenv.hpp", "bin/antenv-emulator"} <= files
    assert {"share/man/man3/antenv.3", "share/man/man1/antenv-emulator.1", "share/doc/antenv/c-api.md"} <= files
    assert os.readlink(prefix / "lib" / "libantenv.so") == "libantenv.so.0"
    assert os.readlink(prefix / "lib" / "libantenv.so.0") == f"libantenv.so.{VERSION}"
    assert pkg_config(prefix, "--modversion", "antenv") == [VERSION]
    for text in prefix.rglob("*.pc"), prefix.rglob("*.cmake"):
        assert not any("/opt" in path.read_text() or "@" in path.read_text() for path in text)


def test_the_emulator_is_small_and_runs(prefix: Path) -> None:
    program = prefix / "bin" / "antenv-emulator"
    assert program.stat().st_size < 8_000_000
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    assert VERSION in said


def test_the_man_pages_can_be_read(prefix: Path) -> None:
    for page, word in (("man3/antenv.3", "antenv_client_new"), ("man1/antenv-emulator.1", "--lease-ttl")):
        command = ["man", "--warnings", "-E", "UTF-8", "-l", str(prefix / "share" / "man" / page)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"MANWIDTH": "200"})
        assert word in re.sub(".\b", "", done.stdout).replace("‐", "-") and done.stderr == ""


@pytest.mark.parametrize("package", ["antenv", "antenv-static"])
@pytest.mark.parametrize(("compiler", "source"), [("cc", "c/quickstart.c"), ("c++", "cpp/quickstart.cpp")])
def test_a_program_builds_with_pkg_config(
    package: str, compiler: str, source: str, prefix: Path, emulator: Emulator, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    flags = pkg_config(prefix, "--cflags", "--libs", package)
    subprocess.run([compiler, str(EXAMPLES / source), *flags, "-o", str(program)], check=True)
    said = run([program], emulator, prefix / "lib" if package == "antenv" else None)
    assert '"name":"quick start"' in said and "not_found" in said


def test_the_libraries_for_static_linking_are_those_that_the_compiler_names(prefix: Path, tmp_path: Path) -> None:
    source = tmp_path / "empty.rs"
    source.write_text("")
    command = [
        "rustc",
        "--crate-type",
        "staticlib",
        "--print",
        "native-static-libs",
        "-o",
        str(tmp_path / "a"),
        str(source),
    ]
    said = subprocess.run(command, check=True, capture_output=True, text=True).stderr
    named = re.findall(r"native-static-libs: (.*)", said)[0].split()
    private = [flag for flag in pkg_config(prefix, "--static", "--libs", "antenv") if flag.startswith("-l")]
    assert set(named) <= set(private) and set(private) - set(named) <= {
        "-lantenv",
        "-lrt",
        "-lm",
        "-ldl",
        "-lutil",
        "-lpthread",
    }


def test_the_metadata_for_cargo_c_fits_what_is_built() -> None:
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())
    metadata = package["package"]["metadata"]["capi"]
    assert package["features"]["capi"] == [] and metadata["header"]["generation"] is False
    installed = {asset["from"] for asset in metadata["install"]["include"]["asset"]}
    assert installed == {"include/antenv.h", "include/antenv.hpp"} and all((ROOT / path).exists() for path in installed)
    # The number in the library's name is stated where each builder wants it.
    assert metadata["library"]["version_suffix_components"] == 1 and VERSION.split(".")[0] == "0"
    assert "soname,libantenv.so.0" in (ROOT / "build.rs").read_text()
    assert re.findall(r"^abi=(\d+)", (ROOT / "scripts" / "install.sh").read_text(), re.MULTILINE) == ["0"]


def test_cmake_projects_find_it_in_c_and_cpp_shared_and_static(
    prefix: Path, emulator: Emulator, tmp_path: Path
) -> None:
    source, build = ROOT / "tests" / "install", tmp_path / "build"
    configure = [
        "cmake",
        "-S",
        str(source),
        "-B",
        str(build),
        f"-DCMAKE_PREFIX_PATH={prefix}",
        f"-DEXAMPLES={EXAMPLES}",
    ]
    subprocess.run(configure, check=True, capture_output=True)
    subprocess.run(["cmake", "--build", str(build)], check=True, capture_output=True)
    for name in (
        "c_antenv",
        "c_static",
        "cpp_antenv",
        "cpp_static",
    ):  # CMake puts the way to a shared library into a program
        said = run([build / name], emulator, None)
        assert '"name":"quick start"' in said and "not_found" in said
        needs = subprocess.run(["readelf", "-d", str(build / name)], check=True, capture_output=True, text=True).stdout
        assert ("libantenv.so.0" in needs) == name.endswith("antenv")


@pytest.mark.parametrize("wanted", ["0.2", "1.0"])
def test_cmake_refuses_another_version(wanted: str, prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.16)\nproject(x C)\nfind_package(antenv {wanted} CONFIG REQUIRED)\n"
    )
    configure = ["cmake", "-S", str(tmp_path), "-B", str(tmp_path / "build"), f"-DCMAKE_PREFIX_PATH={prefix}"]
    done = subprocess.run(configure, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and f"version: {VERSION}" in done.stderr


@pytest.mark.parametrize("tags", [[], ["-tags", "antenv_static"]], ids=["shared", "static"])
def test_a_go_program_builds_with_pkg_config(tags: list[str], prefix: Path, emulator: Emulator, tmp_path: Path) -> None:
    plain = tmp_path / "prefix"  # Go does not take paths with blanks from pkg-config
    plain.symlink_to(prefix)
    environment = os.environ | {"PKG_CONFIG_PATH": str(plain / "lib" / "pkgconfig"), "GOCACHE": str(tmp_path / "cache")}
    program = tmp_path / "program"
    source = EXAMPLES / "go" / "quickstart"
    subprocess.run(["go", "build", *tags, "-o", str(program), "."], check=True, cwd=source, env=environment)
    said = run([program], emulator, None if tags else prefix / "lib")
    assert "created: env_" in said and "not found: environment_not_found" in said


def test_a_packagers_folders_are_respected(emulator: Emulator, tmp_path: Path) -> None:
    folders = ["PREFIX=/usr", "LIBDIR=/usr/lib/x86_64-linux-gnu", "INCLUDEDIR=/usr/include/antenv-0"]
    make("install", *folders, f"DESTDIR={tmp_path}")
    usr = tmp_path / "usr"
    flags = pkg_config(usr, "--cflags", "--libs", "antenv", folder="lib/x86_64-linux-gnu")
    program = tmp_path / "program"
    subprocess.run(["cc", str(EXAMPLES / "c" / "quickstart.c"), *flags, "-o", str(program)], check=True)
    assert "not_found" in run([program], emulator, usr / "lib" / "x86_64-linux-gnu")
    program.unlink()
    make("uninstall", *folders, f"DESTDIR={tmp_path}")
    assert files_below(tmp_path) == set()


def test_uninstalling_leaves_what_others_put_there(tmp_path: Path) -> None:
    make("install", "PREFIX=/p", f"DESTDIR={tmp_path}")
    foreign = {"p/lib/libother.so", "p/share/doc/antenv/notes", "p/include/other.h"}
    for path in foreign:
        (tmp_path / path).write_text("")
    make("uninstall", "PREFIX=/p", f"DESTDIR={tmp_path}")
    assert files_below(tmp_path) == foreign
