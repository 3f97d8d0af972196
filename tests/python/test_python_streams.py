"""Sessions from Python: events as lists and streams, skills, memories; downloads. Those of asyncio are in
test_python_streams_asyncio.py."""

from __future__ import annotations

import contextlib
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import antenv
from antenv.types import Memory, MemoryPrefix, StreamEvent, UnknownEvent
from python.worker_env import TIMEOUT, WorkerEnv, wait_until
from support.emulator import Emulator
from support.events import Http1Events, Peer, Script, event, holding, streaming
from support.http1 import Exchange, Http1Server, response

BROKEN = b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"It broke."}}\n\n'
PAGE = b"<html>A gateway's page</html>"


def cut(peer: Peer) -> None:
    """Ends a stream within a frame."""
    peer.begin()
    peer.send(event(1) + event(2)[:20])
    peer.break_off()


def page(peer: Peer) -> None:
    """Responds with something else than a stream."""
    peer.begin("text/html")
    peer.send(PAGE)
    peer.end()


#: How streams end that the server does not end properly, with the exception's words.
FAILURES: dict[str, tuple[Script, type[antenv.AntenvError], str]] = {
    "cut within a frame": (cut, antenv.APIConnectionError, "cut"),
    "silence": (holding(event(1)), antenv.APITimeoutError, "`idle_timeout` is over"),
    "an error of the API": (streaming(event(1), BROKEN), antenv.APIStatusError, "It broke."),
    "an event that is too large": (
        streaming(event(1), event(2, "x" * 5000)),
        antenv.APIResponseValidationError,
        "`max_event_bytes`",
    ),
}
#: How openings fail.
REFUSED: dict[str, tuple[Script, type[antenv.AntenvError]]] = {
    "a page": (page, antenv.APIResponseValidationError),
    "a status": (
        lambda peer: peer.answer(403, b'{"type":"error","error":{"type":"permission_error","message":"No."}}'),
        antenv.PermissionDeniedError,
    ),
}


@contextlib.contextmanager
def serving(**scripts: Script) -> Iterator[tuple[Http1Events, antenv.Client]]:
    """A server whose sessions are named like these scripts, and a client of it."""
    with Http1Events(scripts) as server, antenv.Client(api_key="k", base_url=server.url, max_retries=0) as client:
        yield server, client


def number(event: StreamEvent | None) -> int:
    """The number of an event of `support.events`."""
    assert event is not None
    return int(cast("dict[str, Any]", event)["n"])


def streams_open(emulator: Emulator) -> int:
    """How many streams are open at the emulator."""
    return int(emulator.control("GET", "/_emulator/connections")["streams_open"])


@pytest.fixture
def hosted(emulator: Emulator) -> tuple[antenv.Client, str]:
    """A client of the emulator, and a self-hosted environment."""
    return antenv.Client(api_key="k", base_url=emulator.url), emulator.create_environment(
        "hosts", config={"type": "self_hosted"}
    )


# ---- Sessions ----


def scripted(emulator: Emulator, session: antenv.types.Session, *steps: dict[str, Any]) -> None:
    """Lets the session's agent play these steps."""
    emulator.control("POST", "/_emulator/scripts", {"session_id": session.id, "steps": steps})


@pytest.mark.transports
def test_a_session_is_served_to_its_end(hosted: tuple[antenv.Client, str], emulator: Emulator) -> None:
    client, environment = hosted
    session = client.sessions.create(agent="agent_1", environment_id=environment, metadata={"a": "b"})
    assert isinstance(session, antenv.types.Session) and isinstance(session.agent, antenv.types.SessionAgent)
    assert client.sessions.retrieve(session.id) == session
    assert (session.agent.id, session.status, session.metadata) == ("agent_1", "idle", {"a": "b"})
    new = {"type": "agent.sang", "song": {"la": [1, None, "ü"]}}
    scripted(
        emulator,
        session,
        {"wait": "stream"},
        {"text": "I look.", "count": 2},
        {"tool": "bash", "input": {"command": "ls"}},
        {"wait": "results"},
        {"emit": new},
        {"terminate": True},
    )
    seen: list[StreamEvent] = []
    with client.sessions.events.stream(session.id) as stream:
        assert stream.request_id and stream.headers["content-type"].startswith("text/event-stream")
        for one in stream:
            seen.append(one)
            if one["type"] == "agent.tool_use":
                assert (one["name"], one["input"]) == ("bash", {"command": "ls"})
                result: antenv.types.UserToolResultParams = {
                    "type": "user.tool_result",
                    "tool_use_id": one["id"],
                    "content": [{"type": "text", "text": "a.txt"}],
                }
                sent = client.sessions.events.send(session.id, events=[result])["data"]
                assert sent and sent[0]["type"] == "user.tool_result" and sent[0]["tool_use_id"] == one["id"]
            if one["type"] == "session.status_terminated":
                break
    kinds = [one["type"] for one in seen]
    assert kinds[:3] == ["session.status_running", "agent.message", "agent.message"]
    (unknown,) = (cast(UnknownEvent, one) for one in seen if cast(str, one["type"]) == "agent.sang")
    assert unknown == {**new, "id": unknown["id"], "processed_at": unknown["processed_at"]}
    assert list(client.sessions.events.list(session.id, limit=2)) == seen
    messages = client.sessions.events.list(session.id, types=["agent.message"], order="desc", limit=1)
    assert [one["id"] for one in messages] == [one["id"] for one in seen if one["type"] == "agent.message"][::-1]
    wait_until(lambda: streams_open(emulator) == 0)


