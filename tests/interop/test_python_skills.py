"""The official Python client, unchanged, on skills, and its way of unpacking them.
Where they and the emulator disagree, the emulator is wrong."""

from __future__ import annotations

import asyncio
import base64
import io
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic, InternalServerError, NotFoundError
from anthropic.lib.tools._skills import download_session_skills
from anthropic.resources.beta.environments import Work
from anthropic.types.beta import BetaEnvironment

from interop.python_sdk import claim, operations, refused, sessions_token, settings
from support.emulator import Emulator

pytestmark = [pytest.mark.usefixtures("clean_environment"), pytest.mark.transports, pytest.mark.deep]

FILES: dict[str, Any] = {
    "SKILL.md": "---\nname: pdf\n---\n# PDF\n",
    "scripts/run.sh": {"text": "#!/bin/sh\necho hello\n", "executable": True},
    "data/table.bin": {"base64": base64.b64encode(bytes(range(256))).decode()},
}
CONTENTS = {
    "SKILL.md": b"---\nname: pdf\n---\n# PDF\n",
    "scripts/run.sh": b"#!/bin/sh\necho hello\n",
    "data/table.bin": bytes(range(256)),
}


def upload(emulator: Emulator, **fields: Any) -> dict[str, Any]:
    """Uploads a version of a skill and returns its object."""
    version: dict[str, Any] = emulator.control("POST", "/_emulator/skills", {"name": "pdf", **fields})
    return version


def unzip(archive: bytes) -> dict[str, bytes]:
    """Returns the files of a zip archive."""
    with zipfile.ZipFile(io.BytesIO(archive)) as opened:
        assert opened.testzip() is None
        return {name: opened.read(name) for name in opened.namelist()}


def untar(archive: bytes) -> dict[str, bytes]:
    """Returns the files of a tar archive."""
    with tarfile.open(fileobj=io.BytesIO(archive)) as opened:
        files = {member.name: opened.extractfile(member) for member in opened.getmembers()}
        return {name: file.read() for name, file in files.items() if file is not None}


def test_a_version_is_retrieved_and_its_archive_downloaded(strict_emulator: Emulator, client: Anthropic) -> None:
    made = upload(strict_emulator, description="Reads PDF", files=FILES)
    versions = client.beta.skills.versions
    version = versions.retrieve(made["id"], skill_id=made["skill_id"])
    assert (version.id, version.skill_id, version.type) == (made["id"], made["skill_id"], "skill_version")
    assert (version.name, version.description) == ("pdf", "Reads PDF")
    assert versions.retrieve("latest", skill_id=version.skill_id) == version
    expected = {f"pdf/{path}": content for path, content in CONTENTS.items()}
    assert unzip(versions.download(version.id, skill_id=version.skill_id).read()) == expected

    upload(strict_emulator, id=version.skill_id, version="2", format="tar.gz", files=FILES)
    newest = versions.retrieve("latest", skill_id=version.skill_id)
    assert newest.id == "2"
    with versions.with_streaming_response.download("2", skill_id=version.skill_id) as response:
        assert untar(b"".join(response.iter_bytes())) == expected
        assert response.headers["content-type"] == "application/gzip"
    assert versions.retrieve(version.id, skill_id=version.skill_id) == version


def test_what_is_not_there_is_not_found(strict_emulator: Emulator, client: Anthropic) -> None:
    made = upload(strict_emulator, files=FILES)
    versions = client.beta.skills.versions
    with refused(NotFoundError):
        versions.retrieve("nothing", skill_id=made["skill_id"])
    with refused(NotFoundError):
        versions.retrieve("latest", skill_id="skill_nothing")
    with refused(NotFoundError):
        versions.download("latest", skill_id=made["skill_id"])


def test_a_fault_meets_a_download(strict_emulator: Emulator, client: Anthropic) -> None:
    made = upload(strict_emulator, files=FILES)
    strict_emulator.faults({"operation": "skills.versions.download", "status": 503})
    with pytest.raises(InternalServerError):
        client.beta.skills.versions.download(made["id"], skill_id=made["skill_id"])
    assert client.beta.skills.versions.download(made["id"], skill_id=made["skill_id"]).read()


def test_the_official_toolset_unpacks_the_skills_of_a_session(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work, tmp_path: Path
) -> None:
    zipped = upload(strict_emulator, name="zipped", files=FILES)
    tarred = upload(strict_emulator, name="tarred", format="tar.gz", files=FILES)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("../escaped.txt", "outside")
    hostile = upload(strict_emulator, name="hostile", archive=base64.b64encode(buffer.getvalue()).decode())
    skills = [
        {"type": "custom", "skill_id": zipped["skill_id"], "version": "latest"},
        {"type": "custom", "skill_id": hostile["skill_id"], "version": hostile["id"]},
        {"type": "custom", "skill_id": tarred["skill_id"], "version": tarred["id"]},
    ]
    agent: Any = {"type": "agent_with_overrides", "id": "agent_interop", "skills": skills}
    session = client.beta.sessions.create(agent=agent, environment_id=hosted.id)
    token = sessions_token(claim(work, hosted.id))

    async def unpack() -> list[Path]:
        async with AsyncAnthropic(auth_token=token, **settings(strict_emulator)) as holder:
            opened = await holder.beta.sessions.retrieve(session.id)
            return await download_session_skills(holder, workdir=tmp_path, session=opened)

    strict_emulator.take_requests()
    folders = asyncio.run(unpack())
    assert [folder.name for folder in folders] == ["zipped", "tarred"]
    for folder in folders:
        files = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*") if path.is_file()}
        assert {name: path.read_bytes() for name, path in files.items()} == CONTENTS
        assert stat.S_IMODE(files["scripts/run.sh"].stat().st_mode) == 0o755
        assert stat.S_IMODE(files["SKILL.md"].stat().st_mode) == 0o644
    assert not list(tmp_path.rglob("escaped.txt"))
    recorded = operations(strict_emulator.take_requests())
    assert recorded == ["sessions.retrieve", *["skills.versions.retrieve", "skills.versions.download"] * 3]
