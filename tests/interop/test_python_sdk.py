"""The official Python client, unchanged, drives the emulator. Where the two disagree, the emulator is wrong.

All clients here check each reply strictly against the types that they ship with, and never retry unless a test says so.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from anthropic import (
    Anthropic,
    APIStatusError,
    AsyncAnthropic,
    AuthenticationError,
    BadRequestError,
    ConflictError,
    NotFoundError,
    PermissionDeniedError,
)
from anthropic.resources.beta.environments import Work
from anthropic.types.beta import (
    BetaCloudConfigParams,
    BetaEnvironment,
    BetaEnvironmentArchivedError,
    BetaEnvironmentNotFoundError,
    BetaInvalidConfigTypeChangeError,
    BetaInvalidMetadataError,
)
from anthropic.types.beta.environments import BetaHeartbeatPreconditionFailedError, BetaSelfHostedWork

from emulator import Emulator

API_KEY = "sk-ant-api03-interop"
NO_HEARTBEAT = "NO_HEARTBEAT"
Refusal = TypeVar("Refusal", bound=APIStatusError)
ERROR_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    412: "invalid_request_error",
}


def settings(emulator: Emulator, *, strict: bool = True) -> dict[str, Any]:
    """What every client here is made with."""
    return {"base_url": emulator.url, "max_retries": 0, "timeout": 30, "_strict_response_validation": strict}


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing outside of a test decides where its clients connect, and as whom."""
    for name in os.environ:
        if name.startswith("ANTHROPIC_") or name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)


@pytest.fixture
def client(strict_emulator: Emulator) -> Iterator[Anthropic]:
    """A client with an API key."""
    with Anthropic(api_key=API_KEY, **settings(strict_emulator)) as made:
        yield made


@pytest.fixture
def hosted(client: Anthropic) -> BetaEnvironment:
    """A self-hosted environment."""
    return client.beta.environments.create(name="workshop", config={"type": "self_hosted"})


@pytest.fixture
def work(strict_emulator: Emulator, hosted: BetaEnvironment) -> Iterator[Work]:
    """The work operations with the key of `hosted`."""
    with Anthropic(auth_token=strict_emulator.environment_key(hosted.id), **settings(strict_emulator)) as made:
        yield made.beta.environments.work


@contextmanager
def refused(error: type[Refusal]) -> Iterator[pytest.ExceptionInfo[Refusal]]:
    """The block raises exactly this class, with all that an error of the API carries."""
    with pytest.raises(error) as caught:
        yield caught
    raised = caught.value
    assert type(raised) is error, repr(raised)
    assert isinstance(raised.body, dict)
    assert raised.request_id is not None and raised.request_id.startswith("req_")
    assert raised.body["request_id"] == raised.request_id
    assert raised.type == ERROR_TYPES[raised.status_code]
    assert raised.api_message


def claim(work: Work, environment_id: str, **options: Any) -> BetaSelfHostedWork:
    """Polls for an item that must be there."""
    item: BetaSelfHostedWork | None = work.poll(environment_id, **options)
    assert item is not None
    return item


def start(work: Work, environment_id: str) -> BetaSelfHostedWork:
    """Claims an item that must be there, and acknowledges it."""
    item = claim(work, environment_id)
    work.ack(item.id, environment_id=environment_id)
    return item


def sessions_token(item: BetaSelfHostedWork) -> str:
    """The credential in an item's secret."""
    assert item.secret is not None
    secret = json.loads(base64.urlsafe_b64decode(item.secret + "=" * (-len(item.secret) % 4)))
    token: str = secret["sessions_token"]
    return token


def operations(requests: list[dict[str, Any]]) -> list[str]:
    """The operations of recorded requests, in order."""
    return [request["operation"] for request in requests]


def bearer(request: dict[str, Any]) -> str:
    """The credential that a recorded request came with."""
    credential: str = request["headers"]["authorization"]
    return credential.removeprefix("Bearer ")


# Environments


def test_a_minimal_environment_is_a_cloud_environment_with_the_defaults(client: Anthropic) -> None:
    created = client.beta.environments.create(name="minimal")
    assert created.id.startswith("env_")
    assert created.type == "environment"
    assert (created.name, created.description, created.metadata) == ("minimal", None, {})
    assert created.archived_at is None
    assert created.updated_at == created.created_at
    assert created.scope == "organization"
    assert created.config.to_dict() == {
        "type": "cloud",
        "networking": {"type": "unrestricted"},
        "packages": {"type": "packages", "apt": [], "cargo": [], "gem": [], "go": [], "npm": [], "pip": []},
    }
    assert created._request_id is not None and created._request_id.startswith("req_")
    assert client.beta.environments.retrieve(created.id) == created


