"""Leases that change hands: claim only, release, adopt, in one process and between processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest

import antenv
from antenv import types
from python.worker_env import TIMEOUT, WorkerEnv, wait_until
from support.emulator import Emulator

pytestmark = pytest.mark.transports

#: Adopts what its environment variables say, and finishes it.
CHILD = """
import json, antenv
with antenv.Client() as client, client.adopt() as lease:
    print(json.dumps([lease.id, lease.session_id, lease.state().state, lease.state().beats]))
"""


@pytest.fixture
def env(strict_emulator: Emulator) -> WorkerEnv:
    """One whose leases last."""
    return WorkerEnv(strict_emulator)


def taken(worker: antenv.Worker) -> antenv.Lease:
    """The next item's lease, which must come."""
    lease = worker.next(TIMEOUT)
    assert lease is not None
    return lease


def arguments(handover: types.Handover) -> dict[str, Any]:
    """The arguments of an adoption."""
    fields = handover.to_dict()
    key = fields.pop("environment")["ANTHROPIC_ENVIRONMENT_KEY"]
    return {"expected_last_heartbeat": fields.pop("last_heartbeat"), "environment_key": key, **fields}


@pytest.mark.parametrize("heartbeat", [True, False])
def test_a_child_process_goes_on_with_a_lease(env: WorkerEnv, heartbeat: bool) -> None:
    item = env.enqueue()
    with env.worker(heartbeat=heartbeat) as worker:
        with taken(worker) as lease:
            assert (lease.state().state, lease.state().beats) == (("held", 1) if heartbeat else ("claimed", 0))
            handover = lease.release()
            with pytest.raises(antenv.ClosedError):
                lease.release()
        assert env.state(item) == ("active" if heartbeat else "starting"), "leaving the block stops nothing"
        assert ("ANTHROPIC_WORK_LAST_HEARTBEAT" in handover.environment) == heartbeat
        variables = {**os.environ, **handover.environment, "ANTHROPIC_BASE_URL": env.emulator.url}
        child = subprocess.run([sys.executable, "-c", CHILD], env=variables, stdout=subprocess.PIPE, check=True)
        assert json.loads(child.stdout) == [item, lease.session_id, "held", 1]
        wait_until(lambda: worker.stats()["leases_held"] == 0)
        assert (worker.stats()["released"], worker.stats()["finished"]) == (1, 0)
    assert env.state(item) == "stopped"


def test_only_one_adopter_gets_the_lease(env: WorkerEnv) -> None:
    item = env.enqueue()
    with env.worker() as worker:
        handover = taken(worker).release()
    with env.owner.adopt(**arguments(handover)) as lease:
        with pytest.raises(antenv.LeaseLostError):
            env.owner.adopt(**arguments(handover))
        assert lease.client().environments.work is not None
        assert env.state(item) == "active"
        lease.abandon()
    assert env.state(item) == "active"
    with pytest.raises(antenv.ConfigError) as error:
        env.owner.adopt(work_id="work_1", environment_id=env.environment)
    assert error.value.parameter == "session_id"


def test_what_is_handed_over_is_hidden_where_it_is_shown(env: WorkerEnv) -> None:
    env.enqueue()
    with env.worker() as worker:
        handover = taken(worker).release()
    assert handover.work_secret and handover.environment["ANTHROPIC_WORK_SECRET"] == handover.work_secret
    shown = repr(handover)
    assert handover.work_id in shown and handover.work_secret not in shown and env.key not in shown
    lease = env.owner.adopt(**arguments(handover))
    assert handover.work_secret not in repr(lease) + repr(lease.work)
    lease.finish()


def test_the_same_is_awaited(env: WorkerEnv) -> None:
    item = env.enqueue()

    async def main() -> None:
        async with antenv.AsyncClient(environment_key=env.key, base_url=env.emulator.url) as client:
            async with client.environments.worker(env.environment, heartbeat=False) as worker:
                lease = await worker.next()
                assert lease is not None and lease.state().state == "claimed"
                async with lease:
                    handover = await lease.release()
            for _ in range(3):
                lease = await client.adopt(**arguments(handover))
                assert lease.id == item and not lease.cancelled.is_set()
                handover = await lease.release()
            async with await client.adopt(**arguments(handover)) as lease:
                with pytest.raises(antenv.LeaseLostError):
                    await client.adopt(**arguments(handover))

    asyncio.run(main())
    assert env.state(item) == "stopped"
