"""The operations, to be awaited. `_resources.py` is made from this file by `generate.py`, without `async` and `await`."""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import TYPE_CHECKING, Any, Callable, Protocol, TypeVar, cast

from ._pages import AsyncPage, AsyncPages
from ._response import Response
from .types import Environment, EnvironmentDeleted, Work, WorkHeartbeat, WorkQueueStats

if TYPE_CHECKING:
    from typing_extensions import ParamSpec, Unpack

    from ._async_worker import AsyncWorker
    from .types import (
        CallOptions,
        EnvironmentCreateParams,
        EnvironmentListParams,
        EnvironmentUpdateParams,
        WorkerParams,
        WorkHeartbeatParams,
        WorkListParams,
        WorkPollParams,
        WorkStopParams,
        WorkUpdateParams,
    )

    P = ParamSpec("P")

T = TypeVar("T")
#: Makes a worker of its configuration.
MakeWorker = Callable[[Mapping[str, Any]], "AsyncWorker"]


class Call(Protocol):
    """Makes a call: the operation, its parameters, and what makes the result of the decoded JSON."""

    def __call__(self, operation: bytes, params: Any, make: Callable[[Any], T], /) -> Awaitable[T]: ...


def _pages(call: Call, operation: bytes, params: Any, item: Callable[[Any], T]) -> AsyncPages[T]:
    """The first page of a list, each page knowing how to fetch the next: the same call with another cursor."""

    async def page(cursor: dict[str, str]) -> AsyncPage[T]:
        return await call(operation, {**params, **cursor}, lambda fields: AsyncPage(fields, item, follow))

    async def follow(cursor: str) -> AsyncPage[T]:
        return await page({"page": cursor})

    return AsyncPages(lambda: page({}))


class AsyncEnvironments:
    """`client.environments`: the operations on environments. They take an API key.

    Each takes the options of `antenv.types.CallOptions` beside its parameters, and raises the errors of `antenv.AntenvError`.
    """

    def __init__(self, call: Call, worker: MakeWorker) -> None:
        self._call = call
        #: The work queue of self-hosted environments.
        self.work = AsyncWorkQueue(call, worker)

    @property
    def with_raw_response(self) -> AsyncEnvironmentsWithRawResponse:
        """The same operations, each giving an `antenv.Response`: status, headers and request id beside the result."""
        return AsyncEnvironmentsWithRawResponse(self._call, self.work._worker)

    async def create(self, **params: Unpack[EnvironmentCreateParams]) -> Environment:
        """Creates an environment (POST /v1/environments, Create Environment).

        `name` (needed), `config`, `description`, `metadata`, `scope`: see `antenv.types.EnvironmentCreateParams`.
        """
        return await self._call(b"environments.create", params, Environment._of)

    def list(self, **params: Unpack[EnvironmentListParams]) -> AsyncPages[Environment]:
        """Lists environments (GET /v1/environments, List Environments), all pages one after the other.

        `include_archived`, `limit` (of a page), `page`: see `antenv.types.EnvironmentListParams`.
        """
        return _pages(self._call, b"environments.list", params, Environment._of)

    async def retrieve(self, environment_id: str, **options: Unpack[CallOptions]) -> Environment:
        """Retrieves an environment (GET /v1/environments/{environment_id}, Get Environment)."""
        return await self._call(b"environments.retrieve", {"environment_id": environment_id, **options}, Environment._of)

    async def update(self, environment_id: str, **params: Unpack[EnvironmentUpdateParams]) -> Environment:
        """Changes an environment (POST /v1/environments/{environment_id}, Update Environment). What is left out stays as it is.

        `config`, `description`, `metadata` (merged), `name`, `scope`: see `antenv.types.EnvironmentUpdateParams`.
        """
        return await self._call(b"environments.update", {"environment_id": environment_id, **params}, Environment._of)

    async def delete(self, environment_id: str, **options: Unpack[CallOptions]) -> EnvironmentDeleted:
        """Deletes an environment (DELETE /v1/environments/{environment_id}, Delete Environment)."""
        return await self._call(b"environments.delete", {"environment_id": environment_id, **options}, EnvironmentDeleted._of)

    async def archive(self, environment_id: str, **options: Unpack[CallOptions]) -> Environment:
        """Archives an environment (POST /v1/environments/{environment_id}/archive, Archive Environment): no new sessions."""
        return await self._call(b"environments.archive", {"environment_id": environment_id, **options}, Environment._of)

    def worker(self, environment_id: str | None = None, **params: Unpack[WorkerParams]) -> AsyncWorker:
        """The same as `work.worker`: a worker that claims items from the environment's work queue, and keeps their leases."""
        return self.work.worker(environment_id, **params)


