"""The types of sessions, skills and memories: results as classes, what they hold in lists as TypedDicts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypedDict, Union

from ._models import Model, one_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import NotRequired


class SkillReference(TypedDict):
    """A skill of an agent."""

    type: Literal["anthropic", "custom"]
    skill_id: str
    #: A version's identifier, or "latest".
    version: str


class CustomToolParams(TypedDict):
    """A tool of a program, for the `tools` of an agent: `antenv.tools.definition()` makes it."""

    type: Literal["custom"]
    name: str
    #: What the agent is told about it.
    description: str
    #: JSON schema of the input, of an object.
    input_schema: dict[str, Any]


class SessionAgent(Model):
    """The agent of a session, as it was when the session was created."""

    type: Literal["agent"]
    #: Identifier (`agent_...`).
    id: str
    #: Human-readable name.
    name: str
    #: The version of the agent.
    version: int
    #: The skills to give it.
    skills: list[SkillReference]
    #: Its tools: toolsets, MCP servers' toolsets and custom tools, each with a `type`.
    tools: list[dict[str, Any]]


class MemoryStoreResource(TypedDict):
    """A memory store that is attached to a session."""

    type: Literal["memory_store"]
    memory_store_id: str
    access: NotRequired[Literal["read_write", "read_only"] | None]
    #: Where the agent finds it.
    mount_path: NotRequired[str | None]
    name: NotRequired[str | None]
    description: NotRequired[str | None]
    instructions: NotRequired[str | None]


class FileResource(TypedDict):
    """A file that is attached to a session."""

    type: Literal["file"]
    id: str
    file_id: str
    mount_path: str


class GitHubRepositoryResource(TypedDict):
    """A repository that is attached to a session."""

    type: Literal["github_repository"]
    id: str
    url: str
    mount_path: str
    checkout: NotRequired[dict[str, Any] | None]


#: What is attached to a session; `type` says what it is.
SessionResource = Union[MemoryStoreResource, FileResource, GitHubRepositoryResource]


class MemoryStoreResourceParams(TypedDict):
    """A memory store to attach to a session."""

    type: Literal["memory_store"]
    memory_store_id: str
    #: Without it: "read_write".
    access: NotRequired[Literal["read_write", "read_only"] | None]
    #: What the agent is to use it for.
    instructions: NotRequired[str | None]


class FileResourceParams(TypedDict):
    """A file to attach to a session."""

    type: Literal["file"]
    file_id: str
    mount_path: NotRequired[str | None]


class GitHubRepositoryResourceParams(TypedDict):
    """A repository to attach to a session."""

    type: Literal["github_repository"]
    url: str
    mount_path: NotRequired[str | None]
    checkout: NotRequired[Mapping[str, Any] | None]
    authorization_token: NotRequired[str | None]


#: What may be attached to a session.
SessionResourceParams = Union[MemoryStoreResourceParams, FileResourceParams, GitHubRepositoryResourceParams]


class Session(Model):
    """A session: an agent at work in an environment."""

    _nested: ClassVar = {"agent": SessionAgent._of}

    type: Literal["session"]
    #: Identifier (`sesn_...`).
    id: str
    #: The environment it runs in.
    environment_id: str
    #: What it does. It begins idle.
    status: Literal["rescheduling", "running", "idle", "terminated"]
    #: Its agent.
    agent: SessionAgent
    #: What is attached to it.
    resources: list[SessionResource]
    #: Human-readable title.
    title: str | None = None
    #: The user's key-value pairs.
    metadata: dict[str, str]
    #: What it has used so far.
    usage: dict[str, Any] | None = None
    #: The limit on what it may cost.
    budget: dict[str, Any] | None = None
    #: When it was created.
    created_at: str
    #: When it was last updated.
    updated_at: str
    #: When it was archived; None when it is not.
    archived_at: str | None = None


class SkillVersion(Model):
    """A version of a skill."""

    type: Literal["skill_version"]
    #: Identifier of the version.
    id: str
    #: The skill it belongs to.
    skill_id: str
    #: The skill's name.
    name: str
    #: What the skill is for.
    description: str
    #: When it was created.
    created_at: str


class Download(Model):
    """A file that was downloaded."""

    #: Where it is.
    path: str
    #: Its size.
    bytes: int
    #: The content type that the server sent; None when it sent none.
    content_type: str | None


class Memory(Model):
    """A memory: a text at a path of a memory store."""

    type: Literal["memory"]
    #: Identifier (`mem_...`).
    id: str
    #: The store that holds it.
    memory_store_id: str
    #: Its version, a new one after each change.
    memory_version_id: str
    #: Its path, such as `/notes/todo.md`.
    path: str
    #: Its text; None in the basic view.
    content: str | None = None
    #: SHA-256 of the text's UTF-8, in lowercase hexadecimal.
    content_sha256: str
    #: How many bytes the text's UTF-8 has.
    content_size_bytes: int
    #: When it was created.
    created_at: str
    #: When it was last updated.
    updated_at: str


class MemoryPrefix(Model):
    """A folder in a list of memories that ends at its `depth`."""

    type: Literal["memory_prefix"]
    #: Its path, which ends with `/`.
    path: str


#: What a list of memories has; `type` says what it is.
ListedMemory = Union[Memory, MemoryPrefix]


class MemoryDeleted(Model):
    """The result of deleting a memory."""

    type: Literal["memory_deleted"]
    #: The memory's identifier.
    id: str


_listed_memory = one_of({"memory": Memory, "memory_prefix": MemoryPrefix})


def listed_memory_of(fields: Any) -> ListedMemory:
    """Returns what a list of memories has, made of decoded JSON."""
    return _listed_memory(fields) if isinstance(fields, dict) else fields  # type: ignore[return-value]
