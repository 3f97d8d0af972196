"""The worker that waits: items, leases, threads, Ctrl-C, forks."""

from __future__ import annotations

import functools
import gc
import inspect
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import antenv
from antenv import _native, types
from python.worker_env import BRIEF, TIMEOUT, WorkerEnv, wait_until, worker_env
from support.emulator import Emulator

pytestmark = pytest.mark.transports


@pytest.fixture
def lasting(strict_emulator: Emulator) -> WorkerEnv:
    """One whose leases last."""
    return WorkerEnv(strict_emulator)


@pytest.fixture
def brief() -> Iterator[WorkerEnv]:
    """One whose leases get their heartbeats every few seconds."""
    with worker_env("--lease-ttl", str(BRIEF)) as found:
        yield found


def taken(worker: antenv.Worker) -> antenv.Lease:
    """The next item's lease, which must come."""
    lease = worker.next(TIMEOUT)
    assert lease is not None
    return lease


def lose(env: WorkerEnv, lease: antenv.Lease) -> antenv.Lease:
    """Has another worker take an item from the one that holds it; gives that one's lease."""
    env.advance(BRIEF + 1)
    other = taken(env.worker())
    assert other.id == lease.id
    return other


def test_a_loop_serves_item_after_item(lasting: WorkerEnv) -> None:
    items = [lasting.enqueue() for _ in range(3)]
    with lasting.worker() as worker:
        served = []
        for lease in worker:
            with lease:
                assert lease.id == lease.work.id and lasting.state(lease.id) == "active"
                assert lease.session_id == lease.work.data.id
                assert isinstance(lease.work, types.Work) and lease.work.environment_id == lasting.environment
                served.append(lease.id)
            assert lasting.state(lease.id) == "stopped"
            if len(served) == len(items):
                worker.stop()
    assert served == items
    assert [request["body"] for request in lasting.requests("work.stop")] == [{"force": True}] * 3


