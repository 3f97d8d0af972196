"""How calls behave over real sockets: deadlines, retries, broken connections, pages, credentials, secrets."""

from __future__ import annotations

import json
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from support.driver import Driver
from support.emulator import Emulator
from support.waiting import until

pytestmark = pytest.mark.transports

OK, INVALID_ARGUMENT, CONFIG, CONNECTION, TIMEOUT, RESPONSE, DONE = 0, 1, 3, 4, 5, 7, 8
AUTHENTICATION, PERMISSION_DENIED, NOT_FOUND, RATE_LIMITED, SERVER_ERROR, HTTP_STATUS = 101, 103, 104, 110, 111, 113


@pytest.fixture
def client(emulator: Emulator, driver: Driver) -> Driver:
    """The driver with a client for the emulator."""
    assert driver.client(api_key="test-key", base_url=emulator.url).status == OK
    return driver


# --- deadlines and retries ---


def test_the_timeout_bounds_a_call_that_is_not_answered(emulator: Emulator, client: Driver) -> None:
    emulator.faults({"latency_ms": 60_000, "count": 5})
    begun = time.monotonic()
    outcome = client.call("environments.list", {"timeout_ms": 200})
    assert (outcome.status, outcome.json["attempts"], outcome.json["http_status"]) == (TIMEOUT, 1, None)
    assert time.monotonic() - begun >= 0.2


@pytest.mark.parametrize("seconds", ["3600", "1e18"])
def test_a_wait_that_would_pass_the_timeout_is_not_begun(seconds: str, emulator: Emulator, client: Driver) -> None:
    emulator.faults({"status": 429, "headers": {"retry-after": seconds}, "count": 5})
    begun = time.monotonic()
    outcome = client.call("environments.list", {"timeout_ms": 120_000})
    assert (outcome.status, outcome.json["attempts"]) == (RATE_LIMITED, 1)
    assert outcome.json["headers"]["retry-after"] == seconds
    assert outcome.json["retry_after_ms"] == min(float(seconds) * 1000, 2**31 - 1)
    assert outcome.json["operation"] == "environments.list"
    assert time.monotonic() - begun < 60


def test_a_timeout_within_a_later_attempt_reports_how_the_one_before_failed(emulator: Emulator, client: Driver) -> None:
    emulator.faults({"status": 503, "headers": {"retry-after-ms": "1"}}, {"latency_ms": 60_000})
    outcome = client.call("environments.list", {"timeout_ms": 5000})
    assert (outcome.status, outcome.json["attempts"]) == (TIMEOUT, 2)
    assert "HTTP 503" in outcome.json["message"]


def test_max_retries_counts_retries(emulator: Emulator, client: Driver) -> None:
    for retries in (0, 1, 4):
        emulator.control("DELETE", "/_emulator/faults")
        emulator.faults({"status": 500, "headers": {"retry-after-ms": "1"}, "count": 10})
        outcome = client.call("environments.list", {"max_retries": retries})
        assert (outcome.status, outcome.json["attempts"]) == (SERVER_ERROR, retries + 1)


@pytest.mark.http1  # against a socket of its own
def test_a_refused_connection_is_retried_and_says_so(driver: Driver) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        driver.client(api_key="k", base_url=f"http://127.0.0.1:{unused.getsockname()[1]}", max_retries=1)
        outcome = driver.call("environments.list")
    assert (outcome.status, outcome.json["attempts"], outcome.json["http_status"]) == (CONNECTION, 2, None)
    assert "refused" in outcome.json["message"]


@pytest.mark.parametrize("fault", [{"drop": True}, {"reset": True}, {"garbage": True}])
def test_a_connection_that_breaks_before_the_answer_is_retried(
    fault: dict[str, Any], emulator: Emulator, client: Driver
) -> None:
    emulator.faults(fault)
    outcome = client.call("environments.list", {"with_response": True})
    assert (outcome.status, outcome.json["attempts"]) == (OK, 2)
    client.client(api_key="test-key", base_url=emulator.url, max_retries=0)
    emulator.faults(fault)
    assert client.call("environments.list").status == CONNECTION


