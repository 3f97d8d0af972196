"""What is under examples/deploy: the files say what the programs do, and the exporter tells how a queue stands."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bindings.test_c import EXAMPLES
from support.build import ROOT, compile_c
from support.emulator import Emulator
from worker.test_c_worker import hosts, variables

DEPLOY = ROOT / "examples" / "deploy"


def read_yaml(text: str) -> list[Any]:
    """The documents of a YAML file that keeps to what is plain: blocks, two blanks deep, and JSON on one line."""
    documents = []
    for document in text.split("\n---\n"):
        lines = [line for line in document.splitlines() if line.strip() and not line.lstrip().startswith("#")]
        documents.append(read_block(lines, 0))
        assert not lines, f"not understood: {lines[0]!r}"
    return documents


def read_block(lines: list[str], depth: int) -> Any:
    """Takes a mapping or a list off the lines."""
    is_list = lines[0].startswith(" " * depth + "- ")
    items: list[Any] = []
    members: dict[str, Any] = {}
    while lines and len(lines[0]) - len(lines[0].lstrip()) == depth:
        line = lines[0][depth:]
        assert line.startswith("- ") == is_list, line
        if is_list and re.match(r"- [\w./-]+:( |$)", line):
            lines[0] = lines[0].replace("- ", "  ", 1)
            items.append(read_block(lines, depth + 2))
            continue
        if is_list:
            items.append(read_scalar(lines.pop(0)[depth + 2 :]))
            continue
        found = re.fullmatch(r"([\w./-]+):(?: (.+))?", line)
        assert found and found[1] not in members, line
        lines.pop(0)
        if found[2]:
            members[found[1]] = read_scalar(found[2])
        else:
            deeper = len(lines[0]) - len(lines[0].lstrip())
            assert deeper == depth + 2, lines[0]
            members[found[1]] = read_block(lines, deeper)
    return items if is_list else members


def read_scalar(text: str) -> Any:
    if text[0] in '"[{' or text in ("true", "false") or re.fullmatch(r"\d+", text):
        return json.loads(text)
    assert re.fullmatch(r"[\w./:-]+", text) and text not in ("yes", "no", "on", "off", "null"), text
    return text


def test_the_unit_runs_the_program_and_waits_for_it(tmp_path: Path) -> None:
    text = (DEPLOY / "antenv-worker.service").read_text()
    settings = dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line))
    command = settings["ExecStart"].split()
    assert Path(command[0]).name == "on_work" and settings["KillMode"] == "mixed"
    grace = int(command[command.index("-g") + 1])
    assert int(settings["TimeoutStopSec"]) > 2 * grace
    assert settings["Restart"] == "on-failure" and settings["EnvironmentFile"].startswith("/etc/")
    # With an identifier that is missing it fails, but not for how it is used.
    program = compile_c(EXAMPLES / "on_work.c")
    assert subprocess.run([program, *command[1:]], env={}, capture_output=True, check=False).returncode == 1
    unit = tmp_path / "antenv-worker.service"
    unit.write_text(text.replace(command[0], str(program)).replace(command[-1], "/bin/true"))
    if shutil.which("systemd-analyze"):
        done = subprocess.run(["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_manifests_fit_the_programs_and_one_another() -> None:
    secret, worker, exporter, service = read_yaml((DEPLOY / "kubernetes.yaml").read_text())
    assert [each["kind"] for each in (secret, worker, exporter, service)] == [
        *("Secret", "Deployment", "Deployment", "Service")
    ]
    assert set(secret["stringData"]) == {"ANTHROPIC_ENVIRONMENT_ID", "ANTHROPIC_ENVIRONMENT_KEY"}
    for deployment in (worker, exporter):
        spec = deployment["spec"]["template"]["spec"]
        labels = deployment["spec"]["template"]["metadata"]["labels"]
        assert deployment["spec"]["selector"]["matchLabels"] == labels
        (container,) = spec["containers"]
        assert container["envFrom"] == [{"secretRef": {"name": secret["metadata"]["name"]}}]
        assert set(container["resources"]) == {"requests", "limits"} and container["readinessProbe"]
    pod = worker["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    options = dict(zip(container["args"][0:-1:2], container["args"][1:-1:2], strict=True))
    flags = set(re.findall(r"\tonwork (.*)", (ROOT / "examples/go/onwork/main.go").read_text())[0].split())
    assert {option.lstrip("-") for option in options} <= {flag.strip("[]-") for flag in flags}
    assert pod["terminationGracePeriodSeconds"] > 2 * int(options["-grace"].removesuffix("s"))
    port = container["ports"][0]
    assert options["-metrics"] == f":{port['containerPort']}" and container["readinessProbe"]["httpGet"] == {
        "path": "/metrics",
        "port": port["name"],
    }
    assert service["spec"]["selector"] == exporter["spec"]["template"]["metadata"]["labels"]
    served = exporter["spec"]["template"]["spec"]["containers"][0]["ports"][0]["containerPort"]
    assert service["spec"]["ports"][0]["port"] == served
    assert f"else {served})" in (DEPLOY / "queue_exporter.py").read_text()

    (scaled,) = read_yaml((DEPLOY / "keda.yaml").read_text())
    assert scaled["kind"] == "ScaledObject" and scaled["spec"]["scaleTargetRef"]["name"] == worker["metadata"]["name"]
    assert scaled["spec"]["minReplicaCount"] == 0 < scaled["spec"]["maxReplicaCount"]
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["type"] == "metrics-api" and trigger["metadata"] == {
        "url": f"http://{service['metadata']['name']}.default.svc:{served}/stats",
        "valueLocation": "depth",
        "targetValue": options["-concurrency"],
    }


@contextmanager
def exporter(**environ: str) -> Iterator[str]:
    """Runs the exporter; gives its URL."""
    command = [sys.executable, str(DEPLOY / "queue_exporter.py"), "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environ) as process:
        assert process.stdout is not None
        try:
            yield process.stdout.readline().strip().removesuffix("/metrics")
        finally:
            process.terminate()
    assert process.returncode == 0


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as response:
        text: str = response.read().decode()
        return text


def test_the_exporter_tells_how_the_queue_stands(strict_emulator: Emulator) -> None:
    environment = hosts(strict_emulator)
    with exporter(**variables(strict_emulator, environment)) as url:
        empty = json.loads(get(f"{url}/stats"))
        assert empty == {"depth": 0, "pending": 0, "oldest_seconds": 0, "workers_polling": 0}
        strict_emulator.enqueue(environment, count=3)
        stats = json.loads(get(f"{url}/stats"))
        assert stats["depth"] == 3 and 0 < stats["oldest_seconds"] < 60
        text = get(f"{url}/metrics")
        numbers = dict(re.findall(r'^(\w+)\{environment_id="env_\w+"\} ([\d.e-]+)$', text, re.MULTILINE))
        assert set(numbers) == {f"antenv_queue_{name}" for name in stats}
        assert numbers["antenv_queue_depth"] == "3" and text.count("# TYPE") == len(numbers) == text.count("# HELP")
        strict_emulator.faults({"operation": "work.stats", "status": 503})
        for path, code in (("metrics", 502), ("nothing", 404)):
            with pytest.raises(urllib.error.HTTPError) as failed:
                get(f"{url}/{path}")
            assert failed.value.code == code
            failed.value.close()
        assert "antenv_queue_depth" in get(f"{url}/metrics")


def test_the_page_names_every_file() -> None:
    page = (DEPLOY / "README.md").read_text()
    for file in DEPLOY.iterdir():
        assert file.name == "README.md" or f"[`{file.name}`]({file.name})" in page
    for link in re.findall(r"\]\(([\w./-]+)\)", page):
        assert (DEPLOY / link).exists(), link
