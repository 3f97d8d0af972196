"""The Go module in other places than the repository, and under another path."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from support.build import GO, GO_MODULE, ROOT, TARGET
from support.emulator import Emulator

INSTALLED = TARGET / "prefix" / "share" / "antenv" / "go"
FORK = "github.com/fork-of/antenv/bindings/go"
TEST = """package own

import (
	"context"
	"testing"

	"{module}"
	"{module}/antenvtest"
)

func TestOwn(t *testing.T) {{
	client := antenvtest.Start(t).Client(t)
	created, err := client.Environments.Create(context.Background(), antenv.EnvironmentCreateParams{{Name: "tests"}})
	if err != nil || created.Name != "tests" {{
		t.Fatal(created, err)
	}}
}}
"""


def go(folder: Path, *command: str) -> str:
    # No module is fetched, and no workspace around the folder counts.
    environment = os.environ | GO | {"GOPROXY": "off", "GOFLAGS": "-mod=mod", "GOWORK": "off"}
    done = subprocess.run(["go", *command], cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.long
def test_the_tests_of_a_program_use_the_module_that_is_installed(tmp_path: Path) -> None:
    (tmp_path / "go.mod").write_text("module own\n\ngo 1.23\n")
    (tmp_path / "own_test.go").write_text(TEST.format(module=GO_MODULE))
    # As docs/go.md says.
    (line,) = re.findall(r"^go mod edit (.*)$", (ROOT / "docs" / "go.md").read_text(), re.MULTILINE)
    options = line.replace("/usr/local/share/antenv/go", str(INSTALLED)).split()
    assert str(INSTALLED) in options[1]
    go(tmp_path, "mod", "edit", *options)
    assert "ok" in go(tmp_path, "test", ".")


def test_what_is_installed_is_the_module_without_its_own_tests() -> None:
    source = ROOT / "bindings" / "go"
    names = {str(path.relative_to(INSTALLED)) for path in INSTALLED.rglob("*") if path.is_file()}
    listed = go(source, "list", "-f", "{{.Dir}} {{.GoFiles}} {{.CgoFiles}} {{.IgnoredGoFiles}}", ".", "./antenvtest")
    expected = {"go.mod"}
    for line in listed.splitlines():
        folder, *files = re.sub(r"[][]", " ", line).split()
        expected |= {str((Path(folder) / file).relative_to(source)) for file in files}
    assert names == {name for name in expected if not name.endswith("_test.go")} and "static.go" in names


@pytest.mark.deep
def test_a_fork_gives_it_another_path_in_one_step(emulator: Emulator, tmp_path: Path) -> None:
    for folder in ("bindings/go", "examples/go", "benches/go", "tests/soak/goworker", "scripts", "docs"):
        shutil.copytree(ROOT / folder, tmp_path / folder)
    for script in ("Makefile", "Cargo.toml", "README.md"):
        shutil.copy(ROOT / script, tmp_path)
    make = ["make", "--no-print-directory", "go-module"]
    environment = {key: value for key, value in os.environ.items() if key != "MAKEFLAGS"}
    wrong = subprocess.run([*make, "MODULE="], cwd=tmp_path, env=environment, stderr=subprocess.PIPE, check=False)
    assert wrong.returncode != 0 and b"MODULE is to be the path of a module" in wrong.stderr
    subprocess.run([*make, f"MODULE={FORK}"], cwd=tmp_path, env=environment, check=True, capture_output=True)

    texts = {path: path.read_text() for path in tmp_path.rglob("*") if path.suffix in (".go", ".mod", ".md")}
    assert not [path for path, text in texts.items() if GO_MODULE in text]
    assert sum(FORK in text for text in texts.values()) > 20
    changed = sorted(str(path) for path, text in texts.items() if path.suffix == ".go" and FORK in text)
    assert subprocess.run(["gofmt", "-l", *changed], check=True, capture_output=True, text=True).stdout == ""
    program = tmp_path / "program"
    go(tmp_path / "examples" / "go" / "quickstart", "build", "-o", str(program), ".")
    variables = GO | {"ANTHROPIC_BASE_URL": emulator.url, "ANTHROPIC_API_KEY": "any"}
    said = subprocess.run([program], env=os.environ | variables, check=True, capture_output=True, text=True).stdout
    assert "created: env_" in said
