"""Proxies: one that opens tunnels on CONNECT, and one that speaks SOCKS5; both can refuse, hang and talk nonsense."""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Callable

from support.http1 import Request, read_request
from support.server import Server, pump

OPENED = b"HTTP/1.1 200 Connection established\r\n\r\n"


class ConnectProxy(Server):
    """Answers CONNECT with what `answer` gives, and opens a tunnel if that is a 2xx. None: it says nothing, and waits.

    A tunnel leads to `target`, a port of this machine, whatever was asked for; without one it leads where it should.
    """

    def __init__(
        self,
        answer: Callable[[Request], bytes | None] = lambda _: OPENED,
        *,
        host: str = "127.0.0.1",
        target: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(host=host, tls=tls)
        self.answer = answer
        self.target = target
        self.requests: list[Request] = []

    @property
    def asked(self) -> list[str]:
        """What the requests were for: `host:port` for a tunnel, else a URL."""
        return [request.target for request in self.requests]

    def handle(self, connection: socket.socket, number: int) -> None:
        # Unbuffered: what follows the request belongs to the tunnel.
        with connection.makefile("rb", buffering=0) as reader:
            request = read_request(reader, number)
            if request is None:
                return
            self.requests.append(request)
            reply = self.answer(request)
            if reply is None:
                connection.recv(1)
                return
            connection.sendall(reply)
            if reply[9:10] != b"2":
                return
            host, _, port = request.target.rpartition(":")
            address = ("127.0.0.1", self.target) if self.target else (host.strip("[]"), int(port))
            with socket.create_connection(address) as far:
                self.keep(far)
                back = self.spawn(pump, far, connection)
                pump(connection, far)
                back.join()


class SocksProxy(Server):
    """A SOCKS5 proxy (RFC 1928). It wants to hear `login` ("user:password"), and answers with the code `reply`.

    `broken` is sent in place of the answer to the greeting (0) or to the request (1); then the connection is closed.
    """

    def __init__(
        self,
        *,
        target: int | None = None,
        login: str | None = None,
        reply: int = 0,
        broken: tuple[int, bytes] | None = None,
    ) -> None:
        super().__init__()
        self.target = target
        self.login = login
        self.reply = reply
        self.broken = broken
        #: The hosts that were asked for, as they were written, and the ports.
        self.asked: list[tuple[str, int]] = []

    def handle(self, connection: socket.socket, number: int) -> None:
        with connection.makefile("rb", buffering=0) as reader:

            def exactly(length: int) -> bytes:
                data = b""
                while len(data) < length:
                    more = reader.read(length - len(data))
                    if not more:
                        raise OSError("the connection has ended")
                    data += more
                return data

            version, count = exactly(2)
            methods = exactly(count)
            if self.broken and self.broken[0] == 0:
                connection.sendall(self.broken[1])
                return
            method = 2 if self.login is not None else 0
            if version != 5 or method not in methods:
                connection.sendall(b"\x05\xff")
                return
            connection.sendall(bytes((5, method)))
            if self.login is not None:
                user = exactly(exactly(2)[1]).decode()
                password = exactly(exactly(1)[0]).decode()
                is_known = f"{user}:{password}" == self.login
                connection.sendall(b"\x01\x00" if is_known else b"\x01\x01")
                if not is_known:
                    return
            kind = exactly(4)[3]
            if kind == 3:
                host = exactly(exactly(1)[0]).decode()
            else:
                family, length = (socket.AF_INET, 4) if kind == 1 else (socket.AF_INET6, 16)
                host = socket.inet_ntop(family, exactly(length))
            port = struct.unpack(">H", exactly(2))[0]
            self.asked.append((host, port))
            if self.broken:
                connection.sendall(self.broken[1])
                return
            connection.sendall(bytes((5, self.reply, 0, 1)) + bytes(6))
            if self.reply:
                return
            with socket.create_connection(("127.0.0.1", self.target) if self.target else (host, port)) as far:
                self.keep(far)
                back = self.spawn(pump, far, connection)
                pump(connection, far)
                back.join()