def test_an_answer_that_is_cut_short_is_asked_for_again(emulator: Emulator, client: Driver) -> None:
    emulator.faults({"cut": 5, "when": "after"})
    outcome = client.call("environments.list", {"with_response": True})
    assert (outcome.status, outcome.json["attempts"]) == (OK, 2)
    emulator.faults({"cut": 5, "when": "after", "count": 10})
    outcome = client.call("environments.list", {"max_retries": 1})
    assert (outcome.status, outcome.json["attempts"]) == (RESPONSE, 2)
    assert "cut short" in outcome.json["message"]


def test_an_answer_that_is_too_large_is_refused(emulator: Emulator, driver: Driver) -> None:
    driver.client(api_key="k", base_url=emulator.url, max_response_bytes=1000)
    fits, exceeds = ('"' + "x" * length + '"' for length in (998, 999))
    emulator.faults({"status": 200, "body": fits}, {"status": 200, "body": exceeds})
    assert driver.call("environments.list").status == OK
    outcome = driver.call("environments.list")
    assert (outcome.status, outcome.json["attempts"], outcome.json["http_status"]) == (RESPONSE, 1, 200)
    assert "max_response_bytes" in outcome.json["message"] and outcome.json["request_id"]


@pytest.mark.http1  # against a socket of its own
def test_an_announced_length_beyond_all_memory_is_not_reserved(driver: Driver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        driver.client(api_key="k", base_url=url, max_retries=0, max_response_bytes=2**62)
        with ThreadPoolExecutor() as pool:
            call = pool.submit(driver.call, "environments.list")
            connection, _ = server.accept()
            with connection:
                connection.makefile().readline()
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 4611686018427387904\r\n\r\n{")
                connection.shutdown(socket.SHUT_WR)
                assert call.result(timeout=60).status == RESPONSE


def test_a_redirect_is_not_followed(emulator: Emulator, client: Driver) -> None:
    for status in (301, 302, 303, 307, 308):
        emulator.faults({"status": status, "headers": {"location": "/v1/environments"}})
        outcome = client.call("environments.list")
        assert (outcome.status, outcome.json["http_status"], outcome.json["attempts"]) == (HTTP_STATUS, status, 1)
        assert "/v1/environments" in outcome.json["message"] and "base_url" in outcome.json["message"]


def test_a_compressed_response_is_rejected_by_name(emulator: Emulator, client: Driver) -> None:
    page = {"status": 200, "body": '{"data":[]}'}
    emulator.faults(*({**page, "headers": {"content-encoding": coding}} for coding in ("gzip", "identity")))
    outcome = client.call("environments.list")
    assert (outcome.status, outcome.json["http_status"], outcome.json["attempts"]) == (RESPONSE, 200, 1)
    assert "content-encoding: gzip" in outcome.json["message"]
    assert client.call("environments.list").status == OK


# --- connections ---


def test_the_transport_is_the_one_that_this_run_is_about(emulator: Emulator, client: Driver, transport: str) -> None:
    assert client.call("environments.list").status == OK
    assert [request["http"] for request in emulator.take_requests()] == ["2" if "http2" in transport else "1.1"]


def test_calls_share_one_connection(emulator: Emulator, client: Driver) -> None:
    for _ in range(20):
        assert client.call("environments.list").status == OK
    assert len({request["connection"] for request in emulator.take_requests()}) == 1


@pytest.mark.parametrize("operation", ["environments.list", "environments.create"])
def test_a_kept_connection_that_the_server_closed_does_not_fail_a_call(
    operation: str, emulator: Emulator, client: Driver
) -> None:
    """Neither a GET nor a POST: it costs an attempt at most, whether or not its end was seen in time."""
    params = {"name": "n"} if operation == "environments.create" else {}
    for _ in range(10):
        emulator.faults({"close_after": True})
        assert client.call("environments.list").status == OK
        assert client.call(operation, params).status == OK
    assert len([request for request in emulator.take_requests() if request["status"] == 200]) == 20


def test_a_request_that_went_out_is_not_sent_again_without_being_counted(emulator: Emulator, client: Driver) -> None:
    """The server may have acted on it before it closed the connection, kept or not."""
    assert client.call("environments.list").status == OK
    emulator.take_requests()
    emulator.faults({"drop": True})
    outcome = client.call("environments.create", {"name": "n", "max_retries": 0})
    assert (outcome.status, outcome.json["attempts"]) == (CONNECTION, 1)
    assert len(emulator.take_requests()) == 1
    emulator.faults({"drop": True})
    outcome = client.call("environments.create", {"name": "n", "max_retries": 1, "with_response": True})
    assert (outcome.status, outcome.json["attempts"]) == (OK, 2)
    assert len(emulator.take_requests()) == 2


@pytest.mark.http1  # with prior knowledge
def test_http2_can_be_asked_for(emulator: Emulator, driver: Driver) -> None:
    driver.client(api_key="k", base_url=emulator.url, http2="always")
    assert driver.call("environments.create", {"name": "two"}).json["name"] == "two"


@pytest.mark.http1  # against a socket of its own
def test_a_path_prefix_of_the_base_url_is_kept(driver: Driver) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        driver.client(api_key="k", base_url=f"http://127.0.0.1:{server.getsockname()[1]}/gateway/", max_retries=0)
        with ThreadPoolExecutor() as pool:
            call = pool.submit(driver.call, "environments.list", {"limit": 1})
            connection, _ = server.accept()
            with connection:
                line = connection.makefile().readline()
                connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}")
                assert call.result(timeout=60).text == "{}"
    assert line == "GET /gateway/v1/environments?limit=1 HTTP/1.1\n"


def test_a_proxy_is_used_when_given_and_never_for_this_machine(emulator: Emulator, driver_program: Path) -> None:
    with Driver(
        driver_program, environment={"HTTP_PROXY": "http://127.0.0.1:9", "http_proxy": "http://127.0.0.1:9"}
    ) as driver:
        driver.client(api_key="k", base_url=emulator.url)
        assert driver.call("environments.list").status == OK
        driver.client(api_key="k", base_url="http://example.invalid", allow_insecure_http=True, proxy=emulator.url)
        assert driver.call("environments.list").status == OK
        driver.client(api_key="k", base_url="http://example.invalid", allow_insecure_http=True, proxy="", max_retries=0)
        assert driver.call("environments.list").status == CONNECTION


# --- results ---


def test_with_response_returns_the_response(emulator: Emulator, client: Driver) -> None:
    outcome = client.call("environments.create", {"name": "n", "with_response": True}).json
    assert outcome["data"]["name"] == "n"
    assert outcome["http_status"] == 200 and outcome["attempts"] == 1
    assert outcome["request_id"] == outcome["headers"]["request-id"]


def test_unknown_fields_and_the_spelling_of_numbers_survive(emulator: Emulator, client: Driver) -> None:
    body = '{"z":1.00e2,"a":[18446744073709551616,-0.0],"config":{"new":[[[{"x":"\\u00e9\\/"}]]]}, "id" : "env_1"}'
    emulator.faults({"status": 200, "body": body})
    assert client.call("environments.retrieve", {"environment_id": "env_1"}).text == body
    config = '{"type":"cloud","future":{"n":1.50e3,"big":18446744073709551616,"list":[1,null,true]}}'
    created = client.call("environments.create", '{"name":"n","config":' + config + "}")
    assert created.status == OK and created.text is not None
    assert '"future":{"n":1.50e3,"big":18446744073709551616,"list":[1,null,true]}' in created.text


ODD_NAMES = [
    "環境 🚀",
    "\u0000",
    "a\nb\tc\r",
    "\"quoted\" \\ 'name'",
    "\u007f\u0080\u2028\ufffd",
    "e\u0301 \U0010ffff",
    "x" * 200,
]


def test_any_name_survives_the_way_to_the_database_and_back(driver: Driver, tmp_path: Path) -> None:
    database = str(tmp_path / "state.db")
    with Emulator("--auth", "any", "--data", database) as emulator:
        driver.client(api_key="k", base_url=emulator.url)
        params = [{"name": name, "description": name, "metadata": {"k": name}} for name in ODD_NAMES]
        ids = [driver.call("environments.create", given).json["id"] for given in params]
    with Emulator("--auth", "any", "--data", database) as emulator:
        driver.client(api_key="k", base_url=emulator.url)
        for identifier, name in zip(ids, ODD_NAMES, strict=True):
            got = driver.named("environments.retrieve", {"environment_id": identifier}).json
            assert (got["name"], got["description"], got["metadata"]) == (name, name, {"k": name})


def test_absent_null_and_empty_arrive_as_given(emulator: Emulator, client: Driver) -> None:
    identifier = client.call(
        "environments.create", {"name": "n", "description": "d", "metadata": {"a": "1", "b": "2", "c": "3"}}
    ).json["id"]

    def update(**params: Any) -> Any:
        return client.named("environments.update", {"environment_id": identifier, **params}).json

    assert update()["description"] == "d"
    assert update(description="")["description"] == ""
    assert update(description=None)["description"] is None
    assert update(metadata={"a": None, "b": ""})["metadata"] == {"c": "3"}
    bodies = [request["body"] for request in emulator.take_requests()[1:]]
    assert bodies == [{}, {"description": ""}, {"description": None}, {"metadata": {"a": None, "b": ""}}]


def test_a_poll_that_waits_is_answered_when_work_arrives(emulator: Emulator, client: Driver) -> None:
    identifier = client.call("environments.create", {"name": "w", "config": {"type": "self_hosted"}}).json["id"]
    assert client.named("work.poll", {"environment_id": identifier}).text == "null"
    queued = emulator.enqueue(identifier)
    item = client.named("work.poll", {"environment_id": identifier, "block_ms": 999}).json
    assert item["id"] == queued["id"] and item["secret"]


def test_a_stop_that_is_answered_with_no_content_is_a_success(emulator: Emulator, client: Driver) -> None:
    emulator.faults({"status": 204})
    assert client.named("work.stop", {"environment_id": "env_1", "work_id": "work_1"}).text == "null"


# --- pages ---


def items(driver: Driver) -> list[Any]:
    found = []
    while (outcome := driver.run("next")).status == OK:
        found.append(outcome.json)
    assert (outcome.status, outcome.text) == (DONE, None), outcome
    return found


def test_a_pager_hands_out_every_item_of_every_page(emulator: Emulator, client: Driver) -> None:
    names = [f"environment {number}" for number in range(7)]
    for name in names:
        client.call("environments.create", {"name": name})
    for limit, pages in ((1, 7), (3, 3), (7, 1), (100, 1)):
        emulator.take_requests()
        assert client.run("pager", "environments.list", json.dumps({"limit": limit, "workspace_id": "w"})).status == OK
        assert sorted(item["name"] for item in items(client)) == names
        assert client.run("next").status == DONE
        sent = emulator.take_requests()
        assert len(sent) == pages
        assert all(request["headers"]["anthropic-workspace-id"] == "w" for request in sent)


def test_the_next_page_is_on_its_way_while_a_page_is_used(emulator: Emulator, client: Driver) -> None:
    for number in range(4):
        client.call("environments.create", {"name": str(number)})
    emulator.take_requests()
    client.run("pager", "environments.list", '{"limit":2}')
    assert client.run("next").status == OK
    until(lambda: len(emulator.control("GET", "/_emulator/requests")["data"]) == 2, "the second page was not asked for")


def test_a_page_that_fails_is_asked_for_again_and_no_item_is_skipped(emulator: Emulator, client: Driver) -> None:
    for number in range(5):
        client.call("environments.create", {"name": str(number)})
    client.run("pager", "environments.list", '{"limit":2,"max_retries":0}')
    names = [client.run("next").json["name"]]
    until(lambda: len(emulator.control("GET", "/_emulator/requests")["data"]) == 7, "the second page was not asked for")
    emulator.faults({"status": 500})
    names += [client.run("next").json["name"] for _ in range(3)]
    assert client.run("next").status == SERVER_ERROR
    names += [item["name"] for item in items(client)]
    assert sorted(names) == list("01234")


def test_empty_pages_are_passed_over_and_a_circle_of_pages_is_noticed(emulator: Emulator, client: Driver) -> None:
    page = {"status": 200}
    emulator.faults(
        {**page, "body": {"data": [], "next_page": "a"}},
        {**page, "body": {"next_page": "b"}},
        {**page, "body": {"data": [{"n": 1}], "next_page": ""}},
    )
    client.run("pager", "environments.list", None)
    assert items(client) == [{"n": 1}]
    emulator.faults(
        {**page, "body": {"data": [1], "next_page": "a"}},
        {**page, "body": {"data": [2], "next_page": "b"}},
        {**page, "body": {"data": [3], "next_page": "a"}},
    )
    client.run("pager", "environments.list", None)
    assert [client.run("next").text for _ in range(2)] == ["1", "2"]
    outcome = client.run("next")
    assert (outcome.status, "circle" in outcome.json["message"]) == (RESPONSE, True)


@pytest.mark.parametrize(
    ("operation", "params", "beta"),
    [
        ("sessions.events.list", {"session_id": "sesn_1", "types": ["a", "b"]}, "managed-agents-2026-04-01"),
        ("memory_stores.memories.list", {"memory_store_id": "memstore_1", "limit": 2}, "agent-memory-2026-07-22"),
    ],
)
def test_events_and_memories_come_in_pages_too(
    operation: str, params: dict[str, Any], beta: str, emulator: Emulator, client: Driver
) -> None:
    emulator.faults(
        {"status": 200, "body": {"data": [{"n": 1}, {"n": 2}], "next_page": "a b"}},
        {"status": 200, "body": {"data": [{"n": 3}], "next_page": None}},
    )
    emulator.take_requests()
    assert client.run("pager", operation, json.dumps(params)).status == OK
    assert items(client) == [{"n": 1}, {"n": 2}, {"n": 3}]
    first, second = emulator.take_requests()
    assert second["query"] == [*first["query"], ["page", "a b"]]
    assert {first["headers"]["anthropic-beta"], second["headers"]["anthropic-beta"]} == {beta}


def test_a_pager_refuses_what_has_no_pages(client: Driver) -> None:
    assert client.run("pager", "work.poll", '{"environment_id":"e"}').json["parameter"] == "operation"
    assert client.run("pager", "environments.list", '{"with_response":true}').json["parameter"] == "with_response"
    assert client.run("pager", "work.list", None).json["parameter"] == "environment_id"


# --- credentials and secrets ---


def test_a_client_with_both_kinds_of_credential_sends_each_operation_the_right_one(
    strict_emulator: Emulator, driver: Driver
) -> None:
    identifier = strict_emulator.create_environment("both", config={"type": "self_hosted"})
    key = strict_emulator.environment_key(identifier)
    driver.client(api_key="an-api-key", environment_key=key, base_url=strict_emulator.url)
    assert driver.call("environments.list").status == OK
    work = {"environment_id": identifier, "work_id": strict_emulator.enqueue(identifier)["id"]}
    for operation in ("list", "poll", "stats"):
        assert driver.named(f"work.{operation}", {"environment_id": identifier}).status == OK
    for operation in ("ack", "heartbeat", "retrieve", "stop"):
        assert driver.named(f"work.{operation}", work).status == OK, operation
    assert driver.named("work.update", {**work, "metadata": {"a": "b"}}).status == OK


def test_a_derived_client_has_the_credential_it_was_given_alone(strict_emulator: Emulator, driver: Driver) -> None:
    identifier = strict_emulator.create_environment("derived", config={"type": "self_hosted"})
    driver.client(api_key="an-api-key", base_url=strict_emulator.url, default_headers={"X-Api-Key": "an-api-key"})
    assert (
        driver.run("derive", json.dumps({"environment_key": strict_emulator.environment_key(identifier)})).status == OK
    )
    strict_emulator.take_requests()
    assert driver.named("work.list", {"environment_id": identifier}).status == OK
    assert driver.call("environments.list").status == PERMISSION_DENIED
    requests = strict_emulator.take_requests()
    assert all("x-api-key" not in request["headers"] for request in requests)
    assert len({request["connection"] for request in requests}) == 1


def test_a_wrong_credential_is_an_authentication_error(strict_emulator: Emulator, driver: Driver) -> None:
    driver.client(environment_key="sk-ant-oat01-unknown", base_url=strict_emulator.url)
    assert driver.named("work.poll", {"environment_id": "env_1"}).status == AUTHENTICATION


def test_the_environment_gives_what_the_configuration_does_not(emulator: Emulator, driver_program: Path) -> None:
    variables = {"ANTHROPIC_AUTH_TOKEN": "env-token", "ANTHROPIC_BASE_URL": emulator.url}
    variables["ANTHROPIC_CUSTOM_HEADERS"] = "x-team: blue\nanthropic-beta: extra-1"
    with Driver(driver_program, environment=variables | {"ANTHROPIC_API_KEY": ""}) as driver:
        assert driver.run("client", None).status == OK
        driver.call("environments.list", {"extra_headers": {"X-Call": "1"}})
        assert driver.client(api_key="own", default_headers={"x-team": "red"}, auth_header="x-api-key").status == OK
        driver.call("environments.list")
    first, second = (request["headers"] for request in emulator.take_requests())
    assert (first["authorization"], first["x-team"], first["x-call"]) == ("Bearer env-token", "blue", "1")
    assert first["anthropic-beta"] == "extra-1,managed-agents-2026-04-01"
    assert (second.get("authorization"), second["x-api-key"], second["x-team"]) == (None, "own", "red")


@pytest.mark.http1  # nothing is sent
def test_a_missing_credential_is_reported_with_the_variables_looked_at(driver: Driver) -> None:
    outcome = driver.run("client", None)
    assert (outcome.status, outcome.json["status"]) == (CONFIG, "config")
    for name in ("ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_CUSTOM_HEADERS"):
        assert name in outcome.json["message"]


@pytest.mark.http1  # nothing is sent
@pytest.mark.parametrize("name", ["ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_ENVIRONMENT_KEY"])
def test_an_empty_credential_is_reported_by_its_name(name: str, driver_program: Path) -> None:
    with Driver(driver_program, environment={name: ""}) as driver:
        of_environment, of_config = driver.run("client", None), driver.client(api_key="")
    assert (of_environment.status, of_environment.json["parameter"]) == (CONFIG, name)
    assert of_environment.json["message"].startswith(f"`{name}` is set but empty")
    assert (of_config.status, of_config.json["parameter"]) == (CONFIG, "api_key")


SECRET = 'sk-ant-secret-"quoted"-0123456789'


@pytest.mark.parametrize("kind", ["api_key", "auth_token", "environment_key", "x-api-key", "extra_headers", "proxy"])
def test_no_error_repeats_a_secret(kind: str, emulator: Emulator, driver: Driver) -> None:
    secret = SECRET if kind != "proxy" else "secret-of-the-proxy"
    config: dict[str, Any] = {"base_url": emulator.url, "max_retries": 0}
    extra: dict[str, Any] = {}
    if kind == "x-api-key":
        config["default_headers"] = {"X-Api-Key": secret}
    elif kind == "extra_headers":
        config["api_key"] = "k"
        extra["extra_headers"] = {"Authorization": f"Bearer {secret}"}
    elif kind == "proxy":
        config |= {"api_key": "k", "proxy": emulator.url.replace("//", f"//user:{secret}@")}
    else:
        config[kind] = secret
    assert driver.client(**config).status == OK
    assert driver.run("log", "trace").status == OK
    error = {
        "type": "error",
        "error": {"type": f"t {secret}", "message": f"m {secret}", "details": {"d": secret, "error_code": secret}},
    }
    faults: list[dict[str, Any]] = [
        {"status": 401, "body": error, "headers": {"request-id": "req_1", "x-said": f"h {secret}"}},
        {"status": 403, "body": f"<p>{secret}</p>"},
        {"status": 200, "body": f"not JSON: {secret}"},
        {"drop": True},
        {"garbage": True},
        {"cut": 3, "status": 200, "body": error},
        {"latency_ms": 60_000},
    ]
    forms = (secret, json.dumps(secret)[1:-1], json.dumps(json.dumps(secret)[1:-1])[1:-1])
    for fault in faults:
        emulator.faults(fault)
        timeout = 300 if "latency_ms" in fault else 60_000
        params = {"environment_id": "env_1", "timeout_ms": timeout, **extra}
        outcome = driver.call("environments.retrieve", params)
        assert outcome.status != OK and outcome.text is not None
        assert not any(form in outcome.text for form in forms), outcome.text
    emulator.faults({"garbage": True})
    driver.call("environments.retrieve", {"environment_id": "env_1", "max_retries": 1, **extra})
    said = json.dumps(driver.records())
    assert "call done" in said and "retrying" in said
    assert not any(form in said or json.dumps(form)[1:-1] in said for form in forms), said
    for config in (
        {kind: SECRET, "base_url": "http://user:" + "pass-word@x"},
        {kind: [SECRET]},
        {SECRET[:5]: 1, kind: SECRET + "\n"},
    ):
        outcome = driver.client(**config)
        assert outcome.status == CONFIG and outcome.text is not None
        assert not any(form in outcome.text for form in (*forms, "pass-word")), outcome.text
    outcome = driver.run("client", json.dumps(SECRET))
    assert outcome.status == CONFIG and outcome.text is not None and "0123456789" not in outcome.text
