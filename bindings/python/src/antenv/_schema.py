"""JSON schemas of annotations, and the conversion of JSON values to what the annotations name. Pure."""

from __future__ import annotations

import collections.abc as abc
import dataclasses
import enum
import inspect
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Callable, Literal, NamedTuple, Union, get_args, get_origin

_UNIONS = (Union, getattr(types, "UnionType", Union))
#: What an annotation of an array becomes.
_ARRAYS: dict[Any, Callable[[list[Any]], Any]] = {
    list: list,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    abc.Sequence: list,
    abc.Collection: list,
    abc.Iterable: list,
}
_OBJECTS = (dict, abc.Mapping, abc.MutableMapping)
#: The longest part of a wrong value that a message shows.
_SHOWN = 60


class Mismatch(Exception):
    """A value that is not what its annotation says. Its text names the member and says what it must be."""


class Shape(NamedTuple):
    """What an annotation means in JSON."""

    #: The JSON schema.
    schema: dict[str, Any]
    #: What a value must be, in words: "an integer".
    words: str
    #: Converts a value; the text says where it stands, as in `points[2].x`. Raises Mismatch.
    convert: Callable[[Any, str], Any]


class Member(NamedTuple):
    """A member of an object."""

    shape: Shape
    is_required: bool


def shape_of(annotation: Any, within: tuple[Any, ...] = ()) -> Shape:
    """Returns the shape of an annotation, resolved. Raises TypeError when there is none.

    Args:
        annotation: The annotation.
        within: The classes whose members are being described: one must not contain itself.
    """
    if annotation in within:
        raise TypeError(f"{annotation.__name__} contains itself, which is not supported")
    if annotation in _PLAIN:
        return _PLAIN[annotation]
    origin, arguments = get_origin(annotation) or annotation, get_args(annotation)
    if hasattr(annotation, "__metadata__"):
        shape = shape_of(annotation.__origin__, within)
        text = description_in(annotation.__metadata__)
        return shape._replace(schema={**shape.schema, "description": text}) if text else shape
    if getattr(origin, "_name", None) in ("Required", "NotRequired", "ReadOnly"):
        return shape_of(arguments[0], within)
    if origin in _UNIONS:
        return _union([shape_of(one, within) for one in arguments])
    if origin is Literal:
        return _choice([(one.value if isinstance(one, enum.Enum) else one, one) for one in arguments])
    if origin in _ARRAYS:
        return _array(origin, arguments, within)
    if origin in _OBJECTS:
        return _dictionary(arguments, within)
    if isinstance(annotation, type):
        if issubclass(annotation, enum.Enum):
            return _choice([(member.value, member) for member in annotation])
        if dataclasses.is_dataclass(annotation):
            return _dataclass(annotation, (*within, annotation))
        if hasattr(annotation, "__required_keys__"):
            return _typed_dict(annotation, (*within, annotation))
    if hasattr(annotation, "__supertype__"):  # of typing.NewType
        return shape_of(annotation.__supertype__, within)
    raise TypeError(
        f"{getattr(annotation, '__qualname__', annotation)} is not supported: use str, int, float, bool, list, dict,"
        " Optional, Literal, an Enum, a TypedDict or a dataclass"
    )


def description_in(metadata: tuple[Any, ...]) -> str | None:
    """Returns the description in the metadata of `Annotated`: a text, or a `typing_extensions.Doc`."""
    texts = (one if isinstance(one, str) else getattr(one, "documentation", None) for one in metadata)
    return next((text for text in texts if isinstance(text, str)), None)


