"""Tools of an agent: functions with the name, description and schema that the agent knows them by."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Callable, Generic, TypeVar, Union, get_args, overload

from ._schema import Member, Mismatch, Shape, hints_of, object_of, shape_of, with_default
from ._tool_call import ToolCall

if TYPE_CHECKING:
    from typing_extensions import ParamSpec

    from ._content import Content
    from .types import CustomToolParams

    P = ParamSpec("P")
else:
    P = TypeVar("P")  # Python 3.9 has no ParamSpec
R = TypeVar("R")

#: The headings of a docstring's sections.
_SECTION = re.compile(r"^(Args|Arguments|Parameters|Returns?|Yields?|Raises|Examples?|Notes?):\s*$", re.MULTILINE)
_DESCRIBED = re.compile(r"^(\s+)(\w+)\s*(?:\([^)]*\))?:\s*(.*)$")


class ToolError(Exception):
    """Raised by a tool to fail with a message for the agent, or with content such as an image.

        raise antenv.ToolError("there is no such city")

    Other exceptions fail the call, too, with their message; they are logged.
    """

    def __init__(self, message: str = "", *, content: Content | None = None) -> None:
        """Makes an error.

        Args:
            message: The text that the agent gets.
            content: What it gets in place of that: a text, a block, or a list of blocks and texts.
        """
        super().__init__(message)
        self.content: Content = message if content is None else content


class Tool(Generic[P, R]):
    """A tool of an agent: a function that the agent may call; `antenv.tool` makes one.

    Calling it calls the function.
    """

    #: The name that the agent calls it by.
    name: str
    #: What the agent is told about it.
    description: str
    #: The JSON schema of its input.
    input_schema: dict[str, Any]
    #: Whether it is a coroutine function, which an AsyncLease serves.
    is_async: bool

    def __init__(
        self,
        function: Callable[P, R],
        *,
        name: str | None = None,
        description: str | None = None,
        input_schema: Mapping[str, Any] | None = None,
    ) -> None:
        """Makes a tool of a function, as `antenv.tool` does; that documents the arguments."""
        if not inspect.isroutine(function):
            raise TypeError(f"a tool must be a function or a bound method, not {function!r}")
        if name is None and not function.__name__.isidentifier():
            raise TypeError(f"a tool needs a name, and {function.__name__} has none: antenv.tool(function, name=...)")
        self.name = name or function.__name__
        self._function: Callable[P, R] = function
        self._call_parameter: str | None = None
        text, described = _read_docstring(inspect.getdoc(function) or "")
        self.description = text if description is None else description
        self._input = self._describe(described)
        self.input_schema = dict(self._input.schema if input_schema is None else input_schema)
        self.is_async = any(map(inspect.iscoroutinefunction, (function, inspect.unwrap(function))))
        self.__doc__, self.__name__, self.__wrapped__ = function.__doc__, self.name, function

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        function: Callable[P, R] = self._function
        return function(*args, **kwargs)

    @property
    def definition(self) -> CustomToolParams:
        """The tool as an agent's definition takes it, in its `tools`."""
        return {
            "type": "custom",
            "name": self.name,
            "description": self.description,
            "input_schema": self.input_schema,
        }

    def _describe(self, described: Mapping[str, str]) -> Shape:
        """Returns the shape of the input. Raises TypeError naming the parameter whose annotation has none."""
        hints, members, takes_more = hints_of(self._function), {}, False
        for name, parameter in inspect.signature(self._function).parameters.items():
            hint = hints.get(name, Any)
            if parameter.kind is parameter.VAR_KEYWORD:
                takes_more = True
            elif parameter.kind in (parameter.VAR_POSITIONAL, parameter.POSITIONAL_ONLY):
                raise TypeError(f"the tool {self.name} takes {name} by position: a tool's input has names only")
            elif hint is ToolCall or ToolCall in get_args(hint):
                self._call_parameter = name
            else:
                members[name] = self._member(name, hint, parameter.default, described.get(name))
        return object_of(members, dict, takes_more)

    def _member(self, name: str, hint: Any, default: Any, description: str | None) -> Member:
        try:
            shape = shape_of(hint)
        except TypeError as error:
            raise TypeError(f"the parameter {name} of the tool {self.name}: {error}") from None
        is_required = default is inspect.Parameter.empty
        shape = shape if is_required else with_default(shape, default)
        if description and "description" not in shape.schema:
            shape = shape._replace(schema={**shape.schema, "description": description})
        return Member(shape, is_required)

    def _run(self, call: ToolCall) -> Any:
        """Calls the function with the input of a call, checked and converted. Raises ToolError for a wrong input."""
        try:
            arguments = self._input.convert(call.input, "")
        except Mismatch as mismatch:
            raise ToolError(f"invalid input: {mismatch}") from None
        if self._call_parameter:
            arguments[self._call_parameter] = call
        function: Any = self._function
        return function(**arguments)

    def __repr__(self) -> str:
        return f"<antenv.Tool {self.name}>"


