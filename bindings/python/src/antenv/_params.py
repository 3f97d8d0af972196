"""Arguments of methods: those that were given, and those that were left out."""

from __future__ import annotations

from typing import Any

#: The parameters that are sent as `null` when they are None. For all others None is the same as leaving them out.
SENT_AS_NULL = frozenset(("body", "config", "description", "force", "metadata", "name", "scope"))


class Omit:
    """The type of `omit`, which stands for an argument that is left out."""

    def __bool__(self) -> bool:
        return False

    def __repr__(self) -> str:
        return "omit"


#: Stands for an argument that is left out, where None would be sent as `null`.
omit: Omit = Omit()


def given(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns the parameters among a method's `locals()` that were given."""
    return {
        name: value
        for name, value in arguments.items()
        if (value is not None or name in SENT_AS_NULL) and type(value) is not Omit and name != "self"
    }