def object_of(members: Mapping[str, Member], make: Callable[..., Any], takes_more: bool = False) -> Shape:
    """Returns the shape of an object with these members.

    Args:
        members: The members by name.
        make: Called with the converted members as keyword arguments.
        takes_more: Whether other members are allowed; they are passed on as they are.
    """

    required = [name for name, member in members.items() if member.is_required]

    def convert(value: Any, where: str) -> Any:
        if type(value) is not dict:
            raise _mismatch(value, where, "an object")
        made: dict[str, Any] = {}
        wrong: list[str] = []
        for name, member in value.items():
            if name in members:
                try:
                    made[name] = members[name].shape.convert(member, _join(where, name))
                except Mismatch as mismatch:
                    wrong.append(str(mismatch))
            elif takes_more:
                made[name] = member
            else:
                wrong.append(f"{_join(where, name)} is unknown")
        for name in required:
            if name not in value:
                wrong.append(f"{_join(where, name)} is missing")
        if wrong:
            raise Mismatch("; ".join(wrong))
        return make(**made)

    schema: dict[str, Any] = {
        "type": "object",
        "properties": {name: member.shape.schema for name, member in members.items()},
        "required": list(required),  # the caller may change it
        "additionalProperties": takes_more,
    }
    return Shape(schema, "an object", convert)


