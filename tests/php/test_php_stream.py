"""Streams, downloads and queues in PHP: tests/php/stream.php does it all."""

from __future__ import annotations

from pathlib import Path

import pytest

from php.running import run_tests


@pytest.mark.transports
def test_streams_and_queues(transport: str, tmp_path: Path) -> None:
    run_tests("stream.php", transport, tmp_path)