@overload
def tool(
    function: Callable[P, R],
    /,
    *,
    name: str | None = None,
    description: str | None = None,
    input_schema: Mapping[str, Any] | None = None,
) -> Tool[P, R]: ...


@overload
def tool(
    *,
    name: str | None = None,
    description: str | None = None,
    input_schema: Mapping[str, Any] | None = None,
) -> Callable[[Callable[P, R]], Tool[P, R]]: ...


def tool(function: Any = None, /, **options: Any) -> Any:
    """Makes a tool of a function, as a decorator with or without arguments, or by a call.

        @antenv.tool
        def weather(city: str, unit: Literal["celsius", "fahrenheit"] = "celsius") -> str:
            \"\"\"Returns the weather of a city.

            Args:
                city: The city's name.
            \"\"\"

    The schema of the input follows from the annotations: str, int, float, bool, list, tuple, set, dict, Optional and
    other unions, Literal, Enum, TypedDict, dataclasses, `Annotated[..., "description"]`. Parameters without a default
    are required. A parameter that is annotated with `antenv.ToolCall` gets the call itself. The input is checked and
    converted before the function is called: one that does not match fails the call, with a message for the agent.

    The function returns None, a text, numbers, dictionaries and lists (which become JSON), `antenv.Image`,
    `antenv.Document`, blocks of the API as dictionaries, or a list of blocks and texts. `antenv.ToolError` and any
    other exception fail the call.

    Args:
        function: A function, coroutine function, or bound method.
        name: The tool's name. Without it: the function's.
        description: What the agent is told about it. Without it: the docstring up to its sections; the section "Args:"
            describes the parameters.
        input_schema: The JSON schema that the agent is told, for functions that take `**input`. Without it: that of the
            annotations, by which the input is checked in either case.

    Raises:
        TypeError: An annotation is not supported, or the function takes arguments by position only.
    """
    return (lambda function: Tool(function, **options)) if function is None else Tool(function, **options)


#: What `serve` takes: tools, and functions to make tools of.
AnyTool = Union["Tool[..., Any]", Callable[..., Any]]


def definition(function: AnyTool) -> CustomToolParams:
    """Returns a tool as an agent's definition takes it: {"type": "custom", "name", "description", "input_schema"}.

    Args:
        function: A tool, or a function to make one of; TypeError says why none can be made.
    """
    return tool_of(function).definition


def schema(function: AnyTool) -> dict[str, Any]:
    """Returns the JSON schema of a tool's input.

    Args:
        function: A tool, or a function to make one of; TypeError says why none can be made.
    """
    return tool_of(function).input_schema


def tool_of(function: AnyTool) -> Tool[..., Any]:
    """Returns a tool as it is, and makes one of a function."""
    return function if isinstance(function, Tool) else Tool(function)


def tools_by_name(tools: Iterable[AnyTool], is_async: bool) -> dict[str, Tool[..., Any]]:
    """Returns tools by their names.

    Raises TypeError for a coroutine function that no loop is there to run, and ValueError for a name that two have.
    """
    if isinstance(tools, Tool) or not isinstance(tools, Iterable):
        raise TypeError(f"tools must be a list of tools or functions, not {tools!r}")
    found: dict[str, Tool[..., Any]] = {}
    for one in map(tool_of, tools):
        if one.is_async and not is_async:
            raise TypeError(f"the tool {one.name} is a coroutine function: serve it with antenv.AsyncClient")
        if found.setdefault(one.name, one) is not one:
            raise ValueError(f"two tools have the name {one.name}")
    return found


def _read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """Returns what is before the sections of a docstring, and what its section "Args:" says of each parameter."""
    before, *sections = _SECTION.split(text)
    described: dict[str, str] = {}
    for heading, section in zip(sections[::2], sections[1::2]):
        if heading in ("Args", "Arguments", "Parameters"):
            described.update(_read_parameters(section))
    return before.strip(), described


def _read_parameters(section: str) -> dict[str, str]:
    found: dict[str, str] = {}
    name, indent = "", ""
    for line in section.splitlines():
        match = _DESCRIBED.match(line)
        if match and (not indent or match[1] == indent):
            indent, name, found[match[2]] = match[1], match[2], match[3]
        elif name and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found
