"""What is under examples/deploy: the files agree with the programs and with one another, and the programs run."""

from __future__ import annotations

import json
import os
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

from support.agents import IDLE, RESULTS, Steps, check_served, enqueue, text
from support.build import ROOT
from support.command import COMMAND, antenv
from support.emulator import Emulator
from worker.test_c_worker import hosts, state_of, until, variables

DEPLOY = ROOT / "examples" / "deploy"


def read_yaml(text: str) -> list[Any]:
    """Reads the documents of a YAML file of a plain kind: blocks indented by two, and JSON on one line."""
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


def whole(pattern: str, path: str) -> int:
    """Returns the number that the group of a pattern finds in a file, the same everywhere."""
    (found,) = set(re.findall(pattern, (ROOT / path).read_text()))
    return int(found.replace("_", ""))


def unit(file: str = "antenv-worker.service") -> dict[str, str]:
    """Returns the settings of the systemd unit, or of its drop-in; the last of each name."""
    text = (DEPLOY / file).read_text()
    return dict(line.split("=", 1) for line in text.splitlines() if re.match(r"[A-Z]\w+=", line))


#: The manifests of workers, by the stage of the Dockerfile that makes their image.
WORKERS = {"worker": "kubernetes.yaml", "sessions": "kubernetes-sessions.yaml"}


def deployments(file: str) -> list[dict[str, Any]]:
    """Returns the Deployments of a manifest."""
    return [document for document in read_yaml((DEPLOY / file).read_text()) if document["kind"] == "Deployment"]