def test_every_field_of_an_environment_comes_back_as_given(client: Anthropic) -> None:
    config: BetaCloudConfigParams = {
        "type": "cloud",
        "networking": {
            "type": "limited",
            "allow_mcp_servers": True,
            "allow_package_managers": True,
            "allowed_hosts": ["api.example.com", "*.example.org"],
        },
        "packages": {
            "type": "packages",
            "apt": ["jq"],
            "cargo": ["ripgrep"],
            "gem": ["rake"],
            "go": ["golang.org/x/tools/cmd/stringer@latest"],
            "npm": ["left-pad"],
            "pip": ["pandas==2.2.0", "numpy"],
        },
    }
    created = client.beta.environments.create(
        name="complete",
        config=config,
        description="Everything at once.",
        metadata={"team": "data", "tier": "1"},
        scope="organization",
        betas=["message-batches-2024-09-24"],
    )
    assert created.config.to_dict() == config
    assert (created.name, created.description, created.scope) == ("complete", "Everything at once.", "organization")
    assert created.metadata == {"team": "data", "tier": "1"}
    assert client.beta.environments.retrieve(created.id) == created


def test_a_self_hosted_environment_has_nothing_but_its_type_in_the_config(hosted: BetaEnvironment) -> None:
    assert hosted.config.to_dict() == {"type": "self_hosted"}


@pytest.mark.parametrize(
    "text",
    [
        "Grüße 環境 مرحبا",
        "🦀👩‍👩‍👧‍👦🏳️‍🌈",
        "\"quoted\" 'and' \\back\\slashed/",
        "NUL \x00 in it",
        "two\nlines\r\n\tand a tab",
        "\u2028\u2029\x7f\ufeff",
    ],
    ids=["letters", "emoji", "quotes", "NUL", "newlines", "separators"],
)
def test_any_text_survives_the_round_trip(client: Anthropic, text: str) -> None:
    created = client.beta.environments.create(name=text, description=text, metadata={text: text})
    assert (created.name, created.description, created.metadata) == (text, text, {text: text})
    assert client.beta.environments.retrieve(created.id) == created
    assert [listed.name for listed in client.beta.environments.list()] == [text]


def test_listing_pages_through_everything_newest_first(strict_emulator: Emulator, client: Anthropic) -> None:
    created = [client.beta.environments.create(name=f"number {number}") for number in range(5)]
    strict_emulator.take_requests()
    assert list(client.beta.environments.list(limit=2)) == created[::-1]
    queries = [dict(request["query"]) for request in strict_emulator.take_requests()]
    assert [query["limit"] for query in queries] == ["2", "2", "2"]
    assert ["page" in query for query in queries] == [False, True, True]

    first = client.beta.environments.list(limit=3)
    assert (len(first.data), first.has_next_page()) == (3, True)
    second = first.get_next_page()
    assert (second.data, second.has_next_page()) == (created[1::-1], False)


def test_archived_environments_are_listed_only_on_request(client: Anthropic) -> None:
    kept = client.beta.environments.create(name="kept")
    archived = client.beta.environments.archive(client.beta.environments.create(name="archived").id)
    assert list(client.beta.environments.list()) == [kept]
    assert list(client.beta.environments.list(include_archived=False)) == [kept]
    assert list(client.beta.environments.list(include_archived=True, limit=1)) == [archived, kept]


