"""What the library logs and counts."""

from __future__ import annotations

from typing import Any

from support.driver import Driver
from support.emulator import Emulator
from support.waiting import until

OK, INVALID_ARGUMENT, CANCELLED, NOT_FOUND = 0, 1, 6, 104


def start(driver: Driver, emulator: Emulator) -> None:
    """Has the library's thread say that it has started before a subscription; makes a client with new connections."""
    driver.client(api_key="k", base_url=emulator.url)
    driver.call("environments.list")
    driver.client(api_key="k", base_url=emulator.url)


def test_a_call_leaves_records_at_the_levels_that_are_asked_for(emulator: Emulator, driver: Driver) -> None:
    start(driver, emulator)
    assert driver.run("log", "trace").status == OK
    emulator.faults({"status": 529, "headers": {"retry-after-ms": "1"}})
    assert driver.call("environments.list").status == OK
    records = driver.records()
    assert [(one["level"], one["target"], one["message"]) for one in records] == [
        ("trace", "antenv::transport", "connecting"),
        ("info", "antenv::client", "retrying"),
        ("debug", "antenv::client", "call done"),
    ]
    connecting, retrying, done = (one["fields"] for one in records)
    assert connecting == {"host": emulator.url.removeprefix("http://")}
    assert retrying == {
        "operation": "environments.list",
        "attempt": 1,
        "reason": "overloaded",
        "http_status": 529,
        "why": "",
        "wait_ms": 1.0,
    }
    assert (done["operation"], done["status"], done["attempts"]) == ("environments.list", "ok", 2)
    assert done["elapsed_ms"] > 1
    assert records[0]["time"].startswith("20") and records[0]["time"].endswith("Z")
    for filter, expected in (
        ("info", ["retrying"]),
        ("antenv::client=debug", ["retrying", "call done"]),
        ("debug,antenv::client=warn", []),
        ("off", []),
    ):
        assert driver.run("log", filter).status == OK
        emulator.faults({"status": 500, "headers": {"retry-after-ms": "1"}})
        assert driver.call("environments.list").status == OK
        assert [one["message"] for one in driver.records()] == expected, filter


def test_a_wrong_filter_is_refused_and_the_former_stays(emulator: Emulator, driver: Driver) -> None:
    start(driver, emulator)
    driver.run("log", "debug")
    for wrong in ("loud", "antenv=loud", "=info"):
        outcome = driver.run("log", wrong)
        assert (outcome.status, outcome.json["parameter"]) == (INVALID_ARGUMENT, "filter")
    driver.call("environments.list")
    assert [one["message"] for one in driver.records()] == ["call done"]


def test_a_slow_reader_loses_the_oldest_records_and_learns_how_many(emulator: Emulator, driver: Driver) -> None:
    driver.client(api_key="k", base_url=emulator.url)
    driver.call("environments.list")
    driver.run("log", "antenv::client=debug")
    most, more = 1024, 7
    for _ in range(most + more - 1):
        driver.call("environments.list")
    driver.call("environments.retrieve", {"environment_id": "env_none"})
    notice, *rest = driver.records()
    assert (notice["level"], notice["target"], notice["fields"]) == ("warn", "antenv::log", {"lost": more})
    assert len(rest) == most and rest[-1]["fields"]["status"] == "not_found"
    driver.call("environments.list")
    assert [one["message"] for one in driver.records()] == ["call done"]


def test_a_client_counts_what_it_does(emulator: Emulator, driver: Driver) -> None:
    driver.client(api_key="k", base_url=emulator.url)
    assert driver.stats() == {
        "calls": {"started": 0, "succeeded": 0, "failed": 0, "in_flight": 0},
        "attempts": 0,
        "retries": {},
        "failures": {},
        "connections_opened": 0,
        "bytes": {"sent": 0, "received": 0},
        "latency_us": {},
    }
    created = driver.call("environments.create", {"name": "one"})
    assert created.text is not None
    sent, received = len(b'{"name":"one"}'), len(created.text)
    assert driver.stats()["bytes"] == {"sent": sent, "received": received}
    assert driver.call("environments.retrieve", {"environment_id": "env_none"}).status == NOT_FOUND
    emulator.faults(
        {"status": 500, "headers": {"retry-after-ms": "1"}}, {"status": 429, "headers": {"retry-after-ms": "1"}}
    )
    assert driver.call("environments.list").status == OK
    emulator.faults({"status": 200, "body": "not JSON"})
    driver.call("environments.list")
    driver.run("derive", "{}")
    assert driver.request("GET", "/v1/environments").status == OK
    counts = driver.stats()
    assert counts["calls"] == {"started": 5, "succeeded": 3, "failed": 2, "in_flight": 0}
    assert (counts["attempts"], counts["connections_opened"]) == (7, 1)
    assert counts["retries"] == {"server_error": 1, "rate_limited": 1}
    assert counts["failures"] == {"not_found": 1, "response": 1}
    histograms = counts["latency_us"]
    assert {name: one["count"] for name, one in histograms.items()} == {
        "environments.create": 1,
        "environments.list": 2,
        "environments.retrieve": 1,
        "request": 1,
    }
    for one in histograms.values():
        check_histogram(one)


def check_histogram(histogram: dict[str, Any]) -> None:
    """The parts of a histogram must agree with one another."""
    assert sum(count for _, count in histogram["buckets"]) == histogram["count"]
    assert 0 < histogram["max"] <= histogram["sum"] <= histogram["max"] * histogram["count"]
    assert histogram["buckets"] == sorted(histogram["buckets"])
    below = histogram["buckets"][-1][0]
    assert below * 0.75 <= histogram["max"] < below


def test_what_is_in_flight_and_what_is_cancelled_are_counted(emulator: Emulator, driver: Driver) -> None:
    driver.client(api_key="k", base_url=emulator.url)
    emulator.faults({"latency_ms": 60_000})
    assert driver.submit("environments.list").status == OK
    until(lambda: driver.stats()["connections_opened"] > 0, "no connection is opened")
    assert driver.stats()["calls"] == {"started": 1, "succeeded": 0, "failed": 0, "in_flight": 1}
    driver.run("cancel")
    assert driver.run("collect").status == CANCELLED
    counts = driver.stats()
    assert counts["calls"] == {"started": 1, "succeeded": 0, "failed": 1, "in_flight": 0}
    assert (counts["failures"], counts["latency_us"]) == ({"cancelled": 1}, {})


def test_a_request_that_a_connection_took_along_is_counted_as_such(emulator: Emulator, driver: Driver) -> None:
    driver.client(api_key="k", base_url=emulator.url, max_retries=1)
    assert driver.call("environments.list").status == OK
    emulator.faults({"drop": True})
    assert driver.call("environments.list").status == OK
    counts = driver.stats()
    assert (counts["retries"], counts["attempts"], counts["connections_opened"]) == ({"unanswered": 1}, 3, 2)
    assert counts["calls"] == {"started": 2, "succeeded": 2, "failed": 0, "in_flight": 0}
