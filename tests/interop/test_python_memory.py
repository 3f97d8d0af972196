"""The official Python client, unchanged, on memory stores, and its way of keeping them in step with a folder.
Where they and the emulator disagree, the emulator is wrong."""

from __future__ import annotations

import asyncio
import hashlib
from pathlib import Path
from typing import Any

import pytest
from anthropic import Anthropic, AsyncAnthropic, BadRequestError, ConflictError, NotFoundError, PermissionDeniedError
from anthropic.lib.tools._memories import SessionMemoryStores
from anthropic.resources.beta.environments import Work
from anthropic.types.beta import BetaEnvironment
from anthropic.types.beta.memory_stores import BetaManagedAgentsMemory, BetaManagedAgentsMemoryPrefix

from interop.python_sdk import claim, refused, sessions_token, settings
from support.emulator import Emulator

pytestmark = [pytest.mark.usefixtures("clean_environment"), pytest.mark.transports, pytest.mark.deep]


def make_store(emulator: Emulator, **memories: str) -> str:
    """Makes a memory store with memories, whose names lack the leading slash, and returns its id."""
    paths = {f"/{name}": content for name, content in memories.items()}
    store = emulator.control("POST", "/_emulator/memory_stores", {"name": "Notes", "memories": paths})
    identifier: str = store["id"]
    return identifier


def contents(client: Anthropic, store: str) -> dict[str, str | None]:
    """Returns the content of every memory by its path."""
    listed = client.beta.memory_stores.memories.list(store, view="full")
    return {item.path: item.content for item in listed if isinstance(item, BetaManagedAgentsMemory)}


def sha256(content: str) -> str:
    return hashlib.sha256(content.encode()).hexdigest()


def test_a_memory_is_created_listed_changed_and_deleted(strict_emulator: Emulator, client: Anthropic) -> None:
    store = make_store(strict_emulator)
    shown = client.beta.memory_stores.retrieve(store)
    assert (shown.id, shown.type, shown.name, shown.description, shown.metadata) == (
        store,
        "memory_store",
        "Notes",
        "",
        {},
    )
    memories = client.beta.memory_stores.memories
    text = "caf\u00e9 \U0001f600\r\n"
    created = memories.create(store, path="/notes/a.md", content=text)
    assert (created.type, created.memory_store_id, created.path, created.content) == (
        "memory",
        store,
        "/notes/a.md",
        None,
    )
    assert (created.content_sha256, created.content_size_bytes) == (sha256(text), len(text.encode()))
    assert memories.create(store, path="/b", content="", view="full").content == ""

    assert [item.path for item in memories.list(store, limit=1)] == ["/b", "/notes/a.md"]
    top = list(memories.list(store, depth=1))
    assert [type(item) for item in top] == [BetaManagedAgentsMemory, BetaManagedAgentsMemoryPrefix]
    assert [item.path for item in memories.list(store, path_prefix=top[1].path)] == ["/notes/a.md"]
    whole = memories.retrieve(created.id, memory_store_id=store)
    assert whole == created.model_copy(update={"content": text})

    renamed = memories.update(created.id, memory_store_id=store, path="/c", content="new", view="full")
    assert (renamed.id, renamed.path, renamed.content) == (created.id, "/c", "new")
    assert renamed.memory_version_id != created.memory_version_id
    deleted = memories.delete(created.id, memory_store_id=store)
    assert (deleted.id, deleted.type) == (created.id, "memory_deleted")
    with refused(NotFoundError):
        memories.retrieve(created.id, memory_store_id=store)
    assert contents(client, store) == {"/b": ""}


