"""The methods that are generated for the operations send what a call by name sends, in every language."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from support.build import ROOT
from support.driver import Driver, driver_in
from support.http1 import Http1Server, Request, response

#: A value of each type that the page of the operations names.
VALUES: dict[str, Any] = {
    "string": 'té "xt" \\',
    "string or null": None,
    "boolean": True,
    "integer": 5,
    "object": {"key": "value"},
    "array of objects": [{"type": "user.message"}],
    "array of strings": ["one", "two"],
    "string or object": {"type": "agent", "id": "agent_1"},
}


def operations() -> dict[str, dict[str, Any]]:
    """Returns the operations that `antenv_call` makes for all bindings, each with a value for every parameter."""
    page = (ROOT / "docs" / "operations.md").read_text()
    named = re.findall(r"^\| \[`([\w.]+)`\]\(#\w+\) \| `antenv_call` \|", page, re.MULTILINE)
    sections = re.split(r"^## ([\w.]+)$", page, flags=re.MULTILINE)[1:]
    texts = dict(zip(sections[::2], sections[1::2], strict=True))
    return {
        name: {
            parameter: VALUES[kind.removesuffix(", required")]
            for parameter, kind in re.findall(r"^\| `(\S+)` \| ([^|]+) \|", texts[name], re.MULTILINE)
        }
        for name in named
    }


def sent(request: Request) -> tuple[str, str, str | None, Any]:
    """Returns what of a request depends on its operation and parameters."""
    body = json.loads(request.body) if request.body else None
    return request.method, request.target, request.headers.get("anthropic-beta"), body


@pytest.mark.parametrize("language", ["C++", "C++ without exceptions", "Go", "PHP", "Python", "asyncio"])
def test_a_method_sends_what_a_call_by_name_sends(language: str) -> None:
    answer = b'{"id":"id_1","type":"session","data":[{"id":"id_2"}],"next_page":null}'
    with Http1Server(lambda _: response(answer)) as server, Driver(*driver_in(language)) as driver:
        driver.client(api_key="k", base_url=server.url)
        for name, params in operations().items():
            method, by_name = driver.named(name, params), driver.call(name, params)
            assert method.status == by_name.status == 0, (name, method)
            assert sent(server.requests[-2]) == sent(server.requests[-1]), name
            assert method.json in (by_name.json, {"data": [{"id": "id_2"}], "next_page": None}), name
        assert len(server.requests) > 18
