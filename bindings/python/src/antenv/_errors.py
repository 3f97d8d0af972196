"""What can go wrong: one exception class for each kind of failure.

AntenvError
  ConfigError, InvalidArgumentError        a client's or a call's arguments; nothing was sent
  ClosedError                              what was used is closed, or the library is being shut down
  CancelledError                           the call was cancelled by `shutdown`
  LeaseLostError                           the lease on a work item is lost
  InternalError                            a fault in the library
  APIError
    APIConnectionError                     no connection, or it broke
      APITimeoutError                      the call's time ran out
    APIResponseValidationError             a success whose body cannot be used
    APIStatusError                         the server's answer: one class for each HTTP status
"""

from __future__ import annotations

import json
from typing import Any

from . import _native
from ._units import name_in_python, text_in_python


class AntenvError(Exception):
    """Any failure that the library reports.

    `str()` returns the operation, the HTTP status, the message and the request id, as far as there are any:
    `environments.retrieve: 404 not_found: There is no environment env_1. (req_2)`. `message` is the message alone.
    """

    #: The kind of failure by name, such as "not_found"; the same text as in the C interface.
    status: str
    #: The same as a number, such as 104 (`ANTENV_NOT_FOUND`).
    code: int
    #: What happened, in words. They may change: do not compare them.
    message: str
    #: The operation that failed, such as "environments.retrieve"; None when it is no operation of a client.
    operation: str | None
    #: The argument that was rejected, if that is what happened.
    parameter: str | None

    def __init__(self, message: str, fields: dict[str, Any] | None = None) -> None:
        super().__init__(message)
        self._fields = fields or {}
        self.message = message
        self.code = self._fields.get("code", 0)
        self.status = self._fields.get("status", "")
        self.operation = self._fields.get("operation")
        self.parameter = name_in_python(self._fields.get("parameter"))

    def to_dict(self) -> dict[str, Any]:
        """Returns the error object of the C interface, with its names: every field that there is."""
        return dict(self._fields)

    def __str__(self) -> str:
        operation, http_status, request_id = map(self._fields.get, ("operation", "http_status", "request_id"))
        before = f"{operation}: " if operation else ""
        status = f"{http_status} {self.status}: " if http_status else ""
        return f"{before}{status}{self.message}{f' ({request_id})' if request_id else ''}"

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.message, self._fields)


class ConfigError(AntenvError, ValueError):
    """An argument of a client or worker is invalid, or no credential was found. `parameter` names it."""


class InvalidArgumentError(AntenvError, ValueError):
    """An argument of a call is invalid. `parameter` names it. Nothing was sent."""


class ClosedError(AntenvError):
    """The client, worker or lease is closed or was created before `fork()`, or the library is shutting down."""


class CancelledError(AntenvError):
    """The call was cancelled by `antenv.shutdown` in another thread."""


class LeaseLostError(AntenvError):
    """The lease on a work item is lost: another worker may hold the item now. Nothing was sent."""


class InternalError(AntenvError):
    """A fault in the library itself. Please report it."""


class APIError(AntenvError):
    """A call that was made and failed."""

    #: The HTTP status; None when there was no response.
    status_code: int | None
    #: The API's type of the error, such as "not_found_error".
    type: str | None
    #: The API's code of the cause, such as "environment_not_found"; not all errors have one.
    error_code: str | None
    #: What else the API reports about the cause.
    details: Any
    #: The server's identifier of the request, to be named in reports.
    request_id: str | None
    #: The response's headers, names in lower case; empty when there was no response.
    headers: dict[str, str]
    #: How many seconds the server asks to wait before the next attempt; None when it does not.
    retry_after: float | None
    #: How many requests were made, retries included.
    attempts: int
    #: The server's body: decoded JSON, or text when it is not JSON.
    body: Any

    def __init__(self, message: str, fields: dict[str, Any] | None = None) -> None:
        super().__init__(message, fields)
        self.status_code = self._fields.get("http_status")
        self.type = self._fields.get("type")
        self.error_code = self._fields.get("error_code")
        self.details = self._fields.get("details")
        self.request_id = self._fields.get("request_id")
        self.headers = self._fields.get("headers") or {}
        retry_after_ms = self._fields.get("retry_after_ms")
        self.retry_after = None if retry_after_ms is None else retry_after_ms / 1000
        self.attempts = self._fields.get("attempts", 0)
        self.body = self._fields.get("body")


class APIConnectionError(APIError):
    """The server could not be reached, or the connection broke before the answer was complete."""


