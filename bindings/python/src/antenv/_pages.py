"""Pages of a list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Generator, Iterator
from typing import Any, Callable, Generic, TypeVar

from ._uncopyable import Uncopyable

T = TypeVar("T")


class _Page(Uncopyable, Generic[T]):
    """The base of both kinds of pages."""

    _advice = "it fetches the pages that follow; pass on its data and next_page"
    #: The items of this page.
    data: list[T]
    #: The cursor of the next page; None when this is the last.
    next_page: str | None

    def __init__(self, fields: dict[str, Any], item: Callable[[Any], T], follow: Callable[[str], Any]) -> None:
        self.data = [item(one) for one in fields.get("data") or ()]
        self.next_page = fields.get("next_page") or None
        self._follow = follow

    def has_next_page(self) -> bool:
        """Returns whether a page follows."""
        return self.next_page is not None

    def _next(self) -> Any:
        if self.next_page is None:
            raise LookupError("there is no next page: see has_next_page()")
        return self._follow(self.next_page)

    def __repr__(self) -> str:
        return f"{type(self).__name__}(data={self.data!r}, next_page={self.next_page!r})"


class Page(_Page[T]):
    """One page of a list. Iterating over it goes through its items and those of the pages that follow.

    Further pages are fetched when they are needed: iterating may block, and raise the errors of a call.
    """

    def __iter__(self) -> Iterator[T]:
        for page in self.pages():
            yield from page.data

    def pages(self) -> Iterator[Page[T]]:
        """Iterates over this page and those that follow."""
        page = self
        yield page
        while page.has_next_page():
            page = page.get_next_page()
            yield page

    def get_next_page(self) -> Page[T]:
        """Fetches the next page. Raises LookupError if this is the last one."""
        page: Page[T] = self._next()
        return page

    #: The official client's name for `pages`.
    iter_pages = pages


class AsyncPage(_Page[T]):
    """One page of a list. `async for` goes through its items and those of the pages that follow.

    Further pages are fetched when they are needed: iterating may raise the errors of a call.
    """

    async def __aiter__(self) -> AsyncIterator[T]:
        async for page in self.pages():
            for item in page.data:
                yield item

    async def pages(self) -> AsyncIterator[AsyncPage[T]]:
        """Iterates over this page and those that follow."""
        page = self
        yield page
        while page.has_next_page():
            page = await page.get_next_page()
            yield page

    async def get_next_page(self) -> AsyncPage[T]:
        """Fetches the next page. Raises LookupError if this is the last one."""
        page: AsyncPage[T] = await self._next()
        return page

    #: The official client's name for `pages`.
    iter_pages = pages


class AsyncPages(Uncopyable, Generic[T]):
    """The pages of a list: `await` returns the first one, `async for` goes through the items of all of them."""

    _advice = "await it, and pass on the page's data and next_page"

    def __init__(self, first: Callable[[], Awaitable[AsyncPage[T]]]) -> None:
        self._first = first

    def __await__(self) -> Generator[Any, None, AsyncPage[T]]:
        return self._first().__await__()

    async def __aiter__(self) -> AsyncIterator[T]:
        async for item in await self:
            yield item

    async def pages(self) -> AsyncIterator[AsyncPage[T]]:
        """Iterates over all pages."""
        async for page in (await self).pages():
            yield page

    #: The official client's name for `pages`.
    iter_pages = pages
