"""Where the build puts things, and what compiles the C, C++ and Go programs of the tests against the built library."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
# Where cargo puts what it builds: in a folder of its own when a target is named (which may be a file).
BUILT = TARGET / Path(os.environ.get("CARGO_BUILD_TARGET", "")).name.removesuffix(".json")
BINARY = Path(os.environ.get("ANTENV_EMULATOR", BUILT / "quick" / "antenv-emulator"))
LIBRARY = BUILT / "release"
# What Go programs need to find the library, which `make prefix` installs there, and the emulator.
GO = {
    "PKG_CONFIG_PATH": str(TARGET / "prefix" / "lib" / "pkgconfig"),
    "LD_LIBRARY_PATH": str(TARGET / "prefix" / "lib"),
    "ANTENV_EMULATOR": str(BINARY),
}
GO_MODULE = (ROOT / "bindings" / "go" / "go.mod").read_text().split()[1]
WARNINGS = ("-Wall", "-Wextra", "-Werror", "-pedantic")


# What xdist calls the run that this process is a part of.
RUN = os.environ.get("PYTEST_XDIST_TESTRUNUID", uuid.uuid4().hex)


@contextmanager
def once_in_a_run(source: Path, program: Path) -> Iterator[Path | None]:
    """Gives the path to write a program to, or None when another process of this test run has built it.

    The program is replaced as a whole when the block is left: a test of another run may be using the one before.
    """
    program.parent.mkdir(parents=True, exist_ok=True)
    built = f"{RUN} {source}"
    with program.with_name(f"{program.name}.run").open("a+") as note:
        fcntl.flock(note, fcntl.LOCK_EX)
        note.seek(0)
        if note.read() == built and program.exists():
            yield None
            return
        note.truncate(0)
        fresh = program.with_name(f"{program.name}.{os.getpid()}")
        yield fresh
        fresh.replace(program)
        note.write(built)


@dataclass(frozen=True)
class Platform:
    """Another platform, for which zig compiles programs."""

    rust: str
    zig: str
    # What runs its programs here, if the system does not.
    runner: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    posix: bool = True

    @property
    def library(self) -> Path:
        """Where `make platforms` puts the library."""
        return TARGET / "platforms" / self.rust / "debug"


ARM = "/usr/aarch64-linux-gnu"
PLATFORMS = {
    # Named, since the loader would take another build of glibc where Debian's for Arm is installed, too.
    "aarch64": Platform(
        "aarch64-unknown-linux-gnu",
        "aarch64-linux-gnu",
        ("qemu-aarch64", "-L", ARM, "-E", f"LD_LIBRARY_PATH={ARM}/lib"),
        ("-lantenv", "-ldl"),
    ),
    "i686": Platform("i686-unknown-linux-gnu", "x86-linux-gnu", (), ("-lantenv", "-ldl")),
    "musl": Platform("x86_64-unknown-linux-musl", "x86_64-linux-musl", (), ("-dynamic", "-lantenv")),
    "musl-static": Platform("x86_64-unknown-linux-musl", "x86_64-linux-musl", (), ("-static", "-lantenv", "-lunwind")),
    "windows": Platform("x86_64-pc-windows-gnu", "x86_64-windows-gnu", ("wine",), ("-lantenv", "-lws2_32"), False),
}


@cache
def compile_c(
    source: Path, *flags: str, compiler: str | None = None, standard: str | None = None, platform: str | None = None
) -> Path:
    """Compiles a C or C++ program into a folder of the build's; returns its path.

    It is linked with the shared library: with a sanitizer among the flags, with the one that is instrumented likewise.
    """
    kind = "-".join(flag.strip("-").replace("=", "-") for flag in flags) or platform or "plain"
    is_cpp = source.suffix == ".cpp"
    compiler, standard = compiler or ("g++" if is_cpp else "cc"), standard or ("c++17" if is_cpp else "c11")
    # Sources in different folders may have the same name.
    program = TARGET / "c-tests" / f"{'-'.join(source.parts[-3:])}-{compiler}-{standard}-{kind}"
    with once_in_a_run(source, program) as fresh:
        if fresh:
            options = [f"-std={standard}", "-g", "-O1", *WARNINGS, *flags, f"-I{ROOT / 'include'}"]
            if platform:
                compile_for(PLATFORMS[platform], [*options, str(source)], fresh)
            else:
                link([compiler, *options], source, flags, fresh)
    return program


def compile_for(platform: Platform, command: list[str], program: Path) -> None:
    """Runs a compiler's command, but for the compiler, to link a program for another platform."""
    compiler = [sys.executable, "-m", "ziglang", "cc", "-target", platform.zig]
    libraries = [f"-L{platform.library}", *platform.flags, f"-Wl,-rpath,{platform.library}", "-pthread"]
    subprocess.run([*compiler, *command, *libraries, "-o", str(program)], check=True)


def link(command: list[str], source: Path, flags: tuple[str, ...], program: Path) -> None:
    """Runs a compiler's command with what it needs to link a program with the library."""
    sanitizer = next((flag.split("=")[1].split(",")[0] for flag in flags if flag.startswith("-fsanitize=")), None)
    library = next((TARGET / sanitizer).glob("*/quick/libantenv.so")).parent if sanitizer else LIBRARY
    objects, runtime = [str(source)], []
    if sanitizer:
        # The compiler's own runtime may know less than Rust's code asks of it; Rust's serves both.
        objects = []
        # Rust's runtime knows nothing of this check; and g++ takes what sanitizers add for uses of what is not there.
        command += ["-fno-sanitize=vptr", "-Wno-maybe-uninitialized"] if source.suffix == ".cpp" else []
        for part in (source, ROOT / "tests" / "c" / "sanitizers.c"):
            objects.append(f"{program}-{part.stem}.o")
            subprocess.run([*command, "-c", str(part), "-o", objects[-1]], check=True)
        archive = rust_runtime(f"{sanitizer[0]}san")
        runtime = [
            "-Wl,--whole-archive",
            str(archive),
            "-Wl,--no-whole-archive",
            "-rdynamic",
            "-lm",
            "-lrt",
            "-lresolv",
        ]
        command = command[:1]
    command += [*objects, *runtime, f"-L{library}", "-lantenv", f"-Wl,-rpath,{library}", "-pthread", "-ldl"]
    subprocess.run([*command, "-o", str(program)], check=True)


def rust_runtime(sanitizer: str) -> Path:
    """The runtime of a sanitizer that comes with the Rust compiler."""
    sysroot = subprocess.run(["rustc", "--print", "sysroot"], check=True, capture_output=True, text=True).stdout.strip()
    return next(Path(sysroot).glob(f"lib/rustlib/*/lib/librustc-*_rt.{sanitizer}.a"))


@cache
def build_go(package: Path, *flags: str) -> Path:
    """Builds a Go program into a folder of the build's; returns its path."""
    program = TARGET / "go" / "-".join([package.name, *flags]).replace("=", "-")
    with once_in_a_run(package, program) as fresh:
        if fresh:
            command = ["go", "build", *flags, "-o", str(fresh), "."]
            subprocess.run(command, check=True, cwd=package, env=os.environ | GO)
    return program
