"""What is sent again, and how often: never more than `max_retries`, but for what certainly was not processed."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from support import http2
from support.driver import Driver, Outcome
from support.emulator import Emulator
from support.http1 import ENVIRONMENT, Exchange, Http1Server, response
from support.http2 import Http2Server, Stream, Way
from support.server import reset
from support.waiting import until

OK, CONNECTION, RESPONSE, SERVER_ERROR, HTTP_STATUS = 0, 4, 7, 111, 113
KEPT = 12
CREATE = ("environments.create", {"name": "once"})
LIST: tuple[str, dict[str, str]] = ("environments.list", {})


def warm(driver: Driver, count: int = KEPT) -> None:
    """Has several connections kept, over HTTP/1.1."""
    for _ in range(count):
        assert driver.submit("environments.list").status == OK
    for _ in range(count):
        assert driver.run("collect").status == OK


def sent_and_reported(outcome: Outcome, driver: Driver, sent: int, most: int) -> None:
    """At most so many requests went out, and the error and the counts say how many."""
    assert outcome.status != OK and 1 <= sent <= most, (sent, outcome)
    assert outcome.json["attempts"] == sent, (sent, outcome)
    assert driver.stats()["attempts"] >= sent


# --- HTTP/2 ---


@pytest.mark.parametrize("code", [http2.NO_ERROR, http2.PROTOCOL_ERROR, http2.INTERNAL_ERROR, http2.CANCEL, 11, 13, 99])
@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("kept", [False, True])
def test_a_stream_that_was_reset_is_an_attempt(code: int, retries: int, kept: bool, driver: Driver, way: Way) -> None:
    def act(stream: Stream) -> None:
        if stream.method == "GET":
            stream.answer()
        else:
            stream.reset(code)

    with Http2Server(act, tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, max_retries=retries)
        if kept:
            assert driver.call(*LIST).status == OK
        outcome = driver.call(*CREATE)
        sent_and_reported(outcome, driver, server.count("POST"), retries + 1)
        assert outcome.status == CONNECTION and server.count("POST") == retries + 1
        assert driver.stats()["attempts"] == len(server.requests)


@pytest.mark.parametrize("call", [LIST, CREATE])
@pytest.mark.parametrize("kept", [False, True])
def test_a_refused_stream_is_sent_again_without_counting(
    call: tuple[str, dict[str, str]], kept: bool, driver: Driver, way: Way
) -> None:
    refused: list[Stream] = []

    def act(stream: Stream) -> None:
        if len(server.requests) == 1 + kept:
            refused.append(stream)
            stream.reset(http2.REFUSED_STREAM)
        else:
            stream.answer()

    with Http2Server(act, tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, max_retries=0)
        if kept:
            assert driver.call(*LIST).status == OK
        assert driver.call(*call).status == OK
        assert len(refused) == 1 and len(server.requests) == 2 + kept


def test_a_server_that_refuses_every_stream_is_not_asked_for_ever(driver: Driver, way: Way) -> None:
    with Http2Server(lambda stream: stream.reset(http2.REFUSED_STREAM), tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, max_retries=1, timeout_ms=60_000)
        outcome = driver.call(*CREATE)
        assert outcome.status == CONNECTION
        assert 2 <= len(server.requests) <= 50 and outcome.json["attempts"] == len(server.requests)


@pytest.mark.parametrize("call", [LIST, CREATE])
@pytest.mark.parametrize("kept", [False, True])
def test_a_request_above_the_last_stream_of_a_goaway_is_sent_on_another_connection(
    call: tuple[str, dict[str, str]], kept: bool, driver: Driver, way: Way
) -> None:
    def act(stream: Stream) -> None:
        if stream.connection.number == 1 and stream.number == 1 + kept:
            stream.connection.goaway(stream.id - 2 if kept else 0)
            stream.connection.close()
        else:
            stream.answer()

    with Http2Server(act, tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, max_retries=0)
        if kept:
            assert driver.call(*LIST).status == OK
        assert driver.call(*call).status == OK
        assert server.accepted == 2


def test_a_request_that_a_goaway_still_serves_is_answered_and_the_next_takes_another_connection(
    driver: Driver, way: Way
) -> None:
    def act(stream: Stream) -> None:
        if stream.connection.number == 1:
            stream.connection.goaway(stream.id)
        stream.answer(ENVIRONMENT)

    with Http2Server(act, tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, max_retries=0)
        assert [driver.call(*CREATE).status for _ in range(2)] == [OK, OK]
        assert server.count("POST") == 2 and server.accepted == 2


@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("says", ["nothing", "goaway", "garbage"])
def test_a_connection_that_ends_under_a_request_is_an_attempt(
    says: str, kept: bool, retries: int, driver: Driver, way: Way
) -> None:
    def act(stream: Stream) -> None:
        if stream.method == "GET":
            stream.answer()
            return
        if says == "goaway":
            # The request may have been processed: its stream is not above the last.
            stream.connection.goaway(stream.id, http2.INTERNAL_ERROR)
        elif says == "garbage":
            stream.connection.transport.sendall(b"HTTP/1.1 500 Oops\r\n\r\n" * 10)
        stream.connection.close()

    with Http2Server(act, tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, max_retries=retries)
        if kept:
            assert driver.call(*LIST).status == OK
        outcome = driver.call(*CREATE)
        assert outcome.status == CONNECTION
        sent_and_reported(outcome, driver, server.count("POST"), retries + 1)


@pytest.mark.parametrize("how", ["reset", "close", "short"])
def test_an_http2_answer_that_breaks_within_its_body_is_an_attempt(how: str, driver: Driver, way: Way) -> None:
    def act(stream: Stream) -> None:
        stream.answer(b'{"id":', announced=14, is_whole=how == "short")
        if how == "reset":
            stream.reset(http2.INTERNAL_ERROR)
        elif how == "close":
            stream.connection.close()

    with Http2Server(act, tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, max_retries=1)
        for retries in (0, 1):
            before = len(server.requests)
            outcome = driver.call(CREATE[0], {**CREATE[1], "max_retries": retries})
            assert outcome.status == RESPONSE, outcome
            assert outcome.json["attempts"] == len(server.requests) - before == retries + 1


# --- HTTP/1.1 ---


def after(act: Callable[[Exchange], bytes | None]) -> Callable[[Exchange], bytes | None]:
    """Answers a GET after a while, so that several connections are needed; a POST is for `act`."""

    def answer(exchange: Exchange) -> bytes | None:
        if exchange.request.method == "POST":
            return act(exchange)
        time.sleep(0.3)
        return response()

    return answer


def closes(_: Exchange) -> None:
    """Acts on the request, one may suppose, and closes the connection."""
    time.sleep(0.1)


def resets(exchange: Exchange) -> None:
    reset(exchange.connection)


def garbles(exchange: Exchange) -> None:
    exchange.connection.sendall(b"\x15\x03\x01\x00\x02\x02\x50 garbage\r\n\r\n")


def stops_in_the_head(exchange: Exchange) -> None:
    exchange.connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-le")


@pytest.mark.parametrize("act", [closes, resets, garbles, stops_in_the_head])
@pytest.mark.parametrize("retries", [0, 2])
@pytest.mark.parametrize("kept", [0, KEPT])
def test_a_connection_that_breaks_after_the_request_went_out_is_an_attempt(
    act: Callable[[Exchange], None], retries: int, kept: int, driver: Driver
) -> None:
    """Also one that had just worked; and before the next attempt there is a pause."""
    with Http1Server(after(act)) as server:
        driver.client(api_key="k", base_url=server.url, http2="never", max_retries=retries)
        warm(driver, kept)
        begun = time.monotonic()
        outcome = driver.call(*CREATE)
        assert outcome.status == CONNECTION, outcome
        sent_and_reported(outcome, driver, server.count("POST"), retries + 1)
        assert server.count("POST") == retries + 1
        assert driver.stats()["attempts"] == len(server.requests)
        assert time.monotonic() - begun >= (0.375 + 0.75 if retries else 0)


def connections(pid: int, port: int) -> list[str]:
    """Returns the connections to a port of this machine that the process has not closed, as the kernel lists them."""
    open_here = {"01", "08"}  # ESTABLISHED, CLOSE_WAIT
    sockets = [line.split() for line in Path(f"/proc/{pid}/net/tcp").read_text().splitlines()[1:]]
    return [fields[1] for fields in sockets if fields[2].endswith(f":{port:04X}") and fields[3] in open_here]


def test_every_kept_connection_may_be_closed_before_a_byte_was_sent(driver: Driver) -> None:
    def answer(_: Exchange) -> bytes | None:
        time.sleep(0.3)
        return response()

    with Http1Server(answer) as server:
        driver.client(api_key="k", base_url=server.url, http2="never", max_retries=0)
        for call in (CREATE, LIST):
            warm(driver)
            server.close_all()
            until(lambda: not connections(driver.pid, server.port), "the library keeps closed connections")
            assert driver.call(*call).status == OK
    assert server.count("POST") == 1


def test_a_lost_answer_to_a_heartbeat_is_for_the_caller_to_judge(driver: Driver, way: Way) -> None:
    """Sent again with the same expectation, it would be refused for what it has done itself."""
    params = {"environment_id": "env_1", "work_id": "work_1", "expected_last_heartbeat": "NO_HEARTBEAT"}
    with Http1Server(closes) as server:
        driver.client(environment_key="k", base_url=server.url)
        outcome = driver.call("work.heartbeat", params)
        assert (outcome.status, outcome.json["attempts"], len(server.requests)) == (CONNECTION, 1, 1)
    with Http2Server(lambda stream: stream.reset(http2.INTERNAL_ERROR), tls=way.tls) as server2:
        driver.client(environment_key="k", base_url=server2.url, **way.config)
        outcome = driver.call("work.heartbeat", params)
        assert (outcome.status, outcome.json["attempts"], len(server2.requests)) == (CONNECTION, 1, 1)


# --- answers ---


@pytest.mark.parametrize("status", ["200 OK", "201 Created", "204 No Content", "299 Fine"])
def test_a_success_is_never_asked_for_again(status: str, driver: Driver) -> None:
    body = b"" if status.startswith("204") else ENVIRONMENT
    with Http1Server(lambda _: response(body, status, x_should_retry="true", retry_after_ms="1")) as server:
        driver.client(api_key="k", base_url=server.url, max_retries=3)
        path = "/v1/environments/env_1/work/work_1/stop"
        assert driver.request("POST", path, {"body": {}}).status == OK
        assert len(server.requests) == 1


def test_what_is_no_success_is_asked_for_again_if_the_server_says_so(driver: Driver) -> None:
    with Http1Server(lambda _: response(b"{}", "418 Teapot", x_should_retry="true", retry_after_ms="1")) as server:
        driver.client(api_key="k", base_url=server.url, max_retries=3)
        outcome = driver.call(*CREATE)
        assert (outcome.status, outcome.json["attempts"], len(server.requests)) == (HTTP_STATUS, 4, 4)


@pytest.mark.parametrize("status", [600, 601, 700, 999])
def test_a_status_beyond_599_is_no_fault_of_the_server_that_may_pass(status: int, driver: Driver) -> None:
    with Http1Server(lambda _: response(b"{}", f"{status} Odd", retry_after_ms="1")) as server:
        driver.client(api_key="k", base_url=server.url)
        outcome = driver.call(*LIST)
        assert (outcome.status, outcome.json["http_status"], len(server.requests)) == (HTTP_STATUS, status, 1)
        assert outcome.json["status"] == "http_status"


def test_the_counts_are_what_went_out(emulator: Emulator, driver: Driver) -> None:
    driver.client(api_key="k", base_url=emulator.url, max_retries=4)
    assert driver.call(*LIST).status == OK
    emulator.faults({"drop": True}, {"status": 503, "headers": {"retry-after-ms": "1"}}, {"reset": True})
    outcome = driver.call(*LIST[:1], {"with_response": True})
    seen = len(emulator.take_requests())
    assert (outcome.json["attempts"], driver.stats()["attempts"], seen) == (4, 5, 5)


def test_a_connection_that_was_lost_does_not_take_others_with_it(driver: Driver, way: Way) -> None:
    """The reset of one stream leaves the others of its connection alone."""
    held: list[Stream] = []

    def act(stream: Stream) -> None:
        if stream.method == "POST":
            stream.reset(http2.CANCEL)
        else:
            held.append(stream)

    with Http2Server(act, tls=way.tls) as server:
        driver.client(api_key="k", base_url=server.url, **way.config, max_retries=0)
        assert driver.submit("environments.list").status == OK
        until(lambda: held, "the call did not arrive")
        assert driver.call(*CREATE).status == CONNECTION
        held[0].answer()
        assert driver.run("collect").status == OK
