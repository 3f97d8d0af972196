"""Servers of event streams over HTTP/1.1 and HTTP/2: a function, named by the session, decides what a stream does."""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Iterable

from hpack import Encoder

from support.http1 import Exchange, Http1Server, response
from support.http2 import DATA, END_HEADERS, END_STREAM, HEADERS, INTERNAL_ERROR, Http2Server, Stream


class Peer:
    """The server's end of a stream."""

    def begin(self, content_type: str = "text/event-stream", content_encoding: str = "identity") -> None:
        """Sends the response's head."""
        raise NotImplementedError

    def send(self, data: bytes) -> None:
        """Sends a part of the body; an OSError says that the client has closed the stream."""
        raise NotImplementedError

    def end(self) -> None:
        """Ends the body properly."""
        raise NotImplementedError

    def break_off(self) -> None:
        """Ends the body improperly."""
        raise NotImplementedError

    def wait_closed(self) -> None:
        """Waits until the client closes the stream."""
        raise NotImplementedError

    def answer(self, status: int, body: bytes) -> None:
        """Answers with a whole response instead of a stream."""
        raise NotImplementedError


#: What a stream does; it runs in a thread of its own.
Script = Callable[[Peer], None]


def event(number: int, text: str = "") -> bytes:
    """A frame of one event."""
    data = json.dumps({"type": "agent.message", "n": number, "text": text})
    return f"event: agent.message\ndata: {data}\n\n".encode()


def streaming(*parts: bytes) -> Script:
    """Sends these parts of a body, and ends it properly."""

    def run(peer: Peer) -> None:
        peer.begin()
        for part in parts:
            peer.send(part)
        peer.end()

    return run


def holding(*parts: bytes) -> Script:
    """Sends these parts of a body, and then nothing until the client closes the stream."""

    def run(peer: Peer) -> None:
        peer.begin()
        for part in parts:
            peer.send(part)
        peer.wait_closed()

    return run


class Streams:
    """Runs the script of each session, and counts what happens to it."""

    def __init__(self, scripts: dict[str, Script]) -> None:
        self.scripts = scripts
        #: How many streams of a session were opened, and how many have ended.
        self.opened: Counter[str] = Counter()
        self.ended: Counter[str] = Counter()

    def run(self, path: str, peer: Peer) -> None:
        """Runs the script of the session in this path."""
        name = path.split("/")[3]
        self.opened[name] += 1
        with contextlib.suppress(OSError, ValueError):
            self.scripts[name](peer)
        self.ended[name] += 1


class Http1Peer(Peer):
    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.is_over = False

    def begin(self, content_type: str = "text/event-stream", content_encoding: str = "identity") -> None:
        fields = f"content-type: {content_type}\r\ncontent-encoding: {content_encoding}\r\nrequest-id: req_1"
        self.connection.sendall(f"HTTP/1.1 200 OK\r\n{fields}\r\ntransfer-encoding: chunked\r\n\r\n".encode())

    def send(self, data: bytes) -> None:
        self.connection.sendall(b"%x\r\n%b\r\n" % (len(data), data))

    def end(self) -> None:
        self.connection.sendall(b"0\r\n\r\n")

    def break_off(self) -> None:
        self.is_over = True

    def wait_closed(self) -> None:
        select.select([self.connection], [], [])
        self.is_over = True

    def answer(self, status: int, body: bytes) -> None:
        self.connection.sendall(response(body, f"{status} Status"))


class Http1Events(Http1Server):
    """Serves streams over HTTP/1.1."""

    def __init__(self, scripts: dict[str, Script], *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._serve_stream, tls=tls)
        self.streams = Streams(scripts)

    def _serve_stream(self, exchange: Exchange) -> bytes | None:
        peer = Http1Peer(exchange.connection)
        self.streams.run(exchange.request.target, peer)
        return None if peer.is_over else b""


class Http2Peer(Peer):
    def __init__(self, stream: Stream) -> None:
        self.stream = stream

    def begin(self, content_type: str = "text/event-stream", content_encoding: str = "identity") -> None:
        encoder = Encoder()
        encoder.header_table_size = 0
        fields = [(":status", "200"), ("content-type", content_type), ("content-encoding", content_encoding)]
        fields.append(("request-id", "req_1"))
        self.stream.connection.send(HEADERS, END_HEADERS, self.stream.id, encoder.encode(fields))

    def send(self, data: bytes) -> None:
        self.stream.connection.send_data(self.stream.id, data)

    def end(self) -> None:
        self.stream.connection.send(DATA, END_STREAM, self.stream.id)
        self.stream.connection.open_streams.discard(self.stream.id)

    def break_off(self) -> None:
        self.stream.reset(INTERNAL_ERROR)

    def wait_closed(self) -> None:
        assert self.stream.closed.wait(60)

    def answer(self, status: int, body: bytes) -> None:
        self.stream.answer(body, status)


class Http2Events(Http2Server):
    """Serves streams over HTTP/2."""

    def __init__(self, scripts: dict[str, Script], *, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(self._serve_stream, tls=tls)
        self.streams = Streams(scripts)

    def _serve_stream(self, stream: Stream) -> None:
        self.spawn(self.streams.run, stream.path, Http2Peer(stream))


def split(data: bytes, size: int) -> Iterable[bytes]:
    """Cuts data into pieces."""
    return (data[at : at + size] for at in range(0, len(data), size))
