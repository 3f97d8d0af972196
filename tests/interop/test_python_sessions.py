"""The official Python client and its worker, unchanged, serve the sessions of scripted agents to their end.
Where they and the emulator disagree, the emulator is wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from anthropic import (
    Anthropic,
    APIStatusError,
    AsyncAnthropic,
    BadRequestError,
    DefaultAsyncHttpxClient,
    beta_async_tool,
)
from anthropic.lib.tools.agent_toolset import AgentToolContext, beta_agent_toolset_20260401
from anthropic.types.beta import (
    BetaEnvironment,
    BetaManagedAgentsDeltaEvent,
    BetaManagedAgentsSession,
    BetaManagedAgentsStartEvent,
)

from interop.python_sdk import API_KEY, operations, refused, settings
from support.emulator import Emulator

pytestmark = [pytest.mark.usefixtures("clean_environment"), pytest.mark.transports, pytest.mark.deep]

Steps = list[dict[str, Any]]
PREVIEWS = (BetaManagedAgentsStartEvent, BetaManagedAgentsDeltaEvent)
# Only a failing test waits for that long, in seconds.
TIMEOUT = 60
TOOLS: Steps = [
    {"thinking": True},
    {"text": "I write a file, and look at it."},
    {"tool": "write", "input": {"file_path": "notes/a.txt", "content": "one\ntwo\n"}},
    {"wait": "results"},
    {"tool": "edit", "input": {"file_path": "notes/a.txt", "old_string": "two", "new_string": "three"}},
    {"wait": "results"},
    # Three at once.
    {"tool": "read", "input": {"file_path": "notes/a.txt"}},
    {"tool": "glob", "input": {"pattern": "**/*.txt"}},
    {"tool": "grep", "input": {"pattern": "thr", "path": "notes"}},
    {"wait": "results"},
    {"tool": "bash", "input": {"command": "cat notes/a.txt; touch ran; (exit 3)"}, "permission": "ask"},
    {"wait": "confirmations"},
    {"custom_tool": "weather", "input": {"city": "Berlin"}},
    {"wait": "results"},
    {"tool": "bash", "label": "denied", "input": {"command": "touch denied"}, "permission": "deny"},
    {"start_thread": "helper"},
    {"tool": "bash", "label": "helper", "input": {"command": "true"}, "thread": "helper"},
    {"wait": "results"},
    {"text": "Done."},
]


@beta_async_tool
async def weather(city: str) -> str:
    """Reports the weather of a city."""
    return f"sunny in {city}"


def create(emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, steps: Steps) -> BetaManagedAgentsSession:
    """Creates a session whose agent plays these steps."""
    emulator.control("POST", "/_emulator/scripts", {"environment_id": hosted.id, "steps": steps})
    return client.beta.sessions.create(agent="agent_interop", environment_id=hosted.id)


def report(emulator: Emulator, session: BetaManagedAgentsSession) -> dict[str, Any]:
    """Returns how the agent of a session was answered."""
    found: dict[str, Any] = emulator.control("GET", f"/_emulator/scripts?session_id={session.id}")["data"][0]
    return found


def calls(found: dict[str, Any]) -> Iterator[tuple[str, str, str | None, bool | None]]:
    """The calls of a report: label, how often it was answered, the text of the answer, whether that is an error."""
    for call in found["calls"]:
        accepted = [attempt for attempt in call["attempts"] if attempt["accepted"]]
        text = accepted[0]["content"][0]["text"] if accepted else None
        yield call["label"], call["answered"], text, accepted[0]["is_error"] if accepted else None


@asynccontextmanager
async def serving(emulator: Emulator, hosted: BetaEnvironment, workdir: Path) -> AsyncIterator[None]:
    """The official worker serves the environment: over HTTP/2 where the emulator speaks it."""
    http = DefaultAsyncHttpxClient(http2=emulator.url.startswith("https"))
    async with AsyncAnthropic(api_key=API_KEY, http_client=http, **settings(emulator)) as client:
        worker = client.beta.environments.work.worker(
            environment_id=hosted.id,
            environment_key=emulator.environment_key(hosted.id),
            workdir=workdir,
            tools=with_weather,
            max_idle=0.2,
        )
        running = asyncio.create_task(worker.run())
        async with asyncio.timeout(TIMEOUT):
            yield
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def with_weather(context: AgentToolContext) -> Any:
    """The official toolset, and one tool more."""
    return [*beta_agent_toolset_20260401(context), weather]


async def ended(emulator: Emulator, session: BetaManagedAgentsSession) -> None:
    """Returns once the agent has played all its steps, and every item is stopped."""
    while True:
        items = {event["work_id"]: event["event"] for event in emulator.control("GET", "/_emulator/history")["data"]}
        if report(emulator, session)["done"] and set(items.values()) == {"stopped"}:
            return
        await asyncio.sleep(0.05)


def test_the_official_worker_serves_a_session_to_its_end(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, tmp_path: Path
) -> None:
    session = create(strict_emulator, client, hosted, TOOLS)

    async def serve() -> None:
        async with serving(strict_emulator, hosted, tmp_path):
            while not (held := [call for call in report(strict_emulator, session)["calls"] if call["name"] == "bash"]):
                await asyncio.sleep(0.05)
            client.beta.sessions.events.send(
                session.id, events=[{"type": "user.tool_confirmation", "tool_use_id": held[0]["id"], "result": "allow"}]
            )
            await ended(strict_emulator, session)

    asyncio.run(serve())
    answers = list(calls(report(strict_emulator, session)))
    assert [(label, answered) for label, answered, _, _ in answers] == [
        *[(name, "once") for name in ("write", "edit", "read", "glob", "grep", "bash", "weather")],
        ("denied", "never"),
        ("helper", "once"),
    ]
    texts = {label: text for label, _, text, _ in answers}
    assert texts["read"] == "one\nthree\n"
    assert str(texts["glob"]).endswith("notes/a.txt") and "three" in str(texts["grep"])
    assert "three" in str(texts["bash"]) and texts["weather"] == "sunny in Berlin"
    assert texts["helper"] == "(no output)"
    assert [label for label, _, _, is_error in answers if is_error] == ["bash"]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name in ("ran", "denied")) == ["ran"]
    kinds = [event.type for event in client.beta.sessions.events.list(session.id, limit=3)]
    assert kinds[:3] == ["session.status_running", "agent.thinking", "agent.message"]
    assert kinds[-1] == "session.status_idle" and kinds.count("agent.tool_result") == 1
    requests = strict_emulator.take_requests()
    streams = [request for request in requests if request["operation"] == "sessions.events.stream"]
    assert {stream["http"] for stream in streams} == {"2" if strict_emulator.url.startswith("https") else "1.1"}


def test_the_official_worker_has_the_sessions_skill_and_memory(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, tmp_path: Path
) -> None:
    files = {
        "name": "pdf",
        "files": {"SKILL.md": "# How to read a PDF", "run.sh": {"text": "exit", "executable": True}},
    }
    skill = strict_emulator.control("POST", "/_emulator/skills", files)
    store = strict_emulator.control(
        "POST", "/_emulator/memory_stores", {"name": "Notes", "memories": {"/todo.md": "old", "/done.md": "gone soon"}}
    )["id"]
    steps: Steps = [
        {"tool": "read", "input": {"file_path": "skills/pdf/SKILL.md"}},
        {"tool": "bash", "input": {"command": f"cat memory/{store}/todo.md && test -x skills/pdf/run.sh"}},
        {"wait": "results"},
        {"tool": "write", "input": {"file_path": f"memory/{store}/todo.md", "content": "new"}},
        {"tool": "bash", "label": "add", "input": {"command": f"echo added > memory/{store}/sub.md"}},
        {"wait": "results"},
    ]
    strict_emulator.control("POST", "/_emulator/scripts", {"environment_id": hosted.id, "steps": steps})
    session = client.beta.sessions.create(
        agent={
            "type": "agent_with_overrides",
            "id": "agent_interop",
            "skills": [{"type": "custom", "skill_id": skill["skill_id"], "version": "latest"}],
        },
        environment_id=hosted.id,
        resources=[{"type": "memory_store", "memory_store_id": store, "access": "read_write"}],
    )

    async def serve() -> None:
        async with serving(strict_emulator, hosted, tmp_path):
            await ended(strict_emulator, session)

    asyncio.run(serve())
    answers = {
        label: text for label, answered, text, is_error in calls(report(strict_emulator, session)) if not is_error
    }
    assert answers["read"] == "# How to read a PDF" and answers["bash"] == "old"
    memories = client.beta.memory_stores.memories.list(store, view="full")
    contents = {memory.path: memory.content for memory in memories if memory.type == "memory"}
    assert contents == {"/todo.md": "new", "/done.md": "gone soon", "/sub.md": "added\n"}
    assert not (tmp_path / "memory" / store).exists() and not (tmp_path / "skills" / "pdf").exists()


def test_a_second_message_gets_a_second_item_and_a_second_turn(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, tmp_path: Path
) -> None:
    steps: Steps = [{"idle": "end_turn"}, {"tool": "bash", "input": {"command": "echo second"}}, {"wait": "results"}]
    session = create(strict_emulator, client, hosted, steps)

    async def serve() -> None:
        async with serving(strict_emulator, hosted, tmp_path):
            while client.beta.environments.work.stats(hosted.id).depth or not stopped(strict_emulator):
                await asyncio.sleep(0.05)
            say(client, session, "and now?")
            await ended(strict_emulator, session)

    asyncio.run(serve())
    assert list(calls(report(strict_emulator, session))) == [("bash", "once", "second", False)]
    assert len(stopped(strict_emulator)) == 2


def test_the_official_worker_gets_over_streams_that_break(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, tmp_path: Path
) -> None:
    one: Steps = [{"tool": "bash", "input": {"command": "echo $((++n))"}}, {"wait": "results"}]
    session = create(strict_emulator, client, hosted, one * 4)
    stream = "sessions.events.stream"
    strict_emulator.faults(
        {"operation": stream, "status": 503},
        {"operation": stream, "stream": {"then": "end"}},
        {"operation": stream, "stream": {"after": 1, "then": "cut", "pieces": 5}},
        {"operation": stream, "stream": {"after": 1, "then": "error"}},
        {"operation": stream, "stream": {"after": 2, "then": "end"}},
        {"operation": "sessions.events.list", "status": 500},
        {"operation": "sessions.events.send", "status": 409},
        {"operation": stream, "stream": {"pieces": 3}, "count": 100},
    )

    async def serve() -> None:
        async with serving(strict_emulator, hosted, tmp_path):
            await ended(strict_emulator, session)

    asyncio.run(serve())
    found = list(calls(report(strict_emulator, session)))
    assert [(answered, text) for _, answered, text, _ in found] == [("once", str(number)) for number in (1, 2, 3, 4)]
    assert operations(strict_emulator.take_requests()).count(stream) >= 2


def test_an_ended_thread_and_a_terminated_session_take_no_more_results(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, tmp_path: Path
) -> None:
    steps: Steps = [
        {"start_thread": "helper"},
        {"tool": "bash", "label": "dead", "input": {"command": "touch dead"}, "thread": "helper"},
        {"end_thread": "helper"},
        {"tool": "bash", "label": "alive", "input": {"command": "echo alive"}},
        {"wait": "results"},
        {"terminate": True},
    ]
    session = create(strict_emulator, client, hosted, steps)

    async def serve() -> None:
        async with serving(strict_emulator, hosted, tmp_path):
            await ended(strict_emulator, session)

    asyncio.run(serve())
    found = [(label, answered) for label, answered, _, _ in calls(report(strict_emulator, session))]
    assert found == [("dead", "never"), ("alive", "once")]
    assert client.beta.sessions.retrieve(session.id).status == "terminated"
    with refused(BadRequestError):
        say(client, session, "still there?")


def test_the_client_streams_what_happens_with_previews(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment
) -> None:
    session = client.beta.sessions.create(agent="agent_interop", environment_id=hosted.id)
    seen = []
    with client.beta.sessions.events.stream(session.id, event_deltas=["agent.message", "agent.thinking"]) as stream:
        steps: Steps = [{"thinking": True}, {"text": "A text that is longer than a fragment."}]
        strict_emulator.control("POST", "/_emulator/scripts", {"session_id": session.id, "steps": steps})
        for event in stream:
            seen.append(event)
            if event.type == "session.status_idle":
                break
    kept = [event.id for event in client.beta.sessions.events.list(session.id)]
    assert [event.id for event in seen if not isinstance(event, PREVIEWS)] == kept
    fragments = [event.delta.content.text for event in seen if event.type == "event_delta"]
    assert "".join(fragments) == steps[1]["text"] and len(fragments) > 1


def test_an_error_on_a_stream_is_raised_and_the_events_are_still_listed(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment
) -> None:
    session = client.beta.sessions.create(agent="agent_interop", environment_id=hosted.id)
    strict_emulator.faults({"operation": "sessions.events.stream", "stream": {"after": 1, "then": "error"}})
    with client.beta.sessions.events.stream(session.id) as stream:
        say(client, session, "hello")
        assert next(iter(stream)).type == "user.message"
        with pytest.raises(APIStatusError) as caught:
            next(iter(stream))
    assert caught.value.type == "overloaded_error"
    assert [event.type for event in client.beta.sessions.events.list(session.id, order="desc", types=["user.message"])]


def say(client: Anthropic, session: BetaManagedAgentsSession, text: str) -> None:
    """Sends a message to a session."""
    client.beta.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": text}]}]
    )


def stopped(emulator: Emulator) -> list[str]:
    """The items that were stopped."""
    events = emulator.control("GET", "/_emulator/history")["data"]
    return [event["work_id"] for event in events if event["event"] == "stopped"]
