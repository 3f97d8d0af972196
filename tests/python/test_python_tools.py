"""Tools made of functions: what an agent is told of them, how their input is checked, and what they may return."""

from __future__ import annotations

import base64
import dataclasses
import enum
import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NewType, Optional, TypedDict, Union

import pytest
from typing_extensions import Doc, NotRequired, Required

import antenv
from antenv import tools, types
from antenv._content import content_of
from antenv._schema import Mismatch, shape_of


class Unit(enum.Enum):
    CELSIUS = "celsius"
    KELVIN = 2


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5
    seen: list[str] = dataclasses.field(default_factory=list)
    length: float = dataclasses.field(init=False, default=0)

    def __post_init__(self) -> None:
        if self.x < 0:
            raise ValueError("x is negative")
        self.length = math.hypot(self.x, self.y)


@dataclasses.dataclass
class Line:
    """A line between points."""

    points: list[Point]
    ends: tuple[Point, Point] | None = None


class Options(TypedDict, total=False):
    """Options of a search."""

    depth: Required[int]
    unit: Unit


class Query(TypedDict):
    text: str
    options: NotRequired[Options]


@dataclasses.dataclass
class Tree:
    children: list[Tree]


City = NewType("City", str)
POINT = {
    "type": "object",
    "properties": {
        "x": {"type": "integer"},
        "y": {"type": "number", "default": 0.5},
        "seen": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["x"],
    "additionalProperties": False,
}
NULL = {"type": "null"}


def test_annotations_have_schemas() -> None:
    whole: dict[Any, Any] = {
        str: {"type": "string"},
        int: {"type": "integer"},
        float: {"type": "number"},
        bool: {"type": "boolean"},
        Any: {},
        City: {"type": "string"},
        list: {"type": "array", "items": {}},
        list[int]: {"type": "array", "items": {"type": "integer"}},
        Sequence[str]: {"type": "array", "items": {"type": "string"}},
        set[str]: {"type": "array", "items": {"type": "string"}, "uniqueItems": True},
        tuple[int, ...]: {"type": "array", "items": {"type": "integer"}},
        tuple[int, str]: {
            "type": "array",
            "prefixItems": [{"type": "integer"}, {"type": "string"}],
            "minItems": 2,
            "maxItems": 2,
        },
        dict: {"type": "object", "additionalProperties": True},
        dict[str, list[int]]: {
            "type": "object",
            "additionalProperties": {"type": "array", "items": {"type": "integer"}},
        },
        Optional[int]: {"anyOf": [{"type": "integer"}, NULL]},  # noqa: UP045
        int | str | None: {"anyOf": [{"type": "integer"}, {"type": "string"}, NULL]},
        Literal["a", "b"]: {"type": "string", "enum": ["a", "b"]},
        Literal["a", 1, None]: {"enum": ["a", 1, None]},
        Unit: {"enum": ["celsius", 2]},
        Point: POINT,
        Annotated[int, "How many."]: {"type": "integer", "description": "How many."},
        Annotated[int, 7, Doc("How many.")]: {"type": "integer", "description": "How many."},
        Options: {
            "type": "object",
            "properties": {"depth": {"type": "integer"}, "unit": {"enum": ["celsius", 2]}},
            "required": ["depth"],
            "additionalProperties": False,
            "description": "Options of a search.",
        },
    }
    for annotation, schema in whole.items():
        assert shape_of(annotation).schema == schema, annotation
    assert shape_of(Line).schema["description"] == "A line between points."
    assert shape_of(Query).schema["required"] == ["text"]


def test_values_are_converted_to_what_the_annotations_name() -> None:
    for annotation, value, made in (
        (int, 3.0, 3),
        (float, 3, 3.0),
        (Any, {"a": [1]}, {"a": [1]}),
        (tuple[int, ...], [1, 2], (1, 2)),
        (tuple[int, str], [1, "a"], (1, "a")),
        (set[str], ["a", "a"], {"a"}),
        (Unit | None, "celsius", Unit.CELSIUS),
        (Unit | None, None, None),
        (Unit, 2, Unit.KELVIN),
        (Literal["a", 1], 1, 1),
        (Union[int, str], "1", "1"),  # noqa: UP007
        (dict[str, Unit], {"a": 2}, {"a": Unit.KELVIN}),
        (Point, {"x": 3, "y": 4}, Point(3, 4.0)),
        (Line, {"points": [{"x": 1}], "ends": [{"x": 1}, {"x": 2}]}, Line([Point(1)], (Point(1), Point(2)))),
        (Query, {"text": "a", "options": {"depth": 1}}, {"text": "a", "options": {"depth": 1}}),
    ):
        converted = shape_of(annotation).convert(value, "v")
        assert (converted, type(converted)) == (made, type(made)), annotation


def test_a_value_that_does_not_match_is_named_in_plain_words() -> None:
    for annotation, value, words in (
        (int, "three", 'v must be an integer, not "three"'),
        (int, True, "v must be an integer, not true"),
        (int, 3.5, "v must be an integer, not 3.5"),
        (str, None, "v must be a string, not null"),
        (float, 10**400, "v must be a number in the range of a double, not 1"),
        (bool, 1, "v must be true or false, not 1"),
        (list[int], {}, "v must be a list, not {}"),
        (list[int], [1, "b"], 'v[1] must be an integer, not "b"'),
        (tuple[int, int], [1], "v must be a list of 2, not [1]"),
        (dict[str, int], {"a": None}, "v.a must be an integer, not null"),
        (Unit, "kelvin", 'v must be one of "celsius", 2, not "kelvin"'),
        (Literal["a"], 1, 'v must be "a", not 1'),
        (Literal[1], True, "v must be 1, not true"),
        (int | None, "x", 'v must be an integer or null, not "x"'),
        (int | str, [], "v must be an integer or a string, not []"),
        (Point | None, {"y": 1}, "v.x is missing"),
        (Point, {"x": 1, "z": 2}, "v.z is unknown"),
        (Point, {"x": -1}, "v is invalid: x is negative"),
        (Line, {"points": [{"x": 1}, {"x": "1"}]}, 'v.points[1].x must be an integer, not "1"'),
        (Query, {"options": {}}, "v.options.depth is missing; v.text is missing"),
        (str, ["x" * 100], 'v must be a string, not ["' + "x" * 58 + "..."),
    ):
        with pytest.raises(Mismatch) as caught:
            shape_of(annotation).convert(value, "v")
        assert str(caught.value).startswith(words), annotation


@antenv.tool
def weather(city: str, unit: Unit = Unit.CELSIUS, *, days: Annotated[int, "How many."] = 1, tag: str = None) -> str:  # type: ignore[assignment]  # noqa: RUF013
    """Returns the weather of a city.

    It is a guess.

    Args:
        city (str): The city's name,
            in English.
        unit: The unit.
        days: Not this.

    Returns:
        A text.
    """
    return f"{city} {unit} {days} {tag}"


def test_a_function_becomes_a_tool_that_is_still_called_like_it() -> None:
    assert weather("Rome", days=2) == "Rome Unit.CELSIUS 2 None"
    assert (weather.name, weather.is_async, repr(weather)) == ("weather", False, "<antenv.Tool weather>")
    assert weather.definition == {
        "type": "custom",
        "name": "weather",
        "description": "Returns the weather of a city.\n\nIt is a guess.",
        "input_schema": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "The city's name, in English."},
                "unit": {"enum": ["celsius", 2], "default": "celsius", "description": "The unit."},
                "days": {"type": "integer", "description": "How many.", "default": 1},
                "tag": {"anyOf": [{"type": "string"}, NULL], "default": None},
            },
            "required": ["city"],
            "additionalProperties": False,
        },
    }
    assert tools.definition(weather) == weather.definition and tools.schema(weather) == weather.input_schema
    assert tools.schema(lambda_free)["properties"] == {"a": {}}

    @antenv.tool(name="find", description="Finds.", input_schema={"type": "object", "properties": {"q": {}}})
    async def search(call: antenv.ToolCall, **input: Any) -> None:
        """Not this."""

    assert (search.name, search.description, search.is_async) == ("find", "Finds.", True)
    assert search.input_schema == {"type": "object", "properties": {"q": {}}}


