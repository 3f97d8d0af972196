"""Sessions of scripted agents for the tests that serve them, and the tools that these call."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import antenv
from python.worker_env import TIMEOUT, WorkerEnv

#: How long an idle session lasts, in seconds.
IDLE = 0.3


def echo(**input: Any) -> str:
    """Returns its input."""
    return f'{{"echo":{json.dumps(input)}}}'


def fail() -> None:
    """Fails."""
    raise antenv.ToolError("it failed")


def silent() -> None:
    """Returns nothing."""


def slow(call: antenv.ToolCall) -> str:
    """Goes on until its call is void."""
    assert call.wait(TIMEOUT) and call.is_void
    return "too late"


def leave(call: antenv.ToolCall) -> str:
    """Leaves its call to others."""
    call.let_go()
    return "nothing"


async def slow_async() -> None:
    """Goes on until it is cancelled."""
    await asyncio.sleep(TIMEOUT)


async def echo_async(**input: Any) -> str:
    """Returns its input."""
    await asyncio.sleep(0)
    return echo(**input)


TOOLS: list[antenv.tools.AnyTool] = [echo, fail, silent, slow, leave]
ASYNC_TOOLS: list[antenv.tools.AnyTool] = [
    antenv.tool(echo_async, name="echo"),
    antenv.tool(slow_async, name="slow"),
    fail,
    silent,
    leave,
]


def custom(tool: str, **input: Any) -> dict[str, Any]:
    """A step: a call of a custom tool."""
    return {"custom_tool": tool, "input": input}


RESULTS = {"wait": "results"}
STREAM = {"wait": "stream"}


def enqueue(env: WorkerEnv, *steps: dict[str, Any]) -> str:
    """Queues an item whose agent plays these steps; returns its session's identifier."""
    env.emulator.control("POST", "/_emulator/scripts", {"environment_id": env.environment, "steps": steps})
    return str(env.emulator.enqueue(env.environment)["data"]["id"])


def calls_of(env: WorkerEnv, session: str) -> list[dict[str, Any]]:
    """The calls of a session's agent, as the emulator reports them."""
    (report,) = env.emulator.control("GET", f"/_emulator/scripts?session_id={session}")["data"]
    return list(report["calls"])


def results_of(env: WorkerEnv, session: str) -> list[tuple[Any, bool]]:
    """The results that a session's calls got, one each: the text, or the whole content; and whether it is an error."""
    found = []
    for call in calls_of(env, session):
        assert call["answered"] == "once", call
        (attempt,) = (attempt for attempt in call["attempts"] if attempt["accepted"])
        content = attempt["content"]
        is_text = len(content) == 1 and content[0]["type"] == "text"
        found.append((content[0]["text"] if is_text else content, attempt["is_error"]))
    return found
