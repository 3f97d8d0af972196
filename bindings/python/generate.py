"""Makes `_async_resources.py` and `_resources.py` from `resources.py.in`, and from the parameters' types in `types.py`.

In the template a method has its identifiers and `**params: Unpack[SomeParams]`. These become keyword arguments,
each with its text from `types.py`. The blocking operations are the awaited ones without `async` and `await`.

python generate.py          writes the two
python generate.py --check  fails if they are not what would be written
"""

from __future__ import annotations

import ast
import re
import sys
import textwrap
from pathlib import Path

HERE = Path(__file__).parent
PACKAGE = HERE / "src" / "antenv"
WIDTH = 120
#: Turns the awaited operations into the blocking ones.
TO_SYNC = (
    (r"from collections\.abc import Awaitable, ", "from collections.abc import "),
    (r"_async_worker", "_worker"),
    (r"import AsyncPage, AsyncPages", "import Page"),
    (r"return AsyncPages\(lambda: page\(\{\}\)\)", "return page({})"),
    (r"AsyncPages\[", "Page["),
    (r"\bAwaitable\[(Response\[T\]|T)\]", r"\1"),
    (r"\basync def ", "def "),
    (r"\bawait ", ""),
    (r"\bAsync(?=[A-Z])", ""),
)
METHOD = re.compile(
    r'^    ((?:async )?def \w+)\(self, ([^\n]*)\*\*params: Unpack\[(\w+)\]\) -> ([^\n]+):\n        """(.*?)"""\n',
    re.M | re.S,
)
IDENTIFIERS = {
    "environment_id: str": "Identifier of the environment (`env_...`).",
    "work_id: str": "Identifier of the work item (`work_...`).",
    "method: str": 'HTTP method, such as "GET".',
    "path: str": 'Path of the endpoint, such as "/v1/environments".',
    "environment_id: str | None = None": "Identifier of the environment. Without it: ANTHROPIC_ENVIRONMENT_ID.",
}


def fields_of(module: ast.Module, lines: list[str], name: str) -> list[tuple[str, str, str]]:
    """Returns a TypedDict's own fields and those it inherits: name, type and text of each."""
    found = next(node for node in module.body if isinstance(node, ast.ClassDef) and node.name == name)
    fields = []
    for field in found.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            before = field.lineno - 1
            while lines[before - 1].lstrip().startswith("#:"):
                before -= 1
            text = " ".join(line.strip().removeprefix("#:").strip() for line in lines[before : field.lineno - 1])
            fields.append((field.target.id, ast.unparse(field.annotation).replace("'", '"'), text))
    for base in found.bases:
        if isinstance(base, ast.Name) and base.id != "TypedDict":
            fields += fields_of(module, lines, base.id)
    return fields


def argument(name: str, kind: str, sent_as_null: frozenset[str]) -> str:
    """Returns a keyword argument as it is declared."""
    if required := re.fullmatch(r"Required\[(.*)\]", kind):
        return f"{name}: {required[1]}"
    return f"{name}: {kind} | Omit = omit" if name in sent_as_null else f"{name}: {kind} = None"


def expand(template: str) -> str:
    """Returns the template with keyword arguments in place of `**params`."""
    text = (PACKAGE / "types.py").read_text()
    module, lines = ast.parse(text), text.splitlines()
    declared = re.search(r"^SENT_AS_NULL = frozenset\((.*)\)$", (PACKAGE / "_params.py").read_text(), re.M)
    assert declared
    sent_as_null = frozenset(ast.literal_eval(declared[1]))

    def method(match: re.Match[str]) -> str:
        head, before, params, result, doc = match.groups()
        identifiers = [one for one in before.split(", ") if one]
        fields = sorted(fields_of(module, lines, params), key=lambda field: not field[1].startswith("Required["))
        arguments = [*identifiers, *(["*"] if "*" not in identifiers else [])]
        arguments += [argument(name, kind, sent_as_null) for name, kind, _ in fields]
        texts = [(one.split(":")[0], IDENTIFIERS[one]) for one in identifiers if one in IDENTIFIERS]
        texts += [(name, text) for name, _, text in fields]
        return (
            f"    {head}(\n        self,\n"
            + "".join(f"        {one},\n" for one in arguments)
            + f'    ) -> {result}:\n        """{doc.rstrip()}\n\n        Args:\n'
            + "".join(
                textwrap.fill(f"{name}: {text}", WIDTH, initial_indent=" " * 12, subsequent_indent=" " * 16) + "\n"
                for name, text in texts
            )
            + '        """\n'
        )

    return METHOD.sub(method, template)


def main() -> int:
    awaited = expand((HERE / "resources.py.in").read_text())
    waiting = awaited
    for pattern, replacement in TO_SYNC:
        waiting = re.sub(pattern, replacement, waiting)
    stale = False
    for name, text in (("_async_resources.py", awaited), ("_resources.py", waiting)):
        path = PACKAGE / name
        if "--check" not in sys.argv:
            path.write_text(text)
        elif path.read_text() != text:
            stale = True
            print(f"{path} is not what generate.py makes of resources.py.in and types.py: run it", file=sys.stderr)
    return int(stale)


if __name__ == "__main__":
    sys.exit(main())
