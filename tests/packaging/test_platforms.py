"""Other platforms: programs for Windows in wine, static ones of Go. C programs run in tests marked by their ways."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.build import PLATFORMS, ROOT, compile_c, compile_for
from support.emulator import Emulator

pytestmark = pytest.mark.deep
# wine 8 lacks this library of every Windows, where Rust takes the seeds of its hash tables from.
RANDOM = """
#include <windows.h>
BOOLEAN NTAPI SystemFunction036(void *bytes, ULONG count);
__declspec(dllexport) BOOL WINAPI ProcessPrng(unsigned char *bytes, SIZE_T count);
BOOL WINAPI ProcessPrng(unsigned char *bytes, SIZE_T count) { return SystemFunction036(bytes, (ULONG)count); }
"""


@pytest.fixture
def wine(tmp_path: Path) -> Iterator[dict[str, str]]:
    """The variables with which wine finds the library; a folder of its own that looks like a disk of Windows."""
    shutil.copy2(PLATFORMS["windows"].library / "antenv.dll", tmp_path)
    (tmp_path / "random.c").write_text(RANDOM)
    options = ["-shared", "-O1", str(tmp_path / "random.c"), "-ladvapi32"]
    compile_for(PLATFORMS["windows"], options, tmp_path / "bcryptprimitives.dll")
    variables = {
        "PATH": os.environ["PATH"],
        "HOME": str(tmp_path),
        "WINEPREFIX": str(tmp_path / "wine"),
        "WINEPATH": f"Z:{tmp_path}",
        "WINEDEBUG": "-all",
        "WINEDLLOVERRIDES": "mscoree,mshtml=",
    }
    yield variables
    subprocess.run(["wineserver", "-k"], env=variables, check=False)


def run_in_wine(source: Path, variables: dict[str, str], *arguments: str) -> list[str]:
    """Compiles a C program for Windows and runs it to a good end in wine. Returns the lines it printed."""
    command = ["wine", str(compile_c(source, platform="windows")), *arguments]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.splitlines()


def test_programs_run_on_windows(wine: dict[str, str], emulator: Emulator) -> None:
    """The quick start, and one that waits for a queue's socket."""
    variables = wine | {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "an-api-key"}
    created, listed, missing = run_in_wine(ROOT / "examples" / "c" / "quickstart.c", variables)
    assert created.startswith("created: {") and listed.startswith("listed: {") and "not_found" in missing
    source = ROOT / "tests" / "c" / "windows" / "queue.c"
    assert run_in_wine(source, wine, emulator.url) == ["queue on Windows: as it should be"]


def test_a_go_program_is_static_with_musl(tmp_path: Path, emulator: Emulator) -> None:
    library = PLATFORMS["musl-static"].library / "libantenv.a"
    described = f"Name: antenv\nDescription: static\nVersion: 0\nLibs: {library}\nCflags: -I{ROOT / 'include'}\n"
    (tmp_path / "antenv-static.pc").write_text(described)
    program = tmp_path / "quickstart"
    compiler = f"{sys.executable} -m ziglang cc -target {PLATFORMS['musl-static'].zig}"
    building = os.environ | {
        "CC": compiler,
        "CGO_ENABLED": "1",
        "CGO_LDFLAGS": "-lunwind",  # which zig does not add by itself
        "PKG_CONFIG_PATH": str(tmp_path),
    }
    command = ["go", "build", "-tags", "antenv_static", "-ldflags", '-linkmode external -extldflags "-static"', "-o"]
    subprocess.run([*command, program, "."], check=True, cwd=ROOT / "examples" / "go" / "quickstart", env=building)
    needs = subprocess.run(["readelf", "--dynamic", program], check=True, capture_output=True, text=True).stdout
    assert "NEEDED" not in needs
    variables = {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "an-api-key"}
    said = subprocess.run([program], env=variables, check=True, capture_output=True, text=True).stdout
    assert "not_found" in said
