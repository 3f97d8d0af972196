"""What is sent in headers whatever the caller says, and what never shows in an error."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from urllib.parse import quote

import pytest

from support.driver import Driver
from support.emulator import Emulator
from support.http1 import Exchange, Http1Server, response

OK, CONFIG = 0, 3
FRAMING = [
    "Connection",
    "Content-Length",
    "host",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "TRANSFER-ENCODING",
    "Upgrade",
]
REQUIRED_BETA = "managed-agents-2026-04-01"


@pytest.mark.parametrize("http2", ["never", "always"])
def test_answers_are_not_asked_for_in_an_encoding_that_is_not_understood(
    http2: str, emulator: Emulator, driver: Driver
) -> None:
    driver.client(api_key="k", base_url=emulator.url, http2=http2)
    driver.call("environments.list")
    headers = emulator.take_requests()[0]["headers"]
    assert headers.get("accept-encoding") == "identity", headers


@pytest.mark.parametrize("name", FRAMING)
def test_custom_headers_of_the_environment_may_not_frame_the_message(name: str, driver_program: Path) -> None:
    """As in `default_headers`: they would cut one request into two, or hide it."""
    lines = f"x-team: blue\n{name}: 3"
    with Driver(driver_program, environment={"ANTHROPIC_CUSTOM_HEADERS": lines}) as driver:
        outcome = driver.client(api_key="k")
        assert outcome.status == CONFIG and "ANTHROPIC_CUSTOM_HEADERS" in outcome.json["message"], outcome
        assert name.lower() in outcome.json["message"].lower(), outcome
    with Driver(driver_program) as driver:
        outcome = driver.client(api_key="k", default_headers={name: "3"})
        assert (outcome.status, outcome.json["parameter"]) == (CONFIG, name), outcome


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("x team: own", "header name"),
        (": own", "header name"),
        ("x-team: own\x01", "value"),
        ("x-team: own\x7f", "value"),
    ],
)
def test_custom_headers_of_the_environment_must_be_headers(line: str, problem: str, driver_program: Path) -> None:
    with Driver(driver_program, environment={"ANTHROPIC_CUSTOM_HEADERS": f"x-other: 1\n{line}"}) as driver:
        outcome = driver.client(api_key="k")
        assert (outcome.status, outcome.json["parameter"]) == (CONFIG, "ANTHROPIC_CUSTOM_HEADERS"), outcome
        assert f"has a line whose {problem} is not valid" in outcome.json["message"], outcome
        assert "own" not in str(outcome.json), "the value may be a secret"


@pytest.mark.parametrize("spelling", ["anthropic-beta", "Anthropic-Beta"])
def test_the_required_beta_cannot_be_removed(spelling: str, emulator: Emulator, driver_program: Path) -> None:
    variables = {"ANTHROPIC_CUSTOM_HEADERS": f"{spelling}: "}
    with Driver(driver_program, environment=variables) as driver:
        assert driver.client(api_key="k", base_url=emulator.url, default_headers={spelling: None}).status == OK
        for params in ({}, {spelling: None}, {spelling: ""}, {spelling: "one"}):
            assert driver.call("environments.list", {"extra_headers": params}).status == OK
        assert driver.call("environments.list", {"extra_headers": {spelling: None}, "betas": ["two"]}).status == OK
    sent = [request["headers"]["anthropic-beta"] for request in emulator.take_requests()]
    assert sent == [REQUIRED_BETA] * 3 + [f"one,{REQUIRED_BETA}", f"two,{REQUIRED_BETA}"]


def test_accept_and_user_agent_can_be_replaced(emulator: Emulator, driver: Driver) -> None:
    driver.client(api_key="k", base_url=emulator.url, default_headers={"accept": "text/html", "User-Agent": "mine"})
    driver.call("environments.list")
    headers = emulator.take_requests()[0]["headers"]
    assert (headers["accept"], headers["user-agent"]) == ("text/html", "mine")


SECRET = 'sk-ant-é/+?&="quoted"\\%41-0123456789'


def spellings(secret: str, login: str | None = None) -> set[str]:
    """How a server or a library may write a secret that it repeats."""
    escaped = json.dumps(secret)[1:-1]
    plain = json.dumps(secret, ensure_ascii=False)[1:-1]
    every = "".join(f"\\u{ord(character):04x}" for character in secret)
    percent = quote(secret, safe="")
    loose = quote(secret)
    encoded = "".join(f"%{byte:02X}" for byte in secret.encode())
    found = {secret, escaped, plain, every, every.upper().replace("\\U", "\\u"), plain.replace("/", "\\/")}
    found |= {percent, percent.lower(), loose, loose.lower(), encoded, encoded.lower()}
    if login:
        coded = base64.b64encode(login.encode()).decode()
        found |= {coded, coded.rstrip("="), base64.urlsafe_b64encode(login.encode()).decode()}
    return found


def shows(text: str, spelling: str) -> bool:
    """Returns whether a text contains it, verbatim or escaped as JSON."""
    return any(
        form in text for form in (spelling, json.dumps(spelling)[1:-1], json.dumps(spelling, ensure_ascii=False)[1:-1])
    )


@pytest.mark.parametrize("kind", ["api_key", "auth_token", "environment_key", "extra_headers"])
def test_no_spelling_of_a_secret_that_a_server_repeats_is_in_an_error(kind: str, driver: Driver) -> None:
    repeated = ""

    def answer(_: Exchange) -> bytes:
        headers = {"request_id": f"req_{quote(repeated, safe='')}"}
        return response(bodies.pop(), "400 Bad Request", **headers)

    bodies: list[bytes] = []
    with Http1Server(answer) as server:
        config: dict[str, object] = {"base_url": server.url, "max_retries": 0}
        params: dict[str, object] = {}
        if kind == "extra_headers":
            config["api_key"] = "k"
            params["extra_headers"] = {"Authorization": f"Bearer {SECRET}"}
        else:
            config[kind] = SECRET
        assert driver.client(**config).status == OK
        for repeated in sorted(spellings(SECRET)):
            error = {"type": "error", "error": {"type": "t", "message": f"m {repeated}", "details": {"d": repeated}}}
            # As a JSON value (escaped by the server), in JSON as it is if that is JSON, and in a page.
            raw = '{"type":"error","error":{"message":"m ' + repeated + '"}}'
            for body in (json.dumps(error), json.dumps(error, ensure_ascii=False), raw, f"<p>{repeated}</p>"):
                bodies.append(body.encode())
                outcome = driver.call("environments.list", params)
                assert outcome.status == 100 and outcome.text is not None
                shown = [spelling for spelling in spellings(SECRET) if shows(outcome.text, spelling)]
                assert not shown, (repeated, outcome.text)


def test_no_spelling_of_a_proxys_credential_is_in_an_error(driver: Driver) -> None:
    login = f"user:{SECRET}"
    repeated = ""
    with Http1Server(lambda _: response(f"<p>{repeated}</p>".encode(), "502 Bad Gateway")) as proxy:
        url = f"http://user:{quote(SECRET, safe='')}@{proxy.address}"
        config = {"api_key": "k", "base_url": "http://api.test", "allow_insecure_http": True, "max_retries": 0}
        assert driver.client(**config, proxy=url).status == OK
        for repeated in sorted(spellings(SECRET, login)):
            outcome = driver.call("environments.list")
            assert outcome.status == 111 and outcome.text is not None
            shown = [spelling for spelling in spellings(SECRET, login) if shows(outcome.text, spelling)]
            assert not shown, (repeated, outcome.text)