def test_an_update_changes_what_it_names_and_nothing_else(client: Anthropic) -> None:
    created = client.beta.environments.create(
        name="before",
        description="to be cleared",
        metadata={"kept": "1", "changed": "1", "nulled": "1", "emptied": "1"},
        config={
            "type": "cloud",
            "networking": {"type": "limited", "allow_package_managers": True, "allowed_hosts": ["example.com"]},
            "packages": {"pip": ["numpy"], "npm": ["left-pad"]},
        },
    )
    updated = client.beta.environments.update(
        created.id, metadata={"changed": "2", "added": "2", "nulled": None, "emptied": "", "never was": None}
    )
    assert updated.metadata == {"kept": "1", "changed": "2", "added": "2"}
    assert (updated.name, updated.description, updated.config) == ("before", "to be cleared", created.config)
    assert (updated.created_at, updated.scope) == (created.created_at, created.scope)
    assert updated.updated_at > created.updated_at

    updated = client.beta.environments.update(created.id, name="after", description=None)
    assert (updated.name, updated.description, updated.config) == ("after", None, created.config)
    assert client.beta.environments.update(created.id, description="").description == ""

    updated = client.beta.environments.update(created.id, config={"type": "cloud", "packages": {"pip": ["pandas"]}})
    assert updated.config.to_dict() == {
        "type": "cloud",
        "networking": {
            "type": "limited",
            "allow_mcp_servers": False,
            "allow_package_managers": True,
            "allowed_hosts": ["example.com"],
        },
        "packages": {
            "type": "packages",
            "apt": [],
            "cargo": [],
            "gem": [],
            "go": [],
            "npm": ["left-pad"],
            "pip": ["pandas"],
        },
    }
    assert client.beta.environments.retrieve(created.id) == updated


def test_an_archived_environment_can_be_read_but_not_changed(client: Anthropic, hosted: BetaEnvironment) -> None:
    archived = client.beta.environments.archive(hosted.id)
    assert archived.archived_at is not None
    assert client.beta.environments.archive(hosted.id) == archived
    assert client.beta.environments.retrieve(hosted.id) == archived
    with refused(BetaEnvironmentArchivedError):
        client.beta.environments.update(hosted.id, name="too late")
    with pytest.raises(BadRequestError):
        client.beta.sessions.create(agent="agent_interop", environment_id=hosted.id)


def test_a_deleted_environment_is_gone_for_every_operation(client: Anthropic, hosted: BetaEnvironment) -> None:
    environments = client.beta.environments
    deleted = environments.delete(hosted.id)
    assert deleted.to_dict() == {"id": hosted.id, "type": "environment_deleted"}
    assert list(environments.list(include_archived=True)) == []
    for operation in (
        environments.retrieve,
        environments.archive,
        environments.delete,
        environments.update,
        environments.work.stats,
    ):
        with refused(BetaEnvironmentNotFoundError):
            operation(hosted.id)
    with refused(BetaEnvironmentNotFoundError):
        environments.work.retrieve("work_1", environment_id=hosted.id)


def test_the_type_of_a_config_cannot_change(client: Anthropic, hosted: BetaEnvironment) -> None:
    cloud = client.beta.environments.create(name="cloud")
    with refused(BetaInvalidConfigTypeChangeError):
        client.beta.environments.update(hosted.id, config={"type": "cloud"})
    with refused(BetaInvalidConfigTypeChangeError):
        client.beta.environments.update(cloud.id, config={"type": "self_hosted"})
    assert client.beta.environments.retrieve(cloud.id) == cloud


def test_requests_that_make_no_sense_are_refused_as_bad_requests(client: Anthropic, hosted: BetaEnvironment) -> None:
    wrong_type: Any = {"type": "submarine"}
    wrong_metadata: Any = {"number": 1}
    with refused(BadRequestError):
        client.beta.environments.create(name="")
    with refused(BadRequestError):
        client.beta.environments.create(name="x", config=wrong_type)
    with refused(BadRequestError):
        client.beta.environments.create(name="x", metadata=wrong_metadata)
    with refused(BadRequestError):
        client.beta.environments.list(limit=0)
    with refused(BadRequestError):
        client.beta.environments.list(page="not a cursor")
    assert list(client.beta.environments.list()) == [hosted]


# Credentials


def test_a_credential_that_was_never_issued_is_unknown(strict_emulator: Emulator, hosted: BetaEnvironment) -> None:
    for token in ("sk-ant-oat01-never-issued", "sk-ant-req-never-issued"):
        with Anthropic(auth_token=token, **settings(strict_emulator)) as stranger, refused(AuthenticationError):
            stranger.beta.environments.work.poll(hosted.id)


def test_an_api_key_may_not_list_or_poll_for_work(client: Anthropic, hosted: BetaEnvironment) -> None:
    with refused(PermissionDeniedError):
        client.beta.environments.work.list(hosted.id)
    with refused(PermissionDeniedError):
        client.beta.environments.work.poll(hosted.id)


