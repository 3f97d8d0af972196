"""The Environments API: manage environments, and serve the work queue of a self-hosted one.

    import antenv

    with antenv.Client() as client:
        environment = client.environments.create(name="tests", config={"type": "self_hosted"})
        for environment in client.environments.list():
            print(environment.id, environment.name)

    def serve(lease: antenv.Lease) -> None:
        print(lease.session_id)

    with client.environments.worker(concurrency=4) as worker:  # ANTHROPIC_ENVIRONMENT_ID, ANTHROPIC_ENVIRONMENT_KEY
        worker.run(serve)  # four items at a time

    @antenv.tool
    def weather(city: str) -> str: ...

    with client.environments.worker() as worker:
        worker.run(tools=[weather])  # serves the sessions of agents that call it

The calls of `Client` block, those of `AsyncClient` are awaited. `antenv.types` has the types of results and parameters.
Errors are `AntenvError`s. The log goes to `logging.getLogger("antenv")`. `antenv.testing` runs an emulator of the API.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _native, types
from ._client import Client
from ._errors import (
    AntenvError,
    APIConnectionError,
    APIError,
    APIResponseValidationError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    CancelledError,
    ClientClosedRequestError,
    ClosedError,
    ConfigError,
    ConflictError,
    ContentTooLargeError,
    GatewayTimeoutError,
    HTTPNotImplementedError,
    InternalError,
    InternalServerError,
    InvalidArgumentError,
    LeaseLostError,
    NotFoundError,
    OverloadedError,
    PaymentRequiredError,
    PermissionDeniedError,
    PreconditionFailedError,
    RateLimitError,
    RequestHeaderFieldsTooLargeError,
    RequestTimeoutError,
    ServiceUnavailableError,
    UnprocessableEntityError,
    error_from,
)
from ._pages import AsyncPage, AsyncPages, Page
from ._params import Omit, omit
from ._response import Response
from ._streams import Stream
from ._worker import Lease, LeaseEvent, Worker

if TYPE_CHECKING:
    from . import tools
    from ._async_client import AsyncClient
    from ._async_streams import AsyncStream
    from ._async_worker import AsyncLease, AsyncLeaseEvent, AsyncWorker
    from .tools import Document, Image, Tool, ToolCall, ToolError, tool

__all__ = [
    "APIConnectionError",
    "APIError",
    "APIResponseValidationError",
    "APIStatusError",
    "APITimeoutError",
    "AntenvError",
    "AsyncClient",
    "AsyncLease",
    "AsyncLeaseEvent",
    "AsyncPage",
    "AsyncPages",
    "AsyncStream",
    "AsyncWorker",
    "AuthenticationError",
    "BadRequestError",
    "CancelledError",
    "Client",
    "ClientClosedRequestError",
    "ClosedError",
    "ConfigError",
    "ConflictError",
    "ContentTooLargeError",
    "Document",
    "GatewayTimeoutError",
    "HTTPNotImplementedError",
    "Image",
    "InternalError",
    "InternalServerError",
    "InvalidArgumentError",
    "Lease",
    "LeaseEvent",
    "LeaseLostError",
    "NotFoundError",
    "Omit",
    "OverloadedError",
    "Page",
    "PaymentRequiredError",
    "PermissionDeniedError",
    "PreconditionFailedError",
    "RateLimitError",
    "RequestHeaderFieldsTooLargeError",
    "RequestTimeoutError",
    "Response",
    "ServiceUnavailableError",
    "Stream",
    "Tool",
    "ToolCall",
    "ToolError",
    "UnprocessableEntityError",
    "Worker",
    "omit",
    "shutdown",
    "tool",
    "tools",
    "types",
]

#: The version of the library, which is that of the package.
__version__: str = _native.VERSION


def shutdown(timeout: float | None = None) -> bool:
    """Ends the library's thread and closes all connections. Calling it is never necessary; a later call starts afresh.

    Returns whether all calls ended by themselves. Blocks for little longer than `timeout`.

    Args:
        timeout: How many seconds calls in flight have to end; then they are cancelled. None: as long as they take.
    """
    status: int = _native.shutdown(-1 if timeout is None else int(timeout * 1000))
    if status not in (_native.OK, _native.TIMEOUT):
        raise error_from(status, b"")
    return status == _native.OK


#: The modules of names that programs may not need, with what takes longer to import than a call.
_LAZY = {
    "AsyncClient": "_async_client",
    "AsyncStream": "_async_streams",
    "AsyncLease": "_async_worker",
    "AsyncLeaseEvent": "_async_worker",
    "AsyncWorker": "_async_worker",
    "Document": "tools",
    "Image": "tools",
    "Tool": "tools",
    "ToolCall": "tools",
    "ToolError": "tools",
    "tool": "tools",
    "tools": "tools",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f"{__name__}.{_LAZY[name]}")
    return module if name == "tools" else getattr(module, name)
