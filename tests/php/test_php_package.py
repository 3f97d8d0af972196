"""The PHP package: how it is written, how it is installed, where it finds the library, on a server with preloading."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from php.fpm import Fpm
from php.running import php_environment, run_php, run_tests
from support.build import LIBRARY, ROOT, TARGET
from support.emulator import Emulator
from support.waiting import until

PACKAGE = ROOT / "bindings" / "php"
QUICKSTART = ROOT / "examples" / "php" / "quickstart.php"


def variables(emulator: Emulator | None = None, library: Path | None = LIBRARY / "libantenv.so") -> dict[str, str]:
    """Returns the variables of a PHP program."""
    hidden = ("ANTHROPIC_", "ANTENV_", "LD_LIBRARY_PATH")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    clean |= {"ANTENV_LIBRARY": str(library)} if library else {}
    return clean | ({"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "a-key"} if emulator else {})


def check_quickstart(output: str) -> None:
    """Checks what the quick start printed."""
    created, *listed, missing = output.splitlines()
    assert created.startswith("created: env_") and created.endswith(" quick start self_hosted")
    assert f"listed: {created.split()[1]} quick start" in listed
    assert missing.startswith("not found: environment_not_found environments.retrieve: 404 not_found: There is no ")


def test_it_is_written_as_it_should_be(tmp_path: Path) -> None:
    run_tests("package.php", "http1", tmp_path)


def test_the_quick_start_runs(emulator: Emulator) -> None:
    done = run_php(str(QUICKSTART), env=variables(emulator))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    check_quickstart(done.stdout)


@pytest.mark.parametrize("place", ["the variable", "the package", "the system"])
def test_it_finds_the_library_in(place: str, emulator: Emulator, tmp_path: Path) -> None:
    package = tmp_path / "package"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("lib", "vendor"))
    program = tmp_path / "quickstart.php"
    repository = "dirname(__DIR__, 2) . '/bindings/php/autoload.php'"
    assert repository in QUICKSTART.read_text()
    program.write_text(QUICKSTART.read_text().replace(repository, f"'{package}/autoload.php'"))
    env = variables(emulator, library=None)
    done = run_php(str(program), env=env)
    assert done.returncode != 0
    assert "antenv: the library cannot be used: " in done.stderr and "name it in ANTENV_LIBRARY" in done.stderr
    if place == "the variable":
        env["ANTENV_LIBRARY"] = str(LIBRARY / "libantenv.so")
    elif place == "the package":
        (package / "lib").mkdir()
        (package / "lib" / "libantenv.so").symlink_to(LIBRARY / "libantenv.so")
    else:
        env["LD_LIBRARY_PATH"] = str(TARGET / "prefix" / "lib")
    done = run_php(str(program), env=env)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    check_quickstart(done.stdout)


def test_composer_installs_it(emulator: Emulator, tmp_path: Path) -> None:
    project = {
        "repositories": [{"type": "path", "url": str(PACKAGE)}, {"packagist.org": False}],
        "require": {"antenv/antenv": "@dev"},
    }
    (tmp_path / "composer.json").write_text(json.dumps(project))
    env = variables(emulator) | {"COMPOSER_ALLOW_SUPERUSER": "1", "COMPOSER_HOME": str(tmp_path / "home")}
    command = ["composer", "install", "--no-interaction", "--quiet"]
    subprocess.run(command, cwd=tmp_path, env=env, check=True)
    strict = ["composer", "validate", "--strict", "--no-interaction", "--quiet", str(PACKAGE / "composer.json")]
    subprocess.run(strict, cwd=tmp_path, env=env, check=True)
    program = tmp_path / "quickstart.php"
    repository = "dirname(__DIR__, 2) . '/bindings/php/autoload.php'"
    program.write_text(QUICKSTART.read_text().replace(repository, "__DIR__ . '/vendor/autoload.php'"))
    done = run_php(str(program), env=env)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout + done.stderr
    check_quickstart(done.stdout)


def test_a_server_runs_it(emulator: Emulator, tmp_path: Path) -> None:
    """On a server that preloads the package, with FFI refused to all else, and on one that allows FFI."""
    bare = tmp_path / "bare.php"
    bare.write_text("<?php try { FFI::cdef(); echo 'allowed'; } catch (FFI\\Exception $e) { echo 'refused'; }\n")
    header = tmp_path / "antenv.h"
    header.write_text((PACKAGE / "antenv.h").read_text().replace("libantenv.so.0", str(LIBRARY / "libantenv.so"), 1))
    preloading = {
        "ffi.enable": "preload",
        "ffi.preload": str(header),
        "opcache.enable": "1",
        "opcache.preload": str(PACKAGE / "preload.php"),
        "opcache.preload_user": "root",
    }
    if os.getuid() != 0:
        del preloading["opcache.preload_user"]
    with Fpm(tmp_path, preloading, variables(emulator, library=None)) as server:
        for _ in range(4):  # it has two processes
            check_quickstart(server.run(QUICKSTART))
        assert server.run(bare) == "refused"
    with Fpm(tmp_path, {"ffi.enable": "1"}, variables(emulator)) as server:
        check_quickstart(server.run(QUICKSTART))
    with Fpm(tmp_path, {"ffi.enable": "preload", "display_errors": "1"}, variables(emulator)) as server:
        assert "preload it: see docs/php.md" in server.run(QUICKSTART)


@pytest.mark.parametrize(
    "end",
    ["throw new Exception('uncaught');", "str_repeat('x', 1 << 30);"],
    ids=["an uncaught exception", "no memory"],
)
def test_a_request_that_ends_by_a_fatal_error_leaves_no_connection(
    end: str, emulator: Emulator, tmp_path: Path
) -> None:
    script = tmp_path / "script.php"
    script.write_text(
        f"<?php require '{PACKAGE}/autoload.php';\n"
        "$client = new Antenv\\Client();\n$client->beta->environments->list(limit: 1);\n"
        f"echo 'listed'; @ob_end_flush(); flush(); {end}\n"
    )
    settings = {"ffi.enable": "1", "display_errors": "0", "log_errors": "1"}
    with Fpm(tmp_path, settings, variables(emulator)) as server:
        for _ in range(6):
            assert server.run(script).startswith("listed")
        # The request that asks is on a connection of its own.
        until(lambda: emulator.control("GET", "/_emulator/connections")["open"] <= 1, "connections are left open")


def test_a_library_of_another_version_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "other.c"
    declared = (PACKAGE / "antenv.h").read_text()
    names = {line.split("(")[0].split()[-1].lstrip("*") for line in declared.splitlines() if "(" in line}
    functions = {name for name in names if name.startswith("antenv_")} - {"antenv_abi_version"}
    source.write_text(
        "unsigned antenv_abi_version(void) { return 99; }\n"
        + "".join(f"void {name}(void) {{}}\n" for name in sorted(functions))
    )
    library = tmp_path / "libother.so"
    subprocess.run(["cc", "-shared", "-fPIC", str(source), "-o", str(library)], check=True)
    program = tmp_path / "program.php"
    program.write_text(f"<?php require '{PACKAGE}/autoload.php'; new Antenv\\Client(apiKey: 'k');\n")
    done = run_php(str(program), env=php_environment("http1", tmp_path) | {"ANTENV_LIBRARY": str(library)})
    assert f"the library {library} has ABI version 99; this package is made for 1" in done.stderr