def lambda_free(a, call: antenv.ToolCall | None = None):  # type: ignore[no-untyped-def]
    pass


class Service:
    def ask(self, text: str) -> str:
        return text


def test_bound_methods_and_wrapped_functions_become_tools() -> None:
    assert list(tools.schema(Service().ask)["properties"]) == ["text"]

    @functools.wraps(weather.__wrapped__)
    def wrapper(*arguments: Any, **more: Any) -> Any:
        return weather(*arguments, **more)

    assert tools.definition(wrapper) == weather.definition


def test_what_cannot_become_a_tool_is_named() -> None:
    def complex_one(z: complex) -> None: ...
    def recursive(tree: Tree) -> None: ...
    def by_number(counts: dict[int, str]) -> None: ...
    def positional(*names: str) -> None: ...
    def slashed(a: int, /) -> None: ...
    def unresolved(a: Nowhere) -> None: ...  # type: ignore[name-defined]  # noqa: F821

    cases: list[tuple[Any, str]] = [
        (complex_one, "the parameter z of the tool complex_one: complex is not supported: use str, int"),
        (recursive, "the parameter tree of the tool recursive: Tree contains itself"),
        (by_number, "the parameter counts of the tool by_number: the keys of a dict must be str"),
        (positional, "the tool positional takes names by position"),
        (slashed, "the tool slashed takes a by position"),
        (unresolved, "'Nowhere' is not defined: annotations must name what the module defines"),
        (lambda a: a, "a tool needs a name"),
        (functools.partial(complex_one, 1), "must be a function or a bound method"),
        ("weather", "must be a function or a bound method"),
    ]
    for function, words in cases:
        with pytest.raises(TypeError, match=words.replace("(", r"\(")):
            antenv.tool(function)


