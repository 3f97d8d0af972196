"""The documentation says what the code says, where both state the same fact."""

from __future__ import annotations

import ctypes
import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support.build import GO, GO_MODULE, LIBRARY, ROOT, WARNINGS, build_go, compile_c
from support.emulator import Emulator
from support.pages import blocks

HEADER = (ROOT / "include" / "antenv.h").read_text()


def test_the_pages_show_the_quick_starts_as_they_are() -> None:
    assert blocks("docs/python.md", "python")[0] == (ROOT / "examples" / "python" / "quickstart.py").read_text()
    assert blocks("docs/cpp.md", "cpp")[0] == (ROOT / "examples" / "cpp" / "quickstart.cpp").read_text()
    assert blocks("docs/php.md", "php")[0] == (ROOT / "examples" / "php" / "quickstart.php").read_text()
    program = (ROOT / "examples" / "go" / "quickstart" / "main.go").read_text()
    shown = [line.split("//")[0].strip() for line in blocks("docs/go.md", "go")[0].splitlines()]
    assert len(shown) > 15 and set(shown) <= {line.strip() for line in program.splitlines()}


def python_program(code: str, folder: Path) -> list[str | Path]:
    (folder / "readme.py").write_text(code)
    return [sys.executable, folder / "readme.py"]


def c_program(code: str, folder: Path) -> list[str | Path]:
    (folder / "readme.c").write_text(
        f"#include <antenv.h>\n#include <stdio.h>\nint main(void) {{\n{code}return 0;\n}}\n"
    )
    return [compile_c(folder / "readme.c")]


def cpp_program(code: str, folder: Path) -> list[str | Path]:
    (folder / "readme.cpp").write_text(f"#include <antenv.hpp>\n#include <iostream>\nint main() {{\n{code}}}\n")
    return [compile_c(folder / "readme.cpp")]


def go_program(code: str, folder: Path) -> list[str | Path]:
    imports = "".join(f'"{name}"\n' for name in (GO_MODULE, "context", "errors", "fmt", "log"))
    program = f"package main\nimport (\n{imports})\nfunc main() {{\nctx := context.Background()\n{code}}}\n"
    (folder / "main.go").write_text(program)
    module = ROOT / "bindings" / "go"
    needs = f"require {GO_MODULE} v0.0.0\nreplace {GO_MODULE} => {module}\n"
    (folder / "go.mod").write_text(f"module readme\ngo 1.23\n{needs}")
    return [build_go(folder)]


@pytest.mark.parametrize(
    ("language", "program", "last"),
    [
        ("c", c_program, 'not_found: {.*"There is no environment'),
        ("cpp", cpp_program, ".*There is no environment"),
        ("python", python_program, ".*There is no environment"),
        ("go", go_program, "true"),
    ],
)
def test_what_the_readme_shows_of_each_language_runs(
    language: str, program: Callable[[str, Path], list[str | Path]], last: str, emulator: Emulator, tmp_path: Path
) -> None:
    code, *_ = blocks("README.md", language)
    variables = GO | {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "any"}
    command = program(code, tmp_path)
    said = subprocess.run(command, env=os.environ | variables, check=True, capture_output=True, text=True).stdout
    assert re.match(last, said.splitlines()[-1]), said
    assert "tests" in said and "env_" in said


def test_the_worker_of_the_readme_serves_what_there_is(strict_emulator: Emulator, tmp_path: Path) -> None:
    environment = strict_emulator.create_environment("hosts", config={"type": "self_hosted"})
    sessions = {item["data"]["id"] for item in strict_emulator.enqueue(environment, count=6)["data"]}
    own = {
        "ANTHROPIC_BASE_URL": strict_emulator.url,
        "ANTHROPIC_ENVIRONMENT_ID": environment,
        "ANTHROPIC_ENVIRONMENT_KEY": strict_emulator.environment_key(environment),
    }
    _, worker = blocks("README.md", "python")
    done = subprocess.run(
        python_program(worker, tmp_path), env=os.environ | own, check=True, capture_output=True, text=True
    )
    assert len(sessions) == done.stdout.count("serving") == 6, done.stderr
    assert all(f"serving {session}" in done.stdout for session in sessions)
    stops = [each["status"] for each in strict_emulator.take_requests() if each["operation"] == "work.stop"]
    assert stops == [200] * 6


