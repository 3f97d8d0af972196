"""What a test of the official Python client may ask for."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from anthropic import Anthropic
from anthropic.resources.beta.environments import Work
from anthropic.types.beta import BetaEnvironment

from support.emulator import Emulator

pytest.register_assert_rewrite("interop.python_sdk")
from interop.python_sdk import API_KEY, settings  # noqa: E402


@pytest.fixture
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
