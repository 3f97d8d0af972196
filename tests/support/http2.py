"""An HTTP/2 server written by hand, frame by frame; only its headers are decoded by a library (hpack)."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import struct
import threading
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

from hpack import Decoder, Encoder

from support.http1 import PAGE
from support.server import Server

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION = 0, 1, 3, 4, 6, 7, 8, 9
END_STREAM, ACK, END_HEADERS, PADDED, PRIORITY = 1, 1, 4, 8, 32
MAX_CONCURRENT_STREAMS, INITIAL_WINDOW_SIZE = 3, 4
INITIAL_WINDOW, MAX_FRAME = 65535, 16384
NO_ERROR, PROTOCOL_ERROR, INTERNAL_ERROR, REFUSED_STREAM, CANCEL = 0, 1, 2, 7, 8


class Way(NamedTuple):
    """How HTTP/2 is spoken: with which TLS at the server, and with which configuration of the client."""

    tls: ssl.SSLContext | None
    config: dict[str, str]


class Transport:
    """A socket that one thread may read from while others write to it: with TLS, too, which by itself forbids that."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._lock = threading.Lock()
        connection.setblocking(False)

    def recv(self) -> bytes:
        """Waits for bytes; none: the connection has ended."""
        while True:
            with self._lock:
                try:
                    return self._connection.recv(65536)
                except (BlockingIOError, ssl.SSLWantReadError):
                    pass
            select.select([self._connection], [], [])

    def sendall(self, data: bytes) -> None:
        """Sends bytes, however long that takes."""
        with self._lock:
            while data:
                try:
                    data = data[self._connection.send(data) :]
                except (BlockingIOError, ssl.SSLWantWriteError):
                    select.select([], [self._connection], [])

    def shutdown(self) -> None:
        """Ends the connection."""
        with contextlib.suppress(OSError):
            socket.socket.shutdown(self._connection, socket.SHUT_RDWR)


class Connection:
    """A connection of the server's. Its methods may be called from any thread."""

    def __init__(self, transport: Transport, number: int) -> None:
        self.transport = transport
        self.number = number
        self.streams = 0
        #: Whether the client has acknowledged all SETTINGS that were sent.
        self.is_acknowledged = False
        self.open_streams: set[int] = set()
        self._lock = threading.Lock()
        #: What the client may yet be sent: over the connection (0), and in a stream besides the initial window.
        self.windows: Counter[int] = Counter({0: INITIAL_WINDOW})
        self.initial_window = INITIAL_WINDOW
        self.is_over = False
        self._widened = threading.Condition()

    def send(self, kind: int, flags: int, stream: int, payload: bytes = b"") -> None:
        """Sends one frame."""
        head = struct.pack(">I", len(payload))[1:] + bytes((kind, flags)) + struct.pack(">I", stream)
        with self._lock, contextlib.suppress(OSError):
            self.transport.sendall(head + payload)

    def send_data(self, stream: int, data: bytes) -> None:
        """Sends DATA as far as the client's windows allow. An OSError: the stream or the connection is over."""
        while data:
            with self._widened:
                while (room := min(self.windows[0], self.windows[stream] + self.initial_window, MAX_FRAME)) <= 0:
                    if self.is_over or stream not in self.open_streams or not self._widened.wait(60):
                        raise OSError("the client wants no more")
                part, data = data[:room], data[room:]
                self.windows[0] -= len(part)
                self.windows[stream] -= len(part)
            if self.is_over or stream not in self.open_streams:
                raise OSError("the client wants no more")
            self.send(DATA, 0, stream, part)

    def widen(self, stream: int, by: int = 0) -> None:
        """Notes that the client allows more, or that a stream is over."""
        with self._widened:
            self.windows[stream] += by
            self._widened.notify_all()

    def settings(self, **values: int) -> None:
        """Sends SETTINGS; the one that is known here is `max_streams`."""
        self.is_acknowledged = False
        pairs = {"max_streams": MAX_CONCURRENT_STREAMS}
        self.send(SETTINGS, 0, 0, b"".join(struct.pack(">HI", pairs[name], value) for name, value in values.items()))

    def goaway(self, last_stream: int, code: int = NO_ERROR) -> None:
        """Tells which streams were, or will be, processed: those up to `last_stream`."""
        self.send(GOAWAY, 0, 0, struct.pack(">II", last_stream, code))

    def close(self) -> None:
        """Closes the connection."""
        self.transport.shutdown()


