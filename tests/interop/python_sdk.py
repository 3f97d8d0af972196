"""What the tests of the official Python client share. All its clients check each reply strictly against the
types that they ship with, and never retry unless a test says so."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
from anthropic import APIStatusError
from anthropic.resources.beta.environments import Work
from anthropic.types.beta.environments import BetaSelfHostedWork

from support.emulator import Emulator

API_KEY = "sk-ant-api03-interop"
NO_HEARTBEAT = "NO_HEARTBEAT"
Refusal = TypeVar("Refusal", bound=APIStatusError)
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    412: "invalid_request_error",
}


def settings(emulator: Emulator, *, strict: bool = True) -> dict[str, Any]:
    """What every client here is made with."""
    return {"base_url": emulator.url, "max_retries": 0, "timeout": 30, "_strict_response_validation": strict}


@contextmanager
def refused(error: type[Refusal]) -> Iterator[pytest.ExceptionInfo[Refusal]]:
    """The block raises exactly this class, with all that an error of the API carries."""
    with pytest.raises(error) as caught:
        yield caught
    raised = caught.value
    assert type(raised) is error, repr(raised)
    assert isinstance(raised.body, dict)
    assert raised.request_id is not None and raised.request_id.startswith("req_")
    assert raised.body["request_id"] == raised.request_id
    assert raised.type == ERROR_TYPES[raised.status_code]
    assert raised.api_message


def claim(work: Work, environment_id: str, **options: Any) -> BetaSelfHostedWork:
    """Polls for an item that must be there."""
    item: BetaSelfHostedWork | None = work.poll(environment_id, **options)
    assert item is not None
    return item


def start(work: Work, environment_id: str) -> BetaSelfHostedWork:
    """Claims an item that must be there, and acknowledges it."""
    item = claim(work, environment_id)
    work.ack(item.id, environment_id=environment_id)
    return item


def sessions_token(item: BetaSelfHostedWork) -> str:
    """The credential in an item's secret."""
    assert item.secret is not None
    secret = json.loads(base64.urlsafe_b64decode(item.secret + "=" * (-len(item.secret) % 4)))
    token: str = secret["sessions_token"]
    return token


def operations(requests: list[dict[str, Any]]) -> list[str]:
    """The operations of recorded requests, in order."""
    return [request["operation"] for request in requests]


def bearer(request: dict[str, Any]) -> str:
    """The credential that a recorded request came with."""
    credential: str = request["headers"]["authorization"]
    return credential.removeprefix("Bearer ")
