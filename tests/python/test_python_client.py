"""The client that waits: results, parameters, pages, errors, options."""

from __future__ import annotations

import copy
import inspect
import json
import pickle
import re
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import antenv
from antenv import types
from support.emulator import Emulator
from support.http1 import Http1Server, response


@pytest.fixture
def client(emulator: Emulator) -> Iterator[antenv.Client]:
    with antenv.Client(api_key="k", base_url=emulator.url) as client:
        yield client


def test_an_environment_lives_through_all_operations(client: antenv.Client) -> None:
    created = client.environments.create(name="one", config={"type": "cloud"}, metadata={"a": "b"})
    assert isinstance(created, types.Environment)
    assert isinstance(created.config, types.CloudConfig)
    assert isinstance(created.config.networking, types.UnrestrictedNetwork)
    assert created.config.packages.pip == []
    assert client.environments.retrieve(created.id) == created
    updated = client.environments.update(created.id, name="two", metadata={"a": None, "c": "d"})
    assert (updated.name, updated.metadata) == ("two", {"c": "d"})
    assert [environment.id for environment in client.environments.list()] == [created.id]
    assert client.environments.archive(created.id).archived_at is not None
    assert list(client.environments.list()) == []
    assert len(list(client.environments.list(include_archived=True))) == 1
    deleted = client.environments.delete(created.id)
    assert isinstance(deleted, types.EnvironmentDeleted) and deleted.id == created.id


def test_a_work_item_lives_through_all_operations(strict_emulator: Emulator) -> None:
    with antenv.Client(api_key="an-api-key", base_url=strict_emulator.url) as owner:
        environment = owner.environments.create(name="hosts", config={"type": "self_hosted"})
        assert isinstance(environment.config, types.SelfHostedConfig)
        key = strict_emulator.environment_key(environment.id)
        with owner.with_options(environment_key=key) as client:
            work = client.environments.work
            assert work.poll(environment.id) is None
            queued = strict_emulator.enqueue(environment.id)
            assert [item.id for item in work.list(environment.id)] == [queued["id"]]
            assert work.stats(environment.id).depth == 1
            item = work.poll(environment.id, block_ms=999, anthropic_worker_id="w")
            assert item is not None and item.state == "queued" and isinstance(item.data, types.SessionWorkData)
            assert work.ack(item.id, environment_id=environment.id).state == "starting"
            beat = work.heartbeat(item.id, environment_id=environment.id, expected_last_heartbeat="NO_HEARTBEAT")
            assert beat.lease_extended and beat.ttl_seconds > 0
            with pytest.raises(antenv.PreconditionFailedError) as caught:
                work.heartbeat(item.id, environment_id=environment.id, expected_last_heartbeat="NO_HEARTBEAT")
            assert caught.value.details is not None
            work.stop(item.id, environment_id=environment.id, force=True)
        assert owner.environments.work.retrieve(item.id, environment_id=environment.id).state == "stopped"
        changed = owner.environments.work.update(item.id, environment_id=environment.id, metadata={"k": "v"})
        assert changed.metadata == {"k": "v"}


def test_results_are_objects_that_keep_what_they_do_not_know(client: antenv.Client, emulator: Emulator) -> None:
    body = {"id": "env_1", "config": {"type": "lunar", "crater": 3}, "novel": {"x": [1]}, "not an identifier": 2}
    emulator.faults({"status": 200, "body": body, "count": 2})
    environment: Any = client.environments.retrieve("env_1")
    assert environment.novel == {"x": [1]} and environment.config.crater == 3
    assert type(environment.config) is types.Model
    assert environment.scope is None, "a field that may be missing"
    assert environment.to_dict() == body and json.loads(environment.to_json()) == body
    again = client.environments.retrieve("env_1")
    assert again == environment and again is not environment
    again.name = "changed"
    assert again != environment
    assert environment != body
    with pytest.raises(TypeError):
        hash(environment)
    with pytest.raises(AttributeError):
        environment.nothing_of_the_kind  # noqa: B018
    assert copy.deepcopy(environment) == environment == pickle.loads(pickle.dumps(environment))
    assert repr(environment).startswith("Environment(id='env_1', config=Model(type='lunar', crater=3), novel=")


