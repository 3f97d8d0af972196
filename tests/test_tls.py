"""TLS: which certificates are trusted, and that nothing goes out to a server without one."""

from __future__ import annotations

import base64
import contextlib
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from native import Driver

OK, CONFIG, CONNECTION = 0, 3, 4


class Authority:
    """A certificate authority made for the test, and a server on 127.0.0.1 that it vouches for."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "root.pem"
        self.received: list[str] = []
        key, request, certificate, extensions = (
            folder / name for name in ("key.pem", "csr.pem", "cert.pem", "ext.cnf")
        )
        extensions.write_text("subjectAltName=IP:127.0.0.1\nbasicConstraints=CA:FALSE\n")
        new = ["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
        root_key = folder / "root-key.pem"
        run(*new, "-x509", "-days", "2", "-subj", "/CN=test root", "-keyout", root_key, "-out", self.root)
        run(*new, "-subj", "/CN=127.0.0.1", "-keyout", key, "-out", request)
        sign: list[str | Path] = [
            "openssl",
            "x509",
            "-req",
            "-days",
            "2",
            "-in",
            request,
            "-CA",
            self.root,
            "-CAkey",
            root_key,
        ]
        run(*sign, "-CAcreateserial", "-extfile", extensions, "-out", certificate)
        authority = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                authority.received.append(self.path)
                self.send_response(200)
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self.server.server_port}"


def run(*command: str | Path) -> None:
    subprocess.run(command, check=True, capture_output=True)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    made = Authority(tmp_path_factory.mktemp("tls"))
    thread = threading.Thread(target=made.server.serve_forever)
    thread.start()
    yield made
    made.server.shutdown()
    made.server.server_close()
    thread.join()


def test_a_server_that_no_known_root_vouches_for_is_refused(authority: Authority, driver_program: Path) -> None:
    authority.received.clear()
    with Driver(driver_program, environment={"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""}) as driver:
        assert driver.client(api_key="k", base_url=authority.url, max_retries=0).status == OK
        outcome = driver.call("environments.list")
    assert outcome.status == CONNECTION and "certificate" in outcome.json["message"], outcome
    assert authority.received == []


def test_roots_come_from_the_configuration_and_from_the_environment(authority: Authority, driver_program: Path) -> None:
    folder = authority.root.parent / "roots"
    folder.mkdir()
    (folder / "a.pem").write_bytes(authority.root.read_bytes())
    (folder / "not a certificate").write_text("nothing")
    for variables, config in (
        ({}, {"ca_file": str(authority.root)}),
        ({"SSL_CERT_FILE": str(authority.root)}, {}),
        ({"SSL_CERT_DIR": f"/nonexistent:{folder}"}, {}),
        ({"SSL_CERT_FILE": str(authority.root)}, {"http2": "never"}),
    ):
        with Driver(driver_program, environment={"SSL_CERT_FILE": "", "SSL_CERT_DIR": ""} | variables) as driver:
            assert driver.client(api_key="k", base_url=authority.url, max_retries=0, **config).status == OK
            outcome = driver.call("environments.list")
            assert outcome.status == OK, outcome


def test_a_ca_file_that_is_of_no_use_is_refused(driver: Driver, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("no certificate here")
    for path in (empty, tmp_path / "missing.pem", tmp_path):
        outcome = driver.client(api_key="k", ca_file=str(path))
        assert (outcome.status, outcome.json["parameter"]) == (CONFIG, "ca_file")


class Tunnel(threading.Thread):
    """A proxy that opens tunnels for those who know its password."""

    PASSWORD = "user:pass-of-the-proxy"

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self.listener.getsockname()[1]}"

    def run(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                threading.Thread(target=self.serve, args=(connection,)).start()

    def serve(self, client: socket.socket) -> None:
        with client:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += client.recv(1)
            line, *headers = head.decode().split("\r\n")
            self.asked.append(line)
            known = base64.b64encode(self.PASSWORD.encode()).decode()
            if f"proxy-authorization: basic {known}".lower() not in [header.lower() for header in headers]:
                client.sendall(b"HTTP/1.1 407 Who are you?\r\ncontent-length: 0\r\n\r\n")
                return
            host, _, port = line.split()[1].partition(":")
            with socket.create_connection((host, int(port))) as server:
                client.sendall(b"HTTP/1.1 200 Go on\r\n\r\n")
                back = threading.Thread(target=pass_on, args=(server, client))
                back.start()
                pass_on(client, server)
                back.join()


def pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def tunnel() -> Iterator[Tunnel]:
    running = Tunnel()
    running.start()
    yield running
    running.listener.shutdown(socket.SHUT_RDWR)
    running.listener.close()
    running.join()


def test_a_secure_call_goes_through_the_tunnel_of_a_proxy(
    authority: Authority, tunnel: Tunnel, driver_program: Path
) -> None:
    trusted = {"ca_file": str(authority.root), "base_url": authority.url, "api_key": "k", "max_retries": 0}
    with Driver(driver_program) as driver:
        authority.received.clear()
        driver.client(**trusted, proxy=f"http://{Tunnel.PASSWORD}@{tunnel.address}")
        assert driver.call("environments.list").status == OK
        assert driver.call("environments.list").status == OK
        # One tunnel, which is kept; the server is asked as if there were none.
        assert tunnel.asked == [f"CONNECT {authority.url.removeprefix('https://')} HTTP/1.1"]
        assert authority.received == ["/v1/environments", "/v1/environments"]
        driver.client(**trusted, proxy=f"http://{tunnel.address}")
        outcome = driver.call("environments.list")
        assert outcome.status == CONNECTION and "could not connect" in outcome.json["message"], outcome
        assert len(authority.received) == 2


def test_a_proxy_of_another_kind_is_refused(driver: Driver) -> None:
    for proxy in ("socks6://127.0.0.1:1080", "ftp://127.0.0.1", "http://"):
        outcome = driver.client(api_key="k", proxy=proxy)
        assert (outcome.status, outcome.json["parameter"]) == (CONFIG, "proxy"), outcome
