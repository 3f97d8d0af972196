"""What the library sends and how it takes answers, case by case, against what the official client was seen to do."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

from support.build import ROOT
from support.driver import Driver, Outcome, compact, driver_in
from support.emulator import Emulator

CASES = ROOT / "tests" / "conformance"
STREAM, DOWNLOAD = "sessions.events.stream", "skills.versions.download"
ALL_REQUESTS = json.loads((CASES / "requests.json").read_text())
ALL_RESPONSES = [
    (case, operation) for case in json.loads((CASES / "responses.json").read_text()) for operation in case["official"]
]
REQUESTS = [case for case in ALL_REQUESTS if case["operation"] not in (STREAM, DOWNLOAD)]
RESPONSES = [(case, operation) for case, operation in ALL_RESPONSES if operation not in (STREAM, DOWNLOAD)]
LANGUAGES = {
    "C": ["named", "call", "submitted"],
    "C++": ["named", "call", "submitted"],
    "C++ without exceptions": ["named", "call", "submitted"],
    "Python": ["named", "call"],
    "asyncio": ["named", "call"],
    "Go": ["named", "call"],
    "PHP": ["named", "call"],
}
HEADER = (ROOT / "include" / "antenv.h").read_text()
STATUS_OF_HTTP = {
    **{400: 100, 401: 101, 402: 102, 403: 103, 404: 104, 408: 105, 409: 106, 412: 107, 413: 108, 422: 109, 429: 110},
    **{500: 111, 501: 111, 502: 111, 503: 111, 504: 111, 529: 112},
}
# Where the official client hands out a raw string or lets a decoding error escape: (status, JSON) here.
RESPONSE_ERROR, NO_WORK = (7, None), (0, "null")
IMPROVED = {
    ("204 no content", "environments.retrieve"): RESPONSE_ERROR,
    ("204 no content", "work.poll"): NO_WORK,
    ("200 empty body", "environments.retrieve"): RESPONSE_ERROR,
    ("200 empty body", "work.poll"): NO_WORK,
    ("200 truncated json", "environments.retrieve"): RESPONSE_ERROR,
    ("200 truncated json", "work.poll"): RESPONSE_ERROR,
    ("200 html", "environments.retrieve"): RESPONSE_ERROR,
    ("200 html", "work.poll"): RESPONSE_ERROR,
}


@pytest.fixture(scope="module", params=list(LANGUAGES))
def language(request: pytest.FixtureRequest) -> str:
    """The language whose binding makes the calls."""
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def driver(language: str) -> Iterator[Driver]:
    """The driver in that language, running."""
    with Driver(*driver_in(language)) as running:
        yield running


@pytest.mark.parametrize("case", REQUESTS, ids=lambda case: case["name"])
def test_a_call_makes_the_request_that_the_official_client_makes(
    case: dict[str, Any], language: str, shared_emulator: Emulator, driver: Driver
) -> None:
    # The responses of a test before this one may be left.
    shared_emulator.control("DELETE", "/_emulator/faults")
    for how in LANGUAGES[language]:
        # In C, an operation without a function of its own is called by its name.
        if how != "named" or language != "C" or f" antenv_{case['operation'].replace('.', '_')}(" in HEADER:
            check_request(case, how, shared_emulator, driver)


def check_request(case: dict[str, Any], how: str, shared_emulator: Emulator, driver: Driver) -> None:
    driver.client(api_key="test-key", base_url=shared_emulator.url)
    shared_emulator.take_requests()
    outcome = getattr(driver, how)(case["operation"], case["params"])
    check_sent(case, outcome, shared_emulator.take_requests())


def check_sent(case: dict[str, Any], outcome: Outcome, sent: list[dict[str, Any]]) -> None:
    expected = case["expect"]
    if expected.get("rejected"):
        assert outcome.status == 1 and sent == [], outcome
        assert outcome.json["parameter"] in case["params"]
        return
    assert outcome.status == 0 or outcome.status >= 100, outcome
    assert len(sent) == 1
    (request,) = sent
    assert request["method"] == expected["method"]
    assert [unquote(part) for part in request["path"].split("/")] == [
        unquote(part) for part in expected["path"].split("/")
    ]
    assert request["query"] == expected["query"]
    assert request["body"] == expected["body"]
    headers = dict(expected["headers"])
    # The official client repeats a required beta that the caller gives; and some operations require none.
    headers["anthropic-beta"] = ",".join(dict.fromkeys(headers.get("anthropic-beta", "").split(","))) or None
    if headers.pop("content-length", None) == "0":
        assert request["headers"].get("content-length") == "0"
    if expected["body"] is None:
        headers.pop("content-type", None)
        assert "content-type" not in request["headers"]
    assert {name: request["headers"].get(name) for name in headers} == headers
    assert "x-api-key" not in request["headers"]
    assert request["headers"]["user-agent"].startswith("antenv/")


@pytest.mark.parametrize(
    ("operation", "function"),
    [(STREAM, "antenv_stream_open"), (DOWNLOAD, "antenv_download")],
)
def test_an_operation_that_returns_no_json_names_the_function_that_calls_it(
    operation: str, function: str, language: str, shared_emulator: Emulator, driver: Driver
) -> None:
    driver.client(api_key="test-key", base_url=shared_emulator.url)
    shared_emulator.take_requests()
    for how in set(LANGUAGES[language]) - {"named"}:
        outcome = getattr(driver, how)(operation, {"session_id": "sesn_1"})
        assert (outcome.status, outcome.json["parameter"]) == (1, "operation"), outcome
        assert outcome.json["message"].endswith(f"with {function}")
    assert shared_emulator.take_requests() == []


@pytest.mark.parametrize(
    ("case", "operation"), RESPONSES, ids=lambda value: value if isinstance(value, str) else value["name"]
)
def test_an_answer_is_taken_as_the_official_client_takes_it(
    case: dict[str, Any], operation: str, shared_emulator: Emulator, driver: Driver
) -> None:
    official = case["official"][operation]
    shared_emulator.control("DELETE", "/_emulator/faults")
    faults = [
        fault_of(response, official["request_id"] if not official["ok"] else None) for response in case["responses"]
    ]
    faults[-1]["count"] = 10  # the recorded server went on giving its last answer
    shared_emulator.faults(*faults)
    shared_emulator.take_requests()
    driver.client(api_key="test-key", base_url=shared_emulator.url)
    outcome = driver.call(operation, case.get("params", {"environment_id": "env_1"}))
    sent = shared_emulator.take_requests()

    if improved := IMPROVED.get((case["name"], operation)):
        status, text = improved
        assert outcome.status == status and (text is None or outcome.text == text)
    elif official["ok"]:
        body = case["responses"][-1]["body"]
        assert outcome.status == 0, outcome
        assert outcome.json == (body if isinstance(body, dict) else json.loads(body))
    else:
        check_error(outcome.status, outcome.json, case["responses"][-1], official)
    assert len(sent) == official["attempts"]
    check_delays(case, [datetime.fromisoformat(request["at"]) for request in sent])


@pytest.fixture(scope="module", params=list(LANGUAGES))
def streaming_driver(request: pytest.FixtureRequest) -> Iterator[Driver]:
    """The driver in a language, running, for streams and downloads."""
    with Driver(*driver_in(request.param)) as running:
        yield running


def begin(driver: Driver, operation: str, params: dict[str, Any], file: Path) -> Outcome:
    """Opens a stream, or downloads a file."""
    if operation == STREAM:
        return driver.run("open", operation, compact(params))
    return driver.run("download", operation, compact(params), str(file))


@pytest.mark.parametrize("case", [case for case in ALL_REQUESTS if case not in REQUESTS], ids=lambda case: case["name"])
def test_a_stream_or_download_makes_the_request_that_the_official_client_makes(
    case: dict[str, Any], shared_emulator: Emulator, streaming_driver: Driver, tmp_path: Path
) -> None:
    shared_emulator.control("DELETE", "/_emulator/faults")
    streaming_driver.client(api_key="test-key", base_url=shared_emulator.url)
    shared_emulator.take_requests()
    outcome = begin(streaming_driver, case["operation"], case["params"], tmp_path / "file")
    check_sent(case, outcome, shared_emulator.take_requests())


@pytest.mark.parametrize(
    ("case", "operation"),
    [pair for pair in ALL_RESPONSES if pair not in RESPONSES],
    ids=lambda value: value if isinstance(value, str) else value["name"],
)
def test_a_stream_or_download_is_taken_as_the_official_client_takes_it(
    case: dict[str, Any], operation: str, shared_emulator: Emulator, streaming_driver: Driver, tmp_path: Path
) -> None:
    official, file = case["official"][operation], tmp_path / "file"
    shared_emulator.control("DELETE", "/_emulator/faults")
    shared_emulator.faults(*(fault_of(response, official.get("request_id")) for response in case["responses"]))
    shared_emulator.take_requests()
    streaming_driver.client(api_key="test-key", base_url=shared_emulator.url)
    outcome, events = begin(streaming_driver, operation, case["params"], file), []
    while operation == STREAM and outcome.status == 0:
        outcome = streaming_driver.run("event", "60000")
        if outcome.status == 0:
            events.append(outcome.json)
    assert len(shared_emulator.take_requests()) == official["attempts"]
    assert events == official.get("events", [])
    if case["name"] == "stream cut within a frame":
        assert outcome.status == 4  # the official client takes it for the stream's end
    elif official["ok"]:
        assert outcome.status == (8 if operation == STREAM else 0), outcome
        assert operation == STREAM or file.read_text() == case["responses"][-1]["body"]
    else:
        assert outcome.status == STATUS_OF_HTTP.get(case["responses"][-1]["status"], 113)
        for field in ("type", "error_code", "request_id", "attempts"):
            assert outcome.json[field] == official[field], field
        assert not file.exists()


def fault_of(response: dict[str, Any], request_id: str | None) -> dict[str, Any]:
    if response.get("drop"):
        return {"drop": True}
    headers = dict(response.get("headers") or {})
    if request_id:
        headers["request-id"] = request_id
    return {"status": response["status"], "headers": headers, "body": response.get("body", "")}


def check_error(status: int, error: dict[str, Any], response: dict[str, Any], official: dict[str, Any]) -> None:
    expected = STATUS_OF_HTTP.get(response["status"], 113)
    assert (status, error["code"], error["http_status"]) == (expected, expected, response["status"])
    for field in ("type", "error_code", "request_id", "attempts"):
        assert error[field] == official[field], field
    body = response.get("body")
    assert error["body"] == (body or None)
    if isinstance(body, dict):
        assert error["message"] == body["error"]["message"]
        assert error["details"] == body["error"].get("details")


def check_delays(case: dict[str, Any], at: list[datetime]) -> None:
    """Each wait is at least what the server asked for, or what the backoff comes to at its shortest."""
    for retry, (before, after) in enumerate(pairwise(at)):
        headers = case["responses"][min(retry, len(case["responses"]) - 1)].get("headers") or {}
        backoff = 0.375 * 2**retry
        try:
            asked = float(headers.get("retry-after-ms", 0)) / 1000 or float(headers.get("retry-after", 0))
        except ValueError:
            asked = 0.0
        assert (after - before).total_seconds() >= (asked or backoff) - 0.005
