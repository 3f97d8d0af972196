"""`make install`, into scratch folders, and programs of outside projects built from what it put there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import uuid
import zipfile
from pathlib import Path

import pytest
import tomllib

from support.build import ROOT, TARGET
from support.copies import copy_repository
from support.emulator import Emulator

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
    assert {"include/antenv.h", "include/antenv.hpp", "bin/antenv", "bin/antenv-emulator"} <= files
    completions = {"bash-completion/completions/antenv", "zsh/site-functions/_antenv"}
    assert {f"share/{path}" for path in completions | {"fish/vendor_completions.d/antenv.fish"}} <= files
    parts = {f"include/{path.relative_to(ROOT / 'include')}" for path in (ROOT / "include" / "antenv").iterdir()}
    assert len(parts) > 2 and parts <= files
    assert {"share/antenv/go/go.mod", "share/antenv/go/antenvtest/antenvtest.go"} <= files
    assert {"share/man/man3/antenv.3", "share/man/man1/antenv.1", "share/doc/antenv/c-api.md"} <= files
    assert os.readlink(prefix / "lib" / "libantenv.so") == "libantenv.so.0"
    assert os.readlink(prefix / "lib" / "libantenv.so.0") == f"libantenv.so.{VERSION}"
    assert pkg_config(prefix, "--modversion", "antenv") == [VERSION]
    for text in prefix.rglob("*.pc"), prefix.rglob("*.cmake"):
        assert not any("/opt" in path.read_text() or "@" in path.read_text() for path in text)


@pytest.mark.parametrize(("name", "size"), [("antenv", 9_000_000), ("antenv-emulator", 10_000_000)])
def test_the_programs_are_small_and_run(name: str, size: int, prefix: Path) -> None:
    program = prefix / "bin" / name
    assert program.stat().st_size < size
    said = subprocess.run([program, "--version"], check=True, capture_output=True, text=True).stdout
    assert VERSION in said


def test_the_man_pages_can_be_read(prefix: Path) -> None:
    for page, word in (
        ("man3/antenv.3", "antenv_client_new"),
        ("man1/antenv.1", "--until-idle"),
        ("man1/antenv-emulator.1", "--lease-ttl"),
    ):
        command = ["man", "--warnings", "-E", "UTF-8", "-l", str(prefix / "share" / "man" / page)]
        done = subprocess.run(command, check=True, capture_output=True, text=True, env=os.environ | {"MANWIDTH": "200"})
        assert word in re.sub(".\b", "", done.stdout).replace("‐", "-") and done.stderr == ""


# What a program asks of pkg-config, and how it links.
WAYS = {
    "shared": (["antenv"], []),
    "static": (["antenv-static"], []),
    "fully static": (["--static", "antenv-static"], ["-static"]),
    "fully static, at any address": (["--static", "antenv-static"], ["-static-pie"]),
    "fully static, by the other name": (["--static", "antenv"], ["-static"]),
}


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("compiler", "source"), [("cc", "c/quickstart.c"), ("c++", "cpp/quickstart.cpp")])
def test_a_program_builds_with_pkg_config(
    way: str, compiler: str, source: str, prefix: Path, emulator: Emulator, tmp_path: Path
) -> None:
    program = tmp_path / "program"
    asked, linked = WAYS[way]
    flags = [*linked, *pkg_config(prefix, "--cflags", "--libs", *asked)]
    subprocess.run([compiler, str(EXAMPLES / source), *flags, "-o", str(program)], check=True)
    said = run([program], emulator, prefix / "lib" if way == "shared" else None)
    assert '"name":"quick start"' in said and "not_found" in said
    assert needs_nothing(program) == bool(linked)


def needs_nothing(program: Path) -> bool:
    """Returns whether a program contains everything it needs."""
    dynamic = subprocess.run(["readelf", "-d", str(program)], check=True, capture_output=True, text=True).stdout
    return "NEEDED" not in dynamic


@pytest.mark.parametrize("code", [[], ["-C", "target-feature=+crt-static"]], ids=["dynamic libc", "static libc"])
def test_the_libraries_for_static_linking_are_those_that_the_compiler_names(
    code: list[str], prefix: Path, tmp_path: Path
) -> None:
    source = tmp_path / "empty.rs"
    source.write_text("")
    options = ["--crate-type", "staticlib", "--print", "native-static-libs", *code, "-o", str(tmp_path / "a")]
    said = subprocess.run(["rustc", *options, str(source)], check=True, capture_output=True, text=True).stderr
    named = set(re.findall(r"native-static-libs: (.*)", said)[0].split())
    by_the_compiler_that_links = {"-lgcc_s", "-lgcc_eh", "-lgcc"}  # which knows when to take which
    private = {flag for flag in pkg_config(prefix, "--static", "--libs", "antenv") if flag.startswith("-l")}
    assert named - private <= by_the_compiler_that_links and not private & by_the_compiler_that_links
    assert private - named <= {"-lantenv", "-lrt", "-lm", "-ldl", "-lutil", "-lpthread"}


def test_the_metadata_for_cargo_c_fits_what_is_built() -> None:
    package = tomllib.loads((ROOT / "Cargo.toml").read_text())
    metadata = package["package"]["metadata"]["capi"]
    assert package["features"]["capi"] == [] and metadata["header"]["generation"] is False
    installed = {asset["from"] for asset in metadata["install"]["include"]["asset"]}
    assert installed == {"include/antenv.h", "include/antenv.hpp", "include/antenv/*.hpp"}
    assert all(list(ROOT.glob(path)) for path in installed)
    # The number in the library's name is stated where each builder wants it.
    assert metadata["library"]["version_suffix_components"] == 1 and VERSION.split(".")[0] == "0"
    assert "soname,libantenv.so.0" in (ROOT / "build.rs").read_text()
    assert re.findall(r"^abi=(\d+)", (ROOT / "scripts" / "install.sh").read_text(), re.MULTILINE) == ["0"]


def cmake(build: Path, *definitions: str, targets: tuple[str, ...] = ()) -> None:
    """Configures and builds the project of an outsider."""
    source = str(ROOT / "tests" / "packaging" / "cmake")
    environment = os.environ | {"CARGO_TARGET_DIR": str(TARGET)}
    chosen = ["--target", *targets] if targets else []
    for step in (
        ["cmake", "-S", source, "-B", str(build), f"-DEXAMPLES={EXAMPLES}", *(f"-D{each}" for each in definitions)],
        ["cmake", "--build", str(build), *chosen],
    ):
        done = subprocess.run(step, capture_output=True, text=True, env=environment, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("way", ["installed", "as a subdirectory"])
def test_cmake_projects_use_it_in_c_and_cpp_shared_and_static(
    way: str, prefix: Path, emulator: Emulator, tmp_path: Path
) -> None:
    cmake(tmp_path, f"CMAKE_PREFIX_PATH={prefix}" if way == "installed" else f"SOURCES={ROOT}")
    for language in ("c", "cpp"):
        for kind in ("antenv", "static", "fully_static"):  # CMake puts the way to a shared library into a program
            program = tmp_path / f"{language}_{kind}"
            said = run([program], emulator, None)
            assert '"name":"quick start"' in said and "not_found" in said
            needs = subprocess.run(["readelf", "-d", str(program)], check=True, capture_output=True, text=True).stdout
            assert ("libantenv.so.0" in needs) == (kind == "antenv")
            assert ("NEEDED" not in needs) == (kind == "fully_static")


def test_cmake_projects_fetch_it(emulator: Emulator, tmp_path: Path) -> None:
    cmake(tmp_path, f"SOURCES={ROOT}", "FETCH=ON", targets=("c_antenv",))
    assert "not_found" in run([tmp_path / "c_antenv"], emulator, None)
    # Only what is used is built.
    assert not (tmp_path / "c_static").exists()


def test_cmake_names_what_is_missing_to_build_it(tmp_path: Path) -> None:
    nowhere = ("CMAKE_FIND_USE_SYSTEM_ENVIRONMENT_PATH=OFF", "CMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF")
    tools = (f"CMAKE_MAKE_PROGRAM={shutil.which('make')}", f"CMAKE_C_COMPILER={shutil.which('cc')}")
    definitions = [f"-D{each}" for each in (*nowhere, *tools)]
    command = ["cmake", "-S", str(ROOT), "-B", str(tmp_path / "build"), *definitions]
    environment = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and "no cargo on the PATH" in done.stderr, done.stderr


@pytest.mark.parametrize("wanted", ["0.2", "1.0"])
def test_cmake_refuses_another_version(wanted: str, prefix: Path, tmp_path: Path) -> None:
    (tmp_path / "CMakeLists.txt").write_text(
        f"cmake_minimum_required(VERSION 3.16)\nproject(x C)\nfind_package(antenv {wanted} CONFIG REQUIRED)\n"
    )
    configure = ["cmake", "-S", str(tmp_path), "-B", str(tmp_path / "build"), f"-DCMAKE_PREFIX_PATH={prefix}"]
    done = subprocess.run(configure, capture_output=True, text=True, check=False)
    assert done.returncode != 0 and f"version: {VERSION}" in done.stderr


STATIC = ["-tags", "antenv_static"]
FULLY_STATIC = [*STATIC, "-ldflags", '-extldflags "-static"']


@pytest.mark.parametrize("tags", [[], STATIC, FULLY_STATIC], ids=["shared", "static", "fully static"])
def test_a_go_program_builds_with_pkg_config(tags: list[str], prefix: Path, emulator: Emulator, tmp_path: Path) -> None:
    # Go takes no paths with blanks from pkg-config. Its cache does not look into headers and libraries, so the path has
    # to be a new one; a new cache would have the standard library built once more.
    plain = tmp_path / f"prefix-{uuid.uuid4()}"
    plain.symlink_to(prefix)
    # Go's cache ignores what pkg-config returns: with flags of its own, no other build finds this folder there.
    cgo = {"CGO_LDFLAGS": f"-g -O2 -L{plain / 'lib'}"}
    environment = os.environ | cgo | {"PKG_CONFIG_PATH": str(plain / "lib" / "pkgconfig")}
    program = tmp_path / "program"
    source = EXAMPLES / "go" / "quickstart"
    subprocess.run(["go", "build", *tags, "-o", str(program), "."], check=True, cwd=source, env=environment)
    said = run([program], emulator, None if tags else prefix / "lib")
    assert "created: env_" in said and "not found: environment_not_found" in said
    assert needs_nothing(program) == (tags == FULLY_STATIC)


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


@pytest.fixture
def next_to_nothing(tmp_path: Path) -> Path:
    """A copy of the repository with the crates' names, kinds and profiles, but neither code nor dependencies."""
    copy = tmp_path / "repository"
    copy_repository(copy)
    (copy / "build.rs").unlink()
    for manifest in (copy / "Cargo.toml", copy / "cli" / "Cargo.toml", copy / "emulator" / "Cargo.toml"):
        tables = re.split(r"^(?=\[)", manifest.read_text(), flags=re.MULTILINE)
        kept = (table for table in tables if not re.match(r"\[.*dependencies|\[\[example", table))
        manifest.write_text("".join(kept))
        shutil.rmtree(manifest.parent / "src")
        main = manifest.parent / "src" / ("lib.rs" if manifest.parent == copy else "main.rs")
        main.parent.mkdir()
        main.write_text("fn main() {}\n" if main.name == "main.rs" else "")
    subprocess.run(["cargo", "generate-lockfile", "--offline"], cwd=copy, check=True, capture_output=True)
    return copy


