"""The examples of the API reference, which are in PHP, run as they are: against its own samples, and the emulator."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import subprocess
from pathlib import Path
from typing import Any

from support.build import LIBRARY, ROOT
from support.emulator import Emulator

REFERENCE = ROOT / "tests" / "php" / "reference"
OPERATIONS = json.loads((REFERENCE / "reference.json").read_text())["operations"]
ENVIRONMENT, ITEM = "env_011CZkZ9X2dpNyB7HsEFoRfW", "work_id"


def run(emulator: Emulator, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs examples against an emulator."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("ANTHROPIC_")}
    variables = {"ANTHROPIC_BASE_URL": emulator.url, "ANTENV_LIBRARY": str(LIBRARY / "libantenv.so")}
    return subprocess.run(
        ["php", str(REFERENCE / "run.php"), *arguments],
        env=clean | variables,
        capture_output=True,
        text=True,
        check=False,
    )


def test_every_example_returns_what_the_reference_shows(emulator: Emulator) -> None:
    emulator.faults(*({"status": 200, "body": case["response"]} for case in OPERATIONS))
    done = run(emulator, "samples")
    assert done.returncode == 0 and re.fullmatch(r"[1-9]\d+ passed, 0 failed\n", done.stdout), done.stdout + done.stderr
    assert done.stderr == ""
    sent = emulator.take_requests()
    assert len(sent) == len(OPERATIONS)
    for request, case in zip(sent, OPERATIONS, strict=True):
        path = case["path"].replace("{environment_id}", ENVIRONMENT).replace("{work_id}", ITEM)
        assert (request["method"], request["path"]) == (case["method"], path)
        assert request["headers"]["authorization"] == "Bearer my-anthropic-api-key"
        assert "message-batches-2024-09-24" in request["headers"]["anthropic-beta"]
    by_name = {case["operation"]: request for case, request in zip(OPERATIONS, sent, strict=True)}
    assert by_name["environments.create"]["body"] == {
        "name": "python-data-analysis",
        "config": {
            "type": "cloud",
            "networking": {
                "type": "limited",
                "allow_mcp_servers": True,
                "allow_package_managers": True,
                "allowed_hosts": ["api.example.com"],
            },
            "packages": {
                **{manager: ["string"] for manager in ("apt", "cargo", "gem", "go", "npm")},
                "pip": ["pandas", "numpy"],
                "type": "packages",
            },
        },
        "description": "Python environment with data-analysis packages.",
        "metadata": {"foo": "string"},
        "scope": "organization",
    }
    assert sorted(map(tuple, by_name["environments.work.heartbeat"]["query"])) == [
        ("desired_ttl_seconds", "0"),
        ("expected_last_heartbeat", "expected_last_heartbeat"),
    ]
    assert by_name["environments.work.poll"]["headers"]["anthropic-worker-id"] == "Anthropic-Worker-ID"


def seeded(data: Path, kind: str) -> None:
    """Makes an emulator's file whose environment and work item have the identifiers of the examples."""
    with Emulator("--auth", "any", "--data", str(data)) as emulator:
        environment = emulator.create_environment("seed", config={"type": kind})
        item = emulator.enqueue(environment)["id"] if kind == "self_hosted" else ""
    with sqlite3.connect(data) as database:
        for table in ("environments", "sessions", "work"):
            columns = [row[1] for row in database.execute(f"PRAGMA table_info({table})")]
            for column in {"id", "environment_id", "object"} & set(columns):
                for old, new in ((environment, ENVIRONMENT), (item, ITEM)):
                    if old:
                        database.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", (old, new))
    database.close()


def examples(tmp_path: Path, kind: str, *operations: str) -> dict[str, dict[str, Any]]:
    """Runs examples against an emulator with their identifiers; returns what each returned, with every field."""
    data = tmp_path / f"{kind}.db"
    seeded(data, kind)
    with Emulator("--auth", "any", "--data", str(data)) as emulator:
        done = run(emulator, *operations)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    reports = [json.loads(line) for line in done.stdout.splitlines()]
    assert [report["operation"] for report in reports] == list(operations)
    for report in reports:
        documented = next(case["fields"] for case in OPERATIONS if case["operation"] == report["operation"])
        if "Types" in report["class"]:
            assert report["fields"] == [field.rpartition(" ")[2] for field in documented]
    return {report["operation"].rpartition(".")[2]: report for report in reports}


def test_the_examples_of_environments_run_against_the_emulator(tmp_path: Path) -> None:
    names = ("create", "retrieve", "update", "archive", "delete", "list")
    found = examples(tmp_path, "cloud", *(f"environments.{name}" for name in names))
    for name in ("create", "retrieve", "update", "archive"):
        assert found[name]["class"] == "Antenv\\Types\\Environment", found[name]
    assert found["create"]["result"]["config"]["networking"]["allow_mcp_servers"] is True
    assert (found["update"]["result"]["id"], found["update"]["result"]["name"]) == (ENVIRONMENT, "x")
    assert found["archive"]["result"]["archived_at"]
    assert found["delete"]["result"] == {"id": ENVIRONMENT, "type": "environment_deleted"}
    # Its cursor is a placeholder, which a server refuses.
    assert found["list"]["class"] == "Antenv\\Exception\\BadRequest"
    assert found["list"]["result"]["error"]["message"].startswith("page: ")


def test_the_examples_of_work_run_against_the_emulator(tmp_path: Path) -> None:
    names = ("stats", "poll", "ack", "retrieve", "update", "stop", "heartbeat", "list")
    found = examples(tmp_path, "self_hosted", *(f"environments.work.{name}" for name in names))
    for name in ("poll", "ack", "retrieve", "update", "stop"):
        assert found[name]["class"] == "Antenv\\Types\\Work", found[name]
        assert found[name]["result"]["id"] == ITEM
    assert (found["stats"]["result"]["depth"], found["update"]["result"]["metadata"]) == (1, {"foo": "string"})
    assert [found[name]["result"]["state"] for name in ("poll", "ack", "stop")] == ["queued", "starting", "stopped"]
    heartbeat = found["heartbeat"]["result"]
    assert found["heartbeat"]["class"] == "Antenv\\Types\\WorkHeartbeat"
    assert (heartbeat["state"], heartbeat["lease_extended"]) == ("stopped", False)
    # Its cursor is a placeholder, which a server refuses.
    assert found["list"]["class"] == "Antenv\\Exception\\BadRequest"
    assert found["list"]["result"]["error"]["message"].startswith("page: ")
