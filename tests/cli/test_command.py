"""The command as a whole: what it says of itself is what the pages say, and shells complete it."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

from support.build import ROOT
from support.command import antenv

ENV = {"PATH": os.environ["PATH"]}


def subcommands(*path: str) -> list[tuple[str, ...]]:
    """The subcommands below one that have none themselves."""
    said = antenv(*path, "--help", env=ENV).stdout
    _, found, listed = said.partition("\nCommands:\n")
    if not found:
        return [path]
    names = re.findall(r"^  (\w+)", listed.split("\n\n")[0], re.MULTILINE)
    return [deeper for name in names if name != "help" for deeper in subcommands(*path, name)]


def test_the_pages_name_every_subcommand_and_option() -> None:
    page = (ROOT / "docs" / "cli.md").read_text()
    manual = (ROOT / "packaging" / "antenv.1").read_text().replace("\\-", "-")
    found = subcommands()
    assert len(found) >= 4
    for path in found:
        assert f"## antenv {' '.join(path)}\n" in page
        assert f".B antenv {' '.join(path)}\n" in manual
        options = re.findall(r"^ +(?:-\w, )?(--[\w-]+)", antenv(*path, "--help", env=ENV).stdout, re.MULTILINE)
        assert "--help" in options
        for option in set(options) - {"--help"}:
            assert option in page and option in manual, (path, option)


def test_it_says_its_version() -> None:
    version = re.findall(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[0]
    assert antenv("--version", env=ENV).stdout == f"antenv {version}\n"


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_completions(shell: str) -> None:
    script = antenv("completions", shell, env=ENV).stdout
    assert "until-idle" in script and ("environments.create" in script or shell == "fish")


def test_bash_completes_operations(tmp_path: Path) -> None:
    script = tmp_path / "antenv.bash"
    script.write_text(antenv("completions", "bash", env=ENV).stdout)
    line = "antenv call environments.li"
    words = f"COMP_WORDS=({line}) COMP_CWORD=2 COMP_LINE='{line}' COMP_POINT={len(line)}"
    code = f"source {script}; {words}; _antenv antenv environments.li call; echo ${{COMPREPLY[@]}}"
    done = subprocess.run(["bash", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "environments.list\n"
