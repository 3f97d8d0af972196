"""What the tests of the hostile network share."""

from __future__ import annotations

import os
import resource
from pathlib import Path

import pytest

from support.certificates import Authority
from support.http2 import Way
from support.resolver import Resolver


@pytest.fixture(scope="session", autouse=True)
def many_descriptors() -> None:
    """Lets the servers here hold some thousands of connections."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(most, 16384), most))


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of this machine's own network settings reaches a test."""
    for name in list(os.environ):
        if "proxy" in name.lower() or name.startswith("SSL_CERT_"):
            monkeypatch.delenv(name)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """A certificate authority that no client trusts yet."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(params=["plain", "tls"])
def way(request: pytest.FixtureRequest, authority: Authority) -> Way:
    """With prior knowledge, and as it is in production: over TLS, by ALPN."""
    if request.param == "plain":
        return Way(None, {"http2": "always"})
    return Way(authority.issue("http2").context(), {"ca_file": str(authority.root)})


@pytest.fixture
def resolver(tmp_path: Path) -> Resolver:
    """Decides how names resolve in a driver that is started with its `variables`."""
    folder = tmp_path / "resolver"
    folder.mkdir()
    return Resolver(folder)
