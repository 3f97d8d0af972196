"""The types of environments and of the items in their work queues: results as classes, parameters as TypedDicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal, TypedDict, Union

from ._models import Model, one_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from typing_extensions import Required

#: Who sees an environment: all accounts of the organization, or the owner's alone.
Scope = Literal["organization", "account"]
#: The state of a work item.
State = Literal["queued", "starting", "active", "stopping", "stopped"]


class UnrestrictedNetwork(Model):
    """A network policy: everything may be reached."""

    type: Literal["unrestricted"]


class LimitedNetwork(Model):
    """A network policy: only what is named here may be reached."""

    type: Literal["limited"]
    #: Whether the MCP servers configured on the agent may be reached beyond `allowed_hosts`.
    allow_mcp_servers: bool
    #: Whether public package registries may be reached beyond `allowed_hosts`.
    allow_package_managers: bool
    #: Domains that may be reached.
    allowed_hosts: list[str]


Networking = Union[UnrestrictedNetwork, LimitedNetwork]


class Packages(Model):
    """What package managers install in an environment; versions in the manager's spelling, as in `pandas==2.2.0`."""

    type: Literal["packages"] | None = None
    #: Debian and Ubuntu packages.
    apt: list[str]
    #: Rust packages.
    cargo: list[str]
    #: Ruby packages.
    gem: list[str]
    #: Go packages.
    go: list[str]
    #: Node.js packages.
    npm: list[str]
    #: Python packages.
    pip: list[str]


class CloudConfig(Model):
    """The configuration of an environment in the cloud."""

    _nested: ClassVar = {
        "networking": one_of({"unrestricted": UnrestrictedNetwork, "limited": LimitedNetwork}),
        "packages": Packages._of,
    }

    type: Literal["cloud"]
    #: The network policy.
    networking: Networking
    #: What is installed.
    packages: Packages


class SelfHostedConfig(Model):
    """The configuration of an environment on hosts of one's own."""

    type: Literal["self_hosted"]


Config = Union[CloudConfig, SelfHostedConfig]


class Environment(Model):
    """An environment (Environment)."""

    _nested: ClassVar = {"config": one_of({"cloud": CloudConfig, "self_hosted": SelfHostedConfig})}

    type: Literal["environment"]
    #: Identifier (`env_...`).
    id: str
    #: Human-readable name.
    name: str
    #: In the cloud, or self-hosted: see `config.type`.
    config: Config
    #: The user's description.
    description: str | None = None
    #: The user's key-value pairs.
    metadata: dict[str, str]
    #: Who sees it.
    scope: Scope | None = None
    #: When it was created.
    created_at: str
    #: When it was last updated.
    updated_at: str
    #: When it was archived; None when it is not.
    archived_at: str | None = None


class EnvironmentDeleted(Model):
    """The result of deleting an environment (Environment Delete Response)."""

    type: Literal["environment_deleted"]
    #: The environment's identifier.
    id: str


class SessionWorkData(Model):
    """The work to do: a session."""

    type: Literal["session"]
    #: The session's identifier.
    id: str


class Work(Model):
    """A work item of a self-hosted environment (Self Hosted Work)."""

    _nested: ClassVar = {"data": one_of({"session": SessionWorkData})}
    _secret: ClassVar = ("secret",)

    type: Literal["work"]
    #: Identifier (`work_...`).
    id: str
    #: The environment it belongs to.
    environment_id: str
    #: The work to do.
    data: SessionWorkData
    #: Its state.
    state: State
    #: The user's key-value pairs.
    metadata: dict[str, str]
    #: The credential for carrying it out: only `poll` hands it out, and not always. Hidden in `repr()`.
    secret: str | None = None
    #: When it was queued.
    created_at: str
    #: When it was acknowledged.
    acknowledged_at: str | None = None
    #: When work on it began.
    started_at: str | None = None
    #: When its last heartbeat was recorded.
    latest_heartbeat_at: str | None = None
    #: When it was asked to stop.
    stop_requested_at: str | None = None
    #: When it stopped.
    stopped_at: str | None = None


class WorkHeartbeat(Model):
    """The result of a heartbeat (Self Hosted Work Heartbeat Response)."""

    type: Literal["work_heartbeat"]
    #: The heartbeat's time: the next one's `expected_last_heartbeat`, verbatim.
    last_heartbeat: str
    #: Whether the lease was extended.
    lease_extended: bool
    #: The item's state.
    state: State
    #: How many seconds the lease lasts from now on.
    ttl_seconds: int


class WorkQueueStats(Model):
    """The statistics of an environment's work queue (Self Hosted Work Queue Stats)."""

    type: Literal["work_queue_stats"]
    #: How many items wait to be picked up.
    depth: int
    #: How many were polled and not acknowledged yet.
    pending: int
    #: Since when the oldest item has been there; None when there is none.
    oldest_queued_at: str | None = None
    #: How many workers polled in the last 30 seconds; counted by `anthropic_worker_id`.
    workers_polling: int | None = None


class UnrestrictedNetworkParams(TypedDict):
    """Everything may be reached."""

    type: Literal["unrestricted"]


class LimitedNetworkParams(TypedDict, total=False):
    """Only what is named here may be reached."""

    type: Required[Literal["limited"]]
    #: Whether the MCP servers configured on the agent may be reached beyond `allowed_hosts`. Without it: no.
    allow_mcp_servers: bool | None
    #: Whether public package registries may be reached beyond `allowed_hosts`. Without it: no.
    allow_package_managers: bool | None
    #: Domains that may be reached.
    allowed_hosts: Sequence[str] | None


NetworkingParams = Union[UnrestrictedNetworkParams, LimitedNetworkParams]


class PackagesParams(TypedDict, total=False):
    """What package managers install; versions in the manager's spelling, as in `pandas==2.2.0`, or the latest ones."""

    type: Literal["packages"]
    #: Debian and Ubuntu packages.
    apt: Sequence[str] | None
    #: Rust packages.
    cargo: Sequence[str] | None
    #: Ruby packages.
    gem: Sequence[str] | None
    #: Go packages.
    go: Sequence[str] | None
    #: Node.js packages.
    npm: Sequence[str] | None
    #: Python packages.
    pip: Sequence[str] | None


class CloudConfigParams(TypedDict, total=False):
    """An environment in the cloud. On update, what is left out stays as it is."""

    type: Required[Literal["cloud"]]
    #: The network policy.
    networking: NetworkingParams | None
    #: What is installed.
    packages: PackagesParams | None


class SelfHostedConfigParams(TypedDict):
    """An environment on hosts of one's own."""

    type: Literal["self_hosted"]


ConfigParams = Union[CloudConfigParams, SelfHostedConfigParams]
