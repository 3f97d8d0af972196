"""Responses: results with their headers."""

from __future__ import annotations

from typing import Any, Callable, Generic, TypeVar

T = TypeVar("T")


class Response(Generic[T]):
    """A successful response: the result, with its status, headers and request id."""

    #: The HTTP status.
    status_code: int
    #: The headers, with names in lower case.
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
        """Returns the result, as the operation does without `with_raw_response`."""
        return self._result

    def __repr__(self) -> str:
        return f"Response(status_code={self.status_code}, request_id={self.request_id!r}, result={self._result!r})"
