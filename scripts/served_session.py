"""Queues a session on an emulator (argv[1]: its URL) whose agent calls tools; prints environment, key, and session."""

from __future__ import annotations

import sys

from scripts.scripted_session import post

STEPS = [
    {"text": "I write a program, and run it."},
    {"tool": "write", "input": {"file_path": "hello.sh", "content": "echo hello from $(pwd | cut -c1-5)...\n"}},
    {"wait": "results"},
    {"tool": "bash", "input": {"command": "sh hello.sh"}},
    {"wait": "results"},
    {"tool": "grep", "input": {"pattern": "hello"}},
    {"tool": "read", "input": {"file_path": "/etc/shadow"}},
    {"wait": "results"},
    {"custom_tool": "weather", "input": {"city": "Berlin"}},
    {"wait": "results"},
    {"text": "The program works, and it is 12 degrees."},
]


def main() -> None:
    """Creates an environment with a key, a session in it, and the script of its agent."""
    url = sys.argv[1]
    environment = post(f"{url}/v1/environments", {"name": "served", "config": {"type": "self_hosted"}})["id"]
    key = post(f"{url}/_emulator/environment_keys", {"environment_id": environment})["environment_key"]
    session = post(f"{url}/v1/sessions", {"agent": "agent_1", "environment_id": environment})["id"]
    post(f"{url}/_emulator/scripts", {"session_id": session, "steps": STEPS})
    print(environment, key, session)


if __name__ == "__main__":
    main()
