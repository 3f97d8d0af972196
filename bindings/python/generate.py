"""Makes `_resources.py` from `_async_resources.py`: the same operations without `async` and `await`.

python generate.py          writes it
python generate.py --check  fails if it is not what would be written
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

SOURCE = Path(__file__).parent / "src" / "antenv" / "_async_resources.py"
RESULT = SOURCE.with_name("_resources.py")
RULES = (
    (r"\A.*\n", '"""The operations. Made from `_async_resources.py` by `generate.py`; change that one."""\n'),
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


def main() -> int:
    text = SOURCE.read_text()
    for pattern, replacement in RULES:
        text = re.sub(pattern, replacement, text)
    if "--check" not in sys.argv:
        RESULT.write_text(text)
    elif RESULT.read_text() != text:
        print(f"{RESULT} is not what generate.py makes of {SOURCE.name}: run it", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