PNG, JPEG, GIF, WEBP = b"\x89PNG\r\n", b"\xff\xd8\xff\xe0", b"GIF89a", b"RIFF\0\0\0\0WEBPVP8"


def test_what_a_tool_returns_becomes_content(tmp_path: Path) -> None:
    image, text = antenv.Image(PNG), {"type": "text", "text": "a"}
    cases: list[tuple[Any, Any]] = [
        (None, ""),
        ("a\nb", "a\nb"),
        (7, "7"),
        (1.5, "1.5"),
        (True, "true"),
        ({"a": [1, "ü"]}, '{"a": [1, "ü"]}'),
        ([], "[]"),
        (["a", 1], '["a", 1]'),
        (Point(3, 4.0), '{"x": 3, "y": 4.0, "seen": [], "length": 5.0}'),
        ({"unit": Unit.KELVIN}, '{"unit": 2}'),
        (types.SessionEnd(reason="idle"), '{"reason": "idle"}'),
        (image, [image.block]),
        (text, [text]),
        ({"type": "text"}, '{"type": "text"}'),
        ({"type": "novel", "text": "a"}, '{"type": "novel", "text": "a"}'),
        (("a", image, text, 7), [text, image.block, text, {"type": "text", "text": "7"}]),
    ]
    for value, content in cases:
        assert content_of(value) == content, value
    for value, words in ((object(), "a tool cannot return object"), ({"a": b"x"}, "return bytes: antenv.Image and")):
        with pytest.raises(TypeError, match=words):
            content_of(value)


def test_images_and_documents_are_blocks(tmp_path: Path) -> None:
    for data, media_type in ((PNG, "png"), (JPEG, "jpeg"), (GIF, "gif"), (WEBP, "webp")):
        (tmp_path / "image").write_bytes(data)
        source = {"type": "base64", "media_type": f"image/{media_type}", "data": base64.b64encode(data).decode()}
        for given in (data, tmp_path / "image", str(tmp_path / "image")):
            assert antenv.Image(given).block == {"type": "image", "source": source}
    assert antenv.Image(url="https://a.example/b.png").block["source"] == {
        "type": "url",
        "url": "https://a.example/b.png",
    }
    assert antenv.Document(file_id="file_1").block["source"] == {"type": "file", "file_id": "file_1"}
    assert antenv.Document(b"%PDF-1", title="t", context="c").block == {
        "type": "document",
        "source": {"type": "base64", "media_type": "application/pdf", "data": base64.b64encode(b"%PDF-1").decode()},
        "title": "t",
        "context": "c",
    }
    text = {"type": "text", "media_type": "text/plain", "data": "ü"}
    assert antenv.Document("ü".encode()).block == {"type": "document", "source": text}
    wrong: list[tuple[Callable[[], Any], str]] = [
        (lambda: antenv.Image(b"BM"), "no PNG, JPEG, GIF or WebP"),
        (lambda: antenv.Document(b"\xff"), "neither PDF nor text in UTF-8"),
        (lambda: antenv.Image(), "give one of data, url and file_id"),
        (lambda: antenv.Image(PNG, url="u"), "give one of data, url and file_id"),
    ]
    for make, words in wrong:
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(FileNotFoundError):
        antenv.Image(tmp_path / "nothing.png")


def test_the_definition_is_what_json_can_hold() -> None:
    definition: Mapping[str, Any] = weather.definition
    assert json.loads(json.dumps(definition)) == definition
