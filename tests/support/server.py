"""A TCP server on loopback, a thread for each connection. The other servers here are made from it."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from types import TracebackType
from typing import TypeVar

Self = TypeVar("Self", bound="Server")


class Server:
    """Accepts connections while its `with` block runs, and hands each to `handle`; at the end it closes them all."""

    def __init__(self, *, host: str = "127.0.0.1", port: int = 0, tls: ssl.SSLContext | None = None) -> None:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.listener = socket.create_server((host, port), family=family, backlog=4096)
        self.port: int = self.listener.getsockname()[1]
        self.address = f"[{host}]:{self.port}" if ":" in host else f"{host}:{self.port}"
        self.tls = tls
        self.accepted = 0
        self._open: set[socket.socket] = set()
        self._threads: list[threading.Thread] = []
        self._is_closing = False

    def handle(self, connection: socket.socket, number: int) -> None:
        """Serves one connection; `number` counts them from 1. An OSError in it ends the connection quietly."""
        raise NotImplementedError

    @property
    def url(self) -> str:
        """What a client takes as `base_url`: a name that certificates can be for, if there is TLS."""
        return f"https://localhost:{self.port}" if self.tls else f"http://{self.address}"

    def __enter__(self: Self) -> Self:
        self.spawn(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_closing = True
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.close_all()
        for thread in self._threads:
            thread.join(timeout=60)
            assert not thread.is_alive(), "a thread of a server does not end"

    def spawn(self, target: object, *arguments: object) -> threading.Thread:
        """Runs something in a thread that ends with the server."""
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        self._threads.append(thread)
        thread.start()
        return thread

    def keep(self, connection: socket.socket) -> None:
        """Has a socket closed with the server."""
        self._open.add(connection)
        if self._is_closing:
            close(connection)

    def close_all(self) -> None:
        """Closes every open connection."""
        for connection in list(self._open):
            close(connection)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                self.accepted += 1
                self.spawn(self._serve, connection, self.accepted)

    def _serve(self, connection: socket.socket, number: int) -> None:
        self.keep(connection)
        # ValueError: of a connection that another thread has closed.
        with contextlib.suppress(OSError, ValueError):
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self.tls:
                connection = self.tls.wrap_socket(connection, server_side=True)
                self.keep(connection)
            self.handle(connection, number)
        close(connection)
        self._open.discard(connection)


class Blunt(Server):
    """Answers the first bytes with one text, and then closes the connection, or holds it and says no more."""

    def __init__(self, reply: bytes, *, holds: bool = False) -> None:
        super().__init__()
        self.reply = reply
        self.holds = holds

    def handle(self, connection: socket.socket, number: int) -> None:
        connection.recv(65536)
        connection.sendall(self.reply)
        while self.holds and connection.recv(65536):
            pass


def close(connection: socket.socket) -> None:
    """Ends a connection with FIN, and wakes the threads that read from it."""
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()


def reset(connection: socket.socket) -> None:
    """Ends a connection with RST."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def pump(source: socket.socket, target: socket.socket) -> None:
    """Passes bytes on until the end of `source`, and passes that on, too."""
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
