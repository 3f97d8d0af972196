"""Serves the work queue of a self-hosted environment: runs a command for each item.

    python on_work.py [--concurrency N] [--grace SECONDS] [--metrics ADDRESS] [--handoff] -- command argument ...

The command has the item's JSON on its standard input, and in its environment ANTHROPIC_WORK_ID, ANTHROPIC_SESSION_ID,
ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and, if the item has one, ANTHROPIC_WORK_SECRET. It runs in a
process group of its own. When it has ended, its item is stopped, and what is left of its process group is killed.

With --handoff the command keeps the lease itself: it adopts the item, as `client.adopt()` and an official `handle_item`
do with these variables, sends the heartbeats, and stops the item. It has to begin within a minute. This program only
claims items, and when a command has ended without a heartbeat, gives its item back to the work queue.

A command that cannot be found at the start is wrong usage. While the system has no room for another process, starting
it is tried again every second. If it cannot be started for another reason, the item is left to the work queue, and this
program claims no more, waits for its other commands and exits with 1.

When a lease is lost or an item is to be stopped, the command gets SIGTERM, and SIGKILL when SECONDS (30; up to 86400,
such as 0.5 or 30s) have passed. On SIGTERM or SIGINT this program claims no more and waits for the commands; those that
still run after SECONDS get SIGTERM, and SIGKILL after as long again. A second SIGTERM or SIGINT ends the first wait.

ADDRESS, such as :9464 or 127.0.0.1:9464, is where /metrics is served for Prometheus. As a container's first process,
this program also reaps orphans.

Reads ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY and, if it is set, ANTHROPIC_BASE_URL.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import errno
import logging
import os
import shutil
import signal
import sys
from typing import Any

import antenv

LOG = logging.getLogger("on_work")
NO_ROOM = (errno.EAGAIN, errno.ENOMEM, errno.EMFILE, errno.ENFILE)  # which passes


def concurrency(text: str) -> int:
    if not 1 <= int(text) <= 10_000:
        raise ValueError
    return int(text)


def seconds(text: str) -> float:
    value = float(text.removesuffix("s"))
    if not 0 <= value <= 86_400:
        raise ValueError
    return value


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Runs a command for each item of a work queue.")
    parser.add_argument("--concurrency", type=concurrency, default=1, metavar="N", help="how many items at once (1)")
    parser.add_argument("--grace", type=seconds, default=30.0, metavar="SECONDS", help="time for commands to end (30)")
    parser.add_argument("--metrics", metavar="ADDRESS", help="serve /metrics there, such as :9464")
    parser.add_argument("--handoff", action="store_true", help="leave the heartbeats to the commands")
    parser.add_argument("command", nargs=argparse.REMAINDER, help="what to run, after --")
    options = parser.parse_args()
    options.command = options.command[options.command[:1] == ["--"] :]
    if not options.command:
        parser.error("a command is needed")
    if not shutil.which(options.command[0]):
        print(f"on_work: {options.command[0]}: no such command", file=sys.stderr)
        sys.exit(2)
    return options


def variables(lease: antenv.AsyncLease) -> dict[str, str]:
    """What the command has in its environment."""
    other_items = ("ANTHROPIC_WORK_SECRET", "ANTHROPIC_WORK_LAST_HEARTBEAT")
    own = {name: value for name, value in os.environ.items() if name not in other_items}
    names = {"WORK_ID": lease.id, "SESSION_ID": lease.session_id, "ENVIRONMENT_ID": lease.work.environment_id}
    names |= {"WORK_SECRET": lease.secret} if lease.secret else {}
    return own | {f"ANTHROPIC_{name}": value for name, value in names.items()}


def signal_group(leader: int, number: signal.Signals) -> None:
    """Signals a command and what it started."""
    with contextlib.suppress(ProcessLookupError, PermissionError):  # no process is left, or none of this user
        os.killpg(leader, number)


async def feed(writing: int, data: bytes) -> None:
    """Writes what the command accepts, until this is cancelled. It need not read it."""
    loop, room = asyncio.get_running_loop(), asyncio.Event()
    os.set_blocking(writing, False)
    loop.add_writer(writing, room.set)
    try:
        while data:
            await room.wait()
            room.clear()
            with contextlib.suppress(BlockingIOError):
                data = data[os.write(writing, data) :]
    except BrokenPipeError:
        pass
    finally:
        loop.remove_writer(writing)
        os.close(writing)


class Program:
    """What the items share: the options, the commands that run, and how far the end has come."""

    def __init__(self, options: argparse.Namespace, worker: antenv.AsyncWorker) -> None:
        self.options = options
        self.worker = worker
        self.commands: dict[int, asyncio.Future[int]] = {}  # by process: receive its exit code
        self.stopping = asyncio.Event()
        self.hurry: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.failure: OSError | None = None

    def stop(self) -> None:
        """Claims no more; the second time, ends the commands."""
        if self.stopping.is_set() and not self.hurry.done():
            self.hurry.set_result(None)
        self.stopping.set()
        self.worker.stop()

    def reap(self) -> None:
        """Reaps every process that has ended: commands, and orphans if this program is the one they are left to."""
        with contextlib.suppress(ChildProcessError):  # no process is left
            while ended := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                command = self.commands.pop(ended.si_pid, None)
                if command:  # the group is its own for as long as it has not been waited for
                    signal_group(ended.si_pid, signal.SIGKILL)
                _, status = os.waitpid(ended.si_pid, 0)
                if command:
                    command.set_result(os.waitstatus_to_exitcode(status))

    def spawn(self, lease: antenv.AsyncLease) -> tuple[int, int]:
        """Starts the command. Returns its process and the descriptor of its input."""
        reading, writing = os.pipe()
        try:
            process = os.posix_spawnp(
                self.options.command[0],
                self.options.command,
                variables(lease),
                file_actions=[(os.POSIX_SPAWN_DUP2, reading, 0)],
                setpgroup=0,
                setsigmask=(),
                setsigdef=(signal.SIGPIPE, signal.SIGXFSZ),  # which Python ignores
            )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        self.commands[process] = asyncio.get_running_loop().create_future()
        return process, writing

    async def start(self, lease: antenv.AsyncLease) -> tuple[int, int]:
        """Starts the command, later if there is no room. Leaves an item that cannot have it to the work queue."""
        try:
            while True:
                try:
                    return self.spawn(lease)
                except OSError as error:
                    if error.errno not in NO_ROOM or self.stopping.is_set():
                        raise
                    LOG.warning("%s: not begun yet: %s", lease.id, error)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.stopping.wait(), 1)
        except BaseException:
            lease.abandon()
            raise

    async def end(self, lease: antenv.AsyncLease, process: int, why: str) -> None:
        """Ends a command that runs: asks it, and kills it when its time is over."""
        LOG.warning("%s: %s: the command is ended", lease.id, why)
        ended = self.commands[process]
        signal_group(process, signal.SIGTERM)
        await asyncio.wait([ended], timeout=self.options.grace)
        if not ended.done():
            LOG.warning("%s: is killed", lease.id)
            signal_group(process, signal.SIGKILL)
            await asyncio.wait([ended])

    async def end_of(self, ended: asyncio.Future[Any]) -> None:
        """Waits for a command, or for a second signal, whatever happens to the lease."""
        while not (ended.done() or self.hurry.done()):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait([ended, self.hurry], return_when=asyncio.FIRST_COMPLETED)

    async def serve(self, lease: antenv.AsyncLease) -> None:
        """Runs the command for an item. The worker cancels this when the lease is no longer simply held."""
        process, writing = await self.start(lease)
        ended: asyncio.Future[Any] = self.commands[process]
        feeding = asyncio.ensure_future(feed(writing, lease.work.to_json().encode()))
        why = "a second signal"
        try:
            if self.options.handoff:  # the lease is the command's business
                await self.end_of(ended)
            else:
                await asyncio.wait([ended, self.hurry], return_when=asyncio.FIRST_COMPLETED)
        except asyncio.CancelledError:
            state = lease.state()
            why = f"{state.state}, {state.reason}"
        ending = None if ended.done() else asyncio.ensure_future(self.end(lease, process, why))
        while ending and not ending.done():
            with contextlib.suppress(asyncio.CancelledError):  # for another reason: it is being ended already
                await asyncio.wait([ending])
        feeding.cancel()
        if self.options.handoff:  # an item that has had no heartbeat is given back
            lease.abandon()
        if ended.result():
            LOG.warning("%s: the command ended with %d", lease.id, ended.result())

    async def handle(self, lease: antenv.AsyncLease) -> None:
        """Serves an item. If its command cannot be started, this program gives up: it would be so with the next."""
        if self.failure:
            lease.abandon()
            return
        try:
            await self.serve(lease)
        except OSError as error:
            if error.errno not in NO_ROOM and not self.failure:
                self.failure = error
                self.stopping.set()
                self.worker.stop()


async def serve_metrics(address: str, worker: antenv.AsyncWorker) -> asyncio.Server:
    """Serves /metrics at HOST:PORT, or at :PORT of every interface."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, EOFError, asyncio.LimitOverrunError), contextlib.closing(writer):
            request = await reader.readuntil(b"\r\n\r\n")
            is_there = request.startswith(b"GET /metrics ")
            text = worker.metrics() if is_there else ""
            status = "200 OK" if is_there else "404 Not Found"
            head = f"HTTP/1.1 {status}\r\ncontent-type: text/plain; version=0.0.4\r\n"
            head += f"content-length: {len(text.encode())}\r\nconnection: close\r\n\r\n"
            writer.write((head + text).encode())
            await writer.drain()

    host, colon, port = address.rpartition(":")
    try:
        server = await asyncio.start_server(answer, host.strip("[]") or None, port if colon else "none")
    except OSError as error:
        sys.exit(f"on_work: {address}: {error}")
    host, port = server.sockets[0].getsockname()[:2]
    LOG.info("metrics at http://%s:%d/metrics", f"[{host}]" if ":" in host else host, port)
    return server


async def main(options: argparse.Namespace) -> None:
    client = antenv.AsyncClient(environment_key=os.environ.get("ANTHROPIC_ENVIRONMENT_KEY"))
    async with client.environments.worker(
        concurrency=options.concurrency, grace=options.grace, heartbeat=not options.handoff
    ) as worker:
        program, loop = Program(options, worker), asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGCHLD, program.reap)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, program.stop)
        server = await serve_metrics(options.metrics, worker) if options.metrics else None
        await worker.run(program.handle)
        if server:
            server.close()
        if program.failure:
            sys.exit(f"on_work: {options.command[0]}: {program.failure}")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    try:
        asyncio.run(main(arguments()))
    except (antenv.AntenvError, OSError) as error:
        sys.exit(f"on_work: {error}")
