"""Exports the statistics of an environment's work queue: as text for Prometheus at /metrics, as JSON at /stats.

python queue_exporter.py [PORT]     9465 by default; 0 takes a free one
Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and, if it is set, ANTHROPIC_BASE_URL.

It runs all the time, so that workers can be scaled from none. Each request asks the API once.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import antenv

METRICS = {
    "depth": "Items that wait for a worker.",
    "pending": "Items that were polled and not acknowledged yet.",
    "oldest_seconds": "Age of the oldest item that waits; 0 when there is none.",
    "workers_polling": "Workers that polled in the last 30 seconds.",
}

environment = os.environ["ANTHROPIC_ENVIRONMENT_ID"]
client = antenv.Client(environment_key=os.environ["ANTHROPIC_ENVIRONMENT_KEY"], timeout=5, max_retries=0)


def stats() -> dict[str, float]:
    """Returns the statistics; what the API does not report is left out."""
    queue = client.environments.work.stats(environment)
    oldest = queue.oldest_queued_at and datetime.fromisoformat(queue.oldest_queued_at.replace("Z", "+00:00"))
    age = (datetime.now(timezone.utc) - oldest).total_seconds() if oldest else 0
    numbers = {"depth": queue.depth, "pending": queue.pending, "oldest_seconds": max(age, 0)}
    return numbers if queue.workers_polling is None else numbers | {"workers_polling": queue.workers_polling}


class Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, kind, body = 404, "text/plain", "/metrics or /stats\n"
        try:
            if self.path == "/stats":
                status, kind, body = 200, "application/json", json.dumps(stats())
            elif self.path == "/metrics":
                lines = (
                    f"# HELP antenv_queue_{name} {METRICS[name]}\n# TYPE antenv_queue_{name} gauge\n"
                    f"antenv_queue_{name}{{environment_id={json.dumps(environment)}}} {number}\n"
                    for name, number in stats().items()
                )
                status, kind, body = 200, "text/plain; version=0.0.4; charset=utf-8", "".join(lines)
        except antenv.AntenvError as error:
            status, body = 502, f"{error}\n"
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body.encode())))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_request(self, *_: object) -> None:
        """Logs nothing: requests come all the time."""


signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))  # process 1 of a container would ignore it
server = ThreadingHTTPServer(("", int(sys.argv[1]) if len(sys.argv) > 1 else 9465), Handler)
print(f"http://127.0.0.1:{server.server_port}/metrics", flush=True)
server.serve_forever()