class APITimeoutError(APIConnectionError):
    """The call's `timeout` ran out."""


class APIResponseValidationError(APIError):
    """The server reported success, but its answer is not JSON, cut short, empty, too large or nested too deeply."""


class APIStatusError(APIError):
    """The server answered with an HTTP status that is not a success."""

    status_code: int


class BadRequestError(APIStatusError):
    """HTTP 400: the API refused the request."""


class AuthenticationError(APIStatusError):
    """HTTP 401: the credential is missing, wrong or expired."""


class PaymentRequiredError(APIStatusError):
    """HTTP 402: there is a problem with billing."""


class PermissionDeniedError(APIStatusError):
    """HTTP 403: the credential may not do this."""


class NotFoundError(APIStatusError):
    """HTTP 404: no such object."""


class RequestTimeoutError(APIStatusError):
    """HTTP 408: the server gave up waiting for the request."""


class ConflictError(APIStatusError):
    """HTTP 409: the object's present state does not allow it."""


class PreconditionFailedError(APIStatusError):
    """HTTP 412: a condition does not hold, such as `expected_last_heartbeat`."""


class ContentTooLargeError(APIStatusError):
    """HTTP 413: the request is too large."""


class UnprocessableEntityError(APIStatusError):
    """HTTP 422: the request is well formed but makes no sense."""


class RateLimitError(APIStatusError):
    """HTTP 429: too many requests."""


class RequestHeaderFieldsTooLargeError(APIStatusError):
    """HTTP 431: the headers are too large."""


class ClientClosedRequestError(APIStatusError):
    """HTTP 499: the server saw the request abandoned."""


class InternalServerError(APIStatusError):
    """HTTP 500 to 599: the server failed."""


class HTTPNotImplementedError(InternalServerError):
    """HTTP 501: the server does not know how."""


class ServiceUnavailableError(InternalServerError):
    """HTTP 503: the service is not available now."""


class GatewayTimeoutError(InternalServerError):
    """HTTP 504: the service took too long behind its gateway."""


class OverloadedError(InternalServerError):
    """HTTP 529: the API is overloaded."""


#: The exceptions of the library's statuses: its own (below 100), and those of responses.
BY_CODE: dict[int, type[AntenvError]] = {
    1: InvalidArgumentError,
    2: ClosedError,
    3: ConfigError,
    4: APIConnectionError,
    5: APITimeoutError,
    6: CancelledError,
    7: APIResponseValidationError,
    9: ClosedError,
    10: LeaseLostError,
    11: InternalError,
    100: BadRequestError,
    101: AuthenticationError,
    102: PaymentRequiredError,
    103: PermissionDeniedError,
    104: NotFoundError,
    105: RequestTimeoutError,
    106: ConflictError,
    107: PreconditionFailedError,
    108: ContentTooLargeError,
    109: UnprocessableEntityError,
    110: RateLimitError,
    111: InternalServerError,
    112: OverloadedError,
    113: APIStatusError,
}
#: The exceptions of HTTP statuses that have no status number of their own.
BY_HTTP: dict[int, type[AntenvError]] = {
    431: RequestHeaderFieldsTooLargeError,
    499: ClientClosedRequestError,
    501: HTTPNotImplementedError,
    503: ServiceUnavailableError,
    504: GatewayTimeoutError,
}
#: What ClosedError says of a handle that is not alive, which in Python is one that was closed.
_CLOSED = {
    "client": "this client is closed: make a new one, or close it after its last call",
    "worker": "this worker is closed: make a new one with client.environments.worker()",
    "lease": "this lease has ended: it was finished, released or abandoned",
    "session": "this session is not served any more",
}


#: Python's json has a limit of its own, far above what the API sends.
TOO_DEEP = "Python cannot decode the response: it is nested too deeply"


def error_from(status: int, text: bytes) -> AntenvError:
    """Returns the exception for a status and its error object, which is empty where the library gives none."""
    fields: dict[str, Any] = {"code": status, "status": _native.status_name(status).decode()}
    if text:
        try:
            fields = json.loads(text)
        except RecursionError:
            fields["message"] = TOO_DEEP
    kind = BY_HTTP.get(fields.get("http_status") or 0) or BY_CODE.get(status, AntenvError)
    if status == _native.INVALID_HANDLE:
        message = _CLOSED.get(fields.get("parameter") or "", "this object is closed")
    else:
        message = fields.get("message") or fields["status"]
    if not fields.get("http_status"):  # else it is the server's, which may name anything
        message = text_in_python(message)
    return kind(message, fields)
