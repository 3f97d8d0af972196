"""Workers and leases in PHP: tests/php/worker.php does it all."""

from __future__ import annotations

from pathlib import Path

import pytest

from php.running import run_tests

pytestmark = [pytest.mark.transports, pytest.mark.long]


def test_workers(transport: str, tmp_path: Path) -> None:
    run_tests("worker.php", transport, tmp_path)
