"""Lists: one page, and through it all that follow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Generator, Iterator
from typing import Any, Callable, Generic, TypeVar

from ._uncopyable import Uncopyable

T = TypeVar("T")


class _Page(Uncopyable, Generic[T]):
    """The base of both kinds of pages."""

    _advice = "it fetches the pages that follow; pass on its data and next_page"
    #: The items of this page alone.
    data: list[T]
    #: The cursor of the next page; None when this is the last.
    next_page: str | None

    def __init__(self, fields: dict[str, Any], item: Callable[[Any], T], follow: Callable[[str], Any]) -> None:
        self.data = [item(one) for one in fields.get("data") or ()]
        self.next_page = fields.get("next_page") or None
        self._follow = follow

    def has_next_page(self) -> bool:
        """Whether a page follows."""
        return self.next_page is not None

    def _next(self) -> Any:
        if self.next_page is None:
            raise LookupError("there is no next page: see has_next_page()")
        return self._follow(self.next_page)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(data={self.data!r}, next_page={self.next_page!r})"


class Page(_Page[T]):
    """One page of a list. Iterating over it gives every item, of this page and of those that follow, which are fetched as needed.

    Iterating may make calls, and raise what calls raise.
    """

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.data

    def pages(self) -> Iterator[Page[T]]:
        """This page and those that follow."""
        page = self
        yield page
        while page.has_next_page():
            page = page.get_next_page()
            yield page

    def get_next_page(self) -> Page[T]:
        """Fetches the next page; raises LookupError if this is the last."""
        page: Page[T] = self._next()
        return page

    #: The official client's name for `pages`.
    iter_pages = pages


class AsyncPage(_Page[T]):
    """One page of a list. `async for` over it gives every item, of this page and of those that follow, which are fetched as needed.

    Iterating may make calls, and raise what calls raise.
    """

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.data:
                yield item

    async def pages(self) -> AsyncIterator[AsyncPage[T]]:
        """This page and those that follow."""
        page = self
        yield page
        while page.has_next_page():
            page = await page.get_next_page()
            yield page

    async def get_next_page(self) -> AsyncPage[T]:
        """Fetches the next page; raises LookupError if this is the last."""
        page: AsyncPage[T] = await self._next()
        return page

    #: The official client's name for `pages`.
    iter_pages = pages


class AsyncPages(Uncopyable, Generic[T]):
    """A list that was asked for: `await` it for its first page, or `async for` over it for every item of all pages."""

    _advice = "await it, and pass on the data and next_page of what comes"

    def __init__(self, first: Callable[[], Awaitable[AsyncPage[T]]]) -> None:
        self._first = first

    def __await__(self) -> Generator[Any, None, AsyncPage[T]]:
        return self._first().__await__()

    async def __aiter__(self) -> AsyncIterator[T]:
        async for item in await self:
            yield item

    async def pages(self) -> AsyncIterator[AsyncPage[T]]:
        """Every page."""
        async for page in (await self).pages():
            yield page

    #: The official client's name for `pages`.
    iter_pages = pages
