"""`antenv call`: results, errors, pages, files."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from support.command import COMMAND, antenv, variables
from support.emulator import Emulator


@pytest.mark.transports
def test_a_result_is_on_standard_output_and_an_error_on_standard_error(emulator: Emulator) -> None:
    env = variables(emulator)
    done = antenv("call", "environments.create", '{"name": "hosts", "config": {"type": "self_hosted"}}', env=env)
    assert (done.returncode, done.stderr) == (0, "")
    created = json.loads(done.stdout)
    assert created["name"] == "hosts" and done.stdout.endswith("}\n")
    parameters = json.dumps({"environment_id": created["id"]})
    done = antenv("call", "environments.retrieve", "-", env=env, input=parameters)
    assert json.loads(done.stdout)["id"] == created["id"]
    done = antenv("call", "environments.retrieve", '{"environment_id": "env_missing"}', env=env)
    assert (done.returncode, done.stdout) == (1, "")
    error = json.loads(done.stderr)
    assert (error["status"], error["http_status"]) == ("not_found", 404)
    done = antenv("call", "environments.retrieve", '{"environment": "env_missing"}', env=env)
    assert done.returncode == 1 and json.loads(done.stderr)["parameter"] == "environment"


def test_all_writes_the_items_of_every_page(emulator: Emulator) -> None:
    env = variables(emulator)
    made = {emulator.create_environment(f"hosts {number}") for number in range(7)}
    emulator.take_requests()
    done = antenv("call", "environments.list", '{"limit": 3}', "--all", env=env)
    assert {json.loads(line)["id"] for line in done.stdout.splitlines()} == made
    assert [each["operation"] for each in emulator.take_requests()] == ["environments.list"] * 3
    page = json.loads(antenv("call", "environments.list", '{"limit": 3}', env=env).stdout)
    assert len(page["data"]) == 3 and page["next_page"]
    # Half of the items are no result.
    pages = {"operation": "environments.list"}
    emulator.faults(pages | {"latency_ms": 1}, pages | {"status": 403})
    done = antenv("call", "--all", "environments.list", '{"limit": 3}', env=env)
    assert done.returncode == 1 and json.loads(done.stderr)["status"] == "permission_denied"


def test_a_download_goes_to_a_file(emulator: Emulator, tmp_path: Path) -> None:
    version = emulator.control("POST", "/_emulator/skills", {"name": "pdf", "files": {"SKILL.md": "# PDF\n"}})
    parameters = json.dumps({"skill_id": version["skill_id"], "version": version["id"]})
    file, env = tmp_path / "skill.zip", variables(emulator)
    done = antenv("call", "skills.versions.download", parameters, "--output", str(file), env=env)
    assert done.returncode == 0 and json.loads(done.stdout)["bytes"] == file.stat().st_size > 0
    missing = json.dumps({"skill_id": "skill_missing", "version": "1"})
    done = antenv("call", "skills.versions.download", missing, "--output", str(tmp_path / "none"), env=env)
    assert done.returncode == 1 and json.loads(done.stderr)["status"] == "not_found"
    assert os.listdir(tmp_path) == ["skill.zip"]


def test_wrong_usage_is_2_and_sends_nothing(emulator: Emulator) -> None:
    for arguments, said in (
        ([], "Usage: antenv"),
        (["call"], "<OPERATION>"),
        (["call", "environment.list"], "environments.list"),
        (["call", "environments.list", "{}", "{}"], "unexpected argument"),
        (["call", "environments.create", "--all"], "is not paged"),
        (["call", "environments.list", "--output", "file"], "downloads no file"),
        (["call", "skills.versions.download"], "--output"),
        (["call", "sessions.events.stream"], "antenv sessions tail"),
        (["call", "environments.list", "--wrong"], "--wrong"),
    ):
        done = antenv(*arguments, env=variables(emulator))
        assert (done.returncode, done.stdout) == (2, ""), arguments
        assert said in done.stderr, (arguments, done.stderr)
    assert emulator.take_requests() == []


def test_the_configuration_is_the_librarys(emulator: Emulator, tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_text(json.dumps({"api_key": "from a file", "base_url": emulator.url}))
    path = os.environ["PATH"]
    for config in (f"@{file}", file.read_text()):
        assert antenv("call", "environments.list", "--config", config, env={"PATH": path}).returncode == 0
    done = antenv("call", "environments.list", "--config", f"@{tmp_path}/none", env={"PATH": path})
    assert done.returncode == 1 and done.stderr.startswith(f"antenv: {tmp_path}/none: ")
    done = antenv("call", "environments.list", "--config", '{"key": 1}', env={"PATH": path})
    assert done.returncode == 1 and json.loads(done.stderr)["status"] == "config"
    done = antenv("call", "environments.list", env={"PATH": path})
    assert done.returncode == 1 and json.loads(done.stderr)["parameter"] == "api_key"


def test_a_reader_that_has_gone_is_no_failure(emulator: Emulator) -> None:
    environment = emulator.create_environment("hosts", config={"type": "self_hosted"})
    emulator.enqueue(environment, count=2000)
    work = json.dumps({"environment_id": environment, "limit": 100})
    command = [COMMAND, "call", "work.list", work, "--all"]
    with subprocess.Popen(
        command, env=variables(emulator), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert json.loads(process.stdout.readline())["type"] == "work"
        process.stdout.close()
        assert process.wait(timeout=60) == 0 and process.stderr.read() == ""
    with open("/dev/full", "w") as full:
        done = subprocess.run(command, env=variables(emulator), stdout=full, stderr=subprocess.PIPE, check=False)
    assert done.returncode == 1 and done.stderr.startswith(b"antenv: standard output: No space left")