def test_only_an_api_key_may_look_at_an_item_or_change_it(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id)
    item = start(work, hosted.id)
    with Anthropic(auth_token=sessions_token(item), **settings(strict_emulator)) as holder:
        for wrong in (work, holder.beta.environments.work):
            with refused(PermissionDeniedError):
                wrong.retrieve(item.id, environment_id=hosted.id)
            with refused(PermissionDeniedError):
                wrong.update(item.id, environment_id=hosted.id, metadata={})


def test_an_environment_key_is_good_for_its_own_environment_only(
    client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    other = client.beta.environments.create(name="other", config={"type": "self_hosted"})
    assert work.poll(hosted.id) is None
    with refused(PermissionDeniedError):
        work.poll(other.id)


def test_the_token_in_a_secret_is_good_for_its_own_item_only(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id, count=2)
    item, other = claim(work, hosted.id), claim(work, hosted.id)
    with Anthropic(auth_token=sessions_token(item), **settings(strict_emulator)) as holder:
        own = holder.beta.environments.work
        assert own.ack(item.id, environment_id=hosted.id).state == "starting"
        assert own.heartbeat(item.id, environment_id=hosted.id).lease_extended
        assert own.stop(item.id, environment_id=hosted.id).state == "stopping"
        with refused(PermissionDeniedError):
            own.ack(other.id, environment_id=hosted.id)
        with refused(PermissionDeniedError):
            own.stop(other.id, environment_id=hosted.id)


# Work


def test_the_work_of_a_session_goes_from_queued_to_stopped(
    client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    assert work.poll(hosted.id) is None
    session = client.beta.sessions.create(agent="agent_interop", environment_id=hosted.id, title="Interop")
    assert (session.environment_id, session.title, session.agent.id) == (hosted.id, "Interop", "agent_interop")
    assert client.beta.sessions.retrieve(session.id) == session

    claimed = claim(work, hosted.id, anthropic_worker_id="interop", block_ms=999)
    assert claimed.id.startswith("work_")
    assert (claimed.type, claimed.state, claimed.environment_id) == ("work", "queued", hosted.id)
    assert (claimed.data.type, claimed.data.id) == ("session", session.id)
    assert (claimed.metadata, claimed.acknowledged_at, claimed.started_at) == ({}, None, None)
    assert sessions_token(claimed).startswith("sk-ant-req-")
    assert work.poll(hosted.id) is None

    acknowledged = work.ack(claimed.id, environment_id=hosted.id)
    assert (acknowledged.state, acknowledged.secret, acknowledged.started_at) == ("starting", None, None)
    assert acknowledged.acknowledged_at is not None
    assert work.ack(claimed.id, environment_id=hosted.id) == acknowledged

    beat = work.heartbeat(claimed.id, environment_id=hosted.id, expected_last_heartbeat=NO_HEARTBEAT)
    assert (beat.type, beat.state, beat.lease_extended, beat.ttl_seconds) == ("work_heartbeat", "active", True, 300)
    active = client.beta.environments.work.retrieve(claimed.id, environment_id=hosted.id)
    assert (active.state, active.secret, active.latest_heartbeat_at) == ("active", None, beat.last_heartbeat)
    assert active.started_at is not None

    stopping = work.stop(claimed.id, environment_id=hosted.id)
    assert (stopping.state, stopping.stopped_at) == ("stopping", None)
    assert stopping.stop_requested_at is not None
    # The worker learns that it is to stop, whatever it thinks the last heartbeat was.
    told = work.heartbeat(claimed.id, environment_id=hosted.id, expected_last_heartbeat=beat.last_heartbeat)
    assert (told.state, told.lease_extended) == ("stopping", False)
    assert work.heartbeat(claimed.id, environment_id=hosted.id, expected_last_heartbeat="x").state == "stopping"

    stopped = work.stop(claimed.id, environment_id=hosted.id, force=True)
    assert (stopped.state, stopped.stop_requested_at) == ("stopped", stopping.stop_requested_at)
    assert stopped.stopped_at is not None
    assert work.heartbeat(claimed.id, environment_id=hosted.id).state == "stopped"
    for force in (False, True):
        with refused(ConflictError):
            work.stop(claimed.id, environment_id=hosted.id, force=force)
    with refused(ConflictError):
        work.ack(claimed.id, environment_id=hosted.id)
    assert client.beta.environments.work.retrieve(claimed.id, environment_id=hosted.id) == stopped


def test_an_api_key_may_stop_an_item_that_nobody_has_claimed(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    item = strict_emulator.enqueue(hosted.id)
    assert client.beta.environments.work.stop(item["id"], environment_id=hosted.id, force=True).state == "stopped"
    assert work.poll(hosted.id) is None


def test_the_statistics_follow_the_queue(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    def stats() -> tuple[int, int, str | None, int | None]:
        counted = client.beta.environments.work.stats(hosted.id)
        assert work.stats(hosted.id) == counted
        assert counted.type == "work_queue_stats"
        return counted.depth, counted.pending, counted.oldest_queued_at, counted.workers_polling

    assert stats() == (0, 0, None, 0)
    items = strict_emulator.enqueue(hosted.id, count=3)["data"]
    assert stats() == (3, 0, items[0]["created_at"], 0)
    first = claim(work, hosted.id, anthropic_worker_id="one")
    assert first.id == items[0]["id"]
    assert stats() == (2, 1, items[0]["created_at"], 1)
    work.ack(first.id, environment_id=hosted.id)
    claim(work, hosted.id, anthropic_worker_id="two")
    assert stats() == (1, 1, items[1]["created_at"], 2)
    strict_emulator.control("POST", "/_emulator/clock", {"advance_ms": 31_000})
    assert stats() == (1, 1, items[1]["created_at"], 0)


def test_each_heartbeat_must_echo_the_one_before(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id)
    item = start(work, hosted.id)
    first = work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=NO_HEARTBEAT)
    second = work.heartbeat(
        item.id, environment_id=hosted.id, expected_last_heartbeat=first.last_heartbeat, desired_ttl_seconds=60
    )
    assert (second.lease_extended, second.ttl_seconds) == (True, 60)
    assert second.last_heartbeat > first.last_heartbeat

    for outdated in (NO_HEARTBEAT, first.last_heartbeat):
        with refused(BetaHeartbeatPreconditionFailedError) as caught:
            work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=outdated)
        held = caught.value.details.current_state
        assert (held.state, held.last_heartbeat, held.ttl_seconds) == ("active", second.last_heartbeat, 60)
        assert held.lease_extended is False

    unconditional = work.heartbeat(item.id, environment_id=hosted.id)
    assert unconditional.lease_extended


def test_an_item_whose_lease_ran_out_is_handed_out_again(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id)
    item = start(work, hosted.id)
    beat = work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=NO_HEARTBEAT)
    strict_emulator.control("POST", "/_emulator/clock", {"advance_ms": 1000 * beat.ttl_seconds + 1000})
    with refused(BetaHeartbeatPreconditionFailedError) as caught:
        work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=beat.last_heartbeat)
    held = caught.value.details.current_state
    assert (held.state, held.last_heartbeat) == ("queued", None)
    assert start(work, hosted.id).id == item.id
    assert work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=NO_HEARTBEAT).state == "active"