def test_blanks_around_an_answer_do_not_matter(client: antenv.Client, emulator: Emulator) -> None:
    emulator.faults({"status": 200, "body": ' \r\n\t{"id": "env_1"}\n ', "count": 1})
    assert client.environments.retrieve("env_1").id == "env_1"


def test_a_secret_is_not_shown() -> None:
    work = types.Work(id="work_1", secret="s3cr3t-value", state="queued")
    assert work.secret == "s3cr3t-value" and "s3cr3t" not in repr(work) and "secret=***" in repr(work)
    assert repr(types.Work(secret=None)) == "Work(secret=None)"


def test_absent_and_none_are_different(client: antenv.Client, emulator: Emulator) -> None:
    environment = client.environments.create(name="n", description="d")
    assert client.environments.update(environment.id).description == "d"
    assert client.environments.update(environment.id, description=None).description is None
    bodies = [request["body"] for request in emulator.take_requests()]
    assert bodies == [{"name": "n", "description": "d"}, {}, {"description": None}]


def test_a_list_gives_every_item_of_every_page(client: antenv.Client, emulator: Emulator) -> None:
    ids = [client.environments.create(name=f"e{number}").id for number in range(5)]
    emulator.take_requests()
    page = client.environments.list(limit=2)
    assert len(page.data) == 2 and page.next_page and page.has_next_page()
    assert len(emulator.take_requests()) == 1, "a list that is not iterated over fetches one page"
    assert sorted(environment.id for environment in page) == sorted(ids)
    assert [len(page.data) for page in page.pages()] == [2, 2, 1]
    last = page.get_next_page().get_next_page()
    assert not last.has_next_page()
    with pytest.raises(LookupError):
        last.get_next_page()
    assert {request["query"][0][1] for request in emulator.take_requests()} == {"2"}


def test_an_error_in_the_middle_of_a_list_is_raised_where_it_happens(client: antenv.Client, emulator: Emulator) -> None:
    for number in range(3):
        client.environments.create(name=f"e{number}")
    items = iter(client.environments.list(limit=1))
    next(items)
    emulator.faults({"status": 400, "count": 1})
    with pytest.raises(antenv.BadRequestError):
        next(items)


def test_errors_report_everything(client: antenv.Client) -> None:
    with pytest.raises(antenv.NotFoundError) as caught:
        client.environments.retrieve("env_missing")
    error = caught.value
    assert isinstance(error, antenv.APIStatusError) and isinstance(error, antenv.APIError)
    assert (error.status_code, error.status, error.code) == (404, "not_found", 104)
    assert (error.type, error.error_code, error.attempts) == ("not_found_error", "environment_not_found", 1)
    assert error.request_id and error.request_id.startswith("req_")
    assert error.body["error"]["type"] == "not_found_error" and error.parameter is None
    assert error.message == error.body["error"]["message"]
    assert error.operation == "environments.retrieve" and error.retry_after is None
    assert error.headers["request-id"] == error.request_id
    assert str(error) == f"environments.retrieve: 404 not_found: {error.message} ({error.request_id})"
    copied = pickle.loads(pickle.dumps(error))
    assert type(copied) is antenv.NotFoundError and copied.to_dict() == error.to_dict() and str(copied) == str(error)


def test_an_error_has_the_responses_headers_and_its_wait(client: antenv.Client, emulator: Emulator) -> None:
    fault = {"status": 429, "headers": {"Retry-After": "7", "X-Test": "one"}, "count": 2}
    emulator.faults(fault)
    for environments in (client.environments, client.environments.with_raw_response):
        with pytest.raises(antenv.RateLimitError) as caught:
            environments.retrieve("env_1", max_retries=0)
        error = caught.value
        assert (error.retry_after, error.headers["x-test"], error.headers["retry-after"]) == (7.0, "one", "7")
        assert error.request_id and error.request_id in str(error)


