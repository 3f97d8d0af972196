"""The package as it is installed: its files, its types, and that it says what the header and the table say."""

from __future__ import annotations

import ctypes
import inspect
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from ctypes import POINTER, c_char_p, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest

import antenv
from antenv import _errors, _native, _params, types
from support.build import ROOT, TARGET
from support.emulator import Emulator
from support.python_program import PROGRAM

HEADER = (ROOT / "include" / "antenv.h").read_text()
PACKAGE = ROOT / "bindings" / "python"
WHEELS = list((TARGET / "wheel").glob("antenv-*.whl"))
VERSION = re.findall(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[0]
C_TYPES: dict[str, Any] = {
    "void": None,
    "int": c_int,
    "int32_t": c_int32,
    "int64_t": c_int64,
    "uint32_t": c_uint32,
    "uint64_t": c_uint64,
    "size_t": c_size_t,
    "antenv_status": c_int32,
    "const char *": c_char_p,
    "char *": c_void_p,
    "char **": POINTER(c_void_p),
    "size_t *": POINTER(c_size_t),
    "antenv_completion *": POINTER(_native.Completion),
}


def c_type(text: str) -> Any:
    """What a type of the header is to ctypes; handles are opaque pointers."""
    text = " ".join(text.replace("*", " * ").split()).replace("* *", "**")
    if re.fullmatch(r"antenv_(client|queue|ticket|worker|lease|session|tool_call|stream) (\*\*?)", text):
        return POINTER(c_void_p) if text.endswith("**") else c_void_p
    return C_TYPES[text]


def declared() -> dict[str, tuple[Any, list[Any]]]:
    """The functions of the header: what each returns and takes."""
    functions = {}
    for result, name, arguments in re.findall(r"^(\w[\w ]*[ *]+)(antenv_\w+)\(([^)]*)\);", HEADER, re.MULTILINE):
        if name in _native.SIGNATURES:
            each = [re.sub(r"\w+$", "", argument.strip()) for argument in arguments.split(",") if argument != "void"]
            functions[name] = (c_type(result), [c_type(argument) for argument in each])
    return functions


def test_the_functions_are_declared_as_in_the_header() -> None:
    assert declared() == _native.SIGNATURES


def test_the_completion_lies_in_memory_as_the_compiler_lays_it(tmp_path: Path) -> None:
    source = tmp_path / "layout.c"
    fields = ("tag", "status", "json")
    offsets = ", ".join(f"offsetof(antenv_completion, {field})" for field in fields)
    source.write_text(
        f'#include <antenv.h>\n#include <stdio.h>\nint main(void) {{ printf("%zu %zu %zu %zu", '
        f"sizeof(antenv_completion), {offsets}); return 0; }}\n"
    )
    subprocess.run(["cc", f"-I{ROOT / 'include'}", str(source), "-o", str(tmp_path / "layout")], check=True)
    layout = subprocess.run([str(tmp_path / "layout")], check=True, capture_output=True, text=True).stdout.split()
    completion = _native.Completion
    assert [int(number) for number in layout] == [
        ctypes.sizeof(completion),
        *(getattr(completion, field).offset for field in fields),
    ]


def test_every_status_of_the_header_has_an_exception() -> None:
    statuses = {int(number): name for name, number in re.findall(r"^ +ANTENV_(\w+) = (\d+)", HEADER, re.MULTILINE)}
    never_raised = {
        "OK",
        "DONE",
        "INTERRUPTED",
    }  # the last is waited out; "done" ends a loop
    assert {number for number, name in statuses.items() if name not in never_raised} == set(_errors.BY_CODE)
    for name in ("OK", "INVALID_HANDLE", "TIMEOUT", "DONE", "CLOSED", "INTERRUPTED"):
        assert statuses[getattr(_native, name)] == name
    assert int(re.findall(r"interface: (\d+)\.", HEADER)[0]) == _native.ABI_VERSION


def known(use: Callable[..., Any], *arguments: Any, **params: Any) -> set[str]:
    """What the library says that it knows, when it is given something that it does not."""
    with pytest.raises(antenv.AntenvError) as caught:
        use(*arguments, **params)
    return set(caught.value.message.split("known are: ")[1].split(", "))


def test_the_operations_and_their_parameters_are_those_of_the_table() -> None:
    client = antenv.Client(api_key="k", base_url="http://127.0.0.1:9")
    operations = known(client.call, "")
    assert len(operations) == 24
    methods: dict[Any, set[str]] = {}
    for operation in operations:
        path, _, name = operation.rpartition(".")
        resource = attrgetter({"work": "environments.work"}.get(path, path))(client)
        methods.setdefault(resource, set()).add(name)
        arguments = {_params.RESPELT.get(one, one) for one in inspect.signature(getattr(resource, name)).parameters}
        assert known(client.call, operation, odd=0) == arguments | {"with_response"}
    # Those whose results are no JSON have functions of their own in the library.
    for path, name, begin in (
        ("sessions.events", "stream", client._stream),
        ("skills.versions", "download", lambda *what: client._download(what[0], what[1], "/nowhere/file")),
    ):
        resource = attrgetter(path)(client)
        methods.setdefault(resource, set()).add(name)
        taken = set(inspect.signature(getattr(resource, name)).parameters) - {"path"}
        assert known(begin, f"{path}.{name}".encode(), {"odd": 0}) == taken | {"with_response"}
    for resource, names in methods.items():
        public = {name for name, _ in inspect.getmembers(resource, inspect.ismethod) if not name.startswith("_")}
        assert public - {"worker"} == names
    request = set(inspect.signature(client.request).parameters) - {"method", "path"} | {"with_response"}
    assert known(client._request, "GET", "/", {"odd": 0}) == request


def test_the_client_takes_every_key_of_the_configuration() -> None:
    client = antenv.Client(api_key="k")
    for make, *before in (
        (antenv.Client, _native.client_new),
        (client.with_options, _native.client_derive, client._handle),
    ):
        taken = {f"{name}_ms" if "timeout" in name else name for name in inspect.signature(make).parameters}
        _, _, error = _native.call_for_handle(*before, b'{"odd":0}')
        assert taken == set(json.loads(error)["message"].split("known are: ")[1].split(", "))


def test_the_wheel_holds_the_library_and_the_types_and_suits_every_python() -> None:
    (wheel,) = WHEELS
    assert re.fullmatch(rf"antenv-{re.escape(VERSION)}-py3-none-(linux|macosx|win)_\w+\.whl", wheel.name)
    names = zipfile.ZipFile(wheel).namelist()
    assert {"antenv/py.typed", "antenv/__init__.py", f"antenv/{Path(_native.PATH).name}"} <= set(names)
    sources = {str(path.relative_to(PACKAGE / "src")) for path in (PACKAGE / "src" / "antenv").rglob("*.py")}
    assert {name for name in names if name.endswith(".py")} == sources
    licences = {f"antenv/licences/{name}" for name in ("LICENSE", "LICENSE-APACHE", "LICENSE-MIT", "NOTICES")}
    assert {name for name in names if "licences/" in name} == licences
    assert wheel.stat().st_size < 11_000_000
    for program in ("antenv/antenv", "antenv/antenv-emulator"):
        assert zipfile.ZipFile(wheel).getinfo(program).external_attr >> 16 & 0o111
    metadata = zipfile.ZipFile(wheel).read(f"antenv-{VERSION}.dist-info/METADATA").decode()
    assert "Requires-Dist" not in metadata and "Requires-Python: >=3.9" in metadata


OWN_TEST = """
from antenv.testing import Emulator
with Emulator() as emulator, emulator.client() as client:
    created = client.environments.create(name="tests")
    assert [environment.id for environment in client.environments.list()] == [created.id]
"""


@pytest.mark.long
def test_pip_builds_and_installs_it_into_an_empty_environment(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", str(tmp_path)], check=True)
    python = str(tmp_path / "bin" / "python")
    install = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", str(PACKAGE)]
    subprocess.run(install, check=True, capture_output=True, env=os.environ | {"CARGO_TARGET_DIR": str(TARGET)})
    bare = {"PATH": "/usr/bin:/bin"}  # nothing else of antenv's is there
    said = subprocess.run([python, "-m", "antenv"], check=True, capture_output=True, text=True, env=bare).stdout
    assert f"antenv   {VERSION}" in said and f"library  {tmp_path}" in said
    (tmp_path / "own_test.py").write_text(OWN_TEST)
    subprocess.run([python, "own_test.py"], check=True, cwd=tmp_path, env=bare)
    names = subprocess.run(
        [python, "-m", "pip", "list", "--format", "freeze"], check=True, capture_output=True, text=True
    )
    assert {line.split("==")[0] for line in names.stdout.splitlines()} <= {"antenv", "pip", "setuptools", "wheel"}


def test_the_wheel_installs_the_commands() -> None:
    emulator = Path(sys.executable).with_name("antenv-emulator")
    said = subprocess.run([emulator, "--version"], check=True, capture_output=True, text=True).stdout
    assert said == f"antenv-emulator {VERSION}\n"
    command = Path(sys.executable).with_name("antenv")
    said = subprocess.run([command, "--version"], check=True, capture_output=True, text=True).stdout
    assert said == f"antenv {VERSION}\n"
    done = subprocess.run([command, "call", "--wrong"], capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "--wrong" in done.stderr


def test_the_tests_run_against_the_installed_wheel() -> None:
    assert "site-packages" in str(Path(antenv.__file__))
    assert Path(_native.PATH).parent == Path(antenv.__file__).parent
    assert antenv.__version__ == VERSION


def pythons() -> list[str]:
    """Every CPython from 3.9 on that is to be found here. (pyenv's shims work only in some folders.)"""
    found = {sys.executable, *(path for minor in range(9, 16) if (path := shutil.which(f"python3.{minor}")))}
    found = {path for path in found if "shims" not in path}
    managed = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    return sorted(
        found | {str(path) for path in managed.glob("3.*/bin/python3") if int(path.parts[-3].split(".")[1]) >= 9}
    )


@pytest.mark.parametrize("python", pythons())
def test_it_works_under_every_python_here(python: str, emulator: Emulator, tmp_path: Path) -> None:
    zipfile.ZipFile(WHEELS[0]).extractall(tmp_path)
    command = [python, "-W", "error", "-c", PROGRAM, emulator.url]
    done = subprocess.run(command, env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False)
    assert (done.stdout, done.stderr) == ("as it should be\n", "")


def test_the_module_reports_versions_and_paths() -> None:
    said = subprocess.run([sys.executable, "-m", "antenv"], check=True, capture_output=True, text=True).stdout
    assert f"antenv   {VERSION} (ABI version 1)" in said and f"library  {_native.PATH}" in said


@pytest.mark.parametrize(
    ("library", "words"),
    [("/nowhere/libantenv.so", "/nowhere/libantenv.so cannot be used"), ("libc.so.6", "libc.so.6 cannot be used")],
)
def test_a_library_that_cannot_be_used_is_named(library: str, words: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", "import antenv"],
        env=os.environ | {"ANTENV_LIBRARY": library},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1 and "ImportError: antenv: the library" in done.stderr and words in done.stderr


def test_a_library_of_another_abi_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "other.c"
    source.write_text("unsigned antenv_abi_version(void) { return 2; }\n")
    library = tmp_path / "libantenv.so"
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    done = subprocess.run(
        [sys.executable, "-c", "import antenv"],
        env=os.environ | {"ANTENV_LIBRARY": str(library)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "has ABI version 2; this package is made for 1" in done.stderr


def test_importing_it_loads_neither_asyncio_nor_logging() -> None:
    program = "import sys, antenv; print(sorted({'asyncio', 'logging', 'urllib', 'subprocess'} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert said == "[]\n"


def test_mypy_and_pyright_see_the_types(tmp_path: Path) -> None:
    cases = str(shutil.copy(ROOT / "tests" / "python" / "typing_cases.py", tmp_path))
    settings = tmp_path / "pyrightconfig.json"
    strict = {
        "typeCheckingMode": "strict",
        "enableTypeIgnoreComments": False,
        "reportUnnecessaryTypeIgnoreComment": True,
    }
    settings.write_text(json.dumps({"include": [Path(cases).name], **strict}))
    for checker in (
        ["-m", "mypy", "--strict", "--config-file=", cases],
        ["-m", "pyright", "-p", str(settings), "--pythonpath", sys.executable],
    ):
        done = subprocess.run([sys.executable, *checker], cwd=TARGET, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
        assert "1 source file" in done.stdout or "0 errors" in done.stdout


def test_every_public_type_is_complete() -> None:
    # It examines what the first `python` on the PATH imports.
    variables = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    command = [sys.executable, "-m", "pyright", "--verifytypes", "antenv", "--ignoreexternal"]
    done = subprocess.run(command, cwd=TARGET, capture_output=True, text=True, check=False, env=variables)
    assert "Type completeness score: 100%" in done.stdout, done.stdout + done.stderr
    assert not re.search(r"without docstring: [1-9]", done.stdout), done.stdout


def names_in(kind: Any) -> set[str]:
    """Returns the members that a TypedDict has."""
    return set(inspect.get_annotations(kind))


def test_the_statistics_are_typed_as_they_come() -> None:
    client = antenv.Client(api_key="k", base_url="http://127.0.0.1:9", max_retries=0)
    with pytest.raises(antenv.APIConnectionError):
        client.environments.list()
    stats = client.stats()
    assert set(stats) == names_in(types.ClientStats)
    assert set(stats["calls"]) == names_in(types.CallCounts) and set(stats["bytes"]) == names_in(types.ByteCounts)
    assert set(stats["latency_us"]["environments.list"]) == names_in(types.Histogram)
    worker = client.environments.worker("env_1", environment_key="k").stats()
    assert set(worker) == names_in(types.WorkerStats)
    assert set(worker["failures"]) == names_in(types.RequestFailures)
    assert set(worker["claim_us"]) == names_in(types.Histogram)
