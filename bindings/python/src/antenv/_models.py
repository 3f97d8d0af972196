"""Results: the API's objects with their fields as attributes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable, ClassVar

if TYPE_CHECKING:
    from typing_extensions import Self


class Model:
    """An object that the API returned.

    Its fields are attributes. Fields that this version does not know are kept as attributes, too. Two objects are equal
    when they are of the same class and have the same fields. They may be copied and pickled; changing one changes
    nothing at the server.
    """

    #: The fields that hold objects themselves, and the functions that make those.
    _nested: ClassVar[dict[str, Callable[[Any], Any]]] = {}
    #: The fields that are not shown in `repr()`.
    _secret: ClassVar[tuple[str, ...]] = ()

    def __init__(self, **fields: Any) -> None:
        """Makes an object from its fields, for tests: `Environment(id="env_1", name="n")`."""
        self.__dict__.update(self._of(fields).__dict__)

    @classmethod
    def _of(cls, fields: Any) -> Self:
        """Returns an object made of decoded JSON, which it takes over; returns anything but a JSON object unchanged."""
        if not isinstance(fields, dict):
            return fields  # type: ignore[no-any-return]
        for name, make in cls._nested.items():
            value = fields.get(name)
            if isinstance(value, dict):
                fields[name] = make(value)
        model = cls.__new__(cls)
        model.__dict__ = fields
        return model

    def to_dict(self) -> dict[str, Any]:
        """Returns the object as the API sent it: a new dictionary, secrets included."""
        return {name: value.to_dict() if isinstance(value, Model) else value for name, value in self.__dict__.items()}

    def to_json(self, *, indent: int | None = None) -> str:
        """Returns the object as the API sent it, as JSON text, secrets included."""
        return json.dumps(self.to_dict(), indent=indent, ensure_ascii=False)

    def __eq__(self, other: object) -> bool:
        return self.__dict__ == other.__dict__ if type(other) is type(self) else NotImplemented

    __hash__: ClassVar[None]  # type: ignore[assignment]  # it can be changed

    def __repr__(self) -> str:
        shown = (
            f"{name}={'***' if name in self._secret and value is not None else repr(value)}"
            for name, value in self.__dict__.items()
        )
        return f"{type(self).__name__}({', '.join(shown)})"


def one_of(kinds: Mapping[str, type[Model]]) -> Callable[[dict[str, Any]], Model]:
    """Returns a function that makes the object that `type` names, or a plain `Model` when the type is unknown."""
    return lambda fields: kinds.get(fields.get("type", ""), Model)._of(fields)