def test_the_readme_fits_on_a_few_screens() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 130


# What the pieces of C in the pages take for granted.
DECLARED = """
#include <antenv.h>
#include <signal.h>
void serve(const char *item);
extern antenv_client *client; extern antenv_queue *queue; extern antenv_ticket *ticket;
extern antenv_worker *worker; extern antenv_lease *lease;
extern antenv_session *session; extern antenv_tool_call *call;
extern antenv_completion done; extern const char *params; extern uint64_t tag;
extern volatile sig_atomic_t ctrl_c; extern char *error, *json, *item;
"""


def test_the_pieces_of_php_in_its_page_are_valid(tmp_path: Path) -> None:
    first, *pieces = blocks("docs/php.md", "php")
    program = tmp_path / "pieces.php"
    program.write_text(first + "".join(pieces))
    done = subprocess.run(["php", "-l", str(program)], capture_output=True, text=True, check=False)
    assert len(pieces) > 3 and done.returncode == 0, done.stdout
    used = set(re.findall(r"\bAntenv\\[\w\\]+", "".join(pieces)))
    sources = ROOT / "bindings" / "php" / "src"
    missing = {name for name in used if not (sources / (name[7:].replace("\\", "/") + ".php")).exists()}
    assert used and not missing


@pytest.mark.parametrize("page", ["docs/concurrency.md", "docs/sessions.md", "docs/worker.md"])
def test_the_pieces_of_c_in_a_page_compile(page: str) -> None:
    pieces = blocks(page, "c")
    program = DECLARED + "".join(f"void piece{number}(void) {{\n{code}}}\n" for number, code in enumerate(pieces))
    flags = ["-xc", "-std=c11", *WARNINGS, f"-I{ROOT / 'include'}", "-fsyntax-only", "-"]
    done = subprocess.run(["cc", *flags], input=program, capture_output=True, text=True, check=False)
    assert pieces and (done.returncode, done.stderr) == (0, "")


