"""Runs calls that a test describes on standard input, through the Python package, and reports each on standard output.

The language is that of tests/c/driver.c, of which it knows the lines `client`, `derive`, `call`, `named`, `request`,
`open`, `event` and `download`.
An argument says which client is meant: `sync` or `async`.
"""

from __future__ import annotations

import asyncio
import inspect
import json
import re
import sys
from collections.abc import Awaitable, Callable
from operator import attrgetter
from typing import Any

import antenv

DONE = 8


class StreamEnd(Exception):
    """The server has ended the stream."""


class Session:
    """The client that the lines before this one made, and the list it is in the middle of."""

    def __init__(self, asynchronous: bool) -> None:
        self.kind: Any = antenv.AsyncClient if asynchronous else antenv.Client
        self.client: Any = None
        self.stream: Any = None

    def run(self, what: str, fields: list[Any]) -> Any:
        """Does what a line says; gives the result, or something to await for it."""
        if what == "client":
            self.client = self.kind(**config(fields[0]))
            return None
        if what == "derive":
            self.client = self.client.with_options(**config(fields[0]))
            return None
        if what == "call":
            return self.client.call(fields[0], **json.loads(fields[1] or "{}"))
        if what == "request":
            return self.client.request(fields[0], fields[1], **json.loads(fields[2] or "{}"))
        if what == "named":
            return self.method(fields[0], fields[1:])
        if what == "open":
            self.stream = self.method(fields[0], [None, None, fields[1]])
            return self.opened() if isinstance(self.stream, antenv.AsyncStream) else None
        if what == "event":
            return self.event(int(fields[0]) / 1000)
        if what == "download":
            return self.method(fields[0], [None, None, json.dumps({**json.loads(fields[1]), "path": fields[2]})])
        raise SystemExit(f"driver: what is {what}?")

    async def opened(self) -> None:
        """Waits until the stream is open."""
        await self.stream

    async def event(self, timeout: float) -> Any:
        """Takes the stream's next event."""
        if isinstance(self.stream, antenv.Stream):
            found = self.stream.next(timeout)
        else:
            found = await asyncio.wait_for(self.stream.next(), timeout)
        if found is None:
            raise StreamEnd
        return found

    def method(self, operation: str, fields: list[Any]) -> Any:
        """Calls an operation's method: the path's last identifier in the first place, the other one by name."""
        path, _, name = operation.rpartition(".")
        method = attrgetter(f"{ {'work': 'environments.work'}.get(path, path) }.{name}")(self.client)
        first, second, params = fields[0], fields[1], json.loads(fields[2] or "{}")
        params = {re.sub(r"\W+", "_", key).strip("_"): value for key, value in params.items()}
        if second is not None:
            arguments = inspect.signature(method).parameters.values()
            by_name = next(one.name for one in arguments if one.kind is one.KEYWORD_ONLY)
            return method(second, **{by_name: first}, **params)
        return method(**params) if first is None else method(first, **params)


def config(text: str | None) -> dict[str, Any]:
    """The library's configuration as the constructor's arguments."""
    values: dict[str, Any] = json.loads(text or "{}")
    for name in ("timeout", "connect_timeout"):
        if f"{name}_ms" in values:
            values[name] = values.pop(f"{name}_ms") / 1000
    return values


def plain(result: Any) -> Any:
    """A result as the JSON it was made of."""
    if isinstance(result, (antenv.Page, antenv.AsyncPage)):
        return {"data": [plain(item) for item in result.data], "next_page": result.next_page}
    return result.to_dict() if isinstance(result, antenv.types.Model) else result


async def outcome(run: Callable[[], Any]) -> tuple[int, Any]:
    try:
        result = run()
        if isinstance(result, Awaitable):
            result = await result
        return 0, plain(result)
    except StreamEnd:
        return DONE, None
    except antenv.AntenvError as error:
        return error.code, error.to_dict()


async def main() -> None:
    session = Session(sys.argv[1] == "async")
    for line in sys.stdin:
        what, *fields = (None if field == "\x01" else field for field in line.rstrip("\n").split("\t"))
        assert what is not None
        status, result = await outcome(lambda what=what, fields=fields: session.run(what, fields))  # type: ignore[misc]
        text = json.dumps(result, ensure_ascii=False).encode()
        sys.stdout.buffer.write(f"{status} {len(text)}\n".encode() + text + b"\n")
        sys.stdout.buffer.flush()


asyncio.run(main())
