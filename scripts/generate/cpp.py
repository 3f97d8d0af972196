"""Writes the C++ header's classes of operations, and the table of the program that tests them."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

from .table import Operation, Resource, Table
from .text import Files, region

HEADER = Path("include/antenv/operations.hpp")
DRIVER = Path("tests/cpp/driver.cpp")
WIDTH = 130
#: The operations that have a function of the C interface.
NAMED = ("environments", "work")
#: By the kind of response: what a member returns, what makes the call, its arguments besides identifiers and
#: parameters, and what its comment adds.
KINDS = {
    "Json": ("json", "operation", (), ""),
    "Stream": (
        "typename Policy::template of<basic_stream<Policy>>",
        "open_stream",
        (),
        " Returns the open stream; antenv_stream_open documents more of its parameters.",
    ),
    "Binary": (
        "json",
        "download",
        ("path",),
        " Writes it to the file `path`, whole or not at all; antenv_download documents what it returns.",
    ),
}
#: Members whose names are keywords.
KEYWORDS = {"delete": "remove"}


def class_name(one: Resource) -> str:
    """Returns the class of a resource."""
    return "basic_" + ("work" if one.name == "work" else re.sub(r"(?<=[a-z])(?=[A-Z])", "_", one.type).lower())


def comment(text: str, indent: str = "    ") -> str:
    """Returns a comment, on one line if it fits."""
    if len(indent) + len(text) + 7 <= WIDTH:
        return f"{indent}/** {text} */\n"
    lines = textwrap.fill(
        text, WIDTH, initial_indent=f"{indent} * ", subsequent_indent=f"{indent} * ", break_on_hyphens=False
    )
    return f"{indent}/**\n{lines}\n{indent} */\n"


def member(operation: Operation) -> str:
    """Returns an operation's member function."""
    doc = operation.sentence(operation.title)
    doc = re.sub(r"Fails with `(\w+)`", lambda error: f"Fails with ANTENV_{error[1].upper()}", doc)
    if operation.paged:
        doc = re.sub(
            r" \((.*?)\)", rf", one page (\1); client.pager(\"{operation.name}\", ...) returns all", doc, count=1
        )
    name = KEYWORDS.get(operation.call, operation.call)
    if name != operation.call:
        doc += f" `{operation.call}` is a keyword of C++."
    result, function, more, note = KINDS[operation.response]
    optional = operation.call != "update" and not any(one.required for one in operation.own)
    texts = ", ".join(f"const text &{one}" for one in (*operation.ids, *more))
    arguments = f"{texts}{', ' if texts else ''}const text &params{' = {}' * optional}"
    named = operation.resource in NAMED
    what = f"antenv_{operation.name.replace('.', '_')}" if named else f'"{operation.name}"'
    given = ", ".join(["client_", what, "params", *more])
    for one in operation.ids:
        given += f',\n            detail::identifier{{"{one}", &{one}}}'
    head = f"    {result} {name}({arguments}) const noexcept(Policy::is_noexcept) {{"
    if len(head) > WIDTH:
        head = head.replace(" const noexcept", " const\n        noexcept")
    return f"{comment(doc + note)}{head}\n        return detail::{function}<Policy>({given});\n    }}\n"


def resource(one: Resource, table: Table) -> str:
    """Returns the class of a resource."""
    about = f"The operations on {one.subject}: what client.{one.path.replace('.', '().')}() returns."
    if one.operations:
        otherwise = ", unless its comment says otherwise" * any(each.response != "Json" for each in one.operations)
        about += f" {one.credentials()} Each function returns the response's JSON{otherwise}. Each blocks."
    name = class_name(one)
    children = "".join(
        comment(f"Returns the operations on {child.subject}.")
        + f"    {class_name(child)}<Policy> {child.attribute}() const noexcept {{\n"
        + f"        return {class_name(child)}<Policy>(client_);\n    }}\n"
        for child in table.children(one.path)
    )
    members = "".join(member(each) for each in one.operations)
    return (
        f"{comment(about, '')}template <class Policy> class {name} {{\npublic:\n"
        + "    using json = typename Policy::template of<std::string>;\n" * bool(members)
        + f"    explicit {name}(antenv_client *handle) noexcept : client_(handle) {{}}\n{children}{members}\n"
        "private:\n    antenv_client *client_;\n};\n"
    )


def driver(table: Table) -> str:
    """Returns the table of member functions by the names of operations."""
    text = ""
    for one in table.resources:
        place = "client->" + "".join(f"{name}()." for name in one.path.split("."))
        for each in one.operations:
            if each.response == "Json":
                arguments = ", ".join([*["first", "second"][: len(each.ids)], "params"])
                call = f"{place}{KEYWORDS.get(each.call, each.call)}({arguments})"
                text += f'        {{"{each.name}", [&] {{ return attempt([&] {{ return {call}; }}); }}}},\n'
    return text


def write(table: Table, files: Files) -> None:
    """Writes the parts of the two files."""
    # A class comes after those that it returns.
    classes = [resource(one, table) for one in sorted(table.resources, key=lambda one: -one.path.count("."))]
    files.update(HEADER, lambda text: region(text, "//", "\n" + "\n".join(classes) + "\n"))
    files.update(DRIVER, lambda text: region(text, "        //", driver(table)))
