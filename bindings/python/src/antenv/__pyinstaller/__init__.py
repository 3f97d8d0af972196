"""For PyInstaller, which finds this by the wheel's entry point."""

from __future__ import annotations

import os


def get_hook_dirs() -> list[str]:
    """Where the hooks are."""
    return [os.path.dirname(__file__)]