@pytest.mark.transports
def test_an_items_own_client_serves_its_session(strict_emulator: Emulator) -> None:
    served = WorkerEnv(strict_emulator)
    steps = [{"wait": "stream"}, {"tool": "bash", "input": {"command": "ls"}}, {"wait": "results"}]
    strict_emulator.control("POST", "/_emulator/scripts", {"environment_id": served.environment, "steps": steps})
    served.enqueue()
    lease = served.worker().next(TIMEOUT)
    assert lease
    with lease, lease.client() as client:
        assert client.sessions.retrieve(lease.session_id).id == lease.session_id
        with client.sessions.events.stream(lease.session_id) as stream:
            call = next(one for one in stream if one["type"] == "agent.tool_use")
            result: antenv.types.UserToolResultParams = {"type": "user.tool_result", "tool_use_id": call["id"]}
            client.sessions.events.send(lease.session_id, events=[result])
            idle = (one["stop_reason"] for one in stream if one["type"] == "session.status_idle")
            first, last = next(idle), next(idle)
            assert first["type"] == "requires_action" and first["event_ids"] == [call["id"]]
            assert last["type"] == "end_turn"
        assert client.sessions.events.list(lease.session_id).data
        with pytest.raises(antenv.PermissionDeniedError):
            client.sessions.events.stream(served.owner.sessions.create(agent="a", environment_id=served.environment).id)
    (report,) = strict_emulator.control("GET", f"/_emulator/scripts?session_id={lease.session_id}")["data"]
    assert [attempt["credential"] for attempt in report["calls"][0]["attempts"]] == ["sessions_token"]


@pytest.mark.transports
def test_skills_and_memories(hosted: tuple[antenv.Client, str], emulator: Emulator, tmp_path: Path) -> None:
    client, _ = hosted
    uploaded = emulator.control("POST", "/_emulator/skills", {"name": "pdf", "files": {"SKILL.md": "# PDF"}})
    version = client.skills.versions.retrieve("latest", skill_id=uploaded["skill_id"])
    assert isinstance(version, antenv.types.SkillVersion) and (version.id, version.name) == (uploaded["id"], "pdf")
    for path in (tmp_path / "päth.zip", str(tmp_path / "text.zip")):
        file = client.skills.versions.download(version.id, skill_id=version.skill_id, path=path)
        assert (file.path, file.content_type) == (str(path), "application/zip")
        assert file.bytes == os.path.getsize(path) and Path(path).read_bytes().startswith(b"PK")

    store = emulator.control("POST", "/_emulator/memory_stores", {"name": "Notes"})["id"]
    memories = client.memory_stores.memories
    made = memories.create(store, path="/a/one", content="1", view="full")
    assert isinstance(made, Memory) and made.content == "1"
    assert memories.retrieve(made.id, memory_store_id=store) == made
    condition = {"type": "content_sha256", "content_sha256": made.content_sha256}
    changed = memories.update(made.id, memory_store_id=store, content="2", precondition=condition)
    with pytest.raises(antenv.ConflictError):
        memories.update(made.id, memory_store_id=store, content="3", precondition=condition)
    memories.create(store, path="/two", content="two")
    folder, two = memories.list(store, depth=1, limit=1)
    assert isinstance(folder, MemoryPrefix) and folder.path == "/a/"
    assert isinstance(two, Memory) and (two.path, two.content) == ("/two", None)
    assert isinstance(memories.with_raw_response.list(store).parse().data[0], Memory)
    gone = memories.delete(made.id, memory_store_id=store, expected_content_sha256=changed.content_sha256)
    assert (gone.id, gone.type) == (made.id, "memory_deleted")


# ---- Streams ----


def test_a_stream_ends_when_the_server_ends_it() -> None:
    with serving(three=streaming(event(1), event(2), event(3))) as (_, client):
        stream = client.sessions.events.stream("three")
        assert [number(one) for one in stream] == [1, 2, 3]
        assert stream.next() is None and list(stream) == []
        assert "ended" in repr(stream)


