"""Streams and downloads: C programs in four ways, one process with very many streams, files whole or not there."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from behaviour.test_queue import roomy
from bindings.test_c import SOURCES
from support.build import compile_c
from support.driver import Driver
from support.events import Http1Events, Peer, event, holding, streaming
from support.http1 import Exchange, Http1Server, response
from support.waiting import until
from support.ways import WAYS, command_of, run

__all__ = ["roomy"]

HELD = 10_000
OK, INVALID_ARGUMENT, TIMEOUT, RESPONSE, NOT_FOUND = 0, 1, 5, 7, 104
DOWNLOAD = "skills.versions.download"
VERSION = {"skill_id": "skill_1", "version": "1"}


def flood(peer: Peer) -> None:
    """Sends events until the client closes the stream."""
    peer.begin()
    frames = event(1, "x" * 500) * 8
    while True:
        peer.send(frames)


@pytest.mark.parametrize("way", WAYS)
def test_streams_are_freed_forked_interrupted_and_shut_down_at_any_moment(way: str) -> None:
    scripts = {"three": streaming(event(1), event(2), event(3)), "held": holding(event(1)), "flood": flood}
    with Http1Events(scripts) as server:
        check_program("stream", way, server)


@pytest.mark.parametrize("way", WAYS)
def test_downloads_are_cancelled_forked_and_shut_down_at_any_moment(way: str, tmp_path: Path) -> None:
    scripts = {"three": streaming(event(1), event(2), event(3)), "held": holding(event(1)), "flood": flood}
    with Http1Events(scripts) as server:
        check_program("download", way, server, str(tmp_path))


def check_program(name: str, way: str, server: Http1Events, *arguments: str) -> None:
    """Runs a C program in a way, and checks that it ends well and closes its streams."""
    # A forked child leaves its parent's runtime alone, which valgrind would report as a leak.
    forks = ["forks"] if way == "plain" else []
    assert run(command_of(way, SOURCES / f"{name}.c", server.url, *arguments, *forks)) == f"{name}: as it should be\n"
    until(lambda: server.streams.ended == server.streams.opened, "some streams stay open")


@contextmanager
def many_streams() -> Iterator[str]:
    """A server that holds any number of streams in one thread, each after one event; gives its URL."""
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
    frame = event(1)
    begin = head + b"%x\r\n%b\r\n" % (len(frame), frame)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(begin)
        await reader.read()
        writer.close()

    loop, address, stop = asyncio.new_event_loop(), "", asyncio.Event()
    started = threading.Event()

    async def main() -> None:
        nonlocal address
        server = await asyncio.start_server(serve, "127.0.0.1", 0, backlog=4096)
        address = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
        started.set()
        await stop.wait()
        server.close()

    thread = threading.Thread(target=loop.run_until_complete, args=(main(),))
    thread.start()
    assert started.wait(60)
    try:
        yield address
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join(timeout=60)
        loop.close()


@pytest.mark.deep
def test_ten_thousand_streams_are_held_by_one_thread_in_little_memory(roomy: None) -> None:
    program = str(compile_c(SOURCES / "stream_many.c"))
    with (
        many_streams() as url,
        subprocess.Popen(
            [program, url, str(HELD)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None

        def about(name: str) -> int:
            found = re.search(rf"^{name}:\s+(\d+)", Path(f"/proc/{process.pid}/status").read_text(), re.MULTILINE)
            assert found
            return int(found[1])

        assert process.stdout.readline() == "ready\n"
        before = about("VmRSS")
        process.stdin.write("open\n")
        process.stdin.flush()
        assert process.stdout.readline() == "opened\n"
        each = (about("VmRSS") - before) / HELD
        assert about("Threads") == 2
        assert each <= 40, f"{each:.1f} KB for each stream"
        print(f"{each:.1f} KB for each of {HELD} streams")
        process.stdin.write("close\n")
        process.stdin.flush()
        assert process.stdout.readline() == "closed\n"
        until(lambda: len(list(Path(f"/proc/{process.pid}/fd").iterdir())) < 100, "freeing does not close connections")
        process.stdin.close()
        assert process.wait(timeout=120) == 0


ARCHIVE = bytes(range(256)) * 4000


def download(driver: Driver, path: Path, **options: int) -> tuple[int, dict[str, object]]:
    outcome = driver.run("download", DOWNLOAD, json.dumps(VERSION | options), str(path))
    assert [name for name in path.parent.iterdir() if name != path] == [], "a temporary file is left"
    return outcome.status, outcome.json


def test_a_download_is_whole_or_not_there(driver: Driver, tmp_path: Path) -> None:
    path = tmp_path / "skill.zip"
    whole = response(ARCHIVE, content_type="application/zip")
    replies = [whole]

    def answer(exchange: Exchange) -> bytes | None:
        assert exchange.request.target == "/v1/skills/skill_1/versions/1/content"
        reply = replies.pop(0)
        if reply == whole or reply.startswith(b"HTTP/1.1 4"):
            return reply
        exchange.connection.sendall(reply)
        return None

    with Http1Server(answer) as server:
        assert driver.client(api_key="k", base_url=server.url, max_retries=2).status == OK
        status, result = download(driver, path)
        assert (status, result) == (OK, {"path": str(path), "bytes": len(ARCHIVE), "content_type": "application/zip"})
        assert path.read_bytes() == ARCHIVE
        path.write_bytes(b"old")
        # One that is cut short is retried from its beginning, as often as a call is.
        replies += [whole[:-1], whole[: len(whole) // 2], whole]
        assert download(driver, path)[0] == OK and path.read_bytes() == ARCHIVE
        path.write_bytes(b"old")
        replies += [whole[:-1]] * 3
        status, error = download(driver, path)
        assert (status, error["attempts"]) == (RESPONSE, 3) and path.read_bytes() == b"old"
        replies.append(response(b'{"error":{"message":"There is none."}}', "404 Not Found"))
        status, error = download(driver, path, max_bytes=5)
        assert (status, error["message"]) == (NOT_FOUND, "There is none.") and path.read_bytes() == b"old"
        # Bounded with and without a length that is announced; that many bytes are allowed.
        chunked = whole[: -len(ARCHIVE)].replace(b"content-length", b"x-was") + ARCHIVE
        chunked = chunked.replace(b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nconnection: close\r\n")
        for reply in (whole, chunked):
            replies.append(reply)
            status, error = download(driver, path, max_bytes=len(ARCHIVE) - 1)
            assert status == RESPONSE and "max_bytes" in str(error["message"]) and path.read_bytes() == b"old"
            replies.append(reply)
            assert download(driver, path, max_bytes=len(ARCHIVE))[0] == OK and path.read_bytes() == ARCHIVE
            path.write_bytes(b"old")
        replies.append(whole.replace(b"content-type", b"content-encoding: br\r\ncontent-type"))
        status, error = download(driver, path)
        assert status == RESPONSE and "content-encoding: br" in str(error["message"]) and path.read_bytes() == b"old"
        # The longest name that a file can have.
        path.unlink()
        path = tmp_path / ("n" * 255)
        replies.append(whole)
        assert download(driver, path)[0] == OK and path.read_bytes() == ARCHIVE
        assert replies == []


def test_a_download_that_falls_silent_is_given_up(driver: Driver, tmp_path: Path) -> None:
    path = tmp_path / "skill.zip"

    def answer(exchange: Exchange) -> bytes | None:
        exchange.connection.sendall(response(ARCHIVE)[:1000])
        exchange.connection.recv(1)
        return None

    with Http1Server(answer) as server:
        assert driver.client(api_key="k", base_url=server.url, max_retries=1).status == OK
        status, error = download(driver, path, attempt_timeout_ms=200)
        # On a busy machine not even the response may begin in time.
        assert (
            status in (RESPONSE, TIMEOUT) and "attempt_timeout_ms" in str(error["message"]) and error["attempts"] == 2
        )
        status, error = download(driver, path, attempt_timeout_ms=60_000, timeout_ms=300)
        assert status == TIMEOUT and not path.exists()
        count = server.count("GET")
        for folder in (str(tmp_path), f"{path}/", f"{path}/.", f"{tmp_path}/.."):
            wrong = driver.run("download", DOWNLOAD, json.dumps(VERSION), folder)
            assert (wrong.status, wrong.json["parameter"]) == (INVALID_ARGUMENT, "path"), folder
        assert server.count("GET") == count