def test_the_target_that_cargo_builds_for_is_the_one_that_is_installed(next_to_nothing: Path, tmp_path: Path) -> None:
    """By make and by pip."""
    version = subprocess.run(["rustc", "-vV"], check=True, capture_output=True, text=True).stdout
    (host,) = re.findall(r"^host: (.*)", version, re.MULTILINE)
    # It is this machine's own, for which cargo has another folder all the same.
    folder = tmp_path / "target" / host
    variables = {"CARGO_BUILD_TARGET": host, "CARGO_TARGET_DIR": str(folder.parent)}
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"} | variables

    def do(*command: str) -> None:
        done = subprocess.run(
            command, cwd=next_to_nothing, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stdout + done.stderr

    do("make", "--no-print-directory", "install", "PREFIX=/p", f"DESTDIR={tmp_path}")
    assert not (folder.parent / "release" / "libantenv.so").exists()
    installed, library = (
        tmp_path / "p" / "lib" / f"libantenv.so.{VERSION}",
        (folder / "release" / "libantenv.so").read_bytes(),
    )
    command = (folder / "command" / "antenv").read_bytes()
    assert installed.read_bytes() == library and (tmp_path / "p" / "bin" / "antenv").read_bytes() == command
    assert (tmp_path / "p" / "bin" / "antenv-emulator").exists()
    pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
    do(*pip, "-w", str(tmp_path), "bindings/python")
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read("antenv/libantenv.so") == library and archive.read("antenv/antenv") == command
        assert "antenv/antenv-emulator" in archive.namelist()


def test_what_is_missing_in_a_folder_to_pack_is_named(tmp_path: Path) -> None:
    """In place of a build, pip packs what the folder in ANTENV_BUILT has."""
    (tmp_path / "antenv").touch()
    pip = [sys.executable, "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps", "-w", str(tmp_path)]
    copy = tmp_path / "repository"
    copy_repository(copy)
    command = [*pip, str(copy / "bindings" / "python")]
    environment = os.environ | {"ANTENV_BUILT": str(tmp_path)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    missing = f"ANTENV_BUILT names {tmp_path}, where these are missing: libantenv.so, antenv-emulator"
    assert done.returncode != 0 and missing in done.stderr + done.stdout
