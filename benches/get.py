"""GETs of one environment from Python: antenv and the official client. Prints its figures as the C programs here do.

python get.py PEER HOW URL ID LOAD SECONDS

PEER: antenv, or official. HOW: "sync" has LOAD threads, "async" LOAD tasks in a thread; "first" imports the package and
makes one call, and says what that took beyond a bare interpreter.
"""

from __future__ import annotations

import resource
import sys
import time
from pathlib import Path

STARTED = time.perf_counter()


def resident_kb() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def peer(name: str, url: str, asynchronous: bool = False):  # type: ignore[no-untyped-def]
    """The peer's `environments`."""
    if name == "antenv":
        import antenv

        return (antenv.AsyncClient if asynchronous else antenv.Client)(api_key="k", base_url=url).environments
    import anthropic

    kind = anthropic.AsyncAnthropic if asynchronous else anthropic.Anthropic
    return kind(api_key="k", base_url=url).beta.environments


def sync_calls(name: str, url: str, identifier: str, load: int, seconds: float) -> list[float]:
    """The latencies of calls from `load` threads, in seconds."""
    import threading

    environments = peer(name, url)
    latencies: list[float] = []

    def repeat(until: float) -> None:
        while (begun := time.perf_counter()) < until:
            environments.retrieve(identifier)
            latencies.append(time.perf_counter() - begun)

    repeat(time.perf_counter() + seconds / 5)  # to warm up
    latencies.clear()
    reset_clock()
    threads = [threading.Thread(target=repeat, args=(CLOCK[0] + seconds,)) for _ in range(load - 1)]
    for thread in threads:
        thread.start()
    repeat(CLOCK[0] + seconds)
    for thread in threads:
        thread.join()
    return latencies


def async_calls(name: str, url: str, identifier: str, load: int, seconds: float) -> list[float]:
    """The latencies of calls from `load` tasks, in seconds."""
    import asyncio

    latencies: list[float] = []

    async def main() -> None:
        environments = peer(name, url, asynchronous=True)

        async def repeat(until: float) -> None:
            while (begun := time.perf_counter()) < until:
                await environments.retrieve(identifier)
                latencies.append(time.perf_counter() - begun)

        for span in (seconds / 5, seconds):  # the first to warm up
            latencies.clear()
            reset_clock()
            await asyncio.gather(*(repeat(CLOCK[0] + span) for _ in range(load)))

    asyncio.run(main())
    return latencies


CLOCK = [0.0, 0.0]


def reset_clock() -> None:
    CLOCK[:] = time.perf_counter(), cpu_seconds()


def cpu_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def main() -> None:
    name, how, url, identifier, load, seconds = sys.argv[1:]
    figures: dict[str, float]
    if how == "first":
        before = resident_kb()
        peer(name, url).retrieve(identifier)
        figures = {"first_ms": (time.perf_counter() - STARTED) * 1e3, "first_kb": resident_kb() - before}
    else:
        measure = sync_calls if how == "sync" else async_calls
        latencies = sorted(measure(name, url, identifier, int(load), float(seconds)))
        many, wall, cpu = len(latencies), time.perf_counter() - CLOCK[0], cpu_seconds() - CLOCK[1]
        figures = {
            "rps": many / wall,
            "cpu_us": cpu / many * 1e6,
            "p50_us": latencies[many // 2] * 1e6,
            "p99_us": latencies[many * 99 // 100] * 1e6,
            "rss_kb": resident_kb(),
        }
    print("{" + ", ".join(f'"{name}": {value}' for name, value in figures.items()) + "}")


main()
