"""Reads a session's events from Python, as benches/stream.c does: many as fast as they come, then some one by one.

python stream.py PEER URL EVENTS PACED_EVENTS

PEER: antenv, official, or httpx, which splits lines and parses JSON alone. Prints its figures as the C programs do.
"""

from __future__ import annotations

import json
import os
import ssl
import sys
import time
from collections.abc import Callable, Iterator


def antenv_events(url: str) -> Callable[[str], Iterator[str]]:
    """Through the C functions alone: what a binding adds to them is not in it."""
    from ctypes import c_char_p, c_int64, c_void_p

    from antenv import _native

    open_stream = _native._waiting.antenv_stream_open
    out = _native._OUT
    open_stream.argtypes = [c_void_p, c_char_p, c_char_p, out, out]
    take, wait = _native._at_once.antenv_stream_next, _native._waiting.antenv_stream_next
    take.argtypes = wait.argtypes = [c_void_p, c_int64, out]
    config = json.dumps({"api_key": "k", "base_url": url}).encode()
    status, client, error = _native.call_for_handle(_native.client_new, config)
    assert status == _native.OK, error

    def read(session: str) -> Iterator[str]:
        params = json.dumps({"session_id": session}).encode()
        status, stream, error = _native.call_for_handle(open_stream, client, b"sessions.events.stream", params)
        assert status == _native.OK, error
        while status != _native.DONE:
            status, text = _native.call_for_text(take, stream, 0)
            if status == _native.TIMEOUT:
                status, text = _native.call_for_text(wait, stream, -1)
            if status == _native.OK:
                yield json.loads(text)["id"]

    return read


def official_events(url: str) -> Callable[[str], Iterator[str]]:
    import anthropic

    client = anthropic.Anthropic(api_key="k", base_url=url)

    def read(session: str) -> Iterator[str]:
        with client.beta.sessions.events.stream(session) as stream:
            for event in stream:
                yield getattr(event, "id", "")

    return read


def httpx_events(url: str) -> Callable[[str], Iterator[str]]:
    import httpx2

    client = httpx2.Client(verify=ssl.create_default_context(cafile=os.environ["SSL_CERT_FILE"]))

    def read(session: str) -> Iterator[str]:
        with client.stream("GET", f"{url}/v1/sessions/{session}/events/stream") as response:
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line[6:])["id"]

    return read


PEERS = {"antenv": antenv_events, "official": official_events, "httpx": httpx_events}


def main() -> None:
    peer, url, many, paced = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
    read = PEERS[peer](url)
    for _ in read("flood-100"):  # to warm up
        pass
    start, cpu = time.perf_counter(), time.process_time()
    count = sum(1 for _ in read(f"flood-{many}"))
    wall, cpu = time.perf_counter() - start, time.process_time() - cpu
    late = sorted(time.time_ns() - int(identifier) for identifier in read(f"paced-{paced}"))
    assert (count, len(late)) == (many, paced), "not all events came"
    figures = {
        "events_s": count / wall,
        "cpu_event_us": cpu / count * 1e6,
        "late_p50_us": late[paced // 2] / 1e3,
        "late_p99_us": late[paced * 99 // 100] / 1e3,
    }
    print(json.dumps(figures))


main()
