"""Never run: what mypy --strict and pyright are to make of the package."""

from typing import Any, cast

from typing_extensions import assert_type

import antenv
from antenv.types import (
    CloudConfig,
    CloudConfigParams,
    CustomToolParams,
    Environment,
    EnvironmentCreateParams,
    EnvironmentDeleted,
    Event,
    LeaseState,
    ListedMemory,
    SelfHostedConfig,
    ServeParams,
    Session,
    SessionEnd,
    SkillVersion,
    StreamEvent,
    UnknownEvent,
    UserToolResultParams,
    Work,
    WorkerParams,
    WorkHeartbeat,
    WorkQueueStats,
)


def waits(client: antenv.Client) -> None:
    config: CloudConfigParams = {"type": "cloud", "networking": {"type": "limited", "allowed_hosts": ["a.example"]}}
    params: EnvironmentCreateParams = {"name": "n", "config": config, "scope": None, "timeout": 1.5}
    environment = client.environments.create(**params)
    assert_type(environment, Environment)
    assert_type(environment.name, str)
    assert_type(environment.description, str | None)
    assert_type(environment.config, CloudConfig | SelfHostedConfig)
    if environment.config.type == "cloud":
        assert_type(environment.config.packages.pip, list[str])
    for one in client.environments.list(limit=2, include_archived=True):
        assert_type(one, Environment)
    assert_type(client.environments.list().data, list[Environment])
    assert_type(client.environments.delete("env_1", max_retries=0), EnvironmentDeleted)
    work = client.environments.work
    assert_type(work.poll("env_1", block_ms=999), Work | None)
    assert_type(work.heartbeat("work_1", environment_id="env_1", desired_ttl_seconds=60), WorkHeartbeat)
    assert_type(work.stats("env_1"), WorkQueueStats)
    response = client.environments.with_raw_response.retrieve("env_1", timeout=None)
    assert_type(response, antenv.Response[Environment])
    assert_type(response.parse(), Environment)
    assert_type(client.environments.with_raw_response.list(limit=1).parse(), antenv.Page[Environment])
    assert_type(client.with_options(timeout=3), antenv.Client)
    assert_type(client.stats()["calls"]["in_flight"], int)
    client.environments.update("env_1", description=antenv.omit, scope=None)
    try:
        work.ack("work_1", environment_id="env_1")
    except antenv.APIStatusError as error:
        assert_type(error.status_code, int)
        assert_type(error.error_code, str | None)


def serves(client: antenv.Client) -> None:
    params: WorkerParams = {"concurrency": 4, "drain": True, "grace": 0.5, "environment_key": None}
    with client.environments.worker("env_1", **params) as worker:
        for lease in worker:
            with lease as entered:
                assert_type(entered, antenv.Lease)
        assert_type(worker.next(1.5), antenv.Lease | None)
        worker.run(handled, threads=2)
        assert_type(worker.stats()["claimed"], int)
        worker.run(lambda lease: lease.finish(force=False, timeout=1))
    lease = next(client.environments.work.worker())
    assert_type(lease.work, Work)
    assert_type(lease.secret, str | None)
    assert_type(lease.state(), LeaseState)
    assert_type(lease.cancelled.wait(1), bool)
    assert_type(lease.client(), antenv.Client)
    assert_type(lease.finish(), Work | None)


@antenv.tool
def weather(city: str, days: int = 1) -> str:
    return city * days


@antenv.tool(name="look_up", description="Looks a word up.")
async def look_up(word: str, call: antenv.ToolCall) -> list[antenv.tools.Block]:
    assert_type(call.is_void, bool)
    assert_type(call.input, dict[str, Any])
    return [antenv.Image(b""), antenv.Document("file.pdf", title=word), {"type": "text", "text": word}]


def fails() -> None:
    raise antenv.ToolError("text", content=["text", antenv.Image(url="https://a.example")])


def serves_sessions(client: antenv.Client, lease: antenv.Lease) -> None:
    assert_type(weather("Rome", days=2), str)
    assert_type(weather.definition, CustomToolParams)
    assert_type(antenv.tools.schema(fails), dict[str, Any])
    params: ServeParams = {"concurrency": 2, "max_idle": 0.5, "workdir": "/work"}
    end = lease.serve([weather, fails], tracebacks=True, **params)
    assert_type(end, SessionEnd)
    if end.reason == "idle":
        print(end)
    client.environments.worker("env_1").run(tools=[weather], threads=2, toolset={"bash": False}, memory="read_only")


async def serves_sessions_awaited(client: antenv.AsyncClient, lease: antenv.AsyncLease) -> None:
    assert_type(await lease.serve([weather, look_up, fails], tool_timeout=1.5), SessionEnd)
    await client.environments.worker("env_1").run(tools=[look_up], on_error="abandon", skills=True)


