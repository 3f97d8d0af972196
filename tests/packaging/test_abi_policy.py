"""docs/abi-policy.md: the binary interface is the recorded one, and every kind of break would be noticed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from support.build import ROOT

HEADER = ROOT / "include" / "antenv.h"


def check(header: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "scripts" / "abi.py"), "check", str(header)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def altered(folder: Path, before: str, after: str) -> Path:
    text = HEADER.read_text()
    assert text.count(before) == 1
    header = folder / "antenv.h"
    header.write_text(text.replace(before, after))
    return header


def test_the_interface_is_the_recorded_one() -> None:
    done = check(HEADER)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("antenv_status antenv_shutdown(int64_t timeout_ms);", ""),
        ("antenv_status antenv_shutdown(int64_t timeout_ms);", "antenv_status antenv_shutdown(int32_t timeout_ms);"),
        (
            "antenv_status antenv_shutdown(int64_t timeout_ms);",
            "antenv_status antenv_shutdown(int64_t timeout_ms, int now);",
        ),
        ("uint32_t antenv_abi_version(void);", "uint64_t antenv_abi_version(void);"),
        ("    ANTENV_CONFLICT = 106,", "    ANTENV_CONFLICT = 206,"),
        ("    ANTENV_CONFLICT = 106,", ""),
        ("    uint64_t tag;", "    uint32_t tag;"),
        ("    char *json;\n} antenv_completion;", "    char *json;\n    int more;\n} antenv_completion;"),
    ],
    ids=[
        "a function goes",
        "a parameter's type changes",
        "a parameter comes",
        "a result's type changes",
        "a constant changes",
        "a constant goes",
        "a field's type changes",
        "a field comes",
    ],
)
def test_a_break_is_noticed(before: str, after: str, tmp_path: Path) -> None:
    done = check(altered(tmp_path, before, after))
    assert done.returncode not in (0, 1), done.stdout + done.stderr  # 1: abidiff itself failed
    assert done.stdout


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("uint32_t antenv_abi_version(void);", "uint32_t antenv_abi_version(void);\nuint32_t antenv_novel(void);"),
        ("    ANTENV_HTTP_STATUS = 113\n", "    ANTENV_HTTP_STATUS = 113,\n    ANTENV_NOVEL = 114\n"),
    ],
    ids=["a function comes", "a constant comes"],
)
def test_an_addition_is_no_break(before: str, after: str, tmp_path: Path) -> None:
    done = check(altered(tmp_path, before, after))
    assert done.returncode == 0, done.stdout + done.stderr
