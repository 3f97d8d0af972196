"""Creates a session on an emulator (argv[1]: its URL) whose agent answers the next message; prints its identifier."""

from __future__ import annotations

import json
import sys
import urllib.request
from typing import Any

HEADERS = {
    "authorization": "Bearer any-key",
    "anthropic-version": "2026-10-21",
    "anthropic-beta": "managed-agents-2026-04-01",
    "content-type": "application/json",
}
#: A turn with a call of a tool, for which the session waits until another client answers.
STEPS = [
    {"text": "I look at the files."},
    {"tool": "bash", "input": {"command": "ls"}},
    {"emit": {"type": "session.status_idle", "stop_reason": {"type": "requires_action"}}},
    {"answer": "bash", "content": [{"type": "text", "text": "a.txt"}]},
    {"emit": {"type": "session.status_running"}},
    {"wait": "results"},
    {"text": "There is one file, a.txt."},
]


def post(url: str, body: dict[str, Any]) -> Any:
    """Posts a body, and returns the response's."""
    request = urllib.request.Request(url, json.dumps(body).encode(), HEADERS)
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def main() -> None:
    """Creates an environment, a session in it, and the script of its agent."""
    url = sys.argv[1]
    environment = post(f"{url}/v1/environments", {"name": "scripted", "config": {"type": "self_hosted"}})["id"]
    session = post(f"{url}/v1/sessions", {"agent": "agent_1", "environment_id": environment})["id"]
    post(f"{url}/_emulator/scripts", {"session_id": session, "start": "message", "steps": STEPS})
    print(session)


if __name__ == "__main__":
    main()