def instructions() -> list[tuple[str, str]]:
    """Returns the instructions of the Dockerfile: name and arguments."""
    text = re.sub(r"^#.*\n", "", (DEPLOY / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(line.split()[0], line.split(maxsplit=1)[1]) for line in text.splitlines() if line]


def stages() -> dict[str, list[tuple[str, str]]]:
    """Returns the instructions of each stage, after those of the stage that it is based on."""
    found: dict[str, list[tuple[str, str]]] = {}
    for name, rest in instructions():
        if name == "FROM":
            image, _, stage = rest.split()
            found[stage] = list(found.get(image, []))
        found[stage].append((name, rest))
    return found


def test_one_grace_period_stands_everywhere() -> None:
    grace = whole(r'"grace_ms"[^;]*unwrap_or\(([\d_]+)\)', "src/worker/config.rs") // 1000
    assert whole(r"`grace_ms` \| integer \| (\d+)", "docs/configuration.md") == grace * 1000
    for file in ("antenv-worker.service", "worker-run.conf"):
        command = unit(file)["ExecStart"].split()
        assert int(command[command.index("--grace") + 1]) == grace
    assert whole(r'value_name = "SECONDS", default_value = "(\d+)"', "cli/src/worker/options.rs") == grace
    for file in ("Dockerfile", *WORKERS.values()):
        assert whole(r'"--grace", "(\d+)"', f"examples/deploy/{file}") == grace
    assert whole(r"default of (\d+) seconds", "examples/deploy/README.md") == grace
    # What the library itself takes after the grace period: the last stop, and half a second for everything to end.
    stop_timeout = r"const (?:LAST|SHUTDOWN)_STOP_\w+: Duration = Duration::from_secs\((\d+)\)"
    assert whole(stop_timeout, "src/worker/lease/machine.rs") < 5
    stop = int(unit()["TimeoutStopSec"])
    assert stop > 2 * grace + 5
    for file in WORKERS.values():
        assert whole(r"terminationGracePeriodSeconds: (\d+)", f"examples/deploy/{file}") == stop
    for page in ("examples/deploy/README.md", "docs/worker.md"):
        assert whole(r"`TimeoutStopSec`\s+and\s+`terminationGracePeriodSeconds`\s+are\s+(\d+)\s+seconds", page) == stop
        text = " ".join((ROOT / page).read_text().split())
        assert "must wait for more than twice the grace period and five seconds" in text


def verify(unit_file: Path) -> None:
    """Has systemd read a unit and its drop-ins, where there is systemd."""
    if shutil.which("systemd-analyze"):
        command = ["systemd-analyze", "verify", str(unit_file)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_the_unit_runs_the_program(tmp_path: Path) -> None:
    settings = unit()
    command = settings["ExecStart"].split()
    assert command[0] == "/usr/local/bin/antenv" and settings["Type"] == "notify" and settings["KillMode"] == "mixed"
    assert settings["Restart"] == "on-failure" and settings["EnvironmentFile"].startswith("/etc/")
    # Without an identifier it fails, but not because of wrong usage.
    assert subprocess.run([COMMAND, *command[1:-1], "true"], env={}, capture_output=True, check=False).returncode == 1
    text = (DEPLOY / "antenv-worker.service").read_text()
    file = tmp_path / "antenv-worker.service"
    file.write_text(text.replace(command[0], COMMAND).replace(command[-1], "/bin/true"))
    verify(file)


def test_the_units_drop_in_serves_sessions(tmp_path: Path) -> None:
    command = unit("worker-run.conf")["ExecStart"].split()
    root = command.pop()
    assert root == unit()["WorkingDirectory"]  # which the unit makes
    assert command[1:3] == ["worker", "run"] and command[-1] == "--workdir-root"
    serve_a_session([*command[1:], str(tmp_path)], tmp_path)
    # systemd takes the drop-in, and what it permits is an exception to what the unit forbids.
    text = (DEPLOY / "antenv-worker.service").read_text()
    drop_in = (DEPLOY / "worker-run.conf").read_text()
    folder = tmp_path / "antenv-worker.service.d"
    folder.mkdir()
    (folder / "run.conf").write_text(drop_in.replace(command[0], COMMAND))
    file = tmp_path / "antenv-worker.service"
    file.write_text(text.replace(command[0], COMMAND).replace("/usr/local/bin/serve-item", "/bin/true"))
    verify(file)
    permitted = {name for name, value in unit("worker-run.conf").items() if value == "no"}
    assert permitted and all(unit()[name] == "yes" for name in permitted)


def serve_a_session(arguments: list[str], root: Path) -> None:
    """Runs the command with these arguments: it must serve a session whose agent uses bash, and clean up."""
    before = set(root.iterdir())
    with Emulator() as emulator:
        environment = hosts(emulator)
        script: Steps = [{"tool": "bash", "input": {"command": "echo one >file; cat file"}}, RESULTS]
        cases = {"": (script, [text("one\n")], IDLE)}
        enqueue(emulator, environment, cases)
        environ = variables(emulator, environment)
        done = antenv(*arguments, "--drain", "--max-idle", "0.3", env=environ)
        assert done.returncode == 0, done.stderr
        check_served(emulator, cases)
    assert set(root.iterdir()) == before


def test_the_manifest_for_sessions_serves_sessions(tmp_path: Path) -> None:
    (deployment,) = deployments("kubernetes-sessions.yaml")
    (other, _) = deployments("kubernetes.yaml")
    assert deployment["metadata"] == other["metadata"]  # it takes the place of that one
    pod = deployment["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    mounted = {mount["mountPath"] for mount in container["volumeMounts"]}
    arguments = [*container["command"][1:], *container["args"]]
    assert mounted == {arguments[-1], "/tmp"} and {each["name"] for each in pod["volumes"]} == {"work", "tmp"}
    here = {":9464": "127.0.0.1:0", arguments[-1]: str(tmp_path)}
    serve_a_session([here.get(argument, argument) for argument in arguments], tmp_path)


def test_the_images_hold_what_the_manifests_run_and_are_not_root() -> None:
    built = stages()
    worker, exporter = deployments("kubernetes.yaml")
    (sessions,) = deployments("kubernetes-sessions.yaml")
    for stage, deployment in (("worker", worker), ("exporter", exporter), ("sessions", sessions)):
        by_name: dict[str, list[str]] = {}
        for name, rest in built[stage]:
            by_name.setdefault(name, []).append(rest)
        pod = deployment["spec"]["template"]["spec"]
        (container,) = pod["containers"]
        user = pod["securityContext"]["runAsUser"]
        if stage == "sessions":  # it has bash, which the toolset runs
            assert by_name["FROM"][0].startswith("debian:trixie-") and f"-o {user} -g {user} /work" in by_name["RUN"][0]
        else:
            assert by_name["FROM"][0].startswith("gcr.io/distroless/") and ":nonroot " in by_name["FROM"][0]
            assert "RUN" not in by_name
        assert by_name["USER"] == [f"{user}:{user}"]
        entry = json.loads(by_name["ENTRYPOINT"][0])
        assert container["command"] == entry
        assert container.get("args", []) == json.loads(by_name.get("CMD", ["[]"])[0])
        assert by_name["EXPOSE"] == [str(container["ports"][0]["containerPort"])]
        # Every path in the command exists in the image: copied there, or its interpreter.
        copied = [rest.split()[-1] for rest in by_name["COPY"]]
        for path in [*entry, *container.get("args", [])]:
            made = [*copied, *by_name.get("WORKDIR", []), "/usr/bin/python3"]
            assert not path.startswith("/") or path in made, path
        for rest in by_name["COPY"]:
            source = rest.split()[-2]
            assert "--from=build" in rest or (ROOT / source).is_file(), source
        assert container["image"] in (DEPLOY / "Dockerfile").read_text()
    # Where the Python package is looked for, in the image and under systemd.
    paths = re.findall(r"PYTHONPATH=(\S+)", "\n".join([*(rest for _, rest in built["python"]), unit()["Environment"]]))
    assert set(paths) == {"/usr/local/lib/antenv/python"} and len(paths) == 2
    ignored = (DEPLOY / "Dockerfile.dockerignore").read_text().split()
    assert "target" in ignored and not {"src", "bindings", "examples"} & set(ignored)


def test_the_sample_serves_an_item_and_stops_early_when_it_must(tmp_path: Path) -> None:
    sample = DEPLOY / "serve-item"
    assert os.access(sample, os.X_OK) and sample.read_text().startswith("#!/usr/bin/python3\n")
    said = tmp_path / "said"
    with Emulator("--lease-ttl", "10") as emulator, said.open("wb") as output:
        environment = hosts(emulator)
        short = emulator.enqueue(environment, metadata={"seconds": "0"})
        long = emulator.enqueue(environment, metadata={"seconds": "3600"})
        command = [COMMAND, "worker", "poll", "--concurrency", "2", "--on-work", sys.executable, str(sample)]
        process = subprocess.Popen(command, stdout=output, env=variables(emulator, environment))
        try:
            lines = [f"{item['id']}: serving session {item['data']['id']}" for item in (short, long)]
            lines.append(f"{short['id']}: served")
            until(lambda: set(lines) <= set(said.read_text().splitlines()), "the lines of the sample")
            stop(emulator, long)
            lines.append(f"{long['id']}: stopped early")
            until(lambda: set(lines) <= set(said.read_text().splitlines()), "the early end")
            ids = [short["id"], long["id"]]
            until(
                lambda: {state_of(emulator, environment, each) for each in ids} == {"stopped"}, "the end of the items"
            )
            process.terminate()
            assert process.wait(timeout=60) == 0
        finally:
            process.kill()
        calls = [each for each in emulator.take_requests() if each["path"].startswith("/v1/sessions/")]
        assert [each["status"] for each in calls] == [200, 200]


def stop(emulator: Emulator, item: dict[str, Any]) -> None:
    """Requests, as the owner of the environment, that an item be stopped."""
    emulator.api("POST", f"/v1/environments/{item['environment_id']}/work/{item['id']}/stop", {})


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
    options = dict(zip(container["args"][::2], container["args"][1::2], strict=True))
    said = subprocess.run([COMMAND, *container["command"][1:], "--help"], check=True, capture_output=True, text=True)
    assert set(options) <= set(re.findall(r"--[\w-]+", said.stdout))
    port = container["ports"][0]
    assert options["--metrics"] == f":{port['containerPort']}" and container["readinessProbe"]["httpGet"] == {
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
        "targetValue": options["--concurrency"],
    }


@contextmanager
def exporter(**environ: str) -> Iterator[str]:
    """Runs the exporter; yields its URL."""
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


def test_the_exporter_reports_the_statistics_of_the_work_queue(strict_emulator: Emulator) -> None:
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
