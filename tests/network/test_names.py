"""Names: look-ups that hang or are slow, names with several addresses, and threads that cannot be made."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.driver import Driver
from support.emulator import Emulator
from support.http1 import Http1Server, response
from support.resolver import Resolver
from support.waiting import until

OK, CONNECTION, TIMEOUT, RESPONSE, INTERNAL = 0, 4, 5, 7, 11


@pytest.fixture
def resolving(driver_program: Path, resolver: Resolver) -> Iterator[Driver]:
    """A driver whose names the test decides on."""
    with Driver(driver_program, environment=resolver.variables) as driver:
        yield driver


def port_of(url: str) -> int:
    return int(url.rpartition(":")[2])


def client_for(driver: Driver, name: str, port: int, **config: object) -> None:
    config = {
        "api_key": "k",
        "base_url": f"http://{name}:{port}",
        "allow_insecure_http": True,
        "max_retries": 0,
    } | config
    assert driver.client(**config).status == OK


@contextmanager
def dead_address(address: str, port: int) -> Iterator[None]:
    """An address without an answer: the queue of its listener is full, so that SYNs are lost."""
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((address, port))
        listener.listen(0)
        fillers = [socket.socket() for _ in range(8)]
        try:
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex((address, port))
            yield
        finally:
            for filler in fillers:
                filler.close()


def test_a_host_whose_name_server_is_silent_does_not_block_another(
    emulator: Emulator, resolving: Driver, resolver: Resolver
) -> None:
    resolver.name("silent.test", delay_ms=-1)
    resolver.name("good.test", "127.0.0.1")
    client_for(resolving, "silent.test", 80, timeout_ms=120_000, connect_timeout_ms=60_000)
    for _ in range(50):
        assert resolving.submit("environments.list").status == OK
    client_for(resolving, "good.test", port_of(emulator.url), connect_timeout_ms=60_000)
    assert resolving.call("environments.list").status == OK
    until(lambda: resolver.lookups("silent.test") > 0, "the silent name is not looked up")
    assert resolver.lookups("silent.test") == 1


def test_a_look_up_that_hangs_is_an_error_in_time_and_does_not_keep_the_process(
    resolving: Driver, resolver: Resolver
) -> None:
    resolver.name("silent.test", delay_ms=-1)
    client_for(resolving, "silent.test", 80, connect_timeout_ms=500)
    outcome = resolving.call("environments.list")
    assert outcome.status == CONNECTION and "silent.test" in outcome.json["message"], outcome


def test_all_calls_that_wait_for_a_name_share_one_look_up(
    emulator: Emulator, resolving: Driver, resolver: Resolver
) -> None:
    """None of a thousand calls fails for having waited in a queue."""
    resolver.name("busy.test", "127.0.0.1", delay_ms=1000)
    client_for(resolving, "busy.test", port_of(emulator.url), connect_timeout_ms=60_000, http2="never")
    for _ in range(1000):
        assert resolving.submit("environments.list").status == OK
    assert {resolving.run("collect").status for _ in range(1000)} == {OK}
    assert resolver.lookups("busy.test") <= 3


@pytest.mark.parametrize("addresses", [["127.0.0.2", "127.0.0.4"], ["127.0.0.2", "127.0.0.3", "127.0.0.4"]])
def test_every_address_is_tried_when_the_first_ones_are_dead(
    addresses: list[str], resolving: Driver, resolver: Resolver
) -> None:
    with Http1Server(host="127.0.0.4") as server:
        contexts = [dead_address(address, server.port) for address in addresses[:-1]]
        resolver.name("many.test", *addresses)
        client_for(resolving, "many.test", server.port)
        for context in contexts:
            context.__enter__()
        try:
            outcome = resolving.call("environments.list")
            assert outcome.status == OK, outcome
        finally:
            for context in contexts:
                context.__exit__(None, None, None)


def test_an_address_that_refuses_is_passed_over(resolving: Driver, resolver: Resolver) -> None:
    with Http1Server(host="127.0.0.4") as server:
        resolver.name("many.test", "127.0.0.2", "::1", "127.0.0.3", "127.0.0.4")
        client_for(resolving, "many.test", server.port)
        assert resolving.call("environments.list").status == OK


def test_a_dead_address_of_the_other_family_is_passed_over(resolving: Driver, resolver: Resolver) -> None:
    """As today: IPv6 is tried first, and IPv4 joins in soon after."""
    with Http1Server(host="127.0.0.4") as server, dead_address("127.0.0.3", server.port):
        resolver.name("both.test", "127.0.0.3", "::1", "127.0.0.4")
        client_for(resolving, "both.test", server.port)
        assert resolving.call("environments.list").status == OK


def test_a_name_all_of_whose_addresses_are_dead_is_an_error_in_time(resolving: Driver, resolver: Resolver) -> None:
    with socket.create_server(("127.0.0.9", 0)) as probe:
        port = probe.getsockname()[1]
    with dead_address("127.0.0.2", port), dead_address("127.0.0.3", port):
        resolver.name("dead.test", "127.0.0.2", "127.0.0.3")
        client_for(resolving, "dead.test", port, connect_timeout_ms=1000)
        outcome = resolving.call("environments.list")
        assert outcome.status == CONNECTION and "dead.test" in outcome.json["message"], outcome


def test_a_look_up_that_fails_for_now_is_tried_again(emulator: Emulator, resolving: Driver, resolver: Resolver) -> None:
    resolver.name("later.test")
    client_for(resolving, "later.test", port_of(emulator.url), max_retries=5)
    assert resolving.submit("environments.list").status == OK
    until(lambda: resolver.lookups("later.test") >= 2, "it is not looked up again")
    resolver.name("later.test", "127.0.0.1")
    outcome = resolving.run("collect")
    assert outcome.status == OK, outcome


def test_an_address_that_is_written_out_is_not_looked_up(
    emulator: Emulator, resolving: Driver, resolver: Resolver
) -> None:
    resolving.client(api_key="k", base_url=emulator.url)
    assert resolving.call("environments.list").status == OK
    assert resolver.lookups("127.0.0.1") == 0


def test_a_thread_that_cannot_be_made_is_a_failure_to_connect_and_passes(
    emulator: Emulator, resolving: Driver, resolver: Resolver
) -> None:
    resolver.name("tight.test", "127.0.0.1")
    client_for(resolving, "tight.test", port_of(emulator.url))
    resolver.threads(False)
    for _ in range(3):
        outcome = resolving.call("environments.list")
        assert outcome.status == CONNECTION and "thread" in outcome.json["message"], outcome
    attempts = resolving.stats()["attempts"]
    assert resolving.submit("environments.list", {"max_retries": 5, "with_response": True}).status == OK
    until(lambda: resolving.stats()["attempts"] >= attempts + 2, "it is not tried again")
    resolver.threads(True)
    outcome = resolving.run("collect")
    assert outcome.status == OK and outcome.json["attempts"] >= 2, outcome


def test_a_download_without_a_thread_for_its_file_says_so_and_leaves_none(
    resolving: Driver, resolver: Resolver, tmp_path: Path
) -> None:
    path = tmp_path / "skill.zip"
    version = json.dumps({"skill_id": "skill_1", "version": "1"})
    with Http1Server(lambda _: response(b"zip", content_type="application/zip")) as server:
        assert resolving.client(api_key="k", base_url=server.url, max_retries=0).status == OK
        assert resolving.call("environments.list").status == RESPONSE  # not JSON, but a connection
        resolver.threads(False)
        outcome = resolving.run("download", "skills.versions.download", version, str(path))
        assert outcome.status == INTERNAL and "thread" in outcome.json["message"], outcome
        assert list(tmp_path.glob("*.part")) == []
        resolver.threads(True)
        assert resolving.run("download", "skills.versions.download", version, str(path)).status == OK
        assert path.read_bytes() == b"zip"


def test_a_worker_goes_on_when_threads_can_be_made_again(
    strict_emulator: Emulator, resolving: Driver, resolver: Resolver
) -> None:
    environment = strict_emulator.create_environment("tight", config={"type": "self_hosted"})
    key = strict_emulator.environment_key(environment)
    resolver.name("tight.test", "127.0.0.1")
    port = port_of(strict_emulator.url)
    assert (
        resolving.client(environment_key=key, base_url=f"http://tight.test:{port}", allow_insecure_http=True).status
        == OK
    )
    assert resolving.worker(environment_id=environment).status == OK
    resolver.threads(False)
    begun = time.monotonic()
    recovery = threading.Timer(2, resolver.threads, (True,))
    recovery.start()
    strict_emulator.enqueue(environment)
    taken = resolving.take(60_000)
    recovery.join()
    assert taken.status == OK and time.monotonic() - begun >= 2, taken
    assert resolving.run("finish").status == OK
