"""What every test may ask for."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from emulator import ROOT, Emulator
from native import Driver, compile_c


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """An emulator that accepts any credential."""
    with Emulator("--auth", "any") as running:
        yield running


@pytest.fixture
def strict_emulator() -> Iterator[Emulator]:
    """An emulator that checks credentials as the service does."""
    with Emulator() as running:
        yield running


@pytest.fixture(scope="session")
def shared_emulator() -> Iterator[Emulator]:
    """One emulator for the whole run, for tests that do not mind what it holds."""
    with Emulator("--auth", "any") as running:
        yield running


@pytest.fixture(scope="session")
def driver_program() -> Path:
    """The driver, compiled."""
    return compile_c(ROOT / "tests" / "c" / "driver.c")


@pytest.fixture
def driver(driver_program: Path) -> Iterator[Driver]:
    """The driver, running."""
    with Driver(driver_program) as running:
        yield running