class AsyncWorkQueue:
    """`client.environments.work`: the work queue of a self-hosted environment.

    `list`, `poll`, `ack` and `heartbeat` take the environment's key, `retrieve` and `update` an API key, `stats` and `stop` either.
    Each takes the options of `antenv.types.CallOptions` beside its parameters, and raises the errors of `antenv.AntenvError`.
    """

    def __init__(self, call: Call, worker: MakeWorker) -> None:
        self._call = call
        self._worker = worker

    @property
    def with_raw_response(self) -> AsyncWorkQueueWithRawResponse:
        """The same operations, each giving an `antenv.Response`: status, headers and request id beside the result."""
        return AsyncWorkQueueWithRawResponse(self._call, self._worker)

    def list(self, environment_id: str, **params: Unpack[WorkListParams]) -> AsyncPages[Work]:
        """Lists work items (GET /v1/environments/{environment_id}/work, List Work Items), all pages one after the other.

        `limit` (of a page), `page`: see `antenv.types.WorkListParams`.
        """
        return _pages(self._call, b"work.list", {"environment_id": environment_id, **params}, Work._of)

    async def poll(self, environment_id: str, **params: Unpack[WorkPollParams]) -> Work | None:
        """Takes the next item (GET /v1/environments/{environment_id}/work/poll, Poll for Work); None when there is none.

        Acknowledge it soon, or another poll will get it. `block_ms`, `reclaim_older_than_ms`, `anthropic_worker_id`: see
        `antenv.types.WorkPollParams`. An item that is claimed at the moment when the call is cancelled may be lost to this process
        until it is reclaimed.
        """
        return await self._call(b"work.poll", {"environment_id": environment_id, **params}, Work._of)

    async def stats(self, environment_id: str, **options: Unpack[CallOptions]) -> WorkQueueStats:
        """The queue's numbers (GET /v1/environments/{environment_id}/work/stats, Get Queue Statistics)."""
        return await self._call(b"work.stats", {"environment_id": environment_id, **options}, WorkQueueStats._of)

    async def retrieve(self, work_id: str, *, environment_id: str, **options: Unpack[CallOptions]) -> Work:
        """Retrieves an item (GET /v1/environments/{environment_id}/work/{work_id}, Get Work Item)."""
        return await self._call(b"work.retrieve", {"environment_id": environment_id, "work_id": work_id, **options}, Work._of)

    async def update(self, work_id: str, *, environment_id: str, **params: Unpack[WorkUpdateParams]) -> Work:
        """Changes an item's metadata (POST /v1/environments/{environment_id}/work/{work_id}, Update Work Item).

        `metadata` (needed) is merged into what is there; None deletes a key.
        """
        return await self._call(b"work.update", {"environment_id": environment_id, "work_id": work_id, **params}, Work._of)

    async def ack(self, work_id: str, *, environment_id: str, **options: Unpack[CallOptions]) -> Work:
        """Acknowledges an item (POST /v1/environments/{environment_id}/work/{work_id}/ack, Acknowledge Work)."""
        return await self._call(b"work.ack", {"environment_id": environment_id, "work_id": work_id, **options}, Work._of)

    async def heartbeat(self, work_id: str, *, environment_id: str, **params: Unpack[WorkHeartbeatParams]) -> WorkHeartbeat:
        """Extends an item's lease (POST /v1/environments/{environment_id}/work/{work_id}/heartbeat, Record Heartbeat).

        `desired_ttl_seconds`, `expected_last_heartbeat`: see `antenv.types.WorkHeartbeatParams`. Raises PreconditionFailedError
        when the last heartbeat was another than expected: somebody else may hold the lease.
        """
        return await self._call(
            b"work.heartbeat", {"environment_id": environment_id, "work_id": work_id, **params}, WorkHeartbeat._of
        )

    async def stop(self, work_id: str, *, environment_id: str, **params: Unpack[WorkStopParams]) -> Work | None:
        """Stops an item (POST /v1/environments/{environment_id}/work/{work_id}/stop, Stop Work).

        `force`: at once, instead of asking the worker to. None when the server answers without content.
        """
        return await self._call(b"work.stop", {"environment_id": environment_id, "work_id": work_id, **params}, Work._of)

    def worker(self, environment_id: str | None = None, **params: Unpack[WorkerParams]) -> AsyncWorker:
        """A worker that claims items from the environment's queue, and keeps their leases. Nothing is sent yet.

        `environment_id` (without it: ANTHROPIC_ENVIRONMENT_ID), `environment_key`, `worker_id`, `concurrency`, `block_ms`,
        `reclaim_older_than_ms`, `drain`, `desired_ttl_seconds`, `idle_after`, `idle_min`, `idle_max`, `grace`, `rescue_after`: see
        `antenv.types.WorkerParams`. Raises ConfigError when one of them is not acceptable, or the environment or its key is not
        known.
        """
        return self._worker({"environment_id": environment_id, **params})


def _raw(method: Callable[P, Awaitable[T]]) -> Callable[P, Awaitable[Response[T]]]:
    """A method whose call was made to give responses, with the type to match."""
    return cast("Callable[P, Awaitable[Response[T]]]", method)


def _with_response(call: Call) -> Call:
    """A call that gives what came with the result, too."""

    async def with_response(operation: bytes, params: Any, make: Callable[[Any], Any], /) -> Any:
        return await call(operation, {**params, "with_response": True}, lambda fields: Response(fields, make))

    return with_response


class AsyncEnvironmentsWithRawResponse:
    """`client.environments.with_raw_response`: as `client.environments`, each operation giving an `antenv.Response`."""

    def __init__(self, call: Call, worker: MakeWorker) -> None:
        environments = AsyncEnvironments(_with_response(call), worker)
        self.work = AsyncWorkQueueWithRawResponse(call, worker)
        self.create = _raw(environments.create)
        self.list = _raw(environments.list)
        self.retrieve = _raw(environments.retrieve)
        self.update = _raw(environments.update)
        self.delete = _raw(environments.delete)
        self.archive = _raw(environments.archive)


class AsyncWorkQueueWithRawResponse:
    """`client.environments.work.with_raw_response`: as `client.environments.work`, each operation giving an `antenv.Response`."""

    def __init__(self, call: Call, worker: MakeWorker) -> None:
        work = AsyncWorkQueue(_with_response(call), worker)
        self.list = _raw(work.list)
        self.poll = _raw(work.poll)
        self.stats = _raw(work.stats)
        self.retrieve = _raw(work.retrieve)
        self.update = _raw(work.update)
        self.ack = _raw(work.ack)
        self.heartbeat = _raw(work.heartbeat)
        self.stop = _raw(work.stop)