def test_an_item_that_was_not_acknowledged_in_time_is_handed_out_again(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id)
    first = claim(work, hosted.id)
    strict_emulator.control("POST", "/_emulator/clock", {"advance_ms": 4000})
    assert work.poll(hosted.id) is None
    second = claim(work, hosted.id, reclaim_older_than_ms=3000)
    assert second.id == first.id
    strict_emulator.control("POST", "/_emulator/clock", {"advance_ms": 6000})
    assert claim(work, hosted.id).id == first.id


def test_a_poll_that_waits_gets_the_item_that_arrives(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    with ThreadPoolExecutor(1) as pool:
        poll = pool.submit(claim, work, hosted.id, block_ms=999)
        while not strict_emulator.control("GET", "/_emulator/connections")["polls_waiting"] and not poll.done():
            pass
        item = strict_emulator.enqueue(hosted.id)
        assert poll.result().id == item["id"]


def test_listing_work_pages_through_everything_newest_first(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    items = strict_emulator.enqueue(hosted.id, count=5)["data"]
    listed = list(work.list(hosted.id, limit=2))
    assert [item.id for item in listed] == [item["id"] for item in items[::-1]]
    assert [item.secret for item in listed] == [None] * 5
    assert listed[0] == client.beta.environments.work.retrieve(listed[0].id, environment_id=hosted.id)
    assert work.list(hosted.id, limit=5).has_next_page() is False


def test_the_metadata_of_an_item_is_merged(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment
) -> None:
    item = strict_emulator.enqueue(hosted.id, metadata={"kept": "1", "changed": "1", "nulled": "1"})
    operations = client.beta.environments.work
    updated = operations.update(
        item["id"], environment_id=hosted.id, metadata={"changed": "2", "added": "✓", "nulled": None}
    )
    assert updated.metadata == {"kept": "1", "changed": "2", "added": "✓"}
    assert operations.retrieve(item["id"], environment_id=hosted.id) == updated
    with refused(BetaInvalidMetadataError):
        operations.update(item["id"], environment_id=hosted.id, metadata={f"key {n}": "x" for n in range(17)})
    assert operations.retrieve(item["id"], environment_id=hosted.id) == updated


def test_an_unknown_item_is_not_found(client: Anthropic, hosted: BetaEnvironment, work: Work) -> None:
    with refused(NotFoundError):
        client.beta.environments.work.retrieve("work_unknown", environment_id=hosted.id)
    for operation in (work.ack, work.heartbeat, work.stop):
        with refused(NotFoundError):
            operation("work_unknown", environment_id=hosted.id)


def test_an_acknowledgement_whose_reply_was_lost_is_simply_repeated(
    strict_emulator: Emulator, hosted: BetaEnvironment, work: Work
) -> None:
    strict_emulator.enqueue(hosted.id)
    item = claim(work, hosted.id)
    strict_emulator.take_requests()
    strict_emulator.faults({"operation": "work.ack", "when": "after", "drop": True})
    with Anthropic(auth_token=sessions_token(item), **settings(strict_emulator) | {"max_retries": 1}) as holder:
        acknowledged = holder.beta.environments.work.ack(item.id, environment_id=hosted.id)
    assert acknowledged.state == "starting"
    retries = [request["headers"]["x-stainless-retry-count"] for request in strict_emulator.take_requests()]
    assert retries == ["0", "1"]


# The asynchronous client, and the poller and the worker that come with it


def test_the_asynchronous_client_does_all_fourteen_operations(strict_emulator: Emulator) -> None:
    async def lifecycle() -> None:
        async with AsyncAnthropic(api_key=API_KEY, **settings(strict_emulator)) as client:
            environments = client.beta.environments
            created = await environments.create(name="asynchronous", config={"type": "self_hosted"})
            environment_id = created.id
            assert await environments.retrieve(environment_id) == created
            renamed = await environments.update(environment_id, name="renamed")
            second = await environments.create(name="second")
            assert [listed async for listed in environments.list(limit=1)] == [second, renamed]
            await client.beta.sessions.create(agent="agent_interop", environment_id=environment_id)

            key = strict_emulator.environment_key(environment_id)
            async with AsyncAnthropic(auth_token=key, **settings(strict_emulator)) as worker:
                work = worker.beta.environments.work
                assert (await work.stats(environment_id)).depth == 1
                item: BetaSelfHostedWork | None = await work.poll(environment_id, block_ms=999)
                assert item is not None
                await work.ack(item.id, environment_id=environment_id)
                beat = await work.heartbeat(
                    item.id, environment_id=environment_id, expected_last_heartbeat=NO_HEARTBEAT
                )
                with refused(BetaHeartbeatPreconditionFailedError):
                    await work.heartbeat(item.id, environment_id=environment_id, expected_last_heartbeat=NO_HEARTBEAT)
                await work.heartbeat(
                    item.id, environment_id=environment_id, expected_last_heartbeat=beat.last_heartbeat
                )
                assert (await work.stop(item.id, environment_id=environment_id, force=True)).state == "stopped"
                with refused(ConflictError):
                    await work.stop(item.id, environment_id=environment_id)
                updated = await environments.work.update(
                    item.id, environment_id=environment_id, metadata={"result": "done"}
                )
                assert [listed async for listed in work.list(environment_id)] == [updated]
                assert await environments.work.retrieve(item.id, environment_id=environment_id) == updated

            await environments.archive(environment_id)
            with refused(BetaEnvironmentArchivedError):
                await environments.update(environment_id, name="too late")
            await environments.delete(environment_id)
            with refused(BetaEnvironmentNotFoundError):
                await environments.retrieve(environment_id)

    asyncio.run(lifecycle())
    recorded = set(operations(strict_emulator.take_requests()))
    assert len(recorded - {"sessions.create"}) == 14


def run_with(emulator: Emulator, body: Callable[[AsyncAnthropic], Awaitable[None]], *, strict: bool = True) -> None:
    """Runs the body with an asynchronous client that has an API key."""

    async def run() -> None:
        async with AsyncAnthropic(api_key=API_KEY, **settings(emulator, strict=strict)) as client:
            await asyncio.wait_for(body(client), 30)

    asyncio.run(run())


def test_the_official_poller_claims_acknowledges_and_stops_each_item(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work
) -> None:
    items = [item["id"] for item in strict_emulator.enqueue(hosted.id, count=2)["data"]]
    key = strict_emulator.environment_key(hosted.id)
    strict_emulator.take_requests()
    seen: list[str] = []

    async def poll(client: AsyncAnthropic) -> None:
        poller = client.beta.environments.work.poller(
            environment_id=hosted.id, environment_key=key, worker_id="interop", drain=True
        )
        async for item in poller:
            seen.append(item.id)
            if item.id == items[1]:
                # Whoever works on the item may stop it itself; the poller puts up with that.
                await asyncio.to_thread(work.stop, item.id, environment_id=hosted.id, force=True)

    run_with(strict_emulator, poll)
    assert seen == items
    own = [request for request in strict_emulator.take_requests() if "x-stainless-helper" in request["headers"]]
    cycle = ["work.poll", "work.ack", "work.stop"]
    assert operations(own) == [*cycle, *cycle, "work.poll"]
    assert [request["status"] for request in own] == [200, 200, 200, 200, 200, 409, 200]
    assert {bearer(request) for request in own} == {key}
    states = [client.beta.environments.work.retrieve(item, environment_id=hosted.id).state for item in items]
    assert states == ["stopping", "stopped"]


def test_the_official_poller_can_leave_the_stopping_to_others(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment
) -> None:
    item = strict_emulator.enqueue(hosted.id)

    async def poll(client: AsyncAnthropic) -> None:
        poller = client.beta.environments.work.poller(
            environment_id=hosted.id,
            environment_key=strict_emulator.environment_key(hosted.id),
            block_ms=None,
            drain=True,
            auto_stop=False,
        )
        assert [item.id async for item in poller] == [item["id"]]

    run_with(strict_emulator, poll)
    assert client.beta.environments.work.retrieve(item["id"], environment_id=hosted.id).state == "starting"


def test_the_official_poller_ends_when_its_environment_is_deleted(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment
) -> None:
    key = strict_emulator.environment_key(hosted.id)
    client.beta.environments.delete(hosted.id)

    async def poll(client: AsyncAnthropic) -> None:
        with refused(BetaEnvironmentNotFoundError):
            async for _ in client.beta.environments.work.poller(environment_id=hosted.id, environment_key=key):
                pass

    run_with(strict_emulator, poll)


def test_the_official_worker_stops_a_health_check_at_once(strict_emulator: Emulator, hosted: BetaEnvironment) -> None:
    item = strict_emulator.enqueue(hosted.id, data={"type": "healthcheck", "id": "healthcheck_1"})
    key = strict_emulator.environment_key(hosted.id)
    strict_emulator.take_requests()

    async def serve(client: AsyncAnthropic) -> None:
        worker = client.beta.environments.work.worker(environment_id=hosted.id, environment_key=key)
        running = asyncio.create_task(worker.run())
        await until(client, hosted.id, item["id"], "stopped")
        running.cancel()

    # The client's own types do not know such items, though its worker does.
    run_with(strict_emulator, serve, strict=False)
    own = helper_requests(strict_emulator)
    assert operations(own)[:3] == ["work.poll", "work.ack", "work.stop"]
    assert own[2]["body"] == {"force": True}
    assert bearer(own[0]) == bearer(own[1]) == key
    assert bearer(own[2]).startswith("sk-ant-req-")


def test_the_official_worker_takes_a_session_and_stops_its_item(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work, tmp_path: Path
) -> None:
    client.beta.sessions.create(agent="agent_interop", environment_id=hosted.id)
    item = start(work, hosted.id)
    strict_emulator.take_requests()

    async def serve(client: AsyncAnthropic) -> None:
        await client.beta.environments.work.worker(workdir=tmp_path).handle_item(
            work_id=item.id, environment_id=hosted.id, session_id=item.data.id, work_secret=item.secret
        )

    run_with(strict_emulator, serve)
    own = helper_requests(strict_emulator)
    fetched = next(request for request in own if request["operation"] == "sessions.retrieve")
    assert (fetched["status"], bearer(fetched)) == (200, sessions_token(item))
    # The emulator has no session events: the worker asks for them, meets a 404 and gives the item up in good order.
    assert any(request["path"].endswith("/events/stream") for request in own)
    assert (own[-1]["operation"], own[-1]["status"]) == ("work.stop", 200)
    assert client.beta.environments.work.retrieve(item.id, environment_id=hosted.id).state == "stopped"


def test_the_official_worker_keeps_its_lease_until_it_is_told_to_stop(tmp_path: Path) -> None:
    with Emulator("--lease-ttl", "2") as emulator, Anthropic(api_key=API_KEY, **settings(emulator)) as operator:
        hosted = operator.beta.environments.create(name="short lease", config={"type": "self_hosted"})
        item = emulator.enqueue(hosted.id)
        # As long as its session does not come, the worker has nothing to do but to keep the lease.
        emulator.faults({"operation": "sessions.retrieve", "latency_ms": 60_000})

        async def serve(client: AsyncAnthropic) -> None:
            worker = client.beta.environments.work.worker(
                environment_id=hosted.id, environment_key=emulator.environment_key(hosted.id), workdir=tmp_path
            )
            running = asyncio.create_task(worker.run())
            await heartbeats(emulator, 1)
            # From here on the lease cannot run out, however slow this machine is.
            emulator.control("POST", "/_emulator/clock", {"advance_ms": -3_600_000})
            await heartbeats(emulator, 2)
            stopping = await client.beta.environments.work.stop(item["id"], environment_id=hosted.id)
            assert stopping.state == "stopping"
            await until(client, hosted.id, item["id"], "stopped")
            running.cancel()

        run_with(emulator, serve)
        own = helper_requests(emulator)
        assert operations(own)[:2] == ["work.poll", "work.ack"]
        beats = [request for request in own if request["operation"] == "work.heartbeat"]
        assert [request["status"] for request in beats] == [200] * len(beats)
        expected = [dict(request["query"])["expected_last_heartbeat"] for request in beats]
        assert expected[0] == NO_HEARTBEAT
        assert expected[1:] == sorted(set(expected[1:])) and len(expected) >= 3
        stop = next(request for request in own if request["operation"] == "work.stop")
        assert (stop["body"], stop["status"]) == ({"force": True}, 200)


def test_the_official_worker_leaves_an_item_alone_that_somebody_else_has(
    strict_emulator: Emulator, client: Anthropic, hosted: BetaEnvironment, work: Work, tmp_path: Path
) -> None:
    strict_emulator.enqueue(hosted.id)
    item = start(work, hosted.id)
    beat = work.heartbeat(item.id, environment_id=hosted.id, expected_last_heartbeat=NO_HEARTBEAT)
    strict_emulator.take_requests()
    strict_emulator.faults({"operation": "sessions.retrieve", "latency_ms": 60_000})

    async def serve(client: AsyncAnthropic) -> None:
        await client.beta.environments.work.worker(workdir=tmp_path).handle_item(
            work_id=item.id, environment_id=hosted.id, session_id=item.data.id, work_secret=item.secret
        )

    run_with(strict_emulator, serve)
    own = helper_requests(strict_emulator)
    assert [request["status"] for request in own if request["operation"] == "work.heartbeat"] == [412]
    assert "work.stop" not in operations(own)
    left = client.beta.environments.work.retrieve(item.id, environment_id=hosted.id)
    assert (left.state, left.latest_heartbeat_at) == ("active", beat.last_heartbeat)


def helper_requests(emulator: Emulator) -> list[dict[str, Any]]:
    """What a poller or a worker has sent, in order."""
    return [request for request in emulator.take_requests() if "x-stainless-helper" in request["headers"]]


async def until(client: AsyncAnthropic, environment_id: str, work_id: str, state: str) -> None:
    """Returns as soon as the item is in this state; the caller bounds the time."""
    while (await client.beta.environments.work.retrieve(work_id, environment_id=environment_id)).state != state:
        await asyncio.sleep(0.02)


async def heartbeats(emulator: Emulator, count: int) -> None:
    """Returns as soon as so many heartbeats have succeeded; the caller bounds the time."""
    succeeded = 0
    while succeeded < count:
        await asyncio.sleep(0.02)
        beats = emulator.control("GET", "/_emulator/requests?operation=work.heartbeat")["data"]
        succeeded = sum(beat["status"] == 200 for beat in beats)