def test_a_worker_is_found_where_the_official_client_has_it(
    lasting: WorkerEnv, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_ENVIRONMENT_ID", lasting.environment)
    monkeypatch.setenv("ANTHROPIC_ENVIRONMENT_KEY", lasting.key)
    item = lasting.enqueue()
    with lasting.owner.environments.work.worker() as worker, taken(worker) as lease:
        assert lease.id == item and worker.stats()["environment_id"] == lasting.environment
    client = antenv.Client(environment_key=lasting.key, base_url=lasting.emulator.url)
    monkeypatch.delenv("ANTHROPIC_ENVIRONMENT_KEY")
    item = lasting.enqueue()
    with client.environments.worker(lasting.environment) as worker, taken(worker) as lease:
        assert lease.id == item


def test_the_configuration_is_checked(lasting: WorkerEnv, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ANTHROPIC_ENVIRONMENT_ID", "ANTHROPIC_ENVIRONMENT_KEY"):
        monkeypatch.delenv(name, raising=False)
    for params, parameter in (
        ({"environment_id": None}, "environment_id"),
        ({"environment_key": None}, "environment_key"),
        ({"concurrency": 0}, "concurrency"),
        ({"grace": -1}, "grace"),
        ({"idle_after": "soon"}, "idle_after"),
    ):
        with pytest.raises(antenv.ConfigError) as caught:
            lasting.worker(**params)
        assert caught.value.parameter == parameter
    assert lasting.worker(concurrency=None, grace=None, drain=None, idle_min=0.5).stats()["concurrency"] == 1
    lasting.owner.close()
    with pytest.raises(antenv.ClosedError):
        lasting.worker()


def test_a_worker_takes_every_key_of_the_configuration(lasting: WorkerEnv) -> None:
    seconds = {"idle_after", "idle_min", "idle_max", "grace", "rescue_after"}
    taken = {f"{name}_ms" if name in seconds else name for name in types.WorkerParams.__annotations__}
    _, _, error = _native.call_for_handle(_native.worker_new, lasting.owner._handle, b'{"odd":0}')
    assert taken | {"environment_id"} == set(json.loads(error)["message"].split("known are: ")[1].split(", "))


def test_waiting_ends_after_a_time_when_the_worker_is_stopped_and_when_it_is_closed(lasting: WorkerEnv) -> None:
    worker = lasting.worker(concurrency=2)
    for seconds in (0, 0.1):
        with pytest.raises(TimeoutError):
            worker.next(seconds)
    for end in (worker.stop, worker.close):
        found: list[Any] = []
        waiting = threading.Thread(target=lambda found=found: found.append(worker.next()))
        waiting.start()
        end()
        waiting.join(TIMEOUT)
        assert found == [None]
        assert worker.next() is None and worker.next(1) is None and list(worker) == []
    worker.stop()
    assert repr(worker) == "<antenv.Worker, closed>"
    with pytest.raises(antenv.ClosedError, match="this worker is closed"):
        worker.stats()


def test_the_state_of_a_lease(brief: WorkerEnv) -> None:
    brief.enqueue()
    worker = brief.worker()
    lease = taken(worker)
    wait_until(lambda: lease.state().beats > 1)
    state = lease.state()
    assert isinstance(state, types.LeaseState) and (state.state, state.reason) == ("held", None)
    assert (state.work_id, state.ttl_seconds) == (lease.id, BRIEF) and state.last_heartbeat
    assert not lease.lost and not lease.cancelled.is_set() and not lease.cancelled.wait(0.05)
    done = lease.finish(force=False, timeout=60, extra_headers={"x-test": "1"})
    assert isinstance(done, types.Work) and done.state == "stopping"
    (request,) = brief.requests("work.stop")
    assert (request["body"], request["headers"]["x-test"]) == ({"force": False}, "1")
    assert not lease.lost and lease.cancelled.is_set() and lease.cancelled.wait(), "it has ended"
    assert repr(lease) == f"<antenv.Lease {lease.id}, ended>"
    lease.abandon()
    for use in (lease.state, lease.finish, lease.client):
        with pytest.raises(antenv.ClosedError, match="this lease has ended"):
            use()


def test_a_finish_that_is_refused_leaves_the_lease_as_it_is(lasting: WorkerEnv) -> None:
    item = lasting.enqueue()
    with taken(lasting.worker()) as lease:
        with pytest.raises(antenv.InvalidArgumentError) as caught:
            lease.finish(timeout=0)
        assert caught.value.parameter == "timeout" and lease.state().state == "held"
    assert lasting.state(item) == "stopped"


def test_a_secret_is_not_shown(lasting: WorkerEnv) -> None:
    lasting.enqueue()
    with taken(lasting.worker()) as lease:
        secret = lease.secret
        assert secret and secret == lease.work.secret
        assert secret not in repr(lease) + repr(lease.work) and "secret=***" in repr(lease.work)


def test_the_client_of_a_lease_has_the_items_token(lasting: WorkerEnv) -> None:
    lasting.enqueue()
    with taken(lasting.worker()) as lease:
        client = lease.client()
        assert type(client) is antenv.Client
        with client:
            client.request("GET", f"/v1/sessions/{lease.session_id}")
            tokens = {request["headers"]["authorization"] for request in lasting.requests("sessions.retrieve")}
            assert len(tokens) == 1 and "sk-ant-req-" in tokens.pop()
            assert client.environments.work.heartbeat(
                lease.id, environment_id=lasting.environment, expected_last_heartbeat=lease.state().last_heartbeat or ""
            )


def test_an_item_that_is_to_be_stopped_notifies_its_holder(brief: WorkerEnv) -> None:
    item = brief.enqueue()
    with taken(brief.worker()) as lease:
        woken: list[bool] = []
        waiting = [threading.Thread(target=lambda: woken.append(lease.cancelled.wait())) for _ in range(3)]
        for thread in waiting:
            thread.start()
        brief.stop(item)
        assert lease.cancelled.wait(TIMEOUT) and lease.cancelled.is_set()
        for thread in waiting:
            thread.join(TIMEOUT)
        assert woken == [True] * 3
        assert (lease.state().state, lease.state().reason, lease.lost) == ("stop_requested", "asked", False)
    assert brief.state(item) == "stopped"


def test_a_lost_lease_notifies_its_holder_and_is_not_finished(brief: WorkerEnv) -> None:
    brief.enqueue()
    worker = brief.worker()
    lease = taken(worker)
    other = lose(brief, lease)
    assert lease.cancelled.wait(TIMEOUT) and lease.lost
    assert (lease.state().state, lease.state().reason) == ("lost", "taken")
    with pytest.raises(antenv.LeaseLostError) as caught:
        lease.finish()
    assert caught.value.code == 10 and caught.value.status == "lease_lost"
    assert lease.lost and lease.cancelled.is_set() and brief.requests("work.stop") == []
    other.finish()


def test_leaving_the_block_of_a_lost_lease_is_logged_and_the_loop_goes_on(
    brief: WorkerEnv, caplog: pytest.LogCaptureFixture
) -> None:
    brief.enqueue()
    served = []
    worker = brief.worker()
    for lease in worker:
        served.append(lease)
        with lease:
            if len(served) == 2:
                worker.stop()
                continue
            other = lose(brief, lease)
            assert lease.cancelled.wait(TIMEOUT)
        other.finish()
        brief.enqueue()
    assert [lease.lost for lease in served] == [True, False]
    (record,) = [record for record in caplog.records if record.getMessage().startswith("an item was not finished")]
    assert record.levelno == logging.WARNING and served[0].id in record.getMessage()


def test_what_the_body_raises_comes_out_and_what_it_did_stays_done(lasting: WorkerEnv) -> None:
    worker = lasting.worker()
    raising, finished, abandoned = (lasting.enqueue() for _ in range(3))
    with pytest.raises(ZeroDivisionError), taken(worker):
        print(1 / 0)
    assert lasting.state(raising) == "stopped"
    with taken(worker) as lease:
        lease.finish()
    assert lasting.state(finished) == "stopped"
    with taken(worker) as lease:
        lease.abandon()
    assert lasting.state(abandoned) == "active"
    assert len(lasting.requests("work.stop")) == 2
    lasting.emulator.faults({"operation": "work.stop", "status": 403, "count": 1})
    item = lasting.enqueue()
    with pytest.raises(antenv.PermissionDeniedError), taken(worker) as lease:
        lease.finish()
    assert lasting.state(item) == "active" and len(lasting.requests("work.stop")) == 3


def test_a_lease_that_is_garbage_collected_is_abandoned(lasting: WorkerEnv) -> None:
    lasting.enqueue()
    worker = lasting.worker()
    lease = taken(worker)
    wait_until(lambda: worker.stats()["leases_held"] == 1)
    del lease
    gc.collect()
    wait_until(lambda: worker.stats()["abandoned"] == 1 and worker.stats()["leases_held"] == 0)


def test_a_lease_keeps_its_worker(lasting: WorkerEnv) -> None:
    lasting.enqueue()
    lease = taken(lasting.worker(grace=0))
    gc.collect()
    assert not lease.cancelled.wait(0.2), "a worker that was collected would be stopped, and with it the item"
    lease.finish()


def test_a_worker_counts(lasting: WorkerEnv) -> None:
    lasting.enqueue()
    with lasting.worker(worker_id="w-1", concurrency=3) as worker:
        taken(worker).finish()
        stats = worker.stats()
        assert (stats["worker_id"], stats["concurrency"], stats["claimed"], stats["finished"]) == ("w-1", 3, 1, 1)
        text = worker.metrics()
        assert "# TYPE antenv_worker_claimed_total counter" in text and "antenv_worker_leases_held" in text
    polls = lasting.requests("work.poll")
    assert {request["headers"]["anthropic-worker-id"] for request in polls} == {"w-1"}


def test_draining_ends_the_loop(lasting: WorkerEnv) -> None:
    items = {lasting.enqueue() for _ in range(5)}
    served = set()
    for lease in lasting.worker(drain=True):
        with lease:
            served.add(lease.id)
    assert served == items


def test_a_permanent_error_ends_the_worker(lasting: WorkerEnv) -> None:
    worker = lasting.worker(environment_key="sk-ant-oat01-wrong")
    for _ in range(2):
        with pytest.raises(antenv.AuthenticationError):
            next(worker)
    with pytest.raises(antenv.AuthenticationError):
        worker.run(lambda lease: None)
    assert worker.stats()["state"] == "failed"


def test_a_pool_serves_as_many_at_once_as_it_may(lasting: WorkerEnv) -> None:
    items = {lasting.enqueue() for _ in range(12)}
    together = threading.Barrier(6)
    served: list[str] = []

    def handler(lease: antenv.Lease) -> None:
        assert threading.current_thread() is not threading.main_thread()
        together.wait(TIMEOUT)
        served.append(lease.id)

    worker = lasting.worker(concurrency=6, drain=True)
    worker.run(handler)
    assert set(served) == items and len(served) == 12 and {lasting.state(item) for item in items} == {"stopped"}
    wait_until(lambda: not [one for one in threading.enumerate() if one.name.startswith("antenv-worker")])


def test_fewer_threads_claim_less(lasting: WorkerEnv) -> None:
    for _ in range(4):
        lasting.enqueue()
    most = 0
    worker = lasting.worker(concurrency=4, drain=True)

    def handler(lease: antenv.Lease) -> None:
        nonlocal most
        most = max(most, worker.stats()["leases_held"])

    worker.run(handler, threads=1)
    assert worker.stats()["finished"] == 4 and most == 1


def test_what_a_handler_raises_is_logged_and_the_others_go_on(
    lasting: WorkerEnv, caplog: pytest.LogCaptureFixture
) -> None:
    items = [lasting.enqueue() for _ in range(3)]

    def handler(lease: antenv.Lease) -> None:
        if lease.id == items[0]:
            raise ValueError("of no use")
        if lease.id == items[1]:
            raise SystemExit(1)

    lasting.worker(drain=True).run(handler)
    assert {lasting.state(item) for item in items} == {"stopped"}
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [ValueError, SystemExit]
    assert all(record.name == "antenv.worker" for record in caplog.records)
    assert "of no use" in caplog.text and items[0] in caplog.text


def test_an_item_whose_handler_raises_is_abandoned_if_that_is_wanted(
    lasting: WorkerEnv, caplog: pytest.LogCaptureFixture
) -> None:
    failing, succeeding = lasting.enqueue(), lasting.enqueue()

    def handler(lease: antenv.Lease) -> None:
        if lease.id == failing:
            raise ValueError("try another time")

    worker = lasting.worker(drain=True)
    worker.run(handler, on_error="abandon")
    assert (lasting.state(failing), lasting.state(succeeding)) == ("active", "stopped")
    assert (worker.stats()["abandoned"], worker.stats()["finished"]) == (1, 1)
    assert f"its item is abandoned: work_id={failing}" in caplog.text


def test_an_item_that_is_to_be_stopped_is_finished_whatever_its_handler_raises(brief: WorkerEnv) -> None:
    item = brief.enqueue()
    worker = brief.worker()

    def handler(lease: antenv.Lease) -> None:
        worker.stop()
        brief.stop(item)
        assert lease.cancelled.wait(TIMEOUT)
        raise ValueError

    worker.run(handler, on_error="abandon")
    assert brief.state(item) == "stopped" and worker.stats()["abandoned"] == 0


def test_run_rejects_what_it_cannot_use(lasting: WorkerEnv) -> None:
    async def handler(lease: antenv.Lease) -> None: ...

    class Handler:
        async def __call__(self, lease: antenv.Lease) -> None: ...

    @functools.wraps(handler)
    def wrapped(lease: antenv.Lease) -> object:
        return handler(lease)

    worker = lasting.worker()
    for one in (handler, Handler(), functools.partial(handler), wrapped):
        with pytest.raises(TypeError, match=r"use AsyncWorker\.run, of antenv\.AsyncClient's worker"):
            worker.run(one)
    with pytest.raises(TypeError, match="must be a function, not 7"):
        worker.run(7)  # type: ignore[call-overload]
    with pytest.raises(ValueError, match="on_error must be"):
        worker.run(print, on_error="retry")  # type: ignore[call-overload]
    assert worker.stats()["state"] == "running"


def test_a_timeout_says_why_the_last_poll_failed(lasting: WorkerEnv) -> None:
    worker = lasting.worker(idle_after=0)
    with pytest.raises(TimeoutError, match=r"^no work came within 0\.05 s$"):
        worker.next(0.05)
    lasting.emulator.faults({"operation": "work.poll", "status": 529, "count": 1000})

    def next_says_why() -> bool:
        with pytest.raises(TimeoutError) as caught:
            worker.next(0.05)
        failure = r"work\.poll: 529 overloaded: .+ \(req_\w+\)"
        return bool(re.fullmatch(rf"no work came within 0\.05 s; the last poll failed: {failure}", str(caught.value)))

    wait_until(next_says_why)


def test_handlers_go_on_after_a_stop_and_run_waits_for_them(lasting: WorkerEnv) -> None:
    item = lasting.enqueue()
    worker = lasting.worker()
    ended: list[str] = []

    def handler(lease: antenv.Lease) -> None:
        worker.stop()
        assert not lease.cancelled.wait(0.2)
        ended.append(lease.id)

    worker.run(handler)
    assert ended == [item] and lasting.state(item) == "stopped"


def test_when_the_grace_is_over_the_handler_is_told(lasting: WorkerEnv) -> None:
    lasting.enqueue()
    worker = lasting.worker(grace=0.1)
    reasons: list[str | None] = []

    def handler(lease: antenv.Lease) -> None:
        worker.stop()
        lease.cancelled.wait(TIMEOUT)
        reasons.append(lease.state().reason)

    worker.run(handler)
    assert reasons == ["shutdown"]


def test_a_permanent_error_is_raised_when_the_handlers_are_done(lasting: WorkerEnv) -> None:
    lasting.enqueue()
    worker = lasting.worker(concurrency=2)
    served: list[str] = []

    def handler(lease: antenv.Lease) -> None:
        lasting.emulator.faults({"operation": "work.poll", "status": 403, "count": 5})
        wait_until(lambda: worker.stats()["state"] == "failed")
        served.append(lease.id)

    with pytest.raises(antenv.PermissionDeniedError):
        worker.run(handler)
    assert len(served) == 1 and worker.stats()["finished"] == 1


INTERRUPTED = """
import os, signal, sys, threading, time
import antenv
signal.signal(signal.SIGINT, signal.default_int_handler)
client = antenv.Client(environment_key=sys.argv[2], base_url=sys.argv[1])
worker = client.environments.worker(sys.argv[3], grace=float(sys.argv[4]), concurrency=2)
def obey(lease):
    print("waiting", flush=True)
    lease.cancelled.wait()
    print("ended", lease.state().reason, flush=True)
def ignore(lease):
    print("waiting", flush=True)
    time.sleep(3600)
def hold():
    with next(worker) as lease:
        print("waiting", flush=True)
        lease.cancelled.wait()
try:
    {use}
except KeyboardInterrupt:
    print("interrupted", flush=True)
    print(worker.stats()["state"], flush=True)
"""
#: What waits, whether it has an item, and the grace period.
WAITS = {
    "for an item": ("next(worker)", False, 30.0),
    "for an item, in turns": ("worker.next(3600)", False, 30.0),
    "for a lease": ("hold()", True, 30.0),
    "for threads without items": ("worker.run(obey)", False, 30.0),
}


def interrupt(env: WorkerEnv, use: str, has_item: bool, grace: float) -> list[str]:
    """Runs a program that does something, and interrupts it; returns what it prints."""
    env.emulator.take_requests()
    if has_item:
        env.enqueue()
    command = [sys.executable, "-c", INTERRUPTED.format(use=use), env.emulator.url, env.key, env.environment]
    with subprocess.Popen([*command, str(grace)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        if has_item:
            assert process.stdout.readline() == "waiting\n"
        else:
            wait_until(env.polls)
        process.send_signal(signal.SIGINT)
        said = process.stdout.read().splitlines()
        assert process.wait(timeout=TIMEOUT) == 0
    return said


@pytest.mark.parametrize("what", list(WAITS))
def test_ctrl_c_ends_a_wait(what: str, lasting: WorkerEnv) -> None:
    # None of them would end before: no item comes, and no lease ends.
    assert interrupt(lasting, *WAITS[what])[0] == "interrupted"
    if what != "for a lease":
        return
    with lasting.owner.with_options(environment_key=lasting.key) as client:
        assert {item.state for item in client.environments.work.list(lasting.environment)} == {"stopped"}


def test_ctrl_c_stops_a_pool_and_gives_its_handlers_their_time(lasting: WorkerEnv) -> None:
    assert interrupt(lasting, "worker.run(obey)", True, 0.5) == ["ended shutdown", "interrupted", "stopped"]


def test_ctrl_c_does_not_wait_without_an_end_for_a_handler_that_ignores_it(lasting: WorkerEnv) -> None:
    assert interrupt(lasting, "worker.run(ignore)", True, 0.2) == ["interrupted", "stopped"]


def test_a_child_does_not_have_its_parents_worker(lasting: WorkerEnv) -> None:
    lasting.enqueue()
    worker = lasting.worker()
    lease = taken(worker)
    child = os.fork()
    if child == 0:
        try:
            uses = (worker.next, worker.stop, worker.stats, worker.metrics, lease.state, lease.finish, lease.client)
            for use in (*uses, lease.cancelled.is_set, lease.cancelled.wait, lambda: worker.run(print)):
                try:
                    use()
                except antenv.ClosedError:
                    continue
                os._exit(1)
            lease.abandon()
            worker.close()
            os._exit(0)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert lease.state().state == "held"
    lease.finish()
    assert worker.stats()["finished"] == 1


def test_each_of_many_items_is_finished_exactly_once(lasting: WorkerEnv) -> None:
    items = {item["id"] for item in lasting.emulator.enqueue(lasting.environment, count=500)["data"]}
    served: Counter[str] = Counter()
    lasting.worker(concurrency=64, drain=True).run(lambda lease: served.update([lease.id]))
    assert served == Counter(items)
    stops = Counter(request["path"].split("/")[-2] for request in lasting.requests("work.stop"))
    assert stops == Counter(items)


def test_every_public_thing_is_documented() -> None:
    kinds = (antenv.Worker, antenv.Lease, antenv.LeaseEvent, antenv.AsyncWorker, antenv.AsyncLease)
    for kind in (*kinds, antenv.AsyncLeaseEvent):
        for name, member in inspect.getmembers(kind):
            if not name.startswith("_"):
                assert inspect.getdoc(member), f"{kind.__name__}.{name}"
