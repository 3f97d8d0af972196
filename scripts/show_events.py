"""Writes the events of a session, lines of JSON on standard input, as a conversation."""

from __future__ import annotations

import json
import sys
from typing import Any


def text_of(event: dict[str, Any]) -> str:
    """Returns the text in an event's content."""
    return "\n".join(block.get("text", block["type"]) for block in event["content"]).rstrip("\n")


def line(event: dict[str, Any]) -> str | None:
    """Returns an event in words; None for one that is not about messages and tools."""
    kind = event["type"]
    if kind == "agent.message":
        return f"agent: {text_of(event)}"
    if kind in ("agent.tool_use", "agent.custom_tool_use"):
        return f"agent calls {event['name']} {json.dumps(event['input'])}"
    if kind in ("user.tool_result", "user.custom_tool_result"):
        return f"{'error' if event.get('is_error') else 'result'}: {text_of(event)}"
    return None


for event in map(json.loads, sys.stdin):
    if said := line(event):
        print("   " + said.replace("\n", "\n   "), flush=True)