def test_an_error_without_a_response_has_no_headers(client: antenv.Client, emulator: Emulator) -> None:
    emulator.faults({"drop": True, "count": 1})
    with pytest.raises(antenv.APIConnectionError) as caught:
        client.environments.create(name="n", max_retries=0)
    error = caught.value
    assert (error.headers, error.retry_after, error.request_id) == ({}, None, None)
    assert str(error) == f"environments.create: {error.message}"


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, antenv.BadRequestError),
        (401, antenv.AuthenticationError),
        (402, antenv.PaymentRequiredError),
        (403, antenv.PermissionDeniedError),
        (404, antenv.NotFoundError),
        (408, antenv.RequestTimeoutError),
        (409, antenv.ConflictError),
        (412, antenv.PreconditionFailedError),
        (413, antenv.ContentTooLargeError),
        (418, antenv.APIStatusError),
        (422, antenv.UnprocessableEntityError),
        (429, antenv.RateLimitError),
        (431, antenv.RequestHeaderFieldsTooLargeError),
        (499, antenv.ClientClosedRequestError),
        (500, antenv.InternalServerError),
        (501, antenv.HTTPNotImplementedError),
        (502, antenv.InternalServerError),
        (503, antenv.ServiceUnavailableError),
        (504, antenv.GatewayTimeoutError),
        (529, antenv.OverloadedError),
    ],
)
def test_each_http_status_has_its_class(
    client: antenv.Client, emulator: Emulator, status: int, kind: type[antenv.APIStatusError]
) -> None:
    emulator.faults({"status": status, "count": 1})
    with pytest.raises(antenv.APIStatusError) as caught:
        client.environments.retrieve("env_1", max_retries=0)
    assert type(caught.value) is kind and caught.value.status_code == status


def test_no_connection_no_time_and_no_json_have_classes_too(client: antenv.Client, emulator: Emulator) -> None:
    emulator.faults({"drop": True, "count": 1})
    with pytest.raises(antenv.APIConnectionError):
        client.environments.create(name="n", max_retries=0)
    emulator.faults({"latency_ms": 60_000, "count": 1})
    with pytest.raises(antenv.APITimeoutError) as caught:
        client.environments.retrieve("env_1", timeout=0.05)
    assert isinstance(caught.value, antenv.APIConnectionError) and caught.value.status_code is None
    emulator.faults({"status": 200, "body": "<html>", "count": 1})
    with pytest.raises(antenv.APIResponseValidationError):
        client.environments.retrieve("env_1")


@pytest.mark.parametrize(
    ("arguments", "parameter"),
    [
        ({"name": ""}, "name"),
        ({"name": 3}, "name"),
        ({"name": "n", "timeout": 0}, "timeout"),
        ({"name": "n", "timeout": "soon"}, "timeout"),
        ({"name": "n", "max_retries": 101}, "max_retries"),
        ({"name": "n", "extra_headers": {"x": "a\nb"}}, "x"),
        ({"name": "\ud800"}, None),
    ],
)
def test_an_argument_that_is_refused_is_named_and_nothing_is_sent(
    client: antenv.Client, emulator: Emulator, arguments: dict[str, Any], parameter: str | None
) -> None:
    with pytest.raises(antenv.InvalidArgumentError) as caught:
        client.environments.create(**arguments)
    assert isinstance(caught.value, ValueError)
    assert emulator.take_requests() == []
    if parameter:
        assert caught.value.parameter == parameter


def test_an_unknown_argument_is_reported_before_a_missing_one(client: antenv.Client) -> None:
    with pytest.raises(TypeError, match="'nmae'"):
        client.environments.create(nmae="n")  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'name'"):
        client.environments.create()  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="'odd'"):
        client.request("GET", "/v1/environments", odd=1)  # type: ignore[call-arg]
    with pytest.raises(antenv.InvalidArgumentError) as caught:
        client.call("environments.create", nmae="n")
    assert caught.value.parameter == "nmae" and caught.value.operation == "environments.create"


def test_help_shows_each_argument_with_its_text(client: antenv.Client) -> None:
    for resource in (client.environments, client.environments.work):
        for name, method in inspect.getmembers(resource, inspect.ismethod):
            if not name.startswith("_"):
                text = inspect.getdoc(method) or ""
                for parameter in inspect.signature(method).parameters.values():
                    assert parameter.kind is not parameter.VAR_KEYWORD
                    assert re.search(rf"^    {parameter.name}: \S", text, re.M), f"{name}: {parameter.name}"
    shown = str(inspect.signature(client.environments.create)).replace("'", "")
    assert shown.startswith("(*, name: str, config: ConfigParams | None | Omit = omit, ")