def with_default(shape: Shape, default: Any) -> Shape:
    """Returns the shape of a member that has a default, which its schema names if JSON can hold it."""
    default = default.value if isinstance(default, enum.Enum) else default
    try:
        json.dumps(default, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return shape
    if default is None and shape.schema:  # the agent may say so, too: `text: str = None`
        shape = _union([shape, _PLAIN[None]]) if _PLAIN[None].schema not in shape.schema.get("anyOf", ()) else shape
    return shape._replace(schema={**shape.schema, "default": default})


def hints_of(thing: Any) -> dict[str, Any]:
    """Returns the annotations of a function or class, resolved. Raises TypeError for one that cannot be resolved."""
    try:
        return typing.get_type_hints(thing, include_extras=True)
    except NameError as error:
        raise TypeError(f"{error}: annotations must name what the module defines") from None


def _join(where: str, name: str) -> str:
    return f"{where}.{name}" if where else name


def _mismatch(value: Any, where: str, words: str) -> Mismatch:
    text = json.dumps(value, ensure_ascii=False)
    text = text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."
    return Mismatch(f"{where or 'the input'} must be {words}, not {text}")


def _plain(name: str, words: str, *kinds: type) -> Shape:
    """Returns the shape of a value that stays as it is."""

    def convert(value: Any, where: str) -> Any:
        if type(value) not in kinds:
            raise _mismatch(value, where, words)
        return value

    return Shape({"type": name}, words, convert)


def _integer(value: Any, where: str) -> int:
    if type(value) is float and value.is_integer():  # 3.0 is an integer in JSON Schema
        return int(value)
    if type(value) is not int:
        raise _mismatch(value, where, "an integer")
    return value


def _number(value: Any, where: str) -> float:
    if type(value) not in (int, float):
        raise _mismatch(value, where, "a number")
    try:
        return float(value)
    except OverflowError:
        raise _mismatch(value, where, "a number in the range of a double") from None


_ANYTHING = Shape({}, "anything", lambda value, _: value)
_PLAIN: dict[Any, Shape] = {
    Any: _ANYTHING,
    object: _ANYTHING,
    inspect.Parameter.empty: _ANYTHING,
    str: _plain("string", "a string", str),
    bool: _plain("boolean", "true or false", bool),
    int: Shape({"type": "integer"}, "an integer", _integer),
    float: Shape({"type": "number"}, "a number", _number),
    None: _plain("null", "null", type(None)),
    type(None): _plain("null", "null", type(None)),
}


def _union(options: list[Shape]) -> Shape:
    words = " or ".join(dict.fromkeys(option.words for option in options))
    others = [option for option in options if option.words != "null"]

    def convert(value: Any, where: str) -> Any:
        for option in options:
            try:
                return option.convert(value, where)
            except Mismatch:
                if len(others) == 1 and option is others[0] and type(value) in (dict, list):
                    raise  # it says more
        raise _mismatch(value, where, words)

    return Shape({"anyOf": [option.schema for option in options]}, words, convert)


def _choice(choices: list[tuple[Any, Any]]) -> Shape:
    """Returns the shape of one of several values, each given with what it becomes."""
    values = [value for value, _ in choices]
    wrong = [value for value in values if type(value) not in (str, int, float, bool, type(None))]
    if wrong:
        raise TypeError(f"{wrong[0]!r} is no value that JSON can hold")
    words = (
        f"{'one of ' if len(values) > 1 else ''}{', '.join(json.dumps(value, ensure_ascii=False) for value in values)}"
    )

    def convert(value: Any, where: str) -> Any:
        for choice, made in choices:
            if type(choice) is type(value) and choice == value:
                return made
        raise _mismatch(value, where, words)

    kind = {"type": "string"} if all(type(value) is str for value in values) else {}
    return Shape({**kind, "enum": values}, words, convert)


def _array(origin: Any, arguments: tuple[Any, ...], within: tuple[Any, ...]) -> Shape:
    make = _ARRAYS[origin]
    if origin is tuple and arguments and arguments[-1] is not Ellipsis:
        return _tuple([shape_of(one, within) for one in arguments])
    item = shape_of(arguments[0], within) if arguments else _ANYTHING

    def convert(value: Any, where: str) -> Any:
        if type(value) is not list:
            raise _mismatch(value, where, "a list")
        return make([item.convert(one, f"{where}[{at}]") for at, one in enumerate(value)])

    is_set = {"uniqueItems": True} if make in (set, frozenset) else {}
    return Shape({"type": "array", "items": item.schema, **is_set}, "a list", convert)


def _tuple(items: list[Shape]) -> Shape:
    words = f"a list of {len(items)}"

    def convert(value: Any, where: str) -> Any:
        if type(value) is not list or len(value) != len(items):
            raise _mismatch(value, where, words)
        return tuple(item.convert(one, f"{where}[{at}]") for at, (item, one) in enumerate(zip(items, value)))

    schema = {"type": "array", "prefixItems": [item.schema for item in items]}
    return Shape({**schema, "minItems": len(items), "maxItems": len(items)}, words, convert)


def _dictionary(arguments: tuple[Any, ...], within: tuple[Any, ...]) -> Shape:
    if arguments and arguments[0] not in (str, Any):
        raise TypeError("the keys of a dict must be str, as they are in JSON")
    item = shape_of(arguments[1], within) if arguments else _ANYTHING

    def convert(value: Any, where: str) -> Any:
        if type(value) is not dict:
            raise _mismatch(value, where, "an object")
        return {name: item.convert(one, _join(where, name)) for name, one in value.items()}

    return Shape({"type": "object", "additionalProperties": item.schema or True}, "an object", convert)


def _typed_dict(kind: Any, within: tuple[Any, ...]) -> Shape:
    def is_required(name: str, hint: Any) -> bool:
        # Where annotations are texts, `__required_keys__` does not know of those that say so.
        marks = {"Required": True, "NotRequired": False}
        mark: str = getattr(get_origin(hint), "_name", None) or ""
        return marks.get(mark, name in kind.__required_keys__)

    hints = hints_of(kind)
    members = {name: Member(shape_of(hint, within), is_required(name, hint)) for name, hint in hints.items()}
    return _described(kind, object_of(members, dict))


def _dataclass(kind: Any, within: tuple[Any, ...]) -> Shape:
    hints, members = hints_of(kind), {}
    for field in dataclasses.fields(kind):
        if field.init:
            shape, has_default = shape_of(hints[field.name], within), field.default is not dataclasses.MISSING
            shape = with_default(shape, field.default) if has_default else shape
            members[field.name] = Member(shape, not has_default and field.default_factory is dataclasses.MISSING)
    shape = object_of(members, kind)

    def convert(value: Any, where: str) -> Any:
        try:
            return shape.convert(value, where)
        except (TypeError, ValueError) as error:  # of its __post_init__
            raise Mismatch(f"{where or 'the input'} is invalid: {error}") from error

    return _described(kind, shape._replace(convert=convert))


def _described(kind: type, shape: Shape) -> Shape:
    """Adds a class's own description to its shape; a dataclass without one has its signature there."""
    text = vars(kind).get("__doc__")
    if not text or text.startswith(f"{kind.__name__}("):
        return shape
    return shape._replace(schema={**shape.schema, "description": inspect.cleandoc(text)})