def streams(client: antenv.Client) -> None:
    session = client.sessions.create(
        agent="agent_1", environment_id="env_1", resources=[{"type": "file", "file_id": "f"}]
    )
    assert_type(session, Session)
    assert_type(session.agent.version, int)
    with client.sessions.events.stream(session.id, event_deltas=["agent.message"], idle_timeout=1.5) as stream:
        assert_type(stream, antenv.Stream)
        for event in stream:
            if event["type"] == "agent.tool_use":
                assert_type(event["name"], str)
                assert_type(event["input"], dict[str, Any])
                result: UserToolResultParams = {"type": "user.tool_result", "tool_use_id": event["id"], "content": []}
                assert_type(client.sessions.events.send(session.id, events=[result])["data"], list[Event] | None)
            elif event["type"] == "session.status_idle" and event["stop_reason"]["type"] == "requires_action":
                assert_type(event["stop_reason"]["event_ids"], list[str])
            elif event["type"] == "user.message" and event["content"][0]["type"] == "text":
                print(event["content"][0]["text"])
            else:
                print(cast(UnknownEvent, event)["type"])
        assert_type(stream.next(timeout=1), StreamEvent | None)
    client.sessions.events.send(
        session.id, events=[{"type": "user.message", "content": [{"type": "text", "text": ""}]}]
    )
    client.sessions.events.send(session.id, events=[{"type": "user.interrupt"}])
    for one in client.sessions.events.list(session.id, order="desc", created_at_gt="2026-01-01T00:00:00Z"):
        assert_type(one, Event)
    version = client.skills.versions.retrieve("latest", skill_id="skill_1")
    assert_type(version, SkillVersion)
    assert_type(client.skills.versions.download(version.id, skill_id="skill_1", path="file", max_bytes=9).bytes, int)
    for memory in client.memory_stores.memories.list("memstore_1"):
        assert_type(memory, ListedMemory)
        if memory.type == "memory":
            assert_type(memory.content, str | None)


async def awaits_streams(client: antenv.AsyncClient) -> None:
    assert_type(await client.sessions.retrieve("sesn_1"), Session)
    async with client.sessions.events.stream("sesn_1") as stream:
        assert_type(stream, antenv.AsyncStream)
        async for event in stream:
            assert_type(event, StreamEvent)
    assert_type(await client.sessions.events.stream("sesn_1"), antenv.AsyncStream)
    assert_type(await stream.next(), StreamEvent | None)
    assert_type((await client.skills.versions.download("1", skill_id="skill_1", path="file")).path, str)


def handled(lease: antenv.Lease) -> None:
    print(lease.session_id)


async def awaits(client: antenv.AsyncClient) -> None:
    assert_type(await client.environments.create(name="n"), Environment)
    async for one in client.environments.list():
        assert_type(one, Environment)
    assert_type(await client.environments.list(), antenv.AsyncPage[Environment])
    assert_type(await client.environments.work.poll("env_1"), Work | None)
    response = await client.environments.with_raw_response.list()
    assert_type(response, antenv.Response[antenv.AsyncPage[Environment]])
    assert_type(client.with_options(timeout=3), antenv.AsyncClient)
    async with client.environments.worker(environment_id="env_1", idle_max=2) as worker:
        async for lease in worker:
            async with lease:
                assert_type(lease, antenv.AsyncLease)
                assert_type(await lease.cancelled.wait(), bool)
        await worker.run(handles)
        assert_type(await worker.next(), antenv.AsyncLease | None)


async def handles(lease: antenv.AsyncLease) -> None:
    assert_type(await lease.finish(force=True), Work | None)
    assert_type(lease.client(), antenv.AsyncClient)


def mistakes(client: antenv.Client) -> None:
    """Each line is one that checkers must refuse; an ignore that is not needed is an error to them, too."""
    client.environments.create()  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.environments.create(name=3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.environments.create(name="n", nmae="m")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.environments.create(name="n", config={"type": "moon"})  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.environments.work.ack("work_1")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.environments.work.update("w", environment_id="e")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.environments.worker(concurency=3)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    weather(3)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    next(client.environments.worker()).serve([weather], concurency=2)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    client.environments.worker().run(handles)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    client.sessions.events.send("s", events=[{"type": "user.message"}])  # type: ignore[typeddict-item]  # pyright: ignore[reportArgumentType]
    client.skills.versions.download("1", skill_id="s")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    print(client.environments.retrieve("env_1").nothing)  # type: ignore[attr-defined]  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownArgumentType]
