"""Skills and memory stores of sessions whose toolset the library serves: what tools see, and what is left then."""

from __future__ import annotations

import base64
import io
import json
import threading
import zipfile
from pathlib import Path
from typing import Any

import pytest

from session.test_toolset_session import IDLE, Host, bash, call
from support.agents import Steps, text
from support.emulator import API_HEADERS, Emulator

pytestmark = [pytest.mark.transports, pytest.mark.http1]
FILES: dict[str, Any] = {"SKILL.md": "# PDF\n", "run.sh": {"text": "#!/bin/sh\necho from $0\n", "executable": True}}
MARKER = ".anthropic-memory-store"


class Resources(Host):
    """A host whose sessions have skills and memory stores."""

    def __init__(self, emulator: Emulator, folder: Path) -> None:
        super().__init__(emulator, folder)
        self.skills: list[dict[str, str]] = []
        self.stores: list[dict[str, str]] = []

    def add_skill(self, version: str | None = None, **fields: Any) -> None:
        """Uploads a skill, and gives it to the agents of the sessions that come."""
        made = self.emulator.control(
            "POST", "/_emulator/skills", {**({} if "archive" in fields else {"files": FILES}), **fields}
        )
        self.skills.append({"type": "custom", "skill_id": made["skill_id"], "version": version or made["id"]})

    def add_store(self, name: str, memories: dict[str, str], **fields: str) -> str:
        """Makes a memory store, and gives it to the sessions that come; returns its id."""
        store = self.emulator.control("POST", "/_emulator/memory_stores", {"name": name, "memories": memories})
        self.stores.append({"type": "memory_store", "memory_store_id": store["id"], "name": name, **fields})
        identifier: str = store["id"]
        return identifier

    def api(self, method: str, path: str, body: Any = None) -> Any:
        """Calls the API with an API key."""
        beta = "agent-memory-2026-07-22" if "memory" in path else API_HEADERS["anthropic-beta"]
        return self.emulator.api(method, path, body, **{"anthropic-beta": beta})

    def serve(self, steps: Steps, **config: Any) -> tuple[str, dict[str, Any]]:
        """Serves a session whose agent does these steps; returns why it is over, and its statistics."""
        self.emulator.control("POST", "/_emulator/scripts", {"environment_id": self.environment, "steps": steps})
        agent = {"type": "agent_with_overrides", "id": "agent_1", "skills": self.skills}
        session = {"agent": agent, "environment_id": self.environment, "resources": self.stores}
        self.api("POST", "/v1/sessions", session)
        end, stats = self.run("serving", **config)
        return end, json.loads(stats)

    def memories(self, store: str) -> dict[str, str]:
        """Returns the contents of a store by path."""
        found: dict[str, str] = {}
        cursor = ""
        while True:
            page = self.api("GET", f"/v1/memory_stores/{store}/memories?view=full{cursor}")
            found |= {memory["path"]: memory["content"] for memory in page["data"]}
            if not page["next_page"]:
                return found
            cursor = f"&page={page['next_page']}"

    def texts(self) -> list[str]:
        return [ending[0] for ending in self.endings()]


@pytest.fixture
def host(strict_emulator: Emulator, tmp_path: Path) -> Resources:
    return Resources(strict_emulator, tmp_path)