@pytest.mark.parametrize("failure", FAILURES)
def test_the_error_that_ends_a_stream_is_raised_each_time(failure: str) -> None:
    script, kind, words = FAILURES[failure]
    with serving(s=script) as (server, client):
        idle_timeout = 0.5 if failure == "silence" else 60
        with client.sessions.events.stream("s", idle_timeout=idle_timeout, max_event_bytes=1000) as stream:
            assert number(next(stream)) == 1
            for _ in range(2):
                with pytest.raises(kind, match=words) as caught:
                    stream.next()
                assert type(caught.value) is not antenv.AntenvError
        wait_until(lambda: server.streams.ended["s"] == server.streams.opened["s"] == 1)


@pytest.mark.parametrize("refusal", REFUSED)
def test_an_opening_that_fails_raises_its_error(refusal: str) -> None:
    script, kind = REFUSED[refusal]
    with serving(s=script) as (_, client), pytest.raises(kind):
        client.sessions.events.stream("s")


def test_an_opening_is_retried_like_a_call() -> None:
    answers: list[Script] = [lambda peer: peer.answer(529, b"{}"), streaming(event(1))]
    with serving(s=lambda peer: answers.pop(0)(peer)) as (server, client):
        assert [number(one) for one in client.sessions.events.stream("s", max_retries=1)] == [1]
        assert server.streams.opened["s"] == 2


@pytest.mark.parametrize(
    ("params", "parameter"),
    [
        ({"session_id": ""}, "session_id"),
        ({"session_id": "s", "idle_timeout": 0}, "idle_timeout"),
        ({"session_id": "s", "max_event_bytes": 0}, "max_event_bytes"),
        ({"session_id": "s", "event_deltas": [1]}, "event_deltas"),
    ],
)
def test_invalid_arguments_are_named(params: dict[str, Any], parameter: str) -> None:
    with serving() as (_, client), pytest.raises(antenv.InvalidArgumentError) as caught:
        client.sessions.events.stream(**params)
    assert caught.value.parameter == parameter


def test_a_wait_may_have_an_end_and_the_stream_stays_open() -> None:
    more = threading.Event()

    def script(peer: Peer) -> None:
        peer.begin()
        assert more.wait(TIMEOUT)
        peer.send(event(1))
        peer.wait_closed()

    with serving(s=script) as (_, client), client.sessions.events.stream("s") as stream:
        for seconds in (0, 0.1):
            with pytest.raises(TimeoutError, match=f"no event came within {seconds} s"):
                stream.next(timeout=seconds)
        more.set()
        assert number(stream.next(timeout=TIMEOUT)) == 1


def test_closing_ends_the_waits_of_other_threads_and_the_request() -> None:
    with serving(s=holding(event(1))) as (server, client):
        stream = client.sessions.events.stream("s")
        assert number(next(stream)) == 1
        results: list[object] = []
        threads = [threading.Thread(target=lambda: results.append(list(stream))) for _ in range(3)]
        for thread in threads:
            thread.start()
        client.close()
        stream.close()
        stream.close()
        for thread in threads:
            thread.join(TIMEOUT)
        assert results == [[], [], []] and stream.next() is None
        wait_until(lambda: server.streams.ended["s"] == 1)
        with pytest.raises(antenv.ClosedError):
            client.sessions.events.stream("s")


