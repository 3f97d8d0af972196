"""The operation table as `src/api/operations.rs` has it, and what the bindings call its rows."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

#: Resources by the part of an operation's name before the last dot: where the resource is found from the client, the
#: class that has its methods, and what the parameters of one operation are named after. A new resource is a line here
#: and one in SUBJECTS.
RESOURCES = {
    "environments": ("environments", "Environments", "Environment"),
    "work": ("environments.work", "WorkQueue", "Work"),
    "sessions": ("sessions", "Sessions", "Session"),
    "sessions.events": ("sessions.events", "SessionEvents", "SessionEvent"),
    "skills": ("skills", "Skills", "Skill"),
    "skills.versions": ("skills.versions", "SkillVersions", "SkillVersion"),
    "memory_stores": ("memory_stores", "MemoryStores", "MemoryStore"),
    "memory_stores.memories": ("memory_stores.memories", "Memories", "Memory"),
}
#: What a resource's operations are on.
SUBJECTS = {
    "environments": "environments",
    "environments.work": "the work queue of a self-hosted environment",
    "sessions": "sessions",
    "sessions.events": "the events of a session",
    "skills": "skills",
    "skills.versions": "the versions of a skill",
    "memory_stores": "memory stores",
    "memory_stores.memories": "the memories of a memory store",
}
CREDENTIALS = {"ApiKey": "an API key", "EnvironmentKey": "the environment's key", "Both": "either"}


@dataclass(frozen=True)
class Parameter:
    """A parameter of an operation."""

    name: str
    location: str
    type: str
    required: bool
    doc: str


@dataclass(frozen=True)
class Operation:
    """A row of the table."""

    name: str
    title: str
    doc: str
    result: str
    method: str
    path: str
    credential: str
    response: str
    paged: bool
    nullable: bool
    parameters: tuple[Parameter, ...]

    @property
    def resource(self) -> str:
        """Its name without the method."""
        return self.name.rpartition(".")[0]

    @property
    def call(self) -> str:
        """The name of the method that makes the call."""
        return self.name.rpartition(".")[2]

    @property
    def ids(self) -> tuple[str, ...]:
        """The parameters in its path, in the order of the path."""
        return tuple(re.findall(r"{(\w+)}", self.path))

    @property
    def own(self) -> tuple[Parameter, ...]:
        """Its parameters outside the path, those first that are required."""
        rest = [one for one in self.parameters if one.location != "Path"]
        return tuple(sorted(rest, key=lambda one: not one.required))

    @property
    def params_type(self) -> str:
        """The name of the type that holds its parameters; empty when it has none."""
        return f"{RESOURCES[self.resource][2]}{self.call.capitalize()}Params" if self.own else ""

    def sentence(self, insertion: str) -> str:
        """Returns what it does, with an insertion before the end of the first clause."""
        return re.sub(r"(?=[.;,])", f" ({insertion})", self.doc, count=1)


@dataclass(frozen=True)
class Resource:
    """A class of operations."""

    name: str
    path: str
    type: str
    operations: tuple[Operation, ...]

    @property
    def parent(self) -> str:
        """The path of the resource that has this one; empty when the client has it."""
        return self.path.rpartition(".")[0]

    @property
    def attribute(self) -> str:
        """What its parent calls it."""
        return self.path.rpartition(".")[2]

    @property
    def subject(self) -> str:
        """What its operations are on."""
        return SUBJECTS[self.path]

    def credentials(self, spell: Any = lambda name: f"`{name}`") -> str:
        """Returns a sentence that says which operations need which credential."""
        groups: dict[str, list[str]] = {}
        for one in self.operations:
            groups.setdefault(CREDENTIALS[one.credential], []).append(spell(one.call))
        if len(groups) == 1:
            return f"They need {next(iter(groups))}."
        parts = [f"{listed(names)} need{'s' * (len(names) == 1)} {key}" for key, names in groups.items()]
        return f"{'; '.join(parts)}."


def listed(words: list[str]) -> str:
    """Returns words as a sentence lists them."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


@dataclass(frozen=True)
class Table:
    """All operations, and the parameters that each of them takes."""

    operations: tuple[Operation, ...]
    common: tuple[Parameter, ...]

    @classmethod
    def of(cls, fields: dict[str, Any]) -> Table:
        """Returns the table that the `operations` program printed."""
        operations = tuple(
            Operation(**row | {"parameters": tuple(Parameter(**one) for one in row["parameters"])})
            for row in fields["operations"]
        )
        return cls(operations, tuple(Parameter(**one) for one in fields["common"]))

    @property
    def resources(self) -> list[Resource]:
        """The resources that have operations or such resources, a parent before its children."""
        names = {one.resource for one in self.operations}
        paths = {RESOURCES[name][0] for name in names}
        return [
            Resource(name, path, kind, tuple(one for one in self.operations if one.resource == name))
            for name, (path, kind, _) in RESOURCES.items()
            if any(f"{used}.".startswith(f"{path}.") for used in paths)
        ]

    def children(self, path: str) -> list[Resource]:
        """Returns the resources that a resource has; of the client, for an empty path."""
        return [one for one in self.resources if one.parent == path]
