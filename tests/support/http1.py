"""An HTTP/1.1 server written by hand, so that it can do what no proper one does."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import BinaryIO, NamedTuple

from support.server import Server

PAGE = b'{"data":[],"next_page":null}'
ENVIRONMENT = b'{"id":"env_1"}'


class Request(NamedTuple):
    """A request as it came; header names are in lower case."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int


class Exchange(NamedTuple):
    """A request, and the connection to answer it on by hand."""

    request: Request
    connection: socket.socket


#: What to send back. None: the connection is closed (after what was sent by hand, if anything was).
Answer = Callable[[Exchange], bytes | None]


def read_request(reader: BinaryIO | socket.SocketIO, connection: int) -> Request | None:
    """Reads a request; None at the end of the connection."""
    line = reader.readline().decode()
    if not line.endswith("\r\n"):
        return None
    headers: dict[str, str] = {}
    while (header := reader.readline().decode()) not in ("\r\n", ""):
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body = reader.read(int(headers.get("content-length", "0")))
    method, target = line.split()[:2]
    return Request(method, target, headers, body, connection)


def response(body: bytes = PAGE, status: str = "200 OK", **headers: str) -> bytes:
    """A whole response; underscores in header names become hyphens."""
    fields = {"content-type": "application/json", "content-length": str(len(body))}
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status}\r\n{head}\r\n".encode() + body


class Http1Server(Server):
    """Gives each request to `answer`, and keeps it in `requests`."""

    def __init__(
        self,
        answer: Answer = lambda _: response(),
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(host=host, port=port, tls=tls)
        self.answer = answer
        self.requests: list[Request] = []

    def handle(self, connection: socket.socket, number: int) -> None:
        with connection.makefile("rb") as reader:
            while request := read_request(reader, number):
                self.requests.append(request)
                reply = self.answer(Exchange(request, connection))
                if reply is None:
                    return
                connection.sendall(reply)

    def count(self, method: str) -> int:
        """How many requests with that method came."""
        return sum(request.method == method for request in self.requests)