def test_the_table_of_errors_has_the_numbers_of_the_header() -> None:
    declared = re.findall(r"^ +(ANTENV_\w+) = (\d+)", HEADER, re.MULTILINE)
    documented = re.findall(r"^\| (\d+) \| `(ANTENV_\w+)`", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert len(declared) == 27
    assert [(name, number) for number, name in documented] == declared


class Library:
    """The shared library, to ask it which keys and values it accepts."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(LIBRARY / "libantenv.so"))
        self._client = ctypes.c_void_p()
        assert self._call("client_new", self._client, {"api_key": "k", "base_url": "http://127.0.0.1:9"}) is None

    def _call(self, function: str, out: ctypes.c_void_p | None, *arguments: Any) -> Any:
        """Calls a function with JSON, text and handles; returns the JSON of its last argument."""
        given = [json.dumps(each).encode() if isinstance(each, dict) else each for each in arguments]
        text = ctypes.c_void_p()
        handle = [] if out is None else [ctypes.byref(out)]
        getattr(self._library, f"antenv_{function}")(*given, *handle, ctypes.byref(text))
        found = None if text.value is None else json.loads(ctypes.string_at(text.value))
        self._library.antenv_string_free(text)
        return found

    def _create(self, kind: str, function: str, *arguments: Any) -> Any:
        handle = ctypes.c_void_p()
        error = self._call(function, handle, *arguments)
        getattr(self._library, f"antenv_{kind}_free")(handle)
        return error

    # Each returns the error for an object of keys, or None if all of them are accepted.

    def client(self, keys: dict[str, Any]) -> Any:
        return self._create("client", "client_new", {"api_key": "k", "base_url": "https://api.example"} | keys)

    def derive(self, keys: dict[str, Any]) -> Any:
        return self._create("client", "client_derive", self._client, keys)

    def worker(self, keys: dict[str, Any]) -> Any:
        needed = {"environment_id": "e", "environment_key": "k"}
        return self._create("worker", "worker_new", self._client, needed | keys)

    def adopt(self, keys: dict[str, Any]) -> Any:
        return self._call("lease_adopt", ctypes.c_void_p(), self._client, keys)

    def request(self, keys: dict[str, Any]) -> Any:
        """Sends nothing: a GET has no body, and if the keys are accepted, that is the error."""
        error = self.any_request({"extra_body": {}} | keys)
        return None if error["parameter"] == "extra_body" and "extra_body" not in keys else error

    def any_request(self, keys: dict[str, Any]) -> Any:
        return self._call("request", None, self._client, b"GET", b"/v1/x", keys)

    def operation(self, name: bytes, keys: dict[str, Any]) -> Any:
        return self._call("call", None, self._client, name, keys)


@pytest.fixture(scope="module")
def library() -> Library:
    return Library()


def known(error: Any, parameter: str = "?") -> list[str]:
    """Returns the names that the error about an unknown one lists: keys, as a rule."""
    assert error["parameter"] == parameter, error
    return sorted(error["message"].rsplit(": ", 1)[1].split(", "))


def keys_of(section: str) -> dict[str, dict[str, str]]:
    """Returns the rows of a table of docs/configuration.md by key, each by the names of its columns."""
    page = (ROOT / "docs" / "configuration.md").read_text()
    text = re.split(rf"^## {section}$", page, flags=re.MULTILINE)[1].split("\n## ")[0]
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("|")
    ]
    table = {cells[0].strip("`"): dict(zip(head, cells, strict=True)) for cells in rows}
    assert len(table) == len(rows) and all(row["what it does"] for row in table.values())
    return table


def test_the_tables_of_the_configuration_have_the_keys_that_the_library_accepts(library: Library) -> None:
    assert sorted(keys_of("Client")) == known(library.client({"?": 1}))
    derived = [key for key, row in keys_of("Client").items() if row["derive"] == "yes"]
    assert sorted(derived) == known(library.derive({"?": 1}))
    assert sorted(keys_of("Worker")) == known(library.worker({"?": 1}))
    assert sorted(keys_of("Adopted lease")) == known(library.adopt({"?": 1}))
    source = (ROOT / "src/session/runner/config.rs").read_text()
    (keys,) = re.findall(r"^const KEYS: [^=]+ = &\[(.*?)\];", source, re.MULTILINE | re.DOTALL)
    assert sorted(keys_of("Session")) == sorted(re.findall(r'"(\w+)"', keys))
    free_form = known(library.any_request({"?": 1}))
    assert sorted(keys_of("Call")) == free_form
    operations = [
        known(library.operation(b"environments.list", {"?": 1})),
        known(library.operation(b"work.stats", {"environment_id": "e", "?": 1})),
    ]
    common = sorted(set(operations[0]) & set(operations[1]))
    assert sorted([*common, "query", "headers", "body"]) == free_form


def test_the_page_of_operations_has_those_of_the_library_with_their_parameters(library: Library) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    functions = dict(re.findall(r"^\| \[`([\w.]+)`\]\(#\w+\) \| `(antenv_\w+)` \|", page, re.MULTILINE))
    sections = dict(zip(*[iter(re.split(r"^## ([\w.]+)$", page, flags=re.MULTILINE)[1:])] * 2, strict=True))
    assert list(functions) == list(sections)
    others = {"antenv_stream_open", "antenv_download"}
    called = [name for name, function in functions.items() if function not in others]
    assert sorted(called) == known(library.operation(b"", {}), "operation")
    common = set(keys_of("Call")) - {"query", "headers", "body"}
    for name in called:
        assert functions[name] == "antenv_call" or f" {functions[name]}(" in HEADER
        parameters = re.findall(r"^\| `(\S+)` \|", sections[name], re.MULTILINE)
        assert sorted(common.union(parameters)) == known(library.operation(name.encode(), {"?": 1}))


WRONG = {"string": 1, "integer": "1", "boolean": 1, "object": 1, "array of strings": 1}


@pytest.mark.parametrize(("section", "function"), [("Client", "client"), ("Worker", "worker"), ("Call", "request")])
def test_the_types_and_ranges_of_the_configuration_are_those_of_the_library(
    section: str, function: str, library: Library
) -> None:
    ask = getattr(library, function)
    bounds = 0
    for key, row in keys_of(section).items():
        if row["type"] in WRONG:
            assert ask({key: WRONG[row["type"]]})["parameter"] == key, key
        else:
            assert row["type"] == "any JSON"
        if row["type"] == "integer":
            least, most = map(int, re.fullmatch(r"(\d+) to (\d+)\b.*", row["range"]).groups())  # type: ignore[union-attr]
            pause = (
                {"idle_max_ms": most} if key == "idle_min_ms" else {"idle_min_ms": 0} if key == "idle_max_ms" else {}
            )
            for accepted in (least, most):
                assert ask({key: accepted, **pause}) is None, (key, accepted)
            for refused in (least - 1, most + 1):
                assert ask({key: refused, **pause})["parameter"] == key, (key, refused)
            bounds += 1
        if row["range"] == "not empty":
            assert ask({key: ""})["parameter"] == key, key
        choices = re.findall(r'"[^"]+"', row["range"])
        if choices and row["type"] == "string" and row["range"].startswith('`"'):
            assert re.findall(r'"[^"]+"', ask({key: "?"})["message"]) == choices, key
    assert bounds >= 3


# Where the source states a default: what stands before it, and how many of the key's units it counts in.
DEFAULTS = {
    "timeout_ms": (r"        timeout: Duration::from_secs\(", 1000),
    "attempt_timeout_ms": (r"ATTEMPT_TIMEOUT: Duration = Duration::from_secs\(", 1000),
    "connect_timeout_ms": (r"None => Duration::from_secs\(", 1000),
    "max_retries": (r"        max_retries: ", 1),
    "max_response_bytes": (r"        max_response_bytes: ", 1 << 20),
} | {
    key: (rf'"{key}", \d, \w+\)\?\.unwrap_or\((?:idle_min\.max\()?', 1)
    for key in ("concurrency", "idle_after_ms", "idle_min_ms", "idle_max_ms", "grace_ms", "rescue_after_ms")
}


def test_the_defaults_of_the_configuration_are_those_of_the_source() -> None:
    source = "".join(path.read_text() for path in [*(ROOT / "src/config").iterdir(), ROOT / "src/worker/config.rs"])
    documented = keys_of("Worker") | keys_of("Client")
    for key, (before, unit) in DEFAULTS.items():
        stated = re.findall(before + r"([\d_]+)", source)
        assert len(stated) == 1, (key, stated)
        assert int(documented[key]["default"].split(",")[0].split(";")[0]) == int(stated[0].replace("_", "")) * unit, (
            key
        )
    assert f'"{documented["anthropic_version"]["default"].strip(chr(96)).strip(chr(34))}"' in source
    assert documented["base_url"]["default"].strip("`") in source


def test_every_environment_variable_that_is_read_is_documented() -> None:
    sources = "".join(path.read_text().split("#[cfg(test)]")[0] for path in (ROOT / "src").rglob("*.rs"))
    read = set(re.findall(r'"((?:ANTHROPIC|SSL)_\w+|\w+_(?:PROXY|proxy)|REQUEST_METHOD|COMPUTERNAME)"', sources))
    rows = keys_of_variables()
    assert len(read) > 10 and read <= set(rows)
    assert {name for name in rows if not name.startswith("ANTENV_")} == read
    for section in ("Client", "Worker", "Adopted lease"):
        for row in keys_of(section).values():
            assert set(re.findall(r"`(\w+)`", row["environment variable"])) <= read


def keys_of_variables() -> list[str]:
    text = (ROOT / "docs" / "configuration.md").read_text().split("\n## Environment variables\n")[1]
    return [
        name for cell in re.findall(r"^\| (`[^|]+) \|", text, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)
    ]


def test_the_page_on_errors_has_every_member_of_the_error_object(library: Library) -> None:
    page = (ROOT / "docs" / "errors.md").read_text()
    rows = page.split("| member | |\n")[1].split("\n\n")[0]
    documented = [name for row in re.findall(r"^\| (`[^|]+) \|", rows, re.M) for name in re.findall(r"`(\w+)`", row)]
    error = library.client({"?": 1})
    assert sorted(documented) == sorted(error)
    shown = json.loads(page.split("```json\n")[1].split("```")[0])
    assert list(shown) == list(error)


def test_the_map_leads_to_every_file_of_the_source() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    rows = re.findall(r"^\| (`.*?) \| (.*) \|$", page.split("\n## The map\n")[1].split("\n## ")[0], re.MULTILINE)
    paths = {ROOT / path: text for first, text in rows for path in re.findall(r"`([^`]+)`", first)}
    assert not [path for path in paths if not path.exists()]
    for folder, text in paths.items():
        assert not [name for name in re.findall(r"`([\w/]+\.rs)`", text) if not (folder / name).exists()], folder
    for file in (ROOT / "src").rglob("*.rs"):
        # Itself, a folder that it is in, or the module that its folder belongs to.
        folders = [folder for folder in file.parents if ROOT / "src" in folder.parents]
        is_drawn = file.parent == ROOT / "src" and file.stem in arrows()
        assert is_drawn or {file, *folders, *(folder.with_suffix(".rs") for folder in folders)} & set(paths), file


def arrows() -> dict[str, int]:
    """Returns the modules of the line of arrows, each with the number of its layer."""
    (line,) = re.findall(r"^ffi ──► .*", (ROOT / "docs" / "architecture.md").read_text(), re.MULTILINE)
    return {name: at for at, layer in enumerate(line.split(" ──► ")) for name in re.findall(r"\w+", layer)}


def test_the_arrows_between_the_modules_point_one_way() -> None:
    layer_of = arrows()
    backwards = set()
    for file in (ROOT / "src").rglob("*.rs"):
        module = file.relative_to(ROOT / "src").parts[0].removesuffix(".rs")
        if module != "lib":
            used = re.findall(r"\bcrate::(\w+)", file.read_text().split("#[cfg(test)]\nmod tests")[0])
            backwards |= {(module, other) for other in used if layer_of[other] < layer_of[module]}
    assert not backwards


def test_the_glossary_is_in_order() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    terms = re.findall(r"^\| ([\w ,-]+) \|", page.split("\n## Glossary\n")[1], re.MULTILINE)[1:]
    assert len(terms) > 40 and terms == sorted(terms, key=lambda term: term.replace("-", " "))


def test_every_link_between_the_pages_leads_somewhere() -> None:
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")]
    anchors = {page: set(map(anchor, re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE))) for page in pages}
    links = 0
    for page in pages:
        text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        for path, heading in re.findall(r"\]\((?!https?:)([^)#]*)(?:#([^)]*))?\)", text):
            target = (page.parent / path).resolve() if path else page
            assert target.exists(), f"{page.name}: {path}"
            assert not heading or heading in anchors[target], f"{page.name}: {path}#{heading}"
            links += 1
    assert links > 40


def anchor(heading: str) -> str:
    """Returns the anchor that a heading gets when the page is rendered."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