def test_a_conflict_has_a_type_that_the_client_knows(strict_emulator: Emulator, client: Anthropic) -> None:
    store = make_store(strict_emulator, a="one", b="two")
    memories = client.beta.memory_stores.memories
    first = next(iter(memories.list(store)))
    assert isinstance(first, BetaManagedAgentsMemory)
    with pytest.raises(ConflictError) as caught:
        memories.create(store, path="/a", content="three")
    assert caught.value.type == "memory_path_conflict_error"
    with pytest.raises(ConflictError) as caught:
        memories.update(first.id, memory_store_id=store, path="/b")
    assert caught.value.type == "memory_path_conflict_error"

    stale: Any = {"type": "content_sha256", "content_sha256": sha256("older")}
    with pytest.raises(ConflictError) as caught:
        memories.update(first.id, memory_store_id=store, content="three", precondition=stale)
    assert caught.value.type == "memory_precondition_failed_error"
    with pytest.raises(ConflictError) as caught:
        memories.delete(first.id, memory_store_id=store, expected_content_sha256=sha256("older"))
    assert caught.value.type == "memory_precondition_failed_error"
    assert contents(client, store) == {"/a": "one", "/b": "two"}

    current: Any = {"type": "content_sha256", "content_sha256": sha256("one")}
    memories.update(first.id, memory_store_id=store, content="three", precondition=current)
    memories.delete(first.id, memory_store_id=store, expected_content_sha256=sha256("three"))
    assert contents(client, store) == {"/b": "two"}


def test_what_is_wrong_is_refused(strict_emulator: Emulator, client: Anthropic) -> None:
    store = make_store(strict_emulator, a="one")
    memories = client.beta.memory_stores.memories
    with refused(BadRequestError):
        memories.create(store, path="/x/../y", content="")
    with refused(BadRequestError):
        memories.create(store, path="/x", content="x" * 102_401)
    with refused(BadRequestError):
        memories.list(store, path_prefix="/no-slash-at-its-end")
    with refused(NotFoundError):
        memories.list("memstore_nothing")


def test_an_environment_key_is_refused_and_a_sessions_token_accepted(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    store = make_store(strict_emulator, a="one")
    strict_emulator.enqueue(hosted.id)
    token = sessions_token(claim(work, hosted.id))
    key = strict_emulator.environment_key(hosted.id)
    with Anthropic(auth_token=key, **settings(strict_emulator)) as worker, refused(PermissionDeniedError):
        worker.beta.memory_stores.memories.list(store)
    with Anthropic(auth_token=token, **settings(strict_emulator)) as holder:
        assert contents(holder, store) == {"/a": "one"}


def test_the_official_worker_keeps_a_folder_in_step_with_a_store(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work, tmp_path: Path
) -> None:
    many = {f"many-{number:02}": str(number) for number in range(25)}
    store = make_store(strict_emulator, kept="same", changed="old", removed="gone", **many)
    root = tmp_path / "memory"
    resource: Any = {"type": "memory_store", "memory_store_id": store, "mount_path": str(root), "access": "read_write"}
    session = client.beta.sessions.create(agent="agent_interop", environment_id=hosted.id, resources=[resource])
    token = sessions_token(claim(work, hosted.id))

    async def serve() -> None:
        # The resource is shown as it was given, without all members that the client's types promise.
        async with AsyncAnthropic(auth_token=token, **settings(strict_emulator, strict=False)) as holder:
            stores = SessionMemoryStores(holder, workdir=tmp_path, sync_interval=5)
            await stores.download(await holder.beta.sessions.retrieve(session.id))
            found = {path.name: path.read_text() for path in root.iterdir() if path.name[0] != "."}
            assert found == {"kept": "same", "changed": "old", "removed": "gone", **many}
            (root / "changed").write_text("new")
            (root / "removed").unlink()
            (root / "deep").mkdir()
            (root / "deep" / "added").write_text("fresh")
            await stores.finish()
            await stores.flush_writes()
            await stores.dispose()

    asyncio.run(serve())
    expected = {"/kept": "same", "/changed": "new", "/deep/added": "fresh"}
    assert contents(client, store) == {**expected, **{f"/{name}": content for name, content in many.items()}}
