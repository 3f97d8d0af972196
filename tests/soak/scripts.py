"""Scripts of agents for the soak of sessions, drawn at random: what their calls are, and how each may end."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

from support.agents import RESULTS, STREAM, Steps, text

#: An answer that is the identifier of its call.
OWN = text("own")
#: The tools that count their runs: `who` returns OWN, `slow` goes on until its call is void.
COUNTED = ("who", "slow")
WHO: dict[str, Any] = {"custom_tool": "who", "input": {}}
SLOW: dict[str, Any] = {"custom_tool": "slow", "input": {}}
MIN_CALLS, MAX_CALLS = 5, 50
#: How calls end: answered by a worker or another client, or without an answer.
ENDS = ("answered", "another", "denied", "interrupted", "thread_terminated", "session_terminated")


class Call(NamedTuple):
    """How a call may end: with one of these answers, or without one for one of these reasons."""

    ends: tuple[Any, ...]
    #: The file that the call needs, which an earlier one has written: gone when the item has another holder since.
    file: str | None = None


Part = tuple[Steps, list[Call]]
ANSWERED = Call((OWN,))


def bash(command: str) -> dict[str, Any]:
    return {"tool": "bash", "input": {"command": command}}


def pause(rng: random.Random, longest: int = 600) -> dict[str, Any]:
    return {"pause_ms": rng.randrange(longest)}


def said(rng: random.Random, number: int) -> tuple[dict[str, Any], Call]:
    """A command that says something, and may take a while."""
    command = f"echo {number}" if rng.random() < 0.7 else f"sleep {rng.uniform(0, 0.8):.2f}; echo {number}"
    return bash(command), Call((text(f"{number}\n"),))


def one(rng: random.Random, number: int) -> Part:
    return [WHO, RESULTS], [ANSWERED]


def command(rng: random.Random, number: int) -> Part:
    step, call = rng.choice(
        [
            said(rng, number),
            (bash(f"echo {number}; (exit 3)"), Call((text(f"{number}\nexit code: 3", True),))),
            # The toolset ends such a process with the session.
            (bash("setsid sleep 600 >/dev/null 2>&1 & echo begun"), Call((text("begun\n"),))),
        ]
    )
    return [step, RESULTS], [call]


def files(rng: random.Random, number: int) -> Part:
    """Writes a file, and does something with it."""
    name, content = f"f{number}.txt", f"line {number}\n"
    use, answer = rng.choice(
        [
            ({"tool": "read", "input": {"file_path": name}}, text(content)),
            ({"tool": "glob", "input": {"pattern": name}}, text(name)),
            ({"tool": "grep", "input": {"pattern": f"line {number}", "path": name}}, text(f"{name}:1:line {number}")),
            (
                {"tool": "edit", "input": {"file_path": name, "old_string": "line", "new_string": "row"}},
                text(f"replaced 1 occurrence in {name}"),
            ),
        ]
    )
    write = {"tool": "write", "input": {"file_path": name, "content": content}}
    written = Call((text(f"wrote {len(content)} bytes to {name}"),))
    return [write, RESULTS, use, RESULTS], [written, Call((answer,), file=name)]


def at_once(rng: random.Random, number: int) -> Part:
    """Several calls that are open at once."""
    drawn = [rng.choice([(WHO, ANSWERED), said(rng, number + index)]) for index in range(rng.randrange(2, 5))]
    return [*(step for step, _ in drawn), RESULTS], [call for _, call in drawn]


def thread(rng: random.Random, number: int) -> Part:
    """Calls of a sub-agent beside one of the agent's."""
    name = f"t{number}"
    step, call = said(rng, number)
    steps = [{"start_thread": name}, {**WHO, "thread": name}, WHO, {**step, "thread": name}, RESULTS]
    return [*steps, {"end_thread": name}], [ANSWERED, ANSWERED, call]


def thread_that_ends(rng: random.Random, number: int) -> Part:
    """Calls of a sub-agent that ends before or after they are answered; others go on."""
    name = f"t{number}"
    calls: Steps = [{**WHO, "thread": name}, {**SLOW, "thread": name}, WHO]
    ended = "thread_terminated"
    steps = [{"start_thread": name}, *calls, STREAM, pause(rng), {"end_thread": name}, RESULTS]
    return steps, [Call((OWN, ended)), Call((ended,)), ANSWERED]


def allowed(rng: random.Random, number: int) -> Part:
    step, call = rng.choice([(WHO, ANSWERED), said(rng, number)])
    label = f"ask {number}"
    held = {**step, "permission": rng.choice(["ask", "novel"]), "label": label}
    return [held, WHO, pause(rng), {"confirm": label, "result": "allow"}, RESULTS], [call, ANSWERED]


def denied(rng: random.Random, number: int) -> Part:
    if rng.random() < 0.3:
        return [{**WHO, "permission": "deny"}, RESULTS], [Call(("denied",))]
    label = f"ask {number}"
    steps = [{**WHO, "permission": "ask", "label": label}, pause(rng), {"confirm": label, "result": "deny"}, RESULTS]
    return steps, [Call(("denied",))]


def interrupted(rng: random.Random, number: int) -> Part:
    """Calls that a user interrupts, before or after they are answered."""
    step, call = said(rng, number)
    drawn = [(WHO, ANSWERED), (step, call), (SLOW, Call(()))]
    rng.shuffle(drawn)
    steps = [*(step for step, _ in drawn), *rng.choice([[], [STREAM]]), pause(rng, 1500), {"interrupt": True}]
    # Nothing tells the agent's next calls from those before the interrupt but their time.
    return [*steps, {"pause_ms": 20}], [Call((*call.ends, "interrupted")) for _, call in drawn]


def answered_by_another(rng: random.Random, number: int) -> Part:
    label = f"app {number}"
    app = {"custom_tool": "app", "input": {}, "label": label}
    return [app, pause(rng), {"answer": label}, RESULTS, WHO, RESULTS], [Call(("another",)), ANSWERED]


PARTS: list[Callable[[random.Random, int], Part]] = [
    *(one, command, files, at_once, thread, thread_that_ends),
    *(allowed, denied, interrupted, answered_by_another),
]


def draw(rng: random.Random) -> Part:
    """Returns a script of 5 to 50 calls; some sessions are terminated in the end."""
    steps: Steps = []
    calls: list[Call] = []
    many = rng.randint(MIN_CALLS, MAX_CALLS - 3)
    while len(calls) < many:
        part_steps, part_calls = rng.choice(PARTS)(rng, len(steps))
        steps += part_steps
        calls += part_calls
    if rng.random() < 0.1:
        steps += [SLOW, pause(rng), {"terminate": True}]
        calls.append(Call(("session_terminated",)))
    return steps, calls