def test_omit_leaves_out_what_none_would_send_as_null(client: antenv.Client, emulator: Emulator) -> None:
    client.environments.create(name="n", description=antenv.omit, metadata=copy.deepcopy(antenv.omit), scope=None)
    assert [request["body"] for request in emulator.take_requests()] == [{"name": "n", "scope": None}]
    assert not antenv.omit and repr(antenv.omit) == "omit"


def test_messages_have_pythons_names_and_units(client: antenv.Client, emulator: Emulator) -> None:
    with pytest.raises(antenv.InvalidArgumentError) as caught:
        client.environments.list(timeout=0)
    assert caught.value.message == "`timeout` must be a number of seconds from 0.001 to 2147483.647"
    assert caught.value.to_dict()["parameter"] == "timeout_ms", "the C interface's names"
    with pytest.raises(antenv.ConfigError, match=r"`idle_max` must not be less than `idle_min` \(5\)"):
        client.environments.worker("env_1", environment_key="k", idle_min=5, idle_max=1)
    emulator.faults({"latency_ms": 60_000, "count": 1})
    with pytest.raises(antenv.APIError) as late:
        client.environments.list(attempt_timeout=0.05, max_retries=0)
    assert "`attempt_timeout`" in late.value.message and "_ms" not in str(late.value)
    body = {"type": "error", "error": {"type": "invalid_request_error", "message": "timeout_ms is odd"}}
    emulator.faults({"status": 400, "body": body, "count": 1})
    with pytest.raises(antenv.BadRequestError) as said:
        client.environments.list()
    assert said.value.message == "timeout_ms is odd", "the server's words stay"


def test_what_is_not_json_is_refused_by_python(client: antenv.Client) -> None:
    with pytest.raises(TypeError):
        client.environments.create(name="n", metadata={"a": object()})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="not JSON compliant"):
        client.environments.create(name="n", extra_body={"a": float("nan")})
    with pytest.raises(antenv.InvalidArgumentError, match="NUL") as caught:
        client.request("GET", "/v1/environments\0/x")
    assert caught.value.parameter == "path"


@pytest.mark.parametrize(
    ("status", "kind"), [("200 OK", antenv.APIResponseValidationError), ("404 Not Found", antenv.NotFoundError)]
)
def test_json_that_is_nested_too_deeply_for_python_is_an_error_of_the_call(
    status: str, kind: type[antenv.APIError]
) -> None:
    deep = b'{"a":' * 100_000 + b"1" + b"}" * 100_000
    with Http1Server(lambda _: response(deep, status)) as server:
        client = antenv.Client(api_key="k", base_url=server.url)
        with client, pytest.raises(kind, match="nested too deeply"):
            client.environments.retrieve("env_1")


def test_the_configuration_is_checked() -> None:
    with pytest.raises(antenv.ConfigError) as caught:
        antenv.Client(api_key="k", base_url="http://example.com")
    assert caught.value.parameter == "base_url" and isinstance(caught.value, ValueError)
    with pytest.raises(antenv.ConfigError):
        antenv.Client(api_key="k", connect_timeout=0)


