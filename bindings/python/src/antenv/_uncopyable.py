"""Objects that own something in the library, of which a copy would be a second owner."""

from __future__ import annotations

from typing import Any, ClassVar


class Uncopyable:
    """Raises TypeError when it is copied or pickled."""

    #: What to do instead.
    _advice: ClassVar[str]

    def __reduce__(self) -> tuple[Any, ...]:
        raise TypeError(f"cannot pickle or copy an antenv.{type(self).__name__}: {self._advice}")