def left_in(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*"))


def test_skills_are_there_for_the_tools_and_gone_afterwards(host: Resources) -> None:
    host.add_skill(name="zipped", version="latest")
    host.add_skill(name="tarred", format="tar.gz")
    (host.workdir / "skills").mkdir()
    (host.workdir / "skills" / "own").write_text("kept")
    end, stats = host.serve(
        [*bash("ls skills; skills/zipped/run.sh"), *call("read", file_path="skills/tarred/SKILL.md")]
    )
    assert end == IDLE
    assert host.endings() == [text("own\ntarred\nzipped\nfrom skills/zipped/run.sh\n"), text("# PDF\n")]
    assert (stats["skills_installed"], stats["skills_failed"]) == (2, 0)
    assert left_in(host.workdir) == ["skills", "skills/own"]


def test_a_skill_that_fails_does_not_stop_the_others(host: Resources) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../escaped.txt", "outside")
    host.add_skill(name="hostile", archive=base64.b64encode(buffer.getvalue()).decode())
    host.add_skill(name="missing", version="9")
    host.add_skill(name="good")
    end, stats = host.serve(bash("find . -type f | sort"))
    assert end == IDLE and host.texts() == ["./skills/good/SKILL.md\n./skills/good/run.sh\n"]
    assert (stats["skills_installed"], stats["skills_failed"]) == (1, 2)
    assert left_in(host.workdir.parent) == ["tmp", "work"]


def test_skills_and_memories_can_be_off(host: Resources) -> None:
    host.add_skill(name="pdf")
    host.add_store("Notes", {"/a": "1"})
    end, stats = host.serve(bash("ls -A"), skills=False, memory=False)
    assert end == IDLE and host.texts() == ["[no output]"]
    assert (stats["skills_installed"], stats["memory"]["pulled"]) == (0, 0)
    requests = {request["operation"] for request in host.emulator.take_requests()}
    assert not any(name and name.startswith(("skills.", "memory_stores.")) for name in requests)


def test_memories_are_there_for_the_tools_and_changes_are_in_the_store_afterwards(
    host: Resources, tmp_path: Path
) -> None:
    many = {f"/many/{number:02}": str(number) for number in range(25)}
    store = host.add_store("Notes", {"/kept": "same", "/changed": "old", "/removed": "gone", **many})
    facts = host.add_store("Facts", {"/fact": "true"}, access="read_only", mount_path=str(tmp_path / "mnt" / "facts"))
    end, stats = host.serve(
        [
            *bash(f"cd memory/Notes; cat kept {MARKER}; ls many | wc -l; cat {tmp_path}/mnt/facts/fact"),
            *bash("echo new >changed; rm removed; mkdir deep; echo fresh >deep/added"),
            *call("write", file_path="memory/Notes/written", content="by a tool"),
            *call("write", file_path=f"{tmp_path}/mnt/facts/fact", content="false"),
        ]
    )
    assert end == IDLE
    assert host.texts()[0] == f"sameversion 1\n{store}25\ntrue"
    assert host.texts()[3] == f"{tmp_path}/mnt/facts/fact: the directory is read-only"
    expected = {"/kept": "same", "/changed": "new\n", "/deep/added": "fresh\n", "/written": "by a tool", **many}
    assert host.memories(store) == expected and host.memories(facts) == {"/fact": "true"}
    memory = stats["memory"]
    assert (memory["uploaded"], memory["deleted"], memory["failed_syncs"]) == (3, 1, 0)
    # The folder above a mount path is the operator's.
    assert left_in(tmp_path) == ["mnt", "tmp", "work"]


def test_a_store_is_not_written_to_when_memory_is_read_only(host: Resources) -> None:
    store = host.add_store("Notes", {"/a": "1"}, access="read_write")
    end, _ = host.serve(
        [*call("write", file_path="memory/Notes/a", content="2"), *bash("echo 2 >memory/Notes/a; cat memory/Notes/a")],
        memory="read_only",
    )
    assert end == IDLE and host.texts()[0] == "memory/Notes/a: the directory is read-only"
    assert host.memories(store) == {"/a": "1"}
    assert left_in(host.workdir) == []


def test_what_a_command_plants_in_a_memory_directory_reaches_no_store(host: Resources) -> None:
    store = host.add_store("Notes", {"/a": "1", "/b": "1", "/c": "1"})
    (host.workdir.parent / "secret").write_text("a secret")
    plant = "rm a b; ln -s ../../../secret a; mkfifo b; ln -s / root; truncate -s 1G huge; printf '\\377' >binary"
    end, _ = host.serve(bash(f"cd memory/Notes; {plant}; echo 2 >c; mkdir -m 0 closed; rmdir closed"))
    assert end == IDLE
    assert host.memories(store) == {"/a": "1", "/b": "1", "/c": "2\n"}
    assert left_in(host.workdir) == [] and (host.workdir.parent / "secret").exists()


def test_a_directory_whose_marker_is_gone_is_left_alone_and_one_that_is_empty_deletes_nothing(host: Resources) -> None:
    store = host.add_store("Notes", {"/a": "1", "/b": "1"})
    end, _ = host.serve(bash(f"cd memory/Notes; rm {MARKER} b; echo 2 >a"))
    assert end == IDLE and host.memories(store) == {"/a": "1", "/b": "1"}
    assert left_in(host.workdir) == ["memory", "memory/Notes", "memory/Notes/a"]
    host.emulator.control("DELETE", "/_emulator/requests")
    for path in sorted((host.workdir / "memory").rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    end, _ = host.serve(bash("rm -rf memory/Notes/*"))
    assert end == IDLE and host.memories(store) == {"/a": "1", "/b": "1"}
    assert left_in(host.workdir) == ["memory"]


def test_a_change_of_both_sides_is_the_servers(host: Resources) -> None:
    """Memories that have changed in the store are pulled by a sync, 15 seconds after the first at the earliest."""
    store = host.add_store("Notes", {"/a": "1", "/b": "1"})
    memory_id = host.api("GET", f"/v1/memory_stores/{store}/memories")["data"][0]["id"]

    def change() -> None:
        """Changes a memory in the store, and loses the response to the next upload."""
        host.api("POST", f"/v1/memory_stores/{store}/memories/{memory_id}", {"content": "theirs"})
        host.emulator.faults({"operation": "memory_stores.memories.update", "status": 503, "when": "after"})

    host.emulator.control(
        "POST",
        "/_emulator/scripts",
        {
            "environment_id": host.environment,
            "steps": [
                *bash("cat memory/Notes/a; echo mine >memory/Notes/b"),
                {"pause_ms": 15_500},
                *bash("echo mine >memory/Notes/b"),
                *bash("cd memory/Notes; for i in $(seq 600); do grep -q theirs a && break; sleep 0.05; done; cat a"),
            ],
        },
    )
    host.api("POST", "/v1/sessions", {"agent": "agent_1", "environment_id": host.environment, "resources": host.stores})
    changer = threading.Timer(5, change)
    changer.start()
    end, stats = host.run("serving")
    changer.join()
    assert end == IDLE and host.texts()[2] == "theirs"
    assert host.memories(store) == {"/a": "theirs", "/b": "mine\n"}
    assert json.loads(stats)["memory"]["syncs"] >= 2


def test_a_session_whose_memory_cannot_be_served_fails(host: Resources) -> None:
    host.add_store("Notes", {"/a": "1"})
    (host.workdir / "memory" / "Notes").mkdir(parents=True)
    (host.workdir / "memory" / "Notes" / "own").write_text("kept")
    end, _ = host.serve(bash("touch ran"))
    status, _, error = end.partition(" ")
    assert (status, json.loads(error)["parameter"]) == ("config", "memory") and "exists already" in error
    assert left_in(host.workdir) == ["memory", "memory/Notes", "memory/Notes/own"]


def test_a_download_that_fails_for_a_while_is_tried_again(host: Resources) -> None:
    host.add_store("Notes", {"/a": "1"})
    host.add_skill(name="pdf")
    host.emulator.faults({"operation": "memory_stores.memories.list", "status": 503, "count": 4})
    end, stats = host.serve(bash("cat memory/Notes/a; ls skills"))
    assert end == IDLE and host.texts() == ["1pdf\n"]
    assert stats["skills_installed"] == 1 and left_in(host.workdir) == []


def test_a_store_that_the_server_refuses_ends_the_session(host: Resources) -> None:
    store = host.add_store("Notes", {"/a": "1"})
    host.stores[0]["memory_store_id"] = f"{store}x"
    end, _ = host.serve(bash("touch ran"))
    assert end.startswith(("not_found", "done")) and left_in(host.workdir) == []