def test_threads_that_share_a_stream_get_each_event_once() -> None:
    events = [event(one) for one in range(2000)]
    with serving(s=streaming(*events)) as (_, client):
        stream = client.sessions.events.stream("s")
        seen: list[int] = []
        threads = [threading.Thread(target=lambda: seen.extend(map(number, stream))) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(TIMEOUT)
        assert sorted(seen) == list(range(2000))


def test_a_stream_that_is_garbage_is_closed() -> None:
    with serving(s=holding(event(1))) as (server, client):
        descriptors = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            assert number(client.sessions.events.stream("s").next()) == 1
        gc.collect()
        wait_until(lambda: server.streams.ended["s"] == 5)
        # The server's ends of the connections are in this process, too.
        wait_until(lambda: len(os.listdir("/proc/self/fd")) <= descriptors + 5)


def test_a_stream_is_read_as_fast_as_its_events_are_taken() -> None:
    total, sent = 3000, 0

    def script(peer: Peer) -> None:
        nonlocal sent
        peer.begin()
        for one in range(total):
            peer.send(event(one, "x" * 10_000))
            sent += 1
        peer.end()

    with serving(s=script) as (_, client), client.sessions.events.stream("s") as stream:
        assert number(next(stream)) == 0
        before = -1
        while before < sent:  # until the server has to wait
            before = sent
            threading.Event().wait(0.5)
        assert sent < total
        assert [number(one) for one in stream] == list(range(1, total))


def test_a_forked_child_leaves_its_parents_stream_alone() -> None:
    with serving(s=holding(event(1), event(2)), own=streaming(event(3))) as (server, client):
        stream = client.sessions.events.stream("s")
        assert number(next(stream)) == 1
        child = os.fork()
        if child == 0:
            signal.alarm(int(TIMEOUT))  # it ends a child that hangs
            code = 1
            with contextlib.suppress(BaseException):
                try:
                    stream.next()
                except antenv.ClosedError as error:
                    stream.close()
                    own = [number(one) for one in client.sessions.events.stream("own")]
                    code = 0 if "before fork()" in error.message and own == [3] else 2
            os._exit(code)
        assert os.waitpid(child, 0)[1] == 0
        assert number(next(stream)) == 2 and server.streams.ended["s"] == 0
        stream.close()


INTERRUPTED = """
import os, signal, sys, time
import antenv
signal.signal(signal.SIGINT, signal.default_int_handler)
client = antenv.Client(api_key="k", base_url=sys.argv[1])
{prepare}
try:
    print("waiting", flush=True)
    {wait}
except KeyboardInterrupt:
    print("interrupted", flush=True)
    del stream
    client.sessions.retrieve("s")
    while os.listdir(os.path.dirname(sys.argv[2])):  # what a download has begun to write
        time.sleep(0.001)
"""
#: What is interrupted: a program's waits, and what it does before.
WAITS = {
    "an event": ('stream = client.sessions.events.stream("held"); next(stream)', "next(stream)"),
    "an opening": ("stream = None", 'client.sessions.events.stream("unanswered")'),
    "a download": ("stream = None", 'client.skills.versions.download("1", skill_id="held", path=sys.argv[2])'),
    "asyncio": (
        """
import asyncio
stream = None
async def main():
    async with antenv.AsyncClient(api_key="k", base_url=sys.argv[1]) as other:
        async with other.sessions.events.stream("held") as stream:
            async for event in stream:
                pass
""",
        "asyncio.run(main())",
    ),
}


@pytest.mark.parametrize("what", WAITS)
def test_ctrl_c_ends_the_wait_for(what: str, tmp_path: Path) -> None:
    reached = threading.Event()

    def answer(exchange: Exchange) -> bytes | None:
        connection, target = exchange.connection, exchange.request.target
        if target == "/v1/sessions/s":
            return response(b"{}")
        if "stream" in target and "unanswered" not in target:
            head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
            connection.sendall(head + b"%x\r\n%b\r\n" % (len(event(1)), event(1)))
        reached.set()
        with contextlib.suppress(OSError):
            connection.recv(1)  # until the client closes it
        return None

    prepare, wait = WAITS[what]
    program = INTERRUPTED.format(prepare=prepare, wait=wait)
    with Http1Server(answer) as server:
        command = [sys.executable, "-c", program, server.url, str(tmp_path / "file")]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n" and reached.wait(TIMEOUT)
            process.send_signal(signal.SIGINT)
            assert process.stdout.readline() == "interrupted\n"
            assert process.wait(timeout=TIMEOUT) == 0


# ---- Downloads ----


def test_a_download_that_fails_leaves_no_file(tmp_path: Path) -> None:
    body = b"PK" + bytes(5000)

    def answer(exchange: Exchange) -> bytes:
        return response(body) if "good" in exchange.request.target else response(b"{}", "404 Not Found")

    with Http1Server(answer) as server, antenv.Client(api_key="k", base_url=server.url, max_retries=0) as client:
        download, path = client.skills.versions.download, tmp_path / "file"
        with pytest.raises(antenv.NotFoundError):
            download("1", skill_id="gone", path=path)
        with pytest.raises(antenv.APIResponseValidationError, match="max_bytes"):
            download("1", skill_id="good", path=path, max_bytes=5000)
        for bad in (tmp_path / "no folder" / "file", tmp_path, "a\0b", ""):
            with pytest.raises(antenv.InvalidArgumentError) as caught:
                download("1", skill_id="good", path=bad)
            assert caught.value.parameter == "path"
        assert list(tmp_path.iterdir()) == []
        made: list[antenv.types.Download] = []
        thread = threading.Thread(target=lambda: made.append(download("1", skill_id="good", path=path, max_bytes=5002)))
        thread.start()
        thread.join(TIMEOUT)
        assert made[0].bytes == len(body) and path.read_bytes() == body
    with pytest.raises(antenv.ClosedError):
        client.skills.versions.download("1", skill_id="good", path=path)
