"""What every test may ask for."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections import Counter
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest

from support import emulator as emulators
from support.build import PLATFORMS, ROOT, TARGET, compile_c
from support.driver import Driver
from support.emulator import Emulator
from support.java import find_java
from support.wheels import MUSL_PYTHON, OLDER_DEBIAN, WHEELS

TRANSPORTS = ["http1", "https-http2"]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Runs what is marked `transports` over each of them, and all else over HTTP/1.1."""
    marked = metafunc.definition.get_closest_marker("transports")
    if marked and not metafunc.definition.get_closest_marker("http1"):
        metafunc.parametrize("transport", TRANSPORTS, indirect=True)


def pytest_report_header() -> list[str]:
    """Says which tests are left out on this machine."""
    return (
        []
        if find_java()
        else ["left out: the Java program of docs/other-languages.md, which needs a JDK of 22 or later"]
    )


WHEELS_FILE = "test_wheels.py"
# Other platforms, and ways to run a program that make it many times slower.
ELSEWHERE = re.compile(rf"\b({'|'.join(sorted(PLATFORMS, key=len, reverse=True))})\b")
DEEP_WAYS = re.compile(rf"\b(valgrind|asan|tsan|race|cgocheck2)\b|{ELSEWHERE.pattern}")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what ran for each of the other platforms, and for each wheel."""
    passed = [report.nodeid for report in terminalreporter.stats.get("passed", [])]
    for wheel in WHEELS:
        if count := sum(wheel in name for name in passed):
            terminalreporter.write_line(f"ran for the wheel {wheel}: {count} tests passed")
    others = [name.replace("_", " ") for name in passed if WHEELS_FILE not in name]
    found = Counter(match[0] for match in map(ELSEWHERE.search, others) if match)
    for name, count in found.items():
        platform = PLATFORMS[name]
        by = f", by {platform.runner[0]}" if platform.runner else ""
        terminalreporter.write_line(f"ran for {name} ({platform.rust}{by}): {count} tests passed")


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> Generator[None, object, object]:
    """Marks what is run in such a way as `deep`, and runs it over one transport. Leaves out what `make` reports
    to leave out: ThreadSanitizer, other platforms with their wheels, an older Debian, a Python for musl, and Debian
    packages.

    Spreads the tests that take long over the others that are selected: xdist starts each process with tests that stand
    side by side, and with two of these in a row the others would be done long before.
    """
    left_out = [] if (TARGET / "thread").exists() else [item for item in items if "tsan" in item.name]
    if not (TARGET / "platforms").exists():
        left_out += [
            item for item in items if item.path.name == WHEELS_FILE or ELSEWHERE.search(item.nodeid.replace("_", " "))
        ]
    if not OLDER_DEBIAN.exists():
        left_out += [item for item in items if "in_an_older_debian" in item.name]
    if not MUSL_PYTHON.exists():
        left_out += [item for item in items if re.search(r"_python_.*\[musl", item.name)]
    if not shutil.which("dh") or subprocess.run(["unshare", "--mount", "true"], capture_output=True).returncode:
        left_out += [item for item in items if item.path.name == "test_debian.py"]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    functions = [item for item in items if isinstance(item, pytest.Function)]
    slow = [function for function in functions if DEEP_WAYS.search(function.name.replace("_", " "))]
    for function in slow:
        function.add_marker(pytest.mark.deep)
    # Over HTTPS with HTTP/2, where it could be run over both.
    doubled = [function for function in slow if re.search(rf"\b{TRANSPORTS[0]}\b", function.name)]
    items[:] = [item for item in items if item not in doubled]
    outcome = yield
    long = [item for item in items if item.get_closest_marker("long")]
    items[:] = [item for item in items if item not in long]
    step = (len(items) + len(long)) / max(len(long), 1)
    for number, item in enumerate(long):
        items.insert(round(number * step), item)
    return outcome


@pytest.fixture(autouse=True)
def transport(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> str:
    """How clients reach the emulators of a test.

    Over HTTPS, `SSL_CERT_FILE` names what to trust: our clients in every language read it, and so do Python and Go.
    """
    chosen: str = getattr(request, "param", TRANSPORTS[0])
    if chosen != TRANSPORTS[0]:
        certificate = str(tmp_path_factory.mktemp("tls") / "ca.pem")
        monkeypatch.setenv("SSL_CERT_FILE", certificate)
        monkeypatch.setattr(emulators, "OPTIONS", ("--tls", "--tls-ca", certificate))
    return chosen


@pytest.fixture
def emulator(transport: str) -> Iterator[Emulator]:
    """An emulator that accepts any credential."""
    with Emulator("--auth", "any") as running:
        yield running


@pytest.fixture
def strict_emulator(transport: str) -> Iterator[Emulator]:
    """An emulator that checks credentials as the service does."""
    with Emulator() as running:
        yield running


@pytest.fixture(scope="session")
def shared_emulator() -> Iterator[Emulator]:
    """One emulator for the whole run, for tests that do not mind what it holds."""
    with Emulator("--auth", "any") as running:
        yield running


@pytest.fixture(scope="session")
def driver_program() -> Path:
    """The driver, compiled."""
    return compile_c(ROOT / "tests" / "c" / "driver.c")


@pytest.fixture
def driver(driver_program: Path, transport: str) -> Iterator[Driver]:
    """The driver, running."""
    with Driver(driver_program) as running:
        yield running
