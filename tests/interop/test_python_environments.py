"""The official Python client, unchanged, on environments.
Where it and the emulator disagree, the emulator is wrong."""

from __future__ import annotations

from typing import Any

import pytest
from anthropic import Anthropic, BadRequestError
from anthropic.types.beta import (
    BetaCloudConfigParams,
    BetaEnvironment,
    BetaEnvironmentArchivedError,
    BetaEnvironmentNotFoundError,
    BetaInvalidConfigTypeChangeError,
)

from interop.python_sdk import refused
from support.emulator import Emulator

pytestmark = [pytest.mark.usefixtures("clean_environment"), pytest.mark.transports, pytest.mark.deep]


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
