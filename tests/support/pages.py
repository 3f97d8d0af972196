"""The code that pages of the documentation show."""

from __future__ import annotations

import re

from support.build import ROOT


def blocks(page: str, language: str) -> list[str]:
    """Returns the code blocks of a page in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
