"""A relay between the library and a server: what a NAT, a load balancer or a bad line does to connections."""

from __future__ import annotations

import contextlib
import socket
import time

from support.server import Server, close, reset


class Link:
    """A relayed connection. The attributes take effect on the next bytes, in either direction."""

    def __init__(self, near: socket.socket, far: socket.socket) -> None:
        self.near = near
        self.far = far
        self.is_frozen = False
        #: Whether the library has closed its end.
        self.is_closed = False
        self.delay = 0.0
        self.bytes_per_second: float | None = None

    def pump(self, source: socket.socket, target: socket.socket) -> None:
        """Passes bytes on, if they pass. A frozen link swallows them, and the end of the connection with them."""
        with contextlib.suppress(OSError):
            while data := source.recv(65536 if self.bytes_per_second is None else 64):
                if self.is_frozen:
                    continue
                time.sleep(self.delay + (len(data) / self.bytes_per_second if self.bytes_per_second else 0))
                if not self.is_frozen:
                    target.sendall(data)
        self.is_closed |= source is self.near
        if not self.is_frozen:
            close(target)


class Relay(Server):
    """Passes connections on to the server at a URL of this machine. `links` has them in the order they came."""

    def __init__(self, target: str, *, freezes_new: bool = False) -> None:
        super().__init__()
        self.target = int(target.rpartition(":")[2])
        self._is_secure = target.startswith("https:")
        self.links: list[Link] = []
        #: Whether a new connection is frozen from its beginning: accepted, and never answered.
        self.freezes_new = freezes_new

    @property
    def url(self) -> str:
        """What a client takes as `base_url`: with the scheme of the server behind."""
        return f"https://{self.address}" if self._is_secure else f"http://{self.address}"

    def handle(self, connection: socket.socket, number: int) -> None:
        far = socket.create_connection(("127.0.0.1", self.target))
        far.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.keep(far)
        link = Link(connection, far)
        link.is_frozen = self.freezes_new
        self.links.append(link)
        back = self.spawn(link.pump, far, connection)
        link.pump(connection, far)
        back.join()

    def freeze(self) -> None:
        """Has every open connection swallow all bytes from here on, without FIN or RST. New ones work."""
        for link in self.links:
            link.is_frozen = True

    def cut(self) -> None:
        """Closes every open connection with FIN."""
        for link in self.links:
            close(link.near)

    def reset(self) -> None:
        """Closes every open connection with RST."""
        for link in self.links:
            reset(link.near)
