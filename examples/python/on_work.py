"""Serves the work queue of a self-hosted environment: runs a command for each item.

    python on_work.py [--concurrency N] [--grace SECONDS] [--metrics PORT] -- command argument ...

The command has the item's JSON on its standard input, and in its environment ANTHROPIC_WORK_ID, ANTHROPIC_SESSION_ID,
ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and, if the item has one, ANTHROPIC_WORK_SECRET.
While the system has no room for another process, starting it is tried again every second.
When the item is to be stopped or its lease is lost, the command and all it started get SIGTERM, and SIGKILL after the
grace. SIGTERM and SIGINT end this program: it claims no more, and commands have the grace to end by themselves.

Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and, if it is set, ANTHROPIC_BASE_URL.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import http.server
import logging
import os
import shutil
import signal
import sys
import threading

import antenv

LOG = logging.getLogger("on_work")
NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # which passes
LAST_SECONDS = 5.0  # that a command has after SIGTERM when the program's own grace is over


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs a command for each item of a work queue.")
    parser.add_argument("--concurrency", type=int, default=1, metavar="N", help="how many items at once (1)")
    parser.add_argument("--grace", type=float, default=30.0, metavar="SECONDS", help="time for commands to end in (30)")
    parser.add_argument("--metrics", type=int, metavar="PORT", help="serve /metrics there")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run, after --")
    options = parser.parse_args()
    options.command = options.command[options.command[:1] == ["--"] :]
    if not options.command or not shutil.which(options.command[0]):
        parser.error("a command is needed that can be run")
    return options


def variables(lease: antenv.AsyncLease) -> dict[str, str]:
    """What the command has in its environment."""
    own = {name: value for name, value in os.environ.items() if name != "ANTHROPIC_WORK_SECRET"}
    names = {"WORK_ID": lease.id, "SESSION_ID": lease.session_id, "ENVIRONMENT_ID": lease.work.environment_id}
    names |= {"WORK_SECRET": lease.secret} if lease.secret else {}
    return own | {f"ANTHROPIC_{name}": value for name, value in names.items()}


def signal_group(child: asyncio.subprocess.Process, number: signal.Signals) -> None:
    """Signals a command and what it started."""
    with contextlib.suppress(ProcessLookupError):  # no process is left
        os.killpg(child.pid, number)


async def start(
    lease: antenv.AsyncLease, options: argparse.Namespace, stopping: asyncio.Event
) -> asyncio.subprocess.Process:
    """Starts the command. An item for which that does not come about is left to the queue, which hands it out again."""
    try:
        while True:
            try:
                return await asyncio.create_subprocess_exec(
                    *options.command, stdin=asyncio.subprocess.PIPE, env=variables(lease), start_new_session=True
                )
            except OSError as error:
                if error.errno not in NO_ROOM or stopping.is_set():
                    raise
                LOG.warning("%s: not begun yet: %s", lease.id, error)
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(stopping.wait(), 1)
    except BaseException:
        lease.abandon()
        raise


async def serve(lease: antenv.AsyncLease, options: argparse.Namespace, stopping: asyncio.Event) -> None:
    """Runs the command for an item. The worker cancels this when the lease is no longer simply held."""
    child = await start(lease, options, stopping)
    try:
        await child.communicate(lease.work.to_json().encode())
        if child.returncode:
            LOG.warning("%s: the command ended with %d", lease.id, child.returncode)
    except asyncio.CancelledError:
        state = lease.state()
        LOG.warning("%s: %s, %s: the command is ended", lease.id, state.state, state.reason)
        signal_group(child, signal.SIGTERM)
        seconds = min(options.grace, LAST_SECONDS) if state.reason == "shutdown" else options.grace
        await asyncio.wait([asyncio.ensure_future(child.wait())], timeout=seconds)
        raise
    finally:
        signal_group(child, signal.SIGKILL)  # whatever is left
        await child.wait()


def metrics(worker: antenv.AsyncWorker, client: antenv.Client) -> str:
    """The worker's numbers and the queue's, for Prometheus."""
    text = worker.metrics()
    try:
        stats = client.environments.work.stats(worker.stats()["environment_id"], timeout=5)
        for name in ("depth", "pending", "workers_polling"):
            text += f"# TYPE antenv_queue_{name} gauge\nantenv_queue_{name} {getattr(stats, name) or 0}\n"
    except antenv.AntenvError as error:
        LOG.warning("the queue's numbers are not to be had: %s", error)
    return text


def serve_metrics(port: int, worker: antenv.AsyncWorker, client: antenv.Client) -> None:
    """Has /metrics answered, by threads of its own."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_there = self.path == "/metrics"
            self.send_response(200 if is_there else 404)
            self.send_header("content-type", "text/plain; version=0.0.4")
            self.end_headers()
            self.wfile.write(metrics(worker, client).encode() if is_there else b"")

    server = http.server.ThreadingHTTPServer(("0.0.0.0", port), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    LOG.info("metrics at port %d", server.server_port)


async def main(options: argparse.Namespace) -> None:
    key = os.environ.get("ANTHROPIC_ENVIRONMENT_KEY")
    client = antenv.AsyncClient(environment_key=key)
    async with client.environments.worker(concurrency=options.concurrency, grace=options.grace) as worker:
        stopping = asyncio.Event()

        def stop() -> None:
            stopping.set()
            worker.stop()

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop)
        if options.metrics is not None:
            serve_metrics(options.metrics, worker, antenv.Client(environment_key=key))
        failures: list[OSError] = []

        async def handle(lease: antenv.AsyncLease) -> None:
            try:
                await serve(lease, options, stopping)
            except OSError as error:
                if not stopping.is_set():  # it would be the same with the next item
                    failures.append(error)
                    stop()

        await worker.run(handle)
        if failures:
            sys.exit(f"on_work: {failures[0]}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(main(arguments()))
    except antenv.AntenvError as error:
        sys.exit(f"on_work: {error}")