@dataclass
class Stream:
    """A request. `number` counts those of its connection from 1."""

    connection: Connection
    id: int
    number: int
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)
    #: Set when the client has reset the stream, with this code, or the connection has ended.
    closed: threading.Event = field(default_factory=threading.Event)
    reset_code: int | None = None

    @property
    def method(self) -> str:
        return self.headers[":method"]

    @property
    def path(self) -> str:
        return self.headers[":path"]

    def answer(
        self, body: bytes = PAGE, status: int = 200, announced: int | None = None, is_whole: bool = True
    ) -> None:
        """Answers it: with a body that is shorter than it was announced to be, or does not end, if asked to."""
        fields = [(":status", str(status)), ("content-type", "application/json")]
        fields.append(("content-length", str(len(body) if announced is None else announced)))
        # An encoder that remembers nothing: answers may be sent in any order.
        encoder = Encoder()
        encoder.header_table_size = 0
        self.connection.send(HEADERS, END_HEADERS, self.id, encoder.encode(fields))
        self.connection.send(DATA, END_STREAM if is_whole else 0, self.id, body)
        if is_whole:
            self.connection.open_streams.discard(self.id)

    def reset(self, code: int) -> None:
        """Resets the stream."""
        self.connection.open_streams.discard(self.id)
        self.connection.send(RST_STREAM, 0, self.id, struct.pack(">I", code))


class Http2Server(Server):
    """Gives each whole request to `act`, which answers it now, later (from any thread) or never.

    A stream beyond `max_streams` is refused, as servers do.
    """

    def __init__(
        self,
        act: Callable[[Stream], None] = Stream.answer,
        *,
        max_streams: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(tls=tls)
        if tls:
            tls.set_alpn_protocols(["h2"])
        self.act = act
        self.max_streams = max_streams
        self.requests: list[Stream] = []
        self.connections: list[Connection] = []

    def count(self, method: str) -> int:
        """How many requests with that method came."""
        return sum(request.method == method for request in self.requests)

    def handle(self, connection: socket.socket, number: int) -> None:
        try:
            self._handle(connection, number)
        finally:
            for request in self.requests:
                if request.connection.number == number:
                    request.closed.set()
            for ours in self.connections:
                if ours.number == number:
                    ours.is_over = True
                    ours.widen(0)

    def _handle(self, connection: socket.socket, number: int) -> None:
        transport = Transport(connection)
        ours = Connection(transport, number)
        decoder, streams, unread = Decoder(), dict[int, Stream](), bytearray()
        self.connections.append(ours)

        def exactly(length: int) -> bytes:
            while len(unread) < length:
                data = transport.recv()
                if not data:
                    raise OSError("the connection has ended")
                unread.extend(data)
            taken = bytes(unread[:length])
            del unread[:length]
            return taken

        assert exactly(len(PREFACE)) == PREFACE
        ours.settings(**({} if self.max_streams is None else {"max_streams": self.max_streams}))
        while True:
            head = exactly(9)
            kind, flags, stream_id = head[3], head[4], struct.unpack(">I", head[5:])[0] & 0x7FFFFFFF
            payload = exactly(int.from_bytes(head[:3], "big"))
            if kind == SETTINGS and not flags & ACK:
                for at in range(0, len(payload), 6):
                    name, value = struct.unpack_from(">HI", payload, at)
                    ours.initial_window = value if name == INITIAL_WINDOW_SIZE else ours.initial_window
            if kind in (SETTINGS, PING) and not flags & ACK:
                ours.send(kind, ACK, 0, payload if kind == PING else b"")
            elif kind == SETTINGS:
                ours.is_acknowledged = True
            elif kind == WINDOW_UPDATE:
                ours.widen(stream_id, struct.unpack(">I", payload)[0])
            elif kind == RST_STREAM:
                ours.open_streams.discard(stream_id)
                ours.widen(stream_id)
                for request in self.requests:
                    if request.connection is ours and request.id == stream_id:
                        request.reset_code = struct.unpack(">I", payload)[0]
                        request.closed.set()
            elif kind == HEADERS:
                # A client that is asked for little here sends neither padding nor CONTINUATION; a priority it may.
                assert flags & END_HEADERS and not flags & PADDED
                block = payload[5:] if flags & PRIORITY else payload
                fields = {str(name): str(value) for name, value in decoder.decode(block)}
                ours.streams += 1
                ours.open_streams.add(stream_id)
                streams[stream_id] = Stream(ours, stream_id, ours.streams, fields)
                if self.max_streams is not None and len(ours.open_streams) > self.max_streams:
                    streams.pop(stream_id).reset(REFUSED_STREAM)
            elif kind == DATA:
                if stream_id in streams:
                    streams[stream_id].body += payload
                if payload:
                    ours.send(WINDOW_UPDATE, 0, 0, struct.pack(">I", len(payload)))
            if kind in (HEADERS, DATA) and flags & END_STREAM and (whole := streams.pop(stream_id, None)):
                self.requests.append(whole)
                self.act(whole)
