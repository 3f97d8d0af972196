"""Clients, results, pages and exceptions in PHP: tests/php/client.php does it all."""

from __future__ import annotations

from pathlib import Path

import pytest

from php.running import run_tests

pytestmark = pytest.mark.transports


def test_clients(transport: str, tmp_path: Path) -> None:
    run_tests("client.php", transport, tmp_path)
