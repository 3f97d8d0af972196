"""Connections that go silent: no FIN, no RST, and no answer. One of them costs an attempt, never a call or a lease."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from support.driver import Driver
from support.emulator import Emulator
from support.http1 import Exchange, Http1Server, response
from support.relay import Relay
from support.resolver import Resolver
from support.waiting import together, until

OK, CONNECTION, TIMEOUT = 0, 4, 5
TCP_USER_TIMEOUT = 18
PROTOCOLS = pytest.mark.parametrize("http2", ["never", "always"])


@PROTOCOLS
def test_a_silent_connection_costs_an_attempt_and_is_not_used_again(
    http2: str, emulator: Emulator, driver: Driver
) -> None:
    with Relay(emulator.url) as relay:
        config = {"api_key": "k", "base_url": relay.url, "http2": http2, "timeout_ms": 120_000}
        assert driver.client(**config, attempt_timeout_ms=4000).status == OK
        assert driver.call("environments.list").status == OK
        relay.freeze()
        outcome = driver.call("environments.list", {"with_response": True})
        assert (outcome.status, outcome.json["attempts"]) == (OK, 2)
        assert driver.call("environments.list", {"max_retries": 0}).status == OK
        assert relay.accepted == 2


def test_the_bound_of_an_attempt_can_be_given_with_the_call(emulator: Emulator, driver: Driver) -> None:
    with Relay(emulator.url) as relay:
        driver.client(api_key="k", base_url=relay.url, timeout_ms=120_000)
        assert driver.call("environments.list").status == OK
        relay.freeze()
        outcome = driver.call("environments.list", {"attempt_timeout_ms": 4000, "with_response": True})
        assert (outcome.status, outcome.json["attempts"]) == (OK, 2)
    for wrong in (0, -1, "1", 1.5):
        outcome = driver.call("environments.list", {"attempt_timeout_ms": wrong})
        assert outcome.json["parameter"] == "attempt_timeout_ms"
    for wrong in (0, -1, "1", 1.5):
        assert driver.client(api_key="k", attempt_timeout_ms=wrong).json["parameter"] == "attempt_timeout_ms"


@PROTOCOLS
def test_a_request_that_nothing_answers_is_sent_once_without_retries(
    http2: str, emulator: Emulator, driver: Driver
) -> None:
    with Relay(emulator.url, freezes_new=True) as relay:
        driver.client(api_key="k", base_url=relay.url, http2=http2, attempt_timeout_ms=500, max_retries=0)
        outcome = driver.call("environments.create", {"name": "n"})
        assert outcome.status in (CONNECTION, TIMEOUT) and outcome.json["attempts"] == 1, outcome
        assert "attempt_timeout_ms" in outcome.json["message"], outcome
        # Three attempts, each on a connection of its own.
        outcome = driver.call("environments.list", {"max_retries": 2})
        assert outcome.status in (CONNECTION, TIMEOUT) and outcome.json["attempts"] == 3, outcome
        assert relay.accepted == 4


def test_a_poll_has_the_time_that_it_waits_at_the_server_besides_the_bound(emulator: Emulator, driver: Driver) -> None:
    environment = emulator.create_environment("slow", config={"type": "self_hosted"})
    driver.client(api_key="k", base_url=emulator.url, attempt_timeout_ms=990, max_retries=0)
    assert driver.call("work.poll", {"environment_id": environment, "block_ms": 999}).text == "null"


@pytest.mark.parametrize(
    ("first", "clue"),
    [
        (response(status="503 Unavailable"), "; the previous attempt got HTTP 503"),
        (None, "; the previous attempt failed: the connection failed before a response came"),
    ],
    ids=["refused", "closed"],
)
def test_a_call_whose_time_is_up_reports_why_it_was_sent_again(first: bytes | None, clue: str, driver: Driver) -> None:
    def answer(exchange: Exchange) -> bytes | None:
        if len(server.requests) % 2:
            return first
        exchange.connection.recv(1)
        return None

    with Http1Server(answer) as server:
        driver.client(api_key="k", base_url=server.url, max_retries=1, attempt_timeout_ms=60_000)
        # On a busy machine the first attempt may take all the time.
        for timeout_ms in (2000, 10_000, 50_000):
            server.requests.clear()
            outcome = driver.call("environments.list", {"timeout_ms": timeout_ms})
            if outcome.status == TIMEOUT and len(server.requests) == 2:
                break
        assert outcome.json["message"].startswith(f"no response within {timeout_ms} ms{clue}"), outcome
        assert outcome.json["attempts"] == 2


def test_an_answer_that_stops_half_way_is_given_up(driver: Driver) -> None:
    def answer(exchange: Exchange) -> bytes | None:
        whole = response()
        if exchange.request.connection > 1:
            return whole
        exchange.connection.sendall(whole[:-5])
        exchange.connection.recv(1)
        return None

    with Http1Server(answer) as server:
        driver.client(api_key="k", base_url=server.url, attempt_timeout_ms=4000, timeout_ms=120_000)
        outcome = driver.call("environments.list", {"with_response": True})
        assert (outcome.status, outcome.json["attempts"]) == (OK, 2), outcome


def test_an_answer_that_comes_slowly_is_taken(emulator: Emulator, driver: Driver) -> None:
    with Relay(emulator.url) as relay:
        driver.client(api_key="k", base_url=relay.url, max_retries=0)
        assert driver.call("environments.list").status == OK
        for link in relay.links:
            link.bytes_per_second, link.delay = 2000, 0.01
        assert driver.call("environments.create", {"name": "x" * 200}).status == OK
        assert relay.accepted == 1


def test_forty_dead_kept_connections_cost_one_attempt(emulator: Emulator, driver: Driver) -> None:
    with Relay(emulator.url) as relay:
        driver.client(api_key="k", base_url=relay.url, http2="never", timeout_ms=120_000, attempt_timeout_ms=4000)
        fill(driver, emulator, 40)
        assert relay.accepted >= 40
        relay.freeze()
        outcome = driver.call("environments.list", {"with_response": True})
        assert (outcome.status, outcome.json["attempts"]) == (OK, 2), outcome


@pytest.mark.deep
def test_a_lease_survives_when_every_connection_goes_silent_and_the_next_item_is_claimed(driver_program: Path) -> None:
    """With the defaults, and forty dead kept connections over HTTP/1.1."""

    def survive(http2: str) -> None:
        with Emulator("--lease-ttl", "30") as emulator, Relay(emulator.url) as relay, Driver(driver_program) as driver:
            environment = emulator.create_environment("silent", config={"type": "self_hosted"})
            key = emulator.environment_key(environment)
            driver.client(api_key="k", environment_key=key, base_url=relay.url, http2=http2)
            driver.worker(environment_id=environment, concurrency=2)
            emulator.enqueue(environment)
            assert driver.take(60_000).status == OK
            fill(driver, emulator, 40)
            beats = driver.run("lease").json["beats"]
            relay.freeze()
            emulator.enqueue(environment)

            def beats_again() -> bool:
                lease = driver.run("lease").json
                assert lease["state"] == "held", lease
                return bool(lease["beats"] > beats)

            until(beats_again, "no heartbeat arrives any more")
            assert driver.take(60_000).status == OK

    together(lambda: survive("never"), lambda: survive("always"))


@pytest.mark.deep
def test_http2_pings_find_a_silent_connection_while_it_is_used_and_while_it_is_idle(
    emulator: Emulator, driver_program: Path
) -> None:
    """Long before the bound of an attempt, which is too long here to be of help."""

    def used() -> None:
        with Relay(emulator.url) as relay, Driver(driver_program) as driver:
            driver.client(api_key="k", base_url=relay.url, http2="always", attempt_timeout_ms=500_000)
            assert driver.call("environments.list").status == OK
            relay.freeze()
            assert driver.call("environments.list", {"timeout_ms": 60_000}).status == OK

    def idle() -> None:
        with Relay(emulator.url) as relay, Driver(driver_program) as driver:
            driver.client(api_key="k", base_url=relay.url, http2="always", max_retries=0)
            assert driver.call("environments.list").status == OK
            relay.freeze()
            # The far end, which the relay keeps open, does not learn of it; the near end is closed by the library.
            until(lambda: relay.links[0].is_closed, "the idle connection was not given up")
            assert driver.call("environments.list").status == OK

    together(used, idle)


def test_the_system_bounds_how_long_sent_bytes_may_stay_unacknowledged(
    emulator: Emulator, driver_program: Path, resolver: Resolver
) -> None:
    with Driver(driver_program, environment=resolver.variables) as driver:
        driver.client(api_key="k", base_url=emulator.url)
        assert driver.call("environments.list").status == OK
    bounds = [
        value
        for level, name, value in resolver.socket_options()
        if (level, name) == (socket.IPPROTO_TCP, TCP_USER_TIMEOUT)
    ]
    assert len(bounds) == 1 and 5_000 <= bounds[0] <= 60_000, bounds


def fill(driver: Driver, emulator: Emulator, count: int) -> None:
    """Makes calls at once, so that over HTTP/1.1 as many connections are kept."""
    emulator.faults({"operation": "environments.list", "latency_ms": 1000, "count": count})
    for _ in range(count):
        assert driver.submit("environments.list").status == OK
    for _ in range(count):
        assert driver.run("collect").status == OK
