"""What came with a result."""

from __future__ import annotations

from typing import Any, Callable, Generic, TypeVar

T = TypeVar("T")


class Response(Generic[T]):
    """A successful answer: the result, and what came with it."""

    #: The HTTP status.
    status_code: int
    #: The headers, names in small letters.
    headers: dict[str, str]
    #: The server's identifier of the request.
    request_id: str | None
    #: How many requests were made, retries included.
    attempts: int

    def __init__(self, fields: dict[str, Any], make: Callable[[Any], T]) -> None:
        self.status_code = fields["http_status"]
        self.headers = fields["headers"]
        self.request_id = fields["request_id"]
        self.attempts = fields["attempts"]
        self._result = make(fields["data"])

    def parse(self) -> T:
        """The result: what the operation gives without `with_raw_response`."""
        return self._result

    def __repr__(self) -> str:
        return f"Response(status_code={self.status_code}, request_id={self.request_id!r}, result={self._result!r})"
