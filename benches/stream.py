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
    import antenv

    client = antenv.Client(api_key="k", base_url=url)

    def read(session: str) -> Iterator[str]:
        with client.sessions.events.stream(session) as stream:
            for event in stream:
                yield str(event.get("id"))

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
