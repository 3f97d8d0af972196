"""The documentation says what the code says, where both state the same fact."""

from __future__ import annotations

import re

from emulator import ROOT

HEADER = (ROOT / "include" / "antenv.h").read_text()


def test_the_readme_shows_the_quick_start_as_it_is() -> None:
    example = (ROOT / "examples" / "c" / "quickstart.c").read_text().rstrip()
    assert f"```c\n{example}\n```" in (ROOT / "README.md").read_text()


def test_the_table_of_errors_has_the_numbers_of_the_header() -> None:
    declared = re.findall(r"^ +(ANTENV_\w+) = (\d+),", HEADER, re.MULTILINE)
    documented = re.findall(r"^\| (\d+) \| `(ANTENV_\w+)`", (ROOT / "docs" / "errors.md").read_text(), re.MULTILINE)
    assert len(declared) == 27
    assert [(name, number) for number, name in documented] == declared


def test_the_table_of_operations_is_that_of_the_code() -> None:
    source = (ROOT / "src" / "operation.rs").read_text()
    words = {"ApiKey": "API key", "EnvironmentKey": "environment key", "Both": "either"}
    expected = []
    for row in re.findall(r": Operation = Operation \{(.*?)^\};", source, re.MULTILINE | re.DOTALL):
        name, title = (re.search(rf'^    {field}: "(.*)"', row, re.MULTILINE) for field in ("name", "title"))
        accepts = re.search(r"accepts: Accepts::(\w+)", row)
        assert name and title
        if name[1]:
            function = f"antenv_{name[1].replace('.', '_')}"
            expected.append((function, name[1], title[1], words[accepts[1] if accepts else "ApiKey"]))
    page = (ROOT / "docs" / "c-api.md").read_text()
    documented = re.findall(r"^\| `(antenv_\w+)` \| `([\w.]+)` \| ([\w ]+) \| ([\w ]+) \|$", page, re.MULTILINE)
    assert len(expected) == 14
    assert documented == expected
