"""A PHP-FPM server, and as much of FastCGI as a request to it takes."""

from __future__ import annotations

import os
import shutil
import socket
import struct
import subprocess
from pathlib import Path
from types import TracebackType

from support.waiting import until

BEGIN, PARAMS, STDIN, STDOUT, STDERR, END = 1, 4, 5, 6, 7, 3
RESPONDER = 1
#: Only a failing test waits for that long, in seconds.
TIMEOUT = 60


def program() -> str:
    """Returns the server's program, which Debian puts where only the administrator looks."""
    path = os.environ.get("PATH", "") + ":/usr/sbin"
    names = ["php-fpm", *(f"php-fpm8.{minor}" for minor in range(1, 10))]
    return next(found for name in names if (found := shutil.which(name, path=path)))


class Fpm:
    """A server with two processes, running; ended when the `with` block is left."""

    def __init__(self, folder: Path, settings: dict[str, str], environment: dict[str, str]) -> None:
        self._socket = folder / "fpm.sock"
        config = folder / "fpm.conf"
        config.write_text(
            "[global]\nerror_log = /proc/self/fd/2\ndaemonize = no\n"
            f"[www]\nlisten = {self._socket}\npm = static\npm.max_children = 2\nclear_env = no\n"
            + "user = root\n"
            * (os.getuid() == 0)
        )
        command = [program(), "--nodaemonize", "--fpm-config", str(config), "--allow-to-run-as-root"]
        for name, value in settings.items():
            command += ["-d", f"{name}={value}"]
        self._log = folder / "fpm.log"
        with self._log.open("w") as log:
            self._process = subprocess.Popen(command, stderr=log, env=environment)

    def __enter__(self) -> Fpm:
        until(lambda: self._process.poll() is not None or self._accepts(), "the server does not start", TIMEOUT)
        assert self._process.poll() is None, self._log.read_text()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.terminate()
        self._process.wait(timeout=TIMEOUT)

    def run(self, script: Path) -> str:
        """Has a script run; returns what it printed, without headers."""
        params = {
            **{"SCRIPT_FILENAME": str(script), "REQUEST_METHOD": "GET", "SERVER_PROTOCOL": "HTTP/1.1"},
            **{"SCRIPT_NAME": f"/{script.name}", "REQUEST_URI": f"/{script.name}"},
        }
        pairs = b"".join(
            struct.pack(">BI", len(name), 0x80000000 | len(value)) + name.encode() + value.encode()
            for name, value in params.items()
        )
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(TIMEOUT)
            connection.connect(str(self._socket))
            for kind, content in (
                (BEGIN, struct.pack(">HB5x", RESPONDER, 0)),
                (PARAMS, pairs),
                (PARAMS, b""),
                (STDIN, b""),
            ):
                connection.sendall(struct.pack(">BBHHBx", 1, kind, 1, len(content), 0) + content)
            stream = connection.makefile("rb")
            output = b""
            while True:
                _, kind, _, length, padding = struct.unpack(">BBHHBx", stream.read(8))
                content = stream.read(length + padding)[:length]
                if kind in (STDOUT, STDERR):
                    output += content
                if kind == END:
                    return output.partition(b"\r\n\r\n")[2].decode()

    def _accepts(self) -> bool:
        with socket.socket(socket.AF_UNIX) as connection:
            return connection.connect_ex(str(self._socket)) == 0
