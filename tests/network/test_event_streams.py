"""Streams of events over HTTP/1.1 and HTTP/2: what arrives, how they end, and that a slow reader slows the server."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from support.certificates import Authority
from support.driver import Driver, Outcome
from support.events import Http1Events, Http2Events, Peer, Script, event, holding, split, streaming
from support.http2 import CANCEL
from support.waiting import until

OK, INVALID_ARGUMENT, INVALID_HANDLE, CONNECTION, TIMEOUT, CANCELLED, RESPONSE, DONE = 0, 1, 2, 4, 5, 6, 7, 8
NOT_FOUND, HTTP_STATUS = 104, 113
STREAM = "sessions.events.stream"
WAIT_MS = "60000"

Events = Http1Events | Http2Events
Start = Callable[[dict[str, Script]], Events]


@pytest.fixture(params=["http1", "http2", "http2-tls"])
def start(request: pytest.FixtureRequest, driver: Driver, authority: Authority) -> Iterator[Start]:
    """Starts a server with these scripts, and has the driver use it."""
    servers: list[Events] = []

    def run(scripts: dict[str, Script]) -> Events:
        tls = authority.issue("events").context() if request.param == "http2-tls" else None
        server = Http1Events(scripts) if request.param == "http1" else Http2Events(scripts, tls=tls)
        servers.append(server.__enter__())
        more = {"http1": {}, "http2": {"http2": "always"}, "http2-tls": {"ca_file": str(authority.root)}}[request.param]
        assert driver.client(api_key="an-api-key-to-hide", base_url=server.url, **more).status == OK
        return server

    yield run
    driver.run("close")
    for server in servers:
        server.__exit__(None, None, None)


def open_stream(driver: Driver, name: str, **options: Any) -> Outcome:
    return driver.run("open", STREAM, json.dumps({"session_id": name, **options}))


def numbers(driver: Driver) -> tuple[list[int], Outcome]:
    """The numbers of the events up to the end, and the end."""
    events = []
    while (outcome := driver.run("event", WAIT_MS)).status == OK:
        events.append(outcome.json["n"])
    return events, outcome


def test_events_come_in_order_and_verbatim_however_they_are_split(driver: Driver, start: Start) -> None:
    odd = 'event: x\r\ndata: {"n":  1e0,\r\ndata: "\u00e9\U0001f680":[ ]}\r\n\r\n'.encode()
    body = b"\xef\xbb\xbf: hello\n\n" + odd + b"event: ping\ndata: {}\n\ndata: unnamed\n\n" + event(2) + event(3)
    start({"whole": streaming(body), "bytes": streaming(*split(body, 1)), "pieces": streaming(*split(body, 7))})
    for name in ("whole", "bytes", "pieces"):
        assert open_stream(driver, name).status == OK
        assert driver.run("event", WAIT_MS).text == '{"n":  1e0,\n"\u00e9\U0001f680":[ ]}'
        assert numbers(driver) == ([2, 3], Outcome(DONE, None))
        assert driver.run("event", "0") == Outcome(DONE, None), "the end stays"


def fail(peer: Peer) -> None:
    peer.begin()
    peer.send(event(1) + event(2)[:20])
    peer.break_off()


REPORTED = b'{"type":"error","error":{"type":"overloaded_error","message":"Busy: an-api-key-to-hide"}}'


@pytest.mark.parametrize(
    ("script", "options", "status", "text"),
    [
        (streaming(event(1), event(2)[:-1]), {}, CONNECTION, "within an event"),
        (fail, {}, CONNECTION, "cut short"),
        (streaming(event(1) + b"event: error\ndata: " + REPORTED + b"\n\n" + event(2)), {}, HTTP_STATUS, "Busy: ***"),
        (holding(event(1)), {"idle_timeout_ms": 1500}, TIMEOUT, "idle_timeout_ms"),
        (streaming(event(1), event(2, "x" * 1000)), {"max_event_bytes": 500}, RESPONSE, "max_event_bytes"),
    ],
    ids=["cut", "broken", "error", "silent", "large"],
)
def test_an_end_is_reported_after_the_events_and_again_each_time(
    script: Script, options: dict[str, Any], status: int, text: str, driver: Driver, start: Start
) -> None:
    server = start({"one": script})
    assert open_stream(driver, "one", **options).status == OK
    events, end = numbers(driver)
    assert (events, end.status) == ([1], status) and text in end.json["message"], end
    assert end.json["operation"] == STREAM and end.json["attempts"] == 1
    if status == HTTP_STATUS:
        known = {name: end.json[name] for name in ("type", "http_status", "request_id")}
        assert known == {"type": "overloaded_error", "http_status": 200, "request_id": "req_1"}
    assert driver.run("event", "0") == end, "the end stays"
    until(lambda: server.streams.ended["one"] == 1, "the request is not closed")


def test_a_wait_that_times_out_leaves_the_stream_open(driver: Driver, start: Start) -> None:
    go_on = threading.Event()

    def run(peer: Peer) -> None:
        peer.begin()
        assert go_on.wait(60)
        peer.send(event(1))
        peer.wait_closed()

    server = start({"one": run})
    assert open_stream(driver, "one").status == OK
    for timeout in ("0", "50"):
        waited = driver.run("event", timeout)
        assert (waited.status, waited.json["parameter"]) == (TIMEOUT, "timeout_ms") and "still open" in waited.json[
            "message"
        ]
    go_on.set()
    assert driver.run("event", WAIT_MS).json["n"] == 1
    assert driver.run("close").status == OK and driver.run("event", "0").status == INVALID_HANDLE
    until(lambda: server.streams.ended["one"] == 1, "freeing does not close the request")
    assert isinstance(server, Http1Events) or server.requests[0].reset_code == CANCEL, "another request would suffer"


def test_opening_is_retried_like_a_call_and_its_errors_are_those_of_a_call(driver: Driver, start: Start) -> None:
    busy = iter([503, 529])

    def run(peer: Peer) -> None:
        status = next(busy, 200)
        streaming(event(1))(peer) if status == 200 else peer.answer(status, b"{}")

    def page(peer: Peer) -> None:
        peer.begin("text/html")
        peer.send(b"<html>event: x\ndata: 1\n\n")
        peer.wait_closed()

    def packed(peer: Peer) -> None:
        peer.begin("text/event-stream", content_encoding="gzip")
        peer.wait_closed()

    def slow(peer: Peer) -> None:
        peer.wait_closed()

    missing = b'{"type":"error","error":{"type":"not_found_error","message":"No such session."}}'
    server = start(
        {"busy": run, "missing": lambda peer: peer.answer(404, missing), "slow": slow, "page": page, "packed": packed}
    )
    assert open_stream(driver, "busy").status == OK and server.streams.opened["busy"] == 3
    assert numbers(driver) == ([1], Outcome(DONE, None))
    none = open_stream(driver, "missing")
    assert (none.status, none.json["type"], none.json["attempts"]) == (NOT_FOUND, "not_found_error", 1)
    other = open_stream(driver, "page")
    assert (other.status, other.json["http_status"], other.json["attempts"]) == (RESPONSE, 200, 1)
    assert "text/html" in other.json["message"]
    other = open_stream(driver, "packed")
    assert (other.status, other.json["attempts"]) == (RESPONSE, 1) and "content-encoding: gzip" in other.json["message"]
    late = open_stream(driver, "slow", timeout_ms=300)
    assert late.status == TIMEOUT and server.streams.opened["slow"] <= 1
    for params, parameter in [
        ({"session_id": "x", "idle_timeout_ms": 0}, "idle_timeout_ms"),
        ({"session_id": "x", "max_event_bytes": 0}, "max_event_bytes"),
        ({"session_id": "x", "max_bytes": 1}, "max_bytes"),
        ({"session_id": "x", "with_response": True}, "with_response"),
        ({}, "session_id"),
    ]:
        wrong = driver.run("open", STREAM, json.dumps(params))
        assert (wrong.status, wrong.json["parameter"]) == (INVALID_ARGUMENT, parameter)
    other = driver.run("open", "work.poll", "{}")
    assert (other.status, other.json["parameter"]) == (INVALID_ARGUMENT, "operation")


def test_a_queue_gets_the_opening_each_event_and_the_end(driver: Driver, start: Start) -> None:
    server = start(
        {"one": streaming(event(1), event(2)), "none": lambda peer: peer.answer(404, b"{}"), "held": holding()}
    )
    assert driver.run("begin", STREAM, '{"session_id":"one"}').status == OK
    opened = driver.run("collect")
    assert (opened.status, opened.json["http_status"], opened.json["request_id"]) == (OK, 200, "req_1")
    assert [driver.run("collect").json["n"] for _ in range(2)] == [1, 2]
    assert driver.run("collect").status == DONE
    assert driver.run("begin", STREAM, '{"session_id":"none"}').status == OK
    assert driver.run("collect").status == NOT_FOUND
    assert open_stream(driver, "one").status == OK
    assert driver.run("event", WAIT_MS).json["n"] == 1
    assert driver.run("attach").status == OK
    assert driver.run("collect").json["n"] == 2 and driver.run("collect").status == DONE
    assert open_stream(driver, "held").status == OK and driver.run("attach").status == OK
    assert driver.run("attach").status == driver.run("event", "0").status == INVALID_ARGUMENT
    assert driver.run("shutdown", WAIT_MS).status == OK
    assert driver.run("collect").status == CANCELLED and driver.run("event", "0").status == CANCELLED
    until(lambda: server.streams.ended["held"] == 1, "the shutdown does not close the request")


@pytest.mark.parametrize("how", ["next", "attached"])
def test_a_slow_reader_makes_the_server_wait_and_no_other_stream(how: str, driver: Driver, start: Start) -> None:
    count, size = 2_000, 10_000
    sent = 0

    def run(peer: Peer) -> None:
        nonlocal sent
        peer.begin()
        for number in range(count):
            peer.send(event(number, "x" * size))
            sent += 1
        peer.end()

    start({"flood": run, "other": streaming(*(event(number, "x" * size) for number in range(100)))})
    assert open_stream(driver, "flood").status == OK
    if how == "attached":
        assert driver.run("attach").status == OK
    seen = -1
    while seen != sent or sent == 0:  # until it has stood still for a while
        seen = sent
        threading.Event().wait(0.5)
    assert sent < count, "the library has read what no one takes"
    assert driver.run("aside").status == OK
    assert open_stream(driver, "other").status == OK
    assert numbers(driver) == (list(range(100)), Outcome(DONE, None))
    assert driver.run("aside").status == OK
    take = ("event", WAIT_MS) if how == "next" else ("collect",)
    for number in range(count):
        assert driver.run(*take).json["n"] == number
    assert driver.run(*take).status == DONE