def test_the_environment_is_read_when_nothing_is_given(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    monkeypatch.delenv("ANTHROPIC_AUTH_TOKEN", raising=False)
    with pytest.raises(antenv.ConfigError):
        antenv.Client(base_url=emulator.url)
    monkeypatch.setenv("ANTHROPIC_API_KEY", "")
    with pytest.raises(antenv.ConfigError, match=r"^`ANTHROPIC_API_KEY` is set but empty"):
        antenv.Client(base_url=emulator.url)
    with pytest.raises(antenv.ConfigError) as caught:
        antenv.Client(api_key="")
    assert caught.value.parameter == "api_key"
    monkeypatch.setenv("ANTHROPIC_API_KEY", "from-the-environment")
    monkeypatch.setenv("ANTHROPIC_BASE_URL", emulator.url)
    with antenv.Client() as client:
        client.environments.list()
    assert emulator.take_requests()[0]["headers"]["authorization"] == "Bearer from-the-environment"


def test_options_change_a_call_or_a_client(client: antenv.Client, emulator: Emulator) -> None:
    emulator.faults({"status": 500, "count": 4})
    with pytest.raises(antenv.InternalServerError) as caught:
        client.environments.retrieve("env_1", max_retries=1)
    assert caught.value.attempts == 2
    patient = client.with_options(max_retries=1, default_headers={"x-test": "derived"}, betas=["one-2026"])
    assert type(patient) is antenv.Client
    client.close()
    with pytest.raises(antenv.InternalServerError) as caught:
        patient.environments.retrieve("env_1")
    assert caught.value.attempts == 2
    patient.environments.create(
        name="n", extra_headers={"x-call": "1"}, extra_query={"q": [1, 2]}, extra_body={"new": {}}
    )
    request = emulator.take_requests()[-1]
    assert (request["headers"]["x-test"], request["headers"]["x-call"]) == ("derived", "1")
    assert "one-2026" in request["headers"]["anthropic-beta"]
    assert request["body"] == {"name": "n", "new": {}} and len(request["query"]) == 2


def test_a_closed_client_says_so(client: antenv.Client) -> None:
    client.close()
    client.close()
    assert repr(client) == "<antenv.Client, closed>"
    for use in (client.environments.list, client.stats, client.with_options, lambda: client.request("GET", "/v1/x")):
        with pytest.raises(antenv.ClosedError, match="this client is closed: make a new one"):
            use()


def test_any_other_endpoint_can_be_reached(client: antenv.Client, emulator: Emulator) -> None:
    made = client.request("POST", "/v1/environments", body={"name": "by hand"}, headers={"x-a": "b"})
    assert made["name"] == "by hand"
    assert client.request("GET", "/v1/environments", query={"limit": 1})["data"] == [made]
    assert client.call("environments.retrieve", environment_id=made["id"]) == made
    with pytest.raises(antenv.InvalidArgumentError):
        client.call("environments.paint")


def test_a_raw_response_has_what_came_with_the_result(client: antenv.Client, emulator: Emulator) -> None:
    response = client.environments.with_raw_response.create(name="n")
    assert (response.status_code, response.attempts) == (200, 1)
    assert response.request_id == response.headers["request-id"]
    assert isinstance(response.parse(), types.Environment)
    pages = client.environments.with_raw_response.list(limit=1)
    assert pages.parse().data == [response.parse()]
    assert client.environments.work.with_raw_response.stats(response.parse().id).parse().depth == 0
    assert client.environments.with_raw_response.work.stats(response.parse().id).parse().depth == 0
    assert "request_id" in repr(response)
    emulator.faults({"status": 404, "count": 1})
    with pytest.raises(antenv.NotFoundError):
        client.environments.with_raw_response.retrieve("env_1")


def test_raw_responses_are_there_for_every_operation(client: antenv.Client) -> None:
    for resource in (client.environments, client.environments.work):
        methods = {name for name, _ in inspect.getmembers(resource, inspect.ismethod) if not name.startswith("_")}
        operations = methods - {"worker"}
        assert operations and operations <= set(vars(resource.with_raw_response))


def test_the_client_counts(client: antenv.Client) -> None:
    client.environments.list()
    assert client.stats()["latency_us"]["environments.list"]["count"] == 1


def test_threads_share_a_client(client: antenv.Client) -> None:
    names: list[str] = []

    def work(number: int) -> None:
        for step in range(20):
            names.append(client.environments.create(name=f"{number}.{step}").name)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(names) == sorted(f"{number}.{step}" for number in range(8) for step in range(20))


def test_every_public_thing_is_documented() -> None:
    for name in antenv.__all__:
        assert inspect.getdoc(getattr(antenv, name)), name
    for kind in (antenv.Client, antenv.AsyncClient, antenv.Page, antenv.Response, antenv.AsyncPage, antenv.AsyncPages):
        for name, member in inspect.getmembers(kind, inspect.isroutine):
            if not name.startswith("_"):
                assert inspect.getdoc(member), f"{kind.__name__}.{name}"
    for name in types.__all__:
        if inspect.isclass(getattr(types, name)):
            assert inspect.getdoc(getattr(types, name)), name
