"""Seconds here, milliseconds in the library: parameters on their way in, messages on their way out."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

#: The parameters that are seconds in Python. The library has them with `_ms` behind their names.
SECONDS = frozenset(
    (
        "timeout",
        "attempt_timeout",
        "connect_timeout",
        "idle_timeout",
        "idle_after",
        "idle_min",
        "idle_max",
        "grace",
        "rescue_after",
        "max_idle",
        "tool_timeout",
    )
)
_NAME = re.compile(rf"\b({'|'.join(SECONDS)})_ms\b")
_RANGE = re.compile(rf"(`(?:{'|'.join(SECONDS)})_ms` must be) a whole number from (\d+) to (\d+)")
_LIMIT = re.compile(rf"(`(?:{'|'.join(SECONDS)})_ms`) \((\d+)\)")


def to_milliseconds(params: Mapping[str, Any]) -> Mapping[str, Any]:
    """Returns the parameters as the library takes them."""
    if SECONDS.isdisjoint(params):
        return params
    return {
        f"{name}_ms" if name in SECONDS else name: _milliseconds(value) if name in SECONDS else value
        for name, value in params.items()
    }


def _milliseconds(seconds: Any) -> Any:
    """Returns whole milliseconds, rounded up. What is not a finite number is left to the library, which rejects it."""
    return math.ceil(seconds * 1000) if isinstance(seconds, (int, float)) and math.isfinite(seconds) else seconds


def name_in_python(parameter: str | None) -> str | None:
    """Returns the Python name of a parameter of the library."""
    return parameter and _NAME.sub(r"\1", parameter)


def text_in_python(message: str) -> str:
    """Returns a message of the library with Python's names, and with bounds in seconds."""
    if "_ms" not in message:
        return message
    message = _RANGE.sub(lambda m: f"{m[1]} a number of seconds from {_seconds(m[2])} to {_seconds(m[3])}", message)
    message = _LIMIT.sub(lambda m: f"{m[1]} ({_seconds(m[2])})", message)
    return _NAME.sub(r"\1", message)


def _seconds(milliseconds: str) -> str:
    return f"{int(milliseconds) / 1000:.3f}".rstrip("0").rstrip(".")
