"""Builds wheels for other Linux systems than this one, has auditwheel check them, and tries what is in them.

python scripts/wheels.py FOLDER [TARGET...]

The programs of packaging/zig.txt are on the PATH, as `make wheels` has them. A target is one of PLATFORMS; by default
all of them are built. Wheels of other targets stay in the folder.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# For each of cargo's targets (with the oldest glibc to run on): what PyPI calls it, and what runs its programs here,
# if that is known.
PLATFORMS: dict[str, tuple[str, tuple[str, ...] | None]] = {
    "x86_64-unknown-linux-gnu.2.17": ("manylinux_2_17_x86_64", ()),
    "aarch64-unknown-linux-gnu.2.17": ("manylinux_2_17_aarch64", ("qemu-aarch64", "-L", "/usr/aarch64-linux-gnu")),
    "x86_64-unknown-linux-musl": ("musllinux_1_2_x86_64", ()),
    "aarch64-unknown-linux-musl": ("musllinux_1_2_aarch64", None),
}


def build(target: str, platform: str, folder: Path) -> Path:
    """Builds the wheel for a target into the folder; returns its path."""
    environment = os.environ | {
        "CARGO": str(ROOT / "scripts" / "zig.sh"),
        "CARGO_BUILD_TARGET": target,
        "CARGO_PROFILE_QUICK_STRIP": "symbols",  # the emulator's, whose processor this machine's `strip` may not know
        "STRIP": "true",
        "_PYTHON_HOST_PLATFORM": f"linux-{target.partition('-')[0]}",
    }
    with tempfile.TemporaryDirectory() as built:
        command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "-w", built, ROOT / "bindings" / "python"], check=True, env=environment)
        (wheel,) = Path(built).glob("*.whl")
        # It fails if a program or library in the wheel needs more than the platform promises.
        command = [sys.executable, "-m", "auditwheel", "repair", "--plat", platform, "--only-plat", "-w", str(folder)]
        subprocess.run([*command, wheel], check=True, stdout=subprocess.DEVNULL)
    (made,) = folder.glob(f"*-{platform}.whl")
    return made


def run(wheel: Path, runner: tuple[str, ...]) -> None:
    """Has the wheel's command call the wheel's emulator."""
    with tempfile.TemporaryDirectory() as folder:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(folder)
        programs = Path(folder) / "antenv"
        for name in ("antenv", "antenv-emulator"):
            (programs / name).chmod(0o755)
        command = [*runner, str(programs / "antenv-emulator"), "--port", "0", "--auth", "any", "--until-stdin-closes"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as emulator:
            assert emulator.stdout
            url = emulator.stdout.readline().strip()
            variables = os.environ | {"ANTHROPIC_BASE_URL": url, "ANTHROPIC_API_KEY": "any"}
            command = [*runner, str(programs / "antenv"), "call", "environments.list"]
            said = subprocess.run(command, check=True, env=variables, stdout=subprocess.PIPE, timeout=120).stdout
            assert json.loads(said)["data"] == [], said
            emulator.communicate()


def main() -> None:
    folder = Path(sys.argv[1])
    for target in sys.argv[2:] or PLATFORMS:
        platform, runner = PLATFORMS[target]
        print(f"== building the wheel for {platform}", flush=True)
        wheel = build(target, platform, folder)
        if runner is None or (runner and not shutil.which(runner[0])):
            print(f"{wheel}: auditwheel agrees; not run here", flush=True)
        else:
            run(wheel, runner)
            print(f"{wheel}: auditwheel agrees; its command has called its emulator", flush=True)


if __name__ == "__main__":
    main()
