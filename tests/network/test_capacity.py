"""HTTP/2 connections whose streams are used up: others are opened, and a heartbeat waits behind nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest

from support.driver import Driver
from support.http2 import Http2Server, Stream, Way
from support.waiting import until

OK = 0
BEAT = {"last_heartbeat": "2026-01-01T00:00:00Z", "lease_extended": True, "state": "active", "ttl_seconds": 300}
HEARTBEAT = {"environment_id": "env_1", "work_id": "work_1"}


class Holding:
    """Holds polls and lists until they are released; answers everything else immediately."""

    def __init__(self) -> None:
        self.held: list[Stream] = []
        self.is_released = False

    def act(self, stream: Stream) -> None:
        if not stream.path.partition("?")[0].endswith(("/poll", "/environments")):
            stream.answer(json.dumps(BEAT).encode())
            return
        self.held.append(stream)
        if self.is_released:
            self.answer(stream)

    def answer(self, stream: Stream) -> None:
        stream.answer(b"null" if "/poll" in stream.path else b'{"data":[],"next_page":null}')

    def release(self) -> None:
        self.is_released = True
        for stream in list(self.held):
            self.answer(stream)


@pytest.mark.parametrize("operation", ["work.poll", "environments.list"])
def test_calls_beyond_the_streams_of_a_connection_open_another_and_a_heartbeat_passes_them(
    operation: str, driver: Driver, way: Way
) -> None:
    """All calls are with the server at the same time, which is what makes it answer them."""
    holding, count = Holding(), 1000
    with Http2Server(holding.act, max_streams=100, tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, timeout_ms=120_000, max_retries=0)
        params = {"environment_id": "env_1", "attempt_timeout_ms": 100_000} if operation == "work.poll" else {}
        for _ in range(count):
            assert driver.submit(operation, params).status == OK
        assert driver.call("work.heartbeat", {**HEARTBEAT, "timeout_ms": 60_000}).status == OK
        until(lambda: len(holding.held) == count, "not all calls come to the server while none is answered")
        assert driver.call("work.heartbeat", {**HEARTBEAT, "timeout_ms": 60_000}).status == OK
        holding.release()
        assert {driver.run("collect").status for _ in range(count)} == {OK}
        assert count / 100 <= server.accepted <= 50, server.accepted


@pytest.mark.parametrize("limit", [1, 10])
def test_a_server_that_allows_less_than_others_is_served_too(limit: int, driver: Driver, way: Way) -> None:
    """What a connection has taken up before it was full waits in it, and goes out once."""
    holding = Holding()
    holding.is_released = True
    with Http2Server(holding.act, max_streams=limit, tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, timeout_ms=120_000, max_retries=0)
        for _ in range(100):
            assert driver.submit("environments.list").status == OK
        assert {driver.run("collect").status for _ in range(100)} == {OK}
        assert len(holding.held) == 100, "some call was sent twice"


def test_a_limit_that_is_lowered_later_is_kept(driver: Driver, way: Way) -> None:
    holding = Holding()
    holding.is_released = True
    with Http2Server(holding.act, max_streams=100, tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, timeout_ms=120_000, max_retries=0)
        assert driver.call("work.heartbeat", HEARTBEAT).status == OK
        server.max_streams = 5
        for connection in server.connections:
            connection.settings(max_streams=5)
        until(
            lambda: all(connection.is_acknowledged for connection in server.connections),
            "SETTINGS are not acknowledged",
        )
        for _ in range(30):
            assert driver.submit("environments.list").status == OK
        assert {driver.run("collect").status for _ in range(30)} == {OK}


def test_a_connection_that_is_used_up_is_used_again_when_there_is_room(driver: Driver, way: Way) -> None:
    holding = Holding()
    with Http2Server(holding.act, max_streams=100, tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, timeout_ms=120_000)
        for _ in range(5):
            for _ in range(200):
                assert driver.submit("environments.list").status == OK
            until(lambda: len(holding.held) == 200, "not all calls come to the server while none is answered")
            holding.release()
            assert {driver.run("collect").status for _ in range(200)} == {OK}
            holding.held.clear()
            holding.is_released = False
        assert server.accepted <= 10, server.accepted


@pytest.mark.long
def test_the_heartbeats_of_a_worker_pass_the_calls_of_its_host(driver: Driver, way: Way) -> None:
    holding, beats = Holding(), 0
    item: dict[str, Any] = {
        "id": "work_1",
        "type": "work",
        "environment_id": "env_1",
        "state": "starting",
        "metadata": {},
    }
    item |= {"data": {"type": "session", "id": "sesn_1"}, "secret": None, "created_at": "2026-01-01T00:00:00Z"}

    def act(stream: Stream) -> None:
        nonlocal beats
        path = stream.path.partition("?")[0]
        if path.endswith("/poll") and beats == 0 and not any("/ack" in known.path for known in server.requests):
            stream.answer(json.dumps(item).encode())
        elif path.endswith("/heartbeat"):
            beats += 1
            stream.answer(json.dumps({**BEAT, "last_heartbeat": f"beat {beats}", "ttl_seconds": 6}).encode())
        elif path.endswith(("/poll", "/environments")):
            holding.act(stream)
        else:
            stream.answer(json.dumps(item).encode())

    with Http2Server(act, max_streams=4, tls=way.tls) as server:
        driver.client(api_key="k", environment_key="e", base_url=server.url, **way.config, timeout_ms=120_000)
        assert driver.worker(environment_id="env_1", concurrency=4).status == OK
        assert driver.take(60_000).status == OK
        for _ in range(100):
            assert driver.submit("environments.list").status == OK
        before = beats

        def beats_on() -> bool:
            lease = driver.run("lease").json
            assert lease["state"] == "held", lease
            return beats >= before + 4

        until(beats_on, "heartbeats wait behind other calls")
        holding.release()
